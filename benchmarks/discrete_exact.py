"""Samplers of tokens against exact chains: `python benchmarks/discrete_exact.py`.

Bench A is a Markov chain of 3 tokens on 4 sites. The law of every sampler is propagated over all states
(`sciffusion.exact.propagate_tokens`), so its distance from the data has no error of drawing; the denoiser is
exact, and once made imperfect in a known way. Bench B is a chain of 8 tokens on 32 sites, from which
sequences are drawn: excess negative log likelihood against the chain's entropy, and total variation of pooled
pairs of neighbours. The first alone deceives: a sampler that seeks modes has it below 0.

Everything is compared at equal network evaluations: a row has the most steps that its budget pays for.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from bars import Bar, bars_text, check_exit_code, compare
from discrete_lineup import CHAIN_ROWS, EXACT_ROWS, IMPERFECT_ROWS, Entry, exact_denoiser
from discrete_report import chain_table, draw, exact_table, imperfect_table, reading
from measuring import limit_threads
from reporting import markdown_table, run_header, write_markdown, write_table

from sciffusion.exact import ImperfectTokenDenoiser, MarkovChainOracle, sampler_error
from sciffusion.sampling import State, sample

__all__ = ["chain_rows", "exact_bars", "exact_rows", "imperfect_rows", "main"]

NFES, QUICK_NFES = (2, 4, 8, 16, 32, 64, 128), (4, 8, 16, 32)
IMPERFECT_NFES, CHAIN_NFES = (8, 16, 32), (8, 16, 32)
STRENGTHS, PERTURBATIONS = (0.1, 0.3), 3


def exact_rows(nfes: Sequence[int], entries: Sequence[Entry] | None = None) -> list[dict[str, object]]:
    """Measure every sampler on bench A with an exact denoiser."""
    oracle = MarkovChainOracle.bench_a()
    rows: list[dict[str, object]] = []
    for entry in EXACT_ROWS if entries is None else entries:
        for budget in nfes:
            grid = entry.grid(budget)
            if grid is None:
                continue
            found = sampler_error(oracle, exact_denoiser(oracle, entry), entry.solver, grid)
            rows.append({"sampler": entry.name, "process": entry.process, "budget": budget, "nfe": found.nfe,
                         "tv": found.total_variation, "kl": found.kl_divergence})  # fmt: skip
    return rows


def imperfect_rows(nfes: Sequence[int], perturbations: int) -> list[dict[str, object]]:
    """Measure samplers on bench A with denoisers that are wrong by a known amount."""
    oracle = MarkovChainOracle.bench_a()
    rows: list[dict[str, object]] = []
    for strength in STRENGTHS:
        for entry in IMPERFECT_ROWS:
            for budget in nfes:
                grid = entry.grid(budget)
                if grid is None:
                    continue
                for draw_number in range(perturbations):
                    generator = torch.Generator().manual_seed(draw_number)
                    denoiser = ImperfectTokenDenoiser(exact_denoiser(oracle, entry), strength, 4, generator)
                    found = sampler_error(oracle, denoiser, entry.solver, grid)
                    rows.append(
                        {"sampler": entry.name, "strength": strength, "perturbation": draw_number,
                         "budget": budget, "nfe": found.nfe, "tv": found.total_variation}
                    )  # fmt: skip
    return rows


def _pairs(tokens: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Give the shares of all pairs of neighbours."""
    codes = (tokens[:, :-1] * vocab_size + tokens[:, 1:]).flatten()
    return torch.bincount(codes, minlength=vocab_size**2).double() / len(codes)


def _true_pairs(oracle: MarkovChainOracle) -> torch.Tensor:
    law, total = oracle.initial, torch.zeros_like(oracle.transition)
    for _ in range(oracle.length - 1):
        total = total + law[:, None] * oracle.transition
        law = law @ oracle.transition
    return (total / (oracle.length - 1)).flatten()


def _chain_row(
    oracle: MarkovChainOracle, name: str, budget: int, nfe: int, tokens: torch.Tensor
) -> dict[str, object]:
    surprise = -oracle.log_likelihood(tokens)
    distance = 0.5 * float((_pairs(tokens, oracle.vocab_size) - _true_pairs(oracle)).abs().sum())
    excess, error = float(surprise.mean()) - oracle.entropy(), float(surprise.std()) / len(tokens) ** 0.5
    return {"sampler": name, "budget": budget, "nfe": nfe, "excess": excess, "error": error,
            "pair_tv": distance}  # fmt: skip


def chain_rows(nfes: Sequence[int], draws: int) -> list[dict[str, object]]:
    """Draw from every sampler on bench B; the row of exact draws shows what is left of drawing alone."""
    oracle = MarkovChainOracle.random(8, 32, torch.Generator().manual_seed(0))
    exact = oracle.draw(draws, torch.Generator().manual_seed(1))
    rows = [_chain_row(oracle, "exact draws", budget, 0, exact) for budget in nfes]
    for entry in CHAIN_ROWS:
        denoiser = exact_denoiser(oracle, entry)
        for budget in nfes:
            grid = entry.grid(budget)
            if grid is None:
                continue
            generator = torch.Generator().manual_seed(2)
            x = denoiser.path.draw_prior((draws, oracle.length), generator)
            state = State(x, aux=denoiser.path.starting_aux(x, generator), generator=generator)
            result = sample(denoiser, entry.solver, grid, state=state)
            rows.append(_chain_row(oracle, entry.name, budget, result.nfe, result.samples))
    return rows


