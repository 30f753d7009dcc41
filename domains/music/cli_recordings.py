"""The recordings that a command names: a rendered corpus, folders of sound files, or files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .corpus_table import TABLE, CorpusEntry, load_corpus

__all__ = ["ENDINGS", "Recordings", "find_recordings"]

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")


class Recordings(NamedTuple):
    """Sound files, and what is known of each.

    Parameters
    ----------
    files : list of Path
    controls : list of dict
        Styles, tempos and notes (MIDI files), as far as they are known.
    """

    files: list[Path]
    controls: list[dict[str, Any]]

    def known(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return what is known of these controls."""
        return [{name: value for name, value in one.items() if name in names} for one in self.controls]

    @property
    def tags(self) -> list[str]:
        """Styles that occur."""
        return sorted({one["style"] for one in self.controls if "style" in one})


def find_recordings(
    data: Sequence[Path], *, split: str | None = None, styles: Sequence[str] = ()
) -> Recordings:
    """Return the recordings that paths name.

    Parameters
    ----------
    data : sequence of Path
        Folders of `render_corpus`, of which ``split`` is taken; other folders, of which all sound files are,
        with the name of their own folder as style; or sound files.
    split : str, optional
        Part of a corpus.
    styles : sequence of str
        Only these styles of a corpus; all if empty.

    Raises
    ------
    FileNotFoundError
        If a path does not exist, or a folder holds no sound files.
    """
    files: list[Path] = []
    controls: list[dict[str, Any]] = []
    for path in data:
        if (path / TABLE).is_file():
            for entry in load_corpus(path, split=split, styles=list(styles) or None):
                files.append(entry.wav)
                controls.append(_known(entry))
        elif path.is_dir():
            found = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS)
            if not found:
                raise FileNotFoundError(
                    f"the folder {str(path)!r} holds no sound files ({', '.join(ENDINGS)})"
                )
            files += found
            controls += [{"style": one.parent.name} for one in found]
        elif path.is_file():
            files.append(path)
            controls.append({})
        else:
            raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    return Recordings(files, controls)


def _known(entry: CorpusEntry) -> dict[str, Any]:
    return {"style": entry.style, "tempo": entry.tempo, "roll": entry.midi}
