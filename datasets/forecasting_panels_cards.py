"""Cards of the panels: page views, sales, and series of the M4 competition."""

from __future__ import annotations

from .cards import Column
from .forecasting_cards import ForecastingCard
from .forecasting_files import TIMETK_LICENCE, origin_of

__all__ = ["M4_DAILY", "M4_HOURLY", "M4_MONTHLY", "M4_WEEKLY", "WALMART_SALES", "WIKIPEDIA_TRAFFIC"]

_M4 = "Makridakis, Spiliotis, Assimakopoulos, The M4 competition, Int. J. Forecasting 36:54-74, 2020"
_M4_TARGET = Column("y", "value of the series, in a unit that the competition did not publish")
_M4_SERIES = "four series of the competition, under its names"
_NOMINAL = "The dates are those of the competition's table; not all can be those of the measurement."

WIKIPEDIA_TRAFFIC = ForecastingCard(
    name="wikipedia_traffic",
    title="Daily views of ten Wikipedia pages, July 2015 to December 2016",
    citation="Web Traffic Time Series Forecasting, Google and Kaggle, 2017 (ten of its series)",
    licence=TIMETK_LICENCE,
    origin=origin_of("wikipedia_traffic"),
    frequency="D",
    season_length=7,
    horizon=30,
    n_windows=3,
    n_series=10,
    n_rows=5500,
    shortest=550,
    longest=550,
    target=Column("y", "views of the page on the day", "views"),
    series="pages; the name gives page, language, device and kind of reader",
    changes=("Columns are renamed; nothing else is changed.",),
)

WALMART_SALES = ForecastingCard(
    name="walmart_sales",
    title="Weekly sales of seven departments of a Walmart store, 2010 to 2012",
    citation="Walmart Recruiting, Store Sales Forecasting, Kaggle, 2014 (store 1)",
    licence=TIMETK_LICENCE,
    origin=origin_of("walmart_sales"),
    frequency="W-FRI",
    season_length=52,
    horizon=8,
    n_windows=3,
    n_series=7,
    n_rows=1001,
    shortest=143,
    longest=143,
    target=Column("y", "sales in the week", "US dollars"),
    series="departments of store 1, as store_department",
    columns=(
        Column("is_holiday", "1 if the week holds Super Bowl, Labor Day, Thanksgiving or Christmas, else 0"),
        Column("temperature", "mean temperature in the region", "degrees Fahrenheit"),
        Column("fuel_price", "price of fuel in the region", "US dollars a gallon"),
        Column("cpi", "consumer price index"),
        Column("unemployment", "unemployment rate", "per cent"),
    ),
    past=("temperature", "fuel_price", "cpi", "unemployment"),
    future=("is_holiday",),
    changes=(
        "MarkDown1 to MarkDown5 are left out: not recorded before November 2011.",
        "Store, Dept, Type and Size are left out: one store, and the department is in the name.",
    ),
)

M4_HOURLY = ForecastingCard(
    name="m4_hourly",
    title="Four hourly series of the M4 competition",
    citation=_M4,
    licence=TIMETK_LICENCE,
    origin=origin_of("m4_hourly"),
    frequency="h",
    season_length=24,
    horizon=48,
    n_windows=3,
    n_series=4,
    n_rows=3060,
    shortest=700,
    longest=960,
    target=_M4_TARGET,
    series=_M4_SERIES,
    changes=("The time zone (UTC) is taken off.",),
    notes=(_NOMINAL,),
)

M4_DAILY = ForecastingCard(
    name="m4_daily",
    title="Four daily series of the M4 competition",
    citation=_M4,
    licence=TIMETK_LICENCE,
    origin=origin_of("m4_daily"),
    frequency="D",
    season_length=7,
    horizon=14,
    n_windows=3,
    n_series=4,
    n_rows=9743,
    shortest=674,
    longest=4197,
    target=_M4_TARGET,
    series=_M4_SERIES,
    notes=(_NOMINAL,),
)

M4_WEEKLY = ForecastingCard(
    name="m4_weekly",
    title="Four weekly series of the M4 competition",
    citation=_M4,
    licence=TIMETK_LICENCE,
    origin=origin_of("m4_weekly"),
    frequency="W-FRI",
    season_length=52,
    horizon=13,
    n_windows=3,
    n_series=4,
    n_rows=2295,
    shortest=80,
    longest=1006,
    target=_M4_TARGET,
    series=_M4_SERIES,
    changes=("The dates of W120, which are Wednesdays, are moved to the Fridays of the other series.",),
    notes=(_NOMINAL, "W359 has 80 rows: less than two seasons and three horizons."),
)

M4_MONTHLY = ForecastingCard(
    name="m4_monthly",
    title="Four monthly series of the M4 competition",
    citation=_M4,
    licence=TIMETK_LICENCE,
    origin=origin_of("m4_monthly"),
    frequency="MS",
    season_length=12,
    horizon=18,
    n_windows=3,
    n_series=4,
    n_rows=1574,
    shortest=306,
    longest=469,
    target=_M4_TARGET,
    series=_M4_SERIES,
    notes=(_NOMINAL,),
)
