"""Published models are found by name, with their card, and a wrong name lists those there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciffusion.domains.molecules.pretrained import list_pretrained, pretrained_card, pretrained_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "moses-small.safetensors").write_bytes(b"")
    (tmp_path / "moses-small.md").write_text("trained on MOSES")
    (tmp_path / "bare.safetensors").write_bytes(b"")
    (tmp_path / "notes.md").write_text("no model")
    return tmp_path


def test_models_are_found_by_name(folder: Path) -> None:
    assert list_pretrained(folder) == ["bare", "moses-small"]
    assert pretrained_file("moses-small", folder) == folder / "moses-small.safetensors"
    assert pretrained_card("moses-small", folder) == "trained on MOSES"


def test_a_wrong_name_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(ValueError, match="this version has bare, moses-small; did you mean 'moses-small'"):
        pretrained_file("moses-smal", folder)
    with pytest.raises(ValueError, match="has no card"):
        pretrained_card("bare", folder)


def test_without_any_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comes without trained weights"):
        pretrained_file("moses-small", tmp_path)


def test_every_published_model_has_its_card() -> None:
    for name in list_pretrained():
        assert pretrained_card(name)
