"""The slider's benchmark: its measures on answers whose law is known, its bars, and a miniature run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from core_slider import DIM, EXACT, main, measure_answers, slider_bars

from sciffusion.sampling import posterior_mean_slider


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_measures_of_answers_on_the_frontier(rho: float) -> None:
    y = torch.randn(8, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = y[:, None].expand(8, 4000, DIM)
    draws = EXACT.draw(many, torch.Generator().manual_seed(1))
    error, distance = measure_answers(posterior_mean_slider(EXACT.mean(many), draws, rho), y)
    assert error == pytest.approx(1.0 + rho**2, abs=0.01)
    assert distance == pytest.approx((1.0 - rho) ** 2, abs=0.01)
    # A bias counts in both.
    biased, far = measure_answers(posterior_mean_slider(EXACT.mean(many), draws, rho) + 0.5, y)
    shift = 0.25 * DIM / float(EXACT.covariance.trace())
    assert biased - error == pytest.approx(shift, abs=0.02)
    assert far - distance == pytest.approx(shift, abs=0.02)


def _planted(exact_distance: float = 0.25, trained_error: float = 1.05) -> pd.DataFrame:
    rows = []
    for heads in ("exact", "trained"):
        for way in ("slider", "mix"):
            for rho in (0.0, 0.5, 1.0):
                error, distance = 1.0 + rho**2, (1.0 - rho) ** 2
                if heads == "exact" and rho == 0.5:
                    distance = exact_distance
                if heads == "trained" and rho == 0.0:
                    error = trained_error
                row = {"heads": heads, "way": way, "rho": rho, "nfe": 1, "MSE": error, "W2 squared": distance}
                rows.append({**row, "frontier W2 squared": (1.0 - rho) ** 2})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 0), ({"exact_distance": 0.28}, 1), ({"exact_distance": 0.31}, 2), ({"trained_error": 1.2}, 1)],
)
def test_bars_are_missed_by_what_is_off_the_line(changes: dict, expected: int) -> None:
    assert sum(bar.reached is False for bar in slider_bars(_planted(**changes), reduced=False)) == expected
    assert [bar.reached for bar in slider_bars(_planted(), reduced=True)] == [True, True, None, None]


def test_a_miniature_run_writes_its_report(tmp_path: Path) -> None:
    assert main(["--updates", "5", "--observations", "2", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked" in report
    assert (tmp_path / "core_slider.png").stat().st_size > 10_000
