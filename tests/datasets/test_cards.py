"""Cards say what they must, and the reference page is made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sciffusion.datasets import anomaly_card, dataset_card, list_anomaly_tables, list_datasets
from sciffusion.datasets.__main__ import reference_page

NAMES = list(list_datasets().index)


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name: str) -> None:
    card = dataset_card(name)
    assert card.name == name
    assert 0 < card.n_events < card.n_rows
    for text in (card.title, card.citation, card.licence, card.time_unit, card.event_meaning):
        assert text.strip()
    assert card.origin is not None
    assert re.fullmatch(r"[0-9a-f]{64}", card.origin.sha256)
    assert len({entry.name for entry in card.columns}) == len(card.columns)


@pytest.mark.parametrize("name", NAMES)
def test_both_renderings_say_everything(name: str) -> None:
    card = dataset_card(name)
    plain, markdown = str(card), card.to_markdown()
    assert max(map(len, plain.splitlines())) <= 100
    assert markdown.startswith(f"## {card.title}\n")
    flat = " ".join(plain.split())
    facts = [card.loader, card.time_unit, f"{card.censored_share:.1%}", card.citation]
    for text in [*facts, *card.dropped, *card.leaks, *card.notes, *map(str, card.columns)]:
        assert text in markdown
        assert text.replace(" ", "") in flat.replace(" ", "")


def test_card_without_an_entry_says_so() -> None:
    with pytest.raises(KeyError, match="shoe_size"):
        dataset_card("rossi").describe("shoe_size")


def test_reference_page_is_the_one_in_the_docs() -> None:
    page = Path(__file__).parents[2] / "docs" / "datasets.rst"
    if not page.exists():
        pytest.skip("the docs are not beside the tests")
    assert page.read_text(encoding="utf-8") == reference_page(), (
        "run python -m sciffusion.datasets > docs/datasets.rst"
    )


def test_reference_page_has_every_card_of_both_kinds() -> None:
    page = reference_page()
    cards = [dataset_card(name) for name in NAMES]
    tables = [anomaly_card(name) for name in list_anomaly_tables().index]
    for card in (*cards, *tables):
        assert page.count(f"   * - ``{card.loader}``\n") == 1
        for text in (card.title, card.citation, card.licence, *card.notes, *map(str, card.columns)):
            escaped = text.replace("*", "\\*").replace("_", "\\_").replace("`", "\\`").replace("|", "\\|")
            assert escaped in page
    for table in tables:
        assert table.anomaly_meaning.split(",")[0] in page.replace("\\", "")
