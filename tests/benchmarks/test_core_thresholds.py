"""The two-thresholds study in miniature: its measurements, its bars and its files."""

from __future__ import annotations

from pathlib import Path

import core_thresholds
import pandas as pd
import pytest
import torch
from core_thresholds import RATIOS, STRENGTHS, linear_rows, main, summarise, threshold_bars, threshold_rows
from thresholds_trained import spiked, trained_curve

from sciffusion.diagnostics import same_noise_cosine, spike_overlap


def test_spiked_data_have_their_variances() -> None:
    x = spiked(20_000, 3, 4.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.var(0), torch.tensor([5.0, 1.0, 1.0]).to(x), rtol=0.05, atol=0.0)


def test_small_linear_models_are_near_the_theory() -> None:
    rows = linear_rows(6, 40, (0.5, 8.0), (3.0,))
    table = summarise(rows, 3.0)
    assert table.loc[8.0, "overlap^2"] == pytest.approx(spike_overlap(8.0, 3.0), abs=0.05)
    assert table.loc[0.5, "overlap^2"] < 0.8
    for ratio in (0.5, 8.0):
        assert table.loc[ratio, "cosine"] == pytest.approx(same_noise_cosine(ratio), abs=0.05)
    # Recovery without the planted direction, at three draws.
    assert rows["recovery ratio"].notna().sum() == 2 * 3
    assert 0.6 < table.loc[8.0, "recovery ratio"] < 1.2


def test_overlap_at_the_threshold_falls_with_the_dimension() -> None:
    found = threshold_rows((10, 80), 300)["overlap^2"]
    assert found[80] < 0.8 * found[10]


def test_trained_networks_recover_and_agree_with_enough_data() -> None:
    table = trained_curve((1.0, 100.0), dim=6, pairs=1, steps=100, n_samples=400).groupby("n/d").mean()
    assert table.loc[100.0, "cosine"] > 0.9
    assert table.loc[100.0, "overlap^2"] > 0.9
    assert table.loc[1.0, "cosine"] < table.loc[100.0, "cosine"]


def planted(overlap: float) -> pd.DataFrame:
    """Rows as the theory has them, with another overlap at beta = 1 and n / d = 4."""
    return pd.DataFrame(
        [
            {
                "beta": beta,
                "n/d": ratio,
                "draw": 0,
                "cosine": same_noise_cosine(ratio),
                "overlap^2": overlap if (beta, ratio) == (1.0, 4.0) else spike_overlap(ratio, beta),
                "recovery ratio": 1.0,
            }
            for beta in STRENGTHS
            for ratio in RATIOS
        ]
    )


def test_bars_name_what_is_off() -> None:
    at_threshold = pd.DataFrame({"overlap^2": [0.1]}, index=pd.Index([600], name="d"))
    bars = threshold_bars(planted(spike_overlap(4.0, 1.0)), at_threshold, reduced=False)
    assert all(bar.reached for bar in bars)
    off = threshold_bars(planted(0.5), at_threshold, reduced=False)
    assert [bar.name for bar in off if not bar.reached] == ["beta=1, n/d=4: |overlap^2 - theory|"]
    high = threshold_bars(planted(0.6), at_threshold + 0.1, reduced=False)
    assert [bar.name for bar in high if not bar.reached] == ["beta=1, n/d=1, d=600: nothing is recovered"]
    assert {bar.reached for bar in threshold_bars(planted(0.5), at_threshold, reduced=True)} == {None}


def test_a_run_writes_its_tables_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_thresholds, "linear_rows", lambda *_: planted(0.6))
    networks = trained_curve((1.0, 2.0), dim=4, pairs=1, steps=2, n_samples=20)
    monkeypatch.setattr(core_thresholds, "trained_curve", lambda *_, **__: networks)
    monkeypatch.setattr(core_thresholds, "limit_threads", lambda: None)
    assert main(["--quick", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert report.count("not checked") == 7
    names = {path.name for path in tmp_path.iterdir()}
    tables = {"rows.csv", "beta_1.csv", "beta_3.csv", "threshold.csv", "trained.csv"}
    assert names == tables | {"core_thresholds.png", "report.md"}
