r"""Sequential Monte Carlo: weighted particles, shared by continuous and discrete diffusion.

A *system* of N particles approximates a law by values :math:`x_i` with log weights :math:`l_i`.  The batch
axis of a state holds systems x particles, the particles of one system next to each other, so that many
independent systems run in one batch.  With :math:`W_i = e^{l_i} / \sum_j e^{l_j}`,

.. math::
   \text{ESS} = \frac{1}{\sum_i W_i^2}, \qquad
   \log\hat Z = \sum_{\text{resamplings and end}} \log\frac1N\sum_i e^{l_i},

where the weights start at 0 and return to 0 whenever a system is resampled; :math:`\hat Z` is unbiased for
the normaliser (the mean weight) of the weighted law.  Systematic resampling takes one uniform number u a
system and copies the particles in whose share of (0, 1) the points :math:`(u + k)/N` fall.

The standard error of :math:`\log\hat Z` comes from the same single run: with :math:`E_i` the particle of the
start from which particle i descends,

.. math:: \widehat{\operatorname{Var}} \log\hat Z = \frac{N}{N-1} \sum_k \Bigl(\sum_{i: E_i = k} W_i - \frac1N
   \Bigr)^2

(Chan and Lai, *A General Theory of Particle Filters in Hidden Markov Models and Some Applications*, Annals of
Statistics 41, 2013; Lee and Whiteley, *Variance Estimation in the Particle Filter*, arXiv 1509.00394).  It
was derived for multinomial resampling and is cautious for systematic one.  Like every estimate from the
weights themselves it is too small where few particles are effective: it cannot exceed 1, and once every
particle descends from one of the start it says nothing and is infinite.

Nothing here does arithmetic on the values: particles are only indexed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.path import as_times
from sciffusion.sampling.state import State

__all__ = [
    "ParticleReport",
    "ParticleRun",
    "ParticleStep",
    "ParticleSystems",
    "Particles",
    "effective_sample_size",
    "systematic_resample",
    "take_items",
    "take_particles",
]


def _normalised(log_weights: Tensor) -> Tensor:
    """Return log weights that sum to 1 over the last axis, in float64."""
    wide = as_times(log_weights)
    return wide - torch.logsumexp(wide, -1, keepdim=True)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return the number of equally weighted particles that are worth as much as these weighted ones.

    Parameters
    ----------
    log_weights : Tensor
        Shape ``(..., count)``, of any normalisation.

    Returns
    -------
    Tensor
        Between 1 and ``count``, float64 of shape ``(...)``.
    """
    return torch.exp(-torch.logsumexp(2.0 * _normalised(log_weights), -1))


def systematic_resample(log_weights: Tensor, generator: torch.Generator, count: int | None = None) -> Tensor:
    """Draw particles in proportion to their weights, with one random number a system.

    Parameters
    ----------
    log_weights : Tensor
        Shape ``(..., particles)``, of any normalisation; every leading axis counts independent systems.
    generator : torch.Generator
        Source of randomness.
    count : int, optional
        Number of draws; as many as particles by default.

    Returns
    -------
    Tensor
        Indices of the drawn particles, int64 of shape ``(..., count)``, increasing.  Particle i is drawn
        ``count W_i`` times, rounded down or up.

    Raises
    ------
    ValueError
        For weights that are NaN or +inf, or that all vanish.
    """
    total = torch.logsumexp(as_times(log_weights), -1)
    if not bool(total.isfinite().all()):
        raise ValueError(
            "log_weights must be finite or -inf, and not all -inf; "
            f"got a system whose weights add up to exp({float(total[~total.isfinite()][0])})"
        )
    cumulative = torch.cumsum(torch.exp(_normalised(log_weights)), -1)
    cumulative = cumulative / cumulative[..., -1:]
    count = cumulative.shape[-1] if count is None else count
    shift = torch.rand(
        (*cumulative.shape[:-1], 1), generator=generator, dtype=torch.float64, device=generator.device
    ).to(cumulative.device)
    points = (shift + torch.arange(count, dtype=torch.float64, device=cumulative.device)) / count
    # Below 1 the first cumulative weight beyond a point belongs to a particle that has weight.
    return torch.searchsorted(cumulative, points.clamp_max(math.nextafter(1.0, 0.0)), right=True)


