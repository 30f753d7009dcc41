"""Our forecaster, in its default and with its network off, behind the calls of the comparison.

One configuration for all sets: horizon and season length are the set's, everything else the default. It is
fitted once on the frame before the first origin, missing values kept, and forecasts from every origin out of
the series' own history, without a refit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from forecast_data import Histories
from forecast_models import ForecastModel

__all__ = ["OurForecaster"]


class OurForecaster(ForecastModel):
    """`DiffusionForecaster` with the set's horizon and season length.

    Parameters
    ----------
    seed : int
        Its random state.
    **parameters
        Further parameters of the estimator, e.g. ``network_off=True``.
    """

    def __init__(self, seed: int = 0, **parameters: object) -> None:
        self.seed, self.parameters = seed, parameters

    def fit(self, histories: Histories) -> OurForecaster:
        """Fit on the long frame."""
        from sciffusion.domains.forecasting import DiffusionForecaster

        self.estimator_: Any = DiffusionForecaster(
            horizon=histories.horizon,
            season_length=histories.season_length,
            random_state=self.seed,
            **self.parameters,
        )
        self.estimator_.fit(histories.frame())
        return self

    def draws(self, histories: Histories, n_draws: int, seed: int) -> np.ndarray:
        """Draw paths after other histories of the fitted series, from noise that `seed` decides."""
        found = self.estimator_.sample(
            histories.horizon, n_samples=n_draws, df=histories.frame(), random_state=seed
        )
        return paths_of_frame(found, histories, n_draws)


def paths_of_frame(found: Any, histories: Histories, n_draws: int) -> np.ndarray:
    """Give the paths of a long frame `unique_id, ds, sample_id, y`, shape (n, n_draws, horizon)."""
    place = {name: row for row, name in enumerate(histories.ids)}
    ordered = found.assign(place=found["unique_id"].map(place)).sort_values(["place", "sample_id", "ds"])
    wanted = (len(place), n_draws, histories.horizon)
    if len(ordered) != np.prod(wanted):
        raise ValueError(f"expected {np.prod(wanted)} rows for draws of shape {wanted}, got {len(ordered)}")
    return ordered["y"].to_numpy(dtype=float).reshape(wanted)
