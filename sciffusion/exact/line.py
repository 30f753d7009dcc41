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
        """Return the quantiles at the new levels of the probabilities at the old ones, by bisection."""
        below, above = self._tails(x, *old)
        reach = 40.0 * (float(self.variances.max()) ** 0.5 + 1.0) + float(self.means.abs().max())
        low = torch.full_like(x, -reach) * (1.0 + new[1])
        high = -low
        for _ in range(100):
            middle = 0.5 * (low + high)
            lower, upper = self._tails(middle, *new)
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
