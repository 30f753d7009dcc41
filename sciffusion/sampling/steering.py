r"""Feynman-Kac steering: samples tilted by a black-box reward, without gradients.

A sampler run makes paths :math:`x_{t_0}, \dots, x_{t_n}` from noise to a sample.  Particles are weighed by
potentials :math:`G_i` of the rewards :math:`r_i = r(\hat x_0(x_{t_i}))` met on the way, and resampled:

.. math::
   \text{difference: } G_i = e^{\lambda (r_i - r_{i-1})}, \qquad
   \text{max: } G_i = e^{\lambda \max_{j \le i} r_j}, \qquad
   \text{sum: } G_i = e^{\lambda \sum_{j \le i} r_j},

with :math:`r_0 = 0` before the first one.  The last potential
:math:`G_n = e^{\lambda r(x_{t_n})} / \prod_{i<n} G_i` makes the product telescope, so that the weighted
samples follow the law of the sampler times :math:`e^{\lambda r}` whatever happened on the way; the way
decides only how evenly the weights are spread.  Singhal et al., *A General Framework for Inference-time
Scaling and Steering of Diffusion Models*, arXiv 2501.06848.

The reward of a state is taken from the prediction that the solver asked for anyway, so that steering costs
rewards but no network evaluations: particles are weighed by the estimate made before a step and resampled
after it.

With guidance, the law that is tilted is that of the guided sampler.  Where guidance should only propose, each
step is weighed by the ratio of the two Gaussian transition densities, :math:`\log p(x'|x) - \log q(x'|x)`,
which have the spread of the solver's noise and means that differ by what the solver makes of the two
predictions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from sciffusion.continuous.path import align, as_times
from sciffusion.sampling.smc import ParticleRun, Particles, ParticleStep, take_items
from sciffusion.sampling.state import State

__all__ = [
    "CleanEstimate",
    "FeynmanKacSteering",
    "GaussianDraws",
    "PosteriorMean",
    "Potential",
    "Reward",
    "checked_rewards",
]

Potential = Literal["difference", "max", "sum"]

#: From clean values of shape (batch, ...) to one number an item: a tensor, an array or a list.
Reward = Callable[[Tensor], Any]

#: Rewards of -inf on the way count as this, so that a particle that is refused early can still come back.
LOWEST_LOG_POTENTIAL = -1e6


class CleanEstimate(Protocol):
    """From a prediction to values of which the reward is asked."""

    def __call__(self, prediction: Any, state: State, path: Any) -> Tensor:
        """Return clean values of shape ``(draws, batch, ...)`` for a prediction made at ``state``."""
        ...


def _posterior_mean(prediction: Any, state: State, path: Any) -> Tensor:
    mean: Tensor = prediction.to("x0", path.coefficients(state.t), state.x).value
    return (
        mean
        if state.known is None
        else torch.where(align(state.known.to(torch.float64), state.x) > 0, state.x, mean)
    )


@dataclass(frozen=True)
class PosteriorMean:
    """The expected clean data ``E[x0 | x_t]`` of a continuous prediction; known sites keep their values."""

    def __call__(self, prediction: Any, state: State, path: Any) -> Tensor:
        """Return the mean with a leading axis of length 1 (see `CleanEstimate`)."""
        return _posterior_mean(prediction, state, path)[None]


@dataclass(frozen=True)
class GaussianDraws:
    r"""Draws from a Gaussian guess of the clean data given a state.

    The mean is the predicted one; the variance :math:`\sigma^2 s^2 / (\alpha^2 s^2 + \sigma^2)` is exact for
    data :math:`N(m, s^2 I)`.  The rewards of the draws are combined by the log of their mean exponential, the
    best guess of the final reward's effect.

    Parameters
    ----------
    draws : int, default 4
        Number of draws an item, each of which costs one reward.
    data_std : float, default 1
        Standard deviation s of the data.
    """

    draws: int = 4
    data_std: float = 1.0

    def __post_init__(self) -> None:
        if self.draws < 1 or not self.data_std > 0.0:
            raise ValueError(f"expected draws >= 1 and data_std > 0, got {self.draws} and {self.data_std}")

    def __call__(self, prediction: Any, state: State, path: Any) -> Tensor:
        """Return the draws (see `CleanEstimate`)."""
        if state.generator is None:
            raise ValueError("GaussianDraws needs a generator, got None; pass generator= to sample()")
        mean = _posterior_mean(prediction, state, path)
        c = path.coefficients(state.t)
        spread = c.sigma * self.data_std / torch.hypot(c.alpha * self.data_std, c.sigma)
        shape = (self.draws, *mean.shape)
        noise = torch.randn(shape, generator=state.generator, dtype=mean.dtype, device=state.generator.device)
        return mean + align(spread, mean) * noise.to(mean.device)


def checked_rewards(values: Any, batch: int, name: str = "reward") -> Tensor:
    """Return the rewards of a batch in float64.

    Parameters
    ----------
    values : Tensor, array or sequence of float
        One value an item; ``-inf`` refuses an item.
    batch : int
        Number of items.
    name : str
        What returned the values, for the message.

    Returns
    -------
    Tensor
        Shape ``(batch,)``.

    Raises
    ------
    TypeError
        For anything but numbers.
    ValueError
        For another number of values, or NaN or +inf (naming the particle).
    """
    try:
        rewards = as_times(
            torch.as_tensor(values, dtype=None if isinstance(values, Tensor) else torch.float64)
        )
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must return a tensor, array or list of numbers, got {type(values).__name__}"
        ) from error
    if rewards.shape != (batch,):
        raise ValueError(
            f"{name} must return one value a particle, shape ({batch},), got shape {tuple(rewards.shape)}"
        )
    wrong = rewards.isnan() | (rewards == math.inf)
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} returned {float(rewards[place])} for particle {place} of the batch "
            f"({int(wrong.sum())} of {batch} in all); expected a finite number, or -inf to refuse it"
        )
    return rewards


class FeynmanKacSteering(Particles):
    r"""Steers a sampler run towards large values of a reward.

    With the last potential, weighted samples follow the sampler's law times :math:`e^{\lambda r}`, up to the
    noise of a finite number of particles, and the report's normaliser estimates :math:`E e^{\lambda r}`.

    Parameters
    ----------
    reward : callable
        From clean values ``(batch, ...)`` to one number an item (tensor, array or list).  It need not be
        differentiable.  ``-inf`` refuses an item at the end of the run, whatever the scale; on the way it
        counts as very unlikely, so that such particles are the first to be replaced.
    count : int
        Particles a system.
    scale : float, default 1
        The factor :math:`\lambda`; in units of one over those of the reward.
    potential : {"difference", "max", "sum"}, default "difference"
        How rewards on the way become weights.  With "max" and "sum" the weights grow with the number of
        rewards on the way, until the last potential takes them back: use few, and a small scale.
    every : int, default 1
        Ask for a reward every that many steps; 0 for none on the way, which weighs the finished samples.
    clean : CleanEstimate, optional
        What the reward is asked of on the way; `PosteriorMean` by default.
    threshold : float, default 0.5
        Resample below this fraction of effective particles.
    last_potential : bool, default True
        False leaves the last potential out, as published for some choices.  The result is then not the tilted
        law but one that depends on the grid and on the potential.
    guidance_proposes : bool, default False
        Weigh each step by the ratio of unguided and guided transition densities, so that the unguided law is
        tilted and guidance only leads particles.  For solvers with one evaluation a step and a noise source
        (``AncestralDDPM``, first-order ``ERSDE``), on grids that end above ``t=0``; costs one further network
        evaluation a step.  The weights stay even only where the noise is that of the path
        (``AncestralDDPM``): with another amount even perfect guidance is a poor proposal.

    Raises
    ------
    TypeError
        For a reward that is no function, or returns no numbers.
    ValueError
        For settings outside their range, and during a run for rewards of a wrong shape, NaN (naming the
        particle) or weights that all vanish.
    """

    def __init__(
        self,
        reward: Reward,
        count: int,
        *,
        scale: float = 1.0,
        potential: Potential = "difference",
        every: int = 1,
        clean: CleanEstimate | None = None,
        threshold: float = 0.5,
        last_potential: bool = True,
        guidance_proposes: bool = False,
    ) -> None:
        super().__init__(count, threshold)
        if potential not in get_args(Potential):
            raise ValueError(f"potential must be one of {get_args(Potential)}, got {potential!r}")
        if not callable(reward):
            raise TypeError(f"reward must be a function of clean values, got {type(reward).__name__}")
        if not isinstance(every, int | Integral) or every < 0:
            raise ValueError(f"every must be a whole number of steps, not negative, got {every!r}")
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self.reward = reward
        self.scale = scale
        self.potential = potential
        self.every = every
        self.clean = PosteriorMean() if clean is None else clean
        self.last_potential = last_potential
        self.guidance_proposes = guidance_proposes

    def begin(self, state: State) -> ParticleRun:
        """Return the particles of a run (see `Particles.begin`)."""
        return _SteeringRun(self, state)

    def proposal_log_ratio(self, step: ParticleStep) -> Tensor:
        """Return the log ratio of the unguided and the guided transition of a step, shape ``(batch,)``."""
        return transition_log_ratio(step)


class _SteeringRun(ParticleRun):
    """Remembers of each particle what was paid out so far and the rewards that the potential needs."""

    def __init__(self, settings: FeynmanKacSteering, state: State) -> None:
        super().__init__(state, settings.count, settings.threshold)
        self._settings = settings
        self._paid = torch.zeros_like(self.systems.log_weights).reshape(-1)
        self._memory: Tensor | None = None

    def reorder(self, indices: Tensor) -> None:
        batch = self._paid.shape[0]
        self._paid = take_items(self._paid, indices, batch)
        self._memory = take_items(self._memory, indices, batch)

    def log_increments(self, step: ParticleStep) -> Tensor | None:
        settings, parts = self._settings, []
        if settings.every and step.before.index % settings.every == 0 and step.prediction is not None:
            # Without the last potential a run ends with the last reward on the way.
            parts.append(self._on_the_way(step))
        if step.last and settings.last_potential:
            final = self._scaled_rewards(step.after.x)
            parts.append(final.to(self._paid.device) - self._paid)
        if settings.guidance_proposes and step.guided:
            parts.append(settings.proposal_log_ratio(step).to(self._paid.device))
        return sum(parts[1:], parts[0]) if parts else None

    def _on_the_way(self, step: ParticleStep) -> Tensor:
        rewards = self._estimated_rewards(step).to(self._paid.device)
        potential = rewards
        if self._settings.potential == "max":
            self._memory = rewards if self._memory is None else torch.maximum(self._memory, rewards)
            potential = self._memory
        elif self._settings.potential == "sum":
            self._memory = rewards if self._memory is None else self._memory + rewards
            potential = self._memory
        increments = potential - self._paid if self._settings.potential == "difference" else potential
        self._paid = self._paid + increments
        return increments

    def _estimated_rewards(self, step: ParticleStep) -> Tensor:
        """Return ``scale * r`` at the state before the step, combined over draws of the clean data."""
        values = self._settings.clean(step.prediction, step.before, step.denoiser.path)
        flat = values.reshape(-1, *values.shape[2:])
        rewards = self._scaled_rewards(flat)
        combined = torch.logsumexp(rewards.reshape(values.shape[:2]), 0) - math.log(values.shape[0])
        return combined.clamp_min(LOWEST_LOG_POTENTIAL)

    def _scaled_rewards(self, x: Tensor) -> Tensor:
        """Return ``scale * r``; what is refused stays so under a scale of 0 or below."""
        rewards = checked_rewards(self._settings.reward(x), x.shape[0])
        return torch.where(rewards == -math.inf, rewards, self._settings.scale * rewards)


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A denoiser that returns a prediction made before."""

    prediction: Any
    path: Any

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        return self.prediction


