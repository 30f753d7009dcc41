"""The cost of music in miniature: its rows, its bars, its exit code; the peer's cache is exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra for music is not installed")

from music_autoregressive import AutoregressivePeer
from music_cost import main
from music_cost_report import cost_bars
from music_cost_rows import Size, block_costs
from music_cost_schemes import SCHEMES, Place, Schemes

TINY = Size(
    contexts=((25, 2.0),), evaluations=(1, 8, 50), widths=(32,), settings=("packed", "torch"),
    bar_context=2.0, width=32, depth=1, repeats=1, session_blocks=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run."""
    folder = tmp_path_factory.mktemp("music_cost")
    assert main(["--check", "--out", str(folder)], TINY) == 0
    return folder


def test_a_reduced_run_says_so_and_writes_everything(out: Path) -> None:
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "REDUCED" in report
    assert "reached: cached equals one masked evaluation of everything" in report
    assert report.count("not checked:") == 3
    assert {path.name for path in out.iterdir()} == {
        "report.md", "music_cost.png", "context.csv", "widths.csv", "settings.csv", "session.csv",
        "latency.csv",
    }  # fmt: skip


def test_costs_of_blocks_are_those_of_their_evaluations(out: Path) -> None:
    rows = pd.read_csv(out / "context.csv").set_index("evaluations")
    plain, cached = rows["plain ms"], rows["block-causal ms"]
    assert plain[50] == pytest.approx(50 * plain[1])
    assert cached[50] - cached[8] == pytest.approx(6 * (cached[8] - cached[1]))
    assert rows["autoregressive ms"].nunique() == 1
    found = float(rows["break-even evaluations"].iloc[0])
    step = (cached[8] - cached[1]) / 7
    expected = 1 + max(float(rows["autoregressive ms"].iloc[0]) - cached[1], 0.0) / step
    assert found == pytest.approx(expected)


def test_every_scheme_makes_a_block_in_as_many_parts_as_evaluations() -> None:
    schemes = Schemes(Place(25, 2.0, width=32, depth=1, channels=4))
    for name in SCHEMES:
        call, marks = schemes.call(name, 3)
        assert len(marks.parts(call)) == 3
        assert call().shape == ((3, 4) if name == "autoregressive" else (1, 24, 4))
    assert set(block_costs(schemes, SCHEMES, 1)) == set(SCHEMES)


def test_the_cache_of_the_peer_is_exact_after_its_first_frames_have_left() -> None:
    peer = AutoregressivePeer(32, 2, 2).eval().requires_grad_(False)
    codes = torch.randint(0, 1024, (12, 4), generator=torch.Generator().manual_seed(0))
    cache = peer.fill(codes[:5])
    for n in range(5, 12):
        rotation = peer.rotations(torch.tensor([n]))
        logits = peer.next(codes[n : n + 1], *rotation, cache.layers, torch.tensor([n % 5]))
    torch.testing.assert_close(logits[0], peer(codes, 5)[-1], rtol=1e-4, atol=1e-5)
    assert float((logits[0] - peer(codes, 4)[-1]).abs().max()) > 1e-3


def test_bars_catch_what_falls_short() -> None:
    size = replace(TINY, width=256, bar_context=30.0)
    row = {"frames a second": 25, "context s": 30.0, "evaluations": 8, "over plain": 11.0,
           "over autoregressive": 2.5, "encoder-decoder difference": 1e-6, "block-causal difference": 2e-6,
           "autoregressive difference": 1e-6}  # fmt: skip
    session = pd.DataFrame([{"real-time factor with controls": 0.1}])
    assert all(bar.reached for bar in cost_bars(pd.DataFrame([row]), session, size))
    bad = row | {"over plain": 9.0, "over autoregressive": 1.5, "block-causal difference": 1e-3}
    bars = cost_bars(pd.DataFrame([bad]), session + 0.5, size)
    assert [bar.reached for bar in bars] == [False] * 4
