r"""What a network may predict, and how one prediction is turned into another.

With :math:`x = \alpha x_0 + \sigma\varepsilon` and dots for time derivatives, the five kinds are

.. math::
   \text{x0} = E[x_0 | x], \quad \text{eps} = (x - \alpha\,\text{x0}) / \sigma, \quad
   \text{v} = \alpha\,\text{eps} - \sigma\,\text{x0}, \quad
   \text{flow} = \dot\alpha\,\text{x0} + \dot\sigma\,\text{eps}, \quad \text{score} = -\text{eps} / \sigma.

Each is linear in ``x`` and in any other one.  The two coefficients of a conversion are computed in float64
and rounded once.

The *v* prediction is from Salimans and Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*,
arXiv 2202.00512; *flow* is the velocity of the probability-flow equation ``dx/dt`` in this library's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from sciffusion.continuous.path import PathCoefficients, align

__all__ = ["ContinuousPrediction", "PredictionKind", "check_prediction_kind", "conversion_coefficients"]

PredictionKind = Literal["x0", "eps", "v", "flow", "score"]

#: Coefficients (of x, of the given value) of a linear map.
_Row = tuple[Tensor, Tensor]


def check_prediction_kind(kind: str) -> None:
    """Raise ``ValueError`` unless ``kind`` is one of the five kinds of prediction."""
    if kind not in get_args(PredictionKind):
        raise ValueError(f"kind must be one of {get_args(PredictionKind)}, got {kind!r}")


def _x0_row(kind: PredictionKind, c: PathCoefficients) -> _Row:
    """Coefficients of ``x0 = first * x + second * value`` for a value of the given kind."""
    if kind == "x0":
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)
    if kind == "eps":
        return 1.0 / c.alpha, -c.sigma / c.alpha
    if kind == "score":
        return 1.0 / c.alpha, c.sigma**2 / c.alpha
    if kind == "v":
        total = c.alpha**2 + c.sigma**2
        return c.alpha / total, -c.sigma / total
    speed = c.alpha * c.d_sigma - c.sigma * c.d_alpha
    return c.d_sigma / speed, -c.sigma / speed


def _eps_row(kind: PredictionKind, c: PathCoefficients) -> _Row:
    """Coefficients of ``eps = first * x + second * value`` for a value of the given kind."""
    if kind == "x0":
        return 1.0 / c.sigma, -c.alpha / c.sigma
    if kind == "eps":
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)
    if kind == "score":
        return torch.zeros_like(c.alpha), -c.sigma
    if kind == "v":
        total = c.alpha**2 + c.sigma**2
        return c.sigma / total, c.alpha / total
    speed = c.alpha * c.d_sigma - c.sigma * c.d_alpha
    return -c.d_alpha / speed, c.alpha / speed


def _mix(first: Tensor, row: _Row, second: Tensor, other: _Row) -> _Row:
    return first * row[0] + second * other[0], first * row[1] + second * other[1]


def conversion_coefficients(
    source: PredictionKind, target: PredictionKind, coefficients: PathCoefficients
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of ``target = first * x + second * source``.

    Parameters
    ----------
    source, target : {"x0", "eps", "v", "flow", "score"}
        Kinds of prediction.
    coefficients : PathCoefficients
        Of the path at the times of the state.

    Returns
    -------
    first, second : Tensor
        Float64, of the shape of the times.  Conversions that need a division by ``alpha`` (from eps or score)
        or by ``sigma`` (to eps or score) are not finite where that level is 0.
    """
    c = coefficients
    if source == target:
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)
    if target == "x0":
        return _x0_row(source, c)
    noise = _eps_row(source, c)
    if target == "eps":
        return noise
    if target == "score":
        return -noise[0] / c.sigma, -noise[1] / c.sigma
    if target == "v":
        return _mix(c.alpha, noise, -c.sigma, _x0_row(source, c))
    return _mix(c.d_sigma, noise, c.d_alpha, _x0_row(source, c))


@dataclass(frozen=True, eq=False)
class ContinuousPrediction:
    """A denoiser's output with the knowledge of what it means.

    Parameters
    ----------
    value : Tensor
        Of the shape of the state.
    kind : {"x0", "eps", "v", "flow", "score"}
        What ``value`` is; see the module's equations.
    """

    value: Tensor
    kind: PredictionKind

    def __post_init__(self) -> None:
        check_prediction_kind(self.kind)

    def to(self, kind: PredictionKind, coefficients: PathCoefficients, x: Tensor) -> ContinuousPrediction:
        """Return the same prediction in another form.

        Parameters
        ----------
        kind : {"x0", "eps", "v", "flow", "score"}
            The form wanted.
        coefficients : PathCoefficients
            Of the path at the times of ``x``.
        x : Tensor
            The state for which the prediction was made.

        Returns
        -------
        ContinuousPrediction
            Itself if it has that form already.
        """
        check_prediction_kind(kind)
        if kind == self.kind:
            return self
        of_x, of_value = conversion_coefficients(self.kind, kind, coefficients)
        return ContinuousPrediction(align(of_x, x) * x + align(of_value, x) * self.value, kind)
