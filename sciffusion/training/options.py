r"""What a fit is told (`TrainingOptions`) and what it reports (`TrainingHistory`).

The unit of training is the *step*: one batch, one gradient, one update of the optimiser. Rows are
visited in a fresh order on every pass, and batches run across the ends of passes, so every batch is full.

With learning rate :math:`\eta`, :math:`W` warm-up steps and :math:`N` steps in all, the update that takes
the network from step :math:`n` to :math:`n + 1` uses

.. math::
    \eta_n = \eta \, \min\Bigl(1, \frac{n + 1}{W}\Bigr) \, s_n, \qquad
    s_n = 1 \text{ (constant)} \quad\text{or}\quad
    s_n = \tfrac12 \Bigl(1 + \cos \pi \frac{\max(n - W, 0)}{N - W}\Bigr) \text{ (cosine)}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrainingHistory", "TrainingOptions"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a network is trained; every value is checked on construction.

    Parameters
    ----------
    max_steps : int >= 1
        Updates of the optimiser at most; exactly this many where no held-out loss is watched.
    batch_size : int >= 1
        Rows in a batch; a data set with fewer rows is one batch.
    learning_rate : float > 0
        Peak step size of AdamW.
    weight_decay : float >= 0
        Decoupled weight decay of AdamW, on all parameters.
    warmup_steps : int >= 0
        Steps over which the learning rate rises linearly.
    learning_rate_schedule : {"constant", "cosine"}
        Shape after the warm-up; "cosine" ends near zero at `max_steps`.
    ema_decay : float in [0, 1), optional
        Average the weights exponentially with this decay a step (with a warm-up of the decay).
    ema_half_life : float > 0, optional
        The same, said as the number of steps after which a weight counts half.
    ema_relative_std : float in (0, 0.28), optional
        Average by a power function of the step whose relative width is this value.
        At most one of the three `ema_*` options may be given; with none the weights are not averaged.
    evaluate_every : int >= 1
        Steps between two evaluations (held-out loss, history, checkpoint).
    evaluate_from : int >= 0
        First step at which the held-out loss is looked at: earlier weights are never kept, and patience does
        not run. Steps between two evaluations and checkpoints before it are the same.
    patience : int >= 1, optional
        Evaluations in a row without a better held-out loss after which a member stops; None never stops
        early, but the best weights are still the ones kept.
    gradient_clip : float > 0, optional
        Largest norm of the gradient, for each member of an ensemble by itself.
    threads : int >= 1, optional
        Threads of torch during the fit; None leaves the caller's number. Networks whose operations take
        microseconds train fastest with 1: several threads mostly wait for each other, the more so on a busy
        machine.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or lies outside its range.
    """

    max_steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    ema_decay: float | None = None
    ema_half_life: float | None = None
    ema_relative_std: float | None = None
    evaluate_every: int = 50
    evaluate_from: int = 0
    patience: int | None = 10
    gradient_clip: float | None = 1.0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "evaluate_every"):
            _check_integer(name, getattr(self, name), low=1)
        _check_integer("warmup_steps", self.warmup_steps, low=0)
        _check_integer("evaluate_from", self.evaluate_from, low=0)
        if self.evaluate_from > self.max_steps:
            raise ValueError(
                f"evaluate_from must not exceed max_steps={self.max_steps}, got {self.evaluate_from}"
            )
        for name in ("patience", "threads"):
            if getattr(self, name) is not None:
                _check_integer(name, getattr(self, name), low=1)
        _check_real("learning_rate", self.learning_rate, "> 0", lambda v: v > 0)
        _check_real("weight_decay", self.weight_decay, ">= 0", lambda v: v >= 0)
        if self.gradient_clip is not None:
            _check_real("gradient_clip", self.gradient_clip, "> 0", lambda v: v > 0)
        if self.learning_rate_schedule not in ("constant", "cosine"):
            raise ValueError(
                f"learning_rate_schedule must be 'constant' or 'cosine', got {self.learning_rate_schedule!r}"
            )
        self._check_ema()

    def _check_ema(self) -> None:
        given = [
            n for n in ("ema_decay", "ema_half_life", "ema_relative_std") if getattr(self, n) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"give at most one way of averaging the weights, got {' and '.join(given)}")
        if self.ema_decay is not None:
            _check_real("ema_decay", self.ema_decay, "in [0, 1)", lambda v: 0 <= v < 1)
        if self.ema_half_life is not None:
            _check_real("ema_half_life", self.ema_half_life, "> 0", lambda v: v > 0)
        if self.ema_relative_std is not None:
            # 0.2887 = 1 / sqrt(12) is the relative width of the plain mean of all steps (exponent 0).
            _check_real("ema_relative_std", self.ema_relative_std, "in (0, 0.28)", lambda v: 0 < v < 0.28)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of the update that leaves step `step` (counted from 0)."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.learning_rate_schedule == "constant":
            return self.learning_rate * rise
        span = max(self.max_steps - self.warmup_steps, 1)
        progress = min(max(step - self.warmup_steps, 0) / span, 1.0)
        return self.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * progress))

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a dictionary that JSON can hold."""
        plain = {Integral: int, Real: float}
        values = asdict(self)
        for name, value in values.items():
            for kind, convert in plain.items():
                if isinstance(value, kind):
                    values[name] = convert(value)
                    break
        return values


@dataclass(frozen=True)
class TrainingHistory:
    """What happened in a fit; the columns of the arrays are the members of the ensemble.

    Attributes
    ----------
    steps : ndarray of int, shape (n_evaluations,)
        Steps at which the fit was looked at; with a held-out loss the first is 0, before any update.
    train_loss : ndarray, shape (n_evaluations, n_members)
        Mean objective over the steps since the evaluation before (NaN at step 0).
    held_out_loss : ndarray, shape (n_evaluations, n_members)
        Held-out loss of the averaged weights (NaN throughout where none was given).
    best_step : ndarray of int, shape (n_members,)
        Step whose weights each member kept; 0 means that training made it no better.
    best_loss : ndarray, shape (n_members,)
        Held-out loss of the kept weights (NaN where none was given).
    stopped_step : int
        Updates made when training ended.
    """

    steps: NDArray[np.int64]
    train_loss: NDArray[np.float64]
    held_out_loss: NDArray[np.float64]
    best_step: NDArray[np.int64]
    best_loss: NDArray[np.float64]
    stopped_step: int

    def to_dict(self) -> dict[str, Any]:
        """Return the history as lists and numbers; NaN stays NaN, which Python's JSON can hold."""
        return {key: value if isinstance(value, int) else value.tolist() for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingHistory:
        """Rebuild a history from what `to_dict` returned."""
        n_members = len(values["best_step"])
        return cls(
            steps=np.asarray(values["steps"], dtype=np.int64),
            train_loss=np.asarray(values["train_loss"], dtype=np.float64).reshape(-1, n_members),
            held_out_loss=np.asarray(values["held_out_loss"], dtype=np.float64).reshape(-1, n_members),
            best_step=np.asarray(values["best_step"], dtype=np.int64),
            best_loss=np.asarray(values["best_loss"], dtype=np.float64),
            stopped_step=int(values["stopped_step"]),
        )


def _check_integer(name: str, value: object, *, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")


def _check_real(name: str, value: object, range_text: str, holds: Callable[[float], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not math.isfinite(value) or not holds(float(value)):
        raise ValueError(f"{name} must be {range_text}, got {value!r}")
