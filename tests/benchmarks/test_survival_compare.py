"""The comparison as a command, on one small set and cheap models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import survival_compare

pytest.importorskip("sksurv", reason="the peers come from scikit-survival")

COMMAND = ["--datasets", "veterans", "--folds", "2"]


def run(out: Path, *words: str) -> int:
    """Run the command."""
    return survival_compare.main([*COMMAND, *words, "--out", str(out)])


def test_command_writes_tables_pictures_and_a_report_that_says_reduced(tmp_path: Path) -> None:
    assert run(tmp_path, "--models", "KM", "CoxPH", "Coxnet") == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert {
        "rows.csv",
        "report.md",
        "ibs.csv",
        "survival_ranks.png",
        "survival_ibs.png",
        "cost.csv",
    } <= written
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert str(tmp_path) not in report
    assert "not checked: best mean rank on IBS" in report
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == 6
    assert rows.query("model == 'CoxPH'")["ibs"].mean() < rows.query("model == 'KM'")["ibs"].mean() - 0.02


def test_resume_runs_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "--models", "KM")
    first = pd.read_csv(tmp_path / "rows.csv")
    capsys.readouterr()
    run(tmp_path, "--models", "KM", "CoxPH", "--resume")
    printed = capsys.readouterr().out
    assert "[2/2]" in printed
    assert "KM" not in printed.replace("KM rank", "")
    both = pd.read_csv(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(both.query("model == 'KM'").reset_index(drop=True), first)
    assert len(both) == 4


def test_unknown_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        survival_compare.main(["--datasets", "nowhere", "--out", str(tmp_path)])
