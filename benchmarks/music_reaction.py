"""How quickly and how well music answers: `python benchmarks/music_reaction.py --corpus FOLDER --model FILE`.

*Reaction time* from a change of a control to its first sample, for lengths of blocks, evaluations and
prebuffers (`music_reaction_timing.py`): measured times of blocks, in the real engine on a simulated clock.
*Where it is heard*: two streams of one seed, one of which is asked for something from a block on, are equal
before it and differ from its beginning.

*Following*: chroma of test excerpts is asked for, and what is made is compared with its own request and with
those of the others. *Jamming*: sound of a partner is pushed into a session, for several times by which the
stream is ahead of him or answers late, and what it plays is compared with him and with other partners
(`music_reaction_following.py`). The model that hears a partner is the one that is judged, if it can, or a
small one trained here on pieces in two styles (`music_reaction_partner.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from music_quality_data import RATE, Piece, excerpts, halves, read_pieces
from music_reaction_following import following_rows, jamming_rows
from music_reaction_partner import pairs, partner_model
from music_reaction_timing import ToneStream, block_seconds, first_change, random_session, reactions
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure

from sciffusion.domains.music.codec_files import load_codec
from sciffusion.domains.music.diffusion import LiveMusicDiffusion
from sciffusion.domains.music.pretrained import list_pretrained, pretrained_file

__all__ = ["QUICK", "Size", "main", "reaction_bars"]

HOP = 960
DEFAULT_BLOCK, DEFAULT_NFE = 24, 8


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Parameters
    ----------
    blocks : tuple of int
        Frames of 40 ms.
    nfes : tuple of int
    timed : int
        Blocks that are timed.
    changes : int
        Changes of a control, for every setting.
    prebuffers : tuple of float
        In blocks, besides that which the engine measures.
    pieces : int
        Excerpts that are asked for, and partners.
    seconds : float
        Their duration.
    following : tuple of (int, float)
        Evaluations and guidance.
    training : int
        Pieces for the model that hears a partner.
    training_seconds : float
        Of each.
    steps : int
        Its training steps; 0 trains none.
    sizes : dict
        Its other hyper-parameters.
    network : dict
        Sizes of the network that is timed.
    """

    blocks: tuple[int, ...] = (12, 24, 48)
    nfes: tuple[int, ...] = (4, 8)
    timed: int = 12
    changes: int = 60
    prebuffers: tuple[float, ...] = (1.5, 3.0)
    pieces: int = 6
    seconds: float = 12.0
    following: tuple[tuple[int, float], ...] = ((4, 1.0), (8, 1.0), (8, 2.0))
    training: int = 48
    training_seconds: float = 24.0
    steps: int = 400
    sizes: dict[str, Any] = field(
        default_factory=lambda: {
            "width": 96, "depth": 3, "batch_size": 4, "learning_rate": 2e-3, "warmup_steps": 30,
            "ema_decay": 0.98, "validation_fraction": 0.0,
        }
    )  # fmt: skip
    network: dict[str, int] = field(default_factory=dict)


QUICK = Size(
    blocks=(12, 24), nfes=(8,), timed=4, changes=20, prebuffers=(1.5,), pieces=3, seconds=8.0,
    following=((8, 1.0),), steps=0,
)  # fmt: skip


def timing_rows(codec: Any, size: Size) -> list[dict[str, Any]]:
    """Return times of blocks and reaction times for every setting."""
    rows = []
    for block in size.blocks:
        times = {
            nfe: block_seconds(random_session(codec, block=block, nfe=nfe, **size.network), size.timed)
            for nfe in size.nfes
        }
        length = block * HOP / RATE
        for nfe in size.nfes:
            for prebuffer in (None, *(share * length for share in size.prebuffers)):
                stream = ToneStream(block * HOP, {nfe: times[nfe]}, nfe)
                found = reactions(stream, size.changes, prebuffer=prebuffer)
                rows.append({
                    "block s": length, "nfe": nfe, "asked prebuffer s": prebuffer or float("nan"),
                    "block CPU s": float(np.median(times[nfe])),
                    "compute over audio": float(np.median(times[nfe])) / length, **found,
                })  # fmt: skip
    return rows


def _change_row(model: Any, codec: Any, size: Size) -> dict[str, Any]:
    """Return where a change is heard in the sound of a model, or of a network with random weights."""
    block = 3
    red = {"chroma": [1.0, 0, 0, 0, 1.0, 0, 0, 1.0, 0, 0, 0, 0]}
    if model is not None and "chroma" in model.layout_.names:
        streams = [model.stream(seed=3) for _ in range(2)]
    else:
        streams = [random_session(codec, **size.network) for _ in range(2)]
    found = first_change(streams[0], streams[1], block, **red)
    return {"stream": "model" if model is not None else "random weights", "asked before block": block,
            "difference before": found["before"], "first heard s": found["seconds"],
            "half heard s": found["half"]}  # fmt: skip


