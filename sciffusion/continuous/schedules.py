r"""The usual Gaussian paths, each a few lines of formula.

============================ ========================================================================
path                         levels
============================ ========================================================================
`VariancePreserving`         :math:`\log\alpha = -\frac14(\beta_1 - \beta_0)t^2 - \frac12\beta_0 t`
`VarianceExploding`          :math:`\alpha = 1`, :math:`\sigma = \sigma_0 (\sigma_1/\sigma_0)^t`
`Cosine`                     :math:`\alpha = \cos\theta_t / \cos\theta_0`, :math:`\theta_t` linear in t
`RectifiedFlow`              :math:`\alpha = 1 - t`, :math:`\sigma = t`
`Trigonometric`              :math:`\alpha = \cos(\pi t/2)`, :math:`\sigma = \sin(\pi t/2)`
============================ ========================================================================

The variance-preserving and cosine paths have :math:`\sigma^2 = 1 - \alpha^2 + \sigma_{\min}^2`.

References: Song et al., *Score-Based Generative Modeling through Stochastic Differential Equations*, arXiv
2011.13456 (variance preserving and exploding); Nichol and Dhariwal, *Improved Denoising Diffusion
Probabilistic Models*, arXiv 2102.09672 (cosine); Liu, Gong and Liu, *Flow Straight and Fast*, arXiv
2209.03003 (rectified flow); Lu and Song, *Simplifying, Stabilizing and Scaling Continuous-Time Consistency
Models*, arXiv 2410.11081 (trigonometric).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, PathCoefficients, as_times

__all__ = ["Cosine", "RectifiedFlow", "Trigonometric", "VarianceExploding", "VariancePreserving"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class VariancePreserving(Path):
    r"""Linear-rate variance-preserving path, :math:`\sigma^2 = 1 - \alpha^2 + \sigma_{\min}^2`.

    Parameters
    ----------
    beta_min, beta_max : float
        Rate :math:`\beta_t = \beta_{\min} + (\beta_{\max} - \beta_{\min}) t`;
        :math:`\log\alpha_t = -\frac12\int_0^t\beta`.
    sigma_min : float, default 0
        Noise level at ``t=0``.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        _require(
            0.0 <= self.beta_min <= self.beta_max and self.beta_max > 0.0,
            f"expected 0 <= beta_min <= beta_max, beta_max > 0; got {self.beta_min}, {self.beta_max}",
        )
        _require(self.sigma_min >= 0.0, f"sigma_min must not be negative, got {self.sigma_min}")

    @classmethod
    def from_alpha_min(cls, alpha_min: float = 1e-3, sigma_min: float = 0.0) -> VariancePreserving:
        """Return the path ``alpha = exp(t^2 log(alpha_min))``, whose rate starts at 0."""
        _require(0.0 < alpha_min < 1.0, f"alpha_min must lie in (0, 1), got {alpha_min}")
        return cls(0.0, -4.0 * math.log(alpha_min), sigma_min)

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        spread = self.beta_max - self.beta_min
        log_alpha = -0.5 * t * (self.beta_min + 0.5 * spread * t)
        alpha = torch.exp(log_alpha)
        sigma = torch.sqrt(self.sigma_min**2 - torch.expm1(2.0 * log_alpha))
        d_alpha = -0.5 * (self.beta_min + spread * t) * alpha
        return PathCoefficients(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio, from ``log(alpha^2)`` by the quadratic formula."""
        log_snr = as_times(log_snr)
        decay = torch.nn.functional.softplus(-2.0 * log_snr) - math.log1p(self.sigma_min**2)
        spread = self.beta_max - self.beta_min
        time = 2.0 * decay / (self.beta_min + torch.sqrt(self.beta_min**2 + 2.0 * spread * decay))
        return torch.where(decay > 0.0, time, 0.0)  # 0/0 at clean data if the rate starts at 0


@dataclass(frozen=True)
class VarianceExploding(Path):
    """Path without decay of the signal: ``alpha = 1`` and ``sigma`` geometric between two levels.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise levels at ``t=0`` and ``t=1``, in units of the data; the state at ``t=0`` keeps noise
        ``sigma_min``.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _require(
            0.0 < self.sigma_min < self.sigma_max,
            f"expected 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}",
        )

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        sigma = self.sigma_min * torch.exp(t * self._log_ratio)
        return PathCoefficients(torch.ones_like(t), sigma, torch.zeros_like(t), self._log_ratio * sigma)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio, which is linear in time on this path."""
        return (-as_times(log_snr) - math.log(self.sigma_min)) / self._log_ratio


@dataclass(frozen=True)
class Cosine(Path):
    r"""Cosine path, with the shift of the discrete cosine schedule.

    .. math::
       \alpha_t = \frac{\cos\theta_t}{\cos\theta_0}, \quad
       \theta_0 = \frac{s}{1+s}\frac\pi2, \quad \theta_1 = \arccos(\alpha_{\min}\cos\theta_0),

    with :math:`\theta_t` linear in time.  For ``alpha_min=0`` this is :math:`\alpha_t^2 =
    \cos^2(\frac{t+s}{1+s}\frac\pi2) / \cos^2\theta_0`, so the discrete schedule with N points is this path at
    times ``k / N``.

    Parameters
    ----------
    shift : float, default 0
        The offset s; it slows the first steps away from the data.
    alpha_min : float, default 1e-3
        Signal level at ``t=1``.  With 0 the path ends in pure noise, where a predicted noise says nothing
        about the data; start below ``t=1`` then.
    sigma_min : float, default 0
        Noise level at ``t=0``.
    """

    shift: float = 0.0
    alpha_min: float = 1e-3
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        _require(self.shift >= 0.0, f"shift must not be negative, got {self.shift}")
        _require(0.0 <= self.alpha_min < 1.0, f"alpha_min must lie in [0, 1), got {self.alpha_min}")
        _require(self.sigma_min >= 0.0, f"sigma_min must not be negative, got {self.sigma_min}")

    @property
    def _angles(self) -> tuple[float, float]:
        first = 0.5 * math.pi * self.shift / (1.0 + self.shift)
        return first, math.acos(self.alpha_min * math.cos(first))

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        first, last = self._angles
        turned = t * (last - first)
        angle = first + turned
        alpha = torch.cos(angle) / math.cos(first)
        # 1 - alpha^2 as a product of sines: no cancellation near t=0.
        lost = torch.sin(turned) * torch.sin(angle + first) / math.cos(first) ** 2
        sigma = torch.sqrt(lost + self.sigma_min**2)
        d_alpha = -(last - first) * torch.sin(angle) / math.cos(first)
        return PathCoefficients(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio, from the sine and the cosine of the angle."""
        log_snr = as_times(log_snr)
        first, last = self._angles
        squared_alpha = (1.0 + self.sigma_min**2) * torch.sigmoid(2.0 * log_snr)
        lost = torch.sigmoid(-2.0 * log_snr) - self.sigma_min**2 * torch.sigmoid(2.0 * log_snr)
        cosine = torch.sqrt(squared_alpha) * math.cos(first)
        sine = torch.sqrt((lost + squared_alpha * math.sin(first) ** 2).clamp_min(0.0))
        return (torch.atan2(sine, cosine) - first) / (last - first)


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """Straight path ``alpha = 1 - (1 - alpha_min) t``, ``sigma = t + (1 - t) sigma_min``.

    Parameters
    ----------
    alpha_min : float, default 0
        Signal level at ``t=1``.
    sigma_min : float, default 0
        Noise level at ``t=0``.
    """

    alpha_min: float = 0.0
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        _require(0.0 <= self.alpha_min < 1.0, f"alpha_min must lie in [0, 1), got {self.alpha_min}")
        _require(0.0 <= self.sigma_min < 1.0, f"sigma_min must lie in [0, 1), got {self.sigma_min}")

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        alpha = 1.0 - (1.0 - self.alpha_min) * t
        sigma = t + (1.0 - t) * self.sigma_min
        slopes = torch.ones_like(t)
        return PathCoefficients(
            alpha, sigma, -(1.0 - self.alpha_min) * slopes, (1.0 - self.sigma_min) * slopes
        )

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio by solving ``alpha = exp(log_snr) sigma``."""
        log_snr = as_times(log_snr)
        signal, noise = torch.sigmoid(log_snr), torch.sigmoid(-log_snr)
        numerator = noise - self.sigma_min * signal
        return numerator / ((1.0 - self.alpha_min) * noise + (1.0 - self.sigma_min) * signal)


@dataclass(frozen=True)
class Trigonometric(Path):
    r"""Rotation from data to noise by the angle :math:`\pi t / 2`: ``alpha = cos``, ``sigma = sin``."""

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        rate = 0.5 * math.pi
        angle = rate * as_times(t)
        sine, cosine = torch.sin(angle), torch.cos(angle)
        return PathCoefficients(cosine, sine, -rate * sine, rate * cosine)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio, ``arctan(exp(-log_snr))`` over a quarter turn."""
        return torch.atan(torch.exp(-as_times(log_snr))) / (0.5 * math.pi)
