"""Trained models that lie in the package, found by name and read offline.

A model ``<name>`` is the file ``weights/<name>.safetensors`` beside this module, in the format of
`DiffusionEstimator.save`, with a card ``weights/<name>.md`` that says on what it was trained, under which
licence, and by which command.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

__all__ = ["list_pretrained", "pretrained_card", "pretrained_file"]

_WEIGHTS = Path(__file__).parent / "weights"


def list_pretrained(folder: Path | None = None) -> list[str]:
    """Return the names of the models that are published with this version.

    Parameters
    ----------
    folder : Path, optional
        Where to look; the package's own by default.
    """
    return sorted(path.stem for path in (folder or _WEIGHTS).glob("*.safetensors"))


def pretrained_file(name: str, folder: Path | None = None) -> Path:
    """Return the file of a published model.

    Parameters
    ----------
    name : str
        One of `list_pretrained`.
    folder : Path, optional
        Where to look; the package's own by default.

    Raises
    ------
    ValueError
        If there is no such model, with the names of those there are.
    """
    names = list_pretrained(folder)
    if name in names:
        return (folder or _WEIGHTS) / f"{name}.safetensors"
    if not names:
        raise ValueError(
            f"there is no published model {name!r}: this version of sciffusion comes without trained weights "
            "for music; fit one, or read a file that save() wrote with LiveMusicDiffusion.load(path)"
        )
    close = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"there is no published model {name!r}; this version has {', '.join(names)}{hint}")


def pretrained_card(name: str, folder: Path | None = None) -> str:
    """Return the card of a published model: data, licence, command, measured quality.

    Raises
    ------
    ValueError
        As `pretrained_file`; or if the model has no card.
    """
    card = pretrained_file(name, folder).with_suffix(".md")
    if not card.is_file():
        raise ValueError(f"the published model {name!r} has no card")
    return card.read_text(encoding="utf-8")
