"""The part of a fitted model that corrects lower bounds: what its calibration rows showed.

The method and its guarantee are those of `conformal`; here it is fed with a model's own curves, the censoring
curve :math:`G(t | x)` included, which makes the guarantee approximate. The horizon, up to which bounds are
calibrated, is the last training time that at least a quarter of the training rows would have been followed
to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .conformal import calibrated_level, resolve_at_horizon
from .kaplan_meier import KaplanMeierCurves, kaplan_meier_curves
from .members import split_members
from .targets import SurvivalTarget

__all__ = ["ConformalBound", "censoring_survival_at"]

Floats = NDArray[np.float64]

_SHARE = 0.25
_FOLLOWED = 0.25
_SMALLEST_PROBABILITY = 0.05  # of being followed so far: bounds the weight of a single row by 20


@dataclass(frozen=True)
class ConformalBound:
    """Scores and weights of the calibration rows.

    Attributes
    ----------
    horizon : float
        Largest possible bound, in the unit of the times.
    survival : ndarray of shape (n,)
        Predicted S at each calibration row's time, truncated at the horizon.
    resolved : ndarray of bool of shape (n,)
        Rows whose truncated time is that of the event, or the horizon.
    followed : ndarray of shape (n,)
        Predicted probability of being followed up to that time.
    """

    horizon: float
    survival: Floats
    resolved: NDArray[np.bool_]
    followed: Floats

    @staticmethod
    def split(
        events: NDArray[np.bool_], generator: torch.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row numbers to train on and those to calibrate on, stratified by the event."""
        split = split_members(torch.from_numpy(events), 1, _SHARE, generator)
        return torch.nonzero(split.training[:, 0])[:, 0].numpy(), split.held_out[0].sort().values.numpy()

    @staticmethod
    def choose_horizon(target: SurvivalTarget) -> float:
        """Return the last time to which a quarter of the rows would be followed if nobody had an event.

        Raises
        ------
        ValueError
            If that is time 0.
        """
        curve = kaplan_meier_curves(target.time[None], target.event[None], of="censoring")
        followed = target.time[censoring_survival_at(curve, target.time[None])[0] >= _FOLLOWED]
        horizon = float(followed.max())
        if horizon <= 0.0:
            raise ValueError(
                "calibrate='conformal' cannot be used with this target: fewer than a quarter of the rows "
                "would be followed beyond time 0, so no bound above 0 can be calibrated"
            )
        return horizon

    @classmethod
    def learn(cls, horizon: float, target: SurvivalTarget, curves_at: CurvesAt) -> ConformalBound:
        """Score calibration rows.

        Parameters
        ----------
        horizon : float
            From `choose_horizon` on the training rows.
        target : SurvivalTarget
            Of the calibration rows.
        curves_at : callable
            Given one time a row, returns the predicted S there and G just before it.
        """
        rows = resolve_at_horizon(target, horizon)
        survival, followed = curves_at(rows.time)
        return cls(horizon, survival, rows.resolved, np.maximum(followed, _SMALLEST_PROBABILITY))

    def levels(self, alpha: float, followed: Floats) -> Floats:
        """Return, for test rows, the level of the predicted quantile that is the bound.

        Parameters
        ----------
        alpha : float
            Accepted share of rows that fall below their bound.
        followed : ndarray of shape (m,)
            Predicted probability of being followed up to the horizon.
        """
        return calibrated_level(
            self.survival,
            self.resolved,
            self.followed,
            alpha=alpha,
            test_censoring_survival=np.maximum(followed, _SMALLEST_PROBABILITY),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConformalBound:
        """Rebuild from `to_dict`."""
        return cls(
            float(values["horizon"]),
            np.asarray(values["survival"], dtype=np.float64),
            np.asarray(values["resolved"], dtype=np.bool_),
            np.asarray(values["followed"], dtype=np.float64),
        )


#: Predicted S at, and G just before, one time a row.
CurvesAt = Callable[[Floats], tuple[Floats, Floats]]


def censoring_survival_at(curves: KaplanMeierCurves, times: Floats) -> Floats:
    """Return P(C >= t) from curves of the censoring time, for times of shape (rows, n_times)."""
    return curves.survival_at(np.nextafter(times, -np.inf))
