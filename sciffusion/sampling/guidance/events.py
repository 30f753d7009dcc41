r"""Conditioning on events: equalities and inequalities between functions of the clean data and numbers.

For functions :math:`f(x_0)` of the data, linearised at the clean estimate D with :math:`x_0 | x \approx N(D,
C)`, the values are normal with mean f(D) and covariance :math:`S = H C H^\top` (plus the variance of the
noise of each event on the diagonal).  With the equalities in block E and the inequalities in block I,

.. math::
   \log p(\text{events} | x) \approx \log N(v_E; f_E, S_{EE})
   + \sum_{i \in I} \log\Phi\left(\pm\frac{m_i - v_i}{\sqrt{V_i}}\right),

where :math:`m_i = f_i + S_{iE} S_{EE}^{-1}(v_E - f_E)` and :math:`V_i = S_{ii} - S_{iE} S_{EE}^{-1} S_{Ei}`
are the moments of an inequality's value given the equalities, and the sign is + for ``>``.  Its gradient, not
taken through S, is added to the score; the clean estimate changes by :math:`C H^\top w` with w the gradient
with respect to f.  Taking the equalities together and the inequalities given the equalities is a
construction of this library.

:math:`\log\Phi` and its derivative are computed from the scaled complementary error function, which neither
overflows nor cancels however unlikely the event.  Variances below `RELATIVE_FLOOR` of what a Gaussian law of
the declared width would give are lifted to it.

What is exact and what is not: exact for linear functions of Gaussian data and any number of equalities with
at most one inequality (several if their values are independent given the noisy state).  Otherwise the law of
the samples is biased; `event_probability` weighs them and is not.

Cost: one evaluation and one backward pass an event.

Finzi et al., *User-defined Event Sampling and Uncertainty Quantification in Diffusion Models for Physical
Dynamical Systems*, arXiv 2306.07526.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.estimate import DifferentiableEstimate, gradients
from sciffusion.sampling.guidance.linearisation import Moments, as_columns, in_double, match_values

__all__ = ["RELATIVE_FLOOR", "Event", "EventGuidance", "EventLike", "as_events", "log_indicator"]

Relation = Literal["==", ">", "<", ">=", "<="]

#: Smallest variance of an event's value, relative to that under a Gaussian law of the declared width.
RELATIVE_FLOOR = 1e-6


@dataclass(frozen=True, eq=False)
class Event:
    """A relation between a function of the data and a number.

    Parameters
    ----------
    function : callable
        From clean values ``(count, ...)`` to one number an item ``(count,)``, or several ``(count, ...)``
        that all obey the relation; differentiable, each item by itself.
    relation : {"==", ">", "<", ">=", "<="}
        Strict and weak inequalities mean the same.
    value : Tensor or float
        Right-hand side, in the unit of the function: a number, or of the shape of the function's values of
        one item or of all.
    noise_std : float, default 0
        Standard deviation of a noise added to the function's value before it is compared: softens the event.

    Raises
    ------
    TypeError
        If the function cannot be called.
    ValueError
        For an unknown relation, a value that is not finite or a negative noise.
    """

    function: Callable[[Tensor], Tensor]
    relation: Relation
    value: Tensor | float
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"the function of an event must be callable, got {type(self.function).__name__}")
        if self.relation not in get_args(Relation):
            raise ValueError(f"relation must be one of {get_args(Relation)}, got {self.relation!r}")
        try:
            value = torch.as_tensor(self.value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"the value of an event must be a number or a Tensor, got {self.value!r}"
            ) from error
        if not bool(value.isfinite().all()):
            raise ValueError("the value of an event must be finite")
        if not (math.isfinite(self.noise_std) and self.noise_std >= 0.0):
            raise ValueError(f"noise_std of an event must not be negative, got {self.noise_std}")

    @property
    def sign(self) -> float:
        """1 for ``>``, -1 for ``<`` and 0 for ``==``."""
        return {">": 1.0, "<": -1.0, "=": 0.0}[self.relation[0]]

    def gap(self, x0: Tensor) -> Tensor:
        """Return the function minus the value, shape ``(count, m)``."""
        values = self.function(x0)
        columns = as_columns(values, x0, "the function of an event")
        return columns - match_values(self.value, values, "the value of an event")


#: An event, or its parts (function, relation, value) or (function, relation, value, noise_std).
EventLike: TypeAlias = Event | tuple[Any, ...]


def as_events(events: EventLike | Sequence[EventLike]) -> tuple[Event, ...]:
    """Return events given singly, as a sequence, or by their parts.

    Parameters
    ----------
    events : Event, tuple or sequence of them
        A tuple holds ``(function, relation, value)`` or ``(function, relation, value, noise_std)``.

    Returns
    -------
    tuple of Event
        At least one.

    Raises
    ------
    TypeError
        For anything that is neither.
    ValueError
        For no event at all.
    """
    single = isinstance(events, Event) or (isinstance(events, tuple) and events and callable(events[0]))
    parts: Any = (events,) if single else events
    found = []
    for part in parts:
        if isinstance(part, tuple) and len(part) in (3, 4):
            part = Event(*part)
        if not isinstance(part, Event):
            raise TypeError(
                "an event must be an Event or a tuple (function, relation, value[, noise_std]), "
                f"got {type(part).__name__}"
            )
        found.append(part)
    if not found:
        raise ValueError("events must hold at least one event, got none")
    return tuple(found)


def log_indicator(events: EventLike | Sequence[EventLike], x0: Tensor) -> Tensor:
    """Return the log probability that clean values fulfil inequalities: 0 or minus infinity without noise.

    Parameters
    ----------
    events : Event or sequence of Event
        Inequalities; with noise the probability over that noise.
    x0 : Tensor
        Shape ``(count, ...)``.

    Returns
    -------
    Tensor
        Shape ``(count,)``, float64 where the device knows it.

    Raises
    ------
    ValueError
        For an equality, whose probability is 0.
    """
    total = in_double(torch.zeros(x0.shape[0], device=x0.device))
    for event in as_events(events):
        if event.sign == 0.0:
            raise ValueError("an equality has probability 0; give it as two inequalities")
        margin = event.sign * in_double(event.gap(x0))
        if event.noise_std > 0.0:
            total = total + torch.special.log_ndtr(margin / event.noise_std).sum(-1)
        else:
            total = torch.where((margin >= 0.0).all(-1), total, -math.inf)
    return total


class EventGuidance(Guidance):
    """Conditions on events by moment matching.

    Parameters
    ----------
    events : Event, tuple or sequence of them
        All of them are to happen; tuples hold ``(function, relation, value[, noise_std])``.
    data_std : float, default 1
        Standard deviation of the data, which sets the floor of variances (see the module).

    Raises
    ------
    TypeError, ValueError
        For events that are none, or a width that is not positive.
    """

    differentiates = True

    def __init__(self, events: EventLike | Sequence[EventLike], data_std: float = 1.0) -> None:
        if not data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.events = as_events(events)
        self.data_std = data_std

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`)."""
        with gradients():
            estimate = DifferentiableEstimate.of(denoiser, state, condition, cache)
            moments = Moments.of(self._gaps, estimate)
            with torch.no_grad():
                return estimate.moved(moments.correction(self._weights(estimate, moments)))

    def _gaps(self, x0: Tensor) -> Tensor:
        return torch.cat([event.gap(x0) for event in self.events], -1)

    def _weights(self, estimate: DifferentiableEstimate, moments: Moments) -> Tensor:
        """Return the derivative of the log probability of the events with respect to their values."""
        with torch.no_grad():
            point = estimate.value.detach()
            widths = [event.gap(point).shape[1] for event in self.events]
        columns = [event for event, width in zip(self.events, widths, strict=True) for _ in range(width)]
        signs = moments.mean.new_tensor([event.sign for event in columns])
        noise = moments.mean.new_tensor([event.noise_std for event in columns])
        isotropic = estimate.gaussian_variance(self.data_std).expand(point.shape).flatten(1)
        usual = (in_double(isotropic)[:, None] * moments.rows**2).sum(-1) + noise**2
        spread = moments.covariance + torch.diag(noise**2)
        return event_weights(moments.mean, spread, usual, signs)


