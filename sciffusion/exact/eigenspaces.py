r"""Covariances as eigenspaces, so that no matrix is formed where its structure makes one needless.

A covariance :math:`C = \sum_j v_j \Pi_j` with orthogonal projections :math:`\Pi_j` of rank :math:`\mu_j` has
the functions :math:`h(C) = \sum_j h(v_j)\,\Pi_j`.  All that normal laws need of it are :math:`h(C) x`,
:math:`x^\top h(C) x`, and the diagonal and matrix of :math:`h(C)`:

- isotropic: one space, :math:`\Pi = I`;
- diagonal: one space a coordinate;
- Fourier: one space a frequency (the stationary covariances on a ring), by fast transforms;
- low rank: the directions of a factor, and all others together;
- dense: the columns of an orthonormal basis.

Every tensor may carry leading batch axes: the components of a mixture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = [
    "DenseSpaces",
    "DiagonalSpaces",
    "Eigenspaces",
    "FourierSpaces",
    "IsotropicSpaces",
    "LowRankSpaces",
    "stack_spaces",
]


class Eigenspaces(ABC):
    """Eigenvalues of covariances and the spaces in which they hold.

    Parameters
    ----------
    dim : int
        Number of coordinates.
    variances : Tensor
        Eigenvalues, shape ``(..., spaces)``, float64.
    """

    def __init__(self, dim: int, variances: Tensor) -> None:
        self.dim = dim
        self.variances = variances

    @property
    def multiplicity(self) -> Tensor:
        """Dimension of each space, shape ``(spaces,)``; sums to ``dim``."""
        return self._filled(1.0)

    @abstractmethod
    def replaced(self, variances: Tensor) -> Eigenspaces:
        """Return the same spaces with other eigenvalues."""

    @abstractmethod
    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the sum of the squared norms of ``x`` in the spaces, weighted, shape ``(...)``."""

    @abstractmethod
    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x`` for the values ``h(v)``, shape ``(..., spaces)``."""

    @abstractmethod
    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``, shape ``(..., dim)``."""

    def matrix(self, values: Tensor) -> Tensor:
        """Return ``h(C)``, shape ``(..., dim, dim)``."""
        eye = torch.eye(self.dim, dtype=values.dtype, device=values.device)
        return self.apply(values[..., None, :], eye)

    def sample(self, white: Tensor) -> Tensor:
        """Return draws of mean 0 and this covariance from standard normal values of their shape."""
        return self.apply(self.variances.sqrt(), white)

    def _filled(self, value: float) -> Tensor:
        return self.variances.new_full((self.variances.shape[-1],), value)


class IsotropicSpaces(Eigenspaces):
    """Multiples of the identity: ``variances`` has a last axis of length 1."""

    @property
    def multiplicity(self) -> Tensor:
        """Dimension of the one space."""
        return self._filled(float(self.dim))

    def replaced(self, variances: Tensor) -> IsotropicSpaces:
        """Return the same spaces with other eigenvalues."""
        return IsotropicSpaces(self.dim, variances)

    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the weighted squared norm of ``x``."""
        return weights[..., 0] * _dot(x, x)

    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x``."""
        return values * x

    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``."""
        return values.expand(*values.shape[:-1], self.dim)


class DiagonalSpaces(Eigenspaces):
    """Independent coordinates."""

    def replaced(self, variances: Tensor) -> DiagonalSpaces:
        """Return the same spaces with other eigenvalues."""
        return DiagonalSpaces(self.dim, variances)

    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the weighted squared norm of ``x``."""
        return _dot(weights * x, x)

    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x``."""
        return values * x

    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``."""
        return values

    def matrix(self, values: Tensor) -> Tensor:
        """Return ``h(C)``."""
        return torch.diag_embed(values)


