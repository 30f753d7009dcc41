r"""Likelihoods: what an instrument saw of the clean data, and with which noise.

.. math:: y = A(x_0) + \sigma_y\,\eta, \qquad \eta \sim N(0, I),

with an operator A, linear or not.  Several instruments, each with an operator, a unit and a noise of its own,
are a list of likelihoods; a list means the same as one likelihood with the operators stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.sampling.guidance.linearisation import as_columns, match_values

__all__ = ["Likelihood", "StackedLikelihood", "log_likelihood"]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """One instrument: operator, observation and noise.

    Parameters
    ----------
    operator : Tensor or callable
        A matrix of shape ``(m, size)`` that acts on items with their axes flattened, or a differentiable
        function from values ``(count, ...)`` to readings ``(count, ...)``, each item by itself.
    observation : Tensor or float
        y: of the shape of the readings of one item (shared by all items) or of all.
    noise_std : Tensor or float
        Standard deviation of the noise, positive, in the unit of the observation: a number, or of one of the
        two shapes of ``observation``.

    Raises
    ------
    TypeError
        For an operator that is neither.
    ValueError
        For a matrix of another number of axes, observations that are not finite, or noise that is not
        positive.
    """

    operator: Tensor | Callable[[Tensor], Tensor]
    observation: Tensor | float
    noise_std: Tensor | float

    def __post_init__(self) -> None:
        if not (isinstance(self.operator, Tensor) or callable(self.operator)):
            raise TypeError(f"operator must be a matrix or a callable, got {type(self.operator).__name__}")
        if isinstance(self.operator, Tensor) and self.operator.ndim != 2:
            raise ValueError(
                f"an operator given as a Tensor must have shape (m, size), got {tuple(self.operator.shape)}"
            )
        observation, noise = torch.as_tensor(self.observation), torch.as_tensor(self.noise_std)
        if not bool(observation.isfinite().all()):
            raise ValueError(
                "observation must be finite: leave readings that are missing out of the operator"
            )
        wrong = ~(noise.isfinite() & (noise > 0.0))
        if bool(wrong.any()):
            raise ValueError(
                f"noise_std must be positive and finite, got {float(noise[wrong][0]):g}; "
                "for readings without noise use a small value"
            )

    def readings(self, x0: Tensor) -> Tensor:
        """Return what the instrument would read without noise, shape ``(count, ...)``."""
        if not isinstance(self.operator, Tensor):
            return self.operator(x0)
        flat = x0.flatten(1)
        if flat.shape[1] != self.operator.shape[1]:
            raise ValueError(
                f"operator has shape {tuple(self.operator.shape)} and items have {flat.shape[1]} values; "
                "expected as many columns as values"
            )
        return flat @ self.operator.to(flat).mT


class StackedLikelihood:
    """Several independent instruments as one.

    Parameters
    ----------
    likelihoods : Likelihood or sequence of Likelihood
        At least one.

    Raises
    ------
    TypeError
        For anything else in the sequence.
    ValueError
        For an empty sequence.
    """

    def __init__(self, likelihoods: Likelihood | Sequence[Likelihood]) -> None:
        given: Any = (likelihoods,) if isinstance(likelihoods, Likelihood) else likelihoods
        parts = tuple(given) if isinstance(given, list | tuple) else (given,)
        for part in parts:
            if not isinstance(part, Likelihood):
                raise TypeError(f"likelihoods must hold Likelihood objects, got {type(part).__name__}")
        if not parts:
            raise ValueError("likelihoods must hold at least one Likelihood, got none")
        self.parts = parts

    def readings(self, x0: Tensor) -> Tensor:
        """Return all readings without noise, shape ``(count, m)``."""
        return torch.cat([as_columns(part.readings(x0), x0, "operator") for part in self.parts], -1)

    def observed(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Return observations and noise levels for the items of ``x0``, each of shape ``(count, m)``."""
        with torch.no_grad():
            readings = [part.readings(x0) for part in self.parts]
        for values in readings:
            as_columns(values, x0, "operator")
        pairs = list(zip(self.parts, readings, strict=True))
        observed = [match_values(part.observation, values, "observation") for part, values in pairs]
        noise = [match_values(part.noise_std, values, "noise_std") for part, values in pairs]
        return torch.cat(observed, -1), torch.cat(noise, -1)


def log_likelihood(likelihoods: Likelihood | Sequence[Likelihood], x0: Tensor) -> Tensor:
    """Return ``log p(y | x0)`` up to a constant, shape ``(count,)``.

    Parameters
    ----------
    likelihoods : Likelihood or sequence of Likelihood
        Independent instruments.
    x0 : Tensor
        Clean values, shape ``(count, ...)``.

    Returns
    -------
    Tensor
        Minus half the squared residuals in units of their noise.
    """
    stacked = StackedLikelihood(likelihoods)
    observed, noise = stacked.observed(x0)
    return -0.5 * (((observed - stacked.readings(x0)) / noise) ** 2).sum(-1)
