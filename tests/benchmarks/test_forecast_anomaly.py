"""The comparison of anomaly scores on a made-up series, its scores and bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecast_anomaly import (
    FOREST,
    KNN,
    LABELLED,
    METHODS,
    PHASE,
    anomaly_bars,
    measured_rows,
    scores_of,
    window_mean,
)


def test_a_mean_over_a_window_leaves_out_what_is_missing() -> None:
    found = window_mean(np.array([np.nan, 1.0, 2.0, 6.0]), 3)
    np.testing.assert_allclose(found, [1.0, 1.5, 3.0, 4.0])


def test_every_method_finds_a_planted_fault() -> None:
    generator = np.random.default_rng(0)
    values = np.sin(np.arange(300) * np.pi / 6)[:, None] + generator.normal(0.0, 0.1, (300, 1))
    anomaly = np.zeros(100, dtype=bool)
    anomaly[40:44] = True
    values[200:][anomaly] += 3.0
    scores, seconds = scores_of(values[:200], values, 12, 12, max_steps=2, n_members=1, width=8, nfe=4)
    assert set(scores) == set(METHODS)
    assert set(seconds) == {"combined", "forecast", "denoising", "combined, off"}
    rows = pd.DataFrame(measured_rows("made up", scores, 200, anomaly, 12)).set_index(["method", "score_of"])
    assert (rows["roc_auc"] > 0.85).all()
    assert (rows.loc[("combined", "point"), "precision"]) > 0.7


def test_false_alarms_are_normal_rows_above_what_training_rows_reach() -> None:
    scores = {"one": np.concatenate([np.linspace(0.0, 1.0, 100), [0.5, 2.0, 3.0, 0.1]])}
    anomaly = np.array([False, False, True, False])
    point = measured_rows("made up", scores, 100, anomaly, 1)[0]
    assert point["false_alarms"] == pytest.approx(1 / 3)
    assert point["roc_auc"] == 1.0


def planted(ours: float) -> pd.DataFrame:
    """Return rows in which the combined score has the area told and all others .8."""
    return pd.DataFrame(
        [
            {"series": name, "method": method, "score_of": smoothing, "fit_cpu": 1.0,
             "roc_auc": ours if method == "combined" else 0.8}
            for name in LABELLED for method in METHODS for smoothing in ("point", "window")
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "reached"), [(0.9, True), (0.7, False)])
def test_bars_compare_with_the_best_reference(ours: float, reached: bool) -> None:
    bars = anomaly_bars(planted(ours), reduced=False)
    assert [bar.reached for bar in bars] == [reached, reached, True]
    assert {KNN, FOREST, PHASE} < set(METHODS)


def test_a_reduced_run_decides_only_the_cost() -> None:
    assert [bar.reached for bar in anomaly_bars(planted(0.7), reduced=True)] == [None, None, True]
