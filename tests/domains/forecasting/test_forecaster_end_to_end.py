"""Quality on real series, with bounds that a broken model fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sciffusion.domains.forecasting import DiffusionForecaster, backtest

datasets = pytest.importorskip("sktime.datasets", reason="sktime carries the series")

Floats = NDArray[np.float64]
SEASON, HORIZON = 12, 12


class _Reference:
    """A forecaster that is fitted anew from the history it is given."""

    def fit(self, df: pd.DataFrame) -> _Reference:
        self.df_ = df
        return self

    def sample(self, h: int, *, n_samples: int, df: pd.DataFrame | None = None) -> pd.DataFrame:
        one = self.df_ if df is None else df
        found = self._paths(one["y"].to_numpy(dtype=float), h)
        drawn = found[np.arange(n_samples) * len(found) // n_samples]
        step = one["ds"].iloc[-1] + np.arange(1, h + 1)
        return pd.DataFrame(
            {
                "unique_id": one["unique_id"].iloc[0],
                "ds": np.tile(np.asarray(step, dtype=object), n_samples),
                "sample_id": np.repeat(np.arange(n_samples), h),
                "y": drawn.ravel(),
            }
        ).astype({"ds": one["ds"].dtype})

    def _paths(self, y: Floats, h: int) -> Floats:
        raise NotImplementedError


class _SeasonalNaive(_Reference):
    """The last season, and the errors that it made before."""

    def _paths(self, y: Floats, h: int) -> Floats:
        errors = y[SEASON:] - y[:-SEASON]
        places = np.arange(len(errors) - h + 1)[:, None] + np.arange(h)
        return y[-SEASON:][np.arange(h) % SEASON] + errors[places]


class _Climatology(_Reference):
    """The last seasons, each a path."""

    def _paths(self, y: Floats, h: int) -> Floats:
        count = min(len(y) // SEASON, 10)
        return np.stack([y[len(y) - SEASON * k :][np.arange(h) % SEASON] for k in range(1, count + 1)])


def _score(forecaster: Any, df: pd.DataFrame) -> pd.Series[float]:
    table = backtest(forecaster, df, HORIZON, 4, step=6, season_length=SEASON, n_samples=100)
    scores: pd.Series[float] = table.select_dtypes("number").mean()
    return scores


@pytest.mark.parametrize("name", ["load_airline", "load_PBS_dataset"])
def test_real_months_are_forecast_better_than_by_their_seasons(name: str) -> None:
    y = getattr(datasets, name)()
    df = pd.DataFrame({"unique_id": name, "ds": y.index, "y": y.to_numpy(dtype=float)})
    small = {"n_members": 3, "width": 64, "max_steps": 100, "random_state": 0}
    ours = _score(DiffusionForecaster(horizon=HORIZON, **small), df)
    naive, climate = _score(_SeasonalNaive(), df), _score(_Climatology(), df)
    assert ours["scaled_crps"] < 0.9 * min(naive["scaled_crps"], climate["scaled_crps"])
    assert ours["energy_score"] < min(naive["energy_score"], climate["energy_score"])
    assert ours["coverage-95"] > 0.75
    assert ours["width-95"] < 2.0 * naive["width-95"]
