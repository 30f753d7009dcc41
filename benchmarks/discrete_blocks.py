"""Block by block from cached keys, and drafted steps: `python benchmarks/discrete_blocks.py`.

*Equality.* A network with random parameters evaluates the last of ten blocks once with the keys of the others
from the ring, filled block by block, and once in one masked evaluation of the whole history. With a window of
three blocks seven of them leave the ring; a recomputation from the window alone is the negative control.

*Cost.* CPU time of what makes up a block (an evaluation of context and target together, one of the target on
a full ring, a commit), smallest of several runs on one thread, for a context that grows; K evaluations a
block, and one commit with the ring.

*Drafts.* A small masked network is trained on sequences of a Markov chain, all blocks at once. Blocks are
made greedily or by ancestral steps, one evaluation a step, and with drafted steps verified in one evaluation,
drafted from the old prediction or by the exact posterior of counted bigrams: same tokens or not, evaluations
of the network one after the other, CPU time. The network also drafts for the chain itself as autoregressive
target, whose law must come out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from blocks_equality import equality_rows, streaming_rows
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table
from scipy.stats import chisquare
from survival_pictures import new_figure, save_figure
from torch import Tensor

from sciffusion.discrete import Ancestral, Mask, MaskELBO, NetworkTokenDenoiser
from sciffusion.exact import MarkovChainOracle
from sciffusion.networks import BlockCausalTransformer, BlockTokenTransformer, block_times
from sciffusion.sampling import BlockCausalGenerator, GreedyReveal, speculative_tokens, uniform_grid

__all__ = ["block_bars", "cost_rows", "draft_rows", "main", "target_row", "train"]

VOCAB, LENGTH, BLOCK = 8, 64, 16
PLANS = [*((draft, "old prediction") for draft in (1, 2, 4, 8)), (4, "bigrams"), (8, "bigrams")]
SOLVERS: dict[str, Any] = {"greedy": GreedyReveal(), "ancestral": Ancestral()}


@dataclass(frozen=True)
class Size:
    """How much a run does."""

    contexts: tuple[int, ...] = (48, 96, 192, 384, 768, 1536)
    width: int = 256
    depth: int = 6
    target: int = 48
    repeats: int = 5
    training_steps: int = 500
    singles: int = 12
    batch: int = 32
    verified: int = 2000


QUICK = Size(contexts=(48, 192, 384), repeats=3, training_steps=150, singles=4, batch=16, verified=1000)


def _cpu(call: Callable[[], Any], repeats: int) -> float:
    """Give the smallest CPU milliseconds of a call, after one that warms up."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return 1e3 * min(seconds)


def cost_rows(size: Size) -> list[dict[str, Any]]:
    """Measure what a block costs with and without the ring, for every context."""
    rows = []
    for context in size.contexts:
        network = BlockCausalTransformer(
            size.width, size.depth, 4, block=size.target, window=context // size.target + 1
        )
        network = network.eval().requires_grad_(False)
        shape = (1, context + size.target, size.width)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        last = x[:, context:]
        with torch.inference_mode():
            ring = network.commit(x[:, :context], x[:, :context], network.start_cache(1))
            whole = _cpu(lambda n=network, x=x: n(x, x), size.repeats)
            step = _cpu(lambda n=network, x=last, r=ring: n(x, x, r), size.repeats)
            commit = _cpu(lambda n=network, x=last, r=ring: n.commit(x, x, r), size.repeats)
        for steps in (1, 8, 50):
            plain, cached = steps * whole, steps * step + commit
            rows.append({"context": context, "target": size.target, "evaluations": steps,
                         "whole ms": whole, "cached ms": step, "commit ms": commit,
                         "block, whole ms": plain, "block, cached ms": cached,
                         "speed-up": plain / cached})  # fmt: skip
    return rows


