r"""Compute policies: at which evaluations of a sampler run the network is really called.

Between its calls a policy forecasts the clean estimate: the polynomial in the log signal-to-noise ratio
:math:`\lambda` through the last one to three estimates :math:`D_j` that the network made, in Newton's form

.. math::
   \hat D(\lambda) = D_0 + (\lambda - \lambda_0)\,D[\lambda_0, \lambda_1]
   + (\lambda - \lambda_0)(\lambda - \lambda_1)\,D[\lambda_0, \lambda_1, \lambda_2] .

What an error :math:`\delta_i` of the estimate at step i does to the result is approximated by the
*amplification* :math:`A_i`.  For Gaussian data of standard deviation c, with the coefficient
:math:`b_i = \alpha'(1 - e^{-(\lambda' - \lambda)})` of the estimate in a first-order step and the flow that
follows,

.. math:: A_i = |b_i| \sqrt{V_n / V_{i+1}}, \qquad V = \alpha^2 c^2 + \sigma^2 .

`BudgetedCompute` calls the network when the accumulated risk of forecasting reaches a threshold that a
proportional-integral controller keeps on the course of the budget N:

.. math::
   R \leftarrow R + A_i m_i (1 + \text{age}), \qquad
   e_i = \text{spent}_i - N \frac{\sum_{j \le i} A_j}{\sum_j A_j}, \qquad
   \theta_i = \theta_0 \bar A_i \bar m_i \frac{g_i (g_i + 1)}{2}
   \exp\Bigl(K_p e_i + K_i \sum_{j \le i} e_j\Bigr),

where :math:`m_i` is the disagreement between the forecasts of the two highest orders and age the number of
forecasts since the last call.  The threshold is the risk that would gather over the distance :math:`g_i`
between calls that the rest of the budget pays for, at the mean amplification :math:`\bar A_i` of what lies
ahead and the mean disagreement :math:`\bar m_i` so far (with a hundredth of the size of the estimate counted
in five times, so that a run which begins quietly does not spend its calls on nothing).  The control is a
construction of this library after the idea of *SoftCap* (now BeCARE; Zhang et al., arXiv 2605.27075): a drift
observer, an amplification profile and a soft budget.

Policies are for continuous diffusion: what they forecast is a clean estimate.  A batch decides as one.  A
multistep solver with as many steps as there are calls in the budget is the baseline to beat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import exp
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, align
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.solvers.multistep import divided_differences
from sciffusion.sampling.state import State

__all__ = ["BudgetedCompute", "ComputePolicy", "EveryStep", "StaticRefresh", "amplification_profile"]

Spacing = Literal["uniform", "amplification"]

#: What a drift is taken to be before any is seen, relative to the estimate, and how often that counts.
_USUAL_DRIFT, _USUAL_COUNT = 0.01, 5


class ComputePolicy(Protocol):
    """Decides about network calls and stands in for the network where there is none."""

    def start(self, path: Any, grid: Tensor, nfe_per_step: int) -> None:
        """Begin a run: forget an earlier one.

        Called once, with the denoiser's path, the times of the run (shape ``(n_steps + 1, ...)``) and the
        largest number of evaluations in one step of the solver.
        """
        ...

    def decide(self, state: State, n_steps: int) -> bool:
        """Tell whether to run the network on ``state`` in a run of ``n_steps`` steps."""
        ...

    def forecast(self, state: State) -> Any:
        """Return a prediction for ``state`` without the network."""
        ...

    def observe(self, state: State, prediction: Any) -> None:
        """Take note of a prediction that the network made."""
        ...


class EveryStep:
    """Calls the network at every evaluation."""

    def start(self, path: Any, grid: Tensor, nfe_per_step: int) -> None:
        """Ignore the run."""

    def decide(self, state: State, n_steps: int) -> bool:
        """Return True."""
        return True

    def forecast(self, state: State) -> Any:
        """Refuse: there is nothing to forecast from.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError("EveryStep calls the network at every evaluation and forecasts nothing")

    def observe(self, state: State, prediction: Any) -> None:
        """Ignore the prediction."""


def amplification_profile(path: Path, grid: Tensor, data_std: float = 1.0) -> Tensor:
    """Return how much an error of the clean estimate at each step moves the result.

    Parameters
    ----------
    path : Path
        Path of the run.
    grid : Tensor
        Times, shape ``(n_steps + 1, ...)``; times of single elements are averaged over.
    data_std : float, default 1
        Standard deviation c of the data.

    Returns
    -------
    Tensor
        Shape ``(n_steps,)``, float64: the amplifications of the module's equation.
    """
    c = path.coefficients(grid)
    width = c.log_snr[1:] - c.log_snr[:-1]
    moving = torch.nan_to_num(-torch.expm1(-width), nan=0.0) * (grid[1:] != grid[:-1])
    variance = (c.alpha * data_std) ** 2 + c.sigma**2
    profile = c.alpha[1:] * moving * torch.sqrt(variance[-1:] / variance[1:])
    return profile.reshape(profile.shape[0], -1).mean(-1)


