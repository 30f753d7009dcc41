"""Time series are what their cards say, or are skipped with the reason why they cannot be had."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import (
    ForecastingDataset,
    forecasting_card,
    forecasting_loader,
    list_forecasting_datasets,
)
from sciffusion.datasets.__main__ import reference_page
from sciffusion.datasets.wheels import DatasetUnavailableError

SLOW = "household_power_hourly"

# Series, rows of all, of the shortest and of the longest, missing rows: counted from the published files and
# not taken from the cards.
SIZES = {
    "electricity_hourly": (1, 26304, 26304, 26304, 0),
    "sf_traffic_hourly": (1, 17544, 17544, 17544, 0),
    "solar_hourly": (1, 8220, 8220, 8220, 0),
    "wind_hourly": (1, 8220, 8220, 8220, 0),
    "household_power_hourly": (7, 7 * 34589, 34589, 34589, 7 * 421),
    "appliances_energy": (26, 26 * 3290, 3290, 3290, 0),
    "parking": (24, 24 * 1386, 1386, 1386, 2664),
    "wikipedia_traffic": (10, 5500, 550, 550, 0),
    "walmart_sales": (7, 1001, 143, 143, 0),
    "m4_hourly": (4, 3060, 700, 960, 0),
    "m4_daily": (4, 9743, 674, 4197, 0),
    "m4_weekly": (4, 2295, 80, 1006, 0),
    "m4_monthly": (4, 1574, 306, 469, 0),
    "m4_quarterly": (4, 196, 39, 59, 0),
    "beijing_pm": (1, 43824, 43824, 43824, 2067),
    "traffic_volume": (1, 52551, 52551, 52551, 52551 - 40575),
    "bike_sharing_hourly": (1, 78421, 78421, 78421, 0),
    "bike_sharing_daily": (1, 731, 731, 731, 0),
    "yosemite_temperature": (1, 18721, 18721, 18721, 12),
    "australian_temperature": (2, 2 * 3652, 3652, 3652, 4),
    "taylor_30_min": (1, 4032, 4032, 4032, 0),
    "peyton_manning": (1, 2964, 2964, 2964, 2964 - 2905),
    "bitcoin_transactions": (1, 4572, 4572, 4572, 0),
    "female_births": (1, 365, 365, 365, 0),
    "istanbul_stock": (9, 9 * 557, 557, 557, 9 * (557 - 536)),
    "stocks_daily": (6, 6 * 2797, 2797, 2797, 6 * (2797 - 2699)),
    "hierarchical_actuals": (8, 800, 100, 100, 0),
    "sunspots_monthly": (1, 2429, 2429, 2429, 0),
    "housing_supply": (1, 707, 707, 707, 0),
}

# Season, horizon and windows of the sets that published baselines of this library are measured on.
JUDGED = {
    **dict.fromkeys(("electricity_hourly", "sf_traffic_hourly", "solar_hourly", "wind_hourly"), (24, 24, 7)),
    "household_power_hourly": (24, 24, 4),
    "appliances_energy": (24, 24, 3),
    "parking": (18, 18, 3),
    "wikipedia_traffic": (7, 30, 3),
    "walmart_sales": (52, 8, 3),
    "m4_hourly": (24, 48, 3),
    "m4_daily": (7, 14, 3),
    "m4_weekly": (52, 13, 3),
    "m4_monthly": (12, 18, 3),
}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == SLOW else name for name in SIZES]


@cache
def _load(name: str) -> ForecastingDataset | str:
    try:
        return forecasting_loader(name)()
    except DatasetUnavailableError as error:
        return str(error)


def load(name: str) -> ForecastingDataset:
    outcome = _load(name)
    if isinstance(outcome, str):
        pytest.skip(f"the source of {name} cannot be had: {outcome}")
    return outcome


def values_of(name: str, series: str) -> pd.Series:
    frame = load(name).frame
    return frame[frame["unique_id"] == series].set_index("ds")["y"]


def test_every_set_is_listed_and_public() -> None:
    table = list_forecasting_datasets()
    assert set(table.index) == set(SIZES)
    assert set(table["loader"]) <= set(datasets.__all__)
    assert [forecasting_loader(name).__name__ for name in table.index] == list(table["loader"])
    with pytest.raises(ValueError, match=r"parkings.*parking"):
        forecasting_card("parkings")


def test_the_sets_not_held_back_are_judged_as_published() -> None:
    table = list_forecasting_datasets()
    open_sets = table[~table["held_back"]]
    assert list(open_sets.index) == list(table.index[: len(open_sets)])
    found = open_sets[["season_length", "horizon", "n_windows"]].apply(tuple, axis=1)
    assert found.to_dict() == JUDGED


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_what_its_card_says(name: str) -> None:
    data, card = load(name), forecasting_card(name)
    lengths = data.frame.groupby("unique_id").size()
    found = (len(lengths), len(data.frame), lengths.min(), lengths.max(), data.frame["y"].isna().sum())
    assert found == SIZES[name]
    assert (card.n_series, card.n_rows, card.shortest, card.longest, card.n_missing) == SIZES[name]
    assert card.missing_share == pytest.approx(data.frame["y"].isna().mean())
    assert data.card is card


@pytest.mark.parametrize("name", NAMES)
def test_types_and_covariates(name: str) -> None:
    data = load(name)
    assert list(data.frame.columns[:3]) == ["unique_id", "ds", "y"]
    assert all(isinstance(series, str) for series in data.lengths.index)
    assert (data.frame.drop(columns=["unique_id", "ds"]).dtypes == np.float64).all()
    is_of_kind = pd.api.types.is_integer_dtype if data.frequency is None else pd.api.types.is_datetime64_dtype
    assert is_of_kind(data.frame["ds"].dtype)
    assert data.frame.index.equals(pd.RangeIndex(len(data.frame)))
    assert not data.frame[list(data.future_covariates)].isna().any(axis=None)
    statics = data.frame.groupby("unique_id")[list(data.static_covariates)]
    assert (statics.nunique(dropna=False) == 1).all(axis=None)
    for covariate in data.covariates:
        assert data.card.describe(covariate).meaning
        assert not np.array_equal(data.frame[covariate], data.frame["y"], equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_something_is_left_before_the_first_origin_and_something_to_judge(name: str) -> None:
    data = load(name)
    judged = data.horizon * data.n_windows
    assert data.lengths.min() >= judged + data.horizon
    values = data.arrays(judged)
    assert values.shape == (data.card.n_series, judged)
    assert np.isfinite(values).mean(axis=1).min() >= 0.9


@pytest.mark.parametrize("name", SIZES)
def test_a_card_is_complete(name: str) -> None:
    card = forecasting_card(name)
    assert re.fullmatch(r"[0-9a-f]{64}", card.origin.sha256)
    flat = str(card).replace("\n", "").replace(" ", "")
    named = [str(card.describe(covariate)) for covariate in (*card.past, *card.future, *card.static)]
    for text in (card.loader, card.citation, card.licence, card.target.meaning, *named, *card.notes):
        assert text.replace(" ", "") in flat
    assert len(card.columns) == len(named)
    assert max(map(len, str(card).splitlines())) <= 100


def test_the_reference_page_has_every_set_once() -> None:
    page = reference_page()
    for name in SIZES:
        assert page.count(f"   * - ``{forecasting_card(name).loader}``\n") == 1


def test_parking_is_put_on_the_slots_of_opening() -> None:
    market = values_of("parking", "BHMBCCMKT01")
    # The first three rows of the file: 61 cars at 7:59:42, 64 at 8:25:42 and 80 at 8:59:42.
    assert market.iloc[:3].tolist() == [61.0, 64.0, 80.0]
    frame = load("parking").frame
    whole_days = frame.groupby([frame["ds"] // 18])["y"].apply(lambda values: values.isna().all())
    days = pd.Timestamp("2016-10-04") + pd.to_timedelta(whole_days.index[whole_days], unit="D")
    assert [f"{day:%m-%d}" for day in days] == ["10-20", "10-21", "12-03", "12-04"]
    assert frame.loc[frame["unique_id"] == "BHMBCCMKT01", "capacity"].unique().tolist() == [577.0]


def test_weeks_of_m4_end_on_fridays() -> None:
    frame = load("m4_weekly").frame
    assert (frame["ds"].dt.day_name() == "Friday").all()
    first = frame.groupby("unique_id")["ds"].min()
    # The dates of the file: the first, a Wednesday, is moved by two days; the second stays.
    assert first["W120"] == pd.Timestamp("2009-07-01") + pd.Timedelta(2, "D")
    assert first["W10"] == pd.Timestamp("1999-01-01")


def test_holidays_hold_for_the_whole_day_or_week() -> None:
    traffic = load("traffic_volume").frame.set_index("ds")
    assert (traffic["is_holiday"].groupby(traffic.index.date).nunique() == 1).all()
    assert traffic.loc["2017-12-25", "is_holiday"].eq(1.0).all()
    assert traffic.loc["2017-12-20", "is_holiday"].eq(0.0).all()
    sales = load("walmart_sales").frame
    weeks = sales.groupby("ds")["is_holiday"].first()
    assert weeks["2010-11-26"] == 1.0  # Thanksgiving
    assert weeks.sum() == 10


def test_faults_of_the_traffic_record_are_missing() -> None:
    traffic = load("traffic_volume").frame
    assert traffic["temperature"].min() > 200.0
    assert traffic["rain"].max() < 100.0
    assert traffic["temperature"].isna().sum() == SIZES["traffic_volume"][-1] + 10


def test_parts_of_the_target_are_no_covariates() -> None:
    bicycles = load("bike_sharing_daily").frame
    assert not {"casual", "registered"} & set(bicycles.columns)
    assert bicycles["y"].iloc[:2].tolist() == [985.0, 801.0]


def test_the_hierarchy_adds_up() -> None:
    wide = load("hierarchical_actuals").frame.pivot(index="ds", columns="unique_id", values="y")
    np.testing.assert_allclose(wide["00"], wide["10"] + wide["11"])
    np.testing.assert_allclose(wide["10"], wide["20"] + wide["21"] + wide["22"])
    np.testing.assert_allclose(wide["11"], wide["23"] + wide["24"])


@pytest.mark.slow
def test_household_hours_are_means_of_their_minutes() -> None:
    from sciffusion.datasets.forecasting_files import obtain

    hours = load(SLOW).frame.pivot(index="ds", columns="unique_id", values="y")
    minutes = pd.read_csv(obtain(SLOW, None), na_values=["?"], nrows=250_000)
    times = pd.to_datetime(minutes["Date"] + " " + minutes["Time"], dayfirst=True)
    means = minutes.drop(columns=["Date", "Time"]).set_index(times).resample("h").mean().iloc[:-1]
    np.testing.assert_allclose(hours[means.columns].loc[means.index], means, rtol=1e-9)
    assert means["Voltage"].isna().sum() > 0
    assert hours.index[-1] == pd.Timestamp("2010-11-26 21:00")
    # The last three minutes of the file: 0.938, 0.934 and 0.932 kW.
    assert hours["Global_active_power"].iloc[-1] == pytest.approx((0.938 + 0.934 + 0.932) / 3)
