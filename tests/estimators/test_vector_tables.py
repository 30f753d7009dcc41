"""Reading tables for estimators of vectors: what passes, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sciffusion import DensityDiffusion, DiffusionAnomalyDetector
from sciffusion.estimators.vectors.columns import ColumnScale, column_positions, discrete_columns

TINY: dict[str, Any] = {"width": 8, "depth": 1, "max_steps": 5, "random_state": 0}


def table(rows: int = 60) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 2)), columns=["a", "b"])


@pytest.mark.parametrize(
    ("offset", "spread"), [(1e8, 1.0), (1.7e9, 1.0), (-1e8, 1e-3), (0.0, 1e-9), (0.0, 1e200)]
)
def test_a_spread_is_seen_beside_any_offset(offset: float, spread: float) -> None:
    z = np.random.default_rng(1).normal(size=(500, 1))
    scale = ColumnScale.learn(offset + spread * z, np.ones(500))
    assert scale.varies.all()
    assert_allclose(scale.scale, spread * z.std(), rtol=1e-4)
    assert_allclose(scale.standardise(offset + spread * z), (z - z.mean()) / z.std(), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3.0, -1e-300, 1e300])
def test_a_constant_stays_one_under_any_weights(value: float) -> None:
    weights = np.random.default_rng(2).uniform(0.1, 1.0, size=10_001)
    column = np.full((10_001, 1), value)
    scale = ColumnScale.learn(column, weights)
    assert not scale.varies.any()
    assert scale.mean[0] == value
    rounded = ColumnScale.learn(column * (1.0 + 2e-16 * (np.arange(10_001) % 2))[:, None], weights)
    assert not rounded.varies.any()


def test_a_time_stamp_is_a_column_of_the_density() -> None:
    shifted = table().assign(b=lambda frame: 1.7e9 + frame["b"])
    plain, stamped = (DensityDiffusion(**TINY).fit(one) for one in (table(), shifted))
    assert stamped.constant_columns_ == []
    assert_allclose(stamped.score_samples(shifted), plain.score_samples(table()), rtol=1e-3)
    assert_allclose(
        stamped.sample(3, random_state=0)["b"] - 1.7e9, plain.sample(3, random_state=0)["b"], rtol=1e-3
    )


@pytest.mark.parametrize("kind", [DensityDiffusion, DiffusionAnomalyDetector])
def test_wrong_values_are_refused_with_their_place(kind: Any) -> None:
    holes = table()
    holes.loc[7, "b"] = np.nan
    with pytest.raises(
        ValueError, match="X must hold finite numbers; 1 are not, the first is NaN in row 7, column 'b'"
    ):
        kind(**TINY).fit(holes)
    with pytest.raises(ValueError, match=r"infinite value \(inf\) in row 7, column 1"):
        kind(**TINY).fit(holes.fillna(-np.inf).to_numpy())
    with pytest.raises(
        ValueError, match="X must hold numbers; could not convert string to float: 'x' in column 'b'"
    ):
        kind(**TINY).fit(table().assign(b=["x"] * 60))
    with pytest.raises(TypeError, match=r"columns \['b'\] of X hold category; expected numbers"):
        kind(**TINY).fit(table().assign(b=pd.Categorical(["x"] * 60)))
    with pytest.raises(ValueError, match="sample_weight must be positive for at least 2 rows, found 1"):
        kind(**TINY).fit(table(), sample_weight=np.arange(60) == 3)


def test_imputing_takes_nan_and_refuses_infinity() -> None:
    model = DensityDiffusion(**TINY).fit(table())
    holes = table(4)
    holes.iloc[1] = np.nan
    filled = model.impute(holes, random_state=0)
    assert np.isfinite(filled.to_numpy()).all()
    pd.testing.assert_frame_equal(filled.drop(index=1), holes.drop(index=1))
    with pytest.raises(ValueError, match="finite numbers or NaN; 2 are not, the first is an infinite value"):
        model.impute(holes.fillna(np.inf))


def test_an_imputed_frame_stays_one_whatever_the_model_was_fitted_on() -> None:
    model = DensityDiffusion(**TINY).fit(table().to_numpy())
    holes = table(3).set_axis(["x", "y", "z"]).set_axis([0, 1], axis=1)
    holes.loc["y", 1] = np.nan
    filled = model.impute(holes, random_state=0)
    assert list(filled.index) == ["x", "y", "z"]
    assert list(filled.columns) == [0, 1]
    assert len(model.impute(holes, 2, random_state=0)) == 2


def test_draws_of_cases_keep_the_levels_of_their_index() -> None:
    model = DensityDiffusion(**TINY).fit(table())
    cases = table(2)[["a"]]
    cases.index = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["site", "year"])
    drawn = model.sample(2, given=cases, random_state=0)
    assert drawn.index.names == ["site", "year", "draw"]
    assert list(drawn.index) == [("x", 1, 0), ("x", 1, 1), ("y", 2, 0), ("y", 2, 1)]
    assert_allclose(drawn["a"], np.repeat(cases["a"].to_numpy(), 2))


def test_columns_are_named_singly_or_in_lists() -> None:
    assert column_positions("b", ["a", "b"], 2, "given") == [1]
    assert column_positions((1, np.int64(0)), None, 2, "given") == [1, 0]
    for wrong in (3.5, True, -1, None):
        with pytest.raises(ValueError, match=r"condition_columns holds .*position from 0 to 1"):
            column_positions(wrong, None, 2, "condition_columns")


def test_columns_of_ties_are_found_in_long_tables_only() -> None:
    column = np.arange(50) // 3
    varies = np.array([True, True, False])
    values = np.stack([column, np.arange(50), column], axis=1).astype(float)
    assert list(discrete_columns(values, varies)) == [0]
    assert list(discrete_columns(values[:49], varies)) == []
