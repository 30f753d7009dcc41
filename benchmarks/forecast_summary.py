"""Tables and bars of the comparison, from its rows (one row a set and model).

Ranks are taken within a set and then averaged over sets; a model that failed on a set ranks behind all that
did not (equal models share the mean of their places). Models that were not run on every set are not ranked.
Coverage is pooled over all targets, and beside it stands the mean over sets, in which a set of one series
weighs as much as one of twenty-six.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from bars import Bar, compare
from forecast_lineup import NETWORK_OFF, OUR_DEFAULT, PEERS, REFERENCE

__all__ = [
    "comparison_bars",
    "coverage_table",
    "failures",
    "marked",
    "mean_ranks",
    "per_set",
    "pooled_coverage",
    "ranked_models",
    "relative_to_best_peer",
    "summary_table",
    "wins_table",
]

FULL_SETS = 13
CLOSE = 1.03
COVERAGE_MARGIN = 0.03
RANKED_SCORES = ("scrps", "mase", "energy", "variogram")


def per_set(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give a score with one line a set and one column a model; NaN where it failed or was not run."""
    table = rows.pivot(index="dataset", columns="model", values=score)
    return table.reindex(index=rows["dataset"].unique(), columns=rows["model"].unique())


def ranked_models(rows: pd.DataFrame) -> list[str]:
    """Give the models that were run on every set of these rows."""
    tried = rows.groupby("model", sort=False)["dataset"].nunique()
    return [name for name in tried.index if tried[name] == rows["dataset"].nunique()]


def mean_ranks(rows: pd.DataFrame, score: str) -> pd.Series:
    """Give the mean rank over sets of the models that were run on all of them; 1 is best."""
    table = per_set(rows, score)[ranked_models(rows)]
    return table.rank(axis=1, method="average", na_option="bottom").mean()


def pooled_coverage(rows: pd.DataFrame, level: int) -> pd.Series:
    """Give the share of all targets inside each model's intervals."""
    inside = rows[f"coverage{level}"] * rows["targets"]
    return (
        inside.groupby(rows["model"], sort=False).sum() / rows.groupby("model", sort=False)["targets"].sum()
    )


def marked(rows: pd.DataFrame) -> pd.Series:
    """Say of each model whether its draws are paths or marginals put together at random."""
    joint = rows.dropna(subset=["joint"]).groupby("model", sort=False)["joint"].first()
    return joint.map(lambda value: "paths" if str(value) == "True" else "marginals")


def summary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give mean ranks, sCRPS against the ridge, coverage and seconds of the models run on all sets."""
    names = ranked_models(rows)
    columns: dict[str, pd.Series] = {f"{score} rank": mean_ranks(rows, score) for score in RANKED_SCORES}
    scrps = per_set(rows, "scrps")[names]
    if REFERENCE in names:
        ratios = np.log(scrps.div(scrps[REFERENCE], axis=0))
        columns[f"sCRPS over {REFERENCE}"] = np.exp(ratios.mean(skipna=False))
    grouped = rows.groupby("model", sort=False)
    for level in (80, 95):
        columns[f"coverage {level} pooled"] = pooled_coverage(rows, level)
        columns[f"coverage {level} mean of sets"] = grouped[f"coverage{level}"].mean()
    columns["CPU s, all sets"] = grouped["fit_cpu"].sum() + grouped["predict_cpu"].sum()
    columns["draws"] = marked(rows)
    table = pd.DataFrame(columns).reindex(names).sort_values("scrps rank")
    table.index.name = "model"
    return table


def coverage_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give coverage of 80 and 95 % intervals, in percent, one line a set and one column a model."""
    parts = [(100 * per_set(rows, f"coverage{level}")).map("{:.0f}".format) for level in (80, 95)]
    return (parts[0] + " / " + parts[1]).replace("nan / nan", "-")


def relative_to_best_peer(rows: pd.DataFrame) -> pd.DataFrame:
    """Give, for each set, the best baseline and our two rows' sCRPS over it."""
    table = per_set(rows, "scrps")
    peers = table[[name for name in PEERS if name in table]].dropna(how="all")
    ours = [name for name in (OUR_DEFAULT, NETWORK_OFF) if name in table]
    relative = table.loc[peers.index, ours].div(peers.min(axis=1), axis=0)
    return relative.assign(**{"best baseline": peers.idxmin(axis=1), "its sCRPS": peers.min(axis=1)})


