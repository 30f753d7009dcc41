"""The benchmark of posterior samplers: its exact posteriors, its bars and a miniature of its run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from core_posterior import EXACT, METHODS, PUBLISHED, exact_row, main, posterior_bars, problems, run_sampler

from sciffusion.sampling.guidance import log_likelihood


def test_the_posteriors_are_those_of_the_readings() -> None:
    """Draws of the prior, weighted by the likelihood, have the mean of the posterior in closed form."""
    for problem in problems():
        draws = problem.prior.draw(100_000, torch.Generator().manual_seed(0))
        weights = torch.exp(log_likelihood(problem.readings, draws))
        mean = (weights[:, None] * draws).sum(0) / weights.sum()
        exact = problem.posterior.draw(100_000, torch.Generator().manual_seed(1)).mean(0)
        torch.testing.assert_close(mean, exact, rtol=0.0, atol=0.03)


def test_the_exact_moments_of_two_modes_are_the_known_ones() -> None:
    row = exact_row(problems()[0], 200_000)
    assert row["mean"] == pytest.approx(1.40, abs=0.01)
    assert row["std"] == pytest.approx(1.41, abs=0.01)
    assert row["mass 0"] == pytest.approx(0.148, abs=0.002)


def test_a_small_run_flags_the_wrong_sampler_only() -> None:
    problem = problems()[0]
    settings = {"steps": 100, "particles": 800, "atoms": 1000}
    assert run_sampler(problem, EXACT, 0, **settings)[1].passed
    assert "over-spread" in run_sampler(problem, "TMPD", 0, **settings)[1].final.verdicts


def planted(**changes: object) -> pd.DataFrame:
    """Rows in which every bar is reached, but for the changes to DPS at the first seed."""
    known = {**PUBLISHED, "DPS, zeta = 1": (1.5, 1.2, 0.1)}
    words = {"DPS": "under-spread", "TMPD": "over-spread", EXACT: ""}
    rows = [
        {
            "problem": problem, "method": method, "seed": seed, "mean": known[method][0],
            "std": known[method][1], "mass 0": known[method][2], "passed": method == EXACT,
            "final": words.get(method, "wrong mean"),
        }
        for problem in ("two modes", "six modes") for method in METHODS for seed in range(5)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    place = frame.index[(frame["method"] == "DPS") & (frame["problem"] == "two modes")][0]
    for name, value in changes.items():
        frame.loc[place, name] = value
    return frame


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"passed": True}, ["two modes: DPS is flagged at every seed"]),
        ({"mean": 2.5}, ["two modes: DPS ends as the independent program says"]),
        ({"final": "wrong mean"}, ["two modes: DPS is called under-spread at the end"]),
    ],
)
def test_each_bar_can_be_missed(changes: dict[str, object], missed: list[str]) -> None:
    bars = posterior_bars(planted(**changes), reduced=False)
    assert [bar.name for bar in bars if not bar.reached] == missed
    assert {bar.reached for bar in posterior_bars(planted(**changes), reduced=True)} == {None}


def test_a_miniature_run_writes_its_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    small = ["--seeds", "1", "--particles", "100", "--steps", "10", "--check", "--out", str(tmp_path)]
    assert main(small) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked" in report
    assert {path.name for path in tmp_path.iterdir()} >= {
        "rows.csv",
        "two_modes.csv",
        "six_modes.csv",
        "core_posterior.png",
    }
