r"""DYffusion's cold sampling: a forecast as a walk along time in place of noise.

Two networks share the work. The interpolator gives a random state between now and later,
:math:`x_s \sim I(x_0, x_h, s)`; the forecaster gives the end from a state on the way,
:math:`x_h = F(x_s, s)`. Beginning at the known :math:`x_0`, for s through the *schedule*

.. math:: 0,\; \tfrac1{k+1}, \dots, \tfrac k{k+1},\; 1, 2, \dots, h - 1,

every step forecasts the end anew and moves on by the difference of two interpolations,

.. math:: \hat x_h = F(x, s), \qquad x \leftarrow x - I(x_0, \hat x_h, s) + I(x_0, \hat x_h, s'),

with :math:`I(x_0, \cdot, 0) = x_0`; at whole s' the state is a forecast, and the last step gives
:math:`\hat x_h` itself. That is h + k calls of the forecaster, and about twice as many of the interpolator.

With exact networks the walk follows the true trajectory, whatever the schedule. With h = 1 and no extra steps
the interpolator is never asked, and what is left is a map of one step.

Cachay, Zhao, Joren and Yu, *DYffusion: A Dynamics-informed Diffusion Model for Spatiotemporal Forecasting*,
arXiv 2306.01984.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["cold_sample", "cold_schedule"]


def cold_schedule(horizon: int, extra_steps: int = 0) -> tuple[float, ...]:
    """Return the times at which the forecaster is asked, in steps of the trajectory.

    Parameters
    ----------
    horizon : int >= 1
        Steps h that one walk covers.
    extra_steps : int >= 0, default 0
        Artificial times k between 0 and 1.

    Returns
    -------
    tuple of float
        ``horizon + extra_steps`` increasing times, from 0 to ``horizon - 1``.
    """
    if horizon < 1 or extra_steps < 0:
        raise ValueError(
            f"horizon must be >= 1 and extra_steps >= 0, got horizon={horizon} and extra_steps={extra_steps}"
        )
    early = [step / (extra_steps + 1) for step in range(extra_steps + 1)]
    return (*early, *(float(step) for step in range(1, horizon)))


def cold_sample(
    forecast: Callable[[Tensor, float], Tensor],
    interpolate: Callable[[Tensor, float], Tensor],
    start: Tensor,
    horizon: int,
    extra_steps: int = 0,
) -> Tensor:
    """Walk from the start to the horizon.

    Parameters
    ----------
    forecast : callable
        ``forecast(x, s)``: the state at the horizon, from the state x at time s.
    interpolate : callable
        ``interpolate(end, s)``: the state at time s between the start and the end.
    start : Tensor
        Shape ``(batch, ...)``.
    horizon, extra_steps : int
        As for `cold_schedule`.

    Returns
    -------
    Tensor
        States at the times 1, ..., horizon, shape ``(batch, horizon, ...)``.
    """
    state, given = start, []
    for here, there in pairwise((*cold_schedule(horizon, extra_steps), float(horizon))):
        end = forecast(state, here)
        if there == horizon:
            given.append(end)
            break
        before = start if here == 0.0 else interpolate(end, here)
        state = state - before + interpolate(end, there)
        if there.is_integer():
            given.append(state)
    return torch.stack(given, dim=1)
