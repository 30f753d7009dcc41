"""Artificial gaps, which the gap base and the network learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .history import Floats

__all__ = ["artificial_gaps", "hidden_blocks"]

_SHARES = (0.2, 0.5)  # of values hidden one by one
_BLOCK_SHARE = 0.3  # of values hidden in blocks
_SHORTEST_BLOCK = 2
_MASKS = 4


def artificial_gaps(observed: Floats, longest: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Hide values: in one copy of the rows each one with probability .2, in one with .5, in one in blocks.

    In the last, both ends of a row are hidden as well, so that gaps known from one side are among them.

    Parameters
    ----------
    observed : ndarray of shape (rows, length)
        NaN where missing already; such values count as not hidden.
    longest : int
        Of a block; lengths are spread evenly on a log scale.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (3, rows, length)
    """
    shape = observed.shape
    singles = [generator.random(shape) < share for share in _SHARES]
    blocks = random_blocks(shape, _BLOCK_SHARE, longest, generator)
    blocks |= _random_ends(shape, longest, generator)
    return np.stack([*singles, blocks]) & ~np.isnan(observed)


def random_blocks(
    shape: tuple[int, ...], share: float, longest: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return a mask of shape (rows, length) of blocks that start anywhere and cover about `share` of it."""
    length = shape[1]
    shortest = min(_SHORTEST_BLOCK, longest)
    typical = 0.5 * (shortest + longest)
    starts = generator.random(shape) < -np.log1p(-share) / typical
    low, high = np.log(shortest), np.log(longest + 1)
    lengths = np.floor(np.exp(generator.uniform(low, high, shape))).astype(np.int64)
    lengths = np.minimum(lengths, longest)
    place = np.arange(length)
    ends = np.maximum.accumulate(np.where(starts, place + lengths, 0), axis=1)
    hidden: NDArray[np.bool_] = place < ends
    return hidden


def _random_ends(shape: tuple[int, ...], longest: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of shape (rows, length) of beginnings and ends of up to `longest` places."""
    lengths = generator.integers(1, longest + 1, size=(2, shape[0], 1))
    place = np.arange(shape[1])
    ends: NDArray[np.bool_] = (place < lengths[0]) | (place >= shape[1] - lengths[1])
    return ends


def hidden_blocks(length: int, block: int) -> NDArray[np.bool_]:
    """Return masks, shape (masks, length), of blocks: every place is hidden in one, its neighbour blocks not.

    Which blocks are hidden together is at random, but the same at every call: at regular distances they could
    lie at one phase of a season, and nothing of that phase would be known.
    """
    count = -(-length // block)
    steps = np.random.default_rng(0).integers(1, _MASKS, size=count)
    mask = np.repeat(np.cumsum(steps) % _MASKS, block)[:length]
    hidden: NDArray[np.bool_] = mask == np.arange(_MASKS)[:, None]
    return hidden
