"""What is asked of a piece from block to block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from .controls import ControlLayout
from .midi_input import HeldKeys, key_chroma, key_roll

__all__ = ["ControlTrack", "held_key_rows"]


class _Setting(NamedTuple):
    """Rows that hold from a block on: one for all frames, or one a frame and then nothing."""

    rows: Tensor
    start: int


class ControlTrack:
    """Controls over time.

    Parameters
    ----------
    layout : ControlLayout
    block : int
        Frames in a block.
    rows : mapping of str to Tensor, optional
        What is set from block 0 on (see `set`).
    """

    def __init__(self, layout: ControlLayout, block: int, rows: Mapping[str, Tensor] | None = None) -> None:
        self._layout, self._block = layout, block
        self._settings = {name: _Setting(value, 0) for name, value in (rows or {}).items()}

    def set(self, name: str, rows: Tensor | None, start: int) -> None:
        """Set a control from a block on, or release it.

        Parameters
        ----------
        name : str
        rows : Tensor of shape ``(1, width)`` or ``(frames, width)``, or None
            One row holds until it is changed; of several, the first belongs to the first frame of the block,
            and after the last one nothing is asked for.
        start : int
            Number of the block.
        """
        self._layout.place(name)
        if rows is None:
            self._settings.pop(name, None)
        else:
            self._settings[name] = _Setting(rows, start)

    def of_block(self, number: int) -> Tensor:
        """Return the controls of a block, ``(block, width)``."""
        frames = self._layout.empty(self._block)
        for name, (rows, start) in self._settings.items():
            first = (number - start) * self._block
            part = rows.expand(self._block, -1) if len(rows) == 1 else rows[first : first + self._block]
            frames[: len(part), self._layout.place(name)] = part
        return frames

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Return rows and first blocks by name."""
        rows = {name: setting.rows.clone() for name, setting in self._settings.items()}
        return rows, {name: setting.start for name, setting in self._settings.items()}

    def restore(self, rows: Mapping[str, Tensor], starts: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._settings = {name: _Setting(rows[name].clone(), int(start)) for name, start in starts.items()}


def held_key_rows(layout: ControlLayout, keys: HeldKeys) -> dict[str, Tensor]:
    """Return what keys that sound ask for, ``(1, width)`` each; nothing where none sounds."""
    if not keys.pitches:
        return {}
    rows = {"chroma": key_chroma(keys.pitches), "roll": key_roll(keys.pitches)}
    return {name: row[None] for name, row in rows.items() if name in layout.names}
