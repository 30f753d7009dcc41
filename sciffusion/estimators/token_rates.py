"""Rates at which the tokens of an alphabet turn into each other, from a name or a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..discrete.kernels import AMINO_ACIDS, NUCLEOTIDES, blosum62_rates, kimura_rates, ordinal_rates
from .token_alphabet import TokenAlphabet

__all__ = ["token_rates"]

#: Rates by name, each with the letters that they are for.
_NAMED: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "nucleotides": ("".join(NUCLEOTIDES), kimura_rates),
    "amino_acids": ("".join(AMINO_ACIDS), blosum62_rates),
}


def token_rates(alphabet: TokenAlphabet, given: Any) -> Tensor:
    """Return the rates between all tokens, the end included.

    Parameters
    ----------
    alphabet : TokenAlphabet
        The tokens.
    given : str, array-like or None
        "nucleotides" (transitions twice as fast as transversions), "amino_acids" (BLOSUM62), "levels" (only
        neighbours in the order of the alphabet turn into each other), or a matrix of rates between the tokens
        in the order of the alphabet.

    Returns
    -------
    Tensor of shape ``(vocab_size, vocab_size)``
        The end and letters that named rates do not know turn into any token, and any token into them, at the
        mean rate.

    Raises
    ------
    ValueError
        If the name is not known or fits no token, or the matrix has another shape.
    """
    symbols = [str(one) for one in alphabet.symbols]
    if given is None:
        raise ValueError(
            f"process='matrix' needs rates: {', '.join(map(repr, [*_NAMED, 'levels']))} or a matrix"
        )
    if not isinstance(given, str):
        return _extended(_matrix(given, len(symbols)), list(range(len(symbols))), alphabet.vocab_size)
    if given == "levels":
        inner = torch.zeros(1, 1) if len(symbols) < 2 else ordinal_rates(len(symbols))
        return _extended(inner, list(range(len(symbols))), alphabet.vocab_size)
    if given not in _NAMED:
        raise ValueError(f"rates must be one of {[*_NAMED, 'levels']} or a matrix, got {given!r}")
    letters, make = _NAMED[given]
    places = [place for place, one in enumerate(symbols) if len(one) == 1 and one in letters]
    if len(places) < 2:
        raise ValueError(
            f"rates={given!r} are for the letters {letters}, of which the alphabet {symbols} has "
            f"{len(places)}"
        )
    order = [letters.index(symbols[place]) for place in places]
    return _extended(make()[order][:, order], places, alphabet.vocab_size)


def _matrix(given: Any, size: int) -> Tensor:
    matrix = torch.as_tensor(np.asarray(given, dtype=np.float64))
    if matrix.shape != (size, size):
        raise ValueError(
            f"rates must have shape ({size}, {size}), one row a token of the alphabet, got shape "
            f"{tuple(matrix.shape)}"
        )
    return matrix


def _extended(inner: Tensor, places: list[int], size: int) -> Tensor:
    """Put rates at their places among more tokens, which exchange with all at the mean rate."""
    inner = inner.double().clone()
    inner.fill_diagonal_(0.0)
    mean = float(inner.sum() / max(len(places) * (len(places) - 1), 1)) or 1.0
    rates = torch.full((size, size), mean, dtype=torch.float64)
    index = torch.tensor(places)
    rates[index[:, None], index] = inner
    rates.fill_diagonal_(0.0)
    return rates
