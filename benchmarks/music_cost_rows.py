"""What a second of audio costs: rows by context and evaluations, by width of the networks, by settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from music_cost_schemes import CACHED, SCHEMES, Place, Schemes, interleaved

__all__ = ["QUICK", "Size", "block_costs", "context_rows", "setting_rows", "width_rows"]


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    contexts: tuple[tuple[int, float], ...] = (
        *((25, seconds) for seconds in (2.0, 4.0, 8.0, 16.0, 30.0, 32.0)), (50, 8.0), (50, 30.0)
    )  # fmt: skip
    evaluations: tuple[int, ...] = (1, 2, 4, 8, 16, 50)
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    settings: tuple[str, ...] = ("packed", "torch")
    bar_rate: int = 25
    bar_context: float = 30.0
    width: int = 256
    depth: int = 6
    repeats: int = 8
    session_blocks: int = 40


QUICK = Size(
    contexts=((25, 2.0), (25, 30.0)), widths=(256,), settings=("packed", "torch"), repeats=3,
    session_blocks=8,
)  # fmt: skip

_PARTS = {"plain": 2, "encoder-decoder": 4, "block-causal": 4, "autoregressive": 8}


def block_costs(schemes: Schemes, names: Sequence[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Give the milliseconds of the first evaluation of a block and of each further one; of a frame twice."""
    timed = interleaved({name: schemes.call(name, _PARTS[name]) for name in names}, repeats)
    found = {}
    for name, parts in timed.items():
        rest = float(np.mean(parts[1:]))
        # Evaluations of everything, and of frames, are all alike; the first of the others also reads blocks.
        alike = name in ("plain", "autoregressive")
        found[name] = (float(np.mean(parts)),) * 2 if alike else (float(parts[0]), rest)
    return found


def _block(name: str, costs: dict[str, tuple[float, float]], place: Place, nfe: int) -> float:
    first, rest = costs[name]
    return first + rest * ((place.block if name == "autoregressive" else nfe) - 1)


def context_rows(size: Size) -> Iterator[dict[str, Any]]:
    """Measure every context; rows by number of evaluations."""
    for rate, context in size.contexts:
        place = Place(rate, context, width=size.width, depth=size.depth)
        schemes = Schemes(place)
        exact, costs = schemes.differences(), block_costs(schemes, SCHEMES, size.repeats)
        for nfe in size.evaluations:
            block = {name: _block(name, costs, place, nfe) for name in SCHEMES}
            causal, (first, rest) = block["block-causal"], costs["block-causal"]
            yield {
                "frames a second": rate, "context s": context, "context frames": place.frames,
                "evaluations": nfe, **{f"{name} ms": cost for name, cost in block.items()},
                "CPU s a second": causal / 1e3 / place.block_seconds,
                "over plain": block["plain"] / causal,
                "encoder-decoder over plain": block["plain"] / block["encoder-decoder"],
                "over autoregressive": block["autoregressive"] / causal,
                "break-even evaluations": 1 + max(block["autoregressive"] - first, 0.0) / rest,
                "ring MB": schemes.ring_megabytes(),
                **{f"{name} difference": exact[name] for name in CACHED},
            }  # fmt: skip


def _eight(label: dict[str, Any], place: Place, costs: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Give the row of eight evaluations a block."""
    block = {name: _block(name, costs, place, 8) for name in costs}
    causal = block["block-causal"]
    row = {**label, **{f"{name} ms": block.get(name, math.nan) for name in SCHEMES}}
    return row | {
        "over plain": block.get("plain", math.nan) / causal,
        "over autoregressive": block["autoregressive"] / causal,
    }


def width_rows(size: Size) -> Iterator[dict[str, Any]]:
    """Measure networks of other widths at the context of the bars, eight evaluations a block."""
    for width in size.widths:
        place = Place(size.bar_rate, size.bar_context, width=width, depth=size.depth)
        names = ("block-causal", "autoregressive")
        yield _eight({"width": width}, place, block_costs(Schemes(place), names, size.repeats))


def setting_rows(size: Size) -> Iterator[dict[str, Any]]:
    """Measure packed, plain and compiled layers at the context of the bars, eight evaluations a block."""
    place = Place(size.bar_rate, size.bar_context, width=size.width, depth=size.depth)
    for setting in size.settings:
        schemes = Schemes(place, setting)
        costs = block_costs(schemes, SCHEMES, size.repeats)
        yield _eight({"layers": setting}, place, costs)
        if setting == "packed":
            apart = interleaved({"apart": schemes.call("block-causal", 4, fused=False)}, size.repeats)
            parts = apart["apart"]
            costs["block-causal"] = (float(parts[0]), float(np.mean(parts[1:])))
            yield _eight({"layers": "packed, newest block read apart"}, place, costs)
