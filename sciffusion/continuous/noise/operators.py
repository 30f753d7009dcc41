r"""Symmetric positive semi-definite operators, with every power of them.

Each operator C has an eigenbasis that is known or computed once, so :math:`C^p x` costs one application:

================== ============================================================ ==================
operator           acts on                                                      cost for dim values
================== ============================================================ ==================
`ScalarOperator`   every element alike                                          dim
`DiagonalOperator` trailing axes, elementwise                                   dim
`SpectralOperator` trailing axes, as a circular convolution by Fourier          dim log dim
                   transform; its eigenvalues are the power of each frequency
`FullOperator`     the last axis, as any symmetric matrix                       dim^2
`LowRankOperator`  the last axis, :math:`b I + U \operatorname{diag}(v) U^\top` dim rank
================== ============================================================ ==================

All leading axes are batch axes.  Eigenvalues are kept in float64 and rounded when they meet a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Self

import torch
from torch import Tensor

__all__ = [
    "DiagonalOperator",
    "FullOperator",
    "LinearOperator",
    "LowRankOperator",
    "ScalarOperator",
    "SpectralOperator",
]


def _checked(eigenvalues: Tensor, name: str) -> Tensor:
    wide = eigenvalues.detach().to(torch.float64)
    if not bool((wide.isfinite() & (wide >= 0.0)).all()):
        raise ValueError(f"{name} must be finite and not negative, got {float(wide.min()):.3g} as smallest")
    return wide


def _power(eigenvalues: Tensor, power: float) -> Tensor:
    if power < 0.0 and not bool((eigenvalues > 0.0).all()):
        raise ValueError(f"an operator with eigenvalue 0 has no power {power}")
    return eigenvalues**power


class LinearOperator(ABC):
    """Symmetric positive semi-definite operator on the trailing axes of a tensor."""

    @abstractmethod
    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return ``C^power x``: 1 applies it, 1/2 its symmetric root, -1 its inverse.

        Raises
        ------
        ValueError
            For a negative power of an operator with eigenvalue 0.
        """

    @property
    @abstractmethod
    def mean_eigenvalue(self) -> Tensor:
        """Trace divided by dimension, a float64 scalar."""

    @abstractmethod
    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""

    def normalised(self) -> Self:
        """Return the multiple of this operator whose mean eigenvalue is 1."""
        mean = self.mean_eigenvalue
        if not bool(mean > 0.0):
            raise ValueError("an operator that is 0 cannot be normalised")
        return self.scaled(1.0 / mean)


class ScalarOperator(LinearOperator):
    """Multiple of the identity.

    Parameters
    ----------
    value : float, default 1
        Not negative.
    """

    def __init__(self, value: Tensor | float = 1.0) -> None:
        self.value = _checked(torch.as_tensor(value, dtype=torch.float64), "value")

    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return ``value^power x``."""
        return _power(self.value, power).to(x) * x

    @property
    def mean_eigenvalue(self) -> Tensor:
        """The value."""
        return self.value

    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""
        return type(self)(self.value * factor)


class DiagonalOperator(LinearOperator):
    """Elementwise multiplication.

    Parameters
    ----------
    values : Tensor
        Not negative, of the shape of the trailing axes.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = _checked(values, "values")

    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return ``values^power x``."""
        trailing = tuple(x.shape[x.ndim - self.values.ndim :]) if x.ndim >= self.values.ndim else ()
        if trailing != tuple(self.values.shape):
            raise ValueError(
                f"expected trailing axes of lengths {tuple(self.values.shape)}, got shape {tuple(x.shape)}"
            )
        return _power(self.values, power).to(x) * x

    @property
    def mean_eigenvalue(self) -> Tensor:
        """Mean of the values."""
        return self.values.mean()

    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""
        return type(self)(self.values * factor)


class SpectralOperator(LinearOperator):
    """Circular convolution over the trailing axes, given by the power at each frequency.

    Parameters
    ----------
    eigenvalues : Tensor
        Not negative, of the shape that `torch.fft.rfftn` gives for ``shape``.  With several axes they must
        not change when all frequencies change sign; `radial` makes such ones.
    shape : sequence of int
        Lengths of the trailing axes.
    """

    def __init__(self, eigenvalues: Tensor, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        expected = (*self.shape[:-1], self.shape[-1] // 2 + 1)
        if tuple(eigenvalues.shape) != expected:
            raise ValueError(
                f"eigenvalues must have the shape {expected} of the half spectrum of {self.shape}, "
                f"got {tuple(eigenvalues.shape)}"
            )
        self.eigenvalues = _checked(eigenvalues, "eigenvalues")
        axes = tuple(range(len(self.shape) - 1))
        # Bins that mirror each other within the half spectrum: those of last frequency 0 and Nyquist.
        mirrored = self.eigenvalues.flip(axes).roll((1,) * len(axes), axes) if axes else self.eigenvalues
        ends = [0, -1] if self.shape[-1] % 2 == 0 else [0]
        if not torch.allclose(mirrored[..., ends], self.eigenvalues[..., ends]):
            raise ValueError("eigenvalues must be equal at opposite frequencies")

    @classmethod
    def radial(cls, power: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Self:
        """Return the operator whose power depends on the length of the frequency vector alone.

        Parameters
        ----------
        power : callable
            From frequencies in cycles a sample (float64, 0 to .5 on each axis) to powers.
        shape : sequence of int
            Lengths of the trailing axes.
        """
        return cls(power(frequency_radius(shape)), shape)

    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return the values filtered by the eigenvalues to the given power."""
        axes = tuple(range(-len(self.shape), 0))
        if tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ValueError(f"expected trailing axes of lengths {self.shape}, got shape {tuple(x.shape)}")
        # There is no Fourier transform of half-precision values on the CPU.
        wide = x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float32)
        spectrum = torch.fft.rfftn(wide, dim=axes) * _power(self.eigenvalues, power).to(wide)
        filtered: Tensor = torch.fft.irfftn(spectrum, s=self.shape, dim=axes)
        return filtered.to(x.dtype)

    @property
    def mean_eigenvalue(self) -> Tensor:
        """Mean over the full spectrum."""
        count = torch.full((self.eigenvalues.shape[-1],), 2.0, dtype=torch.float64)
        count[0] = 1.0
        if self.shape[-1] % 2 == 0:
            count[-1] = 1.0
        return (self.eigenvalues * count.to(self.eigenvalues.device)).sum() / prod(self.shape)

    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""
        return type(self)(self.eigenvalues * factor, self.shape)


