"""The benchmark of drift: its law, its distance, and a miniature run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from music_drift import Size, drift_bars, frechet, law, main

TINY = Size(block=4, window=2, width=16, depth=1, steps=3, further=2, recordings=4, minutes=2, streams=4,
            minute=64)  # fmt: skip


def test_the_law_is_stationary() -> None:
    frames = law(4000, 40, torch.Generator().manual_seed(0))
    # 2 * .64 * E[amplitude^2] / 2 with E[exp(a - 1/4)] = exp(1/4), and the observation noise.
    expected = 0.64 * torch.tensor(0.25).exp() + 0.03**2
    spread = frames.square().mean((0, 2))
    torch.testing.assert_close(spread[[0, 20, 39]], expected.expand(3), atol=0.04, rtol=0.0)


def test_the_distance_of_gaussian_laws() -> None:
    mean, covariance = torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0])).double()
    assert frechet((mean, covariance), (mean, covariance)) == pytest.approx(0.0, abs=1e-9)
    other = (mean + 2.0, 4.0 * covariance)
    assert frechet((mean, covariance), other) == pytest.approx(12.0 + 1.0 + 4.0 + 9.0)


def test_a_miniature_run_writes_its_tables(tmp_path: Path) -> None:
    assert main(["--check", "--out", str(tmp_path)], TINY) == 0
    rows = pd.read_csv(tmp_path / "law.csv")
    assert rows.groupby("network")["minute"].max().drop("the law itself").eq(2).all()
    assert rows["network"].nunique() == 5
    assert bool((rows["distance"] >= 0.0).all())
    assert "not checked" in (tmp_path / "report.md").read_text()


def test_a_network_that_drifts_more_misses_its_bar() -> None:
    rows = pd.DataFrame(
        [{"network": name, "minute": minute, "distance": distance * minute}
         for name, distance in (("plain", 1.0), ("self-forced, energy", 2.0)) for minute in (1, 2)]
    )  # fmt: skip
    assert [bar.reached for bar in drift_bars(rows, reduced=False)] == [False]
