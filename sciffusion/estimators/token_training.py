r"""Training of a token network on rows of token numbers.

For clean rows :math:`x_0`, stratified times t (see `token_times`) and noise of the process, the loss is the
mean over rows and sites of the chosen objective. In a share of the rows (*known share*) some sites are shown
clean, at time 0, and carry no loss: each with a probability that is itself uniform, so that all numbers of
them are met. That teaches networks that are told times what infilling asks; masks need none of it, since a
revealed site is one that is known. Conditions are hidden from a share of the rows, wholly or in part, so that
one network speaks with and without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from ..discrete import DiscreteProcess, NetworkTokenDenoiser
from ..training import TrainingHistory, TrainingOptions, UniformTimes
from .token_network import PlacedTokenTransformer
from .token_processes import TokenRecipe
from .token_times import bound_times
from .validation import check_integer, check_number

__all__ = ["TokenRows", "TokenSettings", "TokenTask", "train_token_network"]

_EVALUATE_EVERY = 50
_HELD_OUT_STATES = 2048  # noisy copies of held-out rows in one look at the held-out loss, at least
_MOST_REPEATS = 32
_MOST_HELD_OUT = 2048
_FEWEST_HELD_OUT = 5  # fewer rows say too little to stop by
_HELD_OUT_CHUNK = 256


@dataclass(frozen=True)
class TokenSettings:
    """Checked hyper-parameters of network and training.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """

    width: int
    depth: int
    n_heads: int
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    warmup_steps: int
    ema_decay: float
    patience: int | None
    validation_fraction: float
    condition_dropout: float
    known_share: float

    def __post_init__(self) -> None:
        for name in ("width", "depth", "n_heads", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        check_integer("warmup_steps", self.warmup_steps, low=0)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        if self.width % (2 * self.n_heads):
            raise ValueError(
                f"width must be a multiple of 2 * n_heads = {2 * self.n_heads}, got {self.width}"
            )
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        for name in ("dropout", "ema_decay", "validation_fraction", "condition_dropout"):
            check_number(name, getattr(self, name), low=0.0, high=1.0, open_high=True)
        check_number("known_share", self.known_share, low=0.0, high=1.0)

    @classmethod
    def of(cls, estimator: Any, **changed: Any) -> TokenSettings:
        """Read the parameters of an estimator that has them all."""
        values = {field.name: getattr(estimator, field.name) for field in fields(cls)}
        return cls(**{**values, **changed})

    def network(
        self, process: DiscreteProcess, recipe: TokenRecipe, n_sites: int, n_conditions: int
    ) -> PlacedTokenTransformer:
        """Return a new network; its weights come from torch's global stream."""
        return PlacedTokenTransformer(
            n_sites, process.state_size, process.vocab_size, width=self.width, depth=self.depth,
            n_heads=self.n_heads, n_conditions=n_conditions, use_times=recipe.use_times, aux=recipe.aux,
            dropout=self.dropout,
        )  # fmt: skip

    def training_options(self) -> TrainingOptions:
        """Return what the training loop is told."""
        return TrainingOptions(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=min(self.warmup_steps, self.max_steps),
            learning_rate_schedule="cosine",
            ema_decay=self.ema_decay,
            evaluate_every=_EVALUATE_EVERY,
            patience=self.patience,
        )


@dataclass(frozen=True)
class TokenRows:
    """Rows to learn from.

    Attributes
    ----------
    tokens : Tensor of int64, shape (rows, sites)
    conditions : Tensor of float32, shape (rows, n_conditions)
        NaN where not known.
    weights : Tensor of float32, shape (rows,)
    """

    tokens: Tensor
    conditions: Tensor
    weights: Tensor

    def split(self, share: float, generator: torch.Generator) -> tuple[TokenRows, TokenRows | None]:
        """Return the rows to train on and those kept back; None where these would be too few."""
        count = min(round(share * len(self.tokens)), _MOST_HELD_OUT)
        if count < _FEWEST_HELD_OUT:
            return self, None
        order = torch.randperm(len(self.tokens), generator=generator)
        back, kept = order[:count], order[count:].sort().values
        if not bool(self.weights[back].any()) or not bool(self.weights[kept].any()):
            return self, None
        return self.rows(kept), self.rows(back)

    def rows(self, places: Tensor) -> TokenRows:
        """Return some of the rows."""
        return TokenRows(self.tokens[places], self.conditions[places], self.weights[places])


