"""Cards of the labelled tables for anomaly detection."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column, Origin

__all__ = [
    "BREAST_CANCER",
    "DIGITS",
    "PHISHING",
    "SEGMENT",
    "SHUTTLE",
    "WINE",
    "YEAST",
    "AnomalyCard",
]


@dataclass(frozen=True)
class AnomalyCard(Card):
    """Description of a labelled table as its loader returns it.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_anomaly_tables``, and one line in words.
    kind : {"load", "fetch"}
        In an installed dependency, or downloaded once.
    citation, licence : str
        Where the data come from; terms of the file and of the package that carries it.
    origin : Origin
        File the data are read from.
    n_rows, n_features, n_anomalies : int
        Size of the table and number of rows labelled as anomalies.
    anomaly_meaning : str
        Which rows are the anomalies.
    columns : tuple of Column
        Meaning of every column.
    notes : tuple of str
        What a careful user should know besides.
    """

    name: str
    title: str
    kind: str
    citation: str
    licence: str
    origin: Origin
    n_rows: int
    n_features: int
    n_anomalies: int
    anomaly_meaning: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    @property
    def anomaly_share(self) -> float:
        """Share of the rows that are anomalies, in (0, 1)."""
        return self.n_anomalies / self.n_rows

    @property
    def loader(self) -> str:
        """Name of the function that returns the table."""
        return f"{self.kind}_{self.name}_anomalies"

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        return [
            ("loader", f"{self.loader}()"),
            ("size", f"{self.n_rows} rows, {self.n_features} columns"),
            ("anomalies", f"{self.n_anomalies} rows ({self.anomaly_share:.1%}): {self.anomaly_meaning}"),
            ("source", self.citation),
            ("file", str(self.origin)),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [("columns", tuple(map(str, self.columns))), ("notes", self.notes)]
        return [(key, values) for key, values in lists if values]


_SKLEARN = "public research data (UCI); scikit-learn, which carries the file, is under BSD-3-Clause"
_RIVER = "public research data; river, which carries the file, is under BSD-3-Clause"
_ALL_KEPT = "All rows of the anomalous class are kept; other collections thin them to about 10 rows."
_FIRST_CLASS = "The anomalous class is the first in the order of the class names, so that no result chose it."


def _sklearn(file: str, sha256: str) -> Origin:
    return Origin("scikit-learn", "1.9.1", f"sklearn/datasets/data/{file}", sha256)


def _river(file: str, sha256: str) -> Origin:
    return Origin("river", "0.26.1", f"river/datasets/{file}", sha256)


BREAST_CANCER = AnomalyCard(
    name="breast_cancer",
    title="Breast cancer Wisconsin (diagnostic): malignant tumours",
    kind="load",
    citation="Street, Wolberg, Mangasarian, Nuclear feature extraction for breast tumor diagnosis, 1993",
    licence=_SKLEARN,
    origin=_sklearn("breast_cancer.csv", "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"),
    n_rows=569,
    n_features=30,
    n_anomalies=212,
    anomaly_meaning="malignant tumours",
    columns=(
        Column("mean *", "mean over the nuclei in the image"),
        Column("* error", "standard error of that mean"),
        Column("worst *", "mean of the three largest values"),
    ),
    notes=(_ALL_KEPT,),
)

WINE = AnomalyCard(
    name="wine",
    title="Wine recognition: one of three cultivars",
    kind="load",
    citation="Forina et al., PARVUS, 1988 (UCI Wine)",
    licence=_SKLEARN,
    origin=_sklearn("wine_data.csv", "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede"),
    n_rows=178,
    n_features=13,
    n_anomalies=59,
    anomaly_meaning="wines of the first cultivar (class 0), as in the ODDS collection",
    columns=(Column("*", "result of the chemical analysis"),),
    notes=(_ALL_KEPT,),
)

DIGITS = AnomalyCard(
    name="digits",
    title="Handwritten digits: zeros",
    kind="load",
    citation="Alpaydin, Kaynak, Optical recognition of handwritten digits, 1998 (test part)",
    licence=_SKLEARN,
    origin=_sklearn("digits.csv.gz", "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"),
    n_rows=1797,
    n_features=64,
    n_anomalies=178,
    anomaly_meaning="zeros, as in the ODDS collection (optdigits)",
    columns=(Column("pixel_*", "ink in a 4 x 4 block, 0 to 16, by row and column"),),
    notes=("Three pixels are 0 in every image; counts of ink are whole numbers.",),
)

SHUTTLE = AnomalyCard(
    name="shuttle",
    title="Statlog (Shuttle): rare states of the radiator",
    kind="fetch",
    citation="Statlog (Shuttle), UCI data set 148; labels of the ODDS collection",
    licence=_RIVER,
    origin=_river("shuttle.csv.gz", "1ed4bfa77233d95bff2c8ab2482725d2d800410daedf5919ad80ec6faf60ff59"),
    n_rows=49097,
    n_features=9,
    n_anomalies=3511,
    anomaly_meaning="the rare classes 2, 3, 5, 6 and 7; normal is class 1 (Rad Flow)",
    columns=(Column("f*", "reading of a sensor, a whole number"),),
    notes=("The second largest class (4) was left out by those who prepared the file.",),
)

YEAST = AnomalyCard(
    name="yeast",
    title="Yeast gene function: rare categories",
    kind="fetch",
    citation="Elisseeff and Weston, A kernel method for multi-labelled classification, 2002",
    licence=_RIVER,
    origin=_river("yeast.csv.gz", "2969cb4bab877a27adcbe17871fa0b378a1e54b98816cd6106b542ee450a1c09"),
    n_rows=2417,
    n_features=103,
    n_anomalies=211,
    anomaly_meaning="genes in a functional category that holds less than 10% of the genes (9 or 14)",
    columns=(Column("Att*", "micro-array expression or phylogenetic profile, normalised"),),
    notes=(
        "This is the set with 14 overlapping labels, not the UCI set of protein localisation of that name.",
        "The labelling is ours, made before any detector was run: a gene's rare category is not known to be "
        "visible in its expression.",
    ),
)

SEGMENT = AnomalyCard(
    name="segment",
    title="Statlog (Image segmentation): brick faces",
    kind="fetch",
    citation="Statlog (Image Segmentation), UCI",
    licence=_RIVER,
    origin=_river("segment.csv.zip", "91e4402efcb6f6a4087e4bcfcd074976dd8e48819d290f45bae6bd652bd16d75"),
    n_rows=2310,
    n_features=18,
    n_anomalies=330,
    anomaly_meaning="regions of the class brickface",
    columns=(Column("*", "property of a 3 x 3 pixel region: place, lines, edges, colour"),),
    notes=(_FIRST_CLASS,),
)

PHISHING = AnomalyCard(
    name="phishing",
    title="Phishing web sites",
    kind="fetch",
    citation="Abdelhamid, Ayesh, Thabtah, Phishing detection based associative classification, 2014 (UCI)",
    licence=_RIVER,
    origin=_river("phishing.csv.gz", "d8a6d44bd9672e852b8a53ad2c64229f81972158a77d981073a98b17c27af7a9"),
    n_rows=1250,
    n_features=9,
    n_anomalies=548,
    anomaly_meaning="sites that phish",
    columns=(Column("*", "property of the site, coded 0, 0.5, 1 or 0, 1"),),
    notes=("Every column has two or three values, so that many rows are equal.",),
)
