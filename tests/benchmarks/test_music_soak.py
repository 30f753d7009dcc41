"""The soak's summary and bars on rows whose answers are known, and a short run where there is a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from music_soak import Size, main, memory_slope, soak_bars, summary
from music_soak_pages import chromium_path, descendants, resident_megabytes

REFUSAL = "3 others are playing, as many as this server takes. Try again later."


def rows(part: str, listener: str, minutes: float, **changes: Any) -> pd.DataFrame:
    """Return the rows of a listener of whom all bars are met."""
    seconds = np.arange(0, 60 * minutes, 2.0)
    common = {
        "part": part, "listener": listener, "seconds": seconds, "played": np.floor(seconds),
        "proven": np.maximum(np.floor(seconds) - 4, 0), "underruns": 0, "gap": False, "fill": 1.0,
        "step_p50": 0.2, "step_p95": 0.25, "step_p99": 0.3, "block_seconds": 0.96, "nfe": 8, "nfe_falls": 0,
        "server MiB": 400.0, "browser MiB": 300.0, "load": 1.0,
    }  # fmt: skip
    return pd.DataFrame(common | changes)


def judged(one: pd.DataFrame, full: bool = True, refusal: str = REFUSAL, **three: Any) -> dict[str, Any]:
    everything = pd.concat([one, *(rows("three", name, 1.0, **three) for name in ("a", "b", "c"))])
    return {bar.name: bar.reached for bar in soak_bars(everything, summary(everything), refusal, full)}


def test_a_run_without_fault_reaches_every_bar() -> None:
    assert set(judged(rows("one", "a", 20.0)).values()) == {True}


def test_every_fault_misses_its_bar() -> None:
    def missed(**changes: Any) -> set[str]:
        return {
            name for name, reached in judged(rows("one", "a", 20.0, **changes)).items() if reached is False
        }

    seconds = np.arange(0, 1200, 2.0)
    assert missed(underruns=1) == {"no dropout with one listener"}
    assert missed(gap=seconds == 30) == {"no gap with one listener"}
    assert missed(proven=60) == {"what was proven reaches the end"}
    assert missed(step_p99=1.0) == {"p99 of a block's time below its length"}
    assert missed(played=np.floor(0.9 * seconds)) == {"played as time went by"}
    assert missed(**{"server MiB": 400 + seconds / 60}) == {"flat memory of the server"}
    stuttering = judged(rows("one", "a", 20.0), underruns=2, refusal="")
    assert [name for name, reached in stuttering.items() if reached is False] == [
        "no dropout with three listeners", "one listener too many is told so",
    ]  # fmt: skip


def test_a_reduced_run_does_not_judge_what_needs_time() -> None:
    undecided = [
        name for name, reached in judged(rows("one", "a", 1.0), full=False).items() if reached is None
    ]
    assert undecided == ["20 minutes", "flat memory of the server", "flat memory of the browser"]


def test_memory_that_settles_is_flat_and_memory_that_grows_is_not() -> None:
    seconds = np.arange(0, 1200, 1.0)
    settling = pd.DataFrame({"seconds": seconds, "MiB": 500 + np.minimum(seconds, 200)})
    growing = pd.DataFrame({"seconds": seconds, "MiB": 500 + 2 * seconds / 60})
    assert memory_slope(settling, "MiB") == pytest.approx(0.0, abs=1e-9)
    assert memory_slope(growing, "MiB") == pytest.approx(2.0)


def test_memory_of_processes_is_found() -> None:
    import os

    assert resident_megabytes([os.getpid()]) > 10
    assert np.isnan(resident_megabytes([2**31 - 1]))
    assert os.getpid() in descendants(os.getppid())


@pytest.mark.slow
@pytest.mark.skipif(chromium_path() is None, reason="there is no Chromium on this machine")
def test_a_miniature_run_writes_everything(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    assert main(["--out", str(tmp_path)], Size(one=0.1, three=0.1)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "music_soak.png", "soak.csv", "summary.csv",
    }  # fmt: skip
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "reached: no gap with one listener" in report
