r"""Train a small model of molecules within a budget of CPU seconds.

Losses, all of them means over strings of a mean over tokens:

- ``mask``: the bound of masked diffusion with the linear schedule. The number n of masked tokens is uniform
  in 1 .. L, and the loss of a string the mean cross-entropy of its n masked tokens; this equals the bound
  with weight 1/t in expectation, without the variance of n given t.
- ``uniform``: cross-entropy of the denoiser, converted from leave-one-out logits, at stratified times.
- ``autoregressive``: cross-entropy of the next token, the end included.

The learning rate falls along a cosine of the CPU seconds spent, so a run uses its budget fully on a machine
of any speed; batches hold strings of nearly equal length, cut to it. One batch in ``full_every`` keeps all
sites, and in one of ``unknown_every`` the pads are not known, so that the weights serve `MoleculeDiffusion`,
which learns where a string ends, too.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import limit_threads
from molecules_autoregressive import next_token_logits
from molecules_models import FAMILIES, ModelSize, Vocabulary, build_network, process_of
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from sciffusion.datasets import fetch_moses
from sciffusion.discrete import DenoiserCrossEntropy, DiscretePrediction
from sciffusion.domains.molecules.tokenizers import molecule_tokenizer
from sciffusion.networks.token_transformer import TokenTransformer
from sciffusion.training.time_samplers import stratified_uniforms

__all__ = [
    "TrainingBudget",
    "load_training",
    "save_training",
    "string_losses",
    "train_file",
    "train_within",
    "training_strings",
]


@dataclass(frozen=True)
class TrainingBudget:
    """How long and how a network is trained; a number of steps goes before the seconds."""

    cpu_seconds: float = 500.0
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    average_decay: float = 0.998
    full_every: int = 7
    unknown_every: int = 14
    prefix_share: float = 0.0
    save_every: float = 60.0
    seed: int = 0


class LengthBatches:
    """Batches of strings of nearly equal length."""

    def __init__(self, rows: Tensor, pad: int, budget: TrainingBudget, generator: torch.Generator) -> None:
        lengths = (rows != pad).sum(1)
        # A stable sort of shuffled rows: neighbours are random among strings of their length.
        self.order = torch.argsort(lengths, stable=True)
        self.rows, self.lengths, self.budget, self.generator = rows, lengths, budget, generator
        self.drawn = 0

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return tokens of a batch, and which of its sites are known."""
        n, size = len(self.order), self.budget.batch_size
        start = int(torch.randint(max(n - size, 0) + 1, (), generator=self.generator))
        chosen = self.order[start : start + size]
        self.drawn += 1
        x0, lengths = self.rows[chosen].long(), self.lengths[chosen]
        unknown = self.drawn % self.budget.unknown_every == 0
        full = unknown or self.drawn % self.budget.full_every == 0
        if not full:
            extra = int(torch.randint(3, (), generator=self.generator))
            x0 = x0[:, : int(lengths.max()) + 1 + extra]  # at most all sites
        sites = torch.arange(x0.shape[1])
        known = sites >= lengths[:, None]
        if unknown:
            known = torch.zeros_like(known)
        return x0, known


def string_losses(
    family: str,
    network: TokenTransformer,
    x0: Tensor,
    known: Tensor,
    generator: torch.Generator,
    prefix_share: float = 0.0,
) -> Tensor:
    """Return the loss of every string (see the module's text)."""
    if family == "autoregressive":
        logits = next_token_logits(network, x0).float()
        losses = functional.cross_entropy(logits.transpose(1, 2), x0, reduction="none")
        # The first pad ends the string; those after it are never drawn.
        counted = torch.cat([torch.zeros_like(known[:, :1]), known[:, :-1]], 1).logical_not()
        if not bool(known.any()):
            counted = (x0 == x0.max()).long().cumsum(1) <= 1
        return (losses * counted).sum(1) / counted.sum(1)
    if family == "mask":
        return _mask_losses(network, x0, known, generator, prefix_share)
    process = process_of(family, network.sizes["vocab_size"])
    times = stratified_uniforms((len(x0),), generator)
    state = process.corrupt(x0, times, generator, known)
    logits = network(state.x, times.float()[:, None]).float()
    losses = DenoiserCrossEntropy().site_loss(DiscretePrediction(logits, "loo"), process, state, x0)
    free = ~known
    return torch.where(free, losses, 0.0).sum(1) / free.sum(1)


def _mask_losses(
    network: TokenTransformer, x0: Tensor, known: Tensor, generator: torch.Generator, prefix_share: float
) -> Tensor:
    free = (~known).sum(1)
    counts = 1 + (stratified_uniforms((len(x0),), generator) * free).long().clamp_max(free - 1)
    places = torch.rand(x0.shape, generator=generator).masked_fill(known, torch.inf)
    if prefix_share:
        # Masks that leave a beginning: what a draw from left to right meets.
        prefix = torch.rand(len(x0), 1, generator=generator) < prefix_share
        sites = torch.arange(x0.shape[1]).expand(x0.shape).float()
        places = torch.where(prefix, (-sites).masked_fill(known, torch.inf), places)
    masked = places.argsort(1).argsort(1) < counts[:, None]
    tokens = torch.where(masked, network.sizes["state_size"] - 1, x0)
    logits = network(tokens, torch.zeros(1, 1)).float()
    losses = functional.cross_entropy(logits.transpose(1, 2), x0, reduction="none")
    if prefix_share:
        # Of these, the first few masked tokens count: those that are drawn next.
        ahead = (masked.cumsum(1) <= 4) | ~prefix
        masked = masked & ahead
    return (losses * masked).sum(1) / masked.sum(1)


