"""Copies are found wherever they are and in any key; music of the same kind is not taken for a copy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.music.metrics_memorisation import music_memorisation, nearest_passages

RATE = 6000


def _piece(seed: int, seconds: int = 20, move: int = 0) -> Tensor:
    """Return a random walk of tones of a scale, with a tone a fifth or so below."""
    random = np.random.default_rng(seed)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19])
    places = np.cumsum(random.integers(-2, 3, 3 * seconds)) % len(scale)
    time = torch.arange(RATE // 3) / RATE

    def tone(pitch: float) -> Tensor:
        return torch.sin(2 * math.pi * 440.0 * 2.0 ** ((pitch - 69.0) / 12.0) * time)

    tones = [tone(60 + scale[place] + move) + tone(55 + scale[place // 2] + move) for place in places]
    return 0.2 * torch.cat(tones)


def _passages(pieces: list[Tensor]) -> Tensor:
    return torch.cat([piece[: 16 * RATE].reshape(4, 4 * RATE) for piece in pieces])


TRAINING = [_piece(seed) for seed in range(12)]
HELD_OUT = _passages([_piece(seed) for seed in range(100, 108)])


def test_new_music_of_the_same_kind_is_no_copy() -> None:
    found = music_memorisation(
        _passages([_piece(seed) for seed in range(200, 208)]), TRAINING, HELD_OUT, RATE
    )
    assert 0.9 < found.ratio < 1.1
    assert found.flagged < 0.25


def test_copies_shifted_in_time_transposed_and_softer_are_flagged() -> None:
    shift = round(1.234 * RATE)  # no multiple of a frame
    moved = [_piece(seed, move=3)[shift : shift + 4 * RATE] for seed in range(6)]
    plain = [TRAINING[seed][2 * shift : 2 * shift + 4 * RATE] for seed in range(6)]
    found = music_memorisation(0.2 * torch.stack([*moved, *plain]), TRAINING, HELD_OUT, RATE)
    assert found.ratio < 0.4
    assert found.flagged == 1.0
    assert found.generated.pieces.tolist() == [*range(6), *range(6)]
    assert found.generated.transpositions.tolist() == [9] * 6 + [0] * 6
    frames = found.generated.frames / 10.0
    assert float((frames[:6] - 1.234).abs().max()) <= 0.1
    assert float((frames[6:] - 2.468).abs().max()) <= 0.1


def test_a_few_copies_among_many_are_counted() -> None:
    passages = _passages([_piece(seed) for seed in range(200, 207)])
    copies = torch.stack([TRAINING[i][5000 * i + 4000 :][: 4 * RATE] for i in range(2)])
    found = music_memorisation(torch.cat([passages, copies]), TRAINING, HELD_OUT, RATE)
    assert bool((found.generated.distances[-2:] < found.threshold).all())
    assert found.ratio > 0.85


def test_distance_is_that_of_correlations_searched_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.rand(9, 12, generator=generator), torch.rand(7, 12, generator=generator)]
    query = torch.rand(1, 4, 12, generator=generator)

    def unit(chroma: Tensor) -> Tensor:
        centred = chroma - chroma.mean(-1, keepdim=True)
        return centred / centred.norm(dim=-1, keepdim=True)

    best = -1.0
    for piece in pieces:
        for start in range(len(piece) - 3):
            for key in range(12):
                part = unit(piece[start : start + 4])
                best = max(best, float((unit(query[0]).roll(key, -1) * part).sum()) / 4.0)
    found = nearest_passages(query, pieces)
    assert float(found.distances[0]) == pytest.approx(math.sqrt(2 - 2 * best), abs=1e-5)


def test_passages_across_two_pieces_do_not_count_and_silence_is_unrelated() -> None:
    generator = torch.Generator().manual_seed(1)
    pieces = [torch.rand(6, 12, generator=generator) for _ in range(2)]
    across = torch.cat([pieces[0][-2:], pieces[1][:2]])[None]
    assert float(nearest_passages(across, pieces).distances[0]) > 0.3
    silent = nearest_passages(torch.zeros(1, 4, 12), pieces)
    assert float(silent.distances[0]) == pytest.approx(math.sqrt(2.0))


def test_bad_input_is_refused() -> None:
    passage = HELD_OUT[:2]
    with pytest.raises(ValueError, match="one length"):
        music_memorisation(passage[:, :-1], TRAINING[:1], passage, RATE)
    with pytest.raises(ValueError, match="level"):
        music_memorisation(passage, TRAINING[:1], passage, RATE, level=0.0)
    with pytest.raises(ValueError, match="at least the"):
        music_memorisation(passage, [TRAINING[0][:RATE]], passage, RATE)
    with pytest.raises(ValueError, match="at least one"):
        nearest_passages(torch.zeros(1, 4, 12), [])
    with pytest.raises(ValueError, match="queries must have shape"):
        nearest_passages(torch.zeros(4, 12), [torch.zeros(8, 12)])
