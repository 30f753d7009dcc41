"""A stream without a model, exact by construction, for what plays streams: the server and its page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sciffusion.domains.music.audio import Audio
from sciffusion.domains.music.live_stream import MusicBlock


class SineStream:
    """Blocks of a sine whose samples follow from the seed, their index, the note held and what was heard.

    Parameters
    ----------
    seed : int
        Of the frequency at which no note is held.
    nfe : int
        Evaluations that are claimed, each taking ``seconds``.
    context : Audio, optional
        Its mean is added to every sample.
    block_samples : int
    seconds : float
        Slept an evaluation.
    """

    sample_rate = 24_000
    known_controls = ("chroma", "loudness", "style")

    def __init__(
        self, *, seed: int = 0, nfe: int = 8, context: Audio | None = None, block_samples: int = 4_800,
        seconds: float = 0.0,
    ) -> None:  # fmt: skip
        if seed == 13:
            raise ValueError("seed must not be 13")
        self.block_samples, self.nfe, self.seconds = block_samples, nfe, seconds
        self.controls: dict[str, Any] = {}
        self.offset = 0.0 if context is None else float(context.samples.mean())
        self.number, self.seed, self.note, self.heard = 0, seed, None, 0.0

    def samples(self, number: int) -> NDArray[np.float32]:
        """Return block ``number`` as it sounds with the present note."""
        frequency = 440.0 * 2 ** ((self.note - 69) / 12) if self.note is not None else 200.0 + self.seed
        index = np.arange(number * self.block_samples, (number + 1) * self.block_samples)
        wave = 0.2 * np.sin(2 * np.pi * frequency * index / self.sample_rate) + self.offset + self.heard
        return wave.astype(np.float32)

    def step(self) -> MusicBlock:
        """Make the next block; the style "broken" fails, "nan" makes no sound."""
        time.sleep(self.seconds * self.nfe)
        if self.controls.get("style") == "broken":
            raise RuntimeError("the network exploded")
        samples = self.samples(self.number)
        if self.controls.get("style") == "nan":
            samples = np.full_like(samples, np.nan)
        self.number += 1
        return MusicBlock(self.number - 1, samples, self.nfe, self.seconds * self.nfe)

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change what is asked for."""
        for name, value in controls.items():
            if name not in self.known_controls:
                raise ValueError(f"this model has no control {name!r}")
            self.controls[name] = value
        self.nfe = self.nfe if nfe is None else nfe

    def push_midi(self, message: bytes) -> None:
        """Hold the note of a note on, let go of it at a note off."""
        kind, pitch, velocity = message[0] & 0xF0, message[1], message[2]
        self.note = pitch if kind == 0x90 and velocity > 0 else None

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Add the mean of what is heard to what follows."""
        self.heard = float(samples.mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the next block."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a number."""
        self.number = int(state["number"])


@pytest.fixture(scope="session")
def sine_stream() -> type[SineStream]:
    """Return the class of exact streams."""
    return SineStream