class _Average:
    """Exponential average of weights, with a decay that warms up."""

    def __init__(self, network: TokenTransformer, decay: float) -> None:
        self.decay, self.step = decay, 0
        self.weights = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: TokenTransformer) -> None:
        """Take the present weights in."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, p in network.named_parameters():
            self.weights[name].lerp_(p, 1.0 - decay)


def train_within(
    family: str,
    network: TokenTransformer,
    rows: Tensor,
    budget: TrainingBudget,
    *,
    save: Callable[[dict[str, Tensor], dict[str, float]], None] | None = None,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train until the budget of CPU seconds is spent; return averaged weights and the history."""
    generator = torch.Generator().manual_seed(budget.seed)
    pad = network.sizes["vocab_size"] - 1
    batches = LengthBatches(rows, pad, budget, generator)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=budget.learning_rate, weight_decay=budget.weight_decay, betas=(0.9, 0.98)
    )
    average, history, recent = _Average(network, budget.average_decay), [], []
    begun, saved, step = time.process_time(), 0.0, 0
    while True:
        spent = time.process_time() - begun
        progress = spent / budget.cpu_seconds if budget.steps is None else step / budget.steps
        if progress >= 1.0:
            break
        rise = min(1.0, (step + 1) / budget.warmup_steps)
        fall = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * rise * fall
        x0, known = batches.draw()
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss = string_losses(family, network, x0, known, generator, budget.prefix_share).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(network)
        recent.append(float(loss.detach()))
        step += 1
        if spent - saved >= budget.save_every:
            entry = {"step": step, "cpu_seconds": spent, "loss": sum(recent) / len(recent)}
            history.append(entry)
            saved, recent = spent, []
            if save is not None:
                save(average.weights, entry)
    history.append({"step": step, "cpu_seconds": spent, "loss": sum(recent) / max(len(recent), 1)})
    if save is not None:
        save(average.weights, history[-1])
    return average.weights, history


def save_training(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights as safetensors with a JSON description."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in weights.items()}, path,
              metadata={"about": json.dumps(about)})  # fmt: skip


def load_training(path: Path) -> tuple[TokenTransformer, Vocabulary, dict[str, Any]]:
    """Read what `save_training` wrote: network, vocabulary and description."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    vocabulary = Vocabulary(tuple(about["tokens"]), about["length"])
    network = build_network(
        about["family"], vocabulary.size, vocabulary.length, ModelSize(**about["size"]), 0
    )
    network.load_state_dict(weights)
    return network.eval(), vocabulary, about


def training_strings(molecules: int, representation: str, cache: Path | None = None) -> list[list[str]]:
    """Return the tokens of a fixed random part of the MOSES training set.

    Parameters
    ----------
    molecules : int
        How many; smaller parts are the beginnings of larger ones.
    representation : {"smiles", "selfies"}
        How they are written.
    cache : Path, optional
        File of strings, one a line, that is read if there is one and written otherwise.
    """
    tokenizer = molecule_tokenizer(representation)
    if cache is not None and cache.exists():
        strings = cache.read_text().split()[:molecules]
    else:
        smiles = list(fetch_moses("train").smiles)
        random.Random(0).shuffle(smiles)
        strings = [tokenizer.from_smiles(one) for one in smiles[:molecules]]
        if cache is not None:
            cache.write_text("\n".join(strings))
    return [tokenizer.tokenize(string) for string in strings]


def train_file(
    family: str,
    representation: str,
    strings: Sequence[Sequence[str]],
    out: Path,
    budget: TrainingBudget,
    size: ModelSize,
    start: Path | None = None,
) -> None:
    """Train a model and keep its averaged weights in a file, rewritten while it is trained.

    Parameters
    ----------
    family, representation : str
        Kind of model, and what the strings are.
    strings : sequence of sequences of str
        Tokens.
    out : Path
        File of the weights.
    budget : TrainingBudget
        How long.
    size : ModelSize
        Of the network.
    start : Path, optional
        File of weights to go on from.
    """
    vocabulary = Vocabulary.of(strings)
    rows = vocabulary.encode(strings)
    network, before = build_network(family, vocabulary.size, vocabulary.length, size, budget.seed), 0.0
    if start is not None:
        network, _, about_start = load_training(start)
        before = about_start["cpu_seconds_before"] + about_start["entry"]["cpu_seconds"]
    about: dict[str, Any] = {
        "family": family, "representation": representation, "tokens": vocabulary.tokens,
        "length": vocabulary.length, "size": asdict(size), "budget": asdict(budget), "n_strings": len(rows),
        "lengths": torch.bincount((rows != vocabulary.pad).sum(1), minlength=vocabulary.length).tolist(),
        "cpu_seconds_before": before,
    }  # fmt: skip

    def save(weights: dict[str, Tensor], entry: dict[str, float]) -> None:
        print(f"{family} {representation}: {json.dumps(entry)}", flush=True)
        save_training(out, weights, {**about, "entry": entry})

    train_within(family, network.train(), rows, budget, save=save)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--representation", default="selfies")
    parser.add_argument("--molecules", type=int, default=260_000)
    parser.add_argument("--strings", type=Path, help="file that keeps the strings for further runs")
    parser.add_argument("--cpu-seconds", type=float, default=500.0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--unknown-every", type=int, default=14)
    parser.add_argument("--prefix-share", type=float, default=0.0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    limit_threads()
    strings = training_strings(given.molecules, given.representation, given.strings)
    budget = TrainingBudget(
        cpu_seconds=given.cpu_seconds, learning_rate=given.learning_rate, seed=given.seed,
        unknown_every=given.unknown_every, prefix_share=given.prefix_share,
    )  # fmt: skip
    size = ModelSize(given.width, given.depth, given.heads)
    train_file(given.family, given.representation, strings, given.out, budget, size, given.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
