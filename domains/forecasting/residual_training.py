r"""Training of a `WindowNetwork` on standardised residuals.

For residuals z, noise :math:`\varepsilon` with the correlation of the residuals (`residual_law`) and angles
:math:`\theta` with :math:`\log\tan\theta \sim N(-.3, 1.4^2)`, the loss of a member is the mean over the
unknown tokens whose residual is known of

.. math:: \bigl(F(x_\theta, \theta, c) - F^*\bigr)^2, \qquad F^* = \sin\theta\, z - \cos\theta\, \varepsilon .

Windows share one angle among their tokens, but a share of the forecasts gets a ladder of times, later steps
noisier, as in a rolling window (Ruhe et al., *Rolling Diffusion Models*, arXiv 2402.09470). A residual
that is not known is replaced by a second draw of the noise, which is what an untrained model takes it to be.

Each member keeps back the windows of one block of time and stops where the loss on these is best; a member
that training makes no better stays as it began, the Gaussian law of the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sciffusion.continuous import DenoisingObjective
from sciffusion.estimators.validation import check_integer, check_number
from sciffusion.sampling.time_maps import RollingWindow
from sciffusion.training import LogNormalNoise, TrainingHistory, TrainingOptions

from .gap_law import bridge_noise, chain_of_gaps, distances_to_known
from .history import Integers
from .residual_law import ResidualLaw
from .tokens import WindowTokens
from .window_network import PATH, WindowCondition, WindowNetwork, window_denoiser

__all__ = ["NetworkSettings", "kept_back", "train_window_network"]

_EVALUATE_EVERY = 25
_BLOCKS = 5  # of time, at least; each member keeps one back
_HELD_OUT_STATES = 1024  # noisy copies of held-out windows of a member in one look
_MOST_REPEATS = 16
_CLIP = 8.0
_NOISE = (-0.3, 1.4)  # mean and standard deviation of the log noise-to-signal ratio


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
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    patience: int | None
    rolling_share: float
    gap_share: float

    def __post_init__(self) -> None:
        for name in ("n_members", "width", "depth", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("dropout", self.dropout, low=0.0, high=1.0, open_high=True)
        check_number("rolling_share", self.rolling_share, low=0.0, high=1.0)
        check_number("gap_share", self.gap_share, low=0.0, high=1.0, open_high=True)

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
            ema_decay=0.99,
            evaluate_every=_EVALUATE_EVERY,
            patience=self.patience,
            threads=1,
        )


@dataclass(frozen=True)
class _Corruption:
    """How times and noise of windows are drawn."""

    law: ResidualLaw
    n_context: int
    rolling_share: float

    def times(self, gaps: Tensor, generator: torch.Generator) -> Tensor:
        """Draw times of shape (members, rows, tokens) for windows whose kind has shape (members, rows)."""
        sampler = LogNormalNoise(
            time_of_log_snr=PATH.time_of_log_snr, location=_NOISE[0], scale=_NOISE[1], stratified=False
        )
        horizon = len(self.law.std)
        shared = sampler.sample(tuple(gaps.shape), generator).times[..., None]
        times = shared.expand(*gaps.shape, self.n_context + horizon)
        if self.rolling_share == 0.0:
            return times
        drawn = torch.rand((2, *gaps.shape), generator=generator, device=gaps.device)
        ladder = RollingWindow(horizon).local(drawn[0].double(), horizon)
        rolling = torch.cat([times[..., : self.n_context], ladder.to(times)], dim=-1)
        chosen = (drawn[1] < self.rolling_share) & ~gaps
        return torch.where(chosen[..., None], rolling, times)

    def noise(self, batch: _Batch, generator: torch.Generator) -> Tensor:
        """Draw noise of shape (members, rows, tokens)."""
        gaps = batch.gaps
        noise = self.law.forecast_noise(tuple(gaps.shape), self.n_context, generator)
        chain = batch.chain[gaps]
        if len(chain):
            white = torch.randn(chain.shape, generator=generator, device=chain.device, dtype=chain.dtype)
            noise[gaps] = bridge_noise(white, chain)
        return noise


@dataclass(frozen=True)
class _Batch:
    """Windows as tensors; all but the weights may have a leading member axis."""

    inputs: Tensor
    residual: Tensor  # 0 where not known
    counted: Tensor
    unknown: Tensor
    gaps: Tensor
    chain: Tensor  # correlation of each unknown token with the one before, in windows with gaps

    def at(self, places: Tensor) -> _Batch:
        return _Batch(*(getattr(self, name)[places] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> _Batch:
        return _Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def _losses(
    network: nn.Module, batch: _Batch, times: Tensor, noise: Tensor, filling: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted mean loss of each member over the tokens that count."""
    z = torch.where(batch.counted, batch.residual, filling)
    times = torch.where(batch.unknown, times, 0.0)
    condition = WindowCondition(batch.inputs, batch.unknown)
    losses = DenoisingObjective(PATH, "edm")(window_denoiser(network), z, times, noise, condition)
    counted = weights[..., None] * batch.counted
    return (losses * counted).sum((-1, -2)) / counted.sum((-1, -2)).clamp_min(1e-12)


