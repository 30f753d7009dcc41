"""What plays live music: the interface between streams of a model and the engine, the server and the command.

A live stream makes one block of audio after the other (`LiveStream.step`). It is not thread-safe by itself:
one producer calls `step`, and `set`, `push_midi` and `push_audio` may be called from other threads at any
time; what they say holds from the next block on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LiveStream", "MusicBlock"]


class MusicBlock(NamedTuple):
    """A finished block of audio.

    Parameters
    ----------
    number : int
        Its place in the stream, from 0.
    samples : ndarray of float32, shape ``(block_samples,)``
        Full scale is [-1, 1].
    nfe : int
        Network evaluations that it took.
    seconds : float
        Wall seconds that it took.
    """

    number: int
    samples: NDArray[np.float32]
    nfe: int
    seconds: float


class LiveStream(Protocol):
    """A stream of blocks that can be steered."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        ...

    @property
    def block_samples(self) -> int:
        """Samples in a block."""
        ...

    @property
    def nfe(self) -> int:
        """Evaluations a block, from the next one on."""
        ...

    @property
    def controls(self) -> Mapping[str, Any]:
        """What is set, by name of the control."""
        ...

    def step(self) -> MusicBlock:
        """Make the next block."""
        ...

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change evaluations a block, or controls (None releases one)."""
        ...

    def push_midi(self, message: bytes) -> None:
        """Hear a MIDI message: note on, note off, or all notes off."""
        ...

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Hear another player, from where the stream now is."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next blocks depend on: tensors, numbers and strings."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...
