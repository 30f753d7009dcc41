"""The benchmark of the engine in miniature: its rows from planted times, its bars and its files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from music_engine import KINDS, Size, engine_bars, main, phases, reaction_rows, soak_rows, time_rows
from music_engine_traces import RecordedStream, record_times, untrained_stream

TINY = Size(width=16, depth=1, loads=(0, 1, 2), blocks=1, seconds=120.0, seeds=1, prebuffers=(1.3, 2.0))


def _planted(shares: dict[int, float]) -> pd.DataFrame:
    """Return times of a machine on which 8 evaluations take a share of a block under each load."""
    return pd.DataFrame([
        {"load": load, "nfe": nfe, "seconds": 0.96 * share * (nfe + 1) / 9, "cpu seconds": 0.1}
        for load, share in shares.items() for nfe in (8, 4, 2)
    ])  # fmt: skip


def _times(recorded: pd.DataFrame) -> dict[tuple[int, int], np.ndarray]:
    return {key: part["seconds"].to_numpy() for key, part in recorded.groupby(["load", "nfe"])}


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return _planted({0: 0.2, 1: 0.6, 2: 1.05})


def test_loads_change_as_they_say() -> None:
    assert phases("grows and goes", TINY) == [(0.0, 0), (24.0, 1), (48.0, 2), (72.0, 1), (96.0, 0)]
    assert phases("comes in bursts", TINY) == [(0.0, 0), (50.0, 1), (60.0, 0), (110.0, 1)]
    assert phases("comes at once", TINY) == [(0.0, 0)]
    moment = 0.0
    stream = RecordedStream({(0, 8): np.array([0.1]), (1, 8): np.array([0.7])}, [(0.0, 0), (5.0, 1)],
                            lambda: moment, 0)  # fmt: skip
    assert stream.step().seconds == 0.1
    moment = 5.0
    assert stream.step().seconds == 0.7


def test_the_fall_saves_what_no_fall_loses(planted: pd.DataFrame) -> None:
    soak = soak_rows(_times(planted), TINY).set_index(["load", "fall"])
    assert set(soak.index.get_level_values("load")) == set(KINDS)
    assert soak.loc[("grows and goes", True), "underruns"] == 0
    assert soak.loc[("grows and goes", False), "underruns"] > 0
    assert soak.loc[("grows and goes", True), "mean nfe"] < 8
    assert (soak.xs(False, level="fall")["mean nfe"] == 8).all()


def test_reactions_follow_the_prebuffer(planted: pd.DataFrame) -> None:
    reaction = reaction_rows(_times(planted), TINY).set_index(["other processes", "prebuffer"])
    for row in reaction.xs(0, level="other processes").itertuples():
        assert row.underruns == 0
        assert row._2 - 0.04 <= row._3 <= row.seconds  # least expected, p50
    assert reaction.loc[(0, "1.3 blocks"), "seconds"] == pytest.approx(1.248)


def test_bars_catch_what_falls_short(planted: pd.DataFrame) -> None:
    soak = pd.DataFrame({"load": "grows and goes", "fall": [True, False], "underruns": [0, 3]})
    reaction = pd.DataFrame(
        {"prebuffer": ["measured"], "reaction p95": [1.5], "seconds": [1.6], "underruns": 0}
    )
    assert all(bar.reached for bar in engine_bars(time_rows(planted), soak, reaction))
    slow = time_rows(_planted({0: 1.5}))
    soak["underruns"] = [2, 0]
    reaction["underruns"], reaction["reaction p95"] = 1, 1.7
    assert not any(bar.reached for bar in engine_bars(slow, soak, reaction))


def test_times_of_a_stream_are_recorded_beside_other_processes(planted: pd.DataFrame) -> None:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    stream = RecordedStream(_times(planted), [(0.0, 0)], lambda: 0.0, 0)
    rows = record_times(stream, (0, 1), 2)
    assert rows["load"].tolist() == [0] * 6 + [1] * 6
    assert rows["nfe"].tolist() == [8, 4, 2] * 4
    assert np.allclose(rows["seconds"], 0.192 * (rows["nfe"] + 1) / 9)
    if before is not None:
        assert os.sched_getaffinity(0) == before


@pytest.mark.slow
def test_the_stream_that_is_recorded_makes_sound() -> None:
    stream = untrained_stream(16, 1)
    assert stream.block_samples == 24 * 960
    stream.set(nfe=2)
    block = stream.step()
    assert (block.nfe, len(block.samples)) == (2, 24 * 960)
    assert np.abs(block.samples).max() > 0


def test_a_reduced_run_says_so_and_writes_everything(tmp_path: Path, planted: pd.DataFrame) -> None:
    planted.to_csv(tmp_path / "times.csv")
    out = tmp_path / "out"
    assert main(["--check", "--recorded", str(tmp_path / "times.csv"), "--out", str(out)], TINY) == 0
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert str(tmp_path) not in report
    assert "not checked: underruns with the fall" in report
    assert {path.name for path in out.iterdir()} == {
        "report.md", "music_engine.png", "times.csv", "soak.csv", "reaction.csv", "recorded.csv"
    }  # fmt: skip