@dataclass(frozen=True, eq=False)
class _Anchor:
    """A clean estimate of the network and the log signal-to-noise ratio where it was made."""

    log_snr: Tensor
    x0: Tensor


def _extrapolate(anchors: list[_Anchor], log_snr: Tensor) -> Tensor:
    """Return the polynomial through all anchors (newest first) at another place."""
    places = [anchor.log_snr for anchor in anchors]
    ahead = torch.where(log_snr.isfinite(), log_snr - places[0], 0.0)
    curved = ahead * (log_snr - places[1]) if len(places) == 3 else ahead
    forecast = anchors[0].x0
    for coefficient, anchor in zip(divided_differences(places, ahead, curved), anchors, strict=True):
        forecast = forecast + align(coefficient, anchor.x0) * anchor.x0
    return forecast


class _Forecasting(ABC):
    """A policy with a cap on its calls that forecasts from the estimates which the network made."""

    def __init__(self, budget: int, order: int, data_std: float) -> None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise ValueError(f"budget must be an integer of at least 1, got {budget!r}")
        if order not in (0, 1, 2):
            raise ValueError(f"order must be 0, 1 or 2, got {order}")
        if not data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.budget = budget
        self.order = order
        self.data_std = data_std
        self.spent = 0
        self._path: Any = None
        self._anchors: list[_Anchor] = []

    def start(self, path: Any, grid: Tensor, nfe_per_step: int) -> None:
        """Begin a run (see `ComputePolicy.start`)."""
        self.spent = 0
        self._path, self._anchors = path, []
        profile = amplification_profile(path, grid, self.data_std).cpu()
        made = torch.full((grid.shape[0] - 1,), nfe_per_step)
        if bool((path.coefficients(grid[-1]).sigma == 0.0).all()):
            # A step to clean data returns its first estimate: calls kept for a second one would be lost.
            made[-1] = 1
        self._evaluation, self._evaluations = 0, int(made.sum())
        self._profile = (profile / made).repeat_interleave(made)
        self._begin()

    def decide(self, state: State, n_steps: int) -> bool:
        """Tell whether to run the network on ``state``.

        Raises
        ------
        RuntimeError
            If no run was started.
        """
        if self._path is None:
            raise RuntimeError(f"{type(self).__name__}.start must be called before a run; sample() does so")
        call = self.spent < self.budget and (not self._anchors or self._wants(state, self._evaluation))
        self.spent += call
        self._evaluation += 1
        return call

    def observe(self, state: State, prediction: ContinuousPrediction) -> None:
        """Keep the clean estimate that the network made, and as many earlier ones as the order needs."""
        c = self._path.coefficients(state.t)
        anchor = _Anchor(c.log_snr, prediction.to("x0", c, state.x).value)
        self._anchors = [anchor, *self._anchors][: self.order + 1]

    def forecast(self, state: State) -> ContinuousPrediction:
        """Return the clean estimate extrapolated to the times of ``state``."""
        return ContinuousPrediction(_extrapolate(self._anchors, self._path.log_snr(state.t)), "x0")

    @abstractmethod
    def _begin(self) -> None:
        """Prepare for a run whose length and profile are known."""

    @abstractmethod
    def _wants(self, state: State, evaluation: int) -> bool:
        """Tell whether this evaluation should be a call; there are earlier estimates and budget is left."""


class StaticRefresh(_Forecasting):
    """Calls the network at places fixed before the run, and forecasts in between.

    Parameters
    ----------
    budget : int
        Number of calls; each costs as many network evaluations as the guidance takes.
    spacing : {"uniform", "amplification"}, default "uniform"
        Calls evenly spread over the evaluations, first and last included, or spread so that each stands for
        an equal share of the amplification.
    order : {0, 1, 2}, default 2
        Highest order of the forecasts; 0 repeats the last estimate.
    data_std : float, default 1
        Standard deviation of the data, for the amplification.
    """

    def __init__(
        self, budget: int, spacing: Spacing = "uniform", *, order: int = 2, data_std: float = 1.0
    ) -> None:
        super().__init__(budget, order, data_std)
        if spacing not in get_args(Spacing):
            raise ValueError(f"spacing must be one of {get_args(Spacing)}, got {spacing!r}")
        self.spacing = spacing

    def _begin(self) -> None:
        total = self._evaluations
        count = min(self.budget, total)
        if self.spacing == "uniform":
            places = torch.linspace(0.0, total - 1.0, count, dtype=torch.float64).round().long().tolist()
        else:
            share = self._profile.cumsum(0) / self._profile.sum()
            middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
            places = torch.searchsorted(share, middles).tolist()
        places[0] = 0
        for k in range(1, count):
            # Two calls cannot share an evaluation, and every later call needs one too.
            places[k] = min(max(places[k], places[k - 1] + 1), total - count + k)
        self._places = frozenset(places)

    def _wants(self, state: State, evaluation: int) -> bool:
        return evaluation in self._places


