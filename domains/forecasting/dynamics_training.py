r"""Training of the networks of `DynamicsDiffusion` on windows of standardised trajectories.

*Rolling*: the denoising loss of `dynamics_rolling` at the times of `MixedTimes.rolling`.

*DYffusion*, in two stages. First the interpolator, its dropout on,

.. math:: \ell_I = \lVert I(x_0, x_h, i) - x_i \rVert^2, \qquad i \sim U\{1, \dots, h - 1\},

then, with the interpolator frozen and its dropout still on, the forecaster, at times s of the schedule and
the next time s',

.. math::
    \ell_F = \lVert F(x_s, s) - x_h \rVert^2 + \lVert F(x_{s'}, s') - x_h \rVert^2, \qquad
    x_s = I(x_0, x_h, s), \quad x_{s'} = I\bigl(x_0, F(x_s, s), s'\bigr),

whose second term shows the forecaster the states that it will meet in sampling; it is left out where s is the
last time of the schedule. All norms are means over the coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.estimators.validation import check_integer, check_number
from sciffusion.sampling.time_maps import MixedTimes
from sciffusion.training import TrainingHistory, TrainingOptions

from .dynamics_cold import cold_schedule
from .dynamics_networks import Forecaster, Interpolator, WindowNetwork
from .dynamics_rolling import window_loss
from .dynamics_trajectories import Windows

__all__ = ["DynamicsSettings", "train_forecaster", "train_interpolator", "train_window_network"]

_EMA_DECAY = 0.995
_EVALUATE_EVERY = 100
_HELD_OUT_ROWS = 2048
_HELD_OUT_POINTS = 2048 * 64

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
Train = Callable[..., TrainingHistory]


@dataclass(frozen=True)
class DynamicsSettings:
    """Checked hyper-parameters of networks and training.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """

    window: int
    context: int
    extra_steps: int
    dropout: float
    boundary_probability: float
    width: int
    depth: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    patience: int | None
    validation_fraction: float

    def __post_init__(self) -> None:
        for name in ("window", "context", "width", "depth", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        check_integer("extra_steps", self.extra_steps, low=0)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("dropout", self.dropout, low=0.0, high=1.0, open_high=True)
        check_number(
            "boundary_probability",
            self.boundary_probability,
            low=0.0,
            high=1.0,
            open_low=True,
            open_high=True,
        )
        check_number("validation_fraction", self.validation_fraction, low=0.0, high=1.0, open_high=True)

    @classmethod
    def of(cls, estimator: Any) -> DynamicsSettings:
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
            evaluate_every=min(_EVALUATE_EVERY, self.max_steps),
            patience=self.patience,
            threads=1,
        )

    def body(self, n_points: int, generator: torch.Generator) -> dict[str, Any]:
        """Return the sizes that all networks share."""
        return {"n_points": n_points, "width": self.width, "depth": self.depth, "generator": generator}


def train_window_network(
    settings: DynamicsSettings,
    periodic: bool,
    windows: tuple[Windows, Windows | None],
    dim: int,
    generator: torch.Generator,
    train: Train,
) -> tuple[WindowNetwork, TrainingHistory]:
    """Build and train the network of the rolling method; parameters as for `train_interpolator`."""
    network = WindowNetwork(settings.context, settings.window, periodic, **settings.body(dim, generator))
    times_of = MixedTimes.rolling(settings.window, settings.context, settings.boundary_probability)

    def loss(network: nn.Module, frames: Tensor, stream: torch.Generator) -> Tensor:
        times = times_of.sample(frames.shape[:2], stream, frames.device).times
        noise = torch.randn(frames.shape, generator=stream, device=stream.device).to(frames.device)
        return window_loss(network, frames, times, noise, settings.window)

    return network, _fit(network, loss, windows, settings, generator, train, "rolling", 0)


def train_interpolator(
    settings: DynamicsSettings,
    periodic: bool,
    windows: tuple[Windows, Windows | None],
    dim: int,
    generator: torch.Generator,
    train: Train,
) -> tuple[Interpolator, TrainingHistory | None]:
    """Build and train DYffusion's interpolator.

    Parameters
    ----------
    settings : DynamicsSettings
        Sizes and training.
    periodic : bool
        Whether states are fields on a circle.
    windows : Windows and Windows or None
        Of ``context + window`` states, to learn from and kept back.
    dim : int
        Variables of a state.
    generator : torch.Generator
        Draws starting weights and the randomness of the held-out loss; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.

    Returns
    -------
    Interpolator, TrainingHistory or None
        None where a window of one step leaves nothing between its ends.
    """
    body = settings.body(dim, generator)
    network = Interpolator(settings.context, periodic, dropout=settings.dropout, **body)
    horizon, context = settings.window, settings.context

    def loss(network: nn.Module, frames: Tensor, stream: torch.Generator) -> Tensor:
        size, device = (len(frames),), frames.device
        step = torch.randint(1, horizon, size, generator=stream, device=stream.device).to(device)
        target = frames[torch.arange(len(frames), device=device), context - 1 + step]
        between = network(frames[:, :context], frames[:, -1], step / horizon, stream)
        error: Tensor = (between - target).square().mean()
        return error

    if horizon == 1:
        return network, None
    return network, _fit(network, loss, windows, settings, generator, train, "interpolator", 0)


def train_forecaster(
    settings: DynamicsSettings,
    periodic: bool,
    windows: tuple[Windows, Windows | None],
    dim: int,
    generator: torch.Generator,
    train: Train,
    interpolator: Interpolator,
) -> tuple[Forecaster, TrainingHistory]:
    """Build and train DYffusion's forecaster with a frozen interpolator; see `train_interpolator`."""
    network = Forecaster(settings.context, periodic, **settings.body(dim, generator))
    interpolator.requires_grad_(False)
    context, horizon = settings.context, settings.window
    schedule = torch.tensor(
        [*cold_schedule(horizon, settings.extra_steps), float(horizon)], dtype=torch.float32
    )

    def loss(network: nn.Module, frames: Tensor, stream: torch.Generator) -> Tensor:
        places = torch.randint(len(schedule) - 1, (len(frames),), generator=stream, device=stream.device)
        shares = schedule.to(places.device) / horizon
        here, there = (shares[place].to(frames.device) for place in (places, places + 1))
        past, end = frames[:, :context], frames[:, -1]
        interpolator.to(frames.device)
        first = network(past, interpolator(past, end, here, stream), here)
        second = network(past, interpolator(past, first, there, stream), there)
        follows = (there < 1.0).to(frames.dtype)[:, None]
        error: Tensor = (first - end).square() + follows * (second - end).square()
        return error.mean()

    return network, _fit(network, loss, windows, settings, generator, train, "forecaster", 1)


