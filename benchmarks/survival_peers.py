"""The models that are compared with ours, each behind the same three calls.

A model is fitted on a raw frame (`fit(data)`), gives curves at any times (`survival(X, times)`, shape
(rows, times)) and a risk (`risk(X)`, higher means earlier). Peers get the same preprocessing, learned on
the training part: median imputation and standardisation of numbers, one-hot coding of categories (a missing
category is a category). Curves outside a peer's own time range are continued as constants.

Settings: Cox with ridge .1; Coxnet with l1 ratio .5 and the penalty chosen by 3-fold Harrell C; random
survival forest of 100 trees with at least 15 rows a leaf; gradient boosting of 100 trees of depth 3, half
of the rows each; a Cox network of 64-64 units with early stopping; SurvivalBoost with its defaults;
Kaplan-Meier for reference.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from survival_data import SurvivalData
from survival_protocol import split_rows

__all__ = [
    "Boosting",
    "CoxRidge",
    "Coxnet",
    "DeepSurv",
    "Forest",
    "KaplanMeier",
    "Peer",
    "SurvivalModel",
    "TimeBoosting",
    "evaluate_steps",
    "make_preprocessor",
]


class SurvivalModel(ABC):
    """What the comparison asks of a model."""

    @abstractmethod
    def fit(self, data: SurvivalData) -> SurvivalModel:
        """Fit on a training part."""

    @abstractmethod
    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""

    @abstractmethod
    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give a score that is higher for an earlier event, shape (rows,)."""


def make_preprocessor() -> ColumnTransformer:
    """Give the preprocessing that all peers share; a frame in, a float array out."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )


def evaluate_steps(knots: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Evaluate right-continuous curves (rows, knots), one before the first knot, at times (rows, times)."""
    values = np.hstack([np.ones((len(values), 1)), values])
    return values[:, np.searchsorted(knots, times, side="right")]


class Peer(SurvivalModel):
    """A scikit-survival estimator on preprocessed covariates."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def estimator(self) -> BaseEstimator:
        """Give the unfitted estimator, in a subclass that does not fit in `fit_array` itself."""
        raise NotImplementedError

    def fit(self, data: SurvivalData) -> Peer:
        """Fit preprocessing and estimator on a training part."""
        self.preprocessor_ = make_preprocessor()
        X = np.asarray(self.preprocessor_.fit_transform(data.X), dtype=float)
        self.fit_array(X, data)
        return self

    def fit_array(self, X: np.ndarray, data: SurvivalData) -> None:
        """Fit the estimator on the preprocessed covariates."""
        self.estimator_ = self.estimator().fit(X, structured(data))

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""
        curves = self.estimator_.predict_survival_function(self.preprocessor_.transform(X), return_array=True)
        return evaluate_steps(self.estimator_.unique_times_, curves, times)

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give the estimator's own risk."""
        return self.estimator_.predict(self.preprocessor_.transform(X))


def structured(data: SurvivalData) -> np.ndarray:
    """Give the outcome as scikit-survival's structured array."""
    from sksurv.util import Surv

    return Surv.from_arrays(data.event, data.time)


class CoxRidge(Peer):
    """Cox regression with a ridge of .1."""

    def estimator(self) -> BaseEstimator:
        """Give the unfitted estimator, in a subclass that does not fit in `fit_array` itself."""
        from sksurv.linear_model import CoxPHSurvivalAnalysis

        return CoxPHSurvivalAnalysis(alpha=0.1)


class Forest(Peer):
    """Random survival forest, 100 trees, at least 15 rows a leaf."""

    def estimator(self) -> BaseEstimator:
        """Give the unfitted estimator, in a subclass that does not fit in `fit_array` itself."""
        from sksurv.ensemble import RandomSurvivalForest

        return RandomSurvivalForest(n_estimators=100, min_samples_leaf=15, random_state=self.seed, n_jobs=1)


