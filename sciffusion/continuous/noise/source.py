"""Sources of noise for stochastic steps.

A stochastic solver asks its noise source for standard normal values between two times.  The source sees the
times, so that noise tied to time (Brownian trees, coloured noise, test impulses) fits the same signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["NoiseSource", "WhiteNoise"]


class NoiseSource(Protocol):
    """Standard normal noise for the step between two times."""

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Return noise of the shape, type and device of ``like`` for the step from ``t`` to ``t_next``."""
        ...


@dataclass(frozen=True)
class WhiteNoise:
    """Independent standard normal noise at every element and every step."""

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Draw from ``generator``, which may live on another device than ``like``.

        Raises
        ------
        ValueError
            Without a generator: the global random state is never used.
        """
        if generator is None:
            raise ValueError("a stochastic solver needs a generator, got None; pass generator= to sample()")
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
        return noise.to(like.device)
