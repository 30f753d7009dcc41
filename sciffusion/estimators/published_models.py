"""Trained models that lie in the package, found by name and read offline.

A model ``<name>`` is the file ``<name>.safetensors`` in the weights folder of its domain, in the format of
`DiffusionEstimator.save`, with a card ``<name>.md`` that says on what it was trained, under which licence,
and by which command.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

__all__ = ["PublishedModels"]


@dataclass(frozen=True)
class PublishedModels:
    """The models of a domain that are published with this version.

    Parameters
    ----------
    folder : Path
        Where they lie.
    subject : str
        What they are for, in error messages.
    estimator : str
        Name of the class that reads them.
    """

    folder: Path
    subject: str
    estimator: str

    def names(self) -> list[str]:
        """Return the names of all models."""
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def file(self, name: str) -> Path:
        """Return the file of a model.

        Raises
        ------
        ValueError
            If there is no such model, with the names of those there are.
        """
        names = self.names()
        if name in names:
            return self.folder / f"{name}.safetensors"
        if not names:
            raise ValueError(
                f"there is no published model {name!r}: this version of sciffusion comes without trained "
                f"weights for {self.subject}; fit one, or read a file that save() wrote with "
                f"{self.estimator}.load(path)"
            )
        close = get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no published model {name!r}; this version has {', '.join(names)}{hint}")

    def card(self, name: str) -> str:
        """Return the card of a model: data, licence, command, measured quality.

        Raises
        ------
        ValueError
            As `file`; or if the model has no card.
        """
        card = self.file(name).with_suffix(".md")
        if not card.is_file():
            raise ValueError(f"the published model {name!r} has no card")
        return card.read_text(encoding="utf-8")
