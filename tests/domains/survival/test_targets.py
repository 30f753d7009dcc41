"""One target, however it is written; bad targets are refused by name, row and remedy."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from sciffusion.domains.survival.targets import (
    SurvivalTarget,
    make_survival_target,
    read_survival_data,
    survival_target,
)

TIME = np.array([3.0, 0.0, 1.5, 8.0, 1.0])
EVENT = np.array([True, False, True, False, True])


def structured(first: tuple[str, Any], second: tuple[str, Any]) -> Any:
    array = np.empty(5, dtype=[(name, values.dtype) for name, values in (first, second)])
    for name, values in (first, second):
        array[name] = values
    return array


FORMS: dict[str, tuple[Any, Any]] = {
    "arrays": (TIME, EVENT),
    "lists": (TIME.tolist(), EVENT.tolist()),
    "zero-one flags": (TIME, EVENT.astype(int)),
    "float flags": (TIME, EVENT.astype(float)),
    "series": (pd.Series(TIME, index=list("abcde")), pd.Series(EVENT, index=list("vwxyz"))),
    "nullable": (pd.Series(TIME, dtype="Float64"), pd.Series(EVENT, dtype="boolean")),
    "event first": (structured(("cens", EVENT), ("time", TIME)), None),
    "time first": (structured(("t", TIME), ("e", EVENT)), None),
    "misleading names": (structured(("time", EVENT), ("event", TIME)), None),
    "integer flag": (structured(("time", TIME), ("status", EVENT.astype(int))), None),
    "frame": (pd.DataFrame({"days": TIME, "dead": EVENT}), None),
    "frame 0/1": (pd.DataFrame({"dead": EVENT.astype(int), "days": TIME}), None),
    "frame nullable": (pd.DataFrame({"dead": EVENT, "days": TIME}).convert_dtypes(), None),
    "target": (SurvivalTarget(TIME, EVENT), None),
    "made": (make_survival_target(TIME, EVENT), None),
    "sksurv": (Surv.from_arrays(EVENT, TIME), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_target(form: str) -> None:
    target = survival_target(*FORMS[form], n_rows=5)
    np.testing.assert_array_equal(target.time, TIME)
    np.testing.assert_array_equal(target.event, EVENT)
    assert target.time.dtype == np.float64
    assert target.event.dtype == np.bool_


def test_named_columns_of_the_feature_frame() -> None:
    frame = pd.DataFrame({"age": range(5), "days": TIME, "dead": EVENT.astype(int)}, index=list("abcde"))
    features, target = read_survival_data(frame, duration_col="days", event_col="dead")
    pd.testing.assert_frame_equal(features, frame[["age"]])
    np.testing.assert_array_equal(target.time, TIME)
    np.testing.assert_array_equal(target.event, EVENT)
    same, target = read_survival_data(features, TIME, EVENT)
    assert same is features
    np.testing.assert_array_equal(target.event, EVENT)


@pytest.mark.parametrize("load", [load_gbsg2, load_veterans_lung_cancer, load_whas500])
def test_reads_the_public_sets_of_scikit_survival(load: Any) -> None:
    _, y = load()
    event_name, time_name = y.dtype.names
    target = survival_target(y)
    np.testing.assert_array_equal(target.time, y[time_name])
    np.testing.assert_array_equal(target.event, y[event_name])


def test_made_target_is_one_scikit_survival_accepts() -> None:
    y = make_survival_target(TIME, EVENT)
    assert y.dtype.names == ("event", "time")
    assert concordance_index_censored(y["event"], y["time"], -TIME)[0] == 1.0


def test_small_integer_times_beside_a_boolean_event() -> None:
    ones = np.ones(5)
    np.testing.assert_array_equal(survival_target(structured(("a", ones), ("b", EVENT))).event, EVENT)


def test_no_censoring_is_an_explicit_choice() -> None:
    with pytest.raises(ValueError, match=r"make_survival_target.*censoring=\"none\""):
        survival_target(TIME)
    assert survival_target(TIME, censoring="none").event.all()
    with pytest.raises(ValueError, match="rows 1, 3 of the target"):
        survival_target(TIME, EVENT, censoring="none")
    with pytest.warns(DataConversionWarning):
        assert len(survival_target(TIME[:, None], censoring="none")) == 5
    frame = pd.DataFrame({"age": range(5), "days": TIME})
    assert read_survival_data(frame, duration_col="days", censoring="none")[1].event.all()
    with pytest.raises(ValueError, match="no event flags"):
        read_survival_data(frame, duration_col="days")


@pytest.mark.parametrize(
    ("y", "E", "message"),
    [
        (None, None, "requires y to be passed, but the target y is None"),
        (np.column_stack([TIME, EVENT]), None, r"unnamed \(n, 2\) array"),
        (np.array([1, np.nan, 2, np.nan, 1]), EVENT, "T contains NaN in rows 1, 3;"),
        (np.array([1, np.inf, 2, 3, 1]), EVENT, "T contains infinity or a value too large.* in row 1;"),
        (np.array([1, 1, -2, 3, -1]), EVENT, "T contains negative times in rows 2, 4;"),
        (np.array(list("abcde")), EVENT, "T must be numeric"),
        (TIME + 1j, EVENT, "Complex data not supported"),
        (EVENT, TIME, "T must hold times but is boolean"),
        (TIME, np.array([0, 1, 2, 1, 0]), r"E must be boolean or 0/1.*found \[2.0\] in row 2"),
        (TIME, np.array([0, 1, np.nan, 1, 0]), r"E must be boolean or 0/1.*found \[nan\] in row 2"),
        (TIME, EVENT[:4], "T and E must be equally long, got 5 and 4 rows"),
        (structured(("a", EVENT), ("b", TIME)), EVENT, "E must not be given"),
        (structured(("a", EVENT), ("b", EVENT)), None, "exactly one field that can be the event"),
        (structured(("a", TIME), ("b", TIME)), None, "found none among"),
        (structured(("a", EVENT.astype(int)), ("b", EVENT.astype(float))), None, "make the event boolean"),
        (structured(("a", EVENT), ("b", np.full(5, -1.0))), None, "negative times in rows 0, 1, 2, 3, 4;"),
        (pd.DataFrame({"a": EVENT, "b": TIME, "c": TIME}), None, "must have two fields"),
        (pd.DataFrame({"a": [1, 2, 1, 2, 1], "b": TIME}), None, "found none among"),
    ],
)
def test_refuses_with_argument_rows_and_remedy(y: Any, E: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        survival_target(y, E)


@pytest.mark.parametrize(
    "T",
    [
        pd.date_range("2020-01-01", periods=5),
        pd.Series(pd.date_range("2020-01-01", periods=5, tz="UTC")),
        pd.to_timedelta(TIME, unit="D"),
        [date(2020, 1, day) for day in range(1, 6)],
    ],
)
def test_refuses_dates_which_would_be_read_as_nanoseconds(T: Any) -> None:
    with pytest.raises(ValueError, match=r"T must be numeric, got .*give durations as numbers"):
        survival_target(T, EVENT)


def test_many_bad_rows_are_counted() -> None:
    with pytest.raises(ValueError, match=r"rows 0, 1, 2, 3, 4, \.\.\. \(9 in all\)"):
        make_survival_target(-np.ones(9), np.ones(9))


def test_refuses_disagreeing_or_mixed_forms() -> None:
    frame = pd.DataFrame({"age": range(5), "days": TIME, "dead": EVENT})
    with pytest.raises(ValueError, match="got 5 and 4"):
        read_survival_data(frame, TIME[:4], EVENT[:4])
    with pytest.raises(ValueError, match="must not be given as well"):
        read_survival_data(frame, TIME, duration_col="days", event_col="dead")
    with pytest.raises(ValueError, match=r"missing: \['death'\]"):
        read_survival_data(frame, duration_col="days", event_col="death")
    with pytest.raises(ValueError, match="without duration_col"):
        read_survival_data(frame, event_col="dead")
    with pytest.raises(TypeError, match="DataFrame"):
        read_survival_data(frame.to_numpy(), duration_col="days", event_col="dead")
    with pytest.raises(ValueError, match="censoring must be"):
        survival_target(TIME, EVENT, censoring="maybe")  # type: ignore[arg-type]
