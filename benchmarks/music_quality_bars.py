"""The gates of music_quality.py, and what its tables say in words."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from bars import Bar, compare

__all__ = ["NOISES", "quality_bars", "reading"]

NOISES = ("white noise", "noise through the codec")
SHARE_OF_WAY = 1.0 / 3.0
TIMES_REAL = 2.0
CODEC_SHARE = 0.9
# Of the passages of music that is no copy, 5 % are flagged; three standard errors of 40 passages more.
MOST_FLAGGED = 0.15
LEAST_RATIO = 0.8


def quality_bars(
    table: pd.DataFrame, codec: pd.DataFrame, halves: float, judged: tuple[str, ...], model: str | None
) -> list[Bar]:
    """Give the gates.

    Parameters
    ----------
    table : DataFrame
        Rows of `Judge.score` by name.
    codec : DataFrame
        By style: ``real`` and ``codec``, the note F1 before and after the round trip.
    halves : float
        Mean pitch-class distance between random halves of the real excerpts.
    judged : tuple of str
        Rows that the gates are about.
    model : str or None
        Why there is no model, where there is none.
    """
    bars = [*_codec_bars(table, codec), *_instrument_bars(table)]
    for row in judged or ("made",):
        bars += _embedding_bars(table, row, model)
        name = f"{row}: pitch-class distance at most twice that of real halves"
        if row not in table.index:
            bars.append(Bar(name, None, str(model)))
            continue
        bars.append(compare(name, table.loc[row, "pitch-class JS"], TIMES_REAL * halves, at_most=True))
        if "flagged copies" in table.columns:
            flagged, ratio = table.loc[row, "flagged copies"], table.loc[row, "nearest training ratio"]
            bars.append(compare(f"{row}: passages flagged as copies", flagged, MOST_FLAGGED, at_most=True))
            bars.append(compare(f"{row}: distance to training pieces", ratio, LEAST_RATIO, at_most=False))
    return bars


def _embedding_bars(table: pd.DataFrame, row: str, model: str | None) -> list[Bar]:
    """Give the gates of Fréchet distances: towards white noise, and, more than is asked, the nearer noise."""
    bars = []
    for embedding in [name for name in table.columns if name.startswith("FD")]:
        for noise in [noise for noise in NOISES if noise in table.index]:
            name = f"{row}: {embedding} within a third of the way from the codec to {noise}"
            if row not in table.index:
                bars.append(Bar(name, None, str(model)))
                continue
            best = table.loc["codec round trip", embedding]
            limit = best + SHARE_OF_WAY * (table.loc[noise, embedding] - best)
            bars.append(compare(name, table.loc[row, embedding], limit, at_most=True))
    return bars


def _codec_bars(table: pd.DataFrame, codec: pd.DataFrame) -> list[Bar]:
    if "codec round trip" not in table.index:
        return [Bar("codec: note F1 at least .9 of that of real audio", None, "no codec was given")]
    if codec.empty:
        return [
            Bar("codec: note F1 at least .9 of that of real audio", None, "nothing transcribes notes here")
        ]
    return [
        compare(f"codec: note F1 on {style} over that of real audio", row["codec"] / row["real"], CODEC_SHARE,
                at_most=False)
        for style, row in codec.iterrows()
    ]  # fmt: skip


def _instrument_bars(table: pd.DataFrame) -> list[Bar]:
    """Say whether the measures tell what they must: real from noise, copies from music."""
    bars = []
    for embedding in [name for name in table.columns if name.startswith("FD")]:
        ratio = table.loc[NOISES[0], embedding] / table.loc["real, other half", embedding]
        bars.append(
            compare(f"the measure: {embedding} of white noise over that of real", ratio, 3.0, at_most=False)
        )
    if "flagged copies" in table.columns:
        copies = table.loc["copies of training pieces", "flagged copies"]
        bars.append(compare("the measure: copies that are flagged", copies, 0.9, at_most=False))
    return bars


def reading(
    table: pd.DataFrame, codec: pd.DataFrame, halves: float, judged: tuple[str, ...],
    drift: Mapping[str, float], model: str | None,
) -> str:  # fmt: skip
    """Say in words what was found."""
    real = table.loc["real, other half"]
    lines = [
        "Real music of the other half of the test pieces scores "
        + ", ".join(f"{name} {real[name]:.3f}" for name in table.columns if name.startswith("FD"))
        + f" and a pitch-class distance of {real['pitch-class JS']:.3f} ({halves:.3f} on average over random "
        "halves by piece): what a perfect model would reach."
    ]
    if not codec.empty and "codec" in codec:
        parts = [
            f"{style} {row['real']:.3f} before and {row['codec']:.3f} after the round trip"
            for style, row in codec.iterrows()
        ]
        lines.append(
            "Note F1 against the notes that were played: " + "; ".join(parts) + ". Where the first number is "
            "small it is the transcriber that does not know the instrument, not the music."
        )
    for row in judged:
        if row in table.index:
            lines.append(_row_words(table, row))
    if model is not None:
        lines.append(f"No model was judged: {model}.")
    if drift:
        lines.append(
            f"Along {drift['minutes']:.1f} minutes of {drift['streams']:.0f} streams the FD on log-mel "
            f"changes by {drift['slope']:+.3f} a minute (standard error {drift['error']:.3f}; "
            f"{drift['first']:.2f} in the first window, {drift['last']:.2f} in the last)."
        )
    lines.append(
        "Moments of real pieces in random order have about the Fréchet distances of real music: these "
        "distances see sounds, not their order. Intervals, the memorisation check and the ear are about the "
        "order. Pieces are synthetic renders of real scores, so 'real' means rendered."
    )
    return "\n\n".join(lines)


def _row_words(table: pd.DataFrame, row: str) -> str:
    found = []
    for embedding in [name for name in table.columns if name.startswith("FD")]:
        best = table.loc["codec round trip", embedding] if "codec round trip" in table.index else 0.0
        noise = min(table.loc[noise, embedding] for noise in NOISES if noise in table.index)
        way = 100.0 * (table.loc[row, embedding] - best) / (noise - best)
        found.append(f"{way:.0f} % of the way from the codec to the nearer noise in {embedding}")
    words = f"{row}: " + ", ".join(found)
    if "notes a second" in table.columns:
        words += (
            f"; {table.loc[row, 'notes a second']:.1f} notes a second heard "
            f"(real {table.loc['real, other half', 'notes a second']:.1f})"
        )
    return words + "."