def _fit(
    network: nn.Module,
    loss: Loss,
    windows: tuple[Windows, Windows | None],
    settings: DynamicsSettings,
    generator: torch.Generator,
    train: Train,
    name: str,
    stream: int,
) -> TrainingHistory:
    learning, kept = windows

    def objective(network: nn.Module, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        return loss(network, learning.take(batch[0]), noise)

    held_out = None if kept is None else _held_out(loss, kept, generator)
    return train(
        network,
        objective,
        (learning.starts,),
        options=settings.training_options(),
        held_out=held_out,
        description=f"{name} {settings} {learning.fingerprint()}",
        stream=stream,
    )


def _held_out(loss: Loss, kept: Windows, generator: torch.Generator) -> Callable[[nn.Module], Tensor]:
    """Return the loss on a fixed share of the windows kept back, always with the same randomness."""
    dim = kept.take(kept.starts[:1]).shape[-1]
    count = min(_HELD_OUT_ROWS, max(_HELD_OUT_POINTS // dim, 64), len(kept.starts))
    order = torch.randperm(len(kept.starts), generator=generator)[:count]
    starts = kept.starts[order]
    seed = int(torch.randint(2**31, (), generator=generator))

    def held_out(network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return loss(network, kept.take(starts.to(device)), noise)

    return held_out
