r"""Gaussian targets: isotropic, diagonal, full and autoregressive.

For :math:`x_0 \sim N(m, C)` with eigenvalues :math:`v_i`, the noisy values have mean :math:`\alpha m` and
eigenvalues :math:`V_i = \alpha^2 v_i + \sigma^2`.  In the eigenbasis, with :math:`z = x - \alpha m`,

.. math::
   E[x_0|x] = m + \frac{\alpha v}{V} z, \qquad
   \operatorname{Var}(x_0|x) = \frac{v\sigma^2}{V}, \qquad
   z' = \sqrt{V'/V}\, z

(the last along the probability flow).  With levels that differ between coordinates the matrix form
:math:`E[x_0|x] = m + C A (A C A + S^2)^{-1}(x - A m)` takes over; at coordinates without noise it conditions
on their values exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
        if not bool((variances >= 0.0).all()):
            raise ValueError(f"variances must not be negative, the smallest is {float(variances.min())}")
        self.dim = mean.shape[0]
        self.mean = mean.to(torch.float64)
        self.variances = variances.to(torch.float64)
        self.basis = None if basis is None else basis.to(torch.float64)

    @classmethod
    def isotropic(cls, dim: int, std: float = 1.0, mean: float = 0.0) -> GaussianTarget:
        """Return ``N(mean, std^2 I)`` in ``dim`` dimensions."""
        ones = torch.ones(dim, dtype=torch.float64)
        return cls(mean * ones, std**2 * ones)

    @classmethod
    def diagonal(cls, std: Tensor, mean: Tensor | None = None) -> GaussianTarget:
        """Return independent coordinates with the given standard deviations, around 0 by default."""
        return cls(torch.zeros_like(std) if mean is None else mean, std**2)

    @classmethod
    def full(cls, covariance: Tensor, mean: Tensor | None = None) -> GaussianTarget:
        """Return the law with the given covariance matrix, around 0 by default."""
        wide = covariance.to(torch.float64)
        if not torch.allclose(wide, wide.mT):
            raise ValueError("covariance must be symmetric")
        variances, basis = torch.linalg.eigh(wide)
        smallest = -1e-12 * float(variances.max())
        if float(variances.min()) < smallest:
            raise ValueError(f"covariance must not have negative eigenvalues, got {float(variances.min())}")
        return cls(torch.zeros_like(variances) if mean is None else mean, variances.clamp_min(0.0), basis)

    @classmethod
    def autoregressive(cls, length: int, coefficient: float, std: float = 1.0) -> GaussianTarget:
        """Return a stationary AR(1) series: covariance ``std^2 coefficient^|i - j|``."""
        if not -1.0 < coefficient < 1.0:
            raise ValueError(f"coefficient must lie in (-1, 1), got {coefficient}")
        index = torch.arange(length, dtype=torch.float64)
        lag = (index[:, None] - index).abs()
        sign = torch.where(lag % 2 == 1, math.copysign(1.0, coefficient), 1.0)
        return cls.full(std**2 * sign * torch.as_tensor(abs(coefficient), dtype=torch.float64) ** lag)

    @property
    def covariance(self) -> Tensor:
        """Covariance matrix, shape ``(dim, dim)``."""
        return self._matrix(self.variances)

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

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors (see `ExactTarget.draw`)."""
        white = torch.randn(count, self.dim, generator=generator, dtype=torch.float64)
        return self.mean + self._from_basis(self.variances.sqrt() * white)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        centred = x - alpha * self.mean
        if self._is_dense(alpha):
            gain = self.covariance * self._row(alpha, x)
            solved: Tensor = torch.linalg.solve(self._noisy_covariance(x, alpha, sigma), centred[..., None])
            return self.mean + (gain @ solved)[..., 0]
        return self.mean + self._from_basis(self._gain(alpha, sigma) * self._to_basis(centred))

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        if self._is_dense(alpha):
            gain = self.covariance * self._row(alpha, x)
            solved: Tensor = torch.linalg.solve(self._noisy_covariance(x, alpha, sigma), gain.mT)
            return self.covariance - gain @ solved
        left = self.variances * (1.0 - alpha * self._gain(alpha, sigma))
        return self._matrix(left.expand(x.shape))

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`)."""
        centred = x - alpha * self.mean
        constant = 0.5 * self.dim * math.log(2.0 * math.pi)
        if self._is_dense(alpha):
            factor = torch.linalg.cholesky(self._noisy_covariance(x, alpha, sigma))
            solved: Tensor = torch.linalg.solve_triangular(factor, centred[..., None], upper=False)
            white = solved[..., 0]
            log_std: Tensor = factor.diagonal(dim1=-2, dim2=-1).log()
        else:
            std = torch.sqrt(self._noisy_variances(alpha, sigma))
            white, log_std = self._to_basis(centred) / std, std.log()
        return -(0.5 * white**2 + log_std).sum(-1) - constant

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow (see `ExactTarget.flow`); one level an item, unless diagonal."""
        if self._is_dense(old[0]) or self._is_dense(new[0]):
            raise ValueError("the flow of correlated coordinates is known for one level an item only")
        scale = torch.sqrt(self._noisy_variances(*new) / self._noisy_variances(*old))
        return new[0] * self.mean + self._from_basis(scale * self._to_basis(x - old[0] * self.mean))

    def optimal_loss(
        self, alpha: Tensor, sigma: Tensor, generator: torch.Generator | None = None, count: int = 4096
    ) -> Tensor:
        """Return the smallest mean squared error in closed form (see `ExactTarget.optimal_loss`)."""
        return (self.variances * (1.0 - alpha * self._gain(alpha, sigma))).mean()

    def _is_dense(self, alpha: Tensor) -> bool:
        return self.basis is not None and alpha.ndim > 0 and alpha.shape[-1] > 1

    def _noisy_variances(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha**2 * self.variances + sigma**2

    def _gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``alpha v / V``, and 0 for a coordinate that is constant and without noise."""
        total = self._noisy_variances(alpha, sigma)
        return torch.where(total > 0.0, alpha * self.variances / total, 0.0)

    def _noisy_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        row = self._row(alpha, x)
        return row.mT * self.covariance * row + torch.diag_embed(sigma.expand(x.shape) ** 2)

    @staticmethod
    def _row(alpha: Tensor, x: Tensor) -> Tensor:
        return alpha.expand(x.shape)[..., None, :]

    def _to_basis(self, x: Tensor) -> Tensor:
        return x if self.basis is None else x @ self.basis

    def _from_basis(self, z: Tensor) -> Tensor:
        return z if self.basis is None else z @ self.basis.mT

    def _matrix(self, eigenvalues: Tensor) -> Tensor:
        if self.basis is None:
            return torch.diag_embed(eigenvalues)
        return (self.basis * eigenvalues[..., None, :]) @ self.basis.mT
