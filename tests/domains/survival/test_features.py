from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.survival.features import FeatureEncoder, infinite_columns


def _encode(frame: pd.DataFrame) -> np.ndarray:
    return FeatureEncoder().fit(frame).transform(frame)


def test_numbers_are_standardised() -> None:
    values = np.random.default_rng(0).normal(50.0, 7.0, 200)
    encoded = _encode(pd.DataFrame({"a": values}))
    assert encoded.dtype == np.float32
    assert_allclose(encoded[:, 0], (values - values.mean()) / values.std(), rtol=1e-5, atol=1e-6)


def test_outliers_are_clipped_on_both_sides() -> None:
    encoder = FeatureEncoder().fit(pd.DataFrame({"a": np.arange(10.0)}))
    encoded = encoder.transform(pd.DataFrame({"a": [-1e9, 4.5, 1e9]}))
    assert_allclose(encoded[:, 0], [-6.0, 0.0, 6.0])


def test_a_missing_number_becomes_the_mean_and_is_flagged() -> None:
    encoded = _encode(pd.DataFrame({"a": [1.0, 3.0, 5.0, np.nan]}))
    assert encoded.shape == (4, 2)
    assert encoded[3, 0] == 0.0
    assert_allclose(np.diff(encoded[:, 1]), [0.0, 0.0, 1.0])


def test_a_number_first_missing_in_prediction_becomes_the_mean() -> None:
    encoder = FeatureEncoder().fit(pd.DataFrame({"a": [1.0, 3.0, 5.0]}))
    assert_array_equal(encoder.transform(pd.DataFrame({"a": [np.nan]})), [[0.0]])


def test_two_values_are_scaled_to_a_range_of_one_however_rare() -> None:
    encoded = _encode(pd.DataFrame({"a": [0.0] * 99 + [20.0]}))
    assert_allclose(encoded[[0, -1], 0], [-0.01, 0.99], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "boolean", "int8", "Int64", "float32", "Float64"])
def test_every_numeric_dtype_encodes_alike(dtype: str) -> None:
    values = [True, False, True, True] * 5
    plain = _encode(pd.DataFrame({"a": np.asarray(values, dtype=float)}))
    assert_allclose(_encode(pd.DataFrame({"a": pd.Series(values).astype(dtype)})), plain)


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_every_dtype_of_strings_encodes_alike(dtype: str) -> None:
    values = pd.Series(["x", "y", "z", None] * 6)
    plain = _encode(pd.DataFrame({"a": values.astype("category")}))
    assert plain.shape == (24, 4)
    assert_array_equal(_encode(pd.DataFrame({"a": values.astype(dtype)})), plain)


@pytest.mark.parametrize("dtype", ["boolean", "Int64", "Float64"])
def test_nullable_missing_values_are_flagged(dtype: str) -> None:
    encoded = _encode(pd.DataFrame({"a": pd.Series([1, 0, None, 1], dtype=dtype)}))
    assert encoded.shape == (4, 2)
    assert np.isfinite(encoded).all()
    assert encoded[2, 0] == 0.0


def test_three_categories_are_one_column_each_and_two_are_one_column() -> None:
    three = _encode(pd.DataFrame({"a": ["x", "y", "z"] * 6}))
    assert three.shape[1] == 3
    assert_allclose(three - three.min(axis=0), np.tile(np.eye(3), (6, 1)), atol=1e-6)
    assert _encode(pd.DataFrame({"a": ["x", "y"] * 6})).shape[1] == 1


def test_rare_unseen_and_missing_categories_are_nobody() -> None:
    frame = pd.DataFrame({"a": ["x"] * 10 + ["y"] * 10 + ["z"] * 10 + ["rare"] * 2})
    encoder = FeatureEncoder().fit(frame)
    assert encoder.n_outputs == 3
    rare, unseen, missing = encoder.transform(pd.DataFrame({"a": ["rare", "never", None]}))
    assert_array_equal(rare, unseen)
    assert_array_equal(rare, missing)
    assert (rare < 0.0).all()


def test_declared_categories_without_rows_change_nothing() -> None:
    values = ["x", "y", "z"] * 6
    wide = pd.Categorical(values, categories=["never", *"zyx"])
    assert_array_equal(_encode(pd.DataFrame({"a": wide})), _encode(pd.DataFrame({"a": values})))


@pytest.mark.parametrize("dtype", ["category", "int64", "float64", "Int64", "object"])
def test_numeric_categories_are_known_by_their_value(dtype: str) -> None:
    encoder = FeatureEncoder().fit(pd.DataFrame({"a": pd.Categorical([1, 2, 3] * 6)}))
    ahead = pd.DataFrame({"a": pd.Series([3, 1, 2]).astype(dtype)})
    assert_array_equal(encoder.transform(ahead).argmax(axis=1), [2, 0, 1])


