r"""Gaussian paths: how data turn into noise as time runs from 0 to 1.

A path fixes two functions of time :math:`t \in [0, 1]`, the signal level :math:`\alpha_t` and the noise level
:math:`\sigma_t`, and with them the corrupted state

.. math:: x_t = \alpha_t x_0 + \sigma_t \varepsilon, \qquad \varepsilon \sim N(0, I).

Time 0 is data and time 1 is noise.  From the two levels and their time derivatives (written with a dot)
follow

.. math::
   \lambda_t = \log(\alpha_t / \sigma_t), \qquad
   f_t = \dot\alpha_t / \alpha_t, \qquad
   g_t^2 = 2 \sigma_t (\dot\sigma_t - f_t \sigma_t),

the log signal-to-noise ratio (of amplitudes, not powers), and the drift and squared diffusion of the
equivalent stochastic differential equation :math:`dx = f x\,dt + g\,dW`.

Every coefficient is computed in float64 and rounded to the type of the state only when it is multiplied with
it. A time may be a scalar, one value an item ``(B,)`` or one an element ``(B, L)``: any shape that is a
prefix of the state's shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Path", "PathCoefficients", "align", "as_times", "match_times"]


def as_times(t: Tensor | float) -> Tensor:
    """Return times as a float64 tensor on a device that knows float64.

    Parameters
    ----------
    t : Tensor or float
        Times in [0, 1].

    Returns
    -------
    Tensor
        The same values in float64; on the CPU when the device of ``t`` has no float64 (Apple's MPS).
    """
    if not isinstance(t, Tensor):
        # Without the type a Python number would pass through float32.
        return torch.as_tensor(t, dtype=torch.float64)
    return (t.cpu() if t.device.type == "mps" else t).to(torch.float64)


def align(coefficient: Tensor, x: Tensor) -> Tensor:
    """Cast a coefficient to the type and device of a state and append axes until it broadcasts against it.

    Parameters
    ----------
    coefficient : Tensor
        Values whose shape is a prefix of ``x.shape`` (an axis of length 1 fits every length).
    x : Tensor
        Floating-point state.

    Returns
    -------
    Tensor
        The coefficient with ``x.ndim`` axes.

    Raises
    ------
    ValueError
        If the shape of ``coefficient`` is not a prefix of the shape of ``x``.
    """
    shape = coefficient.shape
    fits = len(shape) <= x.ndim and all(n in (1, m) for n, m in zip(shape, x.shape, strict=False))
    if not fits:
        raise ValueError(
            f"times of shape {tuple(shape)} do not fit a state of shape {tuple(x.shape)}; "
            "expected a scalar or a prefix of the state's shape"
        )
    return coefficient.to(x.dtype).to(x.device).reshape(shape + (1,) * (x.ndim - len(shape)))


def match_times(t: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return two kinds of times of one state in float64 and of one shape.

    Both shapes are prefixes of that of the state, so the shorter one gets axes at its end: one time an item
    goes with one an element.

    Parameters
    ----------
    t, s : Tensor or float
        Times.

    Returns
    -------
    tuple of Tensor
        Both, of the same shape.

    Raises
    ------
    ValueError
        If the shapes are no prefixes of one shape.
    """
    first, second = as_times(t), as_times(s)
    axes = max(first.ndim, second.ndim)
    first, second = (time.reshape(time.shape + (1,) * (axes - time.ndim)) for time in (first, second))
    if any(n != m and 1 not in (n, m) for n, m in zip(first.shape, second.shape, strict=True)):
        raise ValueError(
            f"times of shapes {tuple(as_times(t).shape)} and {tuple(as_times(s).shape)} do not belong to one "
            "state; expected two prefixes of its shape"
        )
    # Sums, unlike expanded views, bring a scalar to the device of the other times.
    return first + 0.0 * second, second + 0.0 * first


@dataclass(frozen=True, eq=False)
class PathCoefficients:
    """Levels of a path and their time derivatives at some times.

    Parameters
    ----------
    alpha, sigma : Tensor
        Signal and noise level, float64, of the shape of the times.
    d_alpha, d_sigma : Tensor
        Their derivatives with respect to time.  ``d_sigma`` is infinite at ``t=0`` on paths whose noise
        variance grows linearly there (variance-preserving ones).
    """

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor

    @cached_property
    def log_snr(self) -> Tensor:
        """Log ratio of the amplitudes of signal and noise, ``log(alpha / sigma)``; decreases with time."""
        return torch.log(self.alpha) - torch.log(self.sigma)

    @cached_property
    def noise_to_signal(self) -> Tensor:
        """Noise level relative to the signal, ``sigma / alpha``: the EDM sigma of this path."""
        return self.sigma / self.alpha

    @property
    def drift(self) -> Tensor:
        """Linear drift ``f = d_alpha / alpha`` of the forward stochastic differential equation."""
        return self.d_alpha / self.alpha

    @property
    def squared_diffusion(self) -> Tensor:
        """Squared diffusion ``g^2 = 2 sigma (d_sigma - f sigma)`` of the forward equation (at ``t > 0``)."""
        return 2.0 * self.sigma * (self.d_sigma - self.drift * self.sigma)

    def unbind(self) -> tuple[PathCoefficients, ...]:
        """Return the coefficients along the first axis of the times one by one, computed all at once."""
        names = ("alpha", "sigma", "d_alpha", "d_sigma")
        columns = zip(*(getattr(self, name).unbind(0) for name in names), strict=True)
        single = tuple(PathCoefficients(*row) for row in columns)
        for name in ("log_snr", "noise_to_signal"):
            for one, value in zip(single, getattr(self, name).unbind(0), strict=True):
                one.__dict__[name] = value
        return single


class Path(ABC):
    """A Gaussian path ``x_t = alpha_t x_0 + sigma_t eps`` from data (t=0) to noise (t=1)."""

    @abstractmethod
    def coefficients(self, t: Tensor | float) -> PathCoefficients:
        """Return levels and derivatives at times ``t`` in [0, 1], in float64 and of the shape of ``t``."""

    @abstractmethod
    def time_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """Return the time at which ``log(alpha / sigma)`` has the given value (the inverse of `log_snr`)."""

    def log_snr(self, t: Tensor | float) -> Tensor:
        """Return ``log(alpha_t / sigma_t)`` at times ``t``."""
        return self.coefficients(t).log_snr

    def marginal(self, x0: Tensor, t: Tensor | float, noise: Tensor) -> Tensor:
        """Corrupt clean data: ``alpha_t x0 + sigma_t noise``.

        Parameters
        ----------
        x0 : Tensor
            Clean data, any shape.
        t : Tensor or float
            Times of a shape that is a prefix of ``x0.shape``.
        noise : Tensor
            Standard normal noise of the shape of ``x0``.

        Returns
        -------
        Tensor
            The state at times ``t``; where ``t`` is 0 on a path without initial noise it equals ``x0``
            exactly.
        """
        coefficients = self.coefficients(t)
        return align(coefficients.alpha, x0) * x0 + align(coefficients.sigma, x0) * noise

    def prior_std(self, t: Tensor | float = 1.0) -> Tensor:
        """Return the standard deviation ``sqrt(alpha_t^2 + sigma_t^2)`` of a state of unit-variance data."""
        coefficients = self.coefficients(t)
        return torch.hypot(coefficients.alpha, coefficients.sigma)

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw starting states ``N(0, alpha_t^2 + sigma_t^2)``, the law of standardised Gaussian data.

        Parameters
        ----------
        shape : tuple of int
            Shape of the state.
        generator : torch.Generator
            Source of randomness; may live on another device than the state.
        t : Tensor or float, default 1
            Time of the start.
        dtype, device
            Of the state.

        Returns
        -------
        Tensor
            The starting states.
        """
        noise = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device).to(device)
        return align(self.prior_std(t), noise) * noise
