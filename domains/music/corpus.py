"""Training audio from scores: music21's bundled pieces, played by FluidSynth in several styles.

    from sciffusion.domains.music import load_corpus, render_corpus

    render_corpus("corpus", styles=("organ", "piano"), limit=50, jobs=2)
    recordings = [entry.wav for entry in load_corpus("corpus", split="train")]

A corpus is a folder: ``<piece>.<style>.wav``, ``<piece>.mid`` (the notes), ``corpus.csv``, a card
``README.md``, and ``corpus.json`` with the settings. A render that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .corpus_card import corpus_card
from .corpus_midi import midi_bytes, midi_seconds
from .corpus_scores import list_scores, read_score
from .corpus_synthesizer import PROGRAMS, Synthesizer, find_fluidsynth, find_soundfont, render_midi
from .corpus_table import TABLE, CorpusEntry, read_table, split_of_place, write_table

__all__ = ["RenderedCorpus", "render_corpus"]

SETTINGS = "corpus.json"
_MOST_SEMITONES = 24


class RenderedCorpus(NamedTuple):
    """What a render gave.

    Parameters
    ----------
    folder : Path
    entries : list of CorpusEntry
        Sound files of this and of earlier runs.
    failures : dict of str to str
        Pieces that could not be rendered, with the reasons.
    """

    folder: Path
    entries: list[CorpusEntry]
    failures: dict[str, str]

    def summary(self) -> str:
        """Return one line."""
        pieces = len({entry.piece for entry in self.entries})
        minutes = sum(entry.seconds for entry in self.entries) / 60
        failed = f"; {len(self.failures)} could not be rendered, see README.md" if self.failures else ""
        return f"{pieces} pieces in {len(self.entries)} sound files, {minutes:.1f} minutes{failed}"


class _Task(NamedTuple):
    """A piece at one pitch, with the styles that are still to be rendered."""

    piece: str
    path: Path
    split: str
    transpose: int
    styles: tuple[str, ...]


def render_corpus(
    out: str | os.PathLike[str],
    *,
    collection: str | Sequence[str | os.PathLike[str]] = "bach_chorales",
    styles: Sequence[str] = ("organ", "piano"),
    sample_rate: int = 24_000,
    limit: int | None = None,
    transpose: Sequence[int] = (),
    jobs: int = 1,
    soundfont: str | os.PathLike[str] | None = None,
    gain: float = 0.4,
    reverb: bool = True,
    progress: Callable[[int, int, str], object] | None = None,
) -> RenderedCorpus:
    """Render scores to sound files with two channels of 16 bits.

    Parameters
    ----------
    out : path-like
        Folder of the corpus, made if missing. Pieces that lie there finished are kept.
    collection : str or sequence of path-like
        Name of a collection of music21 (`COLLECTIONS`), or score files of one's own.
    styles : sequence of str
        Instruments, of `PROGRAMS`; each renders the whole collection.
    sample_rate : int
        Samples a second, 8000..96000.
    limit : int, optional
        Only the first so many pieces by name.
    transpose : sequence of int
        Further pitches, in semitones up, besides that of the score.
    jobs : int
        Processes (joblib).
    soundfont : path-like, optional
        By default the environment variable ``SCIFFUSION_SOUNDFONT`` or one in a usual place.
    gain : float
        FluidSynth's gain, 0..10. A render that would clip is turned down as a whole.
    reverb : bool
        Whether FluidSynth's room is heard.
    progress : callable, optional
        Called as ``progress(done, total, name)`` after each piece.

    Returns
    -------
    RenderedCorpus
        Pieces that fail are listed with the reason, and the others go on.

    Raises
    ------
    FileNotFoundError
        If FluidSynth or a soundfont is missing.
    ImportError
        If music21, mido or soundfile is not installed.
    ValueError
        For an unknown collection or style, values out of range, a folder that holds a corpus with other
        settings, or if no piece could be rendered.
    """
    _check(styles, sample_rate, limit, transpose, gain)
    pieces = list_scores(collection)
    optional_import("soundfile", "music")
    synthesizer = Synthesizer(find_fluidsynth(), find_soundfont(soundfont), sample_rate, gain, reverb)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    name = collection if isinstance(collection, str) else "own scores"
    _hold_settings(folder, {"collection": name, **synthesizer.settings()})
    kept = _finished(folder)
    tasks = list(_tasks(list(pieces.items())[:limit], sorted({0, *transpose}), styles, kept))
    failures: dict[str, str] = {}
    for done, (task, rendered, reason) in enumerate(_run(tasks, folder, synthesizer, jobs), 1):
        kept += rendered
        if rendered:
            write_table(folder, kept)
        if reason:
            failures[_name(task)] = reason
        if progress is not None:
            progress(done, len(tasks), f"{_name(task)}: {reason}" if reason else _name(task))
    if not kept:
        raise ValueError(f"no piece could be rendered; the first: {next(iter(failures.values()))}")
    kept.sort(key=lambda one: (one.piece, one.transpose, one.style))
    card = corpus_card(kept, failures, name, synthesizer.settings())
    write_atomically(folder / "README.md", lambda file: file.write(card.encode("utf-8")))
    return RenderedCorpus(folder, kept, failures)


def _check(
    styles: Sequence[str], sample_rate: int, limit: int | None, transpose: Sequence[int], gain: float
) -> None:
    unknown = [style for style in styles if style not in PROGRAMS]
    if unknown or isinstance(styles, str) or not styles:
        found = repr(unknown[0]) if unknown and not isinstance(styles, str) else repr(styles)
        raise ValueError(f"styles must be some of {', '.join(PROGRAMS)}, got {found}")
    if not 8_000 <= sample_rate <= 96_000:  # what FluidSynth renders
        raise ValueError(f"sample_rate must lie in 8000..96000 samples a second, got {sample_rate}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 piece, got {limit}")
    if any(not isinstance(one, int) or abs(one) > _MOST_SEMITONES for one in transpose):
        raise ValueError(f"transpose must hold whole semitones within {_MOST_SEMITONES}, got {transpose}")
    if not 0 < gain <= 10:
        raise ValueError(f"gain must lie in (0, 10], got {gain}")


def _hold_settings(folder: Path, settings: dict[str, object]) -> None:
    """Write the settings into a new folder; refuse one that holds sound made with others."""
    path = folder / SETTINGS
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in settings if found.get(name) != settings[name]]
        if other:
            raise ValueError(
                f"{str(folder)!r} holds a corpus with {other[0]} {found.get(other[0])!r}, not "
                f"{settings[other[0]]!r}; give another folder, or remove this one"
            )
        return
    text = json.dumps(settings, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def _finished(folder: Path) -> list[CorpusEntry]:
    if not (folder / TABLE).is_file():
        return []
    return [entry for entry in read_table(folder) if entry.wav.is_file() and entry.midi.is_file()]


def _tasks(
    pieces: Sequence[tuple[str, Path]],
    pitches: Sequence[int],
    styles: Sequence[str],
    kept: Iterable[CorpusEntry],
) -> Iterator[_Task]:
    have = {(entry.piece, entry.transpose, entry.style) for entry in kept}
    for place, (piece, path) in enumerate(pieces):
        for pitch in pitches:
            missing = tuple(style for style in dict.fromkeys(styles) if (piece, pitch, style) not in have)
            if missing:
                yield _Task(piece, path, split_of_place(place), pitch, missing)


def _run(
    tasks: Sequence[_Task], folder: Path, synthesizer: Synthesizer, jobs: int
) -> Iterator[tuple[_Task, list[CorpusEntry], str]]:
    if jobs == 1:
        yield from (_render(task, folder, synthesizer) for task in tasks)
        return
    from joblib import Parallel, delayed

    calls: Any = (delayed(_render)(task, folder, synthesizer) for task in tasks)
    yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)


def _name(task: _Task) -> str:
    return f"{task.piece}_{task.transpose:+d}" if task.transpose else task.piece


def _render(task: _Task, folder: Path, synthesizer: Synthesizer) -> tuple[_Task, list[CorpusEntry], str]:
    """Render one piece; whatever goes wrong with it becomes a reason, so that the others go on."""
    entries: list[CorpusEntry] = []
    try:
        score = read_score(task.path)
        notes = midi_bytes(score, transpose=task.transpose)
        seconds, midi = midi_seconds(notes), folder / f"{_name(task)}.mid"
        write_atomically(midi, lambda file: file.write(notes))
        for style in task.styles:
            wav = folder / f"{_name(task)}.{style}.wav"
            sounding = midi_bytes(score, program=PROGRAMS[style], transpose=task.transpose)
            rendering = render_midi(synthesizer, sounding, seconds, wav)
            entries.append(
                CorpusEntry(
                    task.piece, style, wav, midi, rendering.seconds, score.tempos[0][1], score.key,
                    task.split, task.transpose, rendering.gain, score.notice,
                )
            )  # fmt: skip
    except ImportError:
        raise
    except Exception as error:  # scores are files of strangers: music21 may fail on one in any way
        return task, entries, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return task, entries, ""
