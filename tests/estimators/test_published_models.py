"""Published models are found by name, with their card, and a wrong name lists those there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciffusion.domains.molecules import pretrained as molecules
from sciffusion.domains.music import pretrained as music
from sciffusion.estimators.published_models import PublishedModels


@pytest.fixture
def models(tmp_path: Path) -> PublishedModels:
    (tmp_path / "moses-small.safetensors").write_bytes(b"")
    (tmp_path / "moses-small.md").write_text("trained on MOSES")
    (tmp_path / "bare.safetensors").write_bytes(b"")
    (tmp_path / "notes.md").write_text("no model")
    return PublishedModels(tmp_path, "molecules", "MoleculeDiffusion")


def test_models_are_found_by_name(models: PublishedModels) -> None:
    assert models.names() == ["bare", "moses-small"]
    assert models.file("moses-small") == models.folder / "moses-small.safetensors"
    assert models.card("moses-small") == "trained on MOSES"


def test_a_wrong_name_lists_those_there_are(models: PublishedModels) -> None:
    with pytest.raises(ValueError, match="this version has bare, moses-small; did you mean 'moses-small'"):
        models.file("moses-smal")
    with pytest.raises(ValueError, match="has no card"):
        models.card("bare")


def test_without_any_the_error_says_so(tmp_path: Path) -> None:
    none = PublishedModels(tmp_path / "weights", "molecules", "MoleculeDiffusion")
    with pytest.raises(ValueError, match=r"comes without trained weights for molecules.*MoleculeDiffusion"):
        none.file("moses-small")


@pytest.mark.parametrize("domain", [molecules, music])
def test_every_published_model_has_its_card(domain: object) -> None:
    for name in domain.list_pretrained():  # type: ignore[attr-defined]
        assert domain.pretrained_card(name)  # type: ignore[attr-defined]


def test_the_model_of_chorales_is_published() -> None:
    assert "bach_chorales_piano" in music.list_pretrained()
    with pytest.raises(ValueError, match="did you mean 'bach_chorales_piano'"):
        music.pretrained_file("bach_chorale_piano")
