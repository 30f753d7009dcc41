"""The block benchmark in miniature: its rows, its bars and its exit code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from discrete_blocks import Size, block_bars, main

TINY = Size(
    contexts=(8, 16), width=16, depth=1, target=4, repeats=1, training_steps=3, singles=1, batch=2,
    verified=200,
)  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run."""
    folder = tmp_path_factory.mktemp("discrete_blocks")
    assert main(["--out", str(folder)], TINY) == 0
    return folder


def test_a_reduced_run_says_so_and_writes_everything(out: Path) -> None:
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "not checked: cached at least 3 x cheaper at context 384" in report
    assert {path.name for path in out.iterdir()} == {
        "report.md", "discrete_blocks.png", "equality.csv", "streaming.csv", "cost.csv", "drafts.csv",
        "target.csv",
    }  # fmt: skip


def test_equalities_already_hold(out: Path) -> None:
    equality = pd.read_csv(out / "equality.csv")
    same = equality[~equality["control"]]
    assert float(same.loc[same["type"] == "float32", "largest difference"].max()) < 1e-5
    assert float(same.loc[same["type"] == "float64", "largest difference"].max()) < 1e-10
    assert float(equality.loc[equality["control"], "largest difference"].min()) > 1e-3
    assert bool(pd.read_csv(out / "streaming.csv")["identical"].all())
    drafts = pd.read_csv(out / "drafts.csv")
    assert set(drafts["identical"]) == {1.0}
    assert bool((drafts.loc[drafts["drafted"] == 1, "evaluations"] % (3 * 16) == 0).all())


def _planted() -> dict[str, pd.DataFrame]:
    """Return tables that reach every bar."""
    equality = pd.DataFrame({
        "type": ["float32", "float64", "float32"], "control": [False, False, True],
        "largest difference": [1e-6, 1e-13, 0.1],
    })  # fmt: skip
    cost = pd.DataFrame({"context": [384, 1536], "evaluations": [8, 8], "speed-up": [4.0, 12.0]})
    drafts = pd.DataFrame({
        "steps": ["greedy", "greedy", "ancestral"], "items": 1, "drafted": 4, "identical": 1.0,
        "drafter": ["old prediction", "bigrams", "old prediction"], "fewer evaluations": 2.5,
    })  # fmt: skip
    return {"equality": equality, "streaming": pd.DataFrame({"identical": [True]}), "cost": cost,
            "drafts": drafts}  # fmt: skip


def test_bars_catch_what_falls_short() -> None:
    good = {"p of the pairs at the end": 0.5}
    assert all(bar.reached for bar in block_bars(**_planted(), target=good))
    tables = _planted()
    tables["equality"]["largest difference"] = [1e-4, 1e-9, 1e-6]
    tables["streaming"]["identical"] = [False]
    tables["cost"]["speed-up"] = [1.0, 1.0]
    tables["drafts"]["identical"], tables["drafts"]["fewer evaluations"] = 0.9, 1.1
    assert not any(bar.reached for bar in block_bars(**tables, target={"p of the pairs at the end": 1e-9}))
