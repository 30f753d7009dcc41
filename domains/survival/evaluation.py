r"""Cross-validated comparison of survival models: each row is predicted by models that have not seen it.

Folds keep the share of events equal (`SurvivalStratifiedKFold`) and, with groups, keep groups together. In
each fold every model is fitted on the other folds and scored on the held-out rows:

- Harrell's C, and Uno's C up to the end of the time grid;
- integrated Brier score (IBS) and mean cumulative/dynamic AUC (with risk 1 - S(t) at each t) on 100 times
  from the 10th to the 90th percentile of the held-out event times;
- D-calibration, on the held-out rows of all folds together.

A model that does not draw (Cox, a forest) takes part with its curves; for those that do, one observation is
drawn for every held-out row, so that generated and observed cohorts can be compared.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning

from .calibration import DCalibration, OneCalibration, d_calibration, one_calibration
from .metrics import (
    cumulative_dynamic_auc,
    evaluation_times,
    harrell_concordance,
    integrated_brier_score,
    uno_concordance,
)
from .model_selection import SurvivalStratifiedKFold
from .peers import SurvivalModel
from .self_check import SelfCheck, check_draws, survival_at_own_time
from .targets import SurvivalTarget, survival_target

__all__ = ["SCORES", "Evaluation", "HeldOut", "evaluate"]

FloatArray = NDArray[np.float64]
Factory = Callable[[], SurvivalModel]
Progress = Callable[[int, int, str], None]

#: Scores of a fold: column of `Evaluation.scores`, and its name for people.
SCORES: Mapping[str, str] = {"harrell": "Harrell C", "uno": "Uno C", "ibs": "IBS", "auc": "mean AUC"}

_GROUPS = 10  # of the calibration at one time
_FEWEST_PER_GROUP = 20


@dataclass
class HeldOut:
    """Predictions of one model for every row, each by the fit that has not seen the row.

    Attributes
    ----------
    own_survival : ndarray of shape (n,)
        S(t_i | x_i) at the observed time of the row.
    reference_survival : ndarray of shape (n,)
        S at `Evaluation.reference_time`.
    times, events : ndarray of shape (n,), or None
        One generated observation a row, for models that draw.
    last_fit : SurvivalModel
        The fit of the last fold, for `Evaluation.last_test`.
    """

    own_survival: FloatArray
    reference_survival: FloatArray
    times: FloatArray | None = None
    events: NDArray[np.bool_] | None = None
    last_fit: Any = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Result of `evaluate`.

    Attributes
    ----------
    X : DataFrame
        Covariates.
    target : SurvivalTarget
        Observed target.
    n_folds : int
        Number of folds.
    scores : DataFrame
        One row a model and fold: ``model``, ``fold``, the columns of `SCORES`, ``fit_seconds`` and
        ``predict_seconds`` (wall time).
    held_out : dict of str to HeldOut
        Predictions by model.
    missing : dict of str to str
        Models that could not be run, and why.
    reference_time : float
        Median time of the observed events, where calibration at one time is judged.
    last_test : ndarray of int
        Held-out rows of the last fold.
    """

    X: pd.DataFrame
    target: SurvivalTarget
    n_folds: int
    scores: pd.DataFrame
    held_out: Mapping[str, HeldOut]
    missing: Mapping[str, str]
    reference_time: float
    last_test: NDArray[np.intp]

    @property
    def calibration_groups(self) -> int:
        """Number of groups for `one_calibration`: up to ten, of at least twenty rows."""
        return int(np.clip(len(self.target) // _FEWEST_PER_GROUP, 2, _GROUPS))

    def summary(self) -> pd.DataFrame:
        """Average over the folds.

        Returns
        -------
        DataFrame
            Indexed by model, in the order of evaluation: the mean of each score, its standard error over the
            folds (``<score>_se``), ``d_calibration_p`` over all held-out rows, and the mean seconds of a fit
            and of its predictions.
        """
        grouped = self.scores.groupby("model", sort=False)
        table = grouped[[*SCORES, "fit_seconds", "predict_seconds"]].mean()
        # A score that is undefined in a fold is undefined, rather than a mean over the other folds.
        undefined = self.scores[[*SCORES]].isna().groupby(self.scores["model"], sort=False).any()
        table[[*SCORES]] = table[[*SCORES]].mask(undefined)
        for name in SCORES:
            table[f"{name}_se"] = grouped[name].std(ddof=1) / np.sqrt(self.n_folds)
        table["d_calibration_p"] = [self.d_calibration(str(name)).p_value for name in table.index]
        return table

    def d_calibration(self, model: str) -> DCalibration:
        """Return the D-calibration of a model on all held-out rows."""
        return d_calibration(self.held_out[model].own_survival, self.target.event)

    def one_calibration(self, model: str) -> OneCalibration:
        """Return the calibration of a model at the reference time, on all held-out rows."""
        survival = self.held_out[model].reference_survival
        return one_calibration(survival, self.target, self.reference_time, self.calibration_groups)

    def example_rows(self, model: str, levels: Sequence[float] = (0.1, 0.5, 0.9)) -> NDArray[np.intp]:
        """Return held-out rows of the last fold at these levels of the model's predicted risk."""
        risk = self.held_out[model].last_fit.predict(self.X.iloc[self.last_test])
        order = np.argsort(risk, kind="stable")
        return self.last_test[order[[round(level * (len(order) - 1)) for level in levels]]]

    def self_check(self, model: str) -> SelfCheck:
        """Return the self-check of a model that draws, on all held-out rows."""
        held_out = self.held_out[model]
        if held_out.times is None or held_out.events is None:
            raise ValueError(f"model must be one that draws observations, got {model!r}")
        generated = SurvivalTarget(held_out.times, held_out.events)
        return check_draws(self.target, generated, held_out.own_survival)


@dataclass
class _Fold:
    number: int
    X: pd.DataFrame
    y: NDArray[np.void]
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    reference_time: float
    grid: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.grid = evaluation_times(self.y[self.train], self.y[self.test])


def evaluate(
    models: Mapping[str, Factory],
    X: pd.DataFrame,
    y: Any,
    E: ArrayLike | None = None,
    *,
    folds: int = 5,
    groups: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score models on held-out rows.

    Parameters
    ----------
    models : mapping of str to callable
        By name, functions without arguments that build an unfitted model. One whose fit raises ImportError is
        left out and named in `Evaluation.missing`.
    X : DataFrame of shape (n, n_features)
        Covariates.
    y, E
        The target, in any form that `SDPMSurvival.fit` takes.
    folds : int, default 5
        Number of folds, at least 2.
    groups : array-like of shape (n,), optional
        Equal for rows that must not be split between training and test.
    seed : int, default 0
        Of the folds and of generated observations.
    progress : callable, optional
        Called with the number of fits done, the number of all, and what comes next.

    Returns
    -------
    Evaluation
        Scores and held-out predictions.

    Raises
    ------
    ValueError
        If the target cannot be used, or there are fewer events than folds.
    """
    target = survival_target(y, E, n_rows=len(X))
    if folds < 2 or folds > int(target.event.sum()):
        raise ValueError(
            f"folds must be between 2 and the number of events {int(target.event.sum())}, got {folds}"
        )
    X = X.reset_index(drop=True)
    structured, reference = target.structured(), float(np.median(target.time[target.event]))
    splitter = SurvivalStratifiedKFold(folds, shuffle=True, random_state=seed)
    held_out = {name: HeldOut(np.full(len(X), np.nan), np.full(len(X), np.nan)) for name in models}
    missing: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    report = progress or _silent
    test = np.arange(0)
    for number, (train, test) in enumerate(splitter.split(X, structured, groups)):
        fold = _Fold(number, X, structured, train, test, reference)
        for place, (name, build) in enumerate(models.items()):
            report(number * len(models) + place, folds * len(models), f"fold {number + 1} of {folds}: {name}")
            if name in missing:
                continue
            try:
                rows.append({"model": name, "fold": number, **_run(fold, build(), held_out[name], seed)})
            except ImportError as error:
                missing[name] = str(error)
                del held_out[name]
    report(folds * len(models), folds * len(models), "done")
    return Evaluation(X, target, folds, pd.DataFrame(rows), held_out, missing, reference, test)


def _silent(done: int, total: int, what: str) -> None:
    """Report nothing."""


def _run(fold: _Fold, model: Any, held_out: HeldOut, seed: int) -> dict[str, float]:
    """Fit and score one model on one fold, and keep its held-out predictions."""
    train, test = fold.y[fold.train], fold.y[fold.test]
    X_test = fold.X.iloc[fold.test]
    with warnings.catch_warnings():
        # Scores that a fold cannot give are NaN in the table; times outside are a finding of the self-check.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", message=".*of the generated times lie beyond", category=UserWarning)
        started = time.perf_counter()
        model.fit(fold.X.iloc[fold.train], train)
        fitted = time.perf_counter()
        risk = model.predict(X_test)
        table = model.predict_survival_function(X_test, return_array=True, times=fold.grid)
        predicted = time.perf_counter()
        scores = {
            "harrell": harrell_concordance(test, risk),
            "uno": uno_concordance(train, test, risk, tau=float(fold.grid[-1])),
            "ibs": integrated_brier_score(train, test, table, fold.grid),
            "auc": cumulative_dynamic_auc(train, test, 1.0 - table, fold.grid)[1],
        }
        _keep(fold, model, held_out, seed)
    return {**scores, "fit_seconds": fitted - started, "predict_seconds": predicted - fitted}


def _keep(fold: _Fold, model: Any, held_out: HeldOut, seed: int) -> None:
    X_test, n_rows = fold.X.iloc[fold.test], len(fold.X)

    def survival(rows: slice, at: FloatArray) -> FloatArray:
        table: FloatArray = model.predict_survival_function(X_test.iloc[rows], return_array=True, times=at)
        return np.clip(table, 0.0, 1.0)

    held_out.own_survival[fold.test] = survival_at_own_time(survival, fold.y["time"][fold.test])
    held_out.reference_survival[fold.test] = survival(slice(None), np.array([fold.reference_time]))[:, 0]
    held_out.last_fit = model
    if hasattr(model, "sample"):
        if held_out.times is None or held_out.events is None:
            held_out.times, held_out.events = np.empty(n_rows), np.empty(n_rows, dtype=np.bool_)
        times, events = model.sample(X_test, 1, random_state=seed + fold.number)
        held_out.times[fold.test], held_out.events[fold.test] = times[:, 0], events[:, 0]
