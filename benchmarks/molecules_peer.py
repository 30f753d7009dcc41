"""A peer with an interface like scikit-learn's: torch-molecule's MolGPT on the same molecules and seconds.

Run by itself in an environment that has torch-molecule 0.2.0 (it brings torch-geometric, huggingface_hub and
optuna, and is no dependency of ours): `python benchmarks/molecules_peer.py --out FILE`. It writes the SMILES
that were drawn, with what they cost, for `molecules_compare.py --peer FILE`.

The sizes are those of our models. Its `fit` has no budget of time, so the seconds a molecule are measured on
a short fit first, and one epoch is made over as many molecules as the budget pays for. `generate` begins
every string with a token that the caller chooses, and with `top_k=10` leaves rare tokens out; the first
token is drawn here as often as it begins the training molecules, and no token is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import limit_threads

from sciffusion.datasets import fetch_moses
from sciffusion.domains.molecules import SmilesTokenizer

__all__ = ["first_token_counts", "main", "paid_molecules", "why_no_peer"]


def why_no_peer() -> str | None:
    """Return why torch-molecule cannot be run here, or None where it can."""
    try:
        import torch_molecule  # noqa: F401
    except ImportError as error:
        return f"torch-molecule does not import: {error}"
    return None


def first_token_counts(smiles: Sequence[str], count: int, seed: int) -> Counter[str]:
    """Return how many of ``count`` draws begin with each token, drawn as they begin the molecules."""
    tokenizer = SmilesTokenizer()
    first = [tokenizer.tokenize(one)[0] for one in smiles]
    return Counter(random.Random(seed).choices(first, k=count))


def paid_molecules(seconds: float, molecules: int, budget: float, available: int) -> tuple[int, int]:
    """Return molecules and epochs that a budget pays for, after a fit that took so long."""
    paid = max(int(budget / seconds * molecules), 1)
    epochs = max(round(paid / available), 1)
    return min(paid, available), epochs


def _model(epochs: int, learning_rate: float) -> Any:
    from torch_molecule import MolGPTMolecularGenerator

    return MolGPTMolecularGenerator(
        num_layer=4, num_head=4, hidden_size=128, batch_size=128, epochs=epochs, learning_rate=learning_rate,
        device="cpu",
    )  # fmt: skip


def _fit(smiles: Sequence[str], epochs: int, learning_rate: float) -> tuple[Any, float]:
    begun = time.process_time()
    model = _model(epochs, learning_rate).fit(list(smiles))
    return model, time.process_time() - begun


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, draw, and write what was drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/molecules_compare/peer.json"))
    parser.add_argument("--cpu-seconds", type=float, default=240.0)
    parser.add_argument("--molecules", type=int, default=260_000)
    parser.add_argument("--draws", type=int, default=3000)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    limit_threads()
    reason = why_no_peer()
    if reason is not None:
        print(reason)
        return 1
    warnings.simplefilter("ignore")
    smiles = list(fetch_moses("train").smiles)
    random.Random(0).shuffle(smiles)
    smiles = smiles[: given.molecules]
    torch.manual_seed(given.seed)  # its weights, batches and draws come from torch's global generator
    _, short = _fit(smiles[:1000], 1, given.learning_rate)
    count, epochs = paid_molecules(short, 1000, given.cpu_seconds, len(smiles))
    model, seconds = _fit(smiles[:count], epochs, given.learning_rate)
    begun = time.process_time()
    drawn: list[str] = []
    for token, times in first_token_counts(smiles, given.draws, given.seed).items():
        drawn += model.generate(times, top_k=None, starting_token=token)
    spent = time.process_time() - begun
    result = {"smiles": drawn, "training_cpu_seconds": seconds, "training_molecules": count * epochs,
              "draws_per_cpu_second": len(drawn) / spent, "name": "torch-molecule MolGPT"}  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result))
    print(f"{count} molecules, {epochs} epochs, {seconds:.0f} CPU seconds; {drawn[:3]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
