"""The three families of the comparison of molecule models: networks of one size, and draws from them.

All are transformers of the same width and depth, with the same blocks and an embedding of places, which masks
need: without it, and with rotary positions alone, no site among masks knows that it is the first one.

- ``mask``: predicts masked tokens (`Mask`), never told the time;
- ``uniform``: predicts tokens under uniform noise (`Uniform`), leave-one-out logits, told the time;
- ``autoregressive``: predicts the next token under a causal mask.

Strings are padded at the end. A diffusion model is given the pads as known sites, so the length is drawn from
the training set first and the tokens then; the autoregressive one ends a string by drawing the pad itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sciffusion.discrete import Ancestral, DiscreteProcess, Mask, NetworkTokenDenoiser, Uniform
from sciffusion.discrete.grids import KeepSpacing, keep_grid
from sciffusion.discrete.solvers.base import DiscreteSolver
from sciffusion.estimators.token_network import PlacedTokenTransformer
from sciffusion.networks.token_transformer import TokenTransformer
from sciffusion.sampling import State, sample

__all__ = [
    "FAMILIES",
    "ModelSize",
    "Vocabulary",
    "build_network",
    "denoiser_of",
    "draw_lengths",
    "draw_rows",
    "process_of",
]

FAMILIES = ("mask", "uniform", "autoregressive")


@dataclass(frozen=True)
class ModelSize:
    """Width, depth and heads, the same for every family."""

    width: int = 128
    depth: int = 4
    n_heads: int = 4


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in a fixed order; the pad is the last clean token.

    Parameters
    ----------
    tokens : tuple of str
        Tokens of strings, without the pad.
    length : int
        Sites of a padded string; at least one more than the longest string.
    """

    tokens: tuple[str, ...]
    length: int

    @classmethod
    def of(cls, strings: Sequence[Sequence[str]]) -> Vocabulary:
        """Return the vocabulary of tokenised strings, tokens in alphabetical order."""
        tokens = sorted({token for string in strings for token in string})
        return cls(tuple(tokens), max(map(len, strings)) + 1)

    @property
    def pad(self) -> int:
        """Number of the pad."""
        return len(self.tokens)

    @property
    def size(self) -> int:
        """Number of clean tokens, the pad included."""
        return len(self.tokens) + 1

    def encode(self, strings: Sequence[Sequence[str]]) -> Tensor:
        """Return tokens as numbers, padded at the end, uint8 of shape ``(strings, length)``."""
        number = {token: index for index, token in enumerate(self.tokens)}
        rows = torch.full((len(strings), self.length), self.pad, dtype=torch.uint8)
        for row, string in zip(rows.numpy(), strings, strict=True):
            row[: len(string)] = [number[token] for token in string]
        return rows

    def decode(self, rows: Tensor) -> list[list[str]]:
        """Return the tokens before the first pad of every row."""
        strings = []
        for row in rows.tolist():
            end = row.index(self.pad) if self.pad in row else len(row)
            strings.append([self.tokens[index] for index in row[:end]])
        return strings


def process_of(family: str, vocab_size: int) -> DiscreteProcess:
    """Return the process of a family of diffusion models."""
    return Mask(vocab_size) if family == "mask" else Uniform(vocab_size)


def build_network(
    family: str, vocab_size: int, length: int, size: ModelSize, seed: int
) -> PlacedTokenTransformer:
    """Return an untrained network for rows of ``length`` sites; torch's global generator is as before."""
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {FAMILIES}, got {family!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state_size = vocab_size if family == "uniform" else vocab_size + 1
        return PlacedTokenTransformer(
            length, state_size, vocab_size, width=size.width, depth=size.depth, n_heads=size.n_heads,
            use_times=family == "uniform",
        )  # fmt: skip


class _Drawing(nn.Module):
    """A network as draws use it: no pad inside a string, and one time a string.

    The time of the first site is told alone, which costs one modulation a string instead of one a site.
    """

    def __init__(self, network: TokenTransformer, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, tokens: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate; the first site is never a pad, so its time is that of all sites that are not known."""
        told = times[:, :1] if self.network.use_times else times[:1, :1]
        with torch.autocast(tokens.device.type, torch.bfloat16):
            logits: Tensor = self.network(tokens, told, condition)
        logits = logits.float() / self.temperature
        # Pads are the last clean token, and stand at time 0 where they belong.
        logits[..., -1].masked_fill_(times > 0.0, -torch.inf)
        return logits


def denoiser_of(family: str, network: TokenTransformer, temperature: float = 1.0) -> NetworkTokenDenoiser:
    """Return the denoiser of a diffusion family, its logits divided by a temperature."""
    process = process_of(family, network.sizes["vocab_size"])
    drawing = _Drawing(network, temperature)
    return NetworkTokenDenoiser(drawing, process, "loo" if family == "uniform" else "denoiser")


def draw_rows(
    family: str,
    network: TokenTransformer,
    lengths: Tensor,
    nfe: int,
    generator: torch.Generator,
    *,
    solver: DiscreteSolver | None = None,
    spacing: KeepSpacing = "linear",
    temperature: float = 1.0,
    batch: int = 64,
) -> Tensor:
    """Draw rows of given lengths from a diffusion model; the pads after them are known.

    Parameters
    ----------
    family : {"mask", "uniform"}
        What the network was trained for.
    network : TokenTransformer
        Trained.
    lengths : Tensor of int64, shape ``(count,)``
        Tokens of each string.
    nfe : int
        Network evaluations at most.
    generator : torch.Generator
        Source of randomness.
    solver : DiscreteSolver, optional
        `Ancestral` by default.
    spacing : {"linear", "cosine"}
        Of the keep probability.
    temperature : float
        Logits are divided by it; below 1 the law is sharpened and no longer the model's.
    batch : int
        Strings at a time, those of similar lengths together.

    Returns
    -------
    Tensor of int64, shape ``(count, longest + 1)``
        In the order of ``lengths``.
    """
    solver = Ancestral() if solver is None else solver
    denoiser, pad = denoiser_of(family, network, temperature), network.sizes["vocab_size"] - 1
    grid = keep_grid(solver.steps_within(nfe), spacing)
    rows = torch.full((len(lengths), int(lengths.max()) + 1), pad)
    order = lengths.argsort()
    for chosen in order.split(batch):
        sites = int(lengths[chosen].max()) + 1
        known = torch.arange(sites) >= lengths[chosen][:, None]
        noise = denoiser.process.draw_prior((len(chosen), sites), generator)
        start = State(torch.where(known, pad, noise), known=known, generator=generator)
        rows[chosen, :sites] = sample(denoiser, solver, grid, state=start).samples
    return rows


def draw_lengths(counts: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Draw lengths of strings in proportion to how often each occurs."""
    weights = torch.tensor(counts, dtype=torch.float64)
    return torch.multinomial(weights, count, replacement=True, generator=generator)
