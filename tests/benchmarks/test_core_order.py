"""The order benchmark in miniature: its rows, its bars and its exit code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from core_order import DETERMINISTIC, SAME, STOCHASTIC, deterministic_rows, main, order_bars, weak_rows
from order_peers import PEER_DETERMINISTIC, peer_is_there
from order_report import order_table, peer_table, reading


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of a small run."""
    there = peer_is_there()
    return pd.DataFrame([*deterministic_rows((16, 32), there), *weak_rows((8, 16), there)])


def test_every_solver_is_measured_on_every_problem(rows: pd.DataFrame) -> None:
    ours = rows[rows["library"] == "sciffusion"]
    assert set(ours["solver"]) == set(DETERMINISTIC) | set(STOCHASTIC)
    counts = ours.groupby("solver")["problem"].nunique()
    assert set(counts) == {2}
    assert bool((rows["error"] > 0.0).all())
    heun = ours[ours["solver"] == "Heun, time"]
    # The final step leaves noise behind, so that every step of Heun's takes two evaluations.
    assert bool((heun["nfe"] == 2 * heun["steps"]).all())


def test_errors_and_orders_already_show(rows: pd.DataFrame) -> None:
    table = order_table(rows[rows["problem"].isin(["vp", "flow"])])
    assert float(table.loc["Heun, time", "vp order"]) == pytest.approx(2.0, abs=0.3)
    assert float(table.loc["Euler, time", "vp order"]) == pytest.approx(1.0, abs=0.3)


def test_the_same_method_has_the_same_error_in_both_libraries(rows: pd.DataFrame) -> None:
    pytest.importorskip("azula", reason="the comparison needs azula")
    bars = {bar.name: bar for bar in order_bars(rows, reduced=True)}
    for ours, theirs in SAME.items():
        assert bars[f"{ours} has the error of {theirs}"].reached is True
    assert set(PEER_DETERMINISTIC) <= set(rows["solver"])


def _planted(orders: dict[str, float]) -> pd.DataFrame:
    """Rows of two problems whose errors fall with the given orders."""
    lines = []
    names = {**{name: ("vp", "flow") for name in DETERMINISTIC},
             **{name: ("noise .01", "noise 1") for name in STOCHASTIC}}  # fmt: skip
    for name, problems in names.items():
        claimed = DETERMINISTIC[name].order if name in DETERMINISTIC else STOCHASTIC[name](None).order  # type: ignore[arg-type]
        for problem in problems:
            lines += [
                {"solver": name, "library": "sciffusion", "claimed": claimed, "problem": problem,
                 "steps": steps, "nfe": steps, "error": float(steps) ** -orders.get(name, claimed)}
                for steps in (256, 512)
            ]  # fmt: skip
    return pd.DataFrame(lines)


def test_bars_pass_claimed_orders_and_catch_lower_ones() -> None:
    assert all(bar.reached is not False for bar in order_bars(_planted({}), reduced=False))
    wrong = {"Heun, time": 1.0, "DPM-Solver++ 3": 2.0, "ER-SDE 2, default": 1.5, "Euler, time": 0.0}
    missed = [bar.name for bar in order_bars(_planted(wrong), reduced=False) if bar.reached is False]
    assert [name for name in wrong if any(name in bar for bar in missed)] == list(wrong)
    assert len(missed) == len(wrong)


def test_a_reduced_run_says_so_and_ends_well(tmp_path: Path) -> None:
    assert main(["--steps", "4", "8", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "not checked: order of Heun, time" in report
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "rows.csv", "deterministic.csv", "deterministic.png", "stochastic.csv", "stochastic.png",
    }  # fmt: skip


def test_without_the_peer_the_report_says_what_is_missing(rows: pd.DataFrame) -> None:
    own = rows[rows["library"] == "sciffusion"]
    assert "azula was not installed" in reading(own, with_peer=False)
    assert "rows are missing: azula DDIM" in peer_table(with_peer=False)
    bars = [bar for bar in order_bars(own, reduced=True) if "azula" in bar.name]
    assert len(bars) == len(SAME)
    assert all(bar.reached is None for bar in bars)
