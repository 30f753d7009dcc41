r"""Shifted paths: processes that end around a given state instead of around zero.

A mean-reverting process takes data to a known state :math:`\mu`, for instance a noisy recording of what is to
be restored:

.. math:: x_t = \mu + \alpha_t (x_0 - \mu) + \sigma_t \varepsilon .

In :math:`u = x - \mu` this is the ordinary path :math:`u_t = \alpha_t u_0 + \sigma_t \varepsilon`.  So
nothing new is needed: solvers, objectives, hooks and particles work on u, and `Shifted` holds the change of
variable.  Noise, score, velocity and the v prediction of x are those of u (:math:`\mu` does not move with
time); only the clean estimate differs, by :math:`\mu`.  The first-order step

.. math::
   x' = \frac{\sigma'}{\sigma} x + \alpha'(1 - e^{-h}) D
      + \Bigl(1 - \frac{\sigma'}{\sigma} + \frac{\alpha\sigma'}{\sigma} - \alpha'\Bigr)\mu,
   \qquad h = \lambda' - \lambda,

is the update of the MRS sampler.

A run started from :math:`\mu + \sigma_1\varepsilon` ignores the signal :math:`\alpha_1 u_0` that is left at
the end of the path.  `start_divergence` says how much that matters, and `GaussianStart` draws from a start
law that is exact for Gaussian data on every path.

References: Luo et al., *Image Restoration with Mean-Reverting Stochastic Differential Equations*, arXiv
2301.11699; *MRS: A Fast Sampler for Mean Reverting Diffusion*, arXiv 2502.07856; Richter et al., *Speech
Enhancement and Dereverberation with Diffusion-based Generative Models*, arXiv 2208.05830.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser, NoisyState, PointwiseDenoiser
from sciffusion.continuous.path import Path, PathCoefficients, as_times
from sciffusion.continuous.prediction import ContinuousPrediction

__all__ = [
    "CentredDenoiser",
    "MeanReverting",
    "OrnsteinUhlenbeckVarianceExploding",
    "Shifted",
]


@dataclass(frozen=True)
class MeanReverting(Path):
    r"""Mean-reverting path with a stationary noise level (arXiv 2301.11699, 2502.07856).

    .. math::
       \alpha_t = \exp\Bigl(-\int_0^t \theta_s\,ds\Bigr), \qquad \sigma_t^2 = s_\infty^2 (1 - \alpha_t^2),

    the solution of :math:`du = -\theta_t u\,dt + s_\infty\sqrt{2\theta_t}\,dW`, with a rate that grows
    linearly from ``rate_min`` to ``rate_max``.

    Parameters
    ----------
    rate_min, rate_max : float
        The rate at ``t=0`` and ``t=1``.
    stationary_std : float, default 1
        Noise level :math:`s_\infty` towards which the path goes, in units of the data.
    """

    rate_min: float = 0.05
    rate_max: float = 10.0
    stationary_std: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.rate_min <= self.rate_max and self.rate_max > 0.0):
            raise ValueError(
                f"expected 0 <= rate_min <= rate_max, rate_max > 0; got {self.rate_min}, {self.rate_max}"
            )
        if not self.stationary_std > 0.0:
            raise ValueError(f"stationary_std must be positive, got {self.stationary_std}")

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        spread = self.rate_max - self.rate_min
        log_alpha = -t * (self.rate_min + 0.5 * spread * t)
        alpha = torch.exp(log_alpha)
        sigma = self.stationary_std * torch.sqrt(-torch.expm1(2.0 * log_alpha))
        d_alpha = -(self.rate_min + spread * t) * alpha
        return PathCoefficients(alpha, sigma, d_alpha, -(self.stationary_std**2) * alpha * d_alpha / sigma)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio, from ``log(alpha)`` by the quadratic formula."""
        decay = 0.5 * torch.nn.functional.softplus(-2.0 * (as_times(log_snr) + math.log(self.stationary_std)))
        spread = self.rate_max - self.rate_min
        time = 2.0 * decay / (self.rate_min + torch.sqrt(self.rate_min**2 + 2.0 * spread * decay))
        return torch.where(decay > 0.0, time, 0.0)  # 0/0 at clean data if the rate starts at 0