def _jamming(
    model: Any, pieces: Sequence[Piece] | None, codec: Any, size: Size, path: Path | None
) -> tuple[pd.DataFrame, str]:
    """Return the agreement with partners, and who played or why nobody did."""
    who = "the model"
    if model is None or "partner" not in model.layout_.names:
        if path is None and (pieces is None or codec is None or size.steps == 0):
            return pd.DataFrame(), "the model hears no partner, and none was trained here"
        model = partner_model(
            pieces or [], codec, count=size.training, seconds=size.training_seconds, steps=size.steps,
            path=path, **size.sizes,
        )  # fmt: skip
        who = (
            f"a model of width {model.width} and depth {model.depth}, trained for {model.max_steps} steps on "
            f"{size.training} training pieces to double a partner on another instrument"
        )
    if pieces is None:
        return pd.DataFrame(), "no corpus was given"
    _, partners = pairs(pieces, "test", size.pieces, size.seconds)
    length = min(len(one) for one in partners)
    block = model.block * model.codec_.hop / model.codec_.sample_rate
    # From an answer to a block that is known altogether, to the prediction of two blocks.
    settings = [(0.0, 0.0), (block, block), (block, 0.5 * block), (block, 0.0), (2.0 * block, 0.0)]
    rows = jamming_rows(model, [one[:length] for one in partners], settings, DEFAULT_NFE)
    return pd.DataFrame(rows).drop(columns=["row"]).set_index("ahead s"), who


def reaction_bars(
    timing: pd.DataFrame, change: dict[str, Any], following: pd.DataFrame, jamming: pd.DataFrame,
    why_not: str, why_no_partner: str,
) -> list[Bar]:  # fmt: skip
    """Give the bars."""
    late = float((timing["largest s"] - timing["prebuffer s"]).max())
    bars = [
        compare(
            "no change is heard later than the prebuffer and a read", late, 0.0205, at_most=True, unit=" s"
        ),
        compare("underruns", float(timing["underruns"].sum()), 0.0, at_most=True),
        compare("sound before the change is as without it", change["difference before"], 0.0, at_most=True),
        compare(
            "it is heard from the block's beginning", change["first heard s"], 0.1, at_most=True, unit=" s"
        ),
    ]
    default = timing[
        (timing["block s"] == DEFAULT_BLOCK * HOP / RATE) & (timing["nfe"] == DEFAULT_NFE)
        & timing["asked prebuffer s"].isna()
    ]  # fmt: skip
    name = "reaction time of the default, median"
    if len(default):
        bars.append(compare(name, float(default["median s"].iloc[0]), 1.5, at_most=True, unit=" s"))
    else:
        bars.append(Bar(name, None, "not among the settings of this run"))
    names = (
        "chroma is followed: half of the codec's agreement",
        "chroma is followed: gain over other requests",
    )
    if following.empty:
        bars += [Bar(name, None, why_not) for name in names]
    else:
        asked = following[following.index.str.startswith("asked")]
        best = asked.loc[asked["agreement"].idxmax()]
        ceiling = float(following.loc["codec round trip", "agreement"])
        bars.append(compare(names[0], float(best["agreement"]), 0.5 * ceiling, at_most=False))
        bars.append(compare(names[1], float(best["gain"]), 0.2, at_most=False))
    name = "a partner who is known is played along with: gain over other partners"
    if jamming.empty:
        return [*bars, Bar(name, None, why_no_partner)]
    known = jamming[jamming["unknown s"] == 0.0]
    return [*bars, compare(name, float(known["gain"].max()), 0.15, at_most=False)]


def _reading(
    timing: pd.DataFrame, change: dict[str, Any], following: pd.DataFrame, jamming: pd.DataFrame, who: str
) -> str:
    own = timing[timing["asked prebuffer s"].isna()]
    parts = [
        f"{row['block s']:.2f} s blocks with {row['nfe']:.0f} evaluations: median {row['median s']:.2f} s, "
        f"95 % within {row['p95 s']:.2f} s"
        for _, row in own.iterrows()
    ]
    lines = [
        "From a change to its first sample, the prebuffer measured by the engine: " + "; ".join(parts) + ". "
        "A change waits for the next block to be begun and then for what is buffered to be played, so it is "
        "heard between the fill at which blocks are begun and that and a block. These are times of a core "
        "that does nothing else.",
        f"In the sound itself the stream is the same to the last bit before the block "
        f"({change['difference before']:.1g}), and differs {1e3 * change['first heard s']:.1f} ms after its "
        f"first sample; half of the difference is heard within {1e3 * change['half heard s']:.0f} ms (the "
        "codec's lag is part of it).",
    ]
    if not following.empty:
        words = [
            f"{name} {row['agreement']:.2f} (others {row['with the others']:.2f})"
            for name, row in following.iterrows()
        ]
        lines.append("Agreement with the chroma that was asked for: " + "; ".join(words) + ".")
    if not jamming.empty:
        words = [
            f"{ahead:.2f} s ahead with a delay of {row['delay s']:.2f} s {row['agreement']:.2f} "
            f"(others {row['with the others']:.2f})"
            for ahead, row in jamming.iterrows()
        ]
        lines.append(f"Agreement with a partner, played by {who}: " + "; ".join(words) + ".")
    return "\n\n".join(lines)


