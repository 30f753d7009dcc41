r"""The common form of targets known in closed form, and the denoiser that they give on any path.

For data with a known law, :math:`x = \alpha x_0 + \sigma\varepsilon` has a known density p, and

.. math::
   \nabla\log p(x) = \frac{\alpha\,E[x_0|x] - x}{\sigma^2}, \qquad
   \operatorname{Cov}(x_0|x) = \frac{\sigma^2}{\alpha}\frac{\partial E[x_0|x]}{\partial x}, \qquad
   \Delta\log p(x) = \sum_i \frac{1}{\sigma_i^2}
   \left[\frac{\alpha_i^2 \operatorname{Var}(x_{0,i}|x)}{\sigma_i^2} - 1\right]

(the last with levels that may differ between coordinates).  Everything is computed in float64 and returned in
the type of the values given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import PointwiseDenoiser, Posterior
from sciffusion.continuous.path import Path, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction

__all__ = ["ExactDenoiser", "ExactTarget"]


class ExactTarget(ABC):
    """A law of data vectors whose noisy versions are known in closed form.

    Values have shape ``(..., dim)``; the levels ``alpha`` and ``sigma`` are float64 and of a shape that is a
    prefix of it, one level an item or, where a target allows it, one a coordinate.
    """

    dim: int

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` independent data vectors, float64 of shape ``(count, dim)``."""

    @abstractmethod
    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]``, of the shape of ``x``."""

    @abstractmethod
    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)``, of the shape of ``x`` with a last axis ``dim`` appended."""

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)``, of the shape of ``x``."""
        return self.posterior_covariance(x, alpha, sigma).diagonal(dim1=-2, dim2=-1)

    def posterior_trace(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the trace of ``Cov(x0 | x)``, of shape ``x.shape[:-1]``."""
        return self.posterior_variance(x, alpha, sigma).sum(-1)

    @abstractmethod
    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of the noisy values, of shape ``x.shape[:-1]``."""

    def score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the gradient of the log density of the noisy values, of the shape of ``x``.

        By the posterior mean, which needs noise and loses half its digits where ``sigma`` is 1e-4 of the
        spread; targets with a density of their own have a form without that loss.
        """
        return (alpha * self.posterior_mean(x, alpha, sigma) - x) / sigma**2

    def score_divergence(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the Laplacian of the log density of the noisy values, of shape ``x.shape[:-1]``."""
        if alpha.ndim == 0 or alpha.shape[-1] == sigma.shape[-1] == 1:
            trace = self.posterior_trace(x, alpha, sigma)
            signal, noise = (level if level.ndim == 0 else level[..., 0] for level in (alpha, sigma))
            return (signal**2 * trace / noise**2 - self.dim) / noise**2
        gain = alpha**2 * self.posterior_variance(x, alpha, sigma) / sigma**2
        return ((gain - 1.0) / sigma**2).sum(-1)

    @abstractmethod
    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return where the probability flow takes ``x`` from levels ``(alpha, sigma)`` to other ones."""

    def optimal_loss(
        self, alpha: Tensor, sigma: Tensor, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error of a clean estimate, averaged over coordinates.

        Parameters
        ----------
        alpha, sigma : Tensor
            Scalar levels.
        generator : torch.Generator, optional
            For targets whose average needs draws.
        count : int, default 4096
            Number of draws.

        Returns
        -------
        Tensor
            Scalar ``E tr Cov(x0 | x) / dim``.
        """
        if generator is None:
            raise ValueError(f"{type(self).__name__} averages its optimal loss over draws; give a generator")
        x0 = self.draw(count, generator)
        x = alpha * x0 + sigma * self.white_noise(count, generator)
        return self.posterior_variance(x, alpha, sigma).mean()

    @property
    def device(self) -> torch.device:
        """Where the target computes; values given on another device go there and back."""
        return torch.device("cpu")

    def white_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Return standard normal values of shape ``(count, dim)``; the generator may live elsewhere."""
        shape, home = (count, self.dim), generator.device
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=home).to(self.device)

    def check_values(self, x: Tensor) -> None:
        """Raise ``ValueError`` unless the last axis of ``x`` has length ``dim``."""
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ValueError(f"x must have a last axis of length {self.dim}, got shape {tuple(x.shape)}")


class ExactDenoiser(PointwiseDenoiser):
    """The perfect denoiser of a target on a path.

    Parameters
    ----------
    target : ExactTarget
        Law of the data.
    path : Path
        Path of the noisy values.
    """

    def __init__(self, target: ExactTarget, path: Path) -> None:
        self.target = target
        self.path = path

    def _noisy(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Return values and levels as the target computes with them."""
        self.target.check_values(x)
        c = self.path.coefficients(t)
        wide = x.to(self.target.device, torch.float64)
        return wide, align(c.alpha, wide), align(c.sigma, wide)

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Return the exact posterior mean as a prediction of kind ``"x0"``."""
        return ContinuousPrediction(self.target.posterior_mean(*self._noisy(x, t)).to(x), "x0")

    def posterior(self, x: Tensor, t: Tensor | float) -> Posterior:
        """Return the exact mean and covariance (shape ``(..., dim, dim)``) of the clean data."""
        noisy = self._noisy(x, t)
        mean, covariance = self.target.posterior_mean(*noisy), self.target.posterior_covariance(*noisy)
        return Posterior(mean.to(x), covariance.to(x))

    def posterior_variance(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the variance of every coordinate of the clean data, of the shape of ``x``."""
        return self.target.posterior_variance(*self._noisy(x, t)).to(x)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the gradient of the log density of the noisy values, of the shape of ``x``."""
        return self.target.score(*self._noisy(x, t)).to(x)

    def score_divergence(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the Laplacian of the log density of the noisy values, of shape ``x.shape[:-1]``."""
        return self.target.score_divergence(*self._noisy(x, t)).to(x)

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of the noisy values at times ``t``, of shape ``x.shape[:-1]``."""
        return self.target.log_density(*self._noisy(x, t)).to(x)

    def optimal_loss(
        self, t: Tensor | float, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error of a clean estimate at one time (see `ExactTarget`)."""
        c = self.path.coefficients(as_times(t).reshape(()))
        return self.target.optimal_loss(c.alpha, c.sigma, generator, count)

    def flow_map(self, x: Tensor, t: Tensor | float, t_next: Tensor | float) -> Tensor:
        """Return where the probability flow takes values ``x`` from times ``t`` to times ``t_next``."""
        (wide, *old), (_, *new) = self._noisy(x, t), self._noisy(x, t_next)
        return self.target.flow(wide, (old[0], old[1]), (new[0], new[1])).to(x)

    def draw_marginal(self, count: int, t: Tensor | float, generator: torch.Generator) -> Tensor:
        """Draw ``count`` noisy vectors at one time, float64 of shape ``(count, dim)``."""
        x0 = self.target.draw(count, generator)
        return self.path.marginal(x0, t, self.target.white_noise(count, generator))
