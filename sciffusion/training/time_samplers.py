r"""Which times a network is trained at.

An objective :math:`\int_0^1 p(t)\, \ell(t)\, dt` is estimated at times drawn from a density :math:`q`, each
term multiplied by the *importance ratio* :math:`p/q`. Every sampler here maps uniform numbers :math:`u` by
the inverse of the cumulative distribution :math:`F_q`.

* Independent: :math:`u_b \sim U(0, 1)`.
* Stratified: :math:`u_b = (\pi(b) + U_b) / B` with :math:`U_b \sim U(0, 1)` and :math:`\pi` a random
  permutation of :math:`0, \dots, B - 1`. Each :math:`u_b` is uniform, each of the :math:`B` intervals holds
  exactly one of them, and so the variance of a batch's mean that comes from the times nearly disappears. The
  permutation keeps times and rows independent.

Two meanings must be kept apart. A sampler may *define* the weighting (EDM's lognormal noise levels: the
objective is the plain mean over :math:`q`, the ratio is 1), or only *reduce the variance* of an objective
whose :math:`p` is uniform (the ratio is :math:`1/q`): `reweight` says which.

References
----------
T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the Design Space of Diffusion-Based Generative Models",
arXiv:2206.00364 (lognormal noise). P. Esser and others, "Scaling Rectified Flow Transformers for
High-Resolution Image Synthesis", arXiv:2403.03206 (logit-normal times). D. P. Kingma, T. Salimans, B. Poole,
J. Ho, "Variational Diffusion Models", arXiv:2107.00630 (low-discrepancy times). J. Bettencourt and others,
"Variance Reduction for Expectations with Diffusion Teachers", arXiv:2605.21489 (stratified importance
sampling).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = [
    "LogNormalNoise",
    "LogitNormal",
    "TimeSample",
    "TimeSampler",
    "UniformTimes",
    "WeightedTimes",
    "stratified_uniforms",
]


class TimeSample(NamedTuple):
    """Times and their importance ratios p/q, two float64 tensors of one shape (float32 on Apple GPUs)."""

    times: Tensor
    importance_ratio: Tensor


class TimeSampler(Protocol):
    """Draws times in [0, 1]."""

    def sample(
        self, shape: int | Sequence[int], generator: torch.Generator, device: torch.device | str | None = None
    ) -> TimeSample:
        """Draw times of the given shape; strata run along the last dimension, the batch."""
        ...


def _uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    dtype = torch.float32 if generator.device.type == "mps" else torch.float64
    return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)


def stratified_uniforms(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return uniform numbers, one in each of the B equal intervals of [0, 1) along the last dimension.

    Parameters
    ----------
    shape : sequence of int
        Leading dimensions, each stratified by itself, and B.
    generator : torch.Generator
        Source of the numbers; the result is on its device.

    Returns
    -------
    Tensor
        Numbers in [0, 1), randomly ordered along the last dimension.
    """
    shape = tuple(shape)
    strata = _uniforms(shape, generator).argsort(dim=-1)
    return (strata + _uniforms(shape, generator)) / shape[-1]


@dataclass(frozen=True, kw_only=True)
class _InverseCdfSampler(ABC):
    stratified: bool = True
    reweight: bool = False

    def sample(
        self, shape: int | Sequence[int], generator: torch.Generator, device: torch.device | str | None = None
    ) -> TimeSample:
        """Draw times.

        Parameters
        ----------
        shape : int or sequence of int
            Shape of the result, such as ``(batch,)`` or ``(members, batch)``; strata run along the last
            dimension.
        generator : torch.Generator
            Source of the randomness.
        device : torch.device or str, optional
            Where the result goes; the generator's device by default.

        Returns
        -------
        TimeSample
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        draw = stratified_uniforms if self.stratified else _uniforms
        times = self.quantile(draw(shape, generator))
        ratio = 1.0 / self.density(times) if self.reweight else torch.ones_like(times)
        target = generator.device if device is None else device
        return TimeSample(times.to(target), ratio.to(target))

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """Return the inverse of the cumulative distribution at `u` in [0, 1)."""

    @abstractmethod
    def density(self, t: Tensor) -> Tensor:
        """Return the density q at times `t`."""


@dataclass(frozen=True, kw_only=True)
class UniformTimes(_InverseCdfSampler):
    """Times uniform on [low, high), 0 <= low < high <= 1.

    Parameters
    ----------
    low, high : float
        Ends of the interval. With `reweight`, `p` is uniform on the same interval up to its length.
    stratified : bool
        One time in each of B equal intervals.
    reweight : bool
        Return 1/q as importance ratio rather than 1.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ValueError(
                f"low and high must satisfy 0 <= low < high <= 1, got {self.low} and {self.high}"
            )

    def quantile(self, u: Tensor) -> Tensor:
        """Return low + (high - low) u."""
        return self.low + (self.high - self.low) * u

    def density(self, t: Tensor) -> Tensor:
        """Return 1 / (high - low)."""
        return torch.full_like(t, 1.0 / (self.high - self.low))


