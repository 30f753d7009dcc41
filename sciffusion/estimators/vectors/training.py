r"""Training of a `VectorNetwork` on standardised rows.

For clean rows :math:`x_0`, noise levels :math:`\log(\sigma/\alpha) \sim N(\mu, s^2)` and observed coordinates
:math:`m` the loss of a member is the mean of

.. math:: \bigl(F(x_t, t, m) - F^*\bigr)^2, \qquad F^* = \sin\theta\, x_0 - \cos\theta\, \varepsilon,

over the coordinates that are not observed; this is EDM's weighting (arXiv 2206.00364). A row is shown with
observed coordinates with probability *mask share*; each coordinate is then observed with a probability that
is itself uniform, so that all numbers of observed coordinates are met.

Every member keeps back a random share of the rows of its own and stops where the loss on these is best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...continuous import DenoisingObjective
from ...training import LogNormalNoise, TrainingHistory, TrainingOptions
from ..validation import check_integer, check_number
from .network import PATH, VectorNetwork, vector_denoiser

__all__ = ["NetworkSettings", "Rows", "split_rows", "train_vector_network"]

_EMA_DECAY = 0.995
_EVALUATE_EVERY = 50
_HELD_OUT_STATES = 4096  # noisy copies of held-out rows in one look at the held-out loss, at least
_MOST_REPEATS = 16
_FEWEST_HELD_OUT = 5  # fewer rows say too little to stop by


@dataclass(frozen=True)
class NetworkSettings:
    """Checked hyper-parameters of network and training.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """

    n_members: int
    width: int
    depth: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    patience: int | None
    validation_fraction: float

    def __post_init__(self) -> None:
        for name in ("n_members", "width", "depth", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("validation_fraction", self.validation_fraction, low=0.0, high=1.0, open_high=True)

    @classmethod
    def of(cls, estimator: Any) -> NetworkSettings:
        """Read the parameters of an estimator that has them all."""
        return cls(**{name: getattr(estimator, name) for name in cls.__dataclass_fields__})

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
            threads=1,
        )


@dataclass(frozen=True)
class Rows:
    """Standardised training rows, and what each member may learn from.

    Attributes
    ----------
    values : Tensor of float32, shape (rows, dim)
    weights : Tensor of float32, shape (rows, members)
        0 where a member keeps the row back.
    held_out : Tensor of int64, shape (members, held-out rows)
        Without columns where the table is too small to keep rows back.
    held_out_weights : Tensor of float32, of the shape of ``held_out``
    """

    values: Tensor
    weights: Tensor
    held_out: Tensor
    held_out_weights: Tensor


def split_rows(
    values: Tensor, weights: Tensor, n_members: int, share: float, generator: torch.Generator
) -> Rows:
    """Let every member keep back its own random share of the rows.

    Parameters
    ----------
    values, weights : Tensor of shape (rows, dim) and (rows,)
        Rows and their weights.
    n_members : int
        Number of splits.
    share : float in [0, 1)
        Share to keep back; nothing is where that would be fewer than five rows.
    generator : torch.Generator
        On the CPU.
    """
    count = round(share * len(values))
    count = count if count >= _FEWEST_HELD_OUT else 0
    places = torch.stack([torch.randperm(len(values), generator=generator)[:count] for _ in range(n_members)])
    training = torch.ones(len(values), n_members, dtype=torch.float32)
    training[places, torch.arange(n_members)[:, None]] = 0.0
    return Rows(values.float(), weights.float()[:, None] * training, places, weights.float()[places])


@dataclass(frozen=True)
class _Noise:
    """How noise levels and observed coordinates are drawn."""

    location: float
    scale: float
    mask_share: float
    always_observed: Tensor  # bool, (dim,)

    def times(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        sampler = LogNormalNoise(
            time_of_log_snr=PATH.time_of_log_snr, location=self.location, scale=self.scale
        )
        return sampler.sample(shape, generator).times

    def observed(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor | None:
        """Draw masks of shape (members, rows, dim); None where nothing is ever observed."""
        always = self.always_observed.to(generator.device)
        if self.mask_share == 0.0:
            return always.expand(shape) if bool(always.any()) else None

        def uniform(size: tuple[int, ...]) -> Tensor:
            return torch.rand(size, generator=generator, device=generator.device)

        row = (*shape[:-1], 1)
        share = torch.where(uniform(row) < self.mask_share, uniform(row), 0.0)
        return (uniform(shape) < share) | always


def _member_losses(
    network: nn.Module, x0: Tensor, times: Tensor, noise: Tensor, observed: Tensor | None, weights: Tensor
) -> Tensor:
    """Return the weighted mean loss of each member, over what is not observed."""
    t = times if observed is None else torch.where(observed, 0.0, times[..., None])
    losses = DenoisingObjective(PATH, "edm")(vector_denoiser(network), x0, t, noise)
    if observed is None:
        return (losses.mean(-1) * weights).sum(-1) / weights.sum(-1).clamp_min(1e-12)
    counted = weights[..., None] * (~observed)
    return (losses * weights[..., None]).sum((-1, -2)) / counted.sum((-1, -2)).clamp_min(1e-12)


class _HeldOut:
    """The loss on the rows that each member keeps back, always at the same noise."""

    def __init__(self, rows: Rows, noise: _Noise, generator: torch.Generator) -> None:
        members, count = rows.held_out.shape
        repeats = min(max(_HELD_OUT_STATES // (members * count), 1), _MOST_REPEATS)
        shape = (members, count * repeats, rows.values.shape[1])
        x0 = rows.values[rows.held_out].repeat(1, repeats, 1)
        weights = rows.held_out_weights.repeat(1, repeats)
        eps = torch.randn(shape, generator=generator)
        self._tensors = (
            x0,
            noise.times(shape[:2], generator),
            eps,
            noise.observed(shape, generator),
            weights,
        )

    def __call__(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        if self._tensors[0].device != device:
            self._tensors = tuple(None if one is None else one.to(device) for one in self._tensors)  # type: ignore[assignment]
        return _member_losses(network, *self._tensors)


def train_vector_network(
    settings: NetworkSettings,
    rows: Rows,
    generator: torch.Generator,
    train: Callable[..., TrainingHistory],
    *,
    noise_location: float,
    noise_scale: float,
    mask_share: float = 0.0,
    always_observed: Tensor | None = None,
) -> tuple[VectorNetwork, TrainingHistory]:
    """Build and train a network.

    Parameters
    ----------
    settings : NetworkSettings
        Sizes and training.
    rows : Rows
        What to learn from.
    generator : torch.Generator
        Draws starting weights and the noise of the held-out loss; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    noise_location, noise_scale : float
        Mean and standard deviation of the log noise-to-signal ratio.
    mask_share : float in [0, 1], default 0
        Probability that a row is shown with observed coordinates.
    always_observed : Tensor of bool, shape (dim,), optional
        Coordinates that are observed in every row.

    Returns
    -------
    VectorNetwork, TrainingHistory
    """
    dim = rows.values.shape[1]
    always = torch.zeros(dim, dtype=torch.bool) if always_observed is None else always_observed
    noise = _Noise(noise_location, noise_scale, mask_share, always)
    network = VectorNetwork(
        settings.n_members, dim, width=settings.width, depth=settings.depth,
        masked=mask_share > 0.0 or bool(always.any()), generator=generator,
    )  # fmt: skip

    def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
        values, weights = batch
        shape = (settings.n_members, *values.shape)
        eps = torch.randn(shape, generator=stream, device=values.device)
        times, observed = noise.times(shape[:2], stream), noise.observed(shape, stream)
        return _member_losses(network, values.expand(shape), times, eps, observed, weights.T)

    held_out = _HeldOut(rows, noise, generator) if rows.held_out.shape[1] else None
    history = train(
        network,
        objective,
        (rows.values, rows.weights),
        options=settings.training_options(),
        held_out=held_out,
        description=f"{noise_location} {noise_scale} {mask_share} {always.tolist()}",
    )
    return network, history
