r"""Linear observations of normal laws: the posterior and the evidence in closed form.

For :math:`x_0 \sim N(m, C)` and :math:`y = A x_0 + \eta` with independent noise :math:`\eta \sim N(0, R)`,
the observation has the law :math:`N(A m, A C A^\top + R)` and leaves the data a normal law with the gain
:math:`G = C A^\top (A C A^\top + R)^{-1}`; the covariance is computed in Joseph's form
:math:`(I - G A) C (I - G A)^\top + G R G^\top`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciffusion.exact.normal import NormalLaws

__all__ = ["LinearObservation"]


class LinearObservation:
    """A noisy linear observation of data vectors.

    Parameters
    ----------
    dim : int
        Number of coordinates of the data.
    operator : Tensor
        Shape ``(observations, dim)``.
    observation : Tensor
        Shape ``(observations,)``.
    noise_std : Tensor or float
        Standard deviation of the noise, not negative; a number or of the shape of ``observation``.
    """

    def __init__(self, dim: int, operator: Tensor, observation: Tensor, noise_std: Tensor | float) -> None:
        if operator.ndim != 2 or operator.shape[1] != dim:
            raise ValueError(f"operator must have shape (observations, {dim}), got {tuple(operator.shape)}")
        if observation.shape != operator.shape[:1]:
            raise ValueError(
                f"observation must have shape ({operator.shape[0]},), one value a row of the operator, "
                f"got {tuple(observation.shape)}"
            )
        self.operator = operator.to(torch.float64)
        self.observation = observation.to(self.operator)
        self.noise_std = (
            torch.as_tensor(noise_std, dtype=torch.float64).to(self.operator).expand(self.observation.shape)
        )
        if not bool((self.noise_std >= 0.0).all()):
            raise ValueError(f"noise_std must not be negative, got {float(self.noise_std.min())}")

    def posterior(self, prior: NormalLaws) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of the data given the observation, for each law of a batch."""
        covariance = prior.covariance
        gain = torch.linalg.solve(self._covariance(covariance), self.operator @ covariance).mT
        kept = torch.eye(covariance.shape[-1]).to(covariance) - gain @ self.operator
        scaled = gain * self.noise_std
        reduced = kept @ covariance @ kept.mT + scaled @ scaled.mT
        mean = prior.mean + (gain @ self._gap(prior)[..., None])[..., 0]
        return mean, 0.5 * (reduced + reduced.mT)

    def log_evidence(self, prior: NormalLaws) -> Tensor:
        """Return the log density of the observation, one for each law of a batch."""
        factor = torch.linalg.cholesky(self._covariance(prior.covariance))
        white: Tensor = torch.linalg.solve_triangular(factor, self._gap(prior)[..., None], upper=False)
        constant = 0.5 * self.observation.shape[0] * math.log(2.0 * math.pi)
        log_volume: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -(0.5 * (white[..., 0] ** 2).sum(-1) + log_volume + constant)

    def _gap(self, prior: NormalLaws) -> Tensor:
        return self.observation - prior.mean @ self.operator.mT

    def _covariance(self, covariance: Tensor) -> Tensor:
        """Return the covariance of the observation."""
        return self.operator @ covariance @ self.operator.mT + torch.diag(self.noise_std**2)