@dataclass(frozen=True)
class OrnsteinUhlenbeckVarianceExploding(Path):
    r"""Path of the speech-enhancement model SGMSE+ (OUVE, arXiv 2208.05830).

    .. math::
       \alpha_t = e^{-\gamma t}, \qquad
       \sigma_t^2 = \sigma_0^2\,\frac{(k^{2t} - e^{-2\gamma t})\log k}{\gamma + \log k}, \qquad
       k = \sigma_1/\sigma_0,

    the solution of :math:`du = -\gamma u\,dt + \sigma_0 k^t \sqrt{2\log k}\,dW`.

    With the defaults, of the source, the signal left at ``t=1`` is .22: a start in pure noise is a start from
    the wrong law (see `start_divergence` and `GaussianStart`).

    Parameters
    ----------
    stiffness : float, default 1.5
        The rate :math:`\gamma`.
    sigma_min, sigma_max : float
        The geometric levels of the diffusion, :math:`\sigma_0` and :math:`\sigma_1`, in units of the data.
    """

    stiffness: float = 1.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}")
        if self.stiffness < 0.0:
            raise ValueError(f"stiffness must not be negative, got {self.stiffness}")

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    @property
    def _variance_scale(self) -> float:
        return self.sigma_min**2 * self._log_ratio / (self.stiffness + self._log_ratio)

    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` (see `Path.coefficients`)."""
        t = as_times(t)
        rate = self.stiffness + self._log_ratio
        alpha = torch.exp(-self.stiffness * t)
        # k^2t - exp(-2 gamma t) as a product: no cancellation near t=0.
        relative = torch.sqrt(self._variance_scale * torch.expm1(2.0 * rate * t))
        d_relative = self._variance_scale * rate * torch.exp(2.0 * rate * t) / relative
        d_alpha = -self.stiffness * alpha
        return PathCoefficients(alpha, alpha * relative, d_alpha, d_alpha * relative + alpha * d_relative)

    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time of a log signal-to-noise ratio from the closed form of ``sigma^2 / alpha^2``."""
        relative = torch.exp(-2.0 * as_times(log_snr))
        return torch.log1p(relative / self._variance_scale) / (2.0 * (self.stiffness + self._log_ratio))


class Shifted:
    r"""An ordinary path around a mean: the change of variable between x and :math:`u = x - \mu`.

    Parameters
    ----------
    path : Path
        Path of u; grids are made for it.
    mean : Tensor, float or callable
        The state :math:`\mu` at which noise ends: a tensor that broadcasts against the values, or a function
        from the condition (of the denoiser's own form) to one, such as ``lambda y: y``.

    Notes
    -----
    A whole run::

        process = Shifted(MeanReverting(), mean=lambda y: y)
        denoiser = process.centred(denoiser_of_x)      # or any denoiser that is made for u
        result = sample(denoiser, solver, grid, shape=y.shape, condition=y, generator=generator)
        restored = process.restore(result.samples, y)

    A network that takes u (with y as its condition) is a denoiser of u as it is, and may be preconditioned;
    `centred` is for denoisers that take and return x, such as outside ones.  Training is
    ``objective(denoiser, process.centre(x0, y), times, noise, condition=y)`` in both cases.  Guidance that
    calls a denoiser without its condition goes inside: ``process.centred(GuidedDenoiser(...))`` with a
    fixed ``mean``.
    """

    def __init__(self, path: Path, mean: Tensor | float | Callable[[Any], Tensor]) -> None:
        self.path = path
        self.mean = mean

    def mean_of(self, like: Tensor, condition: Any = None) -> Tensor:
        """Return the mean for values of the shape, type and device of ``like``.

        Raises
        ------
        ValueError
            If the mean does not broadcast to the shape of the values.
        """
        mean = self.mean(condition) if callable(self.mean) else self.mean
        mean = torch.as_tensor(mean).to(like.dtype).to(like.device)
        try:
            return mean.expand(like.shape)
        except RuntimeError as error:
            raise ValueError(
                f"mean of shape {tuple(mean.shape)} does not broadcast to values of shape {tuple(like.shape)}"
            ) from error

    def centre(self, x: Tensor, condition: Any = None) -> Tensor:
        """Return ``u = x - mean``."""
        return x - self.mean_of(x, condition)

    def restore(self, u: Tensor, condition: Any = None) -> Tensor:
        """Return ``x = u + mean``."""
        return u + self.mean_of(u, condition)

    def marginal(self, x0: Tensor, t: Tensor | float, noise: Tensor, condition: Any = None) -> Tensor:
        """Return ``x_t = mean + alpha (x0 - mean) + sigma noise`` (see `Path.marginal`)."""
        return self.restore(self.path.marginal(self.centre(x0, condition), t, noise), condition)

    def centred(self, denoiser: Denoiser) -> CentredDenoiser:
        """Return a denoiser of u from one of x, whose predictions are those of the shifted process."""
        return CentredDenoiser(denoiser, self)

    def coefficients(self, t: Tensor | float) -> NoReturn:
        """Refuse: coefficients that multiply x would leave out the mean.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "Shifted is no path of x: solvers and objectives work on u = x - mean. Build the denoiser with "
            "Shifted.path, and use Shifted.centred for a denoiser of x"
        )


class CentredDenoiser(PointwiseDenoiser):
    r"""A denoiser of :math:`u = x - \mu` made of a denoiser of x.

    Parameters
    ----------
    denoiser : Denoiser
        Takes x on the shifted process and predicts its clean value, noise, score, velocity ``dx/dt`` or
        ``v = alpha eps - sigma (x0 - mean)``.
    process : Shifted
        Gives the mean, from the condition if it is a function.
    """

    def __init__(self, denoiser: Denoiser, process: Shifted) -> None:
        self.denoiser = denoiser
        self.process = process
        self.path = process.path

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Predict for values ``x`` of u (see `PointwiseDenoiser.predict`)."""
        return self(_Values(x, as_times(t)), condition)

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        """Predict for a state of u, handing the denoiser ``x = u + mean``."""
        mean = self.process.mean_of(state.x, condition)
        prediction = self.denoiser(_moved(state, state.x + mean), condition, cache)
        if prediction.kind != "x0":
            return prediction
        return ContinuousPrediction(prediction.value - mean, "x0")


@dataclass(frozen=True, eq=False)
class _Values:
    """The least that a denoiser reads of a state."""

    x: Tensor
    t: Tensor


def _moved(state: Any, x: Tensor) -> NoisyState:
    """Return a state with other values; what a sampling state carries besides stays in place."""
    moved = getattr(state, "moved", None)
    return _Values(x, state.t) if moved is None else moved(x, state.t, state.history)
