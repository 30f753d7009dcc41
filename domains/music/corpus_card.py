"""The card of a rendered corpus: what it is, what it is not, and under which terms its parts stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .corpus_table import SPLITS, CorpusEntry

__all__ = ["corpus_card"]

_TERMS = """\
## Terms

These are synthetic renders of real scores, made on this machine for its user. **Do not redistribute them.**

- The scores come with music21 (BSD 3-clause), but they were encoded by others and carry their own notices.
- The sound is that of the soundfont, which has its own licence (the one packaged as fluid-soundfont-gm is
  under the MIT licence; others are not).
- Nobody played this: timing is the notation's, every note has nearly the same strength, repeats are played as
  written and ornaments without a length are left out. A model fitted on it learns synthetic sound.
"""


def corpus_card(
    entries: Sequence[CorpusEntry],
    failures: Mapping[str, str],
    collection: str,
    settings: Mapping[str, object],
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    entries : sequence of CorpusEntry
        What was rendered.
    failures : mapping of str to str
        Pieces that were not, with the reasons.
    collection : str
        Where the scores are from.
    settings : mapping of str to object
        How they were rendered.
    """
    seconds = sum(entry.seconds for entry in entries)
    pieces = {entry.piece for entry in entries}
    lines = [
        "# Rendered corpus",
        "",
        f"{len(pieces)} pieces of the collection `{collection}` in {len(entries)} sound files, "
        f"{seconds / 60:.0f} minutes, rendered by FluidSynth "
        f"({', '.join(f'{name} {value}' for name, value in settings.items())}).",
        "",
        "| split | pieces | files | minutes |",
        "|---|---|---|---|",
        *(_split_row(split, entries) for split in SPLITS),
        "",
        "The split is by piece: all styles and transpositions of a piece are on one side. `corpus.csv` says",
        "what each file is; read it with `sciffusion.domains.music.load_corpus`.",
        "",
        _TERMS,
        *_notices(entries),
        *_failures(failures),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _split_row(split: str, entries: Sequence[CorpusEntry]) -> str:
    here = [entry for entry in entries if entry.split == split]
    minutes = sum(entry.seconds for entry in here) / 60
    return f"| {split} | {len({entry.piece for entry in here})} | {len(here)} | {minutes:.1f} |"


def _notices(entries: Sequence[CorpusEntry]) -> list[str]:
    counts = Counter(notice for _, notice in {(entry.piece, entry.notice) for entry in entries} if notice)
    if not counts:
        return ["None of the scores carries a copyright notice of its own.", ""]
    listed = [f"- {notice} ({count} pieces)" for notice, count in counts.most_common()]
    return ["Notices in the scores:", "", *listed, ""]


def _failures(failures: Mapping[str, str]) -> list[str]:
    if not failures:
        return []
    return ["## Left out", "", *(f"- {piece}: {reason}" for piece, reason in sorted(failures.items())), ""]