def wins_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give, for each other model, on how many of the sets it finished our default is better."""
    columns = {}
    for score in RANKED_SCORES:
        table = per_set(rows, score)
        others = table.drop(columns=OUR_DEFAULT)
        lead = others.sub(table[OUR_DEFAULT], axis=0)
        columns[score] = [f"{(lead[name] > 0).sum()} of {others[name].notna().sum()}" for name in others]
    return pd.DataFrame(columns, index=pd.Index(others.columns, name="our default better than"))


def failures(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the rows that failed."""
    failed = rows[rows["error"].fillna("") != ""]
    return failed[["dataset", "model", "error"]].set_index("dataset")


def _better_bar(rows: pd.DataFrame, score: str, than: str, share: float) -> Bar:
    """Give the bar that our default has a smaller score than another model on a share of the sets."""
    table = per_set(rows, score)
    # A set on which the other model failed counts for ours if ours did not.
    better = table[OUR_DEFAULT] < table[than].fillna(np.inf)
    worse = ", ".join(better.index[~better]) or "none"
    wanted = int(np.ceil(share * len(better) - 1e-9))
    name = f"sets with better {score} than {than} (not better: {worse})"
    return compare(name, float(better.sum()), wanted, at_most=False)


def _rank_bar(rows: pd.DataFrame) -> Bar:
    ranks = mean_ranks(rows, "scrps").sort_values()
    others = ranks.drop(OUR_DEFAULT)
    detail = (
        f"{ranks[OUR_DEFAULT]:.2f} of {len(ranks)} models, best other: {others.index[0]} {others.iloc[0]:.2f}"
    )
    return Bar("best mean rank on sCRPS", bool(ranks[OUR_DEFAULT] < others.iloc[0]), detail)


def _close_bar(rows: pd.DataFrame) -> Bar:
    ratio = relative_to_best_peer(rows)[OUR_DEFAULT]
    close = ratio <= CLOSE
    far = ", ".join(f"{name} {ratio[name]:.2f}" for name in ratio.index[~close]) or "none"
    name = f"sets within 3 % of the best baseline or better (farther: {far})"
    return compare(name, float(close.sum()), int(np.ceil(len(ratio) / 2)), at_most=False)


def _coverage_bar(rows: pd.DataFrame, level: int) -> Bar:
    share = float(np.asarray(pooled_coverage(rows, level)[OUR_DEFAULT]))
    name = f"pooled coverage of {level} % intervals off by (covers {100 * share:.1f} %)"
    return compare(name, 100 * abs(share - level / 100), 100 * COVERAGE_MARGIN, at_most=True, unit=" points")


def _sanity_bar(rows: pd.DataFrame) -> Bar:
    failed = failures(rows)
    sets = sorted(failed.index[failed["model"] == OUR_DEFAULT])
    return Bar("our default forecasts every set", not sets, f"failed on: {', '.join(sets) or 'none'}")


def comparison_bars(rows: pd.DataFrame, reduced: bool, expected: Sequence[str]) -> list[Bar]:
    """Give the bars of the comparison; those that need all sets and models are not checked on less.

    Parameters
    ----------
    rows : DataFrame
        Rows of the run.
    reduced : bool
        Whether sets or models were left out.
    expected : sequence of str
        Models that a full run has; where one of them is missing the run counts as reduced.
    """
    present = set(rows["model"])
    bars = [_sanity_bar(rows)] if OUR_DEFAULT in present else []
    if reduced or not set(expected) <= present or rows["dataset"].nunique() < FULL_SETS:
        names = (
            "best mean rank on sCRPS",
            f"better sCRPS than {REFERENCE} on three sets in four",
            "within 3 % of the best baseline on half the sets",
            f"better sCRPS than {NETWORK_OFF} on half the sets",
            f"better energy score than {NETWORK_OFF} on two sets in three",
            "pooled coverage within 3 points of 80 and 95",
        )
        return bars + [Bar(name, None, f"needs all models on {FULL_SETS} sets") for name in names]
    return [
        *bars,
        _rank_bar(rows),
        _better_bar(rows, "scrps", REFERENCE, 3 / 4),
        _close_bar(rows),
        _better_bar(rows, "scrps", NETWORK_OFF, 1 / 2),
        _better_bar(rows, "energy", NETWORK_OFF, 2 / 3),
        _coverage_bar(rows, 80),
        _coverage_bar(rows, 95),
    ]
