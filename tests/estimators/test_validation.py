from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciffusion.estimators.chunking import chunk_slices, map_chunks
from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import (
    check_boolean,
    check_choice,
    check_integer,
    check_number,
    check_quantile_levels,
    check_sample_weight,
)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 50), st.integers(1, 300))
def test_chunks_cover_all_items_within_the_budget(n_items: int, size: int, budget: int) -> None:
    slices = chunk_slices(n_items, size, budget)
    assert [i for s in slices for i in range(n_items)[s]] == list(range(n_items))
    lengths = [s.stop - s.start for s in slices]
    if lengths:
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) == 1 or max(lengths) * size <= budget
        # One chunk less would not do.
        assert len(slices) == 1 or -(-n_items // (len(slices) - 1)) * size > budget


def test_impossible_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="budget_bytes > 0"):
        chunk_slices(3, 1, 0)


@pytest.mark.parametrize("n_jobs", [None, 1])
def test_chunks_are_mapped_in_order(n_jobs: int | None) -> None:
    data = np.arange(23)
    parts = map_chunks(lambda chunk: data[chunk] ** 2, 23, 8, budget_bytes=40, n_jobs=n_jobs)
    assert len(parts) == 5
    np.testing.assert_array_equal(np.concatenate(parts), data**2)
    assert map_chunks(lambda chunk: 1, 0, 8) == []


@pytest.mark.parametrize(
    ("value", "limits", "error", "message"),
    [
        (True, {}, TypeError, "integer"),
        (2.0, {}, TypeError, r"2\.0.*float"),
        ("3", {}, TypeError, "str"),
        (0, {"low": 1}, ValueError, ">= 1, got 0"),
        (9, {"low": 1, "high": 8}, ValueError, ">= 1 and <= 8"),
    ],
)
def test_wrong_integers(value: Any, limits: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"n_draws must.*{message}"):
        check_integer("n_draws", value, **limits)


def test_right_integers() -> None:
    assert check_integer("n", np.int32(4), low=4, high=4) == 4
    assert type(check_integer("n", np.int32(4))) is int


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0.0, {"low": 0, "open_low": True}),
        (1.0, {"high": 1, "open_high": True}),
        (-0.1, {"low": 0}),
        (1.1, {"high": 1}),
        (np.nan, {}),
        (np.inf, {"low": 0}),
    ],
)
def test_wrong_numbers(value: float, limits: Any) -> None:
    with pytest.raises(ValueError, match="level must be a finite number"):
        check_number("level", value, **limits)


def test_right_numbers() -> None:
    assert check_number("level", 0, low=0, high=1) == 0.0
    assert check_number("level", np.float32(0.5), low=0, open_low=True) == 0.5
    with pytest.raises(TypeError, match="level"):
        check_number("level", "0.5")
    with pytest.raises(TypeError, match="level"):
        check_number("level", True)


def test_choices_and_booleans() -> None:
    assert check_choice("recipe", "paper", ("default", "paper")) == "paper"
    with pytest.raises(ValueError, match="recipe must be one of 'default', 'paper', got None"):
        check_choice("recipe", None, ("default", "paper"))
    assert check_boolean("return_array", np.bool_(True)) is True
    with pytest.raises(TypeError, match="return_array"):
        check_boolean("return_array", 1)


@pytest.mark.parametrize("levels", [[], [[0.5]], [0.0], [1.0], [0.5, 50], [np.nan], "half"])
def test_wrong_quantile_levels(levels: Any) -> None:
    with pytest.raises(ValueError, match="quantiles must"):
        check_quantile_levels("quantiles", levels)


def test_right_quantile_levels() -> None:
    np.testing.assert_array_equal(check_quantile_levels("quantiles", 0.5), [0.5])
    np.testing.assert_array_equal(check_quantile_levels("quantiles", (0.9, 0.1)), [0.9, 0.1])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2], r"shape \(3,\)"),
        ([[1], [2], [3]], r"\(3, 1\)"),
        ([1, np.nan, -1], r"2 are not, first at rows \[1, 2\]"),
        ([0, 0, 0], "zero everywhere"),
        (["a", "b", "c"], "numbers"),
    ],
)
def test_wrong_sample_weights(weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"sample_weight must.*{message}"):
        check_sample_weight(weight, 3)


def test_right_sample_weights() -> None:
    np.testing.assert_array_equal(check_sample_weight(None, 2), [1, 1])
    np.testing.assert_array_equal(check_sample_weight(3, 2), [3, 3])
    np.testing.assert_array_equal(check_sample_weight([0, 2], 2), [0, 2])


def test_optional_imports_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(optional_import("json.decoder", "none"), ModuleType)
    with pytest.raises(ImportError, match=r"pip install 'sciffusion\[plots\]'"):
        optional_import("no_such_package.pyplot", "plots")


def test_a_broken_optional_package_is_not_called_missing(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "broken_package_for_test.py").write_text("import another_missing_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"installed but does not import.*another_missing_package"):
        optional_import("broken_package_for_test", "plots")
    sys.modules.pop("broken_package_for_test", None)
