"""Fit and score one model on one fold, with its cost, and run a line-up over sets and folds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from measuring import limit_threads, measure
from survival_data import SurvivalData
from survival_peers import SurvivalModel
from survival_protocol import FOLDS, SCORES, Fold, folds, score_predictions

__all__ = ["ROW_KEY", "Factory", "Task", "run_fold", "run_tasks", "tasks_of", "warm_up"]

Factory = Callable[[], SurvivalModel]
Task = tuple[str, Factory, Fold]
ROW_KEY = ("dataset", "fold", "model")
WARM_UP_ROWS = 80
_warmed: set[str] = set()


def warm_up(name: str, make: Factory) -> None:
    """Fit a model once on a made-up cohort, so that imports are in nobody's seconds and memory.

    Errors are left to the timed run, which records them.
    """
    if name in _warmed:
        return
    _warmed.add(name)
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(size=(WARM_UP_ROWS, 3)), columns=["a", "b", "c"])
    event = np.arange(WARM_UP_ROWS) % 3 > 0
    data = SurvivalData("warm-up", X, generator.exponential(size=WARM_UP_ROWS) + 0.1, event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make().fit(data).survival(X, np.linspace(0.2, 1.0, 5))
        except Exception as error:
            print(f"warm-up of {name}: {type(error).__name__}: {error}", flush=True)


def _survival_at_own_time(model: SurvivalModel, test: SurvivalData) -> np.ndarray:
    times, position = np.unique(test.time, return_inverse=True)
    return model.survival(test.X, times)[np.arange(len(position)), position]


def _fit_and_score(make: Factory, fold: Fold) -> dict[str, float]:
    model, fit = measure(lambda: make().fit(fold.train))
    curves, predict = measure(lambda: model.survival(fold.test.X, fold.grid))
    scores = score_predictions(fold, model.risk(fold.test.X), curves, _survival_at_own_time(model, fold.test))
    return {
        **scores,
        "fit_cpu": fit.cpu_seconds,
        "predict_cpu": predict.cpu_seconds,
        "fit_mib": fit.peak_megabytes,
        "predict_mib": predict.peak_megabytes,
    }


def run_fold(name: str, make: Factory, fold: Fold, warm: bool = True) -> dict[str, Any]:
    """Give the table row of one model on one fold; an error becomes a row with NaN and the error's words.

    `predict_cpu` is the time for the curves of the test rows on the grid. With `warm`, the model is first
    fitted once on a made-up cohort, untimed.
    """
    limit_threads()
    if warm:
        warm_up(name, make)
    row: dict[str, Any] = {
        "dataset": fold.test.name,
        "fold": fold.index,
        "model": name,
        "rows": len(fold.train.time) + len(fold.test.time),
        "test_events": int(fold.test.event.sum()),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {**row, **_fit_and_score(make, fold), "error": ""}
    except Exception as error:
        words = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
        return {**row, **dict.fromkeys(SCORES, float("nan")), "error": words}


def tasks_of(
    data: SurvivalData, models: Mapping[str, Factory], n_folds: int = FOLDS, n_splits: int = FOLDS
) -> Iterator[Task]:
    """Yield (name, factory, fold) for the first `n_folds` of the folds of one set."""
    for fold in islice(folds(data, n_splits), n_folds):
        for name, make in models.items():
            yield name, make, fold


def run_tasks(tasks: Sequence[Task], jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Yield rows as they are ready, in processes of their own where `jobs` > 1."""
    if jobs == 1:
        yield from (run_fold(*task) for task in tasks)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(delayed(run_fold)(*task) for task in tasks)