class BudgetedCompute(_Forecasting):
    r"""Calls the network when forecasting becomes risky, and never more often than the budget allows.

    Construction of this library; see the module's equations.  The budget overrides every other rule.  A call
    is also made for the first and last evaluations, after ``max_age`` forecasts in a row, and wherever the
    budget left would pay for all evaluations left.

    Parameters
    ----------
    budget : int
        Largest number of calls in a run; each costs as many network evaluations as the guidance takes.
    order : {1, 2}, default 2
        Highest order of the forecasts.
    warm : int, default 3
        Number of first evaluations that are calls; at most a quarter of the budget, but the first one always.
    reserve : int, default 2
        Number of last evaluations for which calls are kept; at most a quarter of the budget.
    max_age : int, optional
        Largest number of forecasts in a row; by default twice the mean number that the budget asks for.
    threshold : float, default 1
        Factor :math:`\theta_0` of the threshold: larger values wait longer and keep calls for the end.
    proportional, integral : float, default .1 and .01
        Gains of the controller.
    windup : float, default 20
        Bound of the integral's magnitude.
    data_std : float, default 1
        Standard deviation of the data, for the amplification.

    Attributes
    ----------
    spent : int
        Calls in the run so far.
    """

    def __init__(
        self,
        budget: int,
        *,
        order: int = 2,
        warm: int = 3,
        reserve: int = 2,
        max_age: int | None = None,
        threshold: float = 1.0,
        proportional: float = 0.1,
        integral: float = 0.01,
        windup: float = 20.0,
        data_std: float = 1.0,
    ) -> None:
        super().__init__(budget, order, data_std)
        if order == 0:
            raise ValueError("order must be 1 or 2: the drift is seen where two orders disagree; got 0")
        for name, value in (("warm", warm), ("reserve", reserve)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if max_age is not None and max_age < 1:
            raise ValueError(f"max_age must be at least 1, got {max_age}")
        if not threshold > 0.0:
            raise ValueError(f"threshold must be positive, got {threshold}")
        self.warm, self.reserve, self.max_age, self.threshold = warm, reserve, max_age, threshold
        self.proportional, self.integral, self.windup = proportional, integral, windup

    def _begin(self) -> None:
        # A quarter of a small budget at each end, so that half of it is free to go where it counts.
        self._reserved = min(self.reserve, self.budget // 4)
        self._warm_up = max(1, min(self.warm, self.budget // 4))
        share = self._profile.cumsum(0) / self._profile.sum()
        self._course = (self.budget * share).tolist()
        self._gain = self._profile.tolist()
        ahead = self._profile.flip(0).cumsum(0).flip(0)
        self._gain_ahead = (ahead / torch.arange(self._evaluations, 0, -1)).tolist()
        self._age, self._risk, self._accumulated = 0, 0.0, 0.0
        self._drift_sum, self._drift_count = 0.0, _USUAL_COUNT

    def _wants(self, state: State, evaluation: int) -> bool:
        call = self._due(state, evaluation)
        self._age, self._risk = (0, 0.0) if call else (self._age + 1, self._risk)
        return call

    def _due(self, state: State, evaluation: int) -> bool:
        spare, left = self.budget - self.spent, self._evaluations - evaluation
        if spare >= left or evaluation < self._warm_up or left <= self._reserved:
            return True
        if spare <= self._reserved:
            return False
        if len(self._anchors) < 2:
            return True
        distance = (left - self._reserved) / (spare - self._reserved)
        threshold = self._take_risk(state, evaluation, distance)
        oldest = max(2.0, 2.0 * distance) if self.max_age is None else self.max_age
        return self._age >= oldest or self._risk >= threshold

    def _take_risk(self, state: State, evaluation: int, distance: float) -> float:
        """Add the risk of forecasting here to what has gathered, and return the threshold for it."""
        drift = self._drift(state)
        if self._drift_count == _USUAL_COUNT:
            size = float(self._anchors[0].x0.square().mean().sqrt())
            self._drift_sum = _USUAL_COUNT * _USUAL_DRIFT * size
        self._risk += self._gain[evaluation] * drift * (1 + self._age)
        self._drift_sum, self._drift_count = self._drift_sum + drift, self._drift_count + 1
        # What would gather over the mean distance ahead: the sum of 1 + age is g (g + 1) / 2.
        expected = self._gain_ahead[evaluation] * self._drift_sum / self._drift_count
        expected *= 0.5 * distance * (distance + 1.0)
        excess = self.spent - self._course[evaluation]
        self._accumulated = min(max(self._accumulated + excess, -self.windup), self.windup)
        control = self.proportional * excess + self.integral * self._accumulated
        return float(self.threshold * expected * exp(control))

    def _drift(self, state: State) -> float:
        """Return the root mean square by which the forecasts of the two highest orders differ."""
        log_snr = self._path.log_snr(state.t)
        apart = _extrapolate(self._anchors, log_snr) - _extrapolate(self._anchors[:-1], log_snr)
        return float(apart.square().mean().sqrt())
