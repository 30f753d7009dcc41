"""Controls as users give them, and as models read them.

==========  ==================================================  ==============================================
control     what may be given                                   what the model reads
==========  ==================================================  ==============================================
chroma      12 numbers in [0, 1], or notes such as "C E G"      the same
loudness    dBFS, such as -20                                   units of 20 dB from -20 dBFS, at least -2
roll        60 numbers, notes ``(n, 3)``, or a MIDI file        1 for pitches 36..95 that sound
tempo       beats a minute, such as 92                          log2 of it over 120
style       a tag, or weights of tags ``{"organ": 1}``          one-hot, or weights that add up to 1
partner     recorded audio                                      normalised latents
==========  ==================================================  ==============================================

Each may be one value, which holds, or an array with one row a latent frame, in which NaN means that nothing
is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .control_features import CHROMA, LOWEST_LOUDNESS
from .controls import Control, ControlLayout
from .midi_input import PITCHES, notes_to_roll, read_notes

__all__ = ["CONTROL_NAMES", "build_layout", "check_given", "encode_control", "ending_rows"]

#: Names of all controls, in the order of layouts.
CONTROL_NAMES = ("chroma", "loudness", "roll", "tempo", "style", "partner")

_SLOWEST, _FASTEST = 20.0, 400.0
_NAMES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_LOUDEST = 0.0


def build_layout(controls: Sequence[str], styles: Sequence[str], channels: int) -> ControlLayout:
    """Return the layout of a model's controls.

    Parameters
    ----------
    controls : sequence of str
        Of `CONTROL_NAMES`, in any order.
    styles : sequence of str
        Tags of the control "style"; it is added where there are tags.
    channels : int
        Latent channels, the width of "partner".

    Raises
    ------
    TypeError, ValueError
        For controls that are no sequence of these names, a name given twice, or style without tags.
    """
    names, tags = _names("controls", controls), _names("styles", styles)
    unknown = [name for name in names if name not in CONTROL_NAMES]
    if unknown:
        raise ValueError(f"controls must be of {', '.join(CONTROL_NAMES)}, got {unknown[0]!r}")
    if "style" in names and not tags:
        raise ValueError("the control 'style' needs the tags of styles=, or recordings with controls 'style'")
    kept = {*names, "style"} if tags else set(names)
    widths = {"chroma": CHROMA, "roll": PITCHES, "style": len(tags), "partner": channels}
    chosen = [Control(name, widths.get(name, 1)) for name in CONTROL_NAMES if name in kept]
    return ControlLayout(tuple(chosen), tags)


def check_given(given: Any, layout: ControlLayout, name: str) -> dict[str, Any]:
    """Return controls of one piece as a dictionary without those that are None.

    Raises
    ------
    TypeError
        If they are no mapping.
    ValueError
        For a control that the model does not have.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a mapping of controls, got {type(given).__name__}")
    for control in given:
        layout.place(str(control))  # refuses one that the model does not have
    return {str(control): value for control, value in given.items() if value is not None}


def encode_control(layout: ControlLayout, name: str, value: Any, frame_rate: float) -> Tensor:
    """Return what the model reads.

    Parameters
    ----------
    layout : ControlLayout
        Of the model; knows the tags.
    name : str
        Of the control; any but "partner", whose sound is encoded by the codec.
    value : object
        See the module's table.
    frame_rate : float
        Latent frames a second, for notes.

    Returns
    -------
    Tensor of shape ``(1, width)`` or ``(frames, width)``
        One row holds for all frames.

    Raises
    ------
    TypeError, ValueError
        For a value that is none of this control, with what is expected.
    """
    place = layout.place(name)
    if name == "style":
        return _style(layout, value)
    if name == "roll":
        value = _roll(value, frame_rate)
    if name == "chroma" and isinstance(value, str):
        value = _chord(value)
    rows = _rows(name, value, place.stop - place.start)
    if name == "loudness":
        _check_range(name, rows, -np.inf, _LOUDEST, "dBFS, at most 0")
        rows = np.maximum(1.0 + rows / 20.0, LOWEST_LOUDNESS)
        rows = np.minimum(rows, 1.0 + _LOUDEST / 20.0)
    elif name == "tempo":
        _check_range(name, rows, _SLOWEST, _FASTEST, f"beats a minute in {_SLOWEST:g}..{_FASTEST:g}")
        rows = np.log2(rows / 120.0)
    elif name in ("chroma", "roll"):
        _check_range(name, rows, 0.0, 1.0, "numbers in 0..1")
    return torch.from_numpy(rows).float()