def _distance(rows: pd.DataFrame, sampler: str, budget: int) -> float:
    found = rows.loc[(rows["sampler"] == sampler) & (rows["budget"] == budget), "tv"]
    return float(found.iloc[0]) if len(found) else float("nan")


def exact_bars(rows: pd.DataFrame) -> list[Bar]:
    """Give the bars of bench A; those whose budgets were not run are not checked."""
    ran, bars = set(rows["budget"]), []
    for prefix, title in (("", "uniform"), ("mask ", "mask")):
        name = f"prediction trapezoid at 16 evaluations at least 3 times below ancestral, {title}"
        if 16 not in ran:
            bars.append(Bar(name, None, "needs 16 evaluations"))
            continue
        best = min(
            _distance(rows, f"{prefix}prediction trapezoid, {grid}", 16) for grid in ("linear", "cosine")
        )
        bars.append(compare(name, _distance(rows, f"{prefix}ancestral", 16) / best, 3.0, at_most=False))
    few, many = 4, max(ran)
    right, wrong = (
        _distance(rows, name, few) / _distance(rows, name, many)
        for name in ("ancestral", "plug-in of the denoiser (wrong)")
    )
    if few not in ran or many < 16:
        return [*bars, *(Bar(name, None, "needs more evaluations") for name in ("convergence", "Gibbs"))]
    asked = 0.9 * many / few
    name = f"leave-one-out error falls in proportion from {few} to {many} evaluations (ratio)"
    bars.append(compare(name, right, asked, at_most=False))
    name = f"the plug-in of the denoiser does not converge from {few} to {many} evaluations (ratio)"
    bars.append(compare(name, wrong, 1.0, at_most=True))
    name = "one-site Gibbs at 127 evaluations below every first-order solver"
    if 128 not in ran:
        return [*bars, Bar(name, None, "needs the full run")]
    first = [entry.name for entry in EXACT_ROWS if entry.first_order and entry.most >= 128]
    limit = min(_distance(rows, other, 128) for other in first)
    bars.append(compare(name, _distance(rows, "ancestral + Gibbs, 1 site", 128), limit, at_most=True))
    return bars


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Samplers of tokens against exact chains.")
    parser.add_argument("--quick", action="store_true", help="fewer evaluations, draws and perturbations")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit 1 if one is missed")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/discrete_exact"))
    parser.add_argument("--nfe", type=int, nargs="+", help="budgets, growing (a reduced run)")
    parser.add_argument("--draws", type=int, help="sequences drawn on bench B (a reduced run)")
    options = parser.parse_args(arguments)
    options.reduced = options.quick or options.nfe is not None or options.draws is not None
    options.perturbations = 1 if options.reduced else PERTURBATIONS
    options.draws = options.draws or (300 if options.quick else 1000)
    budgets = options.nfe or (QUICK_NFES if options.quick else None)
    options.nfe = budgets or NFES
    options.imperfect_nfe = [nfe for nfe in budgets or IMPERFECT_NFES if nfe >= 4][: 2 if budgets else None]
    options.chain_nfe = [nfe for nfe in budgets or CHAIN_NFES if nfe >= 4][: 2 if budgets else None]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all samplers, write tables and picture, and give the exit code."""
    options = _parse(arguments)
    limit_threads()
    began = time.process_time()
    parts = {
        "exact": lambda: exact_rows(options.nfe),
        "imperfect": lambda: imperfect_rows(options.imperfect_nfe, options.perturbations),
        "chain": lambda: chain_rows(options.chain_nfe, options.draws),
    }
    tables = {}
    for name, part in parts.items():
        tables[name] = pd.DataFrame(part())
        write_table(options.out / f"{name}.csv", tables[name].set_index("sampler"))
        print(f"{name}: {time.process_time() - began:.0f} CPU seconds", flush=True)
    exact, imperfect, chain = tables.values()
    draw(exact, options.out / "exact.png", ", reduced run" if options.reduced else "")
    bars = exact_bars(exact)
    sections = [
        ("What it says", reading(exact, imperfect, chain, options.draws)),
        ("Bench A: total variation by evaluations", markdown_table(exact_table(exact, "tv"))
         + "\n\n![exact.png](exact.png)"),
        ("Bench A: divergence of the data from the sampler, nats", markdown_table(exact_table(exact, "kl"))),
        ("Bench A, imperfect denoiser: total variation", markdown_table(imperfect_table(imperfect))),
        ("Bench B: excess nats a sequence / total variation of pairs", markdown_table(chain_table(chain))),
        ("Bars", bars_text(bars)),
    ]  # fmt: skip
    header = run_header(options.reduced, None if arguments is None else ["discrete_exact.py", *arguments])
    header["CPU seconds"] = f"{time.process_time() - began:.0f}"
    write_markdown(options.out / "report.md", "Samplers of tokens against exact chains", header, sections)
    return check_exit_code(bars) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
