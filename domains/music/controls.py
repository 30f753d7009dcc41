r"""Controls: what a player asks of the music, as numbers a latent frame.

A layout names the controls and gives each a slice of one vector a frame. NaN means *not asked for*: the
network is told which numbers are given, and training leaves controls out at random, so a model plays freely
and follows whatever part of them is set.

=============  =======  =================================================================================
control        numbers  meaning
=============  =======  =================================================================================
``chroma``     12       strength of the pitch classes C, C#, ..., B in [0, 1], the largest being 1;
                        all 0 in silence
``loudness``   1        root mean square level in units of 20 dB, 0 at -20 dBFS, at least -2 (-60 dBFS)
``roll``       60       1 for the MIDI pitches 36..95 that sound, else 0
``tempo``      1        log2 of the beats a minute over 120
``style``      tags     one-hot
``partner``    C        normalised latents of another player
=============  =======  =================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Control", "ControlLayout"]


@dataclass(frozen=True)
class Control:
    """A named group of numbers a frame.

    Parameters
    ----------
    name : str
    width : int >= 1
        Numbers a frame.
    """

    name: str
    width: int


@dataclass(frozen=True)
class ControlLayout:
    """The controls of a model, in the order of the network's conditions.

    Parameters
    ----------
    controls : tuple of Control
        Names differ.
    styles : tuple of str
        Tags of the control ``style``, in its order; empty without it.
    """

    controls: tuple[Control, ...] = ()
    styles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [control.name for control in self.controls]
        if len(set(names)) != len(names):
            raise ValueError(f"every control must have a name of its own, got {names}")
        if any(control.width < 1 for control in self.controls):
            raise ValueError(f"every control must have a width of at least 1, got {self.controls}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the controls."""
        return tuple(control.name for control in self.controls)

    @property
    def width(self) -> int:
        """Numbers a frame, over all controls."""
        return sum(control.width for control in self.controls)

    def place(self, name: str) -> slice:
        """Return where a control's numbers stand.

        Raises
        ------
        ValueError
            For a control that the model does not have.
        """
        start = 0
        for control in self.controls:
            if control.name == name:
                return slice(start, start + control.width)
            start += control.width
        known = ", ".join(self.names) or "none"
        raise ValueError(f"this model has no control {name!r}; it has {known}")

    def empty(self, frames: int) -> Tensor:
        """Return frames in which nothing is asked for, ``(frames, width)`` of NaN."""
        return torch.full((frames, self.width), torch.nan)

    def fill(self, frames: int, values: Mapping[str, Tensor | float]) -> Tensor:
        """Return frames with the given controls set, ``(frames, width)``.

        Parameters
        ----------
        frames : int
        values : mapping of str to Tensor or float
            Each broadcastable to ``(frames, width of the control)``.

        Raises
        ------
        ValueError
            For an unknown control or values that do not fit.
        """
        filled = self.empty(frames)
        for name, value in values.items():
            part = filled[:, self.place(name)]
            given = torch.as_tensor(value, dtype=filled.dtype)
            try:
                part.copy_(given.expand_as(part))
            except RuntimeError:
                raise ValueError(
                    f"control {name!r} must broadcast to {tuple(part.shape)} (frames, numbers), got "
                    f"{tuple(given.shape)}"
                ) from None
        return filled
