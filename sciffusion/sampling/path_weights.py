r"""Samples drawn under guidance with the weights that undo it.

A stochastic solver's step is a function of the state (and of earlier ones) and of standard normal noise
:math:`\xi`.  Guidance enters by moving the noise: :math:`\xi + \theta` takes its place, with
:math:`\theta` the change that guidance makes to the mean of an ancestral step, in standard deviations of
that step.  The ratio of the unguided to the guided density of a path is then known exactly, whatever the
solver,

.. math:: \log\frac{p}{p_g} = \sum_\text{steps} -\xi^\top\theta - \tfrac12\|\theta\|^2 ,

with + in the last sign on paths that were drawn without guidance (Girsanov's formula).  Weighted averages
over the samples are unbiased for the unguided solver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.noise import WhiteNoise
from sciffusion.continuous.path import PathCoefficients, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.solvers.extended import ERSDE, PowerScale
from sciffusion.sampling.driver import sample
from sciffusion.sampling.guidance.base import Guidance, GuidedDenoiser
from sciffusion.sampling.state import State

__all__ = ["WeightedSamples", "event_solver", "weighted_samples"]


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """Samples of a guided run with their weights.

    Parameters
    ----------
    samples : Tensor
        Shape ``(count, ...)``.
    log_weights : Tensor
        Shape ``(count,)``, float64: the mean of ``exp(log_weights) f(samples)`` is unbiased for the mean of f
        over unguided samples.  At most ``-log(defensive)``.
    guided : Tensor of bool
        Shape ``(count,)``: which of them were drawn with guidance.
    defensive : float
        Share of those that were not.
    nfe : int
        Evaluations of the network, each of the whole batch.
    """

    samples: Tensor
    log_weights: Tensor
    guided: Tensor
    defensive: float
    nfe: int


class _Given:
    """Noise that was drawn before; notes whether the solver took it."""

    def __init__(self, noise: Tensor) -> None:
        self._noise = noise
        self.taken = False

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        if self.taken:
            raise ValueError("weights need a solver that draws noise once a step, and this one drew it twice")
        self.taken = True
        return self._noise


class _Reusing:
    """A denoiser whose clean estimate for one state is known already."""

    def __init__(self, denoiser: Any, state: Any, condition: Any, value: Tensor) -> None:
        self._denoiser, self._state, self._condition, self._value = denoiser, state, condition, value
        self.path = denoiser.path

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        if state is self._state:
            return ContinuousPrediction(self._value, "x0")
        return self._denoiser(state, self._condition, cache)


class _Remembering:
    """A denoiser that keeps its plain clean estimate for one state, if it is asked for it."""

    def __init__(self, denoiser: Any, state: State, condition: Any) -> None:
        self._denoiser, self._state, self._condition = denoiser, state, condition
        self.path = denoiser.path
        self.plain: Tensor | None = None

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        prediction = self._denoiser(state, condition, cache)
        same = condition is self._condition and torch.equal(state.x.detach(), self._state.x)
        if self.plain is None and same:
            c = self.path.coefficients(state.t)
            self.plain = prediction.to("x0", c, state.x).value.detach()
        return prediction

    def estimate(self) -> Tensor:
        """Return the plain clean estimate, evaluating the denoiser if no one has."""
        if self.plain is None:
            self(self._state, self._condition)
        assert self.plain is not None
        return self.plain


class _WeighingSolver:
    """Steps of a plain solver whose noise is moved by guidance; keeps the log ratio of densities."""

    def __init__(
        self, solver: Any, guidance: Guidance | Sequence[Guidance], condition: Any, guided: Tensor
    ) -> None:
        self._solver, self._guidance, self._condition, self._guided = solver, guidance, condition, guided
        parts = (guidance,) if isinstance(guidance, Guidance) else tuple(guidance)
        self.nfe = math.prod(part.nfe for part in parts) + solver.nfe

    def step(self, state: State, t_next: Tensor, denoiser: Any) -> State:
        """Make one step and add to ``log_weight`` the log of unguided over guided density."""
        t_next = as_times(t_next)
        remembering = _Remembering(denoiser, state, self._condition)
        coefficients = denoiser.path.coefficients(state.t)
        prediction = GuidedDenoiser(remembering, self._guidance)(state, self._condition)
        plain = remembering.estimate()
        change = prediction.to("x0", coefficients, state.x).value.detach() - plain
        shift = _noise_shift(state, t_next, coefficients, denoiser.path.coefficients(t_next), change)
        noise = WhiteNoise().draw(state.x, state.generator, state.t, t_next)
        guided = self._guided.reshape((-1,) + (1,) * (state.x.ndim - 1))
        source, solver = _Given(torch.where(guided, noise + shift, noise)), copy(self._solver)
        solver.noise = source
        moved = solver.step(state, t_next, _Reusing(denoiser, state, self._condition, plain))
        ratio = -_items(noise * shift) + torch.where(self._guided, -0.5, 0.5) * _items(shift**2)
        before = torch.zeros_like(ratio) if state.log_weight is None else state.log_weight
        weighed: State = replace(moved, log_weight=before + ratio if source.taken else before)
        return weighed


def _noise_shift(
    state: State, t_next: Tensor, c: PathCoefficients, there: PathCoefficients, change: Tensor
) -> Tensor:
    """Return the change of an ancestral step's mean, in standard deviations of its noise."""
    kept = (there.sigma * c.alpha / (c.sigma * there.alpha)) ** 2
    moves = align((there.sigma > 0.0) & (state.t > t_next), change) > 0.0
    scale = align(there.alpha * torch.sqrt((1.0 - kept).clamp_min(0.0)) / there.sigma, change)
    return torch.where(moves, scale * change, 0.0)