@dataclass(frozen=True, kw_only=True)
class LogitNormal(_InverseCdfSampler):
    r"""Times whose logit is normal, :math:`\log(t / (1 - t)) \sim N(\mu, s^2)` (arXiv:2403.03206).

    Parameters
    ----------
    location : float
        Mean mu of the logit; 0 centres on t = 1/2.
    scale : float > 0
        Standard deviation s of the logit.
    stratified, reweight : bool
        As in `UniformTimes`; the ratio 1/q grows without bound towards 0 and 1.
    """

    location: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    def quantile(self, u: Tensor) -> Tensor:
        """Return the logistic function of mu + s Phi^-1(u)."""
        return torch.sigmoid(self.location + self.scale * _normal_quantile(u))

    def density(self, t: Tensor) -> Tensor:
        """Return N(logit t; mu, s^2) / (t (1 - t))."""
        z = (torch.logit(t) - self.location) / self.scale
        return torch.exp(-0.5 * z.square()) / (self.scale * math.sqrt(2 * math.pi) * t * (1 - t))


@dataclass(frozen=True, kw_only=True)
class LogNormalNoise:
    r"""Times whose noise-to-signal ratio is lognormal, :math:`\log(\sigma/\alpha) \sim N(m, s^2)`.

    On the variance-exploding path this is EDM's training distribution (arXiv:2206.00364), on any other path
    its image under equal noise-to-signal ratio. It defines the weighting: the importance ratio is 1.

    Parameters
    ----------
    time_of_log_snr : callable
        Inverse of log(alpha/sigma) of the path, ``path.time_of_log_snr``.
    location : float
        Mean m; EDM has -1.2 for data of standard deviation 0.5.
    scale : float > 0
        Standard deviation s; EDM has 1.2.
    stratified : bool
        As in `UniformTimes`.
    """

    time_of_log_snr: Callable[[Tensor], Tensor]
    location: float = -1.2
    scale: float = 1.2
    stratified: bool = True

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    def sample(
        self, shape: int | Sequence[int], generator: torch.Generator, device: torch.device | str | None = None
    ) -> TimeSample:
        """Draw times; the parameters are those of `UniformTimes.sample`."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        draw = stratified_uniforms if self.stratified else _uniforms
        log_noise = self.location + self.scale * _normal_quantile(draw(shape, generator))
        # Paths that end before infinite noise have no time for the tails.
        times = self.time_of_log_snr(-log_noise).clamp(0.0, 1.0)
        times = times.to(generator.device if device is None else device)
        return TimeSample(times, torch.ones_like(times))


@dataclass(frozen=True, kw_only=True)
class WeightedTimes(_InverseCdfSampler):
    r"""Times drawn in proportion to a positive weight, :math:`q(t) \propto w(t)` on [0, 1].

    With `reweight` (the default here) this is importance sampling for a uniform objective that carries the
    explicit weight w: the product of weight and importance ratio is then constant.

    Parameters
    ----------
    weight : callable
        ``weight(t)`` for a float64 tensor of times, positive and finite inside (0, 1).
    n_bins : int >= 1
        The density is constant on this many equal intervals, with the weight at their midpoints. The ratio is
        that of this density, so estimates are unbiased whatever the number.
    stratified, reweight : bool
        As in `UniformTimes`.

    Raises
    ------
    ValueError
        If a weight is not positive and finite.
    """

    weight: Callable[[Tensor], Tensor]
    n_bins: int = 1000
    reweight: bool = True
    _probability: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        middles = (torch.arange(self.n_bins, dtype=torch.float64) + 0.5) / self.n_bins
        weights = self.weight(middles).to(torch.float64)
        if not bool((torch.isfinite(weights) & (weights > 0)).all()):
            raise ValueError("weight must be positive and finite everywhere inside (0, 1)")
        object.__setattr__(self, "_probability", weights / weights.sum())

    def quantile(self, u: Tensor) -> Tensor:
        """Return the inverse of the piecewise linear cumulative distribution."""
        probability = self._probability.to(u.device, u.dtype)
        edges = torch.cat([probability.new_zeros(1), probability.cumsum(0)])
        bins = (torch.searchsorted(edges, u, right=True) - 1).clamp(0, self.n_bins - 1)
        inside = ((u - edges[bins]) / probability[bins]).clamp(0.0, 1.0)
        return (bins + inside) / self.n_bins

    def density(self, t: Tensor) -> Tensor:
        """Return the probability of the interval that holds `t`, times their number."""
        bins = (t * self.n_bins).long().clamp(0, self.n_bins - 1)
        return self._probability.to(t.device, t.dtype)[bins] * self.n_bins


def _normal_quantile(u: Tensor) -> Tensor:
    # 0 itself, which a generator may give, would be an infinite noise level.
    smallest = torch.finfo(u.dtype).eps
    quantile: Tensor = torch.special.ndtri(u.clamp(smallest, 1.0 - smallest))
    return quantile


def _check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, got {scale!r}")
