"""Resumable rows, headers without paths, tables, bars and costs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bars import Bar, check_exit_code, compare
from measuring import measure
from reporting import RowFile, markdown_table, run_header, write_markdown

KEY = ("dataset", "fold", "model")


def row(fold: int, model: str = "CoxPH", **values: object) -> dict[str, object]:
    """Make one row."""
    return {"dataset": "gbsg2", "fold": fold, "model": model, "ibs": 0.1, "error": "", **values}


def test_rows_are_on_disk_as_soon_as_they_are_added_and_are_found_again_on_resume(tmp_path: Path) -> None:
    rows = RowFile(tmp_path / "rows.csv", KEY, {"splits": 5}, resume=False)
    rows.add(row(0))
    rows.add(row(1, ibs=float("nan"), error="failed, with a comma"))
    again = RowFile(tmp_path / "rows.csv", KEY, {"splits": 5}, resume=True)
    assert ("gbsg2", 0, "CoxPH") in again
    assert ("gbsg2", 2, "CoxPH") not in again
    assert ("gbsg2", 0, "RSF") not in again
    again.add(row(2))
    found = pd.read_csv(tmp_path / "rows.csv")
    assert found["fold"].tolist() == [0, 1, 2]
    assert found["error"][1] == "failed, with a comma"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.json"]


def test_without_resume_old_rows_are_dropped(tmp_path: Path) -> None:
    RowFile(tmp_path / "rows.csv", KEY, {}, resume=False).add(row(0))
    fresh = RowFile(tmp_path / "rows.csv", KEY, {}, resume=False)
    assert ("gbsg2", 0, "CoxPH") not in fresh
    fresh.add(row(1))
    assert pd.read_csv(tmp_path / "rows.csv")["fold"].tolist() == [1]


def test_rows_of_other_settings_are_not_resumed(tmp_path: Path) -> None:
    RowFile(tmp_path / "rows.csv", KEY, {"splits": 5}, resume=False).add(row(0))
    with pytest.raises(ValueError, match="splits"):
        RowFile(tmp_path / "rows.csv", KEY, {"splits": 3}, resume=True)


def test_header_says_reduced_and_holds_no_path(tmp_path: Path) -> None:
    command = [
        str(tmp_path / "survival_compare.py"),
        "--out",
        str(tmp_path),
        "--models",
        "network off",
        "--quick",
    ]
    header = run_header(True, command)
    assert header["command"] == 'python benchmarks/survival_compare.py --models "network off" --quick'
    assert header["run"].startswith("REDUCED")
    assert run_header(False, command)["run"] == "full"
    assert str(tmp_path) not in "".join(header.values())
    assert "/" not in run_header(False, ["x.py", f"--out={tmp_path}"])["command"].removeprefix(
        "python benchmarks/"
    )


def test_markdown_has_rounded_numbers_and_dashes_for_missing_ones(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [0.12345, np.nan], "b": [1, 2]}, index=pd.Index(["x", "y"], name="set"))
    assert markdown_table(table) == "| set | a | b |\n|---|---|---|\n| x | 0.123 | 1 |\n| y | - | 2 |"
    write_markdown(tmp_path / "new" / "report.md", "Title", {"run": "full"}, [("Part", "text")])
    assert (tmp_path / "new" / "report.md").read_text() == "# Title\n\n- run: full\n\n## Part\n\ntext\n"


@pytest.mark.parametrize(
    ("value", "limit", "at_most", "reached"),
    [
        (1.0, 1.0, True, True),
        (1.1, 1.0, True, False),
        (0.9, 1.0, False, False),
        (float("nan"), 1.0, True, False),
    ],
)
def test_a_limit_is_reached_on_its_side_only_and_never_by_nan(
    value: float, limit: float, at_most: bool, reached: bool
) -> None:
    assert compare("bar", value, limit, at_most=at_most).reached is reached


def test_exit_code_is_one_when_a_bar_is_missed_and_the_bar_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, unchecked, bad = Bar("speed", True, "1"), Bar("rank", None, "2"), Bar("memory", False, "3")
    assert check_exit_code([good, unchecked]) == 0
    assert check_exit_code([good, unchecked, bad]) == 1
    assert "MISSED: memory (3)" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from Linux's /proc")
def test_cost_sees_memory_that_is_freed_before_the_call_returns() -> None:
    value, cost = measure(lambda: float(np.ones(8_000_000).sum()))
    assert value == 8_000_000
    assert 55 < cost.peak_megabytes < 90
    assert measure(lambda: None)[1].peak_megabytes < 20


def test_cost_counts_processor_time_and_not_waiting() -> None:
    import time

    _, cost = measure(lambda: time.sleep(0.2))
    assert cost.wall_seconds >= 0.2
    assert cost.cpu_seconds < 0.1
