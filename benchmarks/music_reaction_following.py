r"""How far a model does what it is asked: chroma that was asked for, and a partner that plays along.

*Following.* The chroma of a test excerpt, frame by frame, is asked for; the agreement of what is made with
the excerpt itself (mean correlation of twelve numbers, from spectral peaks: another measurement than the one
that was asked by) is compared with its agreement with the other excerpts, with that of what is made unasked,
and with that of the codec's round trip of the excerpt.

*Jamming.* A test excerpt is pushed into a session as another player's sound while it plays. With *ahead* a,
the stream is made a seconds before the partner hears it, so the last a seconds of a block are a prediction of
what he will play; with *delay* d everything of his is moved d seconds into the future, and the agreement is
with his sound d seconds ago. a = B, a block, is what a player at the machine has: of the block that is being
made he has played nothing yet. With a - d <= 0 the stream answers, with a - d = B it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from music_quality_data import RATE
from music_quality_rows import at_rate, round_trip
from numpy.typing import NDArray

from sciffusion.domains.music import Audio
from sciffusion.domains.music.control_features import chroma
from sciffusion.domains.music.metrics_chroma import chroma_correlation, chromagram

__all__ = ["agreements", "following_rows", "jam", "jamming_rows"]

Samples = NDArray[np.float32]


def agreements(made: Sequence[Samples], asked: Sequence[Samples]) -> tuple[float, float]:
    """Return the mean agreement of every piece with its own request, and with those of the others."""
    ours, theirs = ([chromagram(torch.from_numpy(one), RATE) for one in part] for part in (made, asked))
    own, other = [], []
    for place, first in enumerate(ours):
        for request, second in enumerate(theirs):
            value = chroma_correlation(first, second)
            (own if place == request else other).append(value)
    return float(np.nanmean(own)), float(np.nanmean(other)) if other else float("nan")


def following_rows(
    model: Any, asked: Sequence[Samples], settings: Sequence[tuple[int, float]]
) -> list[dict[str, Any]]:
    """Return how far the model follows chroma, for (nfe, guidance) each; first what frames the numbers.

    Parameters
    ----------
    model : LiveMusicDiffusion
        With the control "chroma".
    asked : sequence of ndarray
        Excerpts of one length at 24 kHz.
    settings : sequence of (int, float)
        Evaluations a block, and guidance.
    """
    rate, hop = model.codec_.sample_rate, model.codec_.hop
    sounds = torch.from_numpy(np.stack([Audio(one, RATE).mono_at(rate) for one in asked]))
    requests = [{"chroma": rows.numpy()} for rows in chroma(sounds, rate, hop)]
    rows = [_row("codec round trip", round_trip(model.codec_, asked) if rate == RATE else asked, asked)]
    rows.append(_row("made unasked", _played(model, asked, None, settings[0][0]), asked))
    guidance = model.guidance
    try:
        for nfe, strength in settings:
            model.set_params(guidance=strength)
            made = _played(model, asked, requests, nfe)
            rows.append(_row(f"asked, nfe {nfe}, guidance {strength:g}", made, asked))
    finally:
        model.set_params(guidance=guidance)
    return rows


def jam(model: Any, partner: Samples, *, ahead: float, delay: float, nfe: int, seed: int) -> Samples:
    """Return what a session plays along with a partner, on the time axis of his sound."""
    session = model.stream(seed=seed, nfe=nfe, ahead=ahead, delay=delay)
    block = session.block_samples * RATE // session.sample_rate
    count = -(-(len(partner) + session.lead_in * RATE // session.sample_rate) // block)
    # What begins `ahead` before the block is what he plays until it is begun; before that he was silent.
    sound = np.pad(partner, (round(ahead * RATE), (count + 1) * block))
    made = []
    for number in range(count):
        session.push_audio(sound[number * block : (number + 1) * block], RATE)
        made.append(session.step().samples)
    played = Audio(np.concatenate(made)[session.lead_in :], session.sample_rate)
    return at_rate([played], len(partner))[0]


def jamming_rows(
    model: Any, partners: Sequence[Samples], settings: Sequence[tuple[float, float]], nfe: int
) -> list[dict[str, Any]]:
    """Return the agreement with partners for (ahead, delay) each, in seconds."""
    rows = []
    for ahead, delay in settings:
        made = [
            jam(model, one, ahead=ahead, delay=delay, nfe=nfe, seed=place)
            for place, one in enumerate(partners)
        ]
        late = round(delay * RATE)
        row = _row(
            "with a partner", [one[late:] for one in made], [one[: len(one) - late] for one in partners]
        )
        rows.append({"ahead s": ahead, "delay s": delay, "unknown s": max(ahead - delay, 0.0)} | row)
    return rows


def _row(name: str, made: Sequence[Samples], asked: Sequence[Samples]) -> dict[str, Any]:
    own, other = agreements(made, asked)
    return {"row": name, "agreement": own, "with the others": other, "gain": own - other}


def _played(model: Any, asked: Sequence[Samples], requests: Any, nfe: int) -> list[Samples]:
    seconds, lag = len(asked[0]) / RATE, model.codec_.delay
    made = model.sample(
        seconds + lag / model.codec_.sample_rate, n=len(asked), nfe=nfe, seed=7, controls=requests
    )
    return at_rate([Audio(one.samples[lag:], one.sample_rate) for one in made], len(asked[0]))
