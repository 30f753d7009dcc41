"""Rewards of sequences as users write them, for particles of token numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..sampling import TokenSteering
from .validation import check_number

__all__ = ["note_failures", "steering_of"]


def steering_of(
    reward: Callable[[Any], Any],
    decode: Callable[[NDArray[np.int64]], Any],
    count: int,
    scale: float,
    options: Mapping[str, Any] | None,
) -> TokenSteering:
    """Return the particles that a reward of sequences steers.

    Parameters
    ----------
    reward : callable
        From sequences to one number each.
    decode : callable
        From rows of token numbers to sequences.
    count : int
        Particles.
    scale : float
        What rewards are multiplied by.
    options : mapping, optional
        Further arguments of `TokenSteering`.

    Raises
    ------
    TypeError, ValueError
        If the reward is no function or an argument is wrong.
    """
    if not callable(reward):
        raise TypeError(f"reward must be a function of sequences, got {type(reward).__name__}")

    def of_tokens(tokens: Tensor) -> Any:
        rows = tokens.reshape(-1, tokens.shape[-1]).cpu().numpy()
        return reward(decode(rows))

    def describe(tokens: Tensor) -> str:
        return str(decode(tokens.reshape(1, -1).cpu().numpy())[0])

    given = {"describe": describe, **dict(options or {})}
    return TokenSteering(of_tokens, count, scale=check_number("reward_scale", scale), **given)


def note_failures(particles: TokenSteering) -> None:
    """Warn of rewards that raised and were counted as weight zero."""
    failures = particles.failures
    if failures:
        first = failures[0]
        warnings.warn(
            f"the reward of {len(failures)} sequences raised, which therefore have weight zero; the first "
            f"was {first.item} ({type(first.error).__name__}: {first.error})",
            UserWarning,
            stacklevel=4,
        )