def _items(values: Tensor) -> Tensor:
    """Sum over all axes but the first, in float64 where the device knows it."""
    wide = values if values.device.type == "mps" else values.to(torch.float64)
    return wide.flatten(1).sum(-1)


def event_solver() -> ERSDE:
    """Return the solver of event probabilities: the usual reverse equation to weak order 2."""
    return ERSDE(order=2, scale=PowerScale(2.0))


def weighted_samples(
    denoiser: Any,
    guidance: Guidance | Sequence[Guidance],
    grid: Tensor,
    *,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    state: State | None = None,
    condition: Any = None,
    solver: Any = None,
    defensive: float = 0.1,
    groups: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> WeightedSamples:
    """Draw samples with guidance, and weights with which they stand for unguided ones.

    Parameters
    ----------
    denoiser : Denoiser
        The model.
    guidance : Guidance or sequence of Guidance
        What draws paths to where they matter.
    grid : Tensor
        Times (see `sample`).
    generator : torch.Generator
        Source of randomness.
    shape, state
        As for `sample`: exactly one is given.
    condition : object, optional
        Passed to the denoiser.
    solver : Solver, optional
        A stochastic one that draws noise at most once a step, from its attribute ``noise`` (white noise is
        put there): `event_solver` by default.  Others with as much noise as the forward process fit, too.
    defensive : float, default 0.1
        Share of the paths drawn without guidance, in (0, 1); bounds the weights by its inverse.
    groups : int, optional
        Number of consecutive blocks of the first axis, each with its own share of unguided paths.
    dtype, device
        Of values drawn from the prior.

    Returns
    -------
    WeightedSamples
        Samples and log weights.

    Raises
    ------
    TypeError
        If the solver has no ``noise``.
    ValueError
        If the share is outside (0, 1), the blocks are not equal or a block has fewer than 4 paths, or the
        solver draws noise more than once in a step.
    """
    solver = event_solver() if solver is None else solver
    if not hasattr(solver, "noise"):
        raise TypeError(f"weights need a stochastic solver with a noise source, got {type(solver).__name__}")
    if not 0.0 < defensive < 1.0:
        raise ValueError(f"defensive must lie in (0, 1), got {defensive}")
    count = shape[0] if shape is not None else 0 if state is None else len(state.x)
    blocks = 1 if groups is None else groups
    if count and (blocks < 1 or count % blocks or count // blocks < 4):
        raise ValueError(f"groups must split the {count} paths into equal blocks of at least 4, got {groups}")
    size = count // blocks
    plain = min(max(round(defensive * size), 2), size - 2)
    place = device if state is None else state.x.device
    guided = (torch.arange(count, device=place) % max(size, 1)) >= plain
    weighing = _WeighingSolver(solver, guidance, condition, guided)
    with torch.no_grad():
        result = sample(
            denoiser, weighing, grid, shape=shape, state=state, generator=generator, dtype=dtype,
            device=device, inference_mode=False,
        )  # fmt: skip
    share, ratio = plain / size, result.state.log_weight
    assert ratio is not None
    guided_part = math.log1p(-share) - ratio
    log_weights = -torch.logaddexp(torch.full_like(ratio, math.log(share)), guided_part)
    return WeightedSamples(result.samples, log_weights, guided, share, result.nfe)