def _draw(
    timing: pd.DataFrame, following: pd.DataFrame, jamming: pd.DataFrame, path: Path, note: str
) -> None:
    figure, axes = new_figure(columns=1 + (not following.empty) + (not jamming.empty), width=4.6)
    panels = list(axes[0])
    panel = panels.pop(0)
    for (nfe, asked), part in timing.assign(
        share=(timing["asked prebuffer s"] / timing["block s"]).round(2)
    ).groupby(["nfe", "share"], dropna=False):
        label = f"nfe {nfe}, " + ("measured" if asked != asked else f"{asked:g} blocks ahead")
        panel.plot(part["block s"], part["median s"], "o-", label=label)
        panel.fill_between(part["block s"], part["median s"], part["p95 s"], alpha=0.12)
    panel.set(xlabel="block, s", ylabel="reaction time, s (median to 95 %)", ylim=(0, None),
              title=f"From a change to its sound{note}")  # fmt: skip
    panel.legend(fontsize=7)
    if not following.empty:
        _bars(panels.pop(0), following, [str(name) for name in following.index], "Chroma that was asked for")
    if not jamming.empty:
        names = [
            f"{a:.1f} s ahead, delay {d:.1f} s"
            for a, d in zip(jamming.index, jamming["delay s"], strict=True)
        ]
        _bars(panels.pop(0), jamming, names, "Playing along with a partner")
    save_figure(figure, path)


def _bars(panel: Any, table: pd.DataFrame, names: list[str], title: str) -> None:
    places = np.arange(len(table))
    panel.barh(places - 0.2, table["agreement"], 0.4, color="#c1440e", label="with its own")
    panel.barh(places + 0.2, table["with the others"], 0.4, color="#b9b4a8", label="with the others")
    panel.set_yticks(places, names, fontsize=7)
    panel.invert_yaxis()
    panel.set(xlabel="chroma agreement", title=title)
    panel.legend(fontsize=7)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How quickly and how well music answers.")
    parser.add_argument("--corpus", type=Path, help="folder of rendered pieces")
    parser.add_argument("--model", type=Path, help="a saved model; the published one by default")
    parser.add_argument("--codec", type=Path, help="a saved codec, used where there is no model")
    parser.add_argument("--partner", type=Path, help="a model that hears a partner; written if not there")
    parser.add_argument("--quick", action="store_true", help="fewer settings; no partner")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_reaction"))
    return parser.parse_args(arguments)


def _loaded(options: argparse.Namespace, model: Any, codec: Any) -> tuple[Any, Any]:
    names = list_pretrained()
    if model is None and (options.model is not None or names):
        model = LiveMusicDiffusion.load(options.model or pretrained_file(names[0]))
    if codec is None:
        codec = model.codec_ if model is not None else load_codec(options.codec) if options.codec else None
    return model, codec


def main(
    arguments: Sequence[str] | None = None, size: Size | None = None, *,
    pieces: Sequence[Piece] | None = None, model: Any = None, codec: Any = None,
) -> int:  # fmt: skip
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    model, codec = _loaded(options, model, codec)
    if pieces is None and options.corpus is not None:
        pieces = read_pieces(options.corpus)
    timing = pd.DataFrame(timing_rows(codec, size))
    change = _change_row(model, codec, size)
    following, why_not = pd.DataFrame(), "no model was given"
    if model is not None and pieces is not None and "chroma" in model.layout_.names:
        asked = [one.samples for one in excerpts(halves(pieces)[0], size.pieces, size.seconds, seed=1)]
        following = pd.DataFrame(following_rows(model, asked, size.following)).set_index("row")
    elif model is not None:
        why_not = "no corpus was given, or the model has no chroma"
    jamming, who = _jamming(model, pieces, codec, size, options.partner)
    bars = reaction_bars(timing, change, following, jamming, why_not, who)
    sections = [
        ("What it says", _reading(timing, change, following, jamming, who)),
        ("Bars", bars_text(bars)),
    ]
    tables = {"timing": timing.set_index("block s"), "change": pd.DataFrame([change]).set_index("stream"),
              "following": following, "jamming": jamming}  # fmt: skip
    for name, table in tables.items():
        if not table.empty:
            write_table(options.out / f"{name}.csv", table)
            sections.append((name.capitalize(), markdown_table(table)))
    _draw(timing, following, jamming, options.out / "music_reaction.png", ", reduced run" if reduced else "")
    sections.append(("Picture", "![music_reaction.png](music_reaction.png)"))
    header = run_header(reduced, None if arguments is None else ["music_reaction.py", *arguments])
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "How quickly and how well music answers", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
