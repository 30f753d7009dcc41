r"""Training of the music model: every block of a window at once, each after the clean ones before it.

A window of N blocks of normalised latents is shown twice (see `sciffusion.networks.block_network`): every
block b noisy, at a time :math:`t_b` of its own on the path :math:`x_t = (1 - t) x_0 + t \varepsilon`, and all
blocks clean. The loss is the squared error of the flow,

.. math:: \mathbb{E} \, \bigl\| v_\theta(x_t^{(b)}, t_b \mid x_0^{(<b)}, c) - (\varepsilon - x_0)^{(b)}
          \bigr\|^2 ,

over all blocks b. With N at least twice the window W, training meets keys of clean blocks that know of blocks
which have left the window, as in an endless stream.

Three things are left out at random, so that one network can do without them: controls (see
`training_controls`), the history before some block (a stream begins without any), and the certainty that the
past is right: a little noise on the clean copy, absent at inference, makes a model less sensitive to its own
mistakes, which are what drifts. Times are logit-normal and stratified over a batch.

Encoder-decoder networks read their context anew for every target; they are trained on the last block of
windows of W blocks, behind a random number of whole blocks.

Liu, Gong and Liu, *Flow Straight and Fast*, arXiv 2209.03003 (rectified flow); Esser et al., *Scaling
Rectified Flow Transformers*, arXiv 2403.03206 (logit-normal times); Novack et al., *Live Music Diffusion
Models*, arXiv 2605.22717 (context dropout; supervision of all blocks and of joined recordings is a
construction of this library).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.continuous import DenoisingObjective, NetworkDenoiser, Path, PredictionKind, RectifiedFlow
from sciffusion.networks.block_network import block_times
from sciffusion.training import LogitNormal, TimeSampler, TrainingHistory, TrainingOptions, fit_network
from sciffusion.training.checkpoints import fingerprint

from .controls import ControlLayout
from .training_controls import ControlDropout
from .training_windows import MusicWindows, Windows

__all__ = ["HeldOutMusic", "MusicObjective", "MusicTraining", "contents", "fit_music_network"]


@dataclass(frozen=True)
class MusicTraining:
    """How the music model is trained, beside steps, batches and learning rates.

    Parameters
    ----------
    n_blocks : int, optional
        Blocks in a window of training; twice the network's window by default, and the window itself for
        networks that are trained on last blocks.
    joined : bool, default True
        Whether windows go on in other recordings where one ends.
    controls : ControlDropout
        How often controls are hidden.
    history : float in [0, 1], default 0.2
        Share of the clips whose history begins at a random block instead of the first.
    clean_noise : float >= 0, default 0
        Largest standard deviation of the noise on the clean copy, uniform from 0 a clip.
    times : TimeSampler
        Draws the time of every block.
    path : Path
        `RectifiedFlow` by default.
    prediction : str, default "flow"
        What the network predicts.
    held_out_windows : int, default 64
        Windows in a look at the held-out loss, at most.

    Raises
    ------
    ValueError
        For a share or a noise out of range.
    """

    n_blocks: int | None = None
    joined: bool = True
    controls: ControlDropout = field(default_factory=ControlDropout)
    history: float = 0.2
    clean_noise: float = 0.0
    times: TimeSampler = field(default_factory=lambda: LogitNormal(scale=1.5))
    path: Path = field(default_factory=RectifiedFlow)
    prediction: PredictionKind = "flow"
    held_out_windows: int = 64

    def __post_init__(self) -> None:
        if not 0.0 <= self.history <= 1.0:
            raise ValueError(f"history must be a share in [0, 1], got {self.history!r}")
        if not 0.0 <= self.clean_noise < float("inf"):
            raise ValueError(f"clean_noise must be a standard deviation >= 0, got {self.clean_noise!r}")
        if self.n_blocks is not None and self.n_blocks < 2:
            raise ValueError(f"n_blocks must be at least 2, got {self.n_blocks}")

    def blocks(self, network: Any, recordings: Sequence[Tensor] | None = None) -> int:
        """Return the blocks in a window of training.

        For networks that are trained on last blocks, at most those of the longest of the recordings: the last
        block of a longer window would never be there.
        """
        window: int = network.window
        if not network.supervises_last:
            return 2 * window if self.n_blocks is None else self.n_blocks
        blocks = window if self.n_blocks is None else self.n_blocks
        if not recordings:
            return blocks
        return max(min(blocks, max(map(len, recordings)) // int(network.block)), 1)


class MusicObjective:
    """The loss of a batch of windows, for `sciffusion.training.fit_network`.

    Parameters
    ----------
    windows : MusicWindows
        The recordings; rows of the training are `MusicWindows.starts`.
    layout : ControlLayout, optional
        Which conditions belong together; one control of all of them by default.
    training : MusicTraining
        What is drawn.
    """

    def __init__(
        self,
        windows: MusicWindows,
        layout: ControlLayout | None = None,
        training: MusicTraining | None = None,
    ) -> None:
        self.windows, self.training = windows, MusicTraining() if training is None else training
        self.layout = layout

    def __call__(self, network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of windows, given their first frames."""
        # Kept where the training is: a batch is gathered there.
        self.windows = self.windows.to(batch[0].device)
        windows = self.windows.cut(batch[0], generator)
        losses, weights = self.losses(network, windows, generator)
        return (losses * weights).sum() / weights.sum().clamp_min(1.0)

    def losses(
        self, network: Any, windows: Windows, generator: torch.Generator, *, plain: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of every block and whether it counts.

        Parameters
        ----------
        network : BlockNetwork
            Or another one with its three ways of being called.
        windows : Windows
            On the device of the network.
        generator : torch.Generator
            Of all that is drawn.
        plain : bool, default False
            Leave nothing out: all controls, the whole history, without noise on it.

        Returns
        -------
        tuple of Tensor
            Losses and weights 0 or 1, both ``(batch, blocks)``, of the supervised blocks.
        """
        weight = next(network.parameters())
        x0 = windows.latents.to(weight)
        count = 1 if network.supervises_last else self.windows.n_blocks
        tail = slice(-count * self.windows.block, None)
        noise = torch.randn(x0[:, tail].shape, generator=generator, device=generator.device).to(x0)
        drawn = self.training.times.sample(len(x0) * count, generator).times.reshape(len(x0), count)
        times = block_times(drawn.to(x0.device), self.windows.block, noise.shape[1])
        shown, of_clean = self._conditions(windows.conditions, generator, plain)
        beside = network.beside(
            x0 if plain else self._blurred(x0, generator),
            oldest=None if plain else self._oldest(len(x0), network, generator), condition=of_clean,
        )  # fmt: skip
        denoiser = NetworkDenoiser(beside, self.training.path, self.training.prediction)
        objective = DenoisingObjective(self.training.path)
        told = None if shown is None else shown[:, tail]
        losses = objective(denoiser, x0[:, tail], times, noise, told)
        by_block = losses.reshape(len(x0), count, self.windows.block, -1).mean((2, 3))
        return by_block, windows.blocks[:, -count:].to(by_block)

    def _conditions(
        self, conditions: Tensor | None, generator: torch.Generator, plain: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        if conditions is None or plain:
            return conditions, conditions
        layout = self.layout
        if layout is None:
            raise ValueError("a layout of the controls is needed where there are conditions")
        return self.training.controls.hide(conditions, layout, self.windows.block, generator)

    def _blurred(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Put a little noise on the clean copy."""
        if self.training.clean_noise == 0.0:
            return x0
        level = torch.rand(len(x0), 1, 1, generator=generator, device=generator.device)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device)
        return x0 + (self.training.clean_noise * level * noise).to(x0)

    def _oldest(self, batch: int, network: Any, generator: torch.Generator) -> Tensor | None:
        """Draw the oldest block that is seen; the first one in most clips."""
        blocks, share = self.windows.n_blocks, self.training.history
        if blocks == 1:
            return None
        if network.supervises_last:
            # Any number of whole blocks before the last one, each as likely in the given share of the clips.
            share = max(share, 1.0 / blocks)
        if share == 0.0:
            return None
        chance = torch.rand(batch, generator=generator, device=generator.device)
        drawn = torch.randint(1, blocks, (batch,), generator=generator, device=generator.device)
        return torch.where(chance < share, drawn, 0)