@dataclass(frozen=True)
class _ConstantNoise:
    """Noise of one value everywhere, which shows what a solver makes of its noise."""

    value: float

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        return torch.full_like(like, self.value)


def transition_log_ratio(step: ParticleStep) -> Tensor:
    r"""Return :math:`\log p(x'|x) - \log q(x'|x)` of the unguided and the guided transition of a step.

    Both are Gaussian with the solver's spread s; with means :math:`\mu_p, \mu_q` and noise
    :math:`\xi = (x' - \mu_q)/s` the ratio is :math:`-\xi\cdot\delta - \frac12|\delta|^2`, :math:`\delta =
    (\mu_q - \mu_p)/s`.  Means and spread are found by giving the solver recorded predictions and constant
    noise.

    Returns
    -------
    Tensor
        Shape ``(batch,)``, float64.

    Raises
    ------
    ValueError
        For a solver without such a transition, or where it has no noise and the two means differ.
    """
    solver = step.solver
    if getattr(solver, "nfe", None) != 1 or not hasattr(solver, "noise") or step.proposed.history:
        raise ValueError(
            "guidance_proposes needs a solver with Gaussian transitions: one evaluation a step, a noise "
            f"source, no memory (AncestralDDPM, ERSDE of order 1); got {type(solver).__name__}"
        )

    def moved(prediction: Any, noise: float) -> Tensor:
        quiet = copy.copy(solver)
        quiet.noise = _ConstantNoise(noise)
        x: Tensor = quiet.step(step.before, step.proposed.t, _Recorded(prediction, step.denoiser.path)).x
        return as_times(x)

    guided, unguided = moved(step.prediction, 0.0), moved(step.unguided(), 0.0)
    spread = moved(step.prediction, 1.0) - guided
    shift = guided - unguided
    if bool(((spread == 0.0) & (shift != 0.0)).any()):
        raise ValueError(
            "guidance_proposes needs noise in every step that guidance changes; end the grid above t=0, "
            "where the last step still has noise"
        )
    safe = torch.where(spread == 0.0, 1.0, spread)
    white, moved_by = (as_times(step.proposed.x) - guided) / safe, shift / safe
    return -(moved_by * (white + 0.5 * moved_by)).reshape(shift.shape[0], -1).sum(-1)
