r"""Starts fitted to the data: the law from which a sampler run begins.

A run that starts at a time T from :math:`N(0, (\alpha_T^2 + \sigma_T^2) I)` ignores the signal left there.
The normal law with the data's mean m and covariance C,

.. math:: x_T \sim N\left(\alpha_T m,\; \alpha_T^2 C + \sigma_T^2 I\right),

has the right first two moments at every T, and is exact for Gaussian data: a run may then start anywhere
without truncation error, and needs fewer steps.  The choice of T trades the error of the start against the
length of the run: Franzese et al., *How Much is Enough? A Study on Diffusion Times in Score-based Generative
Models*, arXiv 2206.05173; a fitted start in the place of the standard one is a construction of this library.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, as_times

__all__ = ["GaussianStart", "start_divergence"]


@dataclass(frozen=True, eq=False)
class GaussianStart:
    """Normal law of the data, from which starting states at any time are drawn.

    Parameters
    ----------
    mean : Tensor
        Shape ``(*event)`` of one data item.
    variances : Tensor
        Eigenvalues of the covariance, shape ``(size,)`` with ``size`` the number of values of an item.
    basis : Tensor, optional
        Eigenvectors as columns, shape ``(size, size)``; None for independent values.
    """

    mean: Tensor
    variances: Tensor
    basis: Tensor | None = None

    def __post_init__(self) -> None:
        size = self.mean.numel()
        if self.variances.shape != (size,):
            raise ValueError(f"variances must have shape ({size},), got {tuple(self.variances.shape)}")
        if not bool((self.variances >= 0.0).all()):
            raise ValueError(f"variances must not be negative, got {float(self.variances.min())}")
        if self.basis is not None and self.basis.shape != (size, size):
            raise ValueError(f"basis must have shape ({size}, {size}), got {tuple(self.basis.shape)}")

    @classmethod
    def from_moments(cls, mean: Tensor, covariance: Tensor) -> GaussianStart:
        """Return the start for data of known mean ``(*event)`` and covariance ``(size, size)``."""
        variances, basis = torch.linalg.eigh(covariance.to(torch.float64))
        return cls(mean.to(torch.float64), variances.clamp_min(0.0), basis)

    @classmethod
    def fit(cls, data: Tensor, diagonal: bool = False) -> GaussianStart:
        """Return the start with the moments of a data set.

        Parameters
        ----------
        data : Tensor
            Shape ``(count, *event)`` with at least two items.
        diagonal : bool, default False
            Use the variances of single values only: for items of very many values.

        Returns
        -------
        GaussianStart
            With the sample mean and covariance.

        Raises
        ------
        ValueError
            For fewer than two items.
        """
        if data.ndim < 1 or data.shape[0] < 2:
            raise ValueError(f"data must hold at least two items, got shape {tuple(data.shape)}")
        flat = data.detach().reshape(data.shape[0], -1).to("cpu", torch.float64)
        mean = flat.mean(0).reshape(data.shape[1:])
        if diagonal:
            return cls(mean, flat.var(0))
        centred = flat - flat.mean(0)
        return cls.from_moments(mean, centred.mT @ centred / (flat.shape[0] - 1))

    def draw(
        self,
        count: int,
        path: Path,
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw starting states; give them to `sciffusion.sampling.sample` as ``state=State(x=...)``.

        Parameters
        ----------
        count : int
            Number of states.
        path : Path
            Whose levels at ``t`` are meant.
        generator : torch.Generator
            Source of randomness; may live on another device than the states.
        t : Tensor or float, default 1
            Scalar time of the start, the first one of the grid.
        dtype, device
            Of the states.

        Returns
        -------
        Tensor
            Shape ``(count, *event)``.
        """
        c = path.coefficients(t)
        if c.alpha.ndim != 0:
            raise ValueError(f"t must be a scalar, got shape {tuple(c.alpha.shape)}")
        shape = (count, self.variances.shape[0])
        white = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
        std = torch.sqrt(c.alpha**2 * self.variances.to(c.alpha) + c.sigma**2)
        values = white.to(std.device) * std
        if self.basis is not None:
            values = values @ self.basis.to(std).mT
        start = c.alpha * self.mean.to(std) + values.reshape(count, *self.mean.shape)
        return start.to(device, dtype)


def start_divergence(
    path: Path,
    mean: Tensor | float,
    variance: Tensor | float,
    prior_std: Tensor | float | None = None,
    t: Tensor | float = 1.0,
) -> Tensor:
    r"""Return how far a start in noise is from the true start law of Gaussian data.

    For data :math:`N(m, v)` and a start :math:`N(0, s^2)` the divergence of the true law from the start is

    .. math::
       \mathrm{KL} = \tfrac12\Bigl[\frac{\alpha^2 v + \sigma^2 + \alpha^2 m^2}{s^2} - 1
       - \log\frac{\alpha^2 v + \sigma^2}{s^2}\Bigr]

    for each coordinate.  A divergence between two laws does not grow along the probability flow, and an
    exact flow keeps it: this much of the error no number of steps removes.

    Parameters
    ----------
    path : Path
        Path of the data (of u, on a shifted process).
    mean, variance : Tensor or float
        Of each coordinate of the data.
    prior_std : Tensor or float, optional
        Standard deviation s of the start; ``sigma`` (pure noise) by default.
    t : Tensor or float, default 1
        Time of the start.

    Returns
    -------
    Tensor
        Float64, in nats; sum over coordinates for the whole.
    """
    c = path.coefficients(t)
    m, v = as_times(mean), as_times(variance)
    start = (c.sigma if prior_std is None else as_times(prior_std)) ** 2
    spread = (c.alpha**2 * v + c.sigma**2) / start
    return 0.5 * (spread + (c.alpha * m) ** 2 / start - 1.0 - torch.log(spread))
