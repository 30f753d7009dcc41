r"""One run of weighted particles under a controlled drift.

With :math:`c = \frac12 (1 + \kappa^2)`, :math:`S^2 = \alpha^2 + \sigma^2` and the increments L and Q of the
path, the drift over a step is

.. math::
   L x + Q \left[(c\gamma + \theta_2) s + (c\beta + \theta_1) \nabla r - \theta_3 x / S^2\right]
   = \ell x + Q \left[(c\gamma + \theta_2) (s + x / S^2) + (c\beta + \theta_1) \nabla r\right], \qquad
   \ell = L - Q (c\gamma + \theta_2 + \theta_3) / S^2 .

The linear part is integrated exactly, the rest held over the step: where the data are still pure noise, s =
-x / S^2 and a step of any length is exact.  Weights and noise see no difference to first order (a
construction of this library).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, PathCoefficients
from sciffusion.sampling.driftlite.control import Control, control_coefficients, weighted_variance
from sciffusion.sampling.driftlite.fields import ScoreField, Subspace, check_finite
from sciffusion.sampling.driftlite.potential import Increments, ParticleValues, RewardSchedule, Tilt
from sciffusion.sampling.driftlite.rewards import SmoothReward
from sciffusion.sampling.driver import SampleResult
from sciffusion.sampling.smc import ParticleSystems, take_items
from sciffusion.sampling.state import State

__all__ = ["Plan", "Run", "RunSettings", "WeightRule"]

WeightRule = Literal["trapezoid", "left", "none"]


@dataclass(frozen=True)
class RunSettings:
    """How particles move, are weighed and resampled; see `DriftLiteSampler`."""

    control: Control
    weights: WeightRule
    threshold: float
    noise_scale: float
    ridge: float
    bound: float
    denoise: bool
    order: int
    subspace: Subspace


@dataclass(frozen=True, eq=False)
class Plan:
    """Times, levels of the path there, share of the reward, and exponent of the law aimed at."""

    times: Tensor
    levels: PathCoefficients
    betas: tuple[float, ...]
    gamma: float

    @classmethod
    def make(cls, path: Path, grid: Tensor, gamma: float, schedule: RewardSchedule | None) -> Plan:
        """Return the plan of a grid, with the share of the reward running from exactly 0 to exactly 1.

        Raises
        ------
        ValueError
            Where the grid stands still or has a level without signal or noise, or the reward's share does
            not rise.
        """
        levels = path.coefficients(grid)
        still = (grid[1:] >= grid[:-1]).nonzero()[:, 0].tolist()
        if still:
            raise ValueError(
                f"grid must fall with every step, got grid[{still[0]}] = grid[{still[0] + 1}] = "
                f"{float(grid[still[0]]):.6g}"
            )
        if not bool((levels.alpha > 0.0).all()) or not bool((levels.sigma > 0.0).all()):
            raise ValueError(
                "grid must keep to times with both signal and noise: start below the time where alpha is 0, "
                f"and stop above that where sigma is 0; got levels alpha={float(levels.alpha[0]):.3g} at the "
                f"start and sigma={float(levels.sigma[-1]):.3g} at the end"
            )
        if schedule is None:
            return cls(grid, levels, (0.0,) * grid.shape[0], gamma)
        share = schedule(levels)
        share = (share - share[0]) / (share[-1] - share[0])
        if share.shape != grid.shape or not bool(share.isfinite().all()):
            raise ValueError(
                "reward_schedule must give one value a time, another at the end than at the start"
            )
        return cls(grid, levels, tuple(share.tolist()), gamma)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.times.shape[0] - 1

    def tilt(self, index: int) -> Tilt:
        """Return exponent and share of the reward at one grid point."""
        return Tilt(self.gamma, self.betas[index])

    def squared_scale(self, index: int) -> float:
        """Return ``alpha^2 + sigma^2`` at one grid point."""
        return float(self.levels.alpha[index] ** 2 + self.levels.sigma[index] ** 2)

    def increments(self, index: int) -> Increments:
        r"""Return what the path adds in one step.

        The squared diffusion is :math:`Q = \bar S^2\,\Delta\log(S^2/\alpha^2)` with the logarithmic mean of
        :math:`S^2 = \alpha^2 + \sigma^2`: exact on variance-preserving and variance-exploding paths, of
        second order on all.  Together with L it keeps the start law where it is on the former, however long
        the step.
        """
        rise = math.log(self.levels.alpha[index + 1] / self.levels.alpha[index])
        old, new = self.squared_scale(index), self.squared_scale(index + 1)
        change = math.log(old / new)
        mean = (old - new) / change if abs(change) > 1e-9 else 0.5 * (old + new)
        noise = mean * (change + 2.0 * rise)
        return Increments(rise, noise, self.betas[index + 1] - self.betas[index])


@dataclass(frozen=True, eq=False)
class _Pending:
    """What the weights of a step still need from its end."""

    step: Increments
    coefficients: Tensor
    potential: Tensor


class _LastMove(NamedTuple):
    """Drift of the step before, by particle, and the squared diffusion over that step."""

    drift: Tensor
    squared_noise: float


class Run:
    """Particles on their way; changes as it goes."""

    def __init__(
        self,
        settings: RunSettings,
        field: ScoreField,
        plan: Plan,
        reward: SmoothReward | None,
        count: int,
        generator: torch.Generator,
    ) -> None:
        self._settings, self._field, self._plan, self._reward = settings, field, plan, reward
        self._count, self._generator = count, generator
        self._systems: ParticleSystems | None = None
        self._pending: _Pending | None = None
        self._last: _LastMove | None = None
        self._nfe = 0
        names = ("variance_guidance", "variance_potential", "coefficients")
        self._records: dict[str, list[Tensor]] = {name: [] for name in names}

    def step(self, x: Tensor, index: int) -> Tensor:
        """Finish the weights of the step before, resample, choose the control, and move the values."""
        settings, step, tilt = self._settings, self._plan.increments(index), self._plan.tilt(index)
        values = self._resampled(self._weighed(self._evaluate(x, index), index))
        assert self._systems is not None
        weights = self._systems.weights
        potential = values.guidance_potential(tilt, step)
        theta = control_coefficients(
            settings.control, values, potential, tilt, step, weights,
            ridge=settings.ridge, bound=settings.bound, noise_scale=settings.noise_scale,
        )  # fmt: skip
        controlled = potential + self._control_potential(values, tilt, step, theta)
        self._pending = _Pending(step, theta, controlled)
        square = step.squared_noise**2
        self._records["variance_guidance"].append(weighted_variance(potential, weights) / square)
        self._records["variance_potential"].append(weighted_variance(controlled, weights) / square)
        self._records["coefficients"].append(theta)
        return self._moved(values, tilt, step, theta)

    def finish(self, x: Tensor, log_normaliser_start: float) -> SampleResult:
        """Finish the weights of the last step and return what came out."""
        settings, plan = self._settings, self._plan
        assert self._systems is not None
        samples = x
        if settings.weights == "trapezoid" or settings.denoise:
            values = self._weighed(self._evaluate(x, plan.n_steps), plan.n_steps)
            if settings.denoise:
                alpha, sigma = float(plan.levels.alpha[-1]), float(plan.levels.sigma[-1])
                samples = (x + sigma**2 * values.score) / alpha
        elif settings.weights == "left":
            self._weigh_left()
        report = None
        if settings.weights != "none":
            report = self._systems.report()
            report = replace(report, log_normaliser=report.log_normaliser + log_normaliser_start)
        log_weight = None if report is None else report.log_weights
        state = State(x, plan.times[-1], index=plan.n_steps, log_weight=log_weight, generator=self._generator)
        trace = {name: torch.stack(values) for name, values in self._records.items()}
        return SampleResult(samples, self._nfe, state, trace, report)

    def _evaluate(self, x: Tensor, index: int) -> ParticleValues:
        settings, plan = self._settings, self._plan
        guided = settings.control in ("vcg", "ecg") or (settings.control != "none" and plan.gamma != 1.0)
        score = self._field.evaluate(
            x, plan.times[index], with_divergence=guided, with_log_density=settings.control == "ecg",
            generator=self._generator,
        )  # fmt: skip
        self._nfe += 1
        check_finite(score.score, "the score")
        check_finite(score.divergence, "the divergence of the score")
        check_finite(score.log_density, "the log density")
        reward = None
        if self._reward is not None:
            reward = self._reward.evaluate(x, settings.subspace, self._generator)
            # A control made of such values would spoil every particle of the system.
            check_finite(reward.value, "the reward (use FeynmanKacSteering for rewards of -inf)")
            check_finite(reward.gradient, "the gradient of the reward")
            check_finite(reward.laplacian, "the Laplacian of the reward")
        return ParticleValues(
            x, score.score, score.divergence, score.log_density, reward, plan.squared_scale(index),
            settings.subspace.dimension(x),
        )  # fmt: skip

    def _weighed(self, values: ParticleValues, index: int) -> ParticleValues:
        """Add the weights of the step that ended at these values."""
        if self._systems is None:
            self._systems = ParticleSystems(
                values.x.shape[0], self._count, self._settings.threshold, values.x.device
            )
        pending = self._pending
        if pending is not None and self._settings.weights == "trapezoid":
            tilt = self._plan.tilt(index)
            end = values.guidance_potential(tilt, pending.step)
            end = end + self._control_potential(values, tilt, pending.step, pending.coefficients)
            self._systems.update(0.5 * (pending.potential + end))
        elif pending is not None and self._settings.weights == "left":
            self._weigh_left()
        return values

    def _weigh_left(self) -> None:
        assert self._systems is not None
        assert self._pending is not None
        self._systems.update(self._pending.potential)

    def _resampled(self, values: ParticleValues) -> ParticleValues:
        """Resample where it is due, with all that is known of the particles."""
        assert self._systems is not None
        indices = self._systems.resample(self._generator)
        if indices is None:
            return values
        reordered: ParticleValues = take_items(values, indices, values.x.shape[0])
        if self._last is not None:
            self._last = _LastMove(self._last.drift[indices], self._last.squared_noise)
        return reordered

    def _control_potential(
        self, values: ParticleValues, tilt: Tilt, step: Increments, theta: Tensor
    ) -> Tensor | float:
        """Return what the control adds to the potential, shape ``(batch,)``."""
        if self._settings.control == "none":
            return 0.0
        h = values.control_potentials(tilt).reshape(theta.shape[1], -1, self._count)
        return step.squared_noise * torch.einsum("sf,fsn->sn", theta, h).reshape(-1)

    def _moved(self, values: ParticleValues, tilt: Tilt, step: Increments, theta: Tensor) -> Tensor:
        """Return the values after the step."""
        settings, x = self._settings, values.x
        half, noise = 0.5 * (1.0 + settings.noise_scale**2), step.squared_noise
        of_score, of_start = half * tilt.gamma + theta[:, -2], theta[:, -1]
        rate = step.log_signal - noise * (of_score + of_start) / values.squared_scale
        held = torch.where(rate.abs() < 1e-6, 1.0 + 0.5 * rate, torch.expm1(rate) / rate)
        spread = torch.where(rate.abs() < 1e-6, 1.0 + rate, torch.expm1(2.0 * rate) / (2.0 * rate))
        per_item = self._per_item
        drift = per_item(of_score, x) * (values.score + x / values.squared_scale)
        if values.reward is not None:
            drift = drift + per_item(half * tilt.beta + theta[:, 0], x) * values.reward.gradient
        moved = per_item(torch.exp(rate), x) * x + per_item(noise * held, x) * self._ahead(drift, noise)
        if settings.noise_scale == 0.0:
            return moved
        home = self._generator.device
        white = torch.randn(x.shape, generator=self._generator, dtype=x.dtype, device=home).to(x.device)
        amount = settings.noise_scale * torch.sqrt(noise * spread)
        return moved + per_item(amount, x) * settings.subspace(white)

    def _ahead(self, drift: Tensor, noise: float) -> Tensor:
        """Return the drift at the middle of the step, extrapolated from this one and the last one."""
        last = self._last
        self._last = _LastMove(drift, noise) if self._settings.order == 2 else None
        if last is None:
            return drift
        return drift + 0.5 * noise / last.squared_noise * (drift - last.drift)

    def _per_item(self, of_systems: Tensor, x: Tensor) -> Tensor:
        """Spread one number a system over its particles, with the axes of the values."""
        wide = of_systems.to(x.dtype).to(x.device).repeat_interleave(self._count)
        return wide.reshape(-1, *(1,) * (x.ndim - 1))
