"""The benchmark of token samplers in miniature: its rows, its bars and its exit code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from discrete_exact import chain_rows, exact_bars, exact_rows, main
from discrete_lineup import CHAIN_ROWS, EXACT_ROWS, IMPERFECT_ROWS


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of a small run of the quick samplers."""
    quick = [entry for entry in EXACT_ROWS if entry.process == "uniform" and "trapezoid" not in entry.name]
    return pd.DataFrame(exact_rows((4, 8), quick))


def test_rows_stay_within_their_budget_and_order_as_they_should(rows: pd.DataFrame) -> None:
    assert bool((rows["nfe"] <= rows["budget"]).all())
    at = rows[rows["budget"] == 8].set_index("sampler")["tv"]
    assert at["ancestral"] == pytest.approx(0.0437, abs=1e-4)
    assert at["maximal coupling"] < at["ancestral"] < at["Euler"] < at["tau-leaping"]
    assert at["ancestral"] < at["plug-in of the denoiser (wrong)"]


def test_every_row_has_a_grid_at_sixteen_evaluations_or_says_when() -> None:
    for entry in (*EXACT_ROWS, *IMPERFECT_ROWS, *CHAIN_ROWS):
        grid = entry.grid(16)
        if grid is None:
            assert entry.least > 16
        else:
            assert entry.solver.total_nfe(len(grid) - 1) <= 16


def test_drawn_rows_tell_right_from_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import discrete_exact

    monkeypatch.setattr(discrete_exact, "CHAIN_ROWS", CHAIN_ROWS[:2])
    drawn = pd.DataFrame(chain_rows((8,), 200)).set_index("sampler")
    assert abs(drawn.loc["exact draws", "excess"]) < 5.0 * drawn.loc["exact draws", "error"]
    assert drawn.loc["plug-in of the denoiser (wrong)", "excess"] > 20.0
    assert drawn.loc["exact draws", "pair_tv"] < drawn.loc["ancestral", "pair_tv"] < 0.15


def _planted(trapezoid: float, gibbs: float, plug_in: float) -> pd.DataFrame:
    """Rows with chosen errors at 128 evaluations, those of first order falling as they should."""
    lines = []
    for budget in (4, 16, 128):
        for entry in EXACT_ROWS:
            value = 0.36 / budget
            if "prediction trapezoid" in entry.name:
                value /= trapezoid
            elif entry.plug_in:
                value = 0.3 * (budget / 4) ** plug_in
            elif entry.name == "ancestral + Gibbs, 1 site":
                value *= gibbs
            lines.append({"sampler": entry.name, "budget": budget, "nfe": budget, "tv": value})
    return pd.DataFrame(lines)


def test_bars_pass_what_is_claimed_and_catch_each_miss() -> None:
    assert all(bar.reached for bar in exact_bars(_planted(4.0, 0.5, 0.02)))
    for planted, part in (
        (_planted(2.0, 0.5, 0.02), "prediction trapezoid"),
        (_planted(4.0, 1.5, 0.02), "one-site Gibbs"),
        (_planted(4.0, 0.5, -0.3), "plug-in"),
    ):
        missed = [bar.name for bar in exact_bars(planted) if bar.reached is False]
        assert missed
        assert all(part in name for name in missed)


def test_a_reduced_run_says_so_and_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import discrete_exact

    quick = [entry for entry in EXACT_ROWS if entry.process == "uniform" and "trapezoid" not in entry.name]
    monkeypatch.setattr(discrete_exact, "EXACT_ROWS", quick)
    monkeypatch.setattr(discrete_exact, "IMPERFECT_ROWS", IMPERFECT_ROWS[:3])
    monkeypatch.setattr(discrete_exact, "CHAIN_ROWS", CHAIN_ROWS[:3])
    assert main(["--nfe", "4", "--draws", "20", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "not checked: prediction trapezoid at 16 evaluations" in report
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.md", "exact.csv", "exact.png", "imperfect.csv", "chain.csv"}
