"""Bars, reading and picture of what music costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from bars import Bar, compare
from music_cost_rows import Size
from music_cost_schemes import CACHED, SCHEMES
from survival_pictures import new_figure, save_figure

__all__ = ["cost_bars", "draw", "reading"]

COLOURS = dict(zip(SCHEMES, ("#5b7083", "#e0a458", "#c1440e", "#2a6f4e"), strict=True))


def _at(context: pd.DataFrame, size: Size, rate: int | None = None, nfe: int = 8) -> pd.DataFrame:
    rate = size.bar_rate if rate is None else rate
    chosen = (context["frames a second"] == rate) & (context["context s"] == size.bar_context)
    return context[chosen & (context["evaluations"] == nfe)]


def cost_bars(context: pd.DataFrame, session: pd.DataFrame, size: Size) -> list[Bar]:
    """Give the bars; cost bars are decided at the frame rate of the default model."""
    worst = float(context[[f"{name} difference" for name in CACHED]].to_numpy().max())
    bars = [compare("cached equals one masked evaluation of everything", worst, 1e-5, at_most=True)]
    here = _at(context, size)
    for column, limit in (("over plain", 10.0), ("over autoregressive", 2.0)):
        name = (
            f"block-causal {limit:.0f} x cheaper than {column[5:]} at {size.bar_context:.0f} s, 8 evaluations"
        )
        if size.width == 256 and len(here):
            bars.append(compare(name, float(here[column].iloc[0]), limit, at_most=False))
        else:
            bars.append(Bar(name, None, "needs the default model and this context"))
    name = "real-time factor on one core, codec included"
    if size.width == 256:
        bars.append(
            compare(name, float(session["real-time factor with controls"].iloc[0]), 0.3, at_most=True)
        )
    else:
        bars.append(Bar(name, None, "needs the default model"))
    return bars


def reading(tables: dict[str, pd.DataFrame], size: Size) -> str:
    """Say what the numbers say, losses included."""
    context, session = tables["context"], tables["session"].iloc[0]
    widths, settings = tables["widths"], tables["settings"]
    one = context[context["evaluations"] == 1]
    eight = context[(context["evaluations"] == 8) & (context["frames a second"] == size.bar_rate)]
    first, last = eight.iloc[0], eight.iloc[-1]
    fifty = context.loc[context["evaluations"] == 50, "over autoregressive"]
    text = [
        "Each number is CPU time of one thread: the parts of a block, one an evaluation, each the smallest "
        "of several repeats, schemes in turns. Costs for other numbers of evaluations are put together from "
        "the first evaluation and the mean of the further ones; those of plain outpainting and of frames of "
        "codes from the mean of theirs. Plain outpainting is in its cheapest form (one time for all frames, "
        "no mask), so its numbers are lower bounds.",
        f"With 8 evaluations a block, block-causal blocks cost {first['over plain']:.1f} x less than plain "
        f"outpainting at {first['context s']:.0f} s of context and {last['over plain']:.1f} x at "
        f"{last['context s']:.0f} s; the encoder-decoder, which reads its context anew for every block, "
        f"{first['encoder-decoder over plain']:.1f} x and {last['encoder-decoder over plain']:.1f} x.",
        f"*Losses.* With one evaluation a block the reading of the newest block is half of the work: "
        f"{one['over plain'].min():.1f} x to {one['over plain'].max():.1f} x against plain, and the "
        f"encoder-decoder {one['encoder-decoder over plain'].min():.1f} x to "
        f"{one['encoder-decoder over plain'].max():.1f} x. With 50 evaluations the ratio to frames of codes "
        f"is {fifty.min():.2f} x to {fifty.max():.2f} x: below 1 codes are cheaper.",
        _against_codes(context, widths, settings, size),
        f"A step of the default model's session (24 frames, window of 8 blocks, 8 evaluations) takes "
        f"{session['whole step ms']:.0f} ms for 0.96 s of sound, {session['step with controls ms']:.0f} ms "
        f"with controls set: network {session['network ms']:.0f}, sampler {session['sampler ms']:.1f}, codec "
        f"{session['codec ms']:.1f}, session {session['session ms']:.1f}. Real-time factor "
        f"{session['real-time factor with controls']:.3f}; the ring holds {session['ring MB']:.1f} MB. The "
        "quantiles are of a busy machine: those by the clock on the wall say how busy it was.",
    ]
    return "\n\n".join(text)


def _against_codes(context: pd.DataFrame, widths: pd.DataFrame, settings: pd.DataFrame, size: Size) -> str:
    eight = context[context["evaluations"] == 8]
    at_bar = _at(context, size)
    text = (
        f"*Against frames of codes* at the same frame rate, a block of 8 evaluations costs "
        f"{eight['over autoregressive'].min():.2f} x to {eight['over autoregressive'].max():.2f} x less; the "
        f"break-even lies at {context['break-even evaluations'].min():.1f} to "
        f"{context['break-even evaluations'].max():.1f} evaluations. A block of n frames takes n evaluations "
        "of one frame there and 8 of n frames here. Where an evaluation costs the same however many frames "
        "it has (weights read from memory, kernels launched), that is n / 8 times fewer, 3 at 25 frames a "
        "second; where arithmetic decides, it is 8 times more of it. One core and networks of this size lie "
        "in between."
    )
    if len(widths) > 1:
        pairs = ", ".join(
            f"{row['width']}: {row['over autoregressive']:.2f} x" for _, row in widths.iterrows()
        )
        text += f" By width of both networks: {pairs}."
    pairs = ", ".join(
        f"{row['layers']}: {row['over autoregressive']:.2f} x" for _, row in settings.iterrows()
    )
    text += f" By how linear layers are computed, for all alike: {pairs}."
    fifty = _at(context, size, rate=50)
    if len(fifty) and len(at_bar):
        ratio = float(fifty["autoregressive ms"].iloc[0]) / float(at_bar["block-causal ms"].iloc[0])
        text += (
            f" Frames of codes at 50 a second, against ours at 25 and a context of {size.bar_context:.0f} s: "
            f"{ratio:.2f} x. This is not the bar, which compares equal rates."
        )
    return text


def _pairs(table: pd.DataFrame, column: str) -> str:
    pairs = zip(table[column], table["over autoregressive"], strict=True)
    return ", ".join(f"{label} {ratio:.2f} x" for label, ratio in pairs)


def draw(tables: dict[str, pd.DataFrame], size: Size, path: Path, note: str) -> None:
    """Draw cost by context, cost by evaluations and the ratio by width."""
    figure, axes = new_figure(columns=3, width=4.4)
    left, middle, right = axes[0]
    context = tables["context"]
    same = context[context["frames a second"] == size.bar_rate]
    eight, far = same[same["evaluations"] == 8], same[same["context s"] == same["context s"].max()]
    seconds = 960.0  # milliseconds of sound in a block
    for name in SCHEMES:
        given: dict[str, Any] = {"color": COLOURS[name], "label": name}
        left.plot(eight["context s"], eight[f"{name} ms"] / seconds, "o-", **given)
        middle.plot(far["evaluations"], far[f"{name} ms"] / seconds, "o-", **given)
    left.set(xscale="log", yscale="log", xlabel="context, s", ylabel="CPU s a second of sound",
             title=f"8 evaluations a block{note}")  # fmt: skip
    middle.set(xscale="log", yscale="log", xlabel="evaluations a block",
               title=f"context {far['context s'].max():.0f} s")  # fmt: skip
    left.legend(fontsize=8)
    widths = tables["widths"]
    right.plot(widths["width"], widths["over autoregressive"], "s-", color=COLOURS["block-causal"])
    right.axhline(1.0, color="black", linewidth=0.5)
    right.set(xscale="log", xlabel="width of both networks", ylabel="codes over block-causal",
              title=f"8 evaluations, context {size.bar_context:.0f} s")  # fmt: skip
    save_figure(figure, path)