class _HeldOut:
    """The loss on the windows that each member keeps back, always at the same noise."""

    def __init__(
        self, windows: _Batch, places: Tensor, corruption: _Corruption, generator: torch.Generator
    ) -> None:
        repeats = min(max(_HELD_OUT_STATES // places.shape[1], 1), _MOST_REPEATS)
        self._batch = windows.at(places.repeat(1, repeats))
        gaps = self._batch.gaps
        self._drawn = (
            corruption.times(gaps, generator),
            corruption.noise(self._batch, generator),
            corruption.noise(self._batch, generator),
            torch.ones(gaps.shape),
        )

    def __call__(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        if self._batch.inputs.device != device:
            self._batch = self._batch.to(device)
            self._drawn = tuple(part.to(device) for part in self._drawn)  # type: ignore[assignment]
        return _losses(network, self._batch, *self._drawn)


def _blocks(tokens: WindowTokens, n_members: int) -> tuple[np.ndarray[Any, Any], int]:
    """Return the block of time that each window lies in, and how many blocks there are."""
    count = max(n_members, _BLOCKS)
    edges = np.quantile(tokens.step, np.linspace(0.0, 1.0, count + 1)[1:-1])
    return np.searchsorted(edges, tokens.step, side="left"), count


def kept_back(tokens: WindowTokens, n_members: int) -> list[Integers] | None:
    """Return the places of the windows that each member is not trained on, if there are any for each."""
    blocks, count = _blocks(tokens, n_members)
    # The last block first: of a few members, one should keep back what is most like the future.
    own = [(count - 1 - member) % count for member in range(n_members)]
    held = [np.flatnonzero(blocks == block) for block in own]
    return None if min(map(len, held)) == 0 or len(tokens) < 2 * _BLOCKS else held


def _split(tokens: WindowTokens, n_members: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Return training weights (rows, members), and held-out places (members, rows) if blocks hold any."""
    held = kept_back(tokens, n_members)
    weights = torch.ones(len(tokens), n_members, dtype=torch.float32)
    if held is None:
        return weights, None
    most = min(min(len(places) for places in held), 512)
    chosen = []
    for member, places in enumerate(held):
        weights[places, member] = 0.0
        order = torch.randperm(len(places), generator=generator)[:most]
        chosen.append(torch.from_numpy(places)[order])
    return weights, torch.stack(chosen)


def train_window_network(
    settings: NetworkSettings,
    tokens: WindowTokens,
    inputs: Any,
    law: ResidualLaw,
    generator: torch.Generator,
    train: Callable[..., TrainingHistory],
    *,
    n_context: int,
    gap_persistence: float = 0.0,
    start: WindowNetwork | None = None,
) -> tuple[WindowNetwork, TrainingHistory]:
    """Build and train a network.

    Parameters
    ----------
    settings : NetworkSettings
    tokens : WindowTokens
        What to learn from; residuals in units of the law.
    inputs : ndarray of shape (windows, inputs)
        The standardised inputs of the tokens.
    law : ResidualLaw
    generator : torch.Generator
        Draws starting weights and the noise of the held-out loss; on the CPU.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    n_context : int
        Context tokens of a window.
    gap_persistence : float in [0, 1)
        Of residuals in gaps, see `gap_law`.
    start : WindowNetwork, optional
        The network to train on, in place; by default a new one.
    """
    residual = np.clip(tokens.residual, -_CLIP, _CLIP)
    windows = _Batch(
        torch.from_numpy(inputs).float(),
        torch.from_numpy(np.nan_to_num(residual)).float(),
        torch.from_numpy(np.isfinite(residual) & tokens.unknown),
        torch.from_numpy(tokens.unknown),
        torch.from_numpy(tokens.gaps),
        torch.from_numpy(
            chain_of_gaps(*distances_to_known(tokens.unknown), tokens.unknown, gap_persistence)
        ).float(),
    )
    corruption = _Corruption(law, n_context, settings.rolling_share)
    network = start or WindowNetwork(
        settings.n_members, residual.shape[1], inputs.shape[1], width=settings.width,
        depth=settings.depth, dropout=settings.dropout, generator=generator,
    )  # fmt: skip
    weights, places = _split(tokens, settings.n_members, generator)

    def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
        *parts, own = batch
        one = _Batch(*parts)
        members = _Batch(
            *(getattr(one, name).expand(settings.n_members, *getattr(one, name).shape)
              for name in one.__dataclass_fields__)
        )  # fmt: skip
        drawn = (corruption.times(members.gaps, stream), corruption.noise(members, stream))
        return _losses(network, members, *drawn, corruption.noise(members, stream), own.T)

    history = train(
        network,
        objective,
        (*(getattr(windows, name) for name in windows.__dataclass_fields__), weights),
        options=settings.training_options(),
        held_out=None if places is None else _HeldOut(windows, places, corruption, generator),
        description=f"{n_context} {settings.rolling_share} {math.fsum(law.factor.ravel()):.12g}",
    )
    return network, history
