r"""Gaussian mixtures on the line, whose probability flow keeps quantiles.

In one dimension the flow from level to level is the increasing map between the two laws, :math:`x' =
F_{t'}^{-1}(F_t(x))`; it is solved by bisection on whichever tail is smaller, so that it stays accurate far
out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LineMixture"]


class LineMixture(NamedTuple):
    """A Gaussian mixture on the line.

    Parameters
    ----------
    weights, means, variances : Tensor
        Shape ``(components,)``, float64; variances may be 0 (atoms).
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the quantiles at the new levels of the probabilities at the old ones."""
        return self._quantile(*self._tails(x, *old), *new)

    def quantile(self, probability: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the values below which noisy ones lie with the given probabilities.

        Parameters
        ----------
        probability : Tensor
            In (0, 1), any shape.
        alpha, sigma : Tensor
            Levels that broadcast against it.

        Returns
        -------
        Tensor
            Of the shape of ``probability``, to about 1e-13.
        """
        probability = probability.to(torch.float64)
        return self._quantile(probability, 1.0 - probability, alpha, sigma)

    def _quantile(self, below: Tensor, above: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the values with given probabilities below and above, by bisection."""
        reach = 40.0 * (float(self.variances.max()) ** 0.5 + 1.0) + float(self.means.abs().max())
        low = torch.full_like(below, -reach) * (1.0 + sigma)
        high = -low
        for _ in range(100):
            middle = 0.5 * (low + high)
            lower, upper = self._tails(middle, alpha, sigma)
            # The smaller of the two tails is the one without cancellation.
            rise = torch.where(below < above, lower < below, upper > above)
            low, high = torch.where(rise, middle, low), torch.where(rise, high, middle)
        return 0.5 * (low + high)

    def _tails(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above values."""
        alpha, sigma = alpha[..., None], sigma[..., None]
        std = torch.sqrt(2.0 * (alpha**2 * self.variances + sigma**2))
        white = (x[..., None] - alpha * self.means) / std
        # torch.special.ndtr loses all digits beyond eight standard deviations.
        return 0.5 * torch.erfc(-white) @ self.weights, 0.5 * torch.erfc(white) @ self.weights
