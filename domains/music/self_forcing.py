r"""Training a model on what it makes itself, so that its own mistakes do not lead it astray.

A model that has only seen recordings before a block meets, in a stream, blocks of its own. Here it makes R
blocks after a piece of a recording as it would in a stream, with the cache of inference, and the rollout is
compared with how the recording goes on (`self_forcing_losses`). Of the K steps of a block it makes the first
k only, k drawn from 1..K for every block, and takes the clean estimate of the last one for the block. Steps
before it have no gradient, and the block is detached before it enters the cache: a gradient flows through one
evaluation a block, however long the rollout. With k = K, which is among the draws, the rollout is what
`BlockCausalGenerator` makes of the same noise.

Huang et al., *Self Forcing: Bridging the Train-Test Gap in Autoregressive Video Diffusion*, arXiv 2506.08009
(rollouts with the cache, truncated steps); Novack et al., *Live Music Diffusion Models*, arXiv 2605.22717
(adversarial self-forcing).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sciffusion.continuous import Euler
from sciffusion.networks import BlockLatentDenoiser
from sciffusion.sampling import State, sample
from sciffusion.sampling.block_stream import DenoiserAfter
from sciffusion.sampling.step_noise import StepNoise, step_generator
from sciffusion.training import TrainingHistory, TrainingOptions, fit_network

from .controls import ControlLayout
from .self_forcing_losses import RolloutCritic, critic_losses, energy_loss
from .training import MusicTraining, contents
from .training_windows import MusicWindows, Windows

__all__ = ["SelfForcing", "rollout", "self_force"]

RolloutLoss = Literal["energy", "relativistic"]


@dataclass(frozen=True)
class SelfForcing:
    """How a model is trained on its own rollouts.

    Parameters
    ----------
    grid : Tensor of shape ``(steps + 1,)``
        Times of a block at inference.
    solver : Solver
        Of inference; it begins at ``grid[0]`` and makes one evaluation a step.
    n_blocks : int, default 4
        Blocks in a rollout.
    context : int, optional
        Blocks of a recording before it; the network's window by default.
    without_context : float, default 0.1
        Probability with which a batch begins without any.
    loss : {"energy", "relativistic"}, default "energy"
        What rollouts are compared by.
    critic_steps : int, default 100
        Steps that a critic learns by itself first.
    held_out_windows : int, default 32
        Windows in a look at the held-out energy score, at most.

    Raises
    ------
    ValueError
        For a number out of range or an unknown loss.
    """

    grid: Tensor
    solver: Any = field(default_factory=Euler)
    n_blocks: int = 4
    context: int | None = None
    without_context: float = 0.1
    loss: RolloutLoss = "energy"
    critic_steps: int = 100
    held_out_windows: int = 32

    def __post_init__(self) -> None:
        if self.loss not in get_args(RolloutLoss):
            raise ValueError(f"loss must be one of {get_args(RolloutLoss)}, got {self.loss!r}")
        if self.n_blocks < 1 or (self.context is not None and self.context < 1):
            raise ValueError(
                f"n_blocks and context must be at least 1, got {self.n_blocks} and {self.context}"
            )
        if self.grid.ndim != 1 or len(self.grid) < 2:
            raise ValueError(f"grid must hold the times of at least one step, got {tuple(self.grid.shape)}")
        if not 0.0 <= self.without_context <= 1.0:
            raise ValueError(f"without_context must be a probability, got {self.without_context!r}")

    @property
    def steps(self) -> int:
        """Steps of a block at inference."""
        return len(self.grid) - 1

    @property
    def description(self) -> str:
        """What tells it from others, in words."""
        numbers = (self.n_blocks, self.context, self.without_context, self.loss, self.critic_steps)
        return f"{type(self.solver).__name__} {self.grid.tolist()} {numbers}"


def rollout(
    network: Any,
    context: Tensor,
    steps: Sequence[int],
    forcing: SelfForcing,
    *,
    seed: int,
    training: MusicTraining | None = None,
    conditions: Tensor | None = None,
) -> Tensor:
    """Make blocks after a context as a stream would, with a gradient through the last step of each.

    Parameters
    ----------
    network : BlockLatentTransformer
    context : Tensor of shape ``(batch, tokens, channels)``
        Whole clean blocks; may be none.
    steps : sequence of int
        Steps of each block, between 1 and those of the grid.
    forcing : SelfForcing
        Grid and solver.
    seed : int >= 0
        Of the noise, as for `BlockCausalGenerator`.
    training : MusicTraining, optional
        Path and prediction.
    conditions : Tensor of shape ``(batch, tokens, width)``, optional
        Of the context and of the blocks after it.

    Returns
    -------
    Tensor of shape ``(batch, len(steps) * block, channels)``
    """
    training = MusicTraining() if training is None else training
    denoiser = BlockLatentDenoiser(network, training.path, training.prediction)
    block, first = network.block, context.shape[1] // network.block

    def told(start: int, stop: int) -> Tensor | None:
        return None if conditions is None else conditions[:, start * block : stop * block]

    cache = network.start_cache(len(context))
    with torch.no_grad():
        if first:
            cache = network.commit(context, told(0, first), cache)
    made = []
    for number, count in enumerate(steps, start=first):
        condition = told(number, number + 1)
        state = _before_last_step(denoiser, forcing, context, cache, condition, seed, number, count)
        prediction = denoiser(state, condition, cache)
        made.append(prediction.to("x0", training.path.coefficients(state.t), state.x).value)
        with torch.no_grad():
            cache = network.commit(made[-1].detach(), condition, cache)
    return torch.cat(made, dim=1)


def _before_last_step(
    denoiser: BlockLatentDenoiser,
    forcing: SelfForcing,
    context: Tensor,
    cache: Any,
    condition: Tensor | None,
    seed: int,
    number: int,
    count: int,
) -> State:
    """Return the state of a block before its last step, without a gradient."""
    grid = forcing.grid.to(torch.float64)
    network: Any = denoiser.network
    shape = (len(context), int(network.block), context.shape[-1])
    draws = step_generator(seed, number, 0)
    x = denoiser.path.draw_prior(shape, draws, grid[0], context.dtype, context.device)
    if count == 1:
        return State(x=x, t=grid[0])
    after = DenoiserAfter(denoiser, (condition,), (cache,))
    with torch.no_grad():
        return sample(
            after, forcing.solver, grid[:count], state=State(x=x), condition=condition,
            hooks=[StepNoise(seed, number)], inference_mode=False,
        ).state  # fmt: skip


class _RolloutObjective:
    """The loss of rollouts from windows, given their first frames."""

    def __init__(
        self,
        windows: MusicWindows,
        layout: ControlLayout | None,
        forcing: SelfForcing,
        training: MusicTraining,
        context: int,
    ) -> None:
        self.windows, self.layout, self.forcing, self.training = windows, layout, forcing, training
        self.context = context

    def at_step(self, step: int) -> Callable[..., Tensor]:
        """Return the objective of a step: a critic learns by itself first."""
        critic_alone = self.forcing.loss == "relativistic" and step < self.forcing.critic_steps
        return partial(self.__call__, critic_alone=critic_alone)

    def __call__(
        self,
        network: Any,
        batch: tuple[Tensor, ...],
        generator: torch.Generator,
        critic_alone: bool = False,
    ) -> Tensor:
        self.windows = self.windows.to(batch[0].device)
        cut = self.windows.cut(batch[0], generator)
        return self.loss(network, cut, generator, critic_alone=critic_alone)

    def loss(
        self,
        network: Any,
        windows: Windows,
        generator: torch.Generator,
        *,
        critic_alone: bool = False,
        watched: bool = False,
    ) -> Tensor:
        """Return the loss; the energy score of whole rollouts with all that is known if it is watched."""
        model: Any = network.generator if isinstance(network, _Pair) else network
        critic = network.critic if isinstance(network, _Pair) else None
        real = windows.latents.to(next(model.parameters()))
        given = windows.conditions
        if given is not None and not watched:
            assert self.layout is not None
            given = self.training.controls.hide(given, self.layout, model.block, generator)[0]
        begin = self._drawn_context(watched, generator) * model.block
        start = self.context * model.block
        context = real[:, start - begin : start]
        told = None if given is None else given[:, start - begin :].to(real)
        seed, steps = self._drawn_steps(watched, generator)
        if watched or critic is None:
            return self._energy(model, context, told, real[:, start:], steps, seed)
        roll = partial(rollout, forcing=self.forcing, training=self.training, seed=seed, conditions=told)
        with torch.set_grad_enabled(not critic_alone):
            made = roll(model, context, steps)
        return self._judged(critic, context, made, real[:, start:], told, generator, critic_alone)

    def _energy(
        self, model: Any, context: Tensor, told: Tensor | None, real: Tensor, steps: list[int], seed: int
    ) -> Tensor:
        twice = None if told is None else told.repeat(2, 1, 1)
        made = rollout(
            model, context.repeat(2, 1, 1), steps, self.forcing, seed=seed, training=self.training,
            conditions=twice,
        )  # fmt: skip
        first, second = made.chunk(2)
        before = context[:, -model.block :] if context.shape[1] else torch.zeros_like(real[:, : model.block])
        return energy_loss(first, second, real, before, model.block)

    def _judged(
        self,
        critic: nn.Module,
        context: Tensor,
        made: Tensor,
        real: Tensor,
        told: Tensor | None,
        generator: torch.Generator,
        critic_alone: bool,
    ) -> Tensor:
        pair = [torch.cat([context, x], dim=1) for x in (made, real)]
        times = self.training.times.sample(len(real), generator).times.to(real.device)
        noise = torch.randn(pair[0].shape, generator=generator, device=generator.device).to(real)
        noisy = [self.training.path.marginal(x, times, noise) for x in pair]
        of_generator, of_critic = critic_losses(critic, noisy[0], noisy[1], times, told, made.shape[1])
        return of_critic if critic_alone else of_generator + of_critic

    def _drawn_context(self, watched: bool, generator: torch.Generator) -> int:
        """Draw how many blocks of the recording come before; as many as there are in most batches."""
        chance = torch.rand((), generator=generator, device=generator.device)
        return 0 if not watched and float(chance) < self.forcing.without_context else self.context

    def _drawn_steps(self, watched: bool, generator: torch.Generator) -> tuple[int, list[int]]:
        draws = torch.randint(
            0, 2**31, (1 + self.forcing.n_blocks,), generator=generator, device=generator.device
        ).tolist()
        steps = [1 + draw % self.forcing.steps for draw in draws[1:]]
        return draws[0], [self.forcing.steps] * self.forcing.n_blocks if watched else steps


class _Pair(nn.Module):
    """A model and its critic, trained side by side."""

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic


class _HeldOutRollouts:
    """The energy score of rollouts after recordings kept back, always of the same noise."""

    def __init__(self, objective: _RolloutObjective, seed: int, chunk: int = 16) -> None:
        self.objective, self.seed, self.chunk = objective, seed, chunk

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        windows, total = self.objective.windows, torch.zeros((), dtype=torch.float64)
        starts = windows.spread(self.objective.forcing.held_out_windows)
        for part in torch.split(starts, self.chunk):
            cut = windows.cut(part, generator)
            given = None if cut.conditions is None else cut.conditions.to(device)
            cut = Windows(cut.latents.to(device), given, cut.blocks.to(device))
            total += len(part) * self.objective.loss(network, cut, generator, watched=True).cpu()
        return total / len(starts)


def self_force(
    network: nn.Module,
    recordings: Sequence[Tensor],
    conditions: Sequence[Tensor] | None = None,
    *,
    forcing: SelfForcing,
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
    """Train a model on its own rollouts, in place, after `fit_music_network`.

    Parameters
    ----------
    network : BlockLatentTransformer
        Trained.
    recordings, conditions, layout, train, device, trainer_options, checkpoint, verbose
        As for `fit_music_network`.
    forcing : SelfForcing
        Rollouts and their loss.
    options : TrainingOptions
        Steps, batch size (windows; the energy score makes two rollouts of each), learning rate (1e-5 to
        1e-4).
    seed : int >= 0
        Of all that is drawn.
    held_out : tuple of (recordings, conditions or None), optional
        Recordings kept back; the energy score of rollouts after them chooses the weights, those at the
        beginning among them.
    training : MusicTraining, optional
        Path, prediction, times of the critic's noise and how often controls are hidden.

    Returns
    -------
    TrainingHistory
        Held-out losses are energy scores.
    """
    training = MusicTraining() if training is None else training
    objective = _objective(network, recordings, conditions, layout, forcing, training)
    watched = None
    if held_out is not None:
        watched = _HeldOutRollouts(_objective(network, *held_out, layout, forcing, training), seed)
    if train is None:
        train = partial(
            fit_network, seed=seed, device=device, trainer_options=trainer_options, checkpoint=checkpoint,
            verbose=verbose,
        )  # fmt: skip
    trained = network if forcing.loss == "energy" else _Pair(network, _critic(network, seed))
    history = train(
        trained, objective, (objective.windows.starts(),), options=options, held_out=watched,
        description=f"{forcing.description} {training} {layout} {contents(objective.windows)}",
    )  # fmt: skip
    network.eval()
    return history


def _objective(
    network: Any,
    recordings: Sequence[Tensor],
    conditions: Sequence[Tensor] | None,
    layout: ControlLayout | None,
    forcing: SelfForcing,
    training: MusicTraining,
) -> _RolloutObjective:
    if conditions is not None and layout is None:
        raise ValueError("conditions need layout=, which says which numbers belong together")
    context = int(network.window) if forcing.context is None else forcing.context
    blocks = context + forcing.n_blocks
    long = [n for n, latents in enumerate(recordings) if len(latents) >= blocks * network.block]
    if not long:
        raise ValueError(
            f"no recording is as long as a context and a rollout: {blocks * network.block} frames"
        )
    told = None if conditions is None else [conditions[n] for n in long]
    windows = MusicWindows(
        [recordings[n] for n in long], told, block=network.block, n_blocks=blocks, joined=False
    )
    return _RolloutObjective(windows, layout, forcing, training, context)


def _critic(network: Any, seed: int) -> RolloutCritic:
    """Return a critic of the size of a model; its weights hang on the seed alone."""
    sizes = {name: network.sizes[name] for name in ("channels", "width", "depth", "n_heads", "n_conditions")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = RolloutCritic(sizes.pop("channels"), **sizes)
    return critic.to(next(network.parameters()))
