"""Arguments that would fail late, or be misread without an error, are refused by name before training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("n_jobs", 0, ValueError), ("n_jobs", "two", TypeError), ("trainer_options", 3, TypeError),
     ("checkpoint", 3, TypeError)],
)  # fmt: skip
def test_parameters_of_the_wrong_kind_are_named(
    make_model: Any, study: Any, name: str, value: object, error: type[Exception]
) -> None:
    model = make_model(**{name: value})
    with pytest.raises(error, match=f"{name} must be"):
        model.fit(study.X, study.y)
    assert not hasattr(model, "unique_times_")


def test_infinity_among_python_objects_is_not_a_missing_value(make_model: Any, study: Any) -> None:
    marker = pd.Series(np.where(np.arange(len(study.T)) == 9, np.inf, 1.5), dtype=object)
    with pytest.raises(ValueError, match=r"infinity in the columns \['marker'\]"):
        make_model().fit(study.X.assign(marker=marker), study.y)


def test_bounds_cannot_be_calibrated_where_all_times_are_zero(make_model: Any, study: Any) -> None:
    model = make_model(calibrate="conformal", trainer_options={"callbacks": 7})  # training itself would fail
    with pytest.raises(ValueError, match="calibrate='conformal' cannot be used"):
        model.fit(study.X, np.zeros(len(study.T)), study.E)


def test_weights_whose_sum_overflows_count_as_equal_ones(make_model: Any, study: Any) -> None:
    plain = make_model().fit(study.X, study.y)
    heavy = make_model().fit(study.X, study.y, sample_weight=np.full(len(study.T), 1e308))
    assert_allclose(heavy.predict(study.X), plain.predict(study.X), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_the_score_does_not_depend_on_the_unit_of_time(make_model: Any, study: Any, unit: float) -> None:
    scores = [
        make_model().fit(study.X, T, study.E).score(study.X, T, study.E) for T in (study.T, unit * study.T)
    ]
    assert scores[0] > 0.6
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)  # rounding may make or break a tie


def test_times_to_ask_for_are_named(fitted: Any, study: Any) -> None:
    with pytest.raises(ValueError, match="times must hold numbers, got 'late'"):
        fitted.predict_survival_function(study.X, times="late")
    with pytest.raises(ValueError, match="given must hold numbers, got 'now'"):
        fitted.sample_event_times(study.X, given="now")


def test_negative_weights_of_a_score_are_refused(fitted: Any, study: Any) -> None:
    with pytest.raises(ValueError, match="sample_weight must be finite and >= 0"):
        fitted.score(study.X, study.y, sample_weight=-np.ones(len(study.T)))
