"""The cost benchmark of forecasting: that every planned size is measured, and what the bars look at."""

from __future__ import annotations

import forecast_cost
import measuring
import numpy as np
import pandas as pd
import pytest
from forecast_cheap_peers import SeasonalNaive
from forecast_cost import OURS, PEER, Plan, cost_bars, ratios, reading, run_costs, simulated
from forecast_data import DATASETS


def test_simulated_series_have_a_daily_season_and_the_wanted_size() -> None:
    histories = simulated(3, 2000, 12)
    assert len(histories.ids) == len(histories.values) == len(histories.times) == 3
    for values in histories.values:
        assert values.shape == (2000,)
        day = values[: 83 * 24].reshape(83, 24)
        day = day - day.mean(axis=1, keepdims=True)
        assert day.mean(axis=0).std() > 4 * day.std() / np.sqrt(len(day))
    np.testing.assert_array_equal(simulated(3, 2000, 12).values[1], histories.values[1])


def test_every_planned_size_is_measured_and_the_base_size_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_reset_high_water_mark", lambda: False)  # collecting garbage takes long
    plan = Plan(("made up",), (1, 10), (200, 300), (6, 24), (100, 200), base_length=200, peer_series=1)
    fits = []

    class Counting(SeasonalNaive):
        def fit(self, histories: object) -> SeasonalNaive:
            fits.append(histories)
            return super().fit(histories)  # type: ignore[arg-type]

    rows = run_costs(plan, Counting, SeasonalNaive, lambda name: simulated(2, 300, 6))
    assert rows.groupby(["part", "model"]).size().to_dict() == {
        ("real sets", OURS): 1,
        ("real sets", PEER): 1,
        ("series", OURS): 2,
        ("series", PEER): 1,
        ("length", OURS): 2,
        ("horizon", OURS): 2,
        ("paths", OURS): 2,
    }
    assert len(fits) == 1 + 1 + 4 + 1  # warm-up, real set, sizes without the base twice more, paths
    assert rows[rows["part"] == "length"]["length"].tolist() == [200, 300]
    assert [bar.reached for bar in cost_bars(rows)] == [None, True]
    assert "times the series" in reading(rows)
    assert list(ratios(rows).index) == ["made up"]


def planted(fit: float, paths: float) -> pd.DataFrame:
    """Rows with one dearest fit and one time of the paths."""
    real = [{"part": "real sets", "model": OURS, "dataset": name, "fit_cpu": 1.0} for name in DATASETS]
    real[3]["fit_cpu"] = fit
    rest = [
        {"part": "real sets", "model": PEER, "dataset": DATASETS[0], "fit_cpu": 999.0},
        {"part": "paths", "model": OURS, "paths": 100, "paths_cpu": paths},
        {"part": "paths", "model": OURS, "paths": 1000, "paths_cpu": 99.0},
    ]
    return pd.DataFrame(real + rest)


@pytest.mark.parametrize(
    ("fit", "paths", "reached"),
    [(60.0, 1.0, [True, True]), (60.1, 1.0, [False, True]), (60.0, 1.1, [True, False])],
)
def test_each_bar_looks_at_its_own_number(fit: float, paths: float, reached: list[bool]) -> None:
    assert [bar.reached for bar in cost_bars(planted(fit, paths))] == reached


def test_the_full_plan_holds_every_size_that_a_bar_needs() -> None:
    assert forecast_cost.FULL.datasets == DATASETS
    assert forecast_cost.PATHS in forecast_cost.FULL.paths
    assert (forecast_cost.SERIES, forecast_cost.STEPS, forecast_cost.PATHS) == (10, 24, 100)
