r"""Grids of times for discrete processes, spaced in the keep probability.

Everything a discrete process does depends on time through the keep probability :math:`a_t`, so grids are laid
in it and turned into times by the schedule. With :math:`u_i = i/n`, between a first value :math:`a_f` and a
last one :math:`a_l`:

- linear: :math:`a = a_f + (a_l - a_f)\,u`, which for masks reveals as many tokens in every step;
- cosine: :math:`a = a_f + (a_l - a_f) \sin^2(\pi u/2)`, with small steps at both ends;
- logit: :math:`\log\frac{a}{1-a}` linear in u, which needs both ends inside (0, 1).

Ancestral, coupling, remasking and prediction-space solvers go from 0 to 1. Methods that move by *rates*
(`EulerRates`, `TauLeaping`, `ThetaTrapezoid`) cannot: rates per unit of :math:`-\log a` end at infinity at
the data, and the prior lies infinitely far away. They need a first keep probability above 0, where the start
from the prior is slightly wrong, and a last one below 1, from which one final step draws from the denoiser.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor

from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule

__all__ = ["KeepSpacing", "keep_grid", "loop_grid"]

KeepSpacing = Literal["linear", "cosine", "logit"]


def _keeps(n_steps: int, spacing: KeepSpacing, first: float, last: float) -> Tensor:
    """Return ``n_steps + 1`` keep probabilities from ``first`` to ``last``, both exact."""
    share = torch.linspace(0.0, 1.0, n_steps + 1, dtype=torch.float64)
    if spacing == "logit":
        ends = torch.logit(torch.tensor([first, last], dtype=torch.float64))
        keeps = torch.sigmoid(ends[0] + (ends[1] - ends[0]) * share)
    else:
        if spacing == "cosine":
            share = torch.sin(0.5 * math.pi * share) ** 2
        keeps = first + (last - first) * share
    keeps[0], keeps[-1] = first, last
    return keeps


def _check(n_steps: int, spacing: KeepSpacing, first: float, last: float) -> None:
    if isinstance(n_steps, bool) or not isinstance(n_steps, Integral):
        raise TypeError(f"n_steps must be an integer, got {n_steps!r}")
    if spacing not in get_args(KeepSpacing):
        raise ValueError(f"spacing must be one of {get_args(KeepSpacing)}, got {spacing!r}")
    if not 0.0 <= first < last <= 1.0:
        raise ValueError(f"expected 0 <= first_keep < last_keep <= 1, got {first} and {last}")
    if spacing == "logit" and (first == 0.0 or last == 1.0):
        raise ValueError(f"a logit grid needs 0 < first_keep and last_keep < 1, got {first} and {last}")
    least = 1 if last == 1.0 else 2
    if n_steps < least:
        raise ValueError(f"n_steps must be at least {least} with last_keep={last}, got {n_steps}")


def keep_grid(
    n_steps: int,
    spacing: KeepSpacing = "linear",
    schedule: KeepSchedule | None = None,
    first_keep: float = 0.0,
    last_keep: float = 1.0,
) -> Tensor:
    """Return decreasing times whose keep probabilities are evenly spaced on a scale.

    Parameters
    ----------
    n_steps : int
        Number of steps. With ``last_keep`` below 1 the last of them goes from there to time 0.
    spacing : {"linear", "cosine", "logit"}
        See the module's equations.
    schedule : KeepSchedule, optional
        Clock of the process; `LinearSchedule` by default.
    first_keep, last_keep : float
        Ends of the evenly spaced part, ``0 <= first_keep < last_keep <= 1``; .001 and .999 are usual for
        methods that move by rates.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1,)``, float64.

    Raises
    ------
    ValueError
        For ends or numbers of steps that make no grid.
    """
    _check(n_steps, spacing, first_keep, last_keep)
    schedule = LinearSchedule() if schedule is None else schedule
    if last_keep == 1.0:
        return schedule.time_of_keep(_keeps(n_steps, spacing, first_keep, last_keep)).clamp(0.0, 1.0)
    keeps = _keeps(n_steps - 1, spacing, first_keep, last_keep)
    return torch.cat([schedule.time_of_keep(keeps).clamp(0.0, 1.0), torch.zeros(1, dtype=torch.float64)])


def loop_grid(
    n_before: int, n_loop: int, n_after: int, keep: float = 0.9, schedule: KeepSchedule | None = None
) -> Tensor:
    """Return a grid that stands still at one keep probability, for ``Remasking("loop")``.

    Parameters
    ----------
    n_before, n_loop, n_after : int
        Steps, linear in the keep probability, up to the plateau; steps on it; steps from it to the data.
    keep : float, default .9
        Keep probability of the plateau, inside (0, 1).
    schedule : KeepSchedule, optional
        Clock of the process; `LinearSchedule` by default.

    Returns
    -------
    Tensor
        Shape ``(n_before + n_loop + n_after + 1,)``, float64.
    """
    if not 0.0 < keep < 1.0:
        raise ValueError(f"keep must lie inside (0, 1), got {keep}")
    if n_loop < 0:
        raise ValueError(f"n_loop must not be negative, got {n_loop}")
    schedule = LinearSchedule() if schedule is None else schedule
    _check(n_before, "linear", 0.0, 1.0)
    _check(n_after, "linear", 0.0, 1.0)
    up, down = _keeps(n_before, "linear", 0.0, keep), _keeps(n_after, "linear", keep, 1.0)
    keeps = torch.cat([up, up.new_full((n_loop,), keep), down[1:]])
    return schedule.time_of_keep(keeps).clamp(0.0, 1.0)
