"""A small model that hears a partner, for the benchmark of playing along: trained here, in minutes.

Training pieces of a rendered corpus in one style are what it plays, the same pieces in another style are the
partner. So the partner plays the same notes on another instrument: what can be learnt is to double him, the
simplest way of playing along, and the only one for which chroma agreement is the right measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from music_quality_data import RATE, Piece

from sciffusion.domains.music import Audio
from sciffusion.domains.music.diffusion import LiveMusicDiffusion

__all__ = ["pairs", "partner_model"]


def pairs(
    pieces: Sequence[Piece], split: str, count: int, seconds: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return beginnings of pieces in the last and in the first style, of one split, alike in length.

    Raises
    ------
    ValueError
        If the corpus has one style only.
    """
    styles = sorted({piece.style for piece in pieces})
    if len(styles) < 2:
        raise ValueError(f"a partner needs pieces in two styles, the corpus has {styles}")
    by_name: dict[str, dict[str, Piece]] = {}
    for piece in pieces:
        if piece.split == split:
            by_name.setdefault(piece.name, {})[piece.style] = piece
    both = [found for found in by_name.values() if styles[0] in found and styles[-1] in found]
    # Spread over the names, which are ordered by number of the work.
    chosen = [both[place] for place in np.unique(np.linspace(0, len(both) - 1, count).round().astype(int))]
    played, heard = [], []
    for found in chosen:
        ours, theirs = found[styles[-1]].samples(), found[styles[0]].samples()
        length = min(len(ours), len(theirs), round(seconds * RATE))
        played.append(ours[:length])
        heard.append(theirs[:length])
    return played, heard


def partner_model(
    pieces: Sequence[Piece], codec: Any, *, count: int, seconds: float, steps: int, path: Path | None = None,
    **sizes: Any,
) -> Any:  # fmt: skip
    """Return a model that has learnt to double a partner, from a file if it is there.

    Parameters
    ----------
    pieces : sequence of Piece
        A corpus in two styles.
    codec : Codec
    count : int
        Training pieces.
    seconds : float
        Of each, from its beginning.
    steps : int
        Training steps.
    path : Path, optional
        Where it is read from or written to.
    **sizes : object
        Further hyper-parameters.
    """
    if path is not None and path.is_file():
        return LiveMusicDiffusion.load(path)
    played, heard = pairs(pieces, "train", count, seconds)
    model = LiveMusicDiffusion(
        codec=codec, controls=("partner",), max_steps=steps, random_state=0, device="cpu", **sizes
    )
    partners = [{"partner": Audio(one, RATE)} for one in heard]
    model.fit([Audio(one, RATE) for one in played], partners)
    if path is not None:
        model.save(path)
    return model
