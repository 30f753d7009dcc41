"""The cost benchmark: grown cohorts, the bars, and that every planned size is measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import survival_cost
from survival_cost import FOREST, Plan, cost_bars, grow, run_costs
from survival_data import SurvivalData
from survival_models import OUR_DEFAULT
from survival_peers import CoxRidge


@pytest.fixture(scope="module")
def cohort() -> SurvivalData:
    """Make a hundred rows with a number, a gap and a category."""
    generator = np.random.default_rng(0)
    X = pd.DataFrame(
        {"x": generator.normal(size=100), "kind": pd.Categorical(generator.choice(["a", "b"], 100))}
    )
    X.loc[::10, "x"] = np.nan
    return SurvivalData("base", X, generator.exponential(size=100) + 0.1, generator.uniform(size=100) < 0.5)


def test_grown_cohorts_look_like_the_base_without_copies(cohort: SurvivalData) -> None:
    grown = grow(cohort, 2000, extra_columns=3)
    assert grown.X.shape == (2000, 5)
    assert grown.X["kind"].dtype == cohort.X["kind"].dtype
    assert len(np.unique(grown.time)) == 2000
    assert grown.X["x"].isna().mean() == pytest.approx(0.1, abs=0.03)
    assert grown.event.mean() == pytest.approx(cohort.event.mean(), abs=0.05)
    assert np.median(grown.time) == pytest.approx(np.median(cohort.time), rel=0.15)
    pd.testing.assert_frame_equal(grow(cohort, 50).X, grow(cohort, 50).X)


def planted(**changes: float) -> pd.DataFrame:
    """Rows that reach every bar exactly, with changes by the name of a bar's number."""
    values = {"ours": 30.0, "forest": 10.0, "predict": 3.0, "memory": 1e9 / 2**20} | changes
    return pd.DataFrame(
        [
            {"part": "training rows", "model": OUR_DEFAULT, "rows": 3000, "fit_cpu": values["ours"]},
            {"part": "training rows", "model": FOREST, "rows": 3000, "fit_cpu": values["forest"]},
            {"part": "training rows", "model": OUR_DEFAULT, "rows": 250, "fit_cpu": 99.0},
            {"part": "draws", "draws": 256, "patients": 1000, "predict_cpu": values["predict"]},
            {"part": "draws", "draws": 64, "patients": 1000, "predict_cpu": 99.0},
            {"part": "patients", "patients": 100_000, "predict_mib": values["memory"]},
        ]
    )


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, [True, True, True, True]),
        ({"ours": 30.1, "forest": 11.0}, [False, True, True, True]),
        ({"forest": 9.9}, [True, False, True, True]),
        ({"predict": 3.1}, [True, True, False, True]),
        ({"memory": 954.0}, [True, True, True, False]),
    ],
)
def test_each_bar_looks_at_its_own_number(changes: dict[str, float], reached: list[bool]) -> None:
    assert [bar.reached for bar in cost_bars(planted(**changes))] == reached


def test_every_planned_size_is_measured_and_sizes_left_out_are_not_checked(cohort: SurvivalData) -> None:
    pytest.importorskip("sksurv", reason="the forest comes from scikit-survival")
    plan = Plan(rows=(60, 120), extra_columns=(0, 2), draws=(64, 256), patients=(1000,), base_rows=80)
    rows = run_costs(cohort, plan, lambda draws: CoxRidge())
    assert rows.groupby("part").size().to_dict() == {
        "training rows": 4,
        "covariates": 4,
        "draws": 2,
        "patients": 1,
    }
    assert rows.query("part == 'covariates'")["columns"].tolist() == [2, 2, 4, 4]
    assert (rows["predict_cpu"] > 0).all()
    assert [bar.reached for bar in cost_bars(rows)] == [None, None, True, None]


def test_the_full_plan_holds_every_size_that_a_bar_needs() -> None:
    full = survival_cost.FULL
    assert survival_cost.FIT_ROWS in full.rows
    assert survival_cost.DRAWS in full.draws
    assert survival_cost.MANY_PATIENTS in full.patients
