r"""From a change of a control to sound: how long it takes, and from which sample on it is heard.

*Times of blocks* are the CPU seconds that a session takes for a block: a network of the default size with
random weights (its cost does not depend on them) or a trained model. *Reaction times* are then those of the
real engine on a simulated clock, where a block takes one of these times: a stream that plays the number of
the last change as a constant is listened to, and the time from each change to the first sample of that value
is taken from the sound itself, not from the engine's own statistics. So they hold for a machine that does
nothing else; the player's own buffer and the lag of the codec come on top.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sciffusion.continuous import RectifiedFlow
from sciffusion.domains.music import SpectralCodec
from sciffusion.domains.music.control_input import build_layout
from sciffusion.domains.music.engine import LiveEngine
from sciffusion.domains.music.engine_runs import SimulatedClock, simulated_run
from sciffusion.domains.music.live_stream import MusicBlock
from sciffusion.domains.music.session import MusicSession
from sciffusion.domains.music.session_blocks import BlockMaker
from sciffusion.networks import BlockLatentTransformer

__all__ = ["ToneStream", "block_seconds", "first_change", "random_session", "reactions"]

RATE, HOP, CONTEXT_FRAMES = 24_000, 960, 192


def random_session(
    codec: Any = None, *, block: int = 24, nfe: int = 8, width: int = 256, depth: int = 6, n_heads: int = 4
) -> MusicSession:
    """Return a stream of a network with random weights that sees 7.7 s, in blocks of any length."""
    codec = SpectralCodec(RATE, HOP, 32) if codec is None else codec
    layout = build_layout(("chroma", "loudness"), (), codec.channels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BlockLatentTransformer(
            codec.channels, block=block, window=max(2, CONTEXT_FRAMES // block), width=width, depth=depth,
            n_heads=n_heads, n_conditions=layout.width,
        )  # fmt: skip
        for parameter in network.parameters():  # as built, the output is zero
            torch.nn.init.normal_(parameter, std=0.05)
    network = network.eval().requires_grad_(False)
    maker = BlockMaker(network, codec, layout, path=RectifiedFlow(), prediction="flow")
    return MusicSession(maker, seed=0, nfe=nfe)


def block_seconds(session: MusicSession, blocks: int) -> np.ndarray:
    """Return the CPU seconds of blocks, once the window is full."""
    for _ in range(int(CONTEXT_FRAMES * HOP / session.block_samples) + 1):
        session.step()
    found = []
    for _ in range(blocks):
        began = time.process_time()
        session.step()
        found.append(time.process_time() - began)
    return np.array(found)


def first_change(session: MusicSession, other: MusicSession, block: int, **controls: Any) -> dict[str, float]:
    """Return where two streams of one seed part when one is asked for something from a block on.

    Returns
    -------
    dict
        ``before``: the largest difference before that block; ``seconds``: from the block's first sample to
        the first difference; ``half``: to where half of the block's difference has been heard.
    """
    before = 0.0
    for _ in range(block):
        before = max(before, float(np.abs(session.step().samples - other.step().samples).max()))
    other.set(**controls)
    apart = np.abs(session.step().samples - other.step().samples).astype(np.float64)
    heard = np.cumsum(apart**2)
    rate = session.sample_rate
    if heard[-1] == 0.0:
        return {"before": before, "seconds": float("nan"), "half": float("nan")}
    first = int(np.flatnonzero(apart > 1e-6 * apart.max())[0])
    return {"before": before, "seconds": first / rate,
            "half": int(np.searchsorted(heard, 0.5 * heard[-1])) / rate}  # fmt: skip


class ToneStream:
    """A live stream that plays the number of the last change, and takes the times of a real one.

    Parameters
    ----------
    block_samples : int
    times : mapping of int to ndarray
        Seconds that blocks take, by evaluations; for others the times of the nearest number are scaled.
    nfe : int
    seed : int
        Of the choice among the times.
    """

    sample_rate = RATE

    def __init__(self, block_samples: int, times: Mapping[int, np.ndarray], nfe: int, seed: int = 0) -> None:
        self.block_samples, self.nfe = block_samples, nfe
        self.controls: dict[str, Any] = {}
        self._times, self._random, self._number = dict(times), np.random.default_rng(seed), 0

    def step(self) -> MusicBlock:
        """Return a block of the constant."""
        nearest = min(self._times, key=lambda nfe: abs(nfe - self.nfe))
        seconds = float(self._random.choice(self._times[nearest])) * (self.nfe + 1) / (nearest + 1)
        value = self.controls.get("change", 0) / 1000.0
        self._number += 1
        samples = np.full(self.block_samples, value, dtype=np.float32)
        return MusicBlock(self._number - 1, samples, self.nfe, seconds)

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Take a change."""
        self.nfe = self.nfe if nfe is None else nfe
        self.controls.update(controls)

    def push_midi(self, message: bytes) -> None:
        """Hear nothing."""

    def push_audio(self, samples: np.ndarray, sample_rate: int) -> None:
        """Hear nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def reactions(
    stream: ToneStream, changes: int, *, prebuffer: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return the reaction times of changes at random moments, from the sound that is heard.

    Parameters
    ----------
    stream : ToneStream
    changes : int
        At most 900.
    prebuffer : float, optional
        Seconds of audio made ahead; measured by the engine by default.
    seed : int
        Of the moments.
    """
    block = stream.block_samples / RATE
    random = np.random.default_rng(seed)
    spacing = 4.0 * max(block, prebuffer or 0.0) + 1.0
    moments = 10.0 * block + np.arange(changes) * spacing + random.uniform(0.0, block, changes)
    engine = LiveEngine(stream, prebuffer_seconds=prebuffer, clock=SimulatedClock())  # type: ignore[arg-type]
    at = [
        (float(moment), lambda number=number: engine.set(change=number))
        for number, moment in enumerate(moments, 1)
    ]
    run = simulated_run(engine, float(moments[-1]) + spacing, at=at)
    found = _heard(run.audio.samples, moments)
    return {
        "changes": len(found), "median s": float(np.median(found)), "p95 s": float(np.quantile(found, 0.95)),
        "largest s": float(found.max()), "prebuffer s": run.stats.prebuffer_seconds,
        "underruns": run.stats.underruns, "nfe at the end": run.stats.nfe,
    }  # fmt: skip


def _heard(samples: np.ndarray, moments: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the seconds from every change to the first sample of its value."""
    numbers = np.round(1000.0 * samples).astype(int)
    found = []
    for number, moment in enumerate(moments, 1):
        places = np.flatnonzero(numbers == number)
        places = places[places >= moment * RATE]
        # Sound is handed over in reads of 20 ms: a sample is heard where it stands.
        found.append(places[0] / RATE - moment if len(places) else np.inf)
    return np.array(found)
