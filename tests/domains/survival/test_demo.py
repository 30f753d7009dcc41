"""The demonstration, in its reduced form, on the real data."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sciffusion.domains.survival.demo import NETWORK_OFF, OURS, main

pytest.importorskip("matplotlib")
pytest.importorskip("lifelines")


def test_the_demonstration_prints_a_table_and_writes_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    path = main(["--quick", "--out", str(tmp_path / "new" / "report"), "--picture", str(tmp_path / "p.png")])
    assert torch.get_num_threads() == threads
    shown = capsys.readouterr()
    assert path == tmp_path / "new" / "report" / "index.html"
    assert str(path.resolve()) in shown.out
    rows = {line[:28].strip(): line[28:].split() for line in shown.out.splitlines()}
    # The model tells patients apart (chance is .5) and beats its own untrained self on the Brier score.
    assert float(rows[OURS][0]) > 0.6
    assert float(rows[OURS][2]) < float(rows[NETWORK_OFF][2])
    assert float(rows["Cox regression"][0]) > 0.6
    assert "Self-check on 686 rows" in shown.out
    assert "fold 2 of 2" in shown.err
    assert "reduced run" in path.read_text(encoding="utf-8")
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_without_scikit_survival_the_forest_is_named_as_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "sksurv"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sksurv", None)
    path = main(["--quick", "--out", str(tmp_path)])
    remedy = "run pip install 'sciffusion[benchmarks]'"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not run" in line]
    assert line.startswith("random survival forest")
    assert line.endswith(remedy)
    assert "not run: this needs sksurv" in path.read_text(encoding="utf-8")