class Boosting(Peer):
    """Gradient boosting of the partial likelihood, 100 trees of depth 3, half of the rows each."""

    def estimator(self) -> BaseEstimator:
        """Give the unfitted estimator, in a subclass that does not fit in `fit_array` itself."""
        from sksurv.ensemble import GradientBoostingSurvivalAnalysis

        return GradientBoostingSurvivalAnalysis(
            n_estimators=100, max_depth=3, subsample=0.5, random_state=self.seed
        )


class Coxnet(Peer):
    """Elastic-net Cox regression; the penalty with the best Harrell C of three inner folds."""

    inner_folds = 3

    def fit_array(self, X: np.ndarray, data: SurvivalData) -> None:
        """Choose the penalty on inner folds, then fit on all rows."""
        from sksurv.linear_model import CoxnetSurvivalAnalysis

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the strongest penalty of a path leaves no coefficient, by construction
            path = CoxnetSurvivalAnalysis(l1_ratio=0.5, n_alphas=50, alpha_min_ratio=0.01)
            alphas = path.fit(X, structured(data)).alphas_
            best = alphas[int(np.argmax(self._concordance(X, data, alphas)))]
            self.estimator_ = CoxnetSurvivalAnalysis(l1_ratio=0.5, alphas=[best], fit_baseline_model=True)
            self.estimator_.fit(X, structured(data))

    def _concordance(self, X: np.ndarray, data: SurvivalData, alphas: np.ndarray) -> np.ndarray:
        from sksurv.linear_model import CoxnetSurvivalAnalysis
        from sksurv.metrics import concordance_index_censored

        total = np.zeros(len(alphas))
        for train, test in split_rows(data, self.inner_folds, self.seed):
            path = CoxnetSurvivalAnalysis(l1_ratio=0.5, alphas=alphas)
            path.fit(X[train], structured(data.take(train)))
            for position, alpha in enumerate(alphas):
                risk = path.predict(X[test], alpha=alpha)
                total[position] += concordance_index_censored(data.event[test], data.time[test], risk)[0]
        return total


class DeepSurv(Peer):
    """Cox network with Breslow's baseline."""

    def fit_array(self, X: np.ndarray, data: SurvivalData) -> None:
        """Fit the network, then the baseline hazard on all training rows."""
        from deep_cox import DeepCox
        from sksurv.linear_model.coxph import BreslowEstimator

        self.network_ = DeepCox(self.seed).fit(X, data.time, data.event)
        self.baseline_ = BreslowEstimator().fit(self.network_.predict(X), data.event, data.time)

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""
        cumulative = self.baseline_.cum_baseline_hazard_
        hazard = np.exp(self.risk(X))[:, None] * cumulative.y[None, :]
        return evaluate_steps(cumulative.x, np.exp(-hazard), times)

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give the log risk of the network."""
        return self.network_.predict(np.asarray(self.preprocessor_.transform(X), dtype=float))


class KaplanMeier(SurvivalModel):
    """One curve for everybody."""

    def fit(self, data: SurvivalData) -> KaplanMeier:
        """Estimate the curve of the training part."""
        from sksurv.nonparametric import kaplan_meier_estimator

        self.times_, self.curve_ = kaplan_meier_estimator(data.event, data.time)
        return self

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Repeat the curve for each row."""
        return np.repeat(evaluate_steps(self.times_, self.curve_[None, :], times), len(X), axis=0)

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give zeros: nobody is told apart."""
        return np.zeros(len(X))


class TimeBoosting(Peer):
    """SurvivalBoost (hazardous): boosted trees with time as a feature."""

    def fit_array(self, X: np.ndarray, data: SurvivalData) -> None:
        """Fit with the package's defaults."""
        from hazardous import SurvivalBoost

        outcome = pd.DataFrame({"event": data.event.astype(int), "duration": data.time})
        self.horizons_ = np.quantile(data.time[data.event], np.linspace(0.01, 0.99, 99))
        self.estimator_ = SurvivalBoost(show_progressbar=False, random_state=self.seed).fit(X, outcome)

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""
        return np.asarray(
            self.estimator_.predict_survival_function(self.preprocessor_.transform(X), times=times)
        )

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give minus the mean of the curve over the quantiles of training event times."""
        return -self.survival(X, self.horizons_).mean(axis=1)