@dataclass(frozen=True)
class TokenTask:
    """A process with what its network predicts and how it is trained.

    Attributes
    ----------
    process : DiscreteProcess
    recipe : TokenRecipe
    objective : DiscreteObjective
        Trained on.
    bound : DiscreteObjective
        Watched on rows that are kept back.
    """

    process: DiscreteProcess
    recipe: TokenRecipe
    objective: Any
    bound: Any

    def denoiser(self, network: nn.Module) -> NetworkTokenDenoiser:
        """Return a network as the denoiser of the process."""
        return NetworkTokenDenoiser(network, self.process, self.recipe.kind)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _hidden(conditions: Tensor, share: float, generator: torch.Generator) -> Tensor | None:
    """Hide all properties of a share of the rows, and single ones of as many others."""
    if not conditions.shape[1]:
        return None
    rows = (len(conditions), 1)
    chance = _uniform(rows, generator)
    single = _uniform((len(conditions), conditions.shape[1]), generator) < 0.5
    hide = (chance < share) | ((chance < 2.0 * share) & single & (conditions.shape[1] > 1))
    return torch.where(hide, torch.nan, conditions)


def _shown(tokens: Tensor, share: float, generator: torch.Generator) -> Tensor | None:
    """Draw which sites are shown clean; None where none ever is."""
    if share == 0.0:
        return None
    rows = (len(tokens), 1)
    level = torch.where(_uniform(rows, generator) < share, _uniform(rows, generator), 0.0)
    return _uniform(tuple(tokens.shape), generator) < level


class _HeldOut:
    """The bound on the rows that are kept back, per site, always at the same noise."""

    def __init__(self, task: TokenTask, rows: TokenRows, seed: int) -> None:
        repeats = min(max(_HELD_OUT_STATES // len(rows.tokens), 1), _MOST_REPEATS)
        self._task, self._seed = task, seed
        self._rows = TokenRows(
            rows.tokens.repeat(repeats, 1), rows.conditions.repeat(repeats, 1), rows.weights.repeat(repeats)
        )

    def __call__(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        denoiser = self._task.denoiser(network)
        generator = torch.Generator().manual_seed(self._seed)
        times, ratios = bound_times(self._task.process.schedule, len(self._rows.tokens), generator)
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(times), _HELD_OUT_CHUNK):
            part = self._rows.rows(torch.arange(start, min(start + _HELD_OUT_CHUNK, len(times))))
            losses = self._task.bound(
                denoiser, part.tokens.to(device), times[start : start + _HELD_OUT_CHUNK].to(device),
                generator, condition=part.conditions.to(device) if part.conditions.shape[1] else None,
            )  # fmt: skip
            ratio = ratios[start : start + _HELD_OUT_CHUNK]
            total += (losses.mean(-1).cpu().double() * ratio * part.weights).sum()
        return total / self._rows.weights.sum()


def train_token_network(
    settings: TokenSettings,
    task: TokenTask,
    network: nn.Module,
    rows: TokenRows,
    held_out: TokenRows | None,
    train: Callable[..., TrainingHistory],
    *,
    seed: int,
    stream: int = 0,
) -> TrainingHistory:
    """Train a network in place.

    Parameters
    ----------
    settings : TokenSettings
        Sizes and training.
    task : TokenTask
        What to learn.
    network : Module
        A `PlacedTokenTransformer`.
    rows, held_out : TokenRows
        What to learn from, and what to stop by.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    seed : int
        Of the noise of the held-out loss.
    stream : int, default 0
        Number of the training within one fitted model.

    Returns
    -------
    TrainingHistory
        Held-out losses are bounds in nats a token.
    """
    known_share = settings.known_share if task.recipe.use_times else 0.0

    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        tokens, conditions, weights = batch
        if task.objective.is_bound:
            times, ratios = bound_times(task.process.schedule, len(tokens), generator)
        else:
            times, ratios = UniformTimes().sample(len(tokens), generator)
        losses: Tensor = task.objective(
            task.denoiser(network), tokens, times, generator,
            condition=_hidden(conditions, settings.condition_dropout, generator),
            known=_shown(tokens, known_share, generator),
        )  # fmt: skip
        return (losses.mean(-1) * ratios.to(losses) * weights).sum() / weights.sum().clamp_min(1e-12)

    watched = None if held_out is None else _HeldOut(task, held_out, seed)
    return train(
        network,
        objective,
        (rows.tokens, rows.conditions, rows.weights),
        options=settings.training_options(),
        held_out=watched,
        description=f"{task.process} {type(task.objective).__name__} {settings}",
        stream=stream,
    )