def event_weights(gap: Tensor, spread: Tensor, usual: Tensor, signs: Tensor) -> Tensor:
    """Return the derivative of the log probability of normal values to lie at or beyond 0.

    Parameters
    ----------
    gap : Tensor
        Means of the values, shape ``(count, m)``.
    spread : Tensor
        Their covariance, shape ``(count, m, m)``.
    usual : Tensor
        Variances that set the floor, shape ``(count, m)``.
    signs : Tensor
        Shape ``(m,)``: 0 for values that are to be 0, 1 and -1 for positive and negative ones.

    Returns
    -------
    Tensor
        With respect to the means, shape ``(count, m)``.
    """
    equal, beyond = (signs == 0.0).nonzero()[:, 0], (signs != 0.0).nonzero()[:, 0]
    weights = torch.zeros_like(gap)
    # 1 stands in where nothing is left to vary: the products with the covariance are 0 there, too.
    usual = torch.where(usual > 0.0, usual, 1.0)
    gain = spread.new_zeros(len(gap), len(equal), len(beyond))
    if len(equal):
        inverse = _floored_inverse(spread[:, equal][:, :, equal], usual[:, equal])
        gain = inverse @ spread[:, equal][:, :, beyond]
        weights[:, equal] = -(inverse @ gap[:, equal, None])[..., 0]
    if len(beyond):
        mean = gap[:, beyond] - (gain.mT @ gap[:, equal, None])[..., 0]
        explained = (gain * spread[:, equal][:, :, beyond]).sum(1)
        variance = spread.diagonal(dim1=-2, dim2=-1)[:, beyond] - explained
        std = torch.maximum(variance, RELATIVE_FLOOR * usual[:, beyond]).sqrt()
        pull = signs[beyond] * _hazard(signs[beyond] * mean / std) / std
        weights[:, beyond] = pull
        weights[:, equal] -= (gain @ pull[..., None])[..., 0]
    return weights


def _hazard(z: Tensor) -> Tensor:
    """Return the derivative of the log of the normal distribution function, without overflow."""
    hazard: Tensor = math.sqrt(2.0 / math.pi) / torch.special.erfcx(-z / math.sqrt(2.0))
    return hazard


def _floored_inverse(matrix: Tensor, usual: Tensor) -> Tensor:
    """Return the inverse, with the eigenvalues in units of the usual variances at least the floor."""
    scale = usual.sqrt()
    values, vectors = torch.linalg.eigh(matrix / scale[..., None] / scale[..., None, :])
    inverse: Tensor = (vectors / values.clamp_min(RELATIVE_FLOOR)[..., None, :]) @ vectors.mT
    return inverse / scale[..., None] / scale[..., None, :]