class HeldOutMusic:
    """The loss of windows kept back, always at the same times and noise, nothing left out.

    Parameters
    ----------
    objective : MusicObjective
        On the recordings that are kept back.
    seed : int
        Of times, noise and what follows recordings.
    chunk : int, default 16
        Windows in one evaluation.
    """

    def __init__(self, objective: MusicObjective, seed: int, chunk: int = 16) -> None:
        self.objective, self.seed, self.chunk = objective, seed, chunk

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> Tensor:
        """Return the mean loss of a block."""
        device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        windows = self.objective.windows
        starts = windows.spread(self.objective.training.held_out_windows)
        total, count = torch.zeros(2, dtype=torch.float64).unbind()
        for part in torch.split(starts, self.chunk):
            cut = windows.cut(part, generator)
            cut = Windows(*(None if value is None else value.to(device) for value in cut))  # type: ignore[arg-type]
            losses, weights = self.objective.losses(network, cut, generator, plain=True)
            total += (losses * weights).sum().cpu()
            count += weights.sum().cpu()
        return total / count


def fit_music_network(
    network: nn.Module,
    recordings: Sequence[Tensor],
    conditions: Sequence[Tensor] | None = None,
    *,
    options: TrainingOptions,
    seed: int,
    layout: ControlLayout | None = None,
    held_out: tuple[Sequence[Tensor], Sequence[Tensor] | None] | None = None,
    training: MusicTraining | None = None,
    train: Callable[..., TrainingHistory] | None = None,
    device: torch.device | str = "cpu",
    trainer_options: Mapping[str, Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> TrainingHistory:
    """Train a block network on recordings, in place.

    Parameters
    ----------
    network : BlockLatentTransformer
        Or another network with its three ways of being called; fresh or already trained.
    recordings : sequence of Tensor, each of shape ``(frames, channels)``
        Normalised latents, at least one block each.
    conditions : sequence of Tensor, each of shape ``(frames, width)``, optional
        Controls of every frame, NaN where unknown; `width` is the network's ``n_conditions``.
    options : TrainingOptions
        Steps, batch size (windows), learning rate, averaging, evaluation and stopping.
    seed : int >= 0
        Of all that is drawn.
    layout : ControlLayout, optional
        Names the conditions; needed where there are any.
    held_out : tuple of (recordings, conditions or None), optional
        Recordings that are kept back; their loss chooses the weights.
    training : MusicTraining, optional
        Windows, times and what is left out.
    train : callable, optional
        Trains in place, as an estimator's own ``_train`` does, and then has seed, device and checkpoint from
        there; `sciffusion.training.fit_network` by default.
    device, trainer_options, checkpoint, verbose
        As for `sciffusion.training.fit_network`.

    Returns
    -------
    TrainingHistory
        Losses are mean squares of the flow's error a number of a frame.

    Raises
    ------
    ValueError
        For recordings or conditions that do not fit the network or each other.
    """
    training = MusicTraining() if training is None else training
    objective = _objective(network, recordings, conditions, layout, training)
    watched = None
    if held_out is not None:
        watched = HeldOutMusic(_objective(network, *held_out, layout, training), seed)
    if train is None:
        train = partial(
            fit_network, seed=seed, device=device, trainer_options=trainer_options, checkpoint=checkpoint,
            verbose=verbose,
        )  # fmt: skip
    return train(
        network, objective, (objective.windows.starts(),), options=options, held_out=watched,
        description=f"{training} {layout} {contents(objective.windows)}",
    )  # fmt: skip


def _objective(
    network: Any,
    recordings: Sequence[Tensor],
    conditions: Sequence[Tensor] | None,
    layout: ControlLayout | None,
    training: MusicTraining,
) -> MusicObjective:
    n_conditions = network.n_conditions
    width = 0 if conditions is None or not conditions else conditions[0].shape[-1]
    if conditions is not None and width != n_conditions:
        raise ValueError(f"the network is conditioned on {n_conditions} numbers a frame, got {width}")
    if conditions is not None and layout is not None and layout.width != width:
        raise ValueError(f"the layout of the controls has {layout.width} numbers a frame, got {width}")
    if conditions is not None and layout is None:
        raise ValueError("conditions need layout=, which says which numbers belong together")
    windows = MusicWindows(
        recordings, conditions, block=network.block, n_blocks=training.blocks(network, recordings),
        joined=training.joined,
    )  # fmt: skip
    return MusicObjective(windows, layout, training)


def contents(windows: MusicWindows) -> str:
    """Return a hash of the recordings, which rows of the training are only numbers of."""
    tensors = [windows.latents, windows.lengths]
    return fingerprint({}, tensors if windows.conditions is None else [*tensors, windows.conditions])
