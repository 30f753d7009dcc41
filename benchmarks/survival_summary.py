"""Tables and bars of the comparison, from its rows (one row a set, fold and model).

A model's score on a set is its mean over folds. A model that failed on any fold of a set has no score there
and ranks behind all that have one (equal models share the mean of their places). Ranks are taken within a
set, then averaged over sets. The Kaplan-Meier reference is shown but not ranked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from bars import Bar, compare
from survival_data import SMALL_SET_ROWS
from survival_models import NETWORK_OFF, OUR_DEFAULT, PEERS, REFERENCE

__all__ = [
    "calibrated_share",
    "comparison_bars",
    "cost_table",
    "failures",
    "mean_ranks",
    "per_set",
    "ranked_models",
    "small_sets",
    "summary_table",
    "wins_table",
]

HIGHER_IS_BETTER = {"harrell": True, "uno": True, "ibs": False, "auc": True}
UNO_MARGIN = 0.005
CALIBRATED_FOLDS = 0.9
SETS_BETTER_THAN_OFF = 7
FULL_SETS = 10
SIGNIFICANCE = 0.05


def per_set(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give means over folds, one line a set, one column a model; NaN where a fold failed."""
    grouped = rows.groupby(["dataset", "model"], sort=False)[score]
    table = grouped.agg(lambda values: values.mean(skipna=False)).unstack("model")
    return table.reindex(index=rows["dataset"].unique(), columns=rows["model"].unique())


def small_sets(rows: pd.DataFrame) -> list[str]:
    """Give the names of the small sets."""
    return list(rows.loc[rows["rows"] < SMALL_SET_ROWS, "dataset"].unique())


def ranked_models(rows: pd.DataFrame) -> list[str]:
    """Give the models that were run on every set of these rows, without the reference."""
    tried = rows.groupby("model", sort=False)["dataset"].nunique()
    return [name for name in tried.index if tried[name] == rows["dataset"].nunique() and name != REFERENCE]


def mean_ranks(rows: pd.DataFrame, score: str) -> pd.Series:
    """Give the mean rank over sets of the models that were run on all of them; 1 is best."""
    table = per_set(rows, score)[ranked_models(rows)]
    ranks = table.rank(axis=1, ascending=not HIGHER_IS_BETTER[score], method="average", na_option="bottom")
    return ranks.mean()


def calibrated_share(rows: pd.DataFrame) -> pd.Series:
    """Give the share of folds on which D-calibration is not rejected (a failed fold counts as rejected)."""
    return (rows["d_calibration"] >= SIGNIFICANCE).groupby(rows["model"], sort=False).mean()


def cost_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give mean CPU seconds and the largest peak memory of each model."""
    grouped = rows.groupby("model", sort=False)
    table = grouped[["fit_cpu", "predict_cpu"]].mean().add_suffix(" mean s")
    return table.join(grouped[["fit_mib", "predict_mib"]].max().add_suffix(" max"))


def summary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give, for the models run on all sets, means over sets, mean ranks, calibration and seconds."""
    names = [name for name in rows["model"].unique() if name in ranked_models(rows) or name == REFERENCE]
    columns: dict[str, pd.Series] = {}
    for score in HIGHER_IS_BETTER:
        columns[f"{score} mean"] = per_set(rows, score)[names].apply(lambda values: values.mean(skipna=False))
        columns[f"{score} rank"] = mean_ranks(rows, score)
    columns["D-calibrated folds"] = calibrated_share(rows)
    costs = cost_table(rows)
    table = pd.DataFrame(columns).reindex(names).join(costs[["fit_cpu mean s", "predict_cpu mean s"]])
    table.index.name = "model"
    return table


