"""Weibull accelerated failure time regression (lifelines) as a compared model.

With scale exp(a + b'x) and shape k, S(t | x) = exp(-(t / scale)^k): the true model of a Cox-Weibull cohort.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from survival_data import SurvivalData
from survival_peers import Peer

__all__ = ["WeibullTimes"]


class WeibullTimes(Peer):
    """Weibull regression with a small ridge, because one-hot columns add up to the intercept."""

    ridge = 0.01

    def fit_array(self, X: np.ndarray, data: SurvivalData) -> None:
        """Fit by maximum likelihood."""
        from lifelines import WeibullAFTFitter

        frame = self._frame(X).assign(time=data.time, event=data.event)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator_ = WeibullAFTFitter(penalizer=self.ridge).fit(frame, "time", "event")

    @staticmethod
    def _frame(X: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])

    def _transformed(self, X: pd.DataFrame) -> pd.DataFrame:
        return self._frame(np.asarray(self.preprocessor_.transform(X), dtype=float))

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""
        return self.estimator_.predict_survival_function(self._transformed(X), times=times).to_numpy().T

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give minus the predicted log median."""
        return -np.log(np.asarray(self.estimator_.predict_median(self._transformed(X)), dtype=float).ravel())
