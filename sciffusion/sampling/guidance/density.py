r"""Density guidance: samples of higher or lower probability density, along the probability flow.

Along the flow :math:`dx/dt = u` the density of a state changes as
:math:`d\log p_t(x_t)/dt = -\operatorname{div} u`.  The smallest change of velocity that imposes the rate b
instead lies along the score :math:`s` and is :math:`\frac{b + \operatorname{div} u}{\|s\|^2} s`.  Since
:math:`u = f x - \frac12 g^2 s` this multiplies the score by

.. math:: \eta = 1 - \frac{2\,(b + \operatorname{div} u)}{g^2 \|s\|^2} \qquad\text{(rate form)}.

For noisy values of d coordinates :math:`\sigma^2(\|s\|^2 + \operatorname{div} s)/\sqrt{2d}` is nearly
standard normal.  Asking the instantaneous rate to be its q-quantile gives

.. math:: \eta = 1 + \frac{\sqrt{2d}\,\Phi^{-1}(q)}{\sigma^2\|s\|^2} \qquad\text{(quantile form)},

which needs no divergence.  The clean estimate becomes :math:`D + (\eta - 1)(D - x/\alpha)`.

The rate form is exact for every law.  What the quantile form does adds up along the run: for Gaussian data
with variances :math:`V` of the noisy values, :math:`R^2 = \sum x_i^2 / V_i` obeys :math:`dR^2 = -2\sqrt{2d}\,
\Phi^{-1}(q)\,d\lambda` with :math:`\lambda = \log(\alpha/\sigma)` (isotropic data), so a run over a wide
range of :math:`\lambda` goes far beyond the q-quantile of :math:`\|x\|^2` and, for q above one half, ends at
the mode.  With ``log_snr_range`` the same total change is spread over that range so that a state that starts
at the median of :math:`\chi^2_d` ends at its (1 - q)-quantile: exactly the q-quantile of the log density of
isotropic Gaussian data (a construction of this library).  The start at the median is `MedianNormStart`.

With noise of strength :math:`k g` orthogonal to the score, which moves the state within a surface of nearly
one density, the second-order change of the log density, :math:`\frac12 k^2 g^2 (\operatorname{div} s -
\hat s^\top (\partial s/\partial x) \hat s)` with :math:`\hat s = s/\|s\|`, has to be taken out as well:

.. math:: \eta = 1 + \frac{c - k^2\sigma^2 (\operatorname{div} s - \hat s^\top
   (\partial s/\partial x)\hat s)}{\sigma^2\|s\|^2}

with c the numerator of the form in use.  The source leaves out the last term, which is the d-th part for
isotropic data.  `DensityControlledNoise` is the solver that adds such noise.

Cost: one evaluation; divergences take d backward passes, or one a probe with ``n_probes``.

Karczewski, Heinonen and Garg, *Devil is in the Details: Density Guidance for Detail-Aware Generation with
Flow Models*, arXiv 2502.05807.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.divergence import divergence
from sciffusion.continuous.path import align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.estimate import gradients

__all__ = ["DensityGuidance", "chi_squared_quantile"]


def chi_squared_quantile(probability: float, dim: int) -> float:
    """Return the quantile of the squared norm of ``dim`` standard normal values."""
    from scipy.special import chdtri

    return float(chdtri(dim, 1.0 - probability))


class DensityGuidance(Guidance):
    """Scales the score so that the log density of the samples goes another way.

    Parameters
    ----------
    quantile : float, optional
        q of the quantile form, in (0, 1): above one half for samples of higher density.
    rate : float or callable, optional
        b of the rate form, the rate of the log density with time (per unit of t, growing towards noise); a
        callable maps times (float64, scalar or one an item) to rates of that shape.  Exactly one of
        ``quantile`` and ``rate`` is given.
    log_snr_range : (float, float), optional
        ``log(alpha / sigma)`` at the start and the end of the run: spreads the quantile over it, see the
        module.
    noise_strength : float, default 0
        k of the module, for use with `DensityControlledNoise`.
    n_probes : int, optional
        Estimate divergences from this many probes, drawn from the state's generator; exact by default.

    Raises
    ------
    ValueError
        For both or neither of the two forms, a quantile outside (0, 1), a range that does not rise or a
        negative strength; in a run, for times of single elements.
    """

    def __init__(
        self,
        quantile: float | None = None,
        rate: float | Callable[[Tensor], Tensor] | None = None,
        *,
        log_snr_range: tuple[float, float] | None = None,
        noise_strength: float = 0.0,
        n_probes: int | None = None,
    ) -> None:
        if (quantile is None) == (rate is None):
            raise ValueError("give exactly one of quantile= and rate=")
        if quantile is not None and not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must lie in (0, 1), got {quantile}")
        if log_snr_range is not None and (
            quantile is None or not -math.inf < log_snr_range[0] < log_snr_range[1] < math.inf
        ):
            raise ValueError(
                "log_snr_range belongs to the quantile form, is finite and rises from start to end, "
                f"got {log_snr_range}"
            )
        if not (callable(rate) or rate is None or math.isfinite(rate)):
            raise ValueError(f"rate must be finite, got {rate}")
        if not (math.isfinite(noise_strength) and noise_strength >= 0.0):
            raise ValueError(f"noise_strength must be finite and not negative, got {noise_strength}")
        self.quantile = quantile
        self.rate = rate
        self.log_snr_range = log_snr_range
        self.noise_strength = noise_strength
        self.n_probes = n_probes
        self.differentiates = rate is not None or noise_strength > 0.0

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`).

        Where there is no noise or no signal left the prediction stays as it is.
        """
        if state.t.ndim > 1:
            raise ValueError(
                f"density guidance needs one time an item, got times of shape {tuple(state.t.shape)}"
            )
        c, x = denoiser.path.coefficients(state.t), state.x
        if bool((c.sigma == 0.0).all() | (c.alpha == 0.0).all()):
            return denoiser(state, condition, cache)
        estimate, spread, along = self._evaluate(denoiser, state, condition, cache)
        alpha, sigma = align(c.alpha, x), align(c.sigma, x)
        score = (alpha * estimate - x) / sigma**2
        squared = (score**2).flatten(1).sum(-1)
        size = x[0].numel()
        change = self._numerator(state.t, c, spread, size)
        if self.noise_strength > 0.0:
            change = change - self.noise_strength**2 * as_times(c.sigma).to(x) ** 2 * (spread - along)
        factor = change / (align(c.sigma, squared) ** 2 * squared)
        usable = squared.isfinite() & (squared > 0.0)
        away = torch.where(align(usable, x) > 0.0, align(factor, x) * (estimate - x / alpha), 0.0)
        return ContinuousPrediction(estimate + away, "x0")

    def _evaluate(
        self, denoiser: Any, state: Any, condition: Any, cache: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the clean estimate, the score's divergence and its slope along itself where needed."""
        c = denoiser.path.coefficients(state.t)

        def clean(x: Tensor) -> Tensor:
            prediction = denoiser(replace(state, x=x), condition, cache)
            value: Tensor = prediction.to("x0", c, x).value
            return value

        zero = state.x.new_zeros(len(state.x))
        if not self.differentiates:
            return clean(state.x), zero, zero
        graph: list[tuple[Tensor, Tensor]] = []

        def field(x: Tensor) -> Tensor:
            graph.append((x, clean(x)))
            return graph[0][1]

        estimate, total = divergence(field, state.x, n_probes=self.n_probes, generator=state.generator)
        alpha, sigma = align(c.alpha, zero), align(c.sigma, zero)
        spread = (alpha * total - state.x[0].numel()) / sigma**2
        score = align(c.alpha, estimate) * estimate - state.x
        unit = score / score.flatten(1).norm(dim=-1).reshape((-1,) + (1,) * (score.ndim - 1))
        if not graph[0][1].requires_grad:
            return estimate, spread, -1.0 / align(c.sigma, zero) ** 2
        with gradients():
            (row,) = torch.autograd.grad(graph[0][1], graph[0][0], unit)
        along = (alpha * (row * unit).flatten(1).sum(-1) - 1.0) / sigma**2
        return estimate, spread, along

    def _numerator(self, t: Tensor, c: Any, spread: Tensor, size: int) -> Tensor:
        """Return ``(eta - 1) sigma^2 |score|^2`` without noise, one an item."""
        if self.quantile is not None and self.log_snr_range is not None:
            low, high = self.log_snr_range
            shift = chi_squared_quantile(0.5, size) - chi_squared_quantile(1.0 - self.quantile, size)
            return torch.full_like(spread, 0.5 * shift / (high - low))
        if self.quantile is not None:
            normal = float(torch.special.ndtri(torch.tensor(self.quantile, dtype=torch.float64)))
            return torch.full_like(spread, math.sqrt(2.0 * size) * normal)
        t = as_times(t)
        rate = self.rate(t) if callable(self.rate) else torch.full_like(t, float(self.rate or 0.0))
        squared = c.squared_diffusion
        # div u = f d - g^2 div s / 2
        flow = align(c.drift * size, spread) - 0.5 * align(squared, spread) * spread
        return -2.0 * (align(rate, spread) + flow) * align(c.sigma**2 / squared, spread)
