"""The benchmark of streams against the whole history runs, and its bars can be missed."""

from __future__ import annotations

from pathlib import Path

import music_equality
import pandas as pd


def test_a_miniature_run_reaches_its_bars(tmp_path: Path) -> None:
    size = music_equality.Size(evictions=(0, 4), block=4, window=3, width=16, depth=3)
    assert music_equality.main(["--check", "--out", str(tmp_path)], size) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "MISSED" not in report
    assert (tmp_path / "music_equality.png").exists()
    rows = pd.read_csv(tmp_path / "equality.csv")
    assert set(rows["evictions"]) == {0, 4}
    assert {"jamming", "fused", "restored", "two copies", "moved"} <= set(rows["case"])


def test_bars_are_missed_by_a_stream_that_is_something_else() -> None:
    row = {"case": "filled", "variant": "block_causal", "type": "float32", "control": False}
    rows = pd.DataFrame([{**row, "largest difference": 2e-5}])
    streams = pd.DataFrame([{"identical": False}])
    missed = [bar for bar in music_equality.equality_bars(rows, streams) if not bar.reached]
    assert "block_causal: streamed equals the whole history in float32" in {bar.name for bar in missed}
    assert "streams interrupted inside a block go on bit by bit" in {bar.name for bar in missed}
