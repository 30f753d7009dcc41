r"""Memorisation of music: whether generated passages repeat training pieces, at any place and in any key.

A passage of F frames of chroma, every frame centred over the twelve pitch classes, is a vector q. Its
distance to a training piece is the smallest over all places s of the piece and all transpositions k,

.. math::
    d^2 = \min_{s, k} \; 2 - 2 \frac{\langle R_k q, x_{s:s+F} \rangle}{|q| \, |x_{s:s+F}|},

with :math:`R_k` the rotation by k semitones: 0 for a copy, :math:`\sqrt 2` for unrelated passages. It is
blind to loudness and almost to the instrument; a copy in another tempo is not found. (Construction of this
library, after the nearest-neighbour tests of `sciffusion.diagnostics`.)

What is small depends on the music, so everything is held against passages of pieces that the model has not
seen: the *ratio* of the median distances, near 1 for a model that makes music of its own and near 0 for one
that copies, and the share of generated passages *flagged*, that is nearer to the training pieces than all
but ``level`` of the held-out passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics_chroma import chromagram

__all__ = ["MusicMemorisation", "NearestPassages", "music_memorisation", "nearest_passages"]

#: Most numbers in one block of correlations.
_BLOCK = 24_000_000
# A frame counts as silent below this squared length, a passage where all its frames are.
_SILENT = 1e-10


@dataclass(frozen=True, eq=False)
class NearestPassages:
    """The nearest passage of a set of pieces to every query.

    Parameters
    ----------
    distances : Tensor of shape ``(queries,)``
        0 for a copy.
    pieces, frames : Tensor of shape ``(queries,)``
        The piece and the frame at which the passage begins.
    transpositions : Tensor of shape ``(queries,)``
        Semitones, 0 to 11, by which the query was moved up.
    """

    distances: Tensor
    pieces: Tensor
    frames: Tensor
    transpositions: Tensor


@dataclass(frozen=True, eq=False)
class MusicMemorisation:
    """How near generated passages come to the training pieces, against held-out passages.

    Parameters
    ----------
    ratio : float
        Median distance of generated over that of held-out passages.
    flagged : float
        Share of generated passages at most as far as ``threshold``.
    threshold : float
        The ``level`` quantile of the distances of held-out passages.
    level : float
        Share flagged of passages that are no copies.
    generated, held_out : NearestPassages
    """

    ratio: float
    flagged: float
    threshold: float
    level: float
    generated: NearestPassages
    held_out: NearestPassages


def music_memorisation(
    generated: Tensor,
    training: Sequence[Tensor],
    held_out: Tensor,
    sample_rate: int,
    *,
    level: float = 0.05,
    frames_per_second: float = 10.0,
) -> MusicMemorisation:
    """Look for generated passages that repeat training pieces.

    Parameters
    ----------
    generated, held_out : Tensor
        Passages of audio, shapes ``(n, samples)`` and ``(m, samples)`` of one length; some seconds, because
        short passages resemble each other.
    training : sequence of Tensor
        Audio of the training pieces, each of shape ``(samples,)`` and at least as long as a passage.
    sample_rate : int
        Samples a second.
    level : float
        Share of held-out passages that would be flagged.
    frames_per_second : float
        Of the chroma; places are tried this finely.

    Raises
    ------
    ValueError
        For passages of unequal length, no passages, or a level outside (0, 1).
    """
    if generated.ndim != 2 or held_out.ndim != 2 or generated.shape[-1] != held_out.shape[-1]:
        raise ValueError(
            "generated and held_out must be passages (count, samples) of one length, got "
            f"{tuple(generated.shape)} and {tuple(held_out.shape)}"
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    pieces = [chromagram(piece, sample_rate, frames_per_second=frames_per_second) for piece in training]
    found, null = (
        nearest_passages(chromagram(part, sample_rate, frames_per_second=frames_per_second), pieces)
        for part in (generated, held_out)
    )
    threshold = float(torch.quantile(null.distances, level))
    ratio = float(found.distances.median() / null.distances.median().clamp_min(1e-9))
    flagged = float((found.distances <= threshold).double().mean())
    return MusicMemorisation(ratio, flagged, threshold, level, found, null)


def nearest_passages(queries: Tensor, pieces: Sequence[Tensor]) -> NearestPassages:
    """Return the nearest passages in chroma, over all places and transpositions.

    Parameters
    ----------
    queries : Tensor
        Chroma of passages, shape ``(queries, frames, 12)``; a silent one is unrelated to everything.
    pieces : sequence of Tensor
        Chroma of pieces, each ``(its frames, 12)``; pieces shorter than a passage are refused.

    Raises
    ------
    ValueError
        For other shapes, or without queries or pieces.
    """
    if queries.ndim != 3 or queries.shape[-1] != 12 or 0 in queries.shape:
        raise ValueError(f"queries must have shape (queries, frames, 12), got {tuple(queries.shape)}")
    length = queries.shape[1]
    if not pieces or any(piece.ndim != 2 or piece.shape[-1] != 12 for piece in pieces):
        raise ValueError("pieces must be chroma of shape (frames, 12), at least one")
    if min(len(piece) for piece in pieces) < length:
        raise ValueError(
            f"every piece must have at least the {length} frames of a passage, the shortest has "
            f"{min(len(piece) for piece in pieces)}"
        )
    corpus = _centred(torch.cat(list(pieces)))
    places = _places(pieces, length).to(corpus.device)
    lengths = corpus.square().sum(-1).unfold(0, length, 1).sum(-1)
    heard = torch.where(lengths > _SILENT * length, lengths, torch.inf).rsqrt()
    asked = _centred(queries)
    norms = asked.flatten(1).norm(dim=1, keepdim=True)
    asked = asked / torch.where(norms > 0.0, norms, 1.0)[..., None]
    blocks = torch.split(asked, max(1, _BLOCK // (12 * len(corpus))))
    found = [_best(part, corpus, heard, places) for part in blocks]
    best, index, keys = (torch.cat(parts) for parts in zip(*found, strict=True))
    starts = torch.tensor([0, *(len(piece) for piece in pieces)]).cumsum(0).to(index.device)
    piece = torch.searchsorted(starts, index, side="right") - 1
    distances = (2.0 - 2.0 * best.double()).clamp_min(0.0).sqrt()
    return NearestPassages(distances, piece, index - starts[piece], keys)


def _centred(chroma: Tensor) -> Tensor:
    """Return frames of length 1 around their mean, silent ones 0."""
    centred = chroma.float() - chroma.float().mean(-1, keepdim=True)
    norms = centred.norm(dim=-1, keepdim=True)
    return torch.where(norms > _SILENT**0.5, centred / norms.clamp_min(_SILENT**0.5), 0.0)


def _places(pieces: Sequence[Tensor], length: int) -> Tensor:
    """Return which frames of all pieces in a row begin a passage that lies within one piece."""
    flags = []
    for piece in pieces:
        begins = torch.zeros(len(piece), dtype=torch.bool)
        begins[: len(piece) - length + 1] = True
        flags.append(begins)
    return torch.cat(flags)[: sum(len(piece) for piece in pieces) - length + 1]


def _best(queries: Tensor, corpus: Tensor, heard: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest correlation of every query, its place and its transposition."""
    turned = torch.stack([queries.roll(key, dims=-1) for key in range(12)], dim=1)
    kernels = turned.flatten(0, 1).mT.contiguous()
    products = torch.nn.functional.conv1d(corpus.mT[None], kernels)[0]
    values = torch.where(places, products * heard, -2.0).reshape(len(queries), 12, -1)
    best, place = values.max(dim=-1)
    value, key = best.max(dim=-1)
    return value, place.gather(1, key[:, None])[:, 0], key
