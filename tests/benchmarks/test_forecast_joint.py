"""The benchmark of joint paths: the shuffles keep marginals, and change what they should."""

from __future__ import annotations

import json
from pathlib import Path

import forecast_joint
import numpy as np
import pandas as pd
import pytest
from forecast_cheap_peers import RidgeResiduals
from forecast_data import rolling_set
from forecast_joint import (
    COPULA,
    INDEPENDENT,
    OURS,
    ar1_paths,
    copula_correlation,
    independent_paths,
    joint_bars,
    reading,
    run_set,
)


def autoregression(rho: float, n: int, horizon: int, seed: int = 0) -> np.ndarray:
    """Return stationary paths of unit variance, shape (n, horizon)."""
    noise = np.random.default_rng(seed).normal(size=(n, horizon))
    for step in range(1, horizon):
        noise[:, step] = rho * noise[:, step - 1] + np.sqrt(1 - rho**2) * noise[:, step]
    return noise


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.6, 0.95])
def test_the_copula_finds_the_correlation_whatever_the_marginals(rho: float) -> None:
    residuals = np.exp(autoregression(rho, 4000, 12))
    residuals[::7, 3] = np.nan
    assert copula_correlation(residuals) == pytest.approx(rho, abs=0.03)


def test_shuffled_paths_have_the_same_marginals_and_the_wanted_correlation() -> None:
    draws = np.exp(autoregression(0.8, 6000, 5))[None]
    generator = np.random.default_rng(1)
    independent, copula = independent_paths(draws, generator), ar1_paths(draws, 0.5, generator)
    for paths in (independent, copula):
        np.testing.assert_array_equal(np.sort(paths, axis=1), np.sort(draws, axis=1))
    assert abs(np.corrcoef(np.log(independent[0]).T)[0, 1]) < 0.04
    found = np.corrcoef(np.log(copula[0]).T)
    assert found[0, 1] == pytest.approx(0.5, abs=0.04)
    assert found[0, 2] == pytest.approx(0.25, abs=0.05)


def test_joint_paths_win_where_errors_persist() -> None:
    days = pd.date_range("2020-01-01", periods=500, freq="D")
    series = autoregression(0.9, 8, 500)
    parts = [pd.DataFrame({"unique_id": row, "ds": days, "y": series[row]}) for row in range(8)]
    rolling = rolling_set("persistent", pd.concat(parts), season_length=7, horizon=7, n_windows=20)
    rows = pd.DataFrame(run_set(rolling, RidgeResiduals, lambda model: model.residuals_))
    by_model = rows.set_index("model")
    assert by_model.loc[OURS, "mean"] < by_model.loc[INDEPENDENT, "mean"]
    assert by_model.loc[OURS, "variogram"] < by_model.loc[INDEPENDENT, "variogram"]
    assert rows["rho"].iloc[0] > 0.5
    assert "rho of the copula: persistent" in reading(rows)


def planted(ours: float) -> pd.DataFrame:
    """Rows of two sets on which the copula scores 0.9 and independent steps 1."""
    scores = {OURS: ours, INDEPENDENT: 1.0, COPULA: 0.9}
    return pd.DataFrame(
        [
            {"dataset": name, "model": model, "energy": value, "variogram": value, "mean": value, "rho": 0.5}
            for name in ("first", "second")
            for model, value in scores.items()
        ]
    )


@pytest.mark.parametrize(
    ("ours", "reached"), [(0.8, [True] * 4), (0.95, [True, False] * 2), (1.1, [False] * 4)]
)
def test_bars_compare_with_both(ours: float, reached: list[bool]) -> None:
    assert [bar.reached for bar in joint_bars(planted(ours), reduced=False)] == reached
    assert [bar.reached for bar in joint_bars(planted(ours), reduced=True)] == [None] * 4


def test_the_report_is_written_from_rows_that_are_there(tmp_path: Path) -> None:
    planted(0.8).replace({"first": "walmart_sales", "second": "m4_daily"}).to_csv(tmp_path / "rows.csv")
    (tmp_path / "rows.json").write_text(json.dumps({"draws": forecast_joint.N_DRAWS}))
    given = ["--resume", "--check", "--out", str(tmp_path), "--datasets", "walmart_sales", "m4_daily"]
    assert forecast_joint.main(given) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "ours -20.0 % against independent steps" in report
    assert (tmp_path / "forecast_joint.png").stat().st_size > 10_000
