r"""Models to stand beside ours in a report: Cox regression and a random survival forest.

Each is fitted on a frame and a structured target and gives a risk and S(t | x), like `SDPMSurvival`. Both get
the same preprocessing, learned on the training rows: median and standardisation for numbers, one column a
category for the rest (a missing category is one of its own).

- `CoxPeer`: Cox's proportional hazards with a ridge of .1 (against the sum over events, columns
  standardised), by lifelines (MIT; extra ``survival``).
- `ForestPeer`: a random survival forest of 100 trees with at least 15 rows a leaf, by scikit-survival (GPL;
  extra ``benchmarks``).
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sciffusion.estimators.imports import optional_import

from .targets import SurvivalTarget, survival_target

__all__ = ["CoxPeer", "ForestPeer", "SurvivalModel"]

FloatArray = NDArray[np.float64]

_RIDGE = 0.1


class SurvivalModel(Protocol):
    """What an evaluation asks of a model; `SDPMSurvival` has it."""

    def fit(self, X: pd.DataFrame, y: Any) -> Any:
        """Fit on a frame and a structured target."""

    def predict(self, X: pd.DataFrame) -> FloatArray:
        """Return a risk of shape (n,), higher for an earlier event."""

    def predict_survival_function(
        self, X: pd.DataFrame, return_array: bool = True, *, times: ArrayLike
    ) -> FloatArray:
        """Return S(t | x), shape (n, n_times)."""


def _preprocessor() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False)
    is_number = make_column_selector(dtype_include=["number", "bool"])
    is_category = make_column_selector(dtype_exclude=["number", "bool"])
    return make_column_transformer((numbers, is_number), (categories, is_category))


def _step_values(knots: FloatArray, values: FloatArray, times: ArrayLike) -> FloatArray:
    """Evaluate right-continuous curves of shape (n, knots), 1 before the first knot."""
    padded = np.hstack([np.ones((len(values), 1)), values])
    found: FloatArray = padded[:, np.searchsorted(knots, np.asarray(times), side="right")]
    return found


class CoxPeer:
    """Cox's proportional hazards model, by lifelines."""

    name = "Cox regression"
    package, extra = "lifelines", "survival"

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on a frame and a structured target.

        Raises
        ------
        ImportError
            If lifelines is not installed.
        """
        lifelines = optional_import("lifelines", self.extra)
        target = survival_target(y, n_rows=len(X))
        self.preprocessor_ = _preprocessor()
        table = pd.DataFrame(np.asarray(self.preprocessor_.fit_transform(X), dtype=np.float64))
        table = table.add_prefix("x").assign(time=target.time, event=target.event)
        # lifelines penalises the mean, not the sum, of the partial log-likelihood.
        fitter = lifelines.CoxPHFitter(penalizer=_RIDGE / len(table))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about columns that hardly vary, which the ridge takes care of
            fitter.fit(table, "time", "event")
        means = table.drop(columns=["time", "event"]).mean().to_numpy()
        self.coefficients_ = fitter.params_.to_numpy()
        self.offset_ = float(means @ self.coefficients_)
        hazard = fitter.baseline_cumulative_hazard_
        self.times_, self.hazard_ = hazard.index.to_numpy(np.float64), hazard.to_numpy()[:, 0]
        return self

    def predict(self, X: pd.DataFrame) -> FloatArray:
        """Return the log relative hazard, shape (n,)."""
        design = np.asarray(self.preprocessor_.transform(X), dtype=np.float64)
        risk: FloatArray = design @ self.coefficients_ - self.offset_
        return risk

    def predict_survival_function(
        self, X: pd.DataFrame, return_array: bool = True, *, times: ArrayLike
    ) -> FloatArray:
        """Return S(t | x), shape (n, n_times)."""
        # Beyond exp(40) the curve is 0 at once anyway.
        relative = np.exp(np.minimum(self.predict(X), 40.0))
        return _step_values(self.times_, np.exp(-relative[:, None] * self.hazard_), times)


class ForestPeer:
    """A random survival forest, by scikit-survival.

    Parameters
    ----------
    seed : int, default 0
        Of the forest.
    """

    name = "random survival forest"
    package, extra = "sksurv", "benchmarks"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on a frame and a structured target.

        Raises
        ------
        ImportError
            If scikit-survival is not installed.
        """
        ensemble = optional_import("sksurv.ensemble", self.extra)
        target: SurvivalTarget = survival_target(y, n_rows=len(X))
        self.preprocessor_ = _preprocessor()
        design = np.asarray(self.preprocessor_.fit_transform(X), dtype=np.float64)
        self.forest_ = ensemble.RandomSurvivalForest(
            n_estimators=100, min_samples_leaf=15, random_state=self.seed, n_jobs=1
        )
        self.forest_.fit(design, target.structured())
        return self

    def predict(self, X: pd.DataFrame) -> FloatArray:
        """Return the mortality, shape (n,)."""
        risk: FloatArray = self.forest_.predict(np.asarray(self.preprocessor_.transform(X)))
        return risk

    def predict_survival_function(
        self, X: pd.DataFrame, return_array: bool = True, *, times: ArrayLike
    ) -> FloatArray:
        """Return S(t | x), shape (n, n_times)."""
        design = np.asarray(self.preprocessor_.transform(X))
        curves = self.forest_.predict_survival_function(design, return_array=True)
        return _step_values(self.forest_.unique_times_, curves, times)
