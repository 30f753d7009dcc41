r"""The denoising objective: weighted squared error of a prediction at given times.

For any kind of prediction the error is a multiple of the error of the clean estimate,
:math:`\text{kind}' - \text{kind} = k\,(x_0' - x_0)` with

===== ========================================== ======================================
kind  k                                          weight of the x0 error
===== ========================================== ======================================
x0    1                                          1
eps   :math:`-\alpha/\sigma`                     :math:`\alpha^2/\sigma^2`
v     :math:`-(\alpha^2+\sigma^2)/\sigma`        :math:`(\alpha^2+\sigma^2)^2/\sigma^2`
flow  :math:`\dot\alpha-\dot\sigma\alpha/\sigma` square of k
score :math:`\alpha/\sigma^2`                    :math:`\alpha^2/\sigma^4`
===== ========================================== ======================================

so a loss *in* any kind can be put on a network that predicts any other.  The error is taken in the kind that
the denoiser predicts, where it is best conditioned, and multiplied with the ratio of the two weights.
``"edm"`` is :math:`(\tilde\sigma^2+s_d^2)/(\tilde\sigma s_d)^2` on the x0 error,
:math:`\tilde\sigma=\sigma/\alpha` (arXiv 2206.00364); ``"uniform"`` is the plain squared error of whatever is
predicted.  Predicting x0 under the v or flow loss is the choice of *Back to Basics: Let Denoising Generative
Models Denoise* (Li and He, arXiv 2511.13720).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import PointwiseDenoiser
from sciffusion.continuous.path import Path, PathCoefficients, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction, PredictionKind

__all__ = ["DenoisingObjective", "Weighting"]

Weighting = Literal["uniform", "x0", "eps", "v", "flow", "score", "edm"]


def _error_scale(kind: PredictionKind, c: PathCoefficients) -> Tensor:
    """Return the magnitude of an error in the given kind per unit error of x0."""
    if kind == "x0":
        return torch.ones_like(c.alpha)
    if kind == "eps":
        return c.alpha / c.sigma
    if kind == "score":
        return c.alpha / c.sigma**2
    if kind == "v":
        return (c.alpha**2 + c.sigma**2) / c.sigma
    return (c.d_alpha - c.d_sigma * c.alpha / c.sigma).abs()


def _finite(coefficient: Tensor) -> Tensor:
    """Put 0 for infinite coefficients: without noise there is no target, and inf * 0 spoils gradients."""
    return torch.where(coefficient.isfinite(), coefficient, 0.0)


@dataclass(frozen=True)
class DenoisingObjective:
    """Elementwise loss of a denoiser on corrupted data.

    Parameters
    ----------
    path : Path
        Corrupts the data.
    weighting : {"uniform", "x0", "eps", "v", "flow", "score", "edm"}, default "uniform"
        The kind in which the squared error counts.
    data_std : float, default 1
        Standard deviation of the data, for the EDM weight.
    maximum_weight : float, optional
        Upper bound of the weight of the squared x0 error, where the noise is small.
    """

    path: Path
    weighting: Weighting = "uniform"
    data_std: float = 1.0
    maximum_weight: float | None = None

    def __post_init__(self) -> None:
        if self.weighting not in get_args(Weighting):
            raise ValueError(f"weighting must be one of {get_args(Weighting)}, got {self.weighting!r}")
        if self.weighting == "uniform" and self.maximum_weight is not None:
            raise ValueError("maximum_weight bounds a weight of the x0 error; weighting='uniform' has none")

    def __call__(
        self,
        denoiser: PointwiseDenoiser,
        x0: Tensor,
        times: Tensor | float,
        noise: Tensor,
        condition: Any = None,
    ) -> Tensor:
        """Corrupt, predict and return the loss of every element.

        Parameters
        ----------
        denoiser : PointwiseDenoiser
            Called once.
        x0 : Tensor
            Clean data, any shape, for instance ``(batch, dim)`` or ``(members, batch, dim)``.
        times : Tensor or float
            A prefix of the shape of ``x0``.  Elements without noise (known ones, at ``t=0``) carry no loss.
        noise : Tensor
            Standard normal, of the shape of ``x0``.
        condition : object, optional
            Passed to the denoiser.

        Returns
        -------
        Tensor
            Of the shape of ``x0``, not reduced, so that the caller can weight rows, mask elements and average
            over ensembles.
        """
        times = as_times(times)
        state = self.path.marginal(x0, times, noise)
        return self.loss(denoiser.predict(state, times, condition), x0, times, noise)

    def loss(
        self, prediction: ContinuousPrediction, x0: Tensor, times: Tensor | float, noise: Tensor
    ) -> Tensor:
        """Return the elementwise loss of a prediction made for ``path.marginal(x0, times, noise)``."""
        c = self.path.coefficients(times)
        error = prediction.value - self._target(prediction.kind, c, x0, noise)
        return align(self._weight(prediction.kind, c), error) * error.square()

    @staticmethod
    def _target(kind: PredictionKind, c: PathCoefficients, x0: Tensor, noise: Tensor) -> Tensor:
        if kind == "x0":
            return x0
        if kind == "eps":
            return noise
        if kind == "score":
            return align(_finite(-1.0 / c.sigma), noise) * noise
        if kind == "v":
            return align(c.alpha, noise) * noise - align(c.sigma, x0) * x0
        return align(c.d_alpha, x0) * x0 + align(_finite(c.d_sigma), noise) * noise

    def _weight(self, kind: PredictionKind, c: PathCoefficients) -> Tensor:
        """Return the weight of the squared error in ``kind``; 0 where there is no noise."""
        if self.weighting == "uniform":
            weight = torch.ones_like(c.alpha)
        else:
            weight = self._clean_weight(c) / _error_scale(kind, c) ** 2
        return torch.where(c.sigma > 0.0, weight, 0.0)

    def _clean_weight(self, c: PathCoefficients) -> Tensor:
        """Return the weight of the squared error of x0."""
        if self.weighting == "edm":
            relative = c.noise_to_signal / self.data_std
            weight = (1.0 + relative**-2) / self.data_std**2
        else:
            assert self.weighting != "uniform"
            weight = _error_scale(self.weighting, c) ** 2
        return weight if self.maximum_weight is None else weight.clamp_max(self.maximum_weight)
