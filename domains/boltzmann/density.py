r"""Log densities of configurations under a learned score, by the probability flow.

With :math:`y = x_t/\alpha_t`, noise :math:`\tilde\sigma` relative to the signal and :math:`u =
\log\tilde\sigma`, configurations flow from the data to noise by

.. math:: \frac{dy}{du} = -\tilde\sigma^2\, s(y), \qquad
   \frac{d}{du}\log p(y_u) = \tilde\sigma^2 \operatorname{div} s(y_u),

with s the score of y (Song and others, arXiv 2011.13456), and end at :math:`N(0, v)` on the subspace of
centred positions: :math:`v = 1 + \tilde\sigma^2` for scaled positions, and for those of an unknown spread
:math:`v = E|y|^2 / E[-y \cdot s]` over normal draws, which for isotropic Gaussian data is exact (a
construction of this library). The flow is integrated by the classical Runge-Kutta method in u.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .draws import ScoreSource

__all__ = ["log_density", "unnormalised_log_density"]

_STAGES = ((0.0, 1.0), (0.5, 2.0), (0.5, 2.0), (1.0, 1.0))


def log_density(
    source: ScoreSource, scaled: Tensor, n_steps: int, generator: torch.Generator
) -> NDArray[np.float64]:
    """Return log densities of scaled, centred positions.

    Parameters
    ----------
    source : ScoreSource
        The model.
    scaled : Tensor of shape (n, atoms, dimensions)
        Positions in units of its length.
    n_steps : int
        Runge-Kutta steps, of four evaluations each.
    generator : torch.Generator
        Of the probes for divergences.

    Returns
    -------
    ndarray of shape (n,)
        In nats, for scaled positions in the subspace.
    """
    high, low = source.ends
    levels = torch.linspace(math.log(low), math.log(high), n_steps + 1, dtype=torch.float64)
    y = scaled
    change = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for start, stop in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        step = stop - start
        slope, flow, growth = torch.zeros_like(y), torch.zeros_like(y), torch.zeros_like(change)
        for share, weight in _STAGES:
            slope, rate = _rates(source, y + share * step * slope, start + share * step, generator)
            flow, growth = flow + weight / 6.0 * slope, growth + weight / 6.0 * rate
        y, change = y + step * flow, change + step * growth
    spread = 1.0 + high**2 if source.unit_variance else _spread(source, scaled, generator)
    square = source.project(y).double().square().flatten(1).sum(1)
    end = -0.5 * square / spread - 0.5 * source.dof * math.log(2.0 * math.pi * spread)
    return (end - change).cpu().numpy()


def unnormalised_log_density(
    source: ScoreSource, scaled: Tensor, generator: torch.Generator
) -> NDArray[np.float64]:
    """Return the log densities of scaled positions that the model itself knows, up to a constant.

    Raises
    ------
    ValueError
        If it knows none.
    """
    if not source.field.knows_log_density:
        raise ValueError(
            "normalised=False needs a model that knows log densities, and this one knows scores: fit with "
            "energy_based=True, give log_density to from_score, or leave normalised=True"
        )
    time = source.path.time_of_log_snr(torch.tensor(-math.log(source.ends[1]), dtype=torch.float64))
    alpha = float(source.path.coefficients(time).alpha)
    with torch.no_grad():
        found = source.field.evaluate(
            alpha * source.project(scaled), time, with_divergence=False, with_log_density=True,
            generator=generator,
        )  # fmt: skip
    assert found.log_density is not None
    return found.log_density.double().cpu().numpy()


def _spread(source: ScoreSource, like: Tensor, generator: torch.Generator, count: int = 256) -> float:
    """Return the variance of a coordinate at the largest noise, from the score there."""
    high = source.ends[0]
    white = torch.randn(count, *source.shape, generator=generator, device=generator.device).to(like)
    y = math.sqrt(1.0 + high**2) * source.project(white)
    slope, _ = _rates(source, y, math.log(high), generator)
    pull = float((y * slope).sum()) / high**2
    return float(y.square().sum()) / pull if pull > 0.0 else 1.0 + high**2


def _rates(source: ScoreSource, y: Tensor, level: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return dy/du and the growth of the log density at one log noise level."""
    time = source.path.time_of_log_snr(torch.tensor(-level, dtype=torch.float64))
    alpha = float(source.path.coefficients(time).alpha)
    found = source.field.evaluate(
        alpha * y, time, with_divergence=True, with_log_density=False, generator=generator
    )
    assert found.divergence is not None
    square = math.exp(2.0 * level)
    return -square * alpha * found.score, square * alpha**2 * found.divergence.double()
