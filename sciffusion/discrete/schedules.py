r"""Schedules: how the probability to keep a token falls from data (time 0) to noise (time 1).

A schedule gives :math:`a_t \in [0, 1]`, falling from :math:`a_0 = 1` to :math:`a_1 = 0`, and its derivative
:math:`\dot a_t`. Everything a process does depends on time through :math:`a_t` alone, so a change of schedule
is a change of clock: it moves where a sampler or a loss spends its effort, not what is learned.

Values are float64. Times may be a scalar, one value an item or one a token.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CosineSchedule", "KeepSchedule", "LinearSchedule", "wide"]


def wide(value: Tensor | float) -> Tensor:
    """Return numbers in float64, on a device that knows it (Apple's MPS does not)."""
    if not isinstance(value, Tensor):
        return torch.as_tensor(value, dtype=torch.float64)
    return (value.cpu() if value.device.type == "mps" else value).to(torch.float64)


class KeepSchedule(ABC):
    """The probability that a token still is what it was in the data."""

    @abstractmethod
    def keep(self, t: Tensor | float) -> Tensor:
        """Return :math:`a_t` at times ``t`` in [0, 1], float64."""

    @abstractmethod
    def derivative(self, t: Tensor | float) -> Tensor:
        r"""Return :math:`\dot a_t \le 0`, float64."""

    @abstractmethod
    def time_of_keep(self, keep: Tensor | float) -> Tensor:
        """Return the times at which the probability has values in [0, 1], float64."""


@dataclass(frozen=True)
class LinearSchedule(KeepSchedule):
    r""":math:`a_t = 1 - t`, the usual choice; times are then shares of tokens that are noise."""

    def keep(self, t: Tensor | float) -> Tensor:
        """Return ``1 - t``."""
        return 1.0 - wide(t)

    def derivative(self, t: Tensor | float) -> Tensor:
        """Return -1 for every time."""
        return -torch.ones_like(wide(t))

    def time_of_keep(self, keep: Tensor | float) -> Tensor:
        """Return ``1 - keep``."""
        return 1.0 - wide(keep)


@dataclass(frozen=True)
class CosineSchedule(KeepSchedule):
    r""":math:`a_t = \cos^2(\pi t/2)`: slow at both ends, so a uniform grid has small outer steps."""

    def keep(self, t: Tensor | float) -> Tensor:
        """Return the squared cosine, exactly 0 at ``t=1``."""
        t = wide(t)
        return torch.where(t >= 1.0, 0.0, torch.cos(0.5 * math.pi * t) ** 2)

    def derivative(self, t: Tensor | float) -> Tensor:
        """Return ``-pi/2 sin(pi t)``."""
        return -0.5 * math.pi * torch.sin(math.pi * wide(t))

    def time_of_keep(self, keep: Tensor | float) -> Tensor:
        """Return ``arccos(sqrt(keep)) 2 / pi``."""
        keep = wide(keep)
        return torch.atan2(torch.sqrt(1.0 - keep), torch.sqrt(keep)) / (0.5 * math.pi)
