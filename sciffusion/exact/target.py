r"""The common form of targets known in closed form, and the denoiser that they give on any path.

For data with a known law, :math:`x = \alpha x_0 + \sigma\varepsilon` has a known density p, and

.. math::
   \nabla\log p(x) = \frac{\alpha\,E[x_0|x] - x}{\sigma^2}, \qquad
   \operatorname{Cov}(x_0|x) = \frac{\sigma^2}{\alpha}\frac{\partial E[x_0|x]}{\partial x} .

Everything is computed in float64 and returned in the type of the values given.
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

    @abstractmethod
    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of the noisy values, of shape ``x.shape[:-1]``."""

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
        x = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        covariance = self.posterior_covariance(x, alpha, sigma)
        return covariance.diagonal(dim1=-2, dim2=-1).mean()

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

    def _levels(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        self.target.check_values(x)
        c = self.path.coefficients(t)
        wide = x.to(torch.float64)
        return align(c.alpha, wide), align(c.sigma, wide)

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Return the exact posterior mean as a prediction of kind ``"x0"``."""
        mean = self.target.posterior_mean(x.to(torch.float64), *self._levels(x, t))
        return ContinuousPrediction(mean.to(x.dtype), "x0")

    def posterior(self, x: Tensor, t: Tensor | float) -> Posterior:
        """Return the exact mean and covariance (shape ``(..., dim, dim)``) of the clean data."""
        levels, wide = self._levels(x, t), x.to(torch.float64)
        mean = self.target.posterior_mean(wide, *levels)
        covariance = self.target.posterior_covariance(wide, *levels)
        return Posterior(mean.to(x.dtype), covariance.to(x.dtype))

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the gradient of the log density of the noisy values, of the shape of ``x``."""
        alpha, sigma = self._levels(x, t)
        wide = x.to(torch.float64)
        return ((alpha * self.target.posterior_mean(wide, alpha, sigma) - wide) / sigma**2).to(x.dtype)

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of the noisy values at times ``t``, of shape ``x.shape[:-1]``."""
        return self.target.log_density(x.to(torch.float64), *self._levels(x, t)).to(x.dtype)

    def optimal_loss(
        self, t: Tensor | float, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error of a clean estimate at one time (see `ExactTarget`)."""
        c = self.path.coefficients(as_times(t).reshape(()))
        return self.target.optimal_loss(c.alpha, c.sigma, generator, count)

    def flow_map(self, x: Tensor, t: Tensor | float, t_next: Tensor | float) -> Tensor:
        """Return where the probability flow takes values ``x`` from times ``t`` to times ``t_next``."""
        wide = x.to(torch.float64)
        return self.target.flow(wide, self._levels(x, t), self._levels(x, t_next)).to(x.dtype)

    def draw_marginal(self, count: int, t: Tensor | float, generator: torch.Generator) -> Tensor:
        """Draw ``count`` noisy vectors at one time, float64 of shape ``(count, dim)``."""
        x0 = self.target.draw(count, generator)
        return self.path.marginal(x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype))