def wins_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give, for each other model, on how many of the sets it ran on our default is better."""
    columns = {}
    for score, higher in HIGHER_IS_BETTER.items():
        table = per_set(rows, score)
        others = table.drop(columns=OUR_DEFAULT)
        gain = (others.rsub(table[OUR_DEFAULT], axis=0)) * (1 if higher else -1)
        columns[score] = [f"{(gain[name] > 0).sum()} of {gain[name].notna().sum()}" for name in others]
    return pd.DataFrame(columns, index=pd.Index(others.columns, name="our default better than"))


def failures(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the rows that failed."""
    failed = rows[rows["error"].fillna("") != ""]
    return failed[["dataset", "fold", "model", "error"]].set_index("dataset")


def _first_bar(rows: pd.DataFrame, where: str) -> Bar:
    ranks = mean_ranks(rows, "ibs").sort_values()
    others = ranks.drop(OUR_DEFAULT)
    best = f"best other: {others.index[0]} {others.iloc[0]:.2f}"
    detail = f"{ranks[OUR_DEFAULT]:.2f} of {len(ranks)} models on {rows['dataset'].nunique()} sets, {best}"
    return Bar(f"best mean rank on IBS, {where}", bool(ranks[OUR_DEFAULT] < others.iloc[0]), detail)


def _uno_bar(rows: pd.DataFrame, where: str) -> Bar:
    means = per_set(rows, "uno")[ranked_models(rows)].mean(skipna=False)
    peers = means[[name for name in PEERS if name in means]].dropna()
    name = f"mean Uno C against the best peer ({peers.idxmax()} {peers.max():.4f}), {where}"
    return compare(name, means[OUR_DEFAULT], peers.max() - UNO_MARGIN, at_most=False)


def _network_bar(rows: pd.DataFrame) -> Bar:
    table = per_set(rows, "ibs")
    better = table[OUR_DEFAULT] < table[NETWORK_OFF]
    worse = ", ".join(better.index[~better]) or "none"
    name = f"sets with better IBS than {NETWORK_OFF} (not better: {worse})"
    return compare(name, float(better.sum()), SETS_BETTER_THAN_OFF, at_most=False)


def _sanity_bar(rows: pd.DataFrame) -> Bar:
    mine = rows[rows["model"] == OUR_DEFAULT]
    failed = int((mine["error"].fillna("") != "").sum())
    table = per_set(rows, "ibs")
    ours, reference = table[OUR_DEFAULT].mean(skipna=False), table[REFERENCE].mean()
    detail = f"{failed} failed folds, mean IBS {ours:.4f} against {reference:.4f}"
    reached = bool(failed == 0 and ours < reference)
    return Bar(f"every fold fitted and mean IBS below {REFERENCE}", reached, detail)


def comparison_bars(rows: pd.DataFrame, reduced: bool, expected: Sequence[str]) -> list[Bar]:
    """Give the bars of the comparison; those that need the ten full sets are not checked on less.

    Parameters
    ----------
    rows : DataFrame
        Rows of the run.
    reduced : bool
        Whether sets, folds or models were left out.
    expected : sequence of str
        Models that a full run has; where one of them is missing the run counts as reduced.
    """
    present = set(rows["model"])
    bars = []
    if {OUR_DEFAULT, REFERENCE} <= present:
        bars.append(_sanity_bar(rows))
    names = ("best mean rank on IBS", "mean Uno C", "D-calibration", f"better IBS than {NETWORK_OFF}")
    if reduced or not set(expected) <= present or rows["dataset"].nunique() < FULL_SETS:
        return bars + [Bar(name, None, "needs the full run over ten sets") for name in names]
    small = rows[rows["dataset"].isin(small_sets(rows))]
    parts = ((rows, "all sets"), (small, f"sets under {SMALL_SET_ROWS} rows"))
    bars += [_first_bar(part, where) for part, where in parts]
    bars += [_uno_bar(part, where) for part, where in parts]
    share = float(np.asarray(calibrated_share(rows)[OUR_DEFAULT]))
    bars.append(compare("share of folds with D-calibration p >= .05", share, CALIBRATED_FOLDS, at_most=False))
    return [*bars, _network_bar(rows)]
