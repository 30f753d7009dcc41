"""The stream of the demonstration: chords are asked for at certain blocks, so it always plays the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .audio import Audio
from .chords import chord_pitches
from .diffusion import LiveMusicDiffusion
from .engine import LiveEngine
from .engine_runs import StreamTrace, paced_run
from .live_stream import MusicBlock
from .session import MusicSession
from .stream_stats import StreamStats

__all__ = ["DemoRun", "asked_chroma", "largest_difference", "planned_chords", "stream_live"]

_CHORDS = ("", "F:maj", "D:min")  # "" asks for nothing


class DemoRun(NamedTuple):
    """What was streamed, and how it kept up.

    Parameters
    ----------
    audio : Audio
        All blocks, without a gap.
    stats : StreamStats
    trace : StreamTrace
    block_times : list of float
        Seconds that each block took.
    """

    audio: Audio
    stats: StreamStats
    trace: StreamTrace
    block_times: list[float]


class _Planned:
    """A session in which chords are set before certain blocks; remembers its blocks."""

    def __init__(self, session: MusicSession, plan: Mapping[int, str]) -> None:
        self._session, self._plan = session, plan
        self.blocks: list[MusicBlock] = []
        self.sample_rate, self.block_samples = session.sample_rate, session.block_samples
        self.controls = session.controls
        self.set, self.push_midi, self.push_audio = session.set, session.push_midi, session.push_audio
        self.state_dict, self.load_state_dict = session.state_dict, session.load_state_dict

    @property
    def nfe(self) -> int:
        return self._session.nfe

    def step(self) -> MusicBlock:
        chord = self._plan.get(self._session.number)
        if chord is not None:
            self._session.set(chroma=chroma_of(chord) if chord else None)
        self.blocks.append(self._session.step())
        return self.blocks[-1]


def planned_chords(blocks: int) -> dict[int, str]:
    """Return the chord that is asked for from some blocks on: nothing, then one, then another."""
    return {place * blocks // len(_CHORDS): chord for place, chord in enumerate(_CHORDS)}


def chroma_of(chord: str) -> list[float]:
    """Return the chroma of a chord."""
    return [float(pitch in chord_pitches(chord)) for pitch in range(12)]


def asked_chroma(plan: Mapping[int, str], blocks: int, block: int) -> NDArray[np.float32]:
    """Return what a plan asks for, ``(blocks * block, 12)``, NaN where it is nothing."""
    rows = np.full((blocks * block, 12), np.nan, dtype=np.float32)
    for start, chord in sorted(plan.items()):
        rows[start * block :] = chroma_of(chord) if chord else np.nan
    return rows


def stream_live(model: LiveMusicDiffusion, seconds: float, plan: Mapping[int, str], seed: int) -> DemoRun:
    """Stream in real time; evaluations are not lowered, so that the sound does not depend on the machine."""
    stream = _Planned(model.stream(seed=seed), plan)
    with LiveEngine(stream, adapt=False) as engine:
        run = paced_run(engine, seconds)
    times = [block.seconds for block in stream.blocks]
    wanted = round(seconds * stream.sample_rate)
    while len(stream.blocks) * stream.block_samples < wanted:  # after underruns less of it was heard
        stream.step()
    samples = np.concatenate([block.samples for block in stream.blocks])[:wanted]
    return DemoRun(Audio(samples, stream.sample_rate), run.stats, run.trace, times)


def largest_difference(model: LiveMusicDiffusion, run: DemoRun, plan: Mapping[int, str], seed: int) -> float:
    """Return how far the stream is from the same piece made at once, full scale being 1."""
    samples = len(run.audio.samples)
    block = int(model.block)
    blocks = -(-samples // (block * model.codec_.hop))
    rows = asked_chroma(plan, blocks, block)
    controls = None if np.isnan(rows).all() else {"chroma": rows}
    whole = model.sample(samples / run.audio.sample_rate, controls=controls, seed=seed)[0]
    return float(np.abs(whole.samples - run.audio.samples).max())
