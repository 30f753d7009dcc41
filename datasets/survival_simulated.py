r"""Simulated survival studies whose survival curves are known.

The Cox-Weibull model has the cumulative hazard :math:`\lambda t^\nu \exp(\beta^\top z)` for the design vector
:math:`z` of a row, hence

.. math::

    S(t \mid z) = \exp(-\lambda t^\nu e^{\beta^\top z}), \qquad
    T = \left(\frac{-\ln U}{\lambda e^{\beta^\top z}}\right)^{1/\nu}, \quad U \sim \mathrm{Uniform}(0, 1).

Censoring times are :math:`C \sim \mathrm{Uniform}(0, c)`, independent of everything. Given the drawn event
times the expected share of observed events is the mean of :math:`\max(0, 1 - T_i / c)`, which grows with
:math:`c` from 0 to 1; :math:`c` is set where it equals the wanted share.

Source of the inversion: Bender, Augustin, Blettner, "Generating survival times to simulate Cox proportional
hazards models", Statistics in Medicine 24:1713-1723, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from sklearn.utils import check_random_state

from .assembly import with_categories
from .cards import Column, DatasetCard
from .survival_dataset import SurvivalDataset

__all__ = ["CoxWeibullStudy", "CoxWeibullTruth", "make_cox_weibull"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoxWeibullTruth:
    r"""The law that simulated event times follow.

    Parameters
    ----------
    coefficients : pandas.Series
        Log hazard ratio of each design column: a standardised number, or an indicator named ``column=level``.
    center, spread : pandas.Series
        Subtracted from, then divided into, the numeric columns.
    scale, shape : float
        :math:`\lambda > 0` and :math:`\nu > 0` of the baseline hazard.
    censoring_bound : float
        Upper end :math:`c` of the uniform censoring times.
    """

    coefficients: pd.Series[float]
    center: pd.Series[float]
    spread: pd.Series[float]
    scale: float
    shape: float
    censoring_bound: float

    def linear_predictor(self, X: pd.DataFrame) -> FloatArray:
        r"""Return :math:`\beta^\top z` for each row of ``X``, shape (n,)."""
        if missing := sorted(set(self.center.index) - set(X.columns)):
            raise ValueError(f"X lacks the columns {missing}, expected those of the simulated study")
        design = _design(X, self.center, self.spread)
        if missing := sorted(set(self.coefficients.index) - set(design.columns)):
            raise ValueError(f"X gives no {missing}, expected the categorical columns of the simulated study")
        return design[list(self.coefficients.index)].to_numpy() @ self.coefficients.to_numpy()

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> FloatArray:
        r"""Return :math:`S(t \mid x)`, shape (n, number of times), for times at least 0."""
        grid = np.asarray(times, dtype=np.float64)
        hazard_ratio = np.exp(self.linear_predictor(X))[:, None]
        return np.exp(-self.scale * hazard_ratio * grid[None, :] ** self.shape)

    def quantile(self, X: pd.DataFrame, levels: ArrayLike) -> FloatArray:
        """Return the times by which the event has come with probability ``levels``, shape (n, levels)."""
        exponent = -np.log1p(-np.asarray(levels, dtype=np.float64))[None, :]
        hazard_ratio = np.exp(self.linear_predictor(X))[:, None]
        return (exponent / (self.scale * hazard_ratio)) ** (1.0 / self.shape)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CoxWeibullStudy(SurvivalDataset):
    """A simulated data set together with its law.

    Parameters
    ----------
    X, time, event, card, groups
        As in :class:`SurvivalDataset`.
    truth : CoxWeibullTruth
        Survival function and quantiles of the event times.
    event_time : ndarray of shape (n,)
        Event times before censoring, which no method may see.
    """

    truth: CoxWeibullTruth
    event_time: FloatArray


def make_cox_weibull(
    X: pd.DataFrame | None = None,
    *,
    n_rows: int = 500,
    n_features: int = 6,
    coefficients: ArrayLike | None = None,
    scale: float = 1e-10,
    shape: float = 4.0,
    event_rate: float = 0.5,
    random_state: int | np.random.RandomState | None = None,
) -> CoxWeibullStudy:
    r"""Simulate a Cox-Weibull study with uniform censoring at a wanted share of events.

    Parameters
    ----------
    X : pandas.DataFrame of shape (n, d) or None
        Covariates to keep, for instance those of a real study, without missing values. Numeric columns are
        standardised and categories become indicators before they meet the coefficients. None draws
        ``n_features`` standard normal columns ``x0``, ``x1``, ... of ``n_rows`` rows.
    n_rows, n_features : int
        Size of the drawn covariates, ignored if ``X`` is given.
    coefficients : array-like or None
        Log hazard ratio of each design column (numeric columns, then indicators, in the order of ``X``). None
        draws them from Uniform(-1, 1).
    scale, shape : float
        :math:`\lambda > 0` and :math:`\nu > 0`. The defaults put the median near 290 time units.
    event_rate : float
        Expected share of rows with an observed event, in (0, 1).
    random_state : int, RandomState or None
        Seed of all draws.

    Returns
    -------
    CoxWeibullStudy
        The data, ``truth`` with the survival function, and ``event_time`` before censoring.

    Raises
    ------
    ValueError
        If a size, ``scale``, ``shape`` or ``event_rate`` is out of range, ``X`` has missing values, or
        ``coefficients`` does not fit the design.
    """
    _check_positive(n_rows=n_rows, n_features=n_features, scale=scale, shape=shape)
    if not 0.0 < event_rate < 1.0:
        raise ValueError(f"event_rate is {event_rate}, expected a share strictly between 0 and 1")
    generator = check_random_state(random_state)
    table = _covariates(X, n_rows, n_features, generator)
    center, spread = _standardisation(table)
    design = _design(table, center, spread)
    drawn = generator.uniform(-1.0, 1.0, design.shape[1]) if coefficients is None else coefficients
    weights = np.asarray(drawn, dtype=np.float64)
    if weights.shape != (design.shape[1],) or not np.isfinite(weights).all():
        raise ValueError(
            f"coefficients has shape {weights.shape}, expected ({design.shape[1]},) finite values, one for "
            f"each of {list(design.columns)}"
        )
    hazard_ratio = np.exp(design.to_numpy() @ weights)
    uniform = 1.0 - generator.uniform(size=len(table))  # in (0, 1]: the logarithm stays finite
    event_time = (-np.log(uniform) / (scale * hazard_ratio)) ** (1.0 / shape)
    bound = _censoring_bound(event_time, event_rate)
    censoring_time = generator.uniform(0.0, bound, len(table))
    event = event_time <= censoring_time
    truth = CoxWeibullTruth(pd.Series(weights, design.columns), center, spread, scale, shape, bound)
    return CoxWeibullStudy(
        X=table,
        time=np.minimum(event_time, censoring_time),
        event=event,
        card=_card(table, event, truth),
        truth=truth,
        event_time=event_time,
    )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, expected a finite number above 0")


def _covariates(
    X: pd.DataFrame | None, n_rows: int, n_features: int, generator: np.random.RandomState
) -> pd.DataFrame:
    if X is None:
        names = [f"x{index}" for index in range(n_features)]
        return pd.DataFrame(generator.standard_normal((n_rows, n_features)), columns=names)
    if X.isna().any(axis=None):
        holes = [str(name) for name in X.columns[X.isna().any()]]
        raise ValueError(f"X has missing values in {holes}, expected none: the law needs every covariate")
    return with_categories(X)


def _standardisation(table: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return mean and standard deviation of the numeric columns; constant columns keep the deviation 1."""
    numbers = table.select_dtypes(np.float64)
    return numbers.mean(), numbers.std(ddof=0).replace(0.0, 1.0)


