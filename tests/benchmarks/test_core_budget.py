"""The budget benchmark in miniature, and bars that planted numbers miss."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from core_budget import (
    BASELINES,
    BUDGETED,
    EVEN,
    PATH,
    POLICIES,
    budget_bars,
    case_rows,
    make_targets,
    overall,
    train_network,
)

from sciffusion.exact import ExactDenoiser


def test_one_case_in_small() -> None:
    target = make_targets()["two wide modes, 1-D"]
    rows = pd.DataFrame(case_rows("small", ExactDenoiser(target, PATH), 1, (8, 24), 12))
    assert set(rows["way"]) == {*POLICIES, *BASELINES}
    assert bool((rows["nfe"] <= rows["budget"]).all())
    assert bool((rows["error"] > 0.0).all())
    # Three times the calls lower every way's error on both grids.
    wide = rows.pivot_table(index=["grid", "way"], columns="budget", values="error")
    assert bool((wide[24] < wide[8]).all())
    assert budget_bars(rows)[0].reached


def test_training_brings_the_network_towards_the_exact_denoiser() -> None:
    target = make_targets()["two narrow modes, 2-D"]
    exact = ExactDenoiser(target, PATH)
    x = exact.draw_marginal(500, 0.3, torch.Generator().manual_seed(2))
    gaps = []
    for steps in (0, 150):
        gap = train_network(target, steps).predict(x, 0.3).value - exact.predict(x, 0.3).value
        gaps.append(float(gap.square().mean()))
    assert gaps[1] < 0.3 * gaps[0]


def _planted(error: float, nfe: int = 6) -> pd.DataFrame:
    rows = [
        {"case": case, "grid": grid, "budget": 6, "nfe": nfe, "way": way, "error": value * scale}
        for case, scale in (("a", 1.0), ("b", 10.0))
        for grid in ("time", "log snr")
        for way, value in ((BUDGETED, error), (EVEN, 0.5))
    ]
    return pd.DataFrame(rows)


def test_bars_are_missed_by_overspending_and_by_larger_errors() -> None:
    assert overall(_planted(0.25))[BUDGETED] == pytest.approx(0.5)
    assert [bar.reached for bar in budget_bars(_planted(0.25))] == [True, True]
    assert [bar.reached for bar in budget_bars(_planted(0.6))] == [True, False]
    assert [bar.reached for bar in budget_bars(_planted(0.25, nfe=7))] == [False, True]
