r"""The Kaplan-Meier curve of a cohort with its pointwise confidence band.

Greenwood's sum :math:`V(t) = \sum_{s \le t} d(s) / \{n(s)(n(s) - d(s))\}` gives the standard error
:math:`S(t) \sqrt{V(t)}`. The band is symmetric on the scale of :math:`\log(-\log S)`, so it stays in [0, 1]:

.. math::

    S(t)^{\exp(\pm z \sqrt{V(t)} / \log S(t))} .

It is a band for each time on its own, not for the curve as a whole.

Greenwood, *The natural duration of cancer*, Reports on Public Health and Medical Subjects 33 (1926);
Kalbfleisch and Prentice, *The Statistical Analysis of Failure Time Data*, 2nd ed. (2002), section 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from sciffusion.estimators.validation import check_number

from .targets import survival_target

__all__ = ["CohortCurve", "cohort_curve"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CohortCurve:
    """Kaplan-Meier estimate of one cohort.

    Attributes
    ----------
    times : ndarray of shape (n_times,)
        The distinct observed times (events and censorings), ascending, in the unit of the data.
    survival, lower, upper : ndarray of shape (n_times,)
        Estimate and pointwise confidence band from each time on.
    standard_error : ndarray of shape (n_times,)
        Greenwood's standard error of the estimate.
    at_risk : ndarray of shape (n_times,)
        Rows still under observation just before each time.
    """

    times: FloatArray
    survival: FloatArray
    lower: FloatArray
    upper: FloatArray
    standard_error: FloatArray
    at_risk: NDArray[np.int64]

    def survival_at(self, times: ArrayLike) -> FloatArray:
        """Evaluate the estimate: 1 before the first time, the last value beyond the last."""
        return self._at(self.survival, 1.0, times)

    def standard_error_at(self, times: ArrayLike) -> FloatArray:
        """Evaluate the standard error: 0 before the first time, the last value beyond the last."""
        return self._at(self.standard_error, 0.0, times)

    def at_risk_at(self, times: ArrayLike) -> NDArray[np.int64]:
        """Count the rows still under observation just before each time."""
        place = np.searchsorted(self.times, np.asarray(times, dtype=np.float64), side="left")
        counts: NDArray[np.int64] = np.append(self.at_risk, 0)[place]
        return counts

    def band_at(self, times: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Evaluate the lower and the upper end of the band, as `survival_at` does the estimate."""
        return self._at(self.lower, 1.0, times), self._at(self.upper, 1.0, times)

    def _at(self, values: FloatArray, before: float, times: ArrayLike) -> FloatArray:
        passed = np.searchsorted(self.times, np.asarray(times, dtype=np.float64), side="right")
        found: FloatArray = np.concatenate([[before], values])[passed]
        return found


def cohort_curve(y: Any, E: ArrayLike | None = None, *, level: float = 0.95) -> CohortCurve:
    """Estimate the survival curve of a cohort.

    Parameters
    ----------
    y, E
        The target, in any form that `SDPMSurvival.fit` takes.
    level : float in (0, 1), default 0.95
        Of the pointwise band.

    Returns
    -------
    CohortCurve
        Estimate, band and numbers at risk.

    Raises
    ------
    ValueError
        If the target or the level cannot be used.
    """
    check_number("level", level, low=0.0, high=1.0, open_low=True, open_high=True)
    target = survival_target(y, E)
    times, place, leaving = np.unique(target.time, return_inverse=True, return_counts=True)
    events = np.bincount(place.ravel(), weights=target.event, minlength=len(times))
    at_risk = np.cumsum(leaving[::-1])[::-1].astype(np.int64)
    survival = np.asarray(np.cumprod(1.0 - events / at_risk), dtype=np.float64)
    alive = survival > 0.0
    safe = np.where(alive, survival, 0.5)
    terms = np.divide(events, at_risk * (at_risk - events), out=np.zeros(len(times)), where=alive)
    spread = np.sqrt(np.cumsum(terms))
    inside = alive & (survival < 1.0)
    log_survival = np.where(inside, np.log(safe), -1.0)
    power = np.exp(norm.ppf((1.0 + level) / 2.0) * spread / np.abs(log_survival))
    # Nothing is known about the spread where nobody has died yet, or nobody is left.
    lower = np.where(inside, safe**power, survival)
    upper = np.where(inside, safe ** (1.0 / power), survival)
    error: FloatArray = np.where(alive, survival * spread, 0.0)
    return CohortCurve(times, survival, lower, upper, error, at_risk)
