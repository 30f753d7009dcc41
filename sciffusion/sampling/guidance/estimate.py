r"""A clean estimate that can be differentiated, and the covariance that its derivative holds.

Every guidance by gradients starts from the clean estimate :math:`D(x, t)` of a denoiser and its Jacobian
:math:`\partial D/\partial x`.  For levels :math:`\alpha, \sigma` (one for all coordinates or one each) the
exact estimate has

.. math::
   \operatorname{Cov}(x_0 | x) = C = \frac{\partial D}{\partial x} \frac{\sigma^2}{\alpha}
     = \frac{\sigma^2}{\alpha} \Bigl(\frac{\partial D}{\partial x}\Bigr)^{\!\top} ,

so a product of the covariance with a direction is one backward pass through the denoiser.  Adding a term
:math:`q` to the score :math:`(\alpha D - x)/\sigma^2` changes the clean estimate to

.. math:: D + \frac{\sigma^2}{\alpha}\, q ,

and with :math:`q = (\partial D/\partial x)^\top g`, the gradient of a function of D whose own gradient is g,
the change is :math:`C g`.

Where there is (almost) no signal the factor :math:`\sigma^2/\alpha` and the Jacobian are not finite or 0,
though their product is; there the estimate is made at the time at which the signal is `SMALLEST_SIGNAL` of
the noise.

Second-order Tweedie formula: Boys et al., *Tweedie Moment Projected Diffusions for Inverse Problems*, arXiv
2310.06721.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, PathCoefficients, align
from sciffusion.continuous.prediction import ContinuousPrediction

__all__ = ["SMALLEST_SIGNAL", "DifferentiableEstimate", "gradients"]

#: Ratio of signal to noise below which derivatives are taken at the time of this ratio.
SMALLEST_SIGNAL = 1e-4


@contextmanager
def gradients() -> Iterator[None]:
    """Record gradients inside, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _times_with_signal(path: Path, t: Tensor) -> Tensor:
    c = path.coefficients(t)
    faint = c.alpha < SMALLEST_SIGNAL * c.sigma
    if not bool(faint.any()):
        return t
    return torch.where(faint, path.time_of_log_snr(math.log(SMALLEST_SIGNAL)), t)


@dataclass(frozen=True, eq=False)
class DifferentiableEstimate:
    """The clean estimate of a denoiser for a state, with the graph that leads back to the state.

    Parameters
    ----------
    x : Tensor
        Noisy values, the end of the graph; the first axis counts items.
    value : Tensor
        Clean estimate of the shape of ``x``, with its graph.
    coefficients : PathCoefficients
        At the times of the estimate.
    nested : bool
        Whether someone outside differentiates, too; the result then keeps its graph.
    """

    x: Tensor
    value: Tensor
    coefficients: PathCoefficients
    nested: bool

    @classmethod
    def of(
        cls, denoiser: Any, state: Any, condition: Any = None, cache: Any = None
    ) -> DifferentiableEstimate:
        """Evaluate a denoiser once, inside `gradients`."""
        nested = state.x.requires_grad
        x = state.x if nested else state.x.detach().clone().requires_grad_(True)
        t = _times_with_signal(denoiser.path, state.t)
        coefficients = denoiser.path.coefficients(t)
        prediction = denoiser(replace(state, x=x, t=t), condition, cache)
        return cls(x, prediction.to("x0", coefficients, x).value, coefficients, nested)

    @property
    def factor(self) -> Tensor:
        """``sigma^2 / alpha``, what a change of the score is multiplied with; broadcasts against ``x``."""
        return align(self.coefficients.sigma**2 / self.coefficients.alpha, self.x)

    def pull_back(self, direction: Tensor) -> Tensor:
        """Return the transposed Jacobian of the estimate times a direction: one backward pass.

        Raises
        ------
        ValueError
            If the estimate does not depend on the state in a way that can be differentiated.
        """
        if not self.value.requires_grad:
            raise ValueError(
                "the denoiser's clean estimate carries no gradient to its input: guidance needs a denoiser "
                "that can be differentiated (no torch.no_grad, no detach, no numpy inside)"
            )
        (gradient,) = torch.autograd.grad(self.value, self.x, direction, retain_graph=True)
        return gradient

    def covariance_times(self, direction: Tensor) -> Tensor:
        """Return the covariance of the clean values times a direction: one backward pass."""
        return self.factor * self.pull_back(direction)

    def gaussian_variance(self, data_std: float) -> Tensor:
        r"""Return the posterior variance of data :math:`N(\cdot, c^2)`: ``s^2 c^2 / (s^2 + a^2 c^2)``.

        Parameters
        ----------
        data_std : float
            Standard deviation c of the data.

        Returns
        -------
        Tensor
            Broadcasts against ``x``; ``1 - alpha^2`` on a variance-preserving path with unit variance.
        """
        noise, signal = self.coefficients.sigma**2, (self.coefficients.alpha * data_std) ** 2
        total = noise + signal
        return align(torch.where(total > 0.0, noise * data_std**2 / total, 0.0), self.x)

    def moved(self, correction: Tensor) -> ContinuousPrediction:
        """Return the estimate plus a correction, whose own gradient is never taken, as a prediction."""
        value = self.value + correction.detach()
        return ContinuousPrediction(value if self.nested else value.detach(), "x0")
