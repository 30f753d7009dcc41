"""The benchmark of coloured noise: its recursion against reference values, and a small run."""

from __future__ import annotations

from pathlib import Path

import core_noise
import pytest
from core_noise import HEUN, noise_bars, produced_ratio, spectrum


# Measured independently of this library, with 250 points.
@pytest.mark.parametrize(
    ("slope", "rule", "divergence"),
    [
        (1.0, "ODE", 0.0074),
        (1.0, "white", 0.0010),
        (1.0, "published", 13.5),
        (1.0, "matched", 0.0014),
        (2.0, "ODE", 0.0195),
        (2.0, "white", 0.0286),
        (2.0, "published", 44.5),
        (2.0, "matched", 0.146),
    ],
)
def test_divergences_are_those_of_the_reference(slope: float, rule: str, divergence: float) -> None:
    assert produced_ratio(rule, slope, 250).divergence == pytest.approx(divergence, rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "rule", "divergence"),
    [(-0.3, "white", 60.9), (-0.3, "matched", 18.2), (0.1, "published", 41.3), (0.3, "ODE", 222.0)],
)
def test_divergences_of_wrong_scores_are_those_of_the_reference(
    wrong: float, rule: str, divergence: float
) -> None:
    assert produced_ratio(rule, 2.0, 250, wrong=wrong).divergence == pytest.approx(divergence, rel=0.02)


def test_published_bracket_and_second_order() -> None:
    published = produced_ratio("published", 1.0, 250)
    assert (published.low, published.high) == pytest.approx((0.67, 1.89), abs=0.01)
    assert produced_ratio(HEUN, 1.0, 125).divergence < 0.1 * produced_ratio("matched", 1.0, 125).divergence
    assert float(spectrum(2.0).mean()) == pytest.approx(1.0)


def test_small_run_writes_its_files_and_leaves_large_bars_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_noise, "QUICK_STEPS", (20, 40))
    monkeypatch.setattr(core_noise, "WRONG", (-0.3,))
    monkeypatch.setattr(core_noise, "SETTINGS", ((0.5, 25.0),))
    code = core_noise.main(["--quick", "--check", "--out", str(tmp_path)])
    assert code == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert report.count("not checked") == 6
    assert {"exact.csv", "wrong.csv", "core_noise.png"} <= {path.name for path in tmp_path.iterdir()}


def test_a_bar_is_missed_where_the_drift_is_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = core_noise.produced_ratio
    monkeypatch.setattr(
        core_noise, "produced_ratio",
        lambda rule, *args, **kwargs: honest("published" if rule == "matched" else rule, *args, **kwargs),
    )  # fmt: skip
    missed = [bar.name for bar in noise_bars((250, 500)) if bar.reached is False]
    assert "matched KL falls from 250 to 500 points, p=1" in missed
