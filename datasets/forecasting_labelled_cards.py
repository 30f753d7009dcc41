"""Cards and files of the series whose anomalies are labelled."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column, Origin
from .wheels import WheelFile

__all__ = [
    "DAPHNET_S06R02E0",
    "ECG_DIFF_COUNT",
    "KDD_TSAD_135",
    "LABELLED_FILES",
    "MITDB",
    "YAHOO",
    "LabelledSeriesCard",
]

_AEON = ("aeon", "1.6.0", "aeon/datasets/data/")
_SKTIME = ("sktime", "1.2.0", "sktime/datasets/data/")
_AEON_LICENCE = "public research data; aeon, which carries the file, is under BSD-3-Clause"
_SKTIME_LICENCE = "public research data; sktime, which carries the file, is under BSD-3-Clause"


def _file(source: tuple[str, str, str], name: str, size: int, sha256: str) -> WheelFile:
    package, version, folder = source
    return WheelFile(package, version, folder + name, size, sha256)


# Name of the series: its files, that of the test part last.
LABELLED_FILES = {
    "kdd_tsad_135": (
        _file(
            _AEON,
            "KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv",
            118036,
            "fe26577b94896943e8205d04d56bf2511fe05c008df535a1ec3826adff3597e2",
        ),
    ),
    "ecg_diff_count": (
        _file(
            _AEON,
            "UnitTest/ecg-diff-count-3_TRAIN_NA.csv",
            290730,
            "cb45388a065c2f8bd3dd745ad5f93d759d92d48aa9144dcbff5f4e2ffe1b7b73",
        ),
        _file(
            _AEON,
            "UnitTest/ecg-diff-count-3_TEST.csv",
            270665,
            "39794565d99ccb4934f4955e45fc0fbe30397499ca38fd689f43a1d3e2518aec",
        ),
    ),
    "daphnet_s06r02e0": (
        _file(
            _AEON,
            "Daphnet_S06R02E0/S06R02E0.csv",
            452673,
            "5a1d2990fec3846c3e1bc43487f0860e63434bd06b3df763012e97ce23d0d84c",
        ),
    ),
    "yahoo": (
        _file(
            _SKTIME,
            "yahoo/yahoo.csv",
            19376,
            "b37cb4846fc442c15bdcc73864034e46a19b9ac062edabf7e158732ae0a3789f",
        ),
    ),
    "mitdb": (
        _file(
            _SKTIME,
            "mitdb/mitdb.csv",
            63099,
            "d4f2539a5e85e1ac1e7f8bba152b5e60a02356282463a8a1c97848ad3e1bb386",
        ),
    ),
}


@dataclass(frozen=True)
class LabelledSeriesCard(Card):
    """Description of a series with labelled anomalies as its loader returns it.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_labelled_series``, and one line in words.
    citation, licence : str
        Where the series comes from; terms of the file and of the package that carries it.
    n_train, n_test, n_channels : int
        Rows of the part without anomalies, to fit on, and of the part that is judged; values a row has.
    n_anomalous, n_events : int
        Rows of the test part that are labelled, and runs of such rows.
    anomaly_meaning : str
        What the labelled rows are.
    columns : tuple of Column
        The channels, in their order.
    period : int
        Rows in a cycle (highest peak of the autocorrelation); 0 where there is none.
    changes : tuple of str
        What the loader changes or leaves out.
    notes : tuple of str
        What a careful user should know besides.
    """

    name: str
    title: str
    citation: str
    licence: str
    n_train: int
    n_test: int
    n_channels: int
    n_anomalous: int
    n_events: int
    anomaly_meaning: str
    columns: tuple[Column, ...]
    period: int = 0
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def loader(self) -> str:
        """Name of the function that returns the series."""
        return f"fetch_{self.name}"

    @property
    def channels(self) -> str:
        """Number of channels in words."""
        return "1 channel" if self.n_channels == 1 else f"{self.n_channels} channels"

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Files the series is read from."""
        files = LABELLED_FILES[self.name]
        return tuple(Origin(file.package, file.version, file.member, file.sha256) for file in files)

    @property
    def anomaly_share(self) -> float:
        """Share of the rows of the test part that are labelled, in [0, 1]."""
        return self.n_anomalous / self.n_test

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        labelled = f"{self.n_events} in {self.n_anomalous} rows ({self.anomaly_share:.1%} of those to judge)"
        return [
            ("loader", f"{self.loader}()"),
            ("size", f"{self.n_train} rows to fit on and {self.n_test} to judge, of {self.channels}"),
            ("anomalies", f"{labelled if self.n_events else 'none'}: {self.anomaly_meaning}"),
            ("period", f"about {self.period} rows" if self.period else "none"),
            ("source", self.citation),
            *(("file", str(origin)) for origin in self.origins),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [
            ("channels", tuple(map(str, self.columns))),
            ("changed by the loader", self.changes),
            ("notes", self.notes),
        ]
        return [(key, values) for key, values in lists if values]


KDD_TSAD_135 = LabelledSeriesCard(
    name="kdd_tsad_135",
    title="Arterial pressure under internal bleeding, with one short anomaly",
    citation="Wu and Keogh, UCR time series anomaly archive, 2021 (135, InternalBleeding16)",
    licence=_AEON_LICENCE,
    n_train=1200,
    n_test=6301,
    n_channels=1,
    n_anomalous=12,
    n_events=1,
    anomaly_meaning="a burst within one heart beat",
    columns=(Column("pressure", "arterial blood pressure", "mm Hg"),),
    period=183,
    changes=("The first 1200 rows, without anomalies, are for fitting; they are not judged again.",),
)

ECG_DIFF_COUNT = LabelledSeriesCard(
    name="ecg_diff_count",
    title="Simulated electrocardiogram with three anomalies of different kinds",
    citation="Wenig, Schmidl, Papenbrock, TimeEval, PVLDB 15:3678-3681, 2022 (ecg-diff-count-3)",
    licence=_AEON_LICENCE,
    n_train=10000,
    n_test=10000,
    n_channels=1,
    n_anomalous=300,
    n_events=3,
    anomaly_meaning="stretches of 100 rows, each changed in another way",
    columns=(Column("ecg", "simulated voltage"),),
    period=20,
    notes=("The part to fit on and the part to judge share their undisturbed signal, but for noise.",),
)

DAPHNET_S06R02E0 = LabelledSeriesCard(
    name="daphnet_s06r02e0",
    title="Acceleration of a walking patient with Parkinson's disease, without any anomaly",
    citation="Bachlin et al., IEEE Trans. Inf. Technol. Biomed. 14:436-446, 2010 (UCI 245)",
    licence=_AEON_LICENCE,
    n_train=3520,
    n_test=3520,
    n_channels=9,
    n_anomalous=0,
    n_events=0,
    anomaly_meaning="freezing of gait, of which this excerpt holds none",
    columns=(
        Column("ankle_*", "acceleration of the ankle: forward, vertical, lateral", "mg"),
        Column("leg_*", "acceleration of the leg: forward, vertical, lateral", "mg"),
        Column("trunk_*", "acceleration of the trunk: forward, vertical, lateral", "mg"),
    ),
    period=66,
    changes=("The first half is for fitting. A row is 1/64 second; the times are left out.",),
    notes=("Good for counting false alarms only: nothing in it can be detected.",),
)

YAHOO = LabelledSeriesCard(
    name="yahoo",
    title="Simulated web traffic with seven outlying points",
    citation="Laptev and Amizadeh, Yahoo Webscope S5, 2015 (a series in the style of its class A4)",
    licence=_SKTIME_LICENCE,
    n_train=400,
    n_test=600,
    n_channels=1,
    n_anomalous=7,
    n_events=7,
    anomaly_meaning="single rows that jump off the seasonal curve",
    columns=(Column("traffic", "simulated traffic"),),
    period=12,
    changes=("The first 400 rows, without labels, are for fitting.",),
)

MITDB = LabelledSeriesCard(
    name="mitdb",
    title="Electrocardiogram with an abnormal beat",
    citation="Moody and Mark, The impact of the MIT-BIH arrhythmia database, 2001 (an excerpt)",
    licence=_SKTIME_LICENCE,
    n_train=3750,
    n_test=3750,
    n_channels=1,
    n_anomalous=352,
    n_events=1,
    anomaly_meaning="the stretch around a beat that comes too early",
    columns=(Column("ecg", "voltage, 360 rows a second", "mV"),),
    period=300,
    changes=("The first half, without labels, is for fitting.",),
)
