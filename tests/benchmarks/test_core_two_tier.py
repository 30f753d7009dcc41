"""The benchmark of two-tier gradients and of what to predict: exact values, planted faults, a small run."""

from __future__ import annotations

from pathlib import Path

import core_two_tier
import low_rank
import pandas as pd
import pytest
import torch
from core_two_tier import estimates, exact_gradient, low_rank_bars, multiplier_table, two_tier_bars
from low_rank import energy_distance, low_rank_table, make_embedding


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return multiplier_table((1, 8), 4000)


def test_estimates_agree_with_quadrature(table: pd.DataFrame) -> None:
    exact = exact_gradient(40)
    assert exact == pytest.approx(exact_gradient(60), rel=1e-6)
    for kind in core_two_tier.KINDS_OF_TIMES:
        found = estimates(8, kind, 20_000, seed=1)
        assert abs(float(found.mean()) - exact) < 4.0 * float(found.std()) / 20_000**0.5


# Reference values, measured independently of this library with 20,000 repetitions; these have 4,000.
@pytest.mark.parametrize(
    ("count", "kind", "multiplier"),
    [(1, "independent", 1.0), (1, "importance", 2.3), (8, "independent", 3.3), (8, "stratified", 3.6),
     (8, "importance", 5.4), (8, "both", 5.3)],
)  # fmt: skip
def test_multipliers_are_those_of_the_reference(
    table: pd.DataFrame, count: int, kind: str, multiplier: float
) -> None:
    row = table[(table["K"] == count) & (table["times"] == kind)].iloc[0]
    assert row["ecm"] == pytest.approx(multiplier, rel=0.15)


def test_bars_see_a_biased_mean_and_a_small_multiplier(table: pd.DataFrame) -> None:
    exact = exact_gradient(40)
    assert [bar.reached for bar in two_tier_bars(table, exact, reduced=False)] == [True, True]
    assert [bar.reached for bar in two_tier_bars(table, exact + 0.01, reduced=True)] == [False, None]
    assert two_tier_bars(table.assign(ecm=table["ecm"] / 2.0), exact, reduced=False)[1].reached is False


def test_bar_on_low_rank_data_compares_with_the_better_of_the_others() -> None:
    rows = pd.DataFrame(
        {
            "D": [8] * 3 + [2] * 3,
            "predicts": ["x0", "eps", "v"] * 2,
            "outside": [0.2, 3.0, 0.3, 9.0, 0.0, 0.0],
        }
    )
    (bar,) = low_rank_bars(rows, reduced=False)
    assert bar.reached is False
    assert "0.6667" in bar.detail
    assert low_rank_bars(rows, reduced=True)[0].reached is None


def test_embedding_and_distance() -> None:
    embedding = make_embedding(40)
    torch.testing.assert_close(embedding @ embedding.mT, torch.eye(2), rtol=0.0, atol=1e-5)
    first, second = torch.randn(2, 1000, 2, generator=torch.Generator().manual_seed(0))
    assert abs(energy_distance(first, second)) < 0.02
    # For distant points the energy distance is twice the shift, less the spread.
    assert energy_distance(first, second + 100.0) == pytest.approx(200.0 * 2.0**0.5, rel=0.05)


def test_predicting_the_data_stays_nearer_to_their_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_rank, "POINTS", 200)
    monkeypatch.setattr(low_rank, "NFE", 15)
    rows = low_rank_table(tmp_path / "rows.csv", widths=(48,), steps=100).set_index("predicts")
    assert rows["outside"]["x0"] < 0.3 * min(rows["outside"]["eps"], rows["outside"]["v"])


def test_small_run_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame(
        {"D": [2] * 3, "predicts": ["x0", "eps", "v"], "energy": [0.1] * 3, "outside": [0.1, 1.0, 1.0]}
    )
    monkeypatch.setattr(core_two_tier, "low_rank_table", lambda *args, **kwargs: rows)
    monkeypatch.setattr(core_two_tier, "COUNTS", (1, 8))
    assert core_two_tier.main(["--quick", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert report.count("not checked") == 2
    assert {"multipliers.csv", "core_two_tier.png"} <= {path.name for path in tmp_path.iterdir()}
