"""Planted knowledge of the outcome is found; clean covariates are left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sciffusion.datasets import CoxWeibullStudy, dataset_loader, find_leaks, make_cox_weibull

BENCHMARK_SETS = (
    "whas500",
    "gbsg2",
    "veterans",
    "rossi",
    "breast_cancer",
    "retinopathy",
    "pbc",
    "vlbw",
    "rotterdam",
    "flchain",
)


@pytest.fixture(scope="module")
def study() -> CoxWeibullStudy:
    return make_cox_weibull(n_rows=400, random_state=3)


def _noise(study: CoxWeibullStudy) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(len(study))


PLANTS: dict[str, Callable[[CoxWeibullStudy], object]] = {
    "time": lambda study: study.time,
    "minus_time": lambda study: -study.time,
    "log_time": lambda study: np.log(study.time),
    "noisy_time": lambda study: study.time + 0.3 * study.time.std() * _noise(study),
    "time_of_events_only": lambda study: np.where(study.event, study.time, np.nan),
    "event": lambda study: study.event.astype(float),
    "flipped_event": lambda study: np.where(np.abs(_noise(study)) > 2.0, study.event, ~study.event).astype(
        float
    ),
    "noisy_event": lambda study: study.event + 0.3 * _noise(study),
    "cause_of_death": lambda study: pd.Categorical(np.where(study.event, "heart", None), ["heart"]),
    "alive_at_closing": lambda study: pd.Categorical(np.where(study.event, "no", "yes")),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_leak_is_the_only_suspect(study: CoxWeibullStudy, plant: str) -> None:
    table = study.X.assign(planted=PLANTS[plant](study))
    report = find_leaks(table, study.time, study.event)
    assert set(report.loc[report["suspect"], "column"]) == {"planted"}
    assert report.loc[report["suspect"], "reason"].str.len().gt(0).all()


def test_clean_covariates_are_not_suspect(study: CoxWeibullStudy) -> None:
    report = find_leaks(study.X, study.time, study.event)
    assert len(report) == study.X.shape[1]
    assert not report["suspect"].any()


@pytest.mark.parametrize("name", BENCHMARK_SETS)
def test_benchmark_sets_have_no_suspect(name: str, load: Callable[[str], object]) -> None:
    data = load(name)
    report = find_leaks(data.X, data.time, data.event)
    assert set(report["column"]) == set(data.X.columns)
    assert report.loc[report["suspect"], ["column", "aspect", "reason"]].to_numpy().tolist() == []


def test_dropped_column_of_flchain_is_caught() -> None:
    source = pytest.importorskip("sksurv.datasets", reason="scikit-survival carries the set")
    table, target = source.load_flchain()
    report = find_leaks(table[["age", "chapter"]], target["futime"], target["death"], max_rows=1500)
    assert set(report.loc[report["suspect"], "column"]) == {"chapter"}


def test_concordance_agrees_with_scikit_survival() -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason="the peer to compare with")
    pytest.importorskip("lifelines", reason="lifelines carries the set")
    data = dataset_loader("rossi")()  # whole weeks: many ties
    report = find_leaks(data.X, data.time, data.event).set_index("column")
    for name in data.X.columns:
        expected = metrics.concordance_index_censored(data.event, data.time, data.X[name].to_numpy())[0]
        assert report.loc[name, "concordance"] == pytest.approx(max(expected, 1.0 - expected), abs=1e-12)


def test_thresholds_can_be_moved(study: CoxWeibullStudy) -> None:
    report = find_leaks(study.X, study.time, study.event, thresholds={"concordance": 0.5})
    assert report["suspect"].all()
    with pytest.raises(ValueError, match="concordanse"):
        find_leaks(study.X, study.time, study.event, thresholds={"concordanse": 0.5})


def test_bad_input_is_refused(study: CoxWeibullStudy) -> None:
    with pytest.raises(ValueError, match="shape"):
        find_leaks(study.X, study.time[:-1], study.event)
    with pytest.raises(ValueError, match="event has no True"):
        find_leaks(study.X, study.time, np.zeros(len(study), dtype=bool))
