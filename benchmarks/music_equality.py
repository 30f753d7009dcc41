"""Whether streams of music are what the model says, in numbers: `python benchmarks/music_equality.py`.

Networks with random parameters evaluate a noisy block after n clean ones once with what a stream keeps (the
ring of keys of the block-causal network, the context of the encoder-decoder network) and once in one masked
evaluation of the whole history, in which every block has the controls that it was kept under. The controls
change every third block. The largest difference of the outputs is given by the number of blocks that have
left the window, for

- *filled*: blocks committed one by one, with positions that start anew (fixed), grow (offset) or begin at a
  million;
- *moved*: all keys turned to other positions half way;
- *restored*: a snapshot taken and restored after every block;
- *fused*: the last clean block read together with the first step;
- *two copies*: the evaluation of training;
- *jamming*: of the two newest blocks, and of the one that is settled now, more is known than when they were
  made, and they are read anew for every block.

Negative controls must differ: a recomputation from the window alone (block-causal keys know of blocks that
have left), and a stream that does not read the newest blocks anew. A stream made by the generator is compared
bit by bit with one interrupted inside a block and restored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.continuous import Euler, RectifiedFlow
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer
from sciffusion.sampling import BlockCausalGenerator, Hook, uniform_grid
from sciffusion.sampling.block_past import BlockPast

__all__ = ["equality_bars", "equality_rows", "main", "stream_rows"]

CHANNELS, CONDITIONS, REVISED, BATCH = 8, 3, 2, 2
TYPES = {"float32": torch.float32, "float64": torch.float64}
FAR = 1_000_000  # tokens


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    evictions: tuple[int, ...] = (0, 1, 7, 30)
    block: int = 8
    window: int = 4
    width: int = 64
    depth: int = 4


QUICK = Size(evictions=(0, 1, 7), block=4, window=3, width=32, depth=3)


@dataclass(frozen=True, eq=False)
class Case:
    """A network and a history of clean blocks with their controls, and a noisy block after it."""

    network: Any
    clean: Tensor
    noisy: Tensor
    time: Tensor
    size: Size

    @property
    def blocks(self) -> int:
        """Clean blocks."""
        return self.clean.shape[1] // self.size.block

    def part(self, start: int, stop: int) -> Tensor:
        """Give clean blocks."""
        return self.clean[:, start * self.size.block : stop * self.size.block]

    def controls(self, number: int, now: int | None = None) -> Tensor:
        """Give the controls of a block; of a late one what is known when block ``now`` is made."""
        generator = torch.Generator().manual_seed(number // 3)
        told = torch.randn(BATCH, self.size.block, CONDITIONS, generator=generator).to(self.clean)
        if now is None:
            return told
        known = torch.arange(self.size.block) < (now - number) * max(self.size.block // 2, 1)
        return torch.where(known[:, None], told, torch.nan)

    def joined(self, start: int, stop: int, now: Callable[[int], int] | None = None) -> Tensor:
        """Give the controls of several blocks."""
        numbers = range(start, stop)
        return torch.cat([self.controls(n, None if now is None else now(n)) for n in numbers], dim=1)

    def whole(self, start: int = 0, now: Callable[[int], int] | None = None) -> Tensor:
        """Evaluate the noisy block in one masked evaluation of the blocks from ``start`` on."""
        x = torch.cat([self.part(start, self.blocks), self.noisy], dim=1)
        times = torch.cat([torch.zeros_like(x[:, : -self.size.block, 0]), self._times()], dim=1)
        out: Tensor = self.network(x, times, self.joined(start, self.blocks + 1, now))
        return out[:, -self.size.block :]

    def after(self, cache: Any, now: Callable[[int], int] | None = None) -> Tensor:
        """Evaluate the noisy block after what a stream keeps."""
        told = self.joined(self.blocks, self.blocks + 1, now)
        out: Tensor = self.network(self.noisy, self.time, told, cache=cache)
        return out

    def filled(self, change: Callable[[Any, int], Any] = lambda cache, number: cache) -> Any:
        """Commit all clean blocks one by one; ``change`` is applied after each."""
        cache = change(self.network.start_cache(BATCH), -1)
        for number in range(self.blocks):
            cache = self.network.commit(self.part(number, number + 1), self.controls(number), cache)
            cache = change(cache, number)
        return cache

    def _times(self) -> Tensor:
        return self.time.expand(self.noisy.shape[:2])


def _case(size: Size, variant: Any, positions: Any, dtype: torch.dtype, evictions: int) -> Case:
    network = BlockLatentTransformer(
        CHANNELS, block=size.block, window=size.window, width=size.width, depth=size.depth, n_heads=4,
        positions=positions, n_conditions=CONDITIONS, variant=variant,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.12, generator=generator)
    blocks = size.window - 1 + evictions
    shape = (BATCH, (blocks + 1) * size.block, CHANNELS)
    x = torch.randn(shape, generator=generator).to(dtype)
    split = blocks * size.block
    network = network.to(dtype).eval().requires_grad_(False)
    return Case(network, x[:, :split], x[:, split:], torch.full((), 0.4, dtype=dtype), size)


def _jammed(case: Case, revise: int) -> Tensor:
    """Evaluate as a stream does in which the newest blocks are read anew for every block."""
    settled, size = case.network.start_cache(BATCH), case.size.block
    pending = case.clean[:, :0]
    for number in range(case.blocks + 1):
        count = pending.shape[1] // size
        told = [case.joined(number - count, number, lambda _, n=number: n)] if count else []
        past = BlockPast(case.network, (settled,), pending, told, max(count - revise, 0) * size)
        cache = past.read()[0]
        if number == case.blocks:
            break
        settled = past.settled()[0]
        pending = torch.cat([pending[:, past.settling :], case.part(number, number + 1)], dim=1)
    return case.after(cache, lambda _: case.blocks)


def _fused(case: Case) -> Tensor:
    cache = case.network.start_cache(BATCH)
    if case.blocks > 1:
        last = Case(case.network, case.part(0, case.blocks - 1), case.noisy, case.time, case.size)
        cache = last.filled()
    out: Tensor = case.network.extend(
        case.part(case.blocks - 1, case.blocks), case.controls(case.blocks - 1), cache,
        settled=case.size.block, x=case.noisy, times=case.time, condition=case.controls(case.blocks),
    ).prediction  # fmt: skip
    return out


def _trained(case: Case) -> Tensor:
    """Evaluate as training does; the noisy copies of the blocks before do not matter."""
    clean = torch.cat([case.clean, torch.zeros_like(case.noisy)], dim=1)
    noisy = torch.cat([torch.full_like(case.clean, 7.0), case.noisy], dim=1)
    if case.network.supervises_last:
        noisy = case.noisy
    told = case.joined(0, case.blocks + 1)
    times = case.time.expand(noisy.shape[:2])
    out: Tensor = case.network.beside(clean, condition=told)(noisy, times, told[:, -noisy.shape[1] :])
    return out[:, -case.size.block :]


def _restored(cache: Any, number: int) -> Any:
    return cache.restore(cache.snapshot())


def _comparisons(case: Case, variant: str, positions: str) -> Iterator[tuple[str, Tensor, Tensor, bool]]:
    """Yield what is compared, both outputs, and whether it is a negative control."""
    whole, causal = case.whole(), variant == "block_causal"
    middle = case.blocks // 2

    def settled(number: int) -> int:
        return min(case.blocks, number + REVISED + 1)

    yield "filled", case.after(case.filled()), whole, False
    yield "restored", case.after(case.filled(_restored)), whole, False
    yield "fused", _fused(case), whole, False
    yield "two copies", _trained(case), whole, False
    yield "jamming", _jammed(case, REVISED), case.whole(now=settled), False
    yield "control: jamming, nothing read anew", _jammed(case, 0), case.whole(now=settled), True
    if causal and positions == "offset":
        far = case.filled(
            lambda cache, number: (
                cache.rotate(FAR // case.size.block * case.size.block) if number < 0 else cache
            )
        )
        yield "filled from position 1e6", case.after(far), whole, False
        moved = case.filled(lambda cache, n: cache.rotate(-5 * case.size.block) if n == middle else cache)
        yield "moved", case.after(moved), whole, False
    if case.blocks > case.size.window - 1:
        alone = case.whole(case.blocks - case.size.window + 1)
        name = "window alone" if not causal else "control: window alone"
        yield name, alone, whole, causal


def equality_rows(size: Size) -> list[dict[str, Any]]:
    """Give the largest difference of every comparison."""
    rows = []
    kinds = [("block_causal", "fixed"), ("block_causal", "offset"), ("encoder_decoder", "fixed")]
    with torch.inference_mode():
        for name, dtype in TYPES.items():
            for variant, positions in kinds:
                for evictions in size.evictions:
                    case = _case(size, variant, positions, dtype, evictions)
                    for what, out, reference, control in _comparisons(case, variant, positions):
                        rows.append({
                            "case": what, "variant": variant,
                            "positions": positions if variant == "block_causal" else "-",
                            "evictions": evictions, "type": name,
                            "largest difference": float((out - reference).abs().max()),
                            "scale of the output": float(reference.std()), "control": control,
                        })  # fmt: skip
    return rows


class _Stop(Hook):
    def after_step(self, before: Any, after: Any) -> Any:
        if after.index == 2:
            raise InterruptedError
        return after


def stream_rows(size: Size) -> list[dict[str, Any]]:
    """Compare streams with such as were interrupted inside a block and restored; bit by bit."""
    rows = []
    for variant in ("block_causal", "encoder_decoder"):
        for fused in (False, True):
            case = _case(size, variant, "fixed", torch.float32, 0)

            def made(case: Case = case, fused: bool = fused, **options: Any) -> BlockCausalGenerator:
                denoiser = BlockLatentDenoiser(case.network, RectifiedFlow(), "flow")
                return BlockCausalGenerator(denoiser, Euler(), uniform_grid(4), frame_shape=(CHANNELS,),
                                            revise=REVISED, fused=fused, **options)  # fmt: skip

            def run(
                stream: Any, numbers: range, generator: Any, case: Case = case
            ) -> tuple[Any, list[Tensor]]:
                parts = []
                for now in numbers:
                    stream, block = generator.advance(stream, lambda n, now=now: case.controls(n, now))
                    parts.append(block.values)
                return stream, parts

            half, _ = run(made().start(BATCH, conditioned=True), range(6), made())
            try:
                run(half, range(6, 7), made(hooks=[_Stop()]))
            except InterruptedError:
                restored = made().restore(half.snapshot())
            (whole, expected), (again, found) = (run(s, range(6, 10), made()) for s in (half, restored))
            same = all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
            rows.append({"variant": variant, "fused": fused, "blocks": 10, "nfe": whole.nfe,
                         "identical": same and whole.nfe == again.nfe})  # fmt: skip
    return rows


def equality_bars(equality: pd.DataFrame, streams: pd.DataFrame) -> list[Bar]:
    """Give the bars."""
    bars = []
    for kind, limit in (("float32", 1e-5), ("float64", 1e-10)):
        for variant in ("block_causal", "encoder_decoder"):
            part = equality[(equality["type"] == kind) & (equality["variant"] == variant)]
            worst = float(part.loc[~part["control"], "largest difference"].max())
            bars.append(compare(f"{variant}: streamed equals the whole history in {kind}", worst, limit,
                                at_most=True))  # fmt: skip
    controls = equality[equality["control"]]
    for name, part in controls.groupby("case"):
        smallest = float(part["largest difference"].min())
        bars.append(compare(f"{name} is something else", smallest, 1e-3, at_most=False))
    bars.append(Bar("streams interrupted inside a block go on bit by bit", bool(streams["identical"].all()),
                    f"{len(streams)} cases"))  # fmt: skip
    return bars


def _reading(equality: pd.DataFrame) -> str:
    single = equality[(equality["type"] == "float32") & ~equality["control"]]
    worst = single.loc[single["largest difference"].idxmax()]
    control = equality[equality["case"] == "control: window alone"]["largest difference"]
    return (
        f"In float32 the largest difference of any comparison is {worst['largest difference']:.1e} "
        f"({worst['case']}, {worst['variant']}, {worst['evictions']} evictions), the outputs having a "
        f"standard deviation of about {single['scale of the output'].mean():.1f}; it does not "
        "grow with the number of blocks that have left the window. "
        f"A recomputation of the block-causal network from its window alone differs by {control.min():.1e} "
        "or more: the keys of deep layers know of what has left. The encoder-decoder network has no such "
        "memory, so its window alone is the whole truth."
    )


def _draw(equality: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=4.6)
    single = equality[equality["type"] == "float32"]
    for axis, variant in zip(axes[0], ("block_causal", "encoder_decoder"), strict=True):
        part = single[single["variant"] == variant]
        for name, rows in part.groupby("case", sort=False):
            worst = rows.groupby("evictions")["largest difference"].max()
            style = "--" if str(name).startswith("control") else "-"
            axis.plot(worst.index, worst.to_numpy().clip(1e-9), f"o{style}", label=name)
        axis.axhline(1e-5, color="black", linewidth=0.5)
        axis.set(yscale="log", xlabel="blocks that have left the window", ylabel="largest difference",
                 title=f"{variant.replace('_', ' ')}, float32{note}")  # fmt: skip
        axis.legend(fontsize=6)
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Streams against the whole history.")
    parser.add_argument("--quick", action="store_true", help="smaller networks, fewer evictions")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/music_equality"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    equality, streams = pd.DataFrame(equality_rows(size)), pd.DataFrame(stream_rows(size))
    bars = equality_bars(equality, streams)
    sections = [("What it says", _reading(equality)), ("Bars", bars_text(bars))]
    for name, table in (("equality", equality), ("streams", streams)):
        indexed = table.set_index(table.columns[0])
        write_table(options.out / f"{name}.csv", indexed)
        shown = indexed.copy()
        if "largest difference" in shown:
            shown["largest difference"] = [f"{value:.1e}" for value in shown["largest difference"]]
        sections.append((name.capitalize(), markdown_table(shown)))
    _draw(equality, options.out / "music_equality.png", ", reduced run" if reduced else "")
    sections.append(("Picture", "![music_equality.png](music_equality.png)"))
    header = run_header(reduced, None if arguments is None else ["music_equality.py", *arguments])
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "Streams of music against the whole history", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
