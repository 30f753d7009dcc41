"""Rolling origins: what a forecaster is shown and when, and that its draws are scored as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sciffusion.domains.forecasting import metrics
from sciffusion.domains.forecasting.backtest import backtest

SEASON = 4


class SeasonalNaive(BaseEstimator):
    """The last season of the histories it was given last, with normal noise."""

    def __init__(self, spread: float = 1.0, log: Any = None) -> None:
        self.spread, self.log = spread, log

    def note(self, call: str, df: pd.DataFrame) -> None:
        """Remember a call and the last time it was shown."""
        if self.log is not None:
            self.log.append((call, len(df), df["ds"].max()))

    def fit(self, df: pd.DataFrame) -> SeasonalNaive:
        """Keep the histories."""
        self.note("fit", df)
        self.histories_ = df
        return self

    def sample(self, h: int, *, n_samples: int = 50) -> pd.DataFrame:
        """Draw from the histories."""
        return self.draw(self.histories_, h, n_samples)

    def draw(self, df: pd.DataFrame, h: int, n_samples: int) -> pd.DataFrame:
        """Draw from some histories."""
        generator, parts = np.random.default_rng(0), []
        for name, rows in df.groupby("unique_id", sort=False):
            step = rows["ds"].iloc[-1] - rows["ds"].iloc[-2]
            times = rows["ds"].iloc[-1] + step * np.arange(1, h + 1)
            centre = rows["y"].to_numpy()[-SEASON:][np.arange(h) % SEASON]
            draws = centre + self.spread * generator.normal(size=(n_samples, h))
            parts.append(
                pd.DataFrame(
                    {
                        "unique_id": name,
                        "ds": np.tile(times, n_samples),
                        "sample_id": np.repeat(np.arange(n_samples), h),
                        "y": draws.ravel(),
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)


class Updating(SeasonalNaive):
    """One that takes new rows."""

    def update(self, df: pd.DataFrame) -> Updating:
        """Append rows."""
        self.note("update", df)
        self.histories_ = pd.concat([self.histories_, df], ignore_index=True)
        return self


class Prompted(SeasonalNaive):
    """One that forecasts from other histories."""

    def sample(self, h: int, *, n_samples: int = 50, df: Any = None, futr_df: Any = None) -> pd.DataFrame:
        """Draw from the histories given, or from those it was fitted on."""
        if df is not None:
            self.note("sample", df)
        if futr_df is not None:
            self.note("ahead", futr_df)
        return self.draw(self.histories_ if df is None else df, h, n_samples)


def series(lengths: tuple[int, ...] = (40, 33), seed: int = 0) -> pd.DataFrame:
    """Seasonal series with unit noise, of which the second ends earlier, in units of 1 and 100."""
    generator, parts = np.random.default_rng(seed), []
    for place, length in enumerate(lengths):
        y = 3 * np.sin(2 * np.pi * np.arange(length) / SEASON) + generator.normal(size=length)
        frame = pd.DataFrame({"unique_id": f"s{place}", "ds": np.arange(length), "y": y * 100.0**place})
        parts.append(frame.assign(known=np.arange(length) * 1.0))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("kind", "refit", "expected"),
    [
        (SeasonalNaive, "each", [("fit", 53, 29), ("fit", 59, 32), ("fit", 65, 35)]),
        (Updating, "update", [("fit", 53, 29), ("update", 6, 32), ("update", 6, 35)]),
        (Updating, "once", [("fit", 53, 29), ("update", 6, 32), ("update", 6, 35)]),
        (Prompted, "once", [("fit", 53, 29), ("sample", 59, 32), ("sample", 65, 35)]),
    ],
)
def test_each_policy_shows_exactly_the_rows_up_to_each_cutoff(
    kind: type, refit: str, expected: list[tuple[str, int, int]]
) -> None:
    log: list[tuple[str, int, int]] = []
    forecaster = kind(log=log)
    forecaster.__sklearn_clone__ = lambda: _same_log(forecaster)
    backtest(forecaster, series(), horizon=4, n_windows=3, step=3, refit=refit)
    assert log == expected


def _same_log(forecaster: SeasonalNaive) -> SeasonalNaive:
    """Copy a forecaster but let the copy write into the same list, which clone would copy too."""
    copy = type(forecaster)(spread=forecaster.spread, log=forecaster.log)
    copy.__sklearn_clone__ = lambda: _same_log(forecaster)  # type: ignore[method-assign]
    return copy


def test_policies_agree_for_a_forecaster_that_learns_nothing() -> None:
    tables = [
        backtest(kind(), series(), 4, 3, refit=refit)
        for kind, refit in ((SeasonalNaive, "each"), (Updating, "update"), (Prompted, "once"))
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_scores_are_those_of_the_metrics_on_the_rows_after_the_cutoff() -> None:
    data = series()
    table, draws = backtest(
        SeasonalNaive(), data, 4, 2, refit="each", season_length=SEASON, return_draws=True
    )
    assert table[["unique_id", "window", "cutoff"]].to_numpy().tolist() == [
        ["s0", 0, 31],
        ["s1", 0, 24],
        ["s0", 1, 35],
        ["s1", 1, 28],
    ]
    history = data.query("unique_id == 's1' and ds <= 28")["y"].to_numpy()
    y = data.query("unique_id == 's1' and ds > 28")["y"].to_numpy()[None]
    own = draws.query("unique_id == 's1' and window == 1 and cutoff == 28")
    paths = own.pivot(index="sample_id", columns="ds", values="y").to_numpy()[None]
    scale = np.array([metrics.seasonal_naive_scale(history, SEASON)])
    row = table.iloc[3]
    deciles = metrics.draw_quantiles(paths, metrics.DECILES)
    wanted = {
        "n_observed": 4,
        "scale": scale[0],
        "crps": metrics.crps(y, paths).mean(),
        "scaled_crps": metrics.scaled_crps(y, deciles, scale)[0],
        "mase": metrics.mase(y, np.median(paths, axis=1), scale)[0],
        "energy_score": metrics.scaled_energy_score(y, paths, scale)[0],
        "variogram_score": metrics.variogram_score(y / scale, paths / scale)[0],
        "coverage-80": metrics.interval_coverage(y, paths, 0.8)[0],
        "width-95": metrics.interval_width(y, paths, 0.95)[0] / scale[0],
    }
    assert row[list(wanted)].astype(float).to_dict() == pytest.approx(wanted)


def test_a_change_after_a_cutoff_changes_only_the_scores_and_not_the_draws() -> None:
    data, changed = series(), series()
    changed.loc[changed["ds"] > 35, "y"] += 50.0
    first, second = (
        backtest(Prompted(), frame, 4, 2, season_length=SEASON, return_draws=True)
        for frame in (data, changed)
    )
    pd.testing.assert_frame_equal(first[1], second[1])
    later = first[0]["cutoff"] == 35
    assert later.sum() == 1
    pd.testing.assert_frame_equal(first[0][~later], second[0][~later])
    assert (second[0][later]["crps"] > first[0][later]["crps"] + 10).all()


def test_order_of_rows_does_not_matter_and_units_cancel_in_scaled_scores() -> None:
    data = series()
    table = backtest(SeasonalNaive(0.0), data, 4, 2, refit="each", season_length=SEASON)
    shuffled = pd.concat([data.iloc[:1], data.iloc[1:].sample(frac=1, random_state=0)])
    pd.testing.assert_frame_equal(
        backtest(SeasonalNaive(0.0), shuffled, 4, 2, refit="each", season_length=SEASON), table
    )
    larger = backtest(
        SeasonalNaive(0.0), data.assign(y=1000 * data["y"]), 4, 2, refit="each", season_length=SEASON
    )
    for name in ("scaled_crps", "mase", "energy_score"):
        np.testing.assert_allclose(larger[name], table[name])
    np.testing.assert_allclose(larger["crps"], 1000 * table["crps"])


def test_missing_targets_are_left_out_and_constant_series_have_no_scaled_score() -> None:
    data = series()
    data.loc[(data["unique_id"] == "s0") & (data["ds"] >= 38), "y"] = np.nan
    data.loc[data["unique_id"] == "s1", "y"] = 7.0
    table = backtest(SeasonalNaive(), data, 4, 1, refit="each").set_index("unique_id")
    assert table["n_observed"].tolist() == [2, 4]
    assert np.isfinite(
        table.loc["s0", ["crps", "scaled_crps", "energy_score", "coverage-80"]].astype(float)
    ).all()
    assert np.isfinite(table.loc["s1", "crps"])
    assert 0 <= table.loc["s1", "coverage-80"] <= 1
    assert table.loc["s1", ["scaled_crps", "mase", "energy_score"]].isna().all()


def test_the_forecaster_itself_stays_as_it_was_and_progress_is_told() -> None:
    forecaster, told = SeasonalNaive(), []
    backtest(forecaster, series(), 4, 2, refit="each", progress=lambda *words: told.append(words))
    assert not hasattr(forecaster, "histories_")
    assert told == [(0, 2, "window 1 of 2"), (1, 2, "window 2 of 2"), (2, 2, "done")]


def test_covariates_known_in_advance_are_passed_for_exactly_the_rows_ahead() -> None:
    log: list[Any] = []
    forecaster = Prompted(log=log)
    forecaster.__sklearn_clone__ = lambda: _same_log(forecaster)  # type: ignore[method-assign]
    backtest(forecaster, series((40,)), 4, 1, future_covariates=["known"])
    assert log == [("fit", 36, 35), ("ahead", 4, 39)]


def test_several_targets_are_one_joint_forecast() -> None:
    class Two(SeasonalNaive):
        def draw(self, df: pd.DataFrame, h: int, n_samples: int) -> pd.DataFrame:
            found = super().draw(df, h, n_samples)
            return found.assign(z=2 * found["y"])

    data = series()
    data["z"] = 2 * data["y"]
    both = backtest(Two(), data, 4, 2, refit="each", target=["y", "z"])
    alone = backtest(SeasonalNaive(), data, 4, 2, refit="each")
    assert both["n_observed"].tolist() == [8] * 4
    for name in ("scaled_crps", "energy_score", "coverage-80"):  # the second channel repeats the first
        np.testing.assert_allclose(both[name], alone[name])


class Wrong(SeasonalNaive):
    """One whose draws lack a row."""

    def draw(self, df: pd.DataFrame, h: int, n_samples: int) -> pd.DataFrame:
        """Leave out the last row."""
        return super().draw(df, h, n_samples).iloc[:-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 0}, "horizon must be a whole number >= 1"),
        ({"n_windows": 1.5}, "n_windows must be"),
        ({"step": 0}, "step must be"),
        ({"n_samples": 1}, "n_samples must be >= 2"),
        ({"n_windows": 9}, "series 's1' has 33 rows, but 9 windows of 4 rows at a step of 4"),
        ({"target": "z"}, "no column 'z'"),
        ({"refit": "often"}, "refit must be"),
        ({"refit": "update"}, "needs a forecaster with update"),
        ({"refit": "once"}, "SeasonalNaive has none; use refit='each'"),
        ({"forecaster": Wrong()}, "the forecaster gave 1599 rows of 2 series, expected 2 series x 200 draws"),
        ({"data": series().drop(index=38)}, "times of the draws of series 's0'"),
    ],
)
def test_unusable_input_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    arguments = {
        "forecaster": SeasonalNaive(), "data": series(), "horizon": 4, "n_windows": 2, "refit": "each",
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        backtest(**{**arguments, **changes})
