"""The comparison of detectors: splits, costs and the bar, and a miniature of the run."""

from __future__ import annotations

from pathlib import Path

import core_anomaly
import numpy as np
import pandas as pd
import pytest
from core_anomaly import CONTAMINATION, DETECTORS, KNN, NEIGHBOURS, OURS, PROTOCOLS, anomaly_bars, make_split

from sciffusion.datasets import load_wine_anomalies


def test_no_row_trains_and_tests_and_no_anomaly_trains_unless_mixed_in() -> None:
    data = load_wine_anomalies()
    normal = int((~data.anomaly).sum())
    clean = make_split("wine", PROTOCOLS[0], 0)
    assert len(clean.train) == normal // 2
    assert clean.anomaly.sum() == data.anomaly.sum()
    assert len(clean.train) + len(clean.test) == len(data.X)
    np.testing.assert_allclose(clean.train.mean(axis=0), 0.0, atol=1e-9)
    mixed = make_split("wine", PROTOCOLS[1], 0)
    added = len(mixed.train) - normal // 2
    assert added == round(normal // 2 * CONTAMINATION / (1 - CONTAMINATION))
    assert mixed.anomaly.sum() == data.anomaly.sum() - added
    assert not np.array_equal(make_split("wine", PROTOCOLS[0], 1).train, clean.train)


def test_larger_tables_are_capped() -> None:
    split = make_split("wine", PROTOCOLS[0], 0, most_rows=20)
    assert len(split.train) == 20
    assert len(split.test) == 40


def planted(ours: float) -> pd.DataFrame:
    """Rows of two tables; ours has the area told on the second."""
    areas = {("a", OURS): 0.9, ("a", KNN): 0.8, ("b", OURS): ours, ("b", KNN): 0.7}
    return pd.DataFrame(
        [
            {
                "protocol": PROTOCOLS[0], "table": table, "split": 0, "detector": name, "roc_auc": area,
                "fit_seconds": 1.0, "score_seconds": 1.0,
            }
            for (table, name), area in areas.items()
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "reached"), [(0.7, True), (0.6, True), (0.59, False)])
def test_the_bar_compares_means_over_the_tables(ours: float, reached: bool) -> None:
    (bar,) = anomaly_bars(planted(ours), reduced=False)
    assert bar.reached is reached
    assert anomaly_bars(planted(ours), reduced=True)[0].reached is None


def test_a_miniature_run_writes_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = core_anomaly._ours(width=16, depth=2, max_steps=60, n_draws=2)
    monkeypatch.setitem(DETECTORS, OURS, small)
    chosen = [OURS, NEIGHBOURS, KNN]
    arguments = ["--quick", "--check", "--tables", "wine", "--detectors", *chosen, "--out", str(tmp_path)]
    assert core_anomaly.main(arguments) == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert list(rows["detector"]) == chosen
    assert (rows["roc_auc"] > 0.8).all()
    assert (rows[["fit_seconds", "score_seconds"]] >= 0.0).all().all()
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked" in report
    assert (tmp_path / "core_anomaly.png").stat().st_size > 10_000
