r"""Log densities of configurations under a learned score, by the probability flow.

With :math:`y = x_t/\alpha_t`, noise :math:`\tilde\sigma` relative to the signal and :math:`u =
\log\tilde\sigma`, configurations flow from the data to noise by

.. math:: \frac{dy}{du} = -\tilde\sigma^2\, s(y), \qquad
   \frac{d}{du}\log p(y_u) = \tilde\sigma^2 \operatorname{div} s(y_u),

with s the score of y (Song and others, arXiv 2011.13456), and end at :math:`N(0, 1 + \tilde\sigma^2)` on the
subspace of centred positions. The flow is integrated by the classical Runge-Kutta method in u.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .draws import ScoreSource

__all__ = ["log_density"]

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
    spread = 1.0 + high**2
    square = source.project(y).double().square().flatten(1).sum(1)
    end = -0.5 * square / spread - 0.5 * source.dof * math.log(2.0 * math.pi * spread)
    return (end - change).cpu().numpy()


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
