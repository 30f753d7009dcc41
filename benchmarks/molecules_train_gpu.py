"""Train the published model on all of MOSES with a GPU: `python benchmarks/molecules_train_gpu.py`.

`MoleculeDiffusion` (masked diffusion, SELFIES) is fitted on the 1.58 million molecules of the MOSES training
set, in bfloat16 on the accelerator, and saved in the form that `MoleculeDiffusion.load` reads, with a card
beside it. The sizes are those of a model of a few MB; one epoch is 6 200 steps of 256 molecules. The fit can
be stopped and started again: it goes on from its checkpoint.

Reading MOSES and writing it as SELFIES takes some ten minutes on one core before the first step.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reporting import run_header, write_text

from sciffusion import MoleculeDiffusion
from sciffusion.datasets import fetch_moses
from sciffusion.domains.molecules import molecule_tokenizer

__all__ = ["card", "fitted_model", "main"]


def fitted_model(smiles: Sequence[str], given: argparse.Namespace) -> Any:
    """Return the model fitted on molecules."""
    accelerated = given.device != "cpu"
    return MoleculeDiffusion(
        representation=given.representation,
        canonical=False,  # MOSES is written canonically
        process="mask",
        width=given.width,
        depth=given.depth,
        n_heads=given.heads,
        learning_rate=given.learning_rate,
        batch_size=given.batch_size,
        max_steps=given.max_steps,
        warmup_steps=min(1000, given.max_steps // 10),
        ema_decay=0.9995 if given.max_steps > 20_000 else 0.995,
        validation_fraction=min(0.01, 2048 / len(smiles)),
        patience=None,
        nfe=64,
        random_state=given.seed,
        device=given.device,
        verbose=True,
        trainer_options={"precision": "bf16-mixed"} if accelerated else None,
        checkpoint=given.checkpoint,
    ).fit(list(smiles))


def card(given: argparse.Namespace, n_molecules: int, seconds: float, bound: float) -> str:
    """Return the card of the model."""
    header = run_header(reduced=given.molecules is not None)
    lines = [
        f"# {given.out.stem}",
        "Masked diffusion of molecules, a `MoleculeDiffusion`.",
        f"- data: {n_molecules} molecules of the MOSES training set (molsets 0.3.1, from ZINC Clean Leads; "
        "Polykovskiy et al., arXiv:1811.12823)",
        "- licence of the weights: Apache-2.0; the molsets package is under MIT",
        f"- representation: {given.representation}; width {given.width}, depth {given.depth}, "
        f"{given.heads} heads; {given.max_steps} steps of {given.batch_size} molecules",
        f"- training: {seconds:.0f} seconds on {given.device}",
        f"- mean lower bound of the log likelihood of 1000 test molecules: {bound:.2f} nats a molecule",
        *(f"- {name}: {value}" for name, value in header.items()),
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:]) + "\n"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    out = Path("build/benchmarks/molecules_train/moses-small.safetensors")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--molecules", type=int, help="only so many; all by default")
    parser.add_argument("--representation", default="selfies", choices=("selfies", "smiles"))
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-steps", type=int, default=62_000, help="ten epochs by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, save, and write the card."""
    given = _arguments(arguments)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    train, test = fetch_moses("train"), fetch_moses("test")
    count = len(train) if given.molecules is None else given.molecules
    smiles = list(train.sample(count, random_state=given.seed)["smiles"])
    begun = time.perf_counter()
    model = fitted_model(smiles, given)
    seconds = time.perf_counter() - begun
    model.save(given.out)
    held = list(test.sample(min(1000, count), random_state=given.seed)["smiles"])
    known = [one for one in held if _is_readable(model, one)]
    bound = float(model.score_samples(known).mean())
    write_text(given.out.with_suffix(".md"), card(given, len(smiles), seconds, bound))
    return 0


def _is_readable(model: Any, smiles: str) -> bool:
    """Say whether a molecule has only tokens that occur in training, and is no longer than those."""
    tokenizer = molecule_tokenizer(model.representation)
    tokens = tokenizer.tokenize(tokenizer.from_smiles(smiles))
    return len(tokens) <= model.max_length_ and set(tokens) <= set(model.alphabet_)


if __name__ == "__main__":
    sys.exit(main())
