"""The few-step benchmark: its bars, its solvers and grids, and a miniature run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from core_few_step import few_step_bars, grid_errors, main, optimiser_klub, solver_errors
from few_step_models import BIASED, LEARNED, SOLVERS


def _means(learned: float) -> pd.DataFrame:
    values = {name: {1: 1.0, 2: 0.1, 4: 0.01} for name in SOLVERS}
    values |= {name: {1: learned, 2: learned, 4: learned} for name in LEARNED}
    return pd.DataFrame(values).T


def _grids(aligned: float) -> pd.DataFrame:
    rows = [("aligned", aligned), ("log-linear", 0.02)]
    return pd.DataFrame(
        [
            {"last log SNR": 2.0, "nfe": 10, "grid": name, "reverse SDE, order 1": value}
            for name, value in rows
        ]
    )


@pytest.mark.parametrize(("learned", "missed"), [(0.005, 0), (0.05, 3), (0.5, 6)])
def test_one_jump_is_compared_with_the_best_solver(learned: float, missed: int) -> None:
    bars = few_step_bars(_means(learned), _grids(0.01), {"aligned": 4.6}, reduced=False)
    assert sum(bar.reached is False for bar in bars) == missed
    assert not any(BIASED in bar.name for bar in bars)


def test_grids_and_klub_have_bars_of_their_own() -> None:
    bars = few_step_bars(_means(0.005), _grids(0.03), {"aligned": 4.7}, reduced=False)
    assert [bar.reached for bar in bars[-2:]] == [False, False]
    reduced = few_step_bars(_means(0.005), _grids(0.03), {"aligned": 4.6}, reduced=True)
    assert [bar.reached for bar in reduced[-2:]] == [True, None]


def test_solvers_improve_with_evaluations() -> None:
    table = solver_errors(400, 1, (2, 16)).pivot_table(index="method", columns="nfe", values="energy")
    assert set(table.index) == set(SOLVERS)
    assert bool((table[16] < 0.2 * table[2]).all())


def test_aligned_grids_have_the_least_klub() -> None:
    bounds = optimiser_klub(500, 80)
    assert 4.56 < bounds["aligned"] < 4.9
    assert bounds["log-linear"] == pytest.approx(11.73, abs=0.01)
    table = grid_errors(300, 100, 1)
    assert set(table["nfe"]) == {10, 19, 37}
    for _, part in table.groupby(["last log SNR", "nfe"]):
        assert part.set_index("grid")["KLUB"].idxmin() == "aligned"


def test_a_miniature_run_writes_its_report(tmp_path: Path) -> None:
    assert main(["--updates", "3", "--count", "60", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked" in report
    assert (tmp_path / "core_few_step.png").stat().st_size > 10_000
