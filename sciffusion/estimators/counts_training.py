r"""Training of a count network, and what it is asked.

Rows are thinned to times uniform in [0, 1] (see `sciffusion.discrete.PureDeath`). A network with the head
``"law"`` is trained by the cross-entropy of clean counts, one with the head ``"mean"`` by the published loss
of means. In a share of the rows some counts are shown as they are, at time 0, and carry no loss; conditions
are hidden from a share of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..discrete import (
    BlackoutLoss,
    DenoiserCrossEntropy,
    DiscreteObjective,
    DiscretePrediction,
    MissingMean,
    PureDeath,
)
from ..networks import CountMLP
from ..training import TrainingHistory, TrainingOptions, UniformTimes
from .validation import check_choice, check_integer, check_number

__all__ = ["CountDenoiser", "CountRows", "CountSettings", "Head", "marginal_laws", "train_count_network"]

Head = Literal["law", "mean"]

_EMA_DECAY = 0.995
_EVALUATE_EVERY = 50
_HELD_OUT_STATES = 2048  # noisy copies of held-out rows in one look at the held-out loss, at least
_MOST_REPEATS = 16
_FEWEST_HELD_OUT = 5  # fewer rows say too little to stop by
_SMOOTHING = 0.1  # rows' worth of weight that every count of a column is given


@dataclass(frozen=True)
class CountSettings:
    """Checked hyper-parameters of network and training.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """

    head: str
    mask_share: float
    condition_dropout: float
    width: int
    depth: int
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    patience: int | None
    validation_fraction: float

    def __post_init__(self) -> None:
        check_choice("head", self.head, get_args(Head))
        for name in ("width", "depth", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        check_number("mask_share", self.mask_share, low=0.0, high=1.0)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        for name in ("dropout", "condition_dropout", "validation_fraction"):
            check_number(name, getattr(self, name), low=0.0, high=1.0, open_high=True)

    @classmethod
    def of(cls, estimator: Any) -> CountSettings:
        """Read the parameters of an estimator that has them all."""
        return cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})

    def network(self, marginals: Tensor, n_conditions: int) -> CountMLP:
        """Return a new network; its weights come from torch's global stream."""
        return CountMLP(
            marginals, law=self.head == "law", n_conditions=n_conditions, width=self.width, depth=self.depth,
            dropout=self.dropout,
        )  # fmt: skip

    def training_options(self) -> TrainingOptions:
        """Return what the training loop is told."""
        return TrainingOptions(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            learning_rate_schedule="cosine",
            ema_decay=_EMA_DECAY,
            evaluate_every=_EVALUATE_EVERY,
            patience=self.patience,
        )


class CountDenoiser:
    """A `CountMLP` as the denoiser of `PureDeath`.

    Parameters
    ----------
    network : CountMLP
        Its logits are leave-one-out ones: what survived of a count is put in by the process, exactly.
    process : PureDeath
        What thins the counts.
    """

    def __init__(self, network: nn.Module, process: PureDeath) -> None:
        self.network, self.path = network, process

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Predict clean counts, or how many are missing."""
        times = torch.as_tensor(state.t).to(state.x.device, torch.float32)
        times = times.reshape(times.shape + (1,) * (state.x.ndim - times.ndim)).expand(state.x.shape)
        found = self.network(state.x, times, condition)
        return DiscretePrediction(found, "loo") if found.ndim > state.x.ndim else MissingMean(found)


@dataclass(frozen=True)
class CountRows:
    """Rows to learn from.

    Attributes
    ----------
    counts : Tensor of int64, shape (rows, columns)
    conditions : Tensor of float32, shape (rows, n_conditions)
    weights : Tensor of float32, shape (rows,)
    """

    counts: Tensor
    conditions: Tensor
    weights: Tensor

    def split(self, share: float, generator: torch.Generator) -> tuple[CountRows, CountRows | None]:
        """Return the rows to train on and those kept back; None where these would be too few."""
        number = round(share * len(self.counts))
        if number < _FEWEST_HELD_OUT:
            return self, None
        order = torch.randperm(len(self.counts), generator=generator)
        return self.rows(order[number:].sort().values), self.rows(order[:number])

    def rows(self, places: Tensor) -> CountRows:
        """Return some of the rows."""
        return CountRows(self.counts[places], self.conditions[places], self.weights[places])

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the parts in their order."""
        return self.counts, self.conditions, self.weights


def marginal_laws(counts: Tensor, weights: Tensor, largest: int) -> Tensor:
    """Return the smoothed laws of columns, float64 of shape ``(columns, largest + 1)``."""
    weights = weights.double() * len(weights) / weights.double().sum()
    laws = torch.full((counts.shape[1], largest + 1), _SMOOTHING, dtype=torch.float64)
    laws.scatter_add_(1, counts.T, weights.expand(counts.shape[1], -1).contiguous())
    return laws / laws.sum(-1, keepdim=True)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _shown(counts: Tensor, share: float, generator: torch.Generator) -> Tensor | None:
    """Draw which counts are shown as they are; None where none ever is."""
    if share == 0.0:
        return None
    level = torch.where(
        _uniform((len(counts), 1), generator) < share, _uniform((len(counts), 1), generator), 0.0
    )
    return _uniform(tuple(counts.shape), generator) < level


def _hidden(conditions: Tensor, share: float, generator: torch.Generator) -> Tensor | None:
    """Hide the conditions of a share of the rows."""
    if not conditions.shape[1]:
        return None
    return torch.where(_uniform((len(conditions), 1), generator) < share, torch.nan, conditions)


def _loss(
    settings: CountSettings, process: PureDeath, network: nn.Module, rows: tuple[Tensor, ...],
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    counts, conditions, weights = rows
    objective: DiscreteObjective = DenoiserCrossEntropy() if settings.head == "law" else BlackoutLoss()
    times = UniformTimes().sample(len(counts), generator).times
    losses = objective(
        CountDenoiser(network, process), counts, times, generator,
        _hidden(conditions, settings.condition_dropout, generator),
        _shown(counts, settings.mask_share, generator),
    )  # fmt: skip
    return (losses.mean(-1) * weights).sum() / weights.sum().clamp_min(1e-12)


def train_count_network(
    settings: CountSettings,
    process: PureDeath,
    network: CountMLP,
    rows: CountRows,
    held_out: CountRows | None,
    train: Callable[..., TrainingHistory],
    seed: int,
) -> TrainingHistory:
    """Train a network in place.

    Parameters
    ----------
    settings : CountSettings
        Sizes and training.
    process : PureDeath
        What thins the counts.
    network : CountMLP
        Starting weights.
    rows, held_out : CountRows
        What to learn from, and what to stop by.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    seed : int
        Of the noise of the held-out loss, the same in every look at it.

    Returns
    -------
    TrainingHistory
        Losses in nats a count.
    """

    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return _loss(settings, process, network, batch, generator)

    watched: Callable[[nn.Module], Tensor] | None = None
    if held_out is not None:
        repeats = min(max(_HELD_OUT_STATES // len(held_out.counts), 1), _MOST_REPEATS)
        copies = held_out.rows(torch.arange(len(held_out.counts)).repeat(repeats)).tensors()

        def watched(network: nn.Module) -> Tensor:
            device = next(network.parameters()).device
            generator = torch.Generator(device).manual_seed(seed)
            return _loss(settings, process, network, tuple(part.to(device) for part in copies), generator)

    return train(
        network,
        objective,
        rows.tensors(),
        options=settings.training_options(),
        held_out=watched,
        description=f"{process} {settings}",
    )
