r"""Times at which bounds are looked at, closer to the data than uniform ones.

Near the data few sites are noisy, and each of them counts with a weight of the order of :math:`1 / (1 - a)`:
under uniform times the variance of a bound's integrand grows there without limit. With noise shares

.. math:: 1 - a_t = u^2, \qquad u \text{ uniform on } [0, 1], \qquad
          \int_0^1 f(t)\,dt = \operatorname{E}\Bigl[\frac{2u}{-\dot a_t}\, f(t)\Bigr]

it is finite, since the second moment of f is of the order of :math:`1 / (1 - a)`, whose square root the
density of the times follows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..training.time_samplers import stratified_uniforms

__all__ = ["BoundTimes", "bound_times"]


class BoundTimes(NamedTuple):
    """Times and what the integrand at them counts, two float64 tensors of shape (count,)."""

    times: Tensor
    weights: Tensor


def bound_times(schedule: Any, count: int, generator: torch.Generator) -> BoundTimes:
    """Draw stratified times for the integral of a bound.

    Parameters
    ----------
    schedule : KeepSchedule
        The clock of the process.
    count : int
        Number of times.
    generator : torch.Generator
        Source of randomness; the result is on its device.
    """
    u = stratified_uniforms((count,), generator).clamp_min(1e-6)
    times = schedule.time_of_keep(1.0 - u**2)
    weights = 2.0 * u.to(times.device) / -schedule.derivative(times)
    return BoundTimes(times.to(generator.device), weights.to(generator.device))
