"""Our survival estimator, in its default, in the paper's recipe and with its network off, as compared models.

They get the raw frame: missing values and categories are the estimator's own business.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from survival_data import SurvivalData
from survival_peers import SurvivalModel

__all__ = ["OurModel", "default_estimator", "network_off_estimator", "paper_estimator"]

PAPER_EPOCHS = 300


def default_estimator(seed: int = 0, **parameters: object) -> BaseEstimator:
    """Give the estimator with its defaults, the same for every set."""
    from sciffusion.domains.survival import SDPMSurvival

    return SDPMSurvival(random_state=seed, **parameters)


def paper_estimator(seed: int = 0, **parameters: object) -> BaseEstimator:
    """Give the published recipe with fixed hyper-parameters and at most 300 epochs."""
    return default_estimator(seed, recipe="paper", max_epochs=PAPER_EPOCHS, **parameters)


def network_off_estimator(seed: int = 0, **parameters: object) -> BaseEstimator:
    """Give the default before its first training step: a network that has learned nothing."""
    return default_estimator(seed, max_steps=0, **parameters)


class OurModel(SurvivalModel):
    """An estimator of `sciffusion.domains.survival` behind the calls of the comparison.

    Parameters
    ----------
    estimator : BaseEstimator
        Unfitted, or fitted already.
    n_draws : int or None
        Draws a patient when predicting; None leaves the estimator's own.
    """

    def __init__(self, estimator: BaseEstimator, n_draws: int | None = None) -> None:
        self.estimator, self.n_draws = estimator, n_draws

    def fit(self, data: SurvivalData) -> OurModel:
        """Fit on the raw frame."""
        self.estimator.fit(data.X, data.time, data.event)
        return self

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Give S(t | x), shape (rows, times)."""
        return np.asarray(
            self.estimator.predict_survival_function(X, return_array=True, times=times, n_draws=self.n_draws)
        )

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Give the estimator's own risk."""
        return np.asarray(self.estimator.predict(X, n_draws=self.n_draws))
