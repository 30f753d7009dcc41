"""The study of updates and streams: its tables and bars, in miniature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecast_data import rolling_set
from forecast_streaming import coverage_table, default_model, run_changes, run_set, streaming_bars, summarise

VARIANTS = ["frozen", "update", "update + steps", "refit", "rolling", "fresh"]


def test_every_variant_is_scored_at_every_later_origin() -> None:
    generator = np.random.default_rng(0)
    stamps = pd.date_range("2024-01-01", periods=92, freq="D")
    y = np.sin(np.arange(92) * 2 * np.pi / 7) + 0.2 * generator.standard_normal(92)
    rolling = rolling_set("waves", pd.DataFrame({"unique_id": "a", "ds": stamps, "y": y}), 7, 4, 3)
    rows = run_set(rolling, lambda: default_model(4, 7, network_off=True), 3, n_steps=2)
    assert list(rows["variant"].unique()) == VARIANTS
    assert len(rows) == 2 * len(VARIANTS)
    summary = summarise(rows)
    assert summary.loc["refit", "sCRPS / refit"] == 1.0
    # Every variant knows the same rows, so none is far from the refit; one that missed rows would be.
    assert summary["sCRPS / refit"].between(0.5, 2.0).all()


def test_coverage_is_split_at_the_change() -> None:
    rows = run_changes(n_steps=12, n_series=3)
    table = coverage_table(rows)
    assert table.index[0] == "none, fixed"
    part = rows[(rows["change"] == "level") & (rows["levels"] == "fixed")]
    last = part.loc[part["step"] > 5, "covered"].mean()  # half of the last step, 11, is 5
    assert table.loc["level, fixed", "covered after"] == pytest.approx(last)


def _coverage(adaptive: float) -> pd.DataFrame:
    names = [f"{change}, {levels}" for change in ("variance", "level") for levels in ("fixed", "adaptive")]
    return pd.DataFrame({"covered after": [0.6, adaptive] * 2}, index=names)


def test_bars_are_reached_and_missed_by_the_numbers() -> None:
    summary = pd.DataFrame(
        {"sCRPS / refit": [1.01, 1.0, 1.0], "CPU / refit": [0.05, 0.1, 0.1]},
        index=["update", "rolling", "fresh"],
    )
    assert all(bar.reached for bar in streaming_bars(summary, _coverage(0.79)))
    summary.loc["update", "sCRPS / refit"] = 1.05
    missed = [bar.name for bar in streaming_bars(summary, _coverage(0.5)) if not bar.reached]
    assert missed[0] == "update loses little against a refit"
    assert len(missed) == 5
    assert {bar.reached for bar in streaming_bars(None, _coverage(0.79))} == {None}
