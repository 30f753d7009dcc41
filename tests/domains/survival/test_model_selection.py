"""Folds hold equal shares of events, whole groups, and plug into scikit-learn's tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sksurv.datasets import load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sciffusion.domains.survival.model_selection import SurvivalStratifiedKFold
from sciffusion.domains.survival.targets import SurvivalTarget, make_survival_target

FloatArray = NDArray[np.float64]


def cohort(n: int = 203, share: float = 0.2) -> tuple[FloatArray, NDArray[np.void]]:
    generator = np.random.default_rng(0)
    # Sorted by the flag, so that plain folds would hold events only or none.
    event = np.arange(n) < share * n
    return generator.normal(size=(n, 3)), make_survival_target(generator.exponential(size=n), event)


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_fold_has_the_same_number_of_events_up_to_one(shuffle: bool) -> None:
    X, y = cohort()
    splitter = SurvivalStratifiedKFold(5, shuffle=shuffle, random_state=0 if shuffle else None)
    tests = []
    for train, test in splitter.split(X, y):
        assert y["event"][test].sum() in (8, 9)
        assert len(np.intersect1d(train, test)) == 0
        assert len(train) + len(test) == len(X)
        tests.append(test)
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(len(X)))
    assert splitter.get_n_splits() == 5


def test_all_forms_of_the_target_give_the_same_folds() -> None:
    X, y = cohort()
    event, time = y["event"], y["time"]
    forms: list[Any] = [
        event, event.astype(int), event.tolist(), pd.Series(event), SurvivalTarget(time, event),
        pd.DataFrame({"t": time, "dead": event}), pd.DataFrame({"dead": event.astype(int), "t": time}),
    ]  # fmt: skip
    expected = [test for _, test in StratifiedKFold(4).split(X, event)]
    for form in [y, *forms]:
        for (_, test), wanted in zip(SurvivalStratifiedKFold(4).split(X, form), expected, strict=True):
            np.testing.assert_array_equal(test, wanted)


def test_shuffle_is_reproducible() -> None:
    X, y = cohort()
    first, again, other = (
        [test.tolist() for _, test in SurvivalStratifiedKFold(3, shuffle=True, random_state=seed).split(X, y)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_groups_stay_together_and_events_stay_balanced() -> None:
    generator = np.random.default_rng(1)
    patient = np.repeat(np.arange(100), 2)
    event = np.repeat(np.arange(100) < 30, 2) & (generator.random(200) < 0.9)
    y = make_survival_target(generator.exponential(size=200), event)
    for train, test in SurvivalStratifiedKFold(5).split(np.zeros((200, 1)), y, patient):
        assert not set(patient[train]) & set(patient[test])
        assert event[test].mean() == pytest.approx(event.mean(), abs=0.03)


def test_works_in_cross_val_score_and_grid_search() -> None:
    frame, y = load_whas500()
    X = frame[["age", "bmi", "hr"]].to_numpy(float) / [10, 5, 20]
    splitter = SurvivalStratifiedKFold(4, shuffle=True, random_state=0)
    scores = cross_val_score(CoxPHSurvivalAnalysis(), X, y, cv=splitter)
    assert (scores > 0.6).all()
    grouped = cross_val_score(CoxPHSurvivalAnalysis(), X, y, cv=splitter, groups=np.arange(500) // 2)
    assert np.isfinite(grouped).all()
    with config_context(enable_metadata_routing=True):
        routed = cross_val_score(
            CoxPHSurvivalAnalysis(), X, y, cv=splitter, params={"groups": np.arange(500) // 2}
        )
    np.testing.assert_array_equal(routed, grouped)
    search = GridSearchCV(CoxPHSurvivalAnalysis(), {"alpha": [0.1, 1.0]}, cv=splitter).fit(X, y)
    assert len([key for key in search.cv_results_ if key.startswith("split")]) == 4
    rates = [y["fstat"][test].mean() for _, test in splitter.split(X, y)]
    assert np.ptp(rates) < 0.01


def test_repr_and_clone_keep_the_parameters() -> None:
    splitter = SurvivalStratifiedKFold(3, shuffle=True, random_state=4)
    assert "n_splits=3" in repr(splitter)
    assert clone(splitter, safe=False).random_state == 4


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "y is needed"), (np.array([0.5, 1.0, 2.0, 3.0]), "event flags"), (np.ones((4, 2)), "unnamed")],
)
def test_refuses_targets_without_flags(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(SurvivalStratifiedKFold(2).split(np.zeros((4, 1)), y))