def _design(table: pd.DataFrame, center: pd.Series[float], spread: pd.Series[float]) -> pd.DataFrame:
    """Return the standardised numbers, then one indicator a level but the first of each categorical."""
    numbers = (table[list(center.index)] - center) / spread
    categories = table.select_dtypes("category")
    if categories.shape[1] == 0:
        return numbers
    indicators = pd.get_dummies(categories, prefix_sep="=", drop_first=True, dtype=np.float64)
    return pd.concat([numbers, indicators], axis=1)


def _censoring_bound(event_time: FloatArray, event_rate: float) -> float:
    """Return c with mean(max(0, 1 - T / c)) = event_rate."""

    def excess(bound: float) -> float:
        return float(np.maximum(0.0, 1.0 - event_time / bound).mean()) - event_rate

    lower, upper = float(event_time.min()), float(event_time.max())
    while excess(upper) < 0.0:
        upper *= 2.0
    return float(brentq(excess, lower, upper, rtol=1e-12))


def _card(table: pd.DataFrame, event: NDArray[np.bool_], truth: CoxWeibullTruth) -> DatasetCard:
    return DatasetCard(
        name="cox_weibull",
        title="Simulated Cox-Weibull study",
        kind="make",
        citation="simulated; Bender, Augustin, Blettner, Statistics in Medicine 24:1713-1723, 2005",
        licence="none needed, the times are simulated (given covariates keep their own terms)",
        n_rows=len(table),
        n_events=int(event.sum()),
        time_unit="arbitrary",
        event_meaning="simulated event",
        columns=tuple(Column(str(name), "covariate of the simulated law") for name in table.columns),
        notes=(
            f"scale {truth.scale:g}, shape {truth.shape:g}, "
            f"censoring uniform on [0, {truth.censoring_bound:g}]",
        ),
    )