def ending_rows(rows: Tensor) -> Tensor:
    """Return rows of frames that end; a single one would hold for all time, so nothing is asked after it."""
    return torch.nn.functional.pad(rows, (0, 0, 0, 1), value=torch.nan) if len(rows) == 1 else rows


def _names(argument: str, given: Any) -> tuple[str, ...]:
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or not all(isinstance(n, str) for n in given)
    ):
        raise TypeError(f"{argument} must be a sequence of names, got {given!r}")
    if len(set(given)) != len(given):
        raise ValueError(f"{argument} names something twice: {list(given)}")
    return tuple(given)


def _rows(name: str, value: Any, width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a number, a row or rows as rows."""
    try:
        rows = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the control {name!r} must be numbers, got {value!r:.80}") from error
    if rows.ndim == 0 and width == 1:
        rows = rows.reshape(1, 1)
    elif rows.ndim == 1:
        rows = rows[:, None] if width == 1 else rows[None]
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        one = "one number" if width == 1 else f"{width} numbers"
        raise ValueError(
            f"the control {name!r} must be {one}, or an array with {one} a latent frame, got an array of "
            f"shape {np.shape(value)}"
        )
    return rows


def _check_range(name: str, rows: Any, low: float, high: float, expected: str) -> None:
    wrong = ~((rows >= low) & (rows <= high)) & ~np.isnan(rows)
    if wrong.any():
        raise ValueError(f"the control {name!r} must be {expected}, got {float(rows[wrong][0]):g}")


def _roll(value: Any, frame_rate: float) -> Any:
    """Return the rows of a piano roll from a MIDI file or notes; anything else as it is."""
    if isinstance(value, str | os.PathLike):
        value = read_notes(value)
    elif np.ndim(value) != 2 or np.shape(value)[1] != 3:
        return value
    notes = np.asarray(value, dtype=np.float64)
    if not len(notes):
        raise ValueError("the control 'roll' got no notes")
    frames = max(int(np.ceil(notes[:, 1].max() * frame_rate)), 1)
    return ending_rows(notes_to_roll(notes, frames, frame_rate)).numpy()


def _chord(text: str) -> list[float]:
    """Return the chroma of note names."""
    strength = [0.0] * CHROMA
    if not text.strip(" ,"):
        raise ValueError(f"the control 'chroma' must name notes such as 'C E G' or 'Eb', got {text!r}")
    for name in text.replace(",", " ").split():
        shift = name[1:].count("#") - name[1:].count("b")
        if name[0].upper() not in _NAMES or name[1:].strip("#b"):
            raise ValueError(f"the control 'chroma' must name notes such as 'C E G' or 'Eb', got {name!r}")
        strength[(_NAMES[name[0].upper()] + shift) % CHROMA] = 1.0
    return strength


def _style(layout: ControlLayout, value: Any) -> Tensor:
    """Return a tag one-hot, or weights of tags; arrays must have one number a tag."""
    known = ", ".join(map(repr, layout.styles))
    if isinstance(value, str):
        value = {value: 1.0}
    if not isinstance(value, Mapping):
        return torch.from_numpy(_rows("style", value, len(layout.styles))).float()
    weights = torch.zeros(1, len(layout.styles))
    for tag, weight in value.items():
        if tag not in layout.styles:
            raise ValueError(f"this model has no style {tag!r}; it has {known}")
        if not (isinstance(weight, int | float) and 0.0 <= weight < float("inf")):
            raise ValueError(f"the weight of style {tag!r} must be a number >= 0, got {weight!r}")
        weights[0, layout.styles.index(tag)] = float(weight)
    if not bool(weights.any()):
        raise ValueError(f"one of the styles {known} must have a weight above 0, got {dict(value)!r}")
    return weights / weights.sum()