class FullOperator(LinearOperator):
    """Any symmetric positive semi-definite matrix on the last axis.

    Parameters
    ----------
    matrix : Tensor
        Shape ``(dim, dim)``; decomposed once, in float64.
    """

    def __init__(self, matrix: Tensor) -> None:
        wide = matrix.detach().to(torch.float64)
        if wide.ndim != 2 or wide.shape[0] != wide.shape[1] or not torch.allclose(wide, wide.mT):
            raise ValueError(f"matrix must be square and symmetric, got shape {tuple(matrix.shape)}")
        values, self.basis = torch.linalg.eigh(wide)
        rounding = -1e-12 * float(values.abs().max())
        self.values = _checked(torch.where(values > rounding, values.clamp_min(0.0), values), "eigenvalues")

    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return the power of the matrix times each vector."""
        basis = self.basis.to(x)
        return torch.matmul(x @ basis * _power(self.values, power).to(x), basis.mT)

    @property
    def mean_eigenvalue(self) -> Tensor:
        """Trace divided by dimension."""
        return self.values.mean()

    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""
        copy = object.__new__(type(self))
        copy.values, copy.basis = self.values * factor, self.basis
        return copy


class LowRankOperator(LinearOperator):
    r"""Multiple of the identity plus a few directions, :math:`b I + U \operatorname{diag}(v) U^\top`.

    Parameters
    ----------
    directions : Tensor
        Orthonormal columns U, shape ``(dim, rank)``.
    values : Tensor
        Not negative, shape ``(rank,)``.
    floor : float, default 0
        The multiple b of the identity.
    """

    def __init__(self, directions: Tensor, values: Tensor, floor: Tensor | float = 0.0) -> None:
        self.directions = directions.detach().to(torch.float64)
        self.values = _checked(values, "values")
        self.floor = _checked(torch.as_tensor(floor, dtype=torch.float64), "floor")
        rank = self.directions.shape[-1]
        eye = torch.eye(rank, dtype=torch.float64, device=self.directions.device)
        if self.values.shape != (rank,) or not torch.allclose(self.directions.mT @ self.directions, eye):
            raise ValueError(
                f"directions must be orthonormal columns, one a value; got {tuple(directions.shape)} "
                f"for {tuple(values.shape)} values"
            )

    def apply(self, x: Tensor, power: float = 1.0) -> Tensor:
        """Return the power of the operator times each vector."""
        base = _power(self.floor, power)
        gain = _power(self.floor + self.values, power) - base
        directions = self.directions.to(x)
        of_directions = x @ directions * gain.to(x)
        return base.to(x) * x + torch.matmul(of_directions, directions.mT)

    @property
    def mean_eigenvalue(self) -> Tensor:
        """Trace divided by dimension."""
        return self.floor + self.values.sum() / self.directions.shape[0]

    def scaled(self, factor: Tensor | float) -> Self:
        """Return the operator times a positive number."""
        return type(self)(self.directions, self.values * factor, self.floor * factor)


def frequency_radius(shape: Sequence[int]) -> Tensor:
    """Return the length of the frequency vector at each bin of the half spectrum, in cycles a sample."""
    *leading, last = shape
    parts = [torch.fft.fftfreq(n, dtype=torch.float64) for n in leading]
    parts.append(torch.fft.rfftfreq(last, dtype=torch.float64))
    grids = torch.meshgrid(*parts, indexing="ij")
    return torch.stack([grid**2 for grid in grids]).sum(0).sqrt()
