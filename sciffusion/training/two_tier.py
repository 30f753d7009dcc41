r"""Gradients through a frozen diffusion teacher, with few expensive forward passes and many cheap denoisings.

A generator (a renderer, a decoder, a student model) with parameters :math:`\theta` gives
:math:`x(\theta, \xi)`; a frozen denoiser says in which direction x should move.  The gradient wanted is

.. math::
   g = E_\xi\, E_{t, \varepsilon}\Bigl[ f(x, t, \varepsilon)\, \frac{\partial x}{\partial\theta} \Bigr] .

Only :math:`\partial x/\partial\theta` needs the generator, so R outer draws are reused for K inner ones:

.. math::
   \hat g = \frac1R \sum_r \Bigl[ \frac1K \sum_k \frac{p(t_{rk})}{q(t_{rk})}
   f(x_r, t_{rk}, \varepsilon_{rk}) \Bigr] \frac{\partial x_r}{\partial\theta},

one forward and one backward pass of the generator for each r, whatever K.  The bracket is averaged in the
space of x and detached.  The estimate is unbiased for every R, K, stratification and density q.

**Accounting.**  An estimate costs :math:`R(c_{up} + K c_{den})`.  With variance V (the trace of its
covariance), averaging more of them trades cost for variance, so that estimators are compared by
:math:`V \cdot \text{cost}`; the *effective compute multiplier* is the ratio of this product to that of a
reference.

Bettencourt et al., *Variance Reduction for Expectations with Diffusion Teachers*, arXiv 2605.21489.  Poole et
al., *DreamFusion*, arXiv 2209.14988 (the direction of score distillation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import PointwiseDenoiser, align

from .time_samplers import TimeSampler, UniformTimes

__all__ = ["Direction", "ScoreDistillation", "TwoTierGradient", "effective_compute_multiplier"]

#: ``direction(x, times, noise)``: f of the module's equation for values (R, K, ...), times (R, K) and
#: standard normal noise (R, K, ...), of the shape of the values.
Direction = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TwoTierGradient:
    """Surrogate loss whose gradient is the two-tier estimate.

    The number R of outer draws is the length of the first axis of ``x``.

    Parameters
    ----------
    denoisings : int, default 8
        Inner draws K of time and noise for each outer one.
    time_sampler : TimeSampler, optional
        Draws times with their importance ratios; stratified uniform times by default.  For a direction that
        carries an explicit weight w(t), ``WeightedTimes(weight=w)`` makes the product of weight and ratio
        constant.  Strata run over the K times of an outer draw, and over the R draws when K is 1.
    """

    denoisings: int = 8
    time_sampler: TimeSampler = field(default_factory=UniformTimes)

    def __post_init__(self) -> None:
        if self.denoisings < 1:
            raise ValueError(f"denoisings must be at least 1, got {self.denoisings}")

    def __call__(self, x: Tensor, direction: Direction, generator: torch.Generator) -> Tensor:
        """Return a scalar whose gradient with respect to whatever ``x`` depends on is the estimate.

        Parameters
        ----------
        x : Tensor
            Outputs of the generator, shape ``(R, ...)``, with their graph.
        direction : callable
            See `Direction`; called once, without gradients.
        generator : torch.Generator
            Source of times and noise; may live on another device than ``x``.

        Returns
        -------
        Tensor
            Scalar; its *value* means nothing.

        Raises
        ------
        ValueError
            If the direction returns another shape than it was given.
        """
        return (x * self.mean_direction(x, direction, generator)).sum() / len(x)

    @torch.no_grad()
    def mean_direction(self, x: Tensor, direction: Direction, generator: torch.Generator) -> Tensor:
        """Return the bracket of the module's equation, of the shape of ``x`` and detached."""
        times, ratio = self._times(len(x), generator, x.device)
        shape = (len(x), self.denoisings, *x.shape[1:])
        values = x.detach()[:, None].expand(shape)
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
        found = direction(values, times, noise)
        if found.shape != values.shape:
            raise ValueError(
                f"direction returned shape {tuple(found.shape)} for values of shape {tuple(values.shape)}; "
                "expected equal shapes"
            )
        return (align(ratio, found) * found).mean(1)

    def _times(self, outer: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return times and importance ratios of shape (R, K)."""
        if self.denoisings == 1:
            times, ratio = self.time_sampler.sample((1, outer), generator, device)
            return times.mT, ratio.mT
        times, ratio = self.time_sampler.sample((outer, self.denoisings), generator, device)
        return times, ratio


@dataclass(frozen=True)
class ScoreDistillation:
    r"""The direction of score distillation, :math:`w(t)\,(\hat\varepsilon(x_t, t) - \varepsilon)`.

    Following it downhill moves x to where the frozen denoiser sees probable data.

    Parameters
    ----------
    denoiser : PointwiseDenoiser
        Frozen; corrupts and denoises on its path.
    weight : callable, optional
        ``weight(t)`` for float64 times; 1 by default.  The factor alpha that comes from
        :math:`\partial x_t/\partial x` may be put into it.
    condition : object, optional
        Passed to the denoiser.
    """

    denoiser: PointwiseDenoiser
    weight: Callable[[Tensor], Tensor] | None = None
    condition: Any = None

    def __call__(self, x: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the direction for values ``(R, K, ...)`` (see `Direction`)."""
        path = self.denoiser.path
        noisy = path.marginal(x, times, noise)
        prediction = self.denoiser.predict(noisy, times, self.condition)
        error = prediction.to("eps", path.coefficients(times), noisy).value - noise
        return error if self.weight is None else align(self.weight(times), error) * error


def effective_compute_multiplier(
    variance: float, cost: float, reference_variance: float, reference_cost: float
) -> float:
    """Return how many times less an estimator costs than a reference one at equal variance.

    Parameters
    ----------
    variance, reference_variance : float
        Trace of the covariance of one estimate, of both.
    cost, reference_cost : float
        Cost of one estimate in any unit, ``R * (upstream + K * denoising)``.
    """
    return reference_variance * reference_cost / (variance * cost)