def train(chain: MarkovChainOracle, steps: int) -> tuple[BlockTokenTransformer, float]:
    """Train a masked block-causal network on draws of the chain; give it with its CPU seconds."""
    process, generator = Mask(VOCAB), torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BlockTokenTransformer(
            VOCAB + 1, VOCAB, block=BLOCK, window=LENGTH // BLOCK, width=48, depth=2, n_heads=2,
            use_times=False,
        )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    began, objective = time.process_time(), MaskELBO()
    for _ in range(steps):
        x0 = chain.draw(32, generator)
        times = block_times(torch.rand(32, LENGTH // BLOCK, generator=generator), BLOCK, LENGTH)
        denoiser = NetworkTokenDenoiser(network.beside(x0), process, "denoiser")
        loss = objective(denoiser, x0, times.clamp_min(1e-2), generator).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False), time.process_time() - began


def _made(
    denoiser: Any, solver: Any, draft: int, prompts: Sequence[Tensor], drafter: Any
) -> tuple[Tensor, int, float]:
    """Give the tokens after every prompt, the evaluations but commits, and CPU seconds."""
    generator = BlockCausalGenerator(denoiser, solver, uniform_grid(BLOCK), draft=draft, drafter=drafter)
    n_blocks = LENGTH // BLOCK - 1
    began, samples, nfe = time.process_time(), [], 0
    for number, prompt in enumerate(prompts):
        made = generator.generate(len(prompt), n_blocks, seed=number, prompt=prompt)
        samples.append(made.samples)
        nfe += made.nfe - n_blocks
    return torch.cat(samples), nfe, time.process_time() - began


def _bigrams(chain: MarkovChainOracle) -> Any:
    """Give the posterior of a block under bigrams counted in 200 sequences."""
    tokens = chain.draw(200, torch.Generator().manual_seed(3))
    pairs = torch.bincount((tokens[:, :-1] * VOCAB + tokens[:, 1:]).flatten(), minlength=VOCAB**2)
    rows = pairs.reshape(VOCAB, VOCAB) + 0.5
    return MarkovChainOracle(rows.sum(-1), rows, BLOCK).denoiser(Mask(VOCAB), "denoiser")


def draft_rows(network: BlockTokenTransformer, chain: MarkovChainOracle, size: Size) -> list[dict[str, Any]]:
    """Make blocks with and without drafts, singly and in a batch."""
    denoiser = NetworkTokenDenoiser(network, Mask(VOCAB), "denoiser")
    tokens = chain.draw(size.singles + size.batch, torch.Generator().manual_seed(1))[:, :BLOCK]
    drafters = {"old prediction": None, "bigrams": _bigrams(chain)}
    cases = {1: list(tokens[: size.singles].split(1)), size.batch: [tokens[size.singles :]]}
    rows = []
    for items, prompts in cases.items():
        for name, solver in SOLVERS.items():
            reference: tuple[Tensor, int, float] | None = None
            for draft, drafter in PLANS:
                samples, nfe, seconds = _made(denoiser, solver, draft, prompts, drafters[drafter])
                reference = (samples, nfe, seconds) if reference is None else reference
                likelihood = float(chain.log_likelihood(samples).mean())
                rows.append({
                    "steps": name, "items": items, "drafter": drafter, "drafted": draft, "evaluations": nfe,
                    "fewer evaluations": reference[1] / nfe, "CPU seconds": seconds,
                    "CPU speed-up": reference[2] / seconds,
                    "identical": float((samples == reference[0]).all(-1).double().mean()),
                    "mean log likelihood": likelihood,
                })  # fmt: skip
    return rows


def target_row(network: BlockTokenTransformer, chain: MarkovChainOracle, size: Size) -> dict[str, Any]:
    """Draw from the chain itself with drafts of the network; test the law of neighbours at the end."""

    def target(tokens: Tensor) -> Tensor:
        first = torch.log(chain.initial).expand(len(tokens), 1, -1)
        return torch.cat([first, torch.log(chain.transition)[tokens[:, :-1]]], dim=1)

    denoiser = NetworkTokenDenoiser(network, Mask(VOCAB), "denoiser")
    generator = torch.Generator().manual_seed(2)
    made = speculative_tokens(target, denoiser, size.verified, 24, draft=4, generator=generator)
    law = chain.initial @ torch.linalg.matrix_power(chain.transition, 22)
    pairs = (law[:, None] * chain.transition).flatten()
    counts = torch.bincount(made.samples[:, -2] * VOCAB + made.samples[:, -1], minlength=VOCAB**2)
    single = speculative_tokens(target, denoiser, 1, 24, draft=4, generator=generator)
    value = float(chisquare(counts.numpy(), size.verified * pairs.numpy()).pvalue)
    return {"sequences": size.verified, "sites": 24, "drafted": 4, "accepted": made.accepted,
            "target evaluations, batch": made.target_nfe, "target evaluations, one": single.target_nfe,
            "p of the pairs at the end": value}  # fmt: skip


def block_bars(
    equality: pd.DataFrame, streaming: pd.DataFrame, cost: pd.DataFrame, drafts: pd.DataFrame,
    target: dict[str, Any],
) -> list[Bar]:  # fmt: skip
    """Give the bars."""
    bars = []
    for kind, limit in (("float32", 1e-5), ("float64", 1e-10)):
        part = equality[(equality["type"] == kind) & ~equality["control"]]
        worst = float(part["largest difference"].max())
        bars.append(compare(f"cached equals the whole history in {kind}", worst, limit, at_most=True))
    control = float(equality.loc[equality["control"], "largest difference"].min())
    bars.append(compare("the window alone is something else", control, 1e-3, at_most=False))
    same = bool(streaming["identical"].all())
    bars.append(Bar("streams and restored streams equal runs made at once", same, f"{len(streaming)} cases"))
    for context, limit in ((384, 3.0), (1536, 8.0)):
        name = f"cached at least {limit:.0f} x cheaper at context {context}, 8 evaluations a block"
        found = cost[(cost["context"] == context) & (cost["evaluations"] == 8)]
        if len(found):
            bars.append(compare(name, float(found["speed-up"].iloc[0]), limit, at_most=False))
        else:
            bars.append(Bar(name, None, "needs the full run"))
    share = float(drafts["identical"].min())
    bars.append(compare("drafted steps give identical output", share, 1.0, at_most=False))
    single = drafts[(drafts["items"] == 1) & (drafts["drafted"] == 4)].set_index(["steps", "drafter"])
    for key in (("greedy", "old prediction"), ("greedy", "bigrams"), ("ancestral", "old prediction")):
        fewer = float(single["fewer evaluations"].loc[[key]].iloc[0])
        name = f"4 {key[0]} steps drafted by {key[1]} halve the evaluations"
        bars.append(compare(name, fewer, 2.0, at_most=False))
    value = float(target["p of the pairs at the end"])
    bars.append(compare("verified drafts have the target's law (p value)", value, 1e-3, at_most=False))
    return bars


def _reading(cost: pd.DataFrame, drafts: pd.DataFrame, target: dict[str, Any], trained: str) -> str:
    eight = cost[cost["evaluations"] == 8].set_index("context")["speed-up"]
    one = cost[cost["evaluations"] == 1].set_index("context")["speed-up"]
    lines = [
        f"With 8 evaluations a block the ring makes a block {eight.iloc[0]:.1f} x cheaper at a context of "
        f"{eight.index[0]} and {eight.iloc[-1]:.1f} x at {eight.index[-1]}; with one evaluation a block, "
        f"where the commit doubles the work, {one.iloc[0]:.1f} x and {one.iloc[-1]:.1f} x.",
        trained,
    ]
    for (name, items, drafter), part in drafts[drafts["drafted"] > 1].groupby(
        ["steps", "items", "drafter"], sort=False
    ):
        best = part.loc[part["fewer evaluations"].idxmax()]
        cpu = part.loc[part["CPU speed-up"].idxmax()]
        lines.append(
            f"{str(name).capitalize()} steps, {items} at a time, drafts by {drafter}: "
            f"{best['fewer evaluations']:.2f} x fewer evaluations with {best['drafted']} drafted; "
            f"CPU time {cpu['CPU speed-up']:.2f} x at best, with {cpu['drafted']} drafted."
        )
    lines.append(
        "Greedy decoding of this chain goes along it: the next token is decided by the one just revealed, so "
        "one old prediction cannot draft it, and a cheap drafter that looks anew for every token can. "
        "Ancestral steps reveal sites anywhere, most of which do not depend on each other: there the old "
        "prediction is the better draft, and costs nothing."
    )
    lines.append(
        "In a batch the slowest sequence decides how many evaluations are made, and a draft costs its share "
        "of arithmetic: drafts are for few sequences on machines that wait more than they compute. "
        f"As a draft for the chain itself the network has {100 * target['accepted']:.0f} % of its tokens "
        "accepted. 'Identical' is exact here and up to rounding in general: evaluations of other batch sizes "
        "may round differently and turn a choice between all but equal tokens."
    )
    return "\n\n".join(lines)


def _draw(cost: pd.DataFrame, drafts: pd.DataFrame, path: Path, note: str) -> None:
    figure, axes = new_figure(columns=2, width=4.6)
    left, right = axes[0]
    eight = cost[cost["evaluations"] == 8]
    left.plot(eight["context"], eight["block, whole ms"], "o-", color="#5b7083", label="whole history")
    left.plot(eight["context"], eight["block, cached ms"], "s-", color="#c1440e", label="ring of keys")
    left.set(xscale="log", yscale="log", xlabel="tokens before the block", ylabel="CPU ms a block",
             title=f"8 evaluations a block{note}")  # fmt: skip
    left.legend()
    one = drafts[drafts["items"] == 1]
    for (name, drafter), part in one.groupby(["steps", "drafter"], sort=False):
        style = "-" if drafter == "old prediction" else "--"
        colour = "#c1440e" if name == "greedy" else "#5b7083"
        right.plot(part["drafted"], part["fewer evaluations"], f"o{style}", color=colour,
                   label=f"{name}, by {drafter}")  # fmt: skip
    right.axhline(1.0, color="black", linewidth=0.5)
    right.set(
        xlabel="drafted steps",
        ylabel="fewer evaluations, times",
        title="Drafted steps, same tokens, one sequence",
    )
    right.legend()
    save_figure(figure, path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Blocks from cached keys, and drafted steps.")
    parser.add_argument("--quick", action="store_true", help="shorter contexts, less training")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/discrete_blocks"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> int:
    """Measure everything, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    reduced = options.quick or size is not None
    size = size or (QUICK if options.quick else Size())
    began = time.process_time()
    equality, streaming = pd.DataFrame(equality_rows()), pd.DataFrame(streaming_rows())
    cost = pd.DataFrame(cost_rows(size))
    chain = MarkovChainOracle.random(VOCAB, LENGTH, torch.Generator().manual_seed(0))
    network, seconds = train(chain, size.training_steps)
    drafts = pd.DataFrame(draft_rows(network, chain, size))
    target = target_row(network, chain, size)
    trained = (
        f"The network was trained for {size.training_steps} steps in {seconds:.0f} CPU seconds; sequences of "
        f"the chain have an entropy of {chain.entropy():.1f} nats."
    )
    bars = block_bars(equality, streaming, cost, drafts, target)
    tables = {"equality": equality, "streaming": streaming, "cost": cost, "drafts": drafts,
              "target": pd.DataFrame([target])}  # fmt: skip
    sections = [("What it says", _reading(cost, drafts, target, trained)), ("Bars", bars_text(bars))]
    for name, table in tables.items():
        indexed = table.set_index(table.columns[0])
        write_table(options.out / f"{name}.csv", indexed)
        shown = indexed.copy()
        if "largest difference" in shown:
            shown["largest difference"] = [f"{value:.1e}" for value in shown["largest difference"]]
        sections.append((name.capitalize(), markdown_table(shown)))
    _draw(cost, drafts, options.out / "discrete_blocks.png", ", reduced run" if reduced else "")
    sections.append(("Picture", "![discrete_blocks.png](discrete_blocks.png)"))
    header = run_header(reduced, None if arguments is None else ["discrete_blocks.py", *arguments])
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "Blocks from cached keys, and drafted steps", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
