"""Ranks, bars and tables on planted rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from survival_models import NETWORK_OFF, OUR_DEFAULT
from survival_summary import (
    calibrated_share,
    comparison_bars,
    failures,
    mean_ranks,
    per_set,
    ranked_models,
    small_sets,
    summary_table,
    wins_table,
)

LINE_UP = ["KM", "CoxPH", "RSF", OUR_DEFAULT, NETWORK_OFF]
IBS = {"KM": 0.20, "CoxPH": 0.16, "RSF": 0.15, OUR_DEFAULT: 0.14, NETWORK_OFF: 0.17}
UNO = {"KM": 0.5, "CoxPH": 0.70, "RSF": 0.69, OUR_DEFAULT: 0.70, NETWORK_OFF: 0.6}


def planted(sets: int = 10, folds: int = 2) -> pd.DataFrame:
    """Rows in which our model reaches every bar; the last set is large."""
    rows = [
        {
            "dataset": f"set {number}",
            "fold": fold,
            "model": model,
            "rows": 3000 if number == sets - 1 else 200,
            "harrell": UNO[model],
            "uno": UNO[model],
            "ibs": IBS[model] + 0.01 * fold,
            "auc": UNO[model],
            "d_calibration": 0.5,
            "fit_cpu": 1.0 + fold,
            "predict_cpu": 0.1,
            "fit_mib": 10.0 * (1 + fold),
            "predict_mib": 1.0,
            "error": "",
        }
        for number in range(sets)
        for fold in range(folds)
        for model in LINE_UP
    ]
    return pd.DataFrame(rows)


def change(rows: pd.DataFrame, model: str, sets: int, **values: object) -> pd.DataFrame:
    """Change values of one model on the first sets."""
    rows = rows.copy()
    chosen = (rows["model"] == model) & rows["dataset"].isin([f"set {number}" for number in range(sets)])
    for name, value in values.items():
        rows.loc[chosen, name] = value
    return rows


def missed(rows: pd.DataFrame) -> list[str]:
    """Name the bars that are missed, up to the first comma or bracket."""
    bars = comparison_bars(rows, reduced=False, expected=LINE_UP)
    return [bar.name.split(",")[0].split(" (")[0] for bar in bars if bar.reached is False]


def test_per_set_means_over_folds_in_order_of_appearance() -> None:
    table = per_set(planted(sets=2), "ibs")
    assert table.columns.tolist() == LINE_UP
    assert table.loc["set 1", OUR_DEFAULT] == pytest.approx(0.145)


def test_ranks_leave_out_the_reference_and_put_the_smallest_ibs_and_largest_c_first() -> None:
    ranks = mean_ranks(planted(), "ibs")
    assert ranks.to_dict() == {"CoxPH": 3, "RSF": 2, OUR_DEFAULT: 1, NETWORK_OFF: 4}
    assert mean_ranks(planted(), "uno").to_dict() == {
        "CoxPH": 1.5,
        "RSF": 3,
        OUR_DEFAULT: 1.5,
        NETWORK_OFF: 4,
    }


def test_a_model_that_failed_on_one_fold_ranks_last_on_that_set() -> None:
    rows = planted(sets=2)
    rows.loc[(rows["model"] == OUR_DEFAULT) & (rows["dataset"] == "set 0") & (rows["fold"] == 1), "ibs"] = (
        np.nan
    )
    assert mean_ranks(rows, "ibs")[OUR_DEFAULT] == (4 + 1) / 2


def test_models_run_on_some_sets_only_are_ranked_only_among_those() -> None:
    rows = planted()
    rows = rows[(rows["model"] != "RSF") | (rows["rows"] < 700)]
    assert "RSF" not in ranked_models(rows)
    small = rows[rows["dataset"].isin(small_sets(rows))]
    assert "RSF" in ranked_models(small)
    assert small["dataset"].nunique() == 9


def test_calibrated_share_counts_a_failed_fold_as_rejected() -> None:
    rows = change(planted(), OUR_DEFAULT, 2, d_calibration=np.nan)
    assert calibrated_share(rows)[OUR_DEFAULT] == pytest.approx(0.8)
    assert calibrated_share(rows)["CoxPH"] == 1.0


def test_all_bars_are_reached_on_rows_planted_so() -> None:
    bars = comparison_bars(planted(), reduced=False, expected=LINE_UP)
    assert [bar.reached for bar in bars] == [True] * 7


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "RSF", "sets": 10, "ibs": 0.1}, ["best mean rank on IBS", "best mean rank on IBS"]),
        ({"model": "CoxPH", "sets": 10, "uno": 0.706}, ["mean Uno C against the best peer"] * 2),
        ({"model": "CoxPH", "sets": 10, "uno": 0.704}, []),
        ({"model": NETWORK_OFF, "sets": 10, "uno": 0.9}, []),
        (
            {"model": OUR_DEFAULT, "sets": 2, "d_calibration": 0.01},
            ["share of folds with D-calibration p >= .05"],
        ),
        ({"model": OUR_DEFAULT, "sets": 1, "d_calibration": 0.01}, []),
        ({"model": NETWORK_OFF, "sets": 4, "ibs": 0.145}, ["sets with better IBS than network off"]),
        ({"model": NETWORK_OFF, "sets": 3, "ibs": 0.145}, []),
        ({"model": OUR_DEFAULT, "sets": 1, "error": "boom"}, ["every fold fitted and mean IBS below KM"]),
    ],
)
def test_each_bar_is_missed_exactly_when_its_numbers_say_so(changes: dict, expected: list[str]) -> None:
    assert missed(change(planted(), **changes)) == expected


def test_an_equal_mean_rank_is_not_the_best() -> None:
    rows = change(planted(), "RSF", 5, ibs=0.10)
    rows = change(rows, OUR_DEFAULT, 5, ibs=0.12)
    assert mean_ranks(rows, "ibs")[["RSF", OUR_DEFAULT]].tolist() == [1.5, 1.5]
    assert "best mean rank on IBS" in missed(rows)


def test_reduced_runs_and_missing_models_leave_the_bars_unchecked() -> None:
    for rows, reduced in (
        (planted(), True),
        (planted(sets=3), False),
        (planted().query("model != 'RSF'"), False),
    ):
        states = [bar.reached for bar in comparison_bars(rows, reduced, LINE_UP)]
        assert states == [True, None, None, None, None]


def test_summary_has_the_reference_without_a_rank() -> None:
    table = summary_table(planted())
    assert np.isnan(table.loc["KM", "ibs rank"])
    assert table.loc[OUR_DEFAULT, "ibs rank"] == 1
    assert table.loc[OUR_DEFAULT, "fit_cpu mean s"] == 1.5


def test_failures_are_listed_with_their_words() -> None:
    rows = change(planted(sets=2), "CoxPH", 1, error="singular")
    assert failures(rows)["error"].tolist() == ["singular", "singular"]


def test_wins_count_only_sets_that_the_other_model_ran_on() -> None:
    rows = change(planted(), "CoxPH", 3, ibs=0.1, uno=0.71)
    rows = rows[(rows["model"] != "RSF") | (rows["rows"] < 700)]
    wins = wins_table(rows)
    assert wins.loc["CoxPH"].tolist() == ["0 of 10", "0 of 10", "7 of 10", "0 of 10"]
    assert wins.loc["RSF", "ibs"] == "9 of 9"
    assert wins.loc[NETWORK_OFF, "uno"] == "10 of 10"