def take_items(value: Any, indices: Tensor, batch: int) -> Any:
    """Reorder everything in a nested value that has one entry an item.

    Parameters
    ----------
    value : object
        Tensors whose first axis has length ``batch`` are indexed; tuples, lists, mappings and dataclasses are
        searched for them; an object with a method ``take_items(indices)`` is asked to do it itself;
        everything else stays as it is.
    indices : Tensor
        Positions of the items to keep, int64 of shape ``(batch,)``.
    batch : int
        Number of items.

    Returns
    -------
    object
        Of the form of ``value``.
    """
    if isinstance(value, Tensor):
        return value[indices.to(value.device)] if value.ndim > 0 and value.shape[0] == batch else value
    if hasattr(value, "take_items"):
        return value.take_items(indices)
    if isinstance(value, tuple):
        parts = [take_items(part, indices, batch) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [take_items(part, indices, batch) for part in value]
    if isinstance(value, Mapping):
        return {name: take_items(part, indices, batch) for name, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            f.name: take_items(getattr(value, f.name), indices, batch) for f in fields(value) if f.init
        }
        return replace(value, **changed)
    return value


def take_particles(state: State, indices: Tensor) -> State:
    """Return a state whose items are those at ``indices``, with all that belongs to them.

    Times, known sites, earlier evaluations, what hooks carry along and weights go with the values, wherever
    they have one entry an item; see `take_items`.
    """
    batch = state.x.shape[0]
    parts = ("x", "t", "known", "history", "aux", "log_weight")
    return replace(state, **{name: take_items(getattr(state, name), indices, batch) for name in parts})


@dataclass(frozen=True, eq=False)
class ParticleReport:
    """What weights and resampling did in a run.

    Parameters
    ----------
    count : int
        Particles a system.
    log_weights : Tensor
        Final log weights, float64 of shape ``(systems * count,)``, the weights of a system summing to 1.
    ess_history : Tensor
        Effective sample size after each weighing, before resampling, of shape ``(weighings, systems)``.
        The last one alone may look healthy after a collapse: read the smallest.
    resamplings : Tensor
        Number of resamplings of each system, int64 of shape ``(systems,)``.
    ancestors : Tensor
        Number, within its system, of the particle of the start from which each descends, int64 of shape
        ``(systems * count,)``.
    unique_ancestors : Tensor
        Particles of the start with living descendants, int64 of shape ``(systems,)``.
    log_normaliser : Tensor
        Estimate of the log normaliser of the weighted law, float64 of shape ``(systems,)``.
    log_normaliser_error : Tensor
        Its standard error from the system's own genealogy (see the module); infinite where one ancestor is
        left.  With many systems the spread of ``log_normaliser`` between them is the better estimate.
    """

    count: int
    log_weights: Tensor
    ess_history: Tensor
    resamplings: Tensor
    ancestors: Tensor
    unique_ancestors: Tensor
    log_normaliser: Tensor
    log_normaliser_error: Tensor

    def draw(self, generator: torch.Generator, count: int | None = None) -> Tensor:
        """Return positions in the batch of ``count`` particles a system drawn by their weights.

        Indexing the samples with them gives unweighted samples, with repetitions.
        """
        weights = self.log_weights.reshape(-1, self.count)
        first = torch.arange(weights.shape[0], device=weights.device)[:, None] * self.count
        return (systematic_resample(weights, generator, count) + first).reshape(-1)


class ParticleSystems:
    """Weights and genealogy of independent particle systems in one batch; changes as a run goes on.

    Parameters
    ----------
    batch : int
        Number of items, a multiple of ``count``.
    count : int
        Particles a system, at least 2.
    threshold : float
        Systems whose effective sample size falls below ``threshold * count`` are resampled; 0 never
        resamples.
    device : torch.device, optional
        Of the weights.

    Raises
    ------
    ValueError
        If the particles do not fill the batch, or the threshold is outside [0, 1].
    """

    def __init__(self, batch: int, count: int, threshold: float, device: torch.device | str = "cpu") -> None:
        _check_settings(count, threshold)
        if batch < count or batch % count != 0:
            raise ValueError(
                f"the batch must hold whole systems of count={count} particles, got {batch} items; "
                "its first axis is systems x particles"
            )
        self.count, self.threshold = count, threshold
        shape = (batch // count, count)
        self.log_weights = as_times(torch.zeros(shape, device=device))
        self._device = self.log_weights.device
        self.eve = torch.arange(count, device=self._device).expand(shape).clone()
        self.resamplings = torch.zeros(shape[0], dtype=torch.int64, device=self._device)
        self._earlier = torch.zeros(shape[0], dtype=torch.float64, device=self._device)
        self._ess: list[Tensor] = []

    @property
    def weights(self) -> Tensor:
        """Weights of shape ``(systems, count)``, summing to 1 in each system."""
        return torch.exp(_normalised(self.log_weights))

    def update(self, increments: Tensor) -> None:
        """Multiply the weights by ``exp(increments)``, of shape ``(systems * count,)``.

        Raises
        ------
        ValueError
            If an increment is NaN or +inf (naming the particle), or all weights of a system vanish.
        """
        added = as_times(increments).to(self._device).reshape(self.log_weights.shape)
        wrong = added.isnan() | (added == math.inf)
        if bool(wrong.any()):
            system, particle = (int(place) for place in wrong.nonzero()[0])
            raise ValueError(
                f"the log weight of particle {particle} of system {system} grew by "
                f"{float(added[system, particle])}; expected finite values or -inf"
            )
        self.log_weights = self.log_weights + added
        lost = (self.log_weights == -math.inf).all(-1)
        if bool(lost.any()):
            raise ValueError(
                f"the weights of all {self.count} particles of system {int(lost.nonzero()[0])} vanished: the "
                "effective sample size has collapsed, no particle being where the target law has mass. Try "
                "more particles, a smaller reward scale, a reward that falls off gradually instead of being "
                "-inf, rewards at more steps on the way, or a proposal that knows the reward (guidance or "
                "DriftLite)"
            )
        self._ess.append(effective_sample_size(self.log_weights))

    def resample(self, generator: torch.Generator | None) -> Tensor | None:
        """Resample the systems below the threshold and return the positions kept, or None if there are none.

        Raises
        ------
        ValueError
            If resampling is due and there is no generator.
        """
        due = effective_sample_size(self.log_weights) < self.threshold * self.count
        if not bool(due.any()):
            return None
        if generator is None:
            raise ValueError("resampling needs a generator, got None; pass generator= to sample()")
        stay = torch.arange(self.count, device=self._device).expand_as(self.eve)
        chosen = torch.where(due[:, None], systematic_resample(self.log_weights, generator), stay)
        level = torch.logsumexp(self.log_weights, -1) - math.log(self.count)
        self._earlier = torch.where(due, self._earlier + level, self._earlier)
        self.log_weights = torch.where(due[:, None], 0.0, self.log_weights)
        self.eve = self.eve.gather(1, chosen)
        self.resamplings = self.resamplings + due
        first = torch.arange(chosen.shape[0], device=self._device)[:, None] * self.count
        return (chosen + first).reshape(-1)

    def report(self) -> ParticleReport:
        """Return what happened so far."""
        share = torch.zeros_like(self.log_weights).scatter_add(1, self.eve, self.weights)
        unique = torch.zeros_like(self.eve).scatter(1, self.eve, 1).sum(-1)
        excess = ((share - 1.0 / self.count) ** 2).sum(-1) * self.count / (self.count - 1.0)
        level = torch.logsumexp(self.log_weights, -1) - math.log(self.count)
        return ParticleReport(
            count=self.count,
            log_weights=_normalised(self.log_weights).reshape(-1),
            ess_history=torch.stack(self._ess) if self._ess else level.new_zeros(0, level.shape[0]),
            resamplings=self.resamplings,
            ancestors=self.eve.reshape(-1),
            unique_ancestors=unique,
            log_normaliser=self._earlier + level,
            log_normaliser_error=torch.where(unique > 1, excess.sqrt(), math.inf),
        )


def _check_settings(count: int, threshold: float) -> None:
    if count < 2:
        raise ValueError(f"count must be at least 2 particles a system, got {count}")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must lie in [0, 1], a fraction of the particles, got {threshold}")


def _check_shared_times(state: State, count: int) -> None:
    """Refuse particles that would be compared although they stand at different times."""
    if state.known is not None or state.t.ndim == 0 or state.t.shape[0] != state.x.shape[0]:
        return  # known sites change the times; they may differ between particles
    grouped = state.t.reshape(-1, count, *state.t.shape[1:])
    if not bool((grouped == grouped[:, :1]).all()):
        raise ValueError(
            "the particles of one system must share their times, got a grid in which they differ"
        )


@dataclass(frozen=True, eq=False)
class ParticleStep:
    """One step of a sampler run, as particles see it.

    Parameters
    ----------
    before, after : State
        State before the step and after the step and its hooks.
    proposed : State
        State that the solver returned, before hooks.
    prediction : object
        The first prediction that the solver saw in this step, made at ``before`` (None if it asked for none).
    denoiser : object
        Where the prediction comes from; its ``path`` is that of the run.
    solver : object
        What made the step.
    last : bool
        Whether the run ends here.
    guided : bool
        Whether guidance changes predictions in this run.
    unguided : callable
        Returns the prediction at ``before`` without guidance; costs one network evaluation.
    """

    before: State
    after: State
    proposed: State
    prediction: Any
    denoiser: Any
    solver: Any
    last: bool
    guided: bool
    unguided: Callable[[], Any]


class ParticleRun(ABC):
    """The particles of one sampler run.

    Parameters
    ----------
    state : State
        Start of the run; the first axis of its values is systems x particles.
    count, threshold
        See `Particles`.
    """

    def __init__(self, state: State, count: int, threshold: float) -> None:
        self.systems = ParticleSystems(state.x.shape[0], count, threshold, state.x.device)
        _check_shared_times(state, count)

    @abstractmethod
    def log_increments(self, step: ParticleStep) -> Tensor | None:
        """Return what is added to the log weights after a step, shape ``(batch,)``, or None for nothing."""

    def reorder(self, indices: Tensor) -> None:
        """Reorder what the run remembers of each particle; called whenever particles are resampled."""
        return

    def after_step(self, step: ParticleStep) -> State:
        """Weigh the particles after a step and resample where it is due, except at the end of the run."""
        increments = self.log_increments(step)
        state = step.after
        if increments is not None:
            self.systems.update(increments)
            indices = None if step.last else self.systems.resample(state.generator)
            if indices is not None:
                self.reorder(indices)
                state = take_particles(state, indices)
        return replace(state, log_weight=self.systems.log_weights.reshape(-1))


class Particles(ABC):
    """A method that weighs particles and resamples them; given to `sample` as ``particles=``.

    Items of one system must share condition and grid: resampling moves values, not conditions.

    Parameters
    ----------
    count : int
        Particles a system; the first axis of the values is systems x particles.
    threshold : float, default 0.5
        A system is resampled once its effective sample size is below ``threshold * count``; 0 keeps the
        weights of the whole run.
    """

    def __init__(self, count: int, threshold: float = 0.5) -> None:
        _check_settings(count, threshold)
        self.count = count
        self.threshold = threshold

    @abstractmethod
    def begin(self, state: State) -> ParticleRun:
        """Return the particles of a run that starts from this state."""