class DenseSpaces(Eigenspaces):
    """Columns of an orthonormal basis.

    Parameters
    ----------
    variances : Tensor
        Shape ``(..., dim)``.
    basis : Tensor
        Shape ``(..., dim, dim)`` with at most one leading axis, eigenvectors as columns.
    """

    def __init__(self, variances: Tensor, basis: Tensor) -> None:
        super().__init__(basis.shape[-1], variances)
        self.basis = basis

    def replaced(self, variances: Tensor) -> DenseSpaces:
        """Return the same spaces with other eigenvalues."""
        return DenseSpaces(variances, self.basis)

    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the weighted squared norm of ``x``."""
        rotated = self._rotate(x, self.basis)
        return _dot(weights * rotated, rotated)

    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x``."""
        return self._rotate(values * self._rotate(x, self.basis), self.basis.mT)

    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``."""
        return self._rotate(values, (self.basis**2).mT)

    def matrix(self, values: Tensor) -> Tensor:
        """Return ``h(C)``."""
        return (self.basis * values[..., None, :]) @ self.basis.mT

    @staticmethod
    def _rotate(x: Tensor, basis: Tensor) -> Tensor:
        # One product a component over all items, instead of one an item.
        return x @ basis if basis.ndim == 2 else torch.einsum("...kd,kde->...ke", x, basis)


class FourierSpaces(Eigenspaces):
    """Frequencies on a ring: ``variances`` has the ``dim // 2 + 1`` entries of a real Fourier transform."""

    @property
    def multiplicity(self) -> Tensor:
        """One for the mean and, at even ``dim``, the highest frequency; two (sine and cosine) else."""
        count = self._filled(2.0)
        count[0] = 1.0
        if self.dim % 2 == 0:
            count[-1] = 1.0
        return count

    def replaced(self, variances: Tensor) -> FourierSpaces:
        """Return the same spaces with other eigenvalues."""
        return FourierSpaces(self.dim, variances)

    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the weighted squared norm of ``x``."""
        wave: Tensor = torch.view_as_real(torch.fft.rfft(x, norm="ortho"))
        return (weights * self.multiplicity * (wave**2).sum(-1)).sum(-1)

    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x``."""
        result: Tensor = torch.fft.irfft(values * torch.fft.rfft(x, norm="ortho"), n=self.dim, norm="ortho")
        return result

    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``, which is constant."""
        mean: Tensor = (self.multiplicity * values).sum(-1, keepdim=True) / self.dim
        return mean.expand(*mean.shape[:-1], self.dim)


class LowRankSpaces(Eigenspaces):
    """Directions of a factor, and the space orthogonal to them.

    Parameters
    ----------
    variances : Tensor
        Shape ``(..., rank + 1)``; the last one holds orthogonal to the directions.
    directions : Tensor
        Orthonormal columns, shape ``(dim, rank)`` with ``rank < dim``.
    """

    def __init__(self, variances: Tensor, directions: Tensor) -> None:
        super().__init__(directions.shape[0], variances)
        self.directions = directions

    @property
    def multiplicity(self) -> Tensor:
        """One for each direction, the rest for the space orthogonal to them."""
        count = super().multiplicity
        count[-1] = self.dim - self.directions.shape[1]
        return count

    def replaced(self, variances: Tensor) -> LowRankSpaces:
        """Return the same spaces with other eigenvalues."""
        return LowRankSpaces(variances, self.directions)

    def squared_norm(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the weighted squared norm of ``x``."""
        along = x @ self.directions
        rest = x - along @ self.directions.mT
        return _dot(weights[..., :-1] * along, along) + weights[..., -1] * _dot(rest, rest)

    def apply(self, values: Tensor, x: Tensor) -> Tensor:
        """Return ``h(C) x``."""
        inner, outer = values[..., :-1], values[..., -1:]
        return outer * x + ((inner - outer) * (x @ self.directions)) @ self.directions.mT

    def diagonal(self, values: Tensor) -> Tensor:
        """Return the diagonal of ``h(C)``."""
        inner, outer = values[..., :-1], values[..., -1:]
        result: Tensor = outer + (inner - outer) @ (self.directions**2).mT
        return result


def _dot(x: Tensor, y: Tensor) -> Tensor:
    result: Tensor = torch.linalg.vecdot(x, y)
    return result


def stack_spaces(parts: list[Eigenspaces]) -> Eigenspaces:
    """Return the spaces of several covariances along a new first axis, in the simplest common form."""
    if all(isinstance(part, IsotropicSpaces) for part in parts):
        return IsotropicSpaces(parts[0].dim, torch.stack([part.variances for part in parts]))
    if all(isinstance(part, IsotropicSpaces | DiagonalSpaces) for part in parts):
        return DiagonalSpaces(parts[0].dim, torch.stack([part.diagonal(part.variances) for part in parts]))
    dense = [_dense(part) for part in parts]
    variances = torch.stack([part.variances for part in dense])
    return DenseSpaces(variances, torch.stack([part.basis for part in dense]))


def _dense(part: Eigenspaces) -> DenseSpaces:
    if isinstance(part, DenseSpaces):
        return part
    variances, basis = torch.linalg.eigh(part.matrix(part.variances))
    return DenseSpaces(variances.clamp_min(0.0), basis)
