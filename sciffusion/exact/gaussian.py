r"""Gaussian targets: isotropic, diagonal, full, low rank, spectral and autoregressive.

For :math:`x_0 \sim N(m, C)` everything is known in closed form (`sciffusion.exact.normal` has the equations).
Covariances with structure are kept by their eigenspaces, so that a field on a ring of a million sites or a
factor of few directions never becomes a matrix.  A linear observation :math:`y = A x_0 + \eta`, :math:`\eta
\sim N(0, R)`, leaves a normal law with the gain :math:`G = C A^\top (A C A^\top + R)^{-1}`:

.. math::
   E[x_0|y] = m + G (y - A m), \qquad
   \operatorname{Cov}(x_0|y) = (I - G A) C (I - G A)^\top + G R G^\top ,

(Joseph's form, which stays symmetric and not negative) and has the evidence
:math:`N(y; A m, A C A^\top + R)`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciffusion.exact.eigenspaces import (
    DenseSpaces,
    DiagonalSpaces,
    Eigenspaces,
    FourierSpaces,
    IsotropicSpaces,
    LowRankSpaces,
)
from sciffusion.exact.normal import NormalLaws
from sciffusion.exact.observation import LinearObservation
from sciffusion.exact.target import ExactTarget

__all__ = ["GaussianTarget"]


class GaussianTarget(ExactTarget):
    """Normal law of data vectors.

    Parameters
    ----------
    mean : Tensor
        Shape ``(dim,)``.
    variances : Tensor
        Eigenvalues of the covariance, shape ``(dim,)``, not negative.
    basis : Tensor, optional
        Orthonormal eigenvectors as columns, shape ``(dim, dim)``; None for a diagonal covariance.
    """

    def __init__(self, mean: Tensor, variances: Tensor, basis: Tensor | None = None) -> None:
        if mean.ndim != 1 or variances.shape != mean.shape:
            raise ValueError(
                "mean and variances must be vectors of one length, got shapes "
                f"{tuple(mean.shape)} and {tuple(variances.shape)}"
            )
        wide = variances.to(torch.float64)
        dim = mean.shape[0]
        self._set(mean, DiagonalSpaces(dim, wide) if basis is None else DenseSpaces(wide, basis.to(wide)))

    def _set(self, mean: Tensor, spaces: Eigenspaces) -> None:
        smallest = float(spaces.variances.min())
        if not smallest >= 0.0:
            raise ValueError(f"variances must not be negative, the smallest is {smallest}")
        self.dim = spaces.dim
        self.laws = NormalLaws(mean.to(torch.float64), spaces)

    @classmethod
    def of_spaces(cls, mean: Tensor, spaces: Eigenspaces) -> GaussianTarget:
        """Return the law with a covariance given by `sciffusion.exact.eigenspaces.Eigenspaces`."""
        target = GaussianTarget.__new__(GaussianTarget)
        target._set(mean, spaces)
        return target

    @classmethod
    def isotropic(cls, dim: int, std: float = 1.0, mean: float | Tensor = 0.0) -> GaussianTarget:
        """Return ``N(mean, std^2 I)`` in ``dim`` dimensions; ``mean`` is a number or of shape ``(dim,)``."""
        centre = torch.as_tensor(mean, dtype=torch.float64).expand(dim)
        return GaussianTarget.of_spaces(
            centre, IsotropicSpaces(dim, torch.full_like(centre[:1], float(std) ** 2))
        )

    @classmethod
    def diagonal(cls, std: Tensor, mean: Tensor | None = None) -> GaussianTarget:
        """Return independent coordinates with the given standard deviations, around 0 by default."""
        return GaussianTarget(torch.zeros_like(std) if mean is None else mean, std.to(torch.float64) ** 2)

    @classmethod
    def full(cls, covariance: Tensor, mean: Tensor | None = None) -> GaussianTarget:
        """Return the law with the given covariance matrix, around 0 by default."""
        wide = covariance.to(torch.float64)
        if wide.ndim != 2 or wide.shape[0] != wide.shape[1]:
            raise ValueError(f"covariance must be a square matrix, got shape {tuple(wide.shape)}")
        if not torch.allclose(wide, wide.mT):
            raise ValueError("covariance must be symmetric")
        centre = torch.zeros_like(wide[0]) if mean is None else mean
        if torch.equal(wide, torch.diag(wide.diagonal())):
            return GaussianTarget(centre, wide.diagonal())
        variances, basis = torch.linalg.eigh(wide)
        smallest = -1e-12 * float(variances.max())
        if float(variances.min()) < smallest:
            raise ValueError(f"covariance must not have negative eigenvalues, got {float(variances.min())}")
        return GaussianTarget(centre, variances.clamp_min(0.0), basis)

    @classmethod
    def low_rank(cls, factor: Tensor, std: float = 0.0, mean: Tensor | None = None) -> GaussianTarget:
        """Return ``N(mean, factor factor^T + std^2 I)`` without forming its covariance.

        Parameters
        ----------
        factor : Tensor
            Shape ``(dim, rank)`` with ``rank < dim``.
        std : float, default 0
            Standard deviation of the noise in every direction; 0 gives data on a linear subspace.
        mean : Tensor, optional
            Shape ``(dim,)``, 0 by default.

        Returns
        -------
        GaussianTarget
            The law.
        """
        if factor.ndim != 2 or factor.shape[1] >= factor.shape[0]:
            raise ValueError(f"factor must have fewer columns than rows, got shape {tuple(factor.shape)}")
        directions, singular, _ = torch.linalg.svd(factor.to(torch.float64), full_matrices=False)
        floor = torch.full_like(singular[:1], float(std) ** 2)
        spaces = LowRankSpaces(torch.cat([singular**2 + floor, floor]), directions)
        return GaussianTarget.of_spaces(torch.zeros_like(directions[:, 0]) if mean is None else mean, spaces)

    @classmethod
    def spectral(cls, power: Tensor, dim: int | None = None, mean: Tensor | None = None) -> GaussianTarget:
        """Return a stationary field on a ring from its power spectrum, by fast Fourier transforms.

        Parameters
        ----------
        power : Tensor
            Variance of each frequency, shape ``(dim // 2 + 1,)``: the eigenvalues of the circulant covariance
            in the order of a real Fourier transform.
        dim : int, optional
            Number of sites; the even number that fits by default.
        mean : Tensor, optional
            Shape ``(dim,)``, 0 by default.

        Returns
        -------
        GaussianTarget
            The law.
        """
        sites = 2 * (power.shape[0] - 1) if dim is None else dim
        if power.ndim != 1 or sites < 1 or power.shape[0] != sites // 2 + 1:
            raise ValueError(
                f"power must have dim // 2 + 1 entries, got shape {tuple(power.shape)} for dim={sites}"
            )
        centre = torch.zeros(sites, dtype=torch.float64, device=power.device) if mean is None else mean
        return GaussianTarget.of_spaces(centre, FourierSpaces(sites, power.to(torch.float64)))

    @classmethod
    def autoregressive(cls, length: int, coefficient: float, std: float = 1.0) -> GaussianTarget:
        """Return a stationary AR(1) series: covariance ``std^2 coefficient^|i - j|``."""
        if not -1.0 < coefficient < 1.0:
            raise ValueError(f"coefficient must lie in (-1, 1), got {coefficient}")
        index = torch.arange(length, dtype=torch.float64)
        lag = (index[:, None] - index).abs()
        sign = torch.where(lag % 2 == 1, math.copysign(1.0, coefficient), 1.0)
        return GaussianTarget.full(
            std**2 * sign * torch.as_tensor(abs(coefficient), dtype=torch.float64) ** lag
        )

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(dim,)``."""
        return self.laws.mean

    @property
    def variances(self) -> Tensor:
        """Eigenvalues of the covariance, shape ``(dim,)``, in the order of its eigenspaces."""
        spaces = self.laws.spaces
        return spaces.variances.repeat_interleave(spaces.multiplicity.to(torch.int64))

    @property
    def basis(self) -> Tensor | None:
        """Eigenvectors as columns in the order of `variances`; None for independent coordinates."""
        spaces = self.laws.spaces
        if isinstance(spaces, IsotropicSpaces | DiagonalSpaces):
            return None
        if isinstance(spaces, DenseSpaces):
            return spaces.basis
        raise ValueError("low-rank and spectral targets keep no basis; use covariance")

    @property
    def covariance(self) -> Tensor:
        """Covariance matrix, shape ``(dim, dim)``."""
        return self.laws.covariance

    @property
    def device(self) -> torch.device:
        """Where the target computes: where its mean lies."""
        return self.laws.mean.device

    def conditional(self, known: Tensor, values: Tensor) -> GaussianTarget:
        """Return the law of the unknown coordinates given the known ones.

        Parameters
        ----------
        known : Tensor of bool
            Shape ``(dim,)``.
        values : Tensor
            Values of the known coordinates, in order.

        Returns
        -------
        GaussianTarget
            Of dimension ``dim - known.sum()``.
        """
        covariance = self.covariance
        cross = covariance[~known][:, known]
        gain = torch.linalg.solve(covariance[known][:, known], cross.mT).mT
        mean = self.mean[~known] + gain @ (values.to(torch.float64) - self.mean[known])
        reduced = covariance[~known][:, ~known] - gain @ cross.mT
        return GaussianTarget.full(0.5 * (reduced + reduced.mT), mean)

    def observed(self, operator: Tensor, observation: Tensor, noise_std: Tensor | float) -> GaussianTarget:
        """Return the exact law of the data given a noisy linear observation ``y = A x0 + noise``.

        Parameters
        ----------
        operator : Tensor
            Matrix A, shape ``(observations, dim)``.
        observation : Tensor
            y, shape ``(observations,)``.
        noise_std : Tensor or float
            Standard deviation of the noise, a number or shape ``(observations,)``; 0 observes exactly.

        Returns
        -------
        GaussianTarget
            The posterior law, of the same dimension.
        """
        seen = LinearObservation(self.dim, operator, observation, noise_std)
        mean, covariance = seen.posterior(self.laws)
        return GaussianTarget.full(covariance, mean)

    def log_evidence(self, operator: Tensor, observation: Tensor, noise_std: Tensor | float) -> Tensor:
        """Return the log density of an observation (arguments as for `observed`), a scalar."""
        return LinearObservation(self.dim, operator, observation, noise_std).log_evidence(self.laws)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors (see `ExactTarget.draw`)."""
        return self.mean + self.laws.spaces.sample(self.white_noise(count, generator))

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        return self.laws.posterior_mean(x, alpha, sigma)

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)`` (see `ExactTarget.posterior_variance`)."""
        return self.laws.posterior_variance(x, alpha, sigma).expand(x.shape)

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        return self.laws.posterior_covariance(x, alpha, sigma).expand(*x.shape, self.dim)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`)."""
        return self.laws.log_density(x, alpha, sigma)

    def score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the gradient of the log density, also without noise (see `ExactTarget.score`)."""
        return self.laws.score(x, alpha, sigma)

    def score_divergence(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the Laplacian of the log density (see `ExactTarget.score_divergence`)."""
        return self.laws.score_divergence(alpha, sigma).expand(x.shape[:-1])

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow (see `ExactTarget.flow`); one level an item, unless diagonal."""
        return self.laws.flow(x, old, new)

    def optimal_loss(
        self, alpha: Tensor, sigma: Tensor, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error in closed form (see `ExactTarget.optimal_loss`)."""
        return self.laws.mean_posterior_variance(alpha, sigma)