@pytest.mark.parametrize(
    "values", [[True, False, None] * 4, [1, 2.5, None] * 4, [Decimal("1.5"), Decimal(2)] * 6]
)
def test_objects_that_are_numbers_are_numbers(values: list[object]) -> None:
    plain = pd.DataFrame({"a": np.array(values, dtype=float)})
    assert_allclose(_encode(pd.DataFrame({"a": pd.Series(values, dtype="object")})), _encode(plain))


@pytest.mark.parametrize(
    "values", [["a", "b"], pd.Categorical([1, 2]), pd.date_range("2020-01-01", periods=2)]
)
def test_a_column_of_numbers_must_stay_one(values: object) -> None:
    encoder = FeatureEncoder().fit(pd.DataFrame({"size": [1.0, 2.0, 3.0]}))
    with pytest.raises(TypeError, match="'size'"):
        encoder.transform(pd.DataFrame({"size": values}))
    assert_array_equal(encoder.transform(pd.DataFrame({"size": [None, None]})), np.zeros((2, 1)))


def test_a_few_rows_keep_their_categories() -> None:
    assert _encode(pd.DataFrame({"a": ["x", "y", "z"]})).shape == (3, 3)


def test_constant_and_empty_columns_are_left_out() -> None:
    frame = pd.DataFrame({
        "constant": 1e9, "empty": np.nan, "one": ["x"] * 8, "none": pd.Series([None] * 8, dtype="string"),
        "real": np.arange(8.0),
    })  # fmt: skip
    encoder = FeatureEncoder().fit(frame)
    assert encoder.n_outputs == 1
    assert_allclose(encoder.transform(frame)[:, 0], (np.arange(8.0) - 3.5) / np.arange(8.0).std(), rtol=1e-6)


def test_a_tiny_unit_is_no_constant() -> None:
    values = np.arange(10.0)
    assert_allclose(_encode(pd.DataFrame({"a": 1e-10 * values})), _encode(pd.DataFrame({"a": values})))


def test_a_huge_number_does_not_overflow() -> None:
    encoded = _encode(pd.DataFrame({"a": np.linspace(-1e200, 1e200, 20)}))
    assert np.isfinite(encoded).all()
    assert encoded.std() == pytest.approx(1.0)


def test_no_column_that_varies_leaves_one_column_of_zeros() -> None:
    frame = pd.DataFrame({"a": [2.0] * 6})
    encoder = FeatureEncoder().fit(frame)
    assert encoder.n_outputs == 1
    assert_array_equal(encoder.transform(frame), np.zeros((6, 1), dtype=np.float32))


@pytest.mark.parametrize(
    "values", [pd.date_range("2020-01-01", periods=6), [1, "a", 2.0, "b", 3, "c"], [1j] * 6, [b"x"] * 6]
)
def test_columns_that_are_neither_numbers_nor_categories_are_named(values: object) -> None:
    with pytest.raises(TypeError, match="'when'"):
        FeatureEncoder().fit(pd.DataFrame({"ok": range(6), "when": values}))


def test_rows_are_encoded_one_by_one() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.choice(list("xyz"), 40)})
    frame.loc[3, "a"] = np.nan
    encoder = FeatureEncoder().fit(frame)
    order = rng.permutation(40)
    assert_array_equal(encoder.transform(frame.iloc[order]), encoder.transform(frame)[order])


def test_learning_does_not_depend_on_the_order_of_rows_or_the_index() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.choice(list("xyz"), 40)})
    shuffled = frame.sample(frac=1.0, random_state=0)
    assert_allclose(FeatureEncoder().fit(shuffled).transform(frame), _encode(frame), rtol=1e-5, atol=1e-6)


def test_an_encoder_survives_json() -> None:
    frame = pd.DataFrame(
        {"a": [1.0, np.nan, 3.0] * 5, "b": ["x", None, "z"] * 5, "c": [True, False, True] * 5}
    )
    encoder = FeatureEncoder().fit(frame)
    back = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert_array_equal(back.transform(frame), encoder.transform(frame))
    assert back.n_outputs == encoder.n_outputs


def test_infinite_numbers_are_found_in_columns_of_every_type() -> None:
    values = [1.0, np.inf, 2.0]
    frame = pd.DataFrame(
        {
            "float": values,
            "object": pd.Series(values, dtype=object),
            "nullable": pd.array([1.0, float("inf"), None], dtype="Float64"),
            "text": ["inf", "-inf", "a"],
            "whole": [1, 2, 3],
            "missing": [1.0, np.nan, 2.0],
        }
    )
    assert infinite_columns(frame) == ["float", "object", "nullable"]
