"""Rollouts: what the generator makes, a gradient through last steps alone, and proper scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, Euler, RectifiedFlow
from sciffusion.domains.music import Control, ControlLayout
from sciffusion.domains.music.self_forcing import SelfForcing, rollout, self_force
from sciffusion.domains.music.self_forcing_losses import (
    RolloutCritic,
    critic_losses,
    energy_loss,
    energy_score,
)
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer
from sciffusion.sampling import BlockCausalGenerator, uniform_grid
from sciffusion.training import TrainingOptions

BLOCK, WINDOW, CHANNELS, BATCH, STEPS = 4, 3, 2, 3, 4
GRID = uniform_grid(STEPS)


def network(variant: Any = "block_causal", n_conditions: int = 0) -> Any:
    model = BlockLatentTransformer(
        CHANNELS, block=BLOCK, window=WINDOW, width=16, depth=2, n_heads=2, variant=variant,
        n_conditions=n_conditions,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return model.eval()


def draws(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", ["block_causal", "encoder_decoder"])
@pytest.mark.parametrize("solver", [Euler(), AncestralDDPM()])
@pytest.mark.parametrize("context", [0, 2])
def test_a_whole_rollout_is_what_the_generator_makes(variant: str, solver: Any, context: int) -> None:
    """Under conditions that differ from block to block, those of the context included."""
    model, grid = network(variant, n_conditions=1), uniform_grid(STEPS, start=0.99)
    prompt = draws(BATCH, context * BLOCK, CHANNELS)
    told = draws(BATCH, (context + 5) * BLOCK, 1, seed=2)
    made = rollout(model, prompt, [STEPS] * 5, SelfForcing(grid, solver), seed=3, conditions=told)
    denoiser = BlockLatentDenoiser(model, RectifiedFlow(), "flow")
    expected = BlockCausalGenerator(denoiser, solver, grid, frame_shape=(CHANNELS,)).generate(
        BATCH, 5, seed=3, prompt=prompt,
        condition=lambda number: told[:, number * BLOCK : (number + 1) * BLOCK],
    )  # fmt: skip
    torch.testing.assert_close(made, expected.samples[:, context * BLOCK :], atol=1e-5, rtol=0.0)
    assert made.requires_grad


def test_gradients_reach_last_steps_alone() -> None:
    """The derivative by a parameter is that of each block's last evaluation, all it was given held fixed."""
    model = network().double()
    forcing, steps = SelfForcing(GRID), [3, 1, 4]
    context, direction = (
        draws(BATCH, 2 * BLOCK, CHANNELS).double(),
        draws(BATCH, 12, CHANNELS, seed=2).double(),
    )
    weight = model.output.weight
    calls: list[tuple[Any, Any]] = []
    forward = model.forward

    def watched(*given: Any, **named: Any) -> Tensor:
        out: Tensor = forward(*given, **named)
        if torch.is_grad_enabled():
            calls.append((given, named))
        return out

    model.forward = watched
    made = rollout(model, context, steps, forcing, seed=0)
    (gradient,) = torch.autograd.grad((made * direction).sum(), weight)
    model.forward = forward
    assert len(calls) == len(steps)
    expected, size, place = torch.zeros_like(gradient), 1e-6, (0, 0)
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight[place] += sign * size
            total = 0.0
            for number, (given, named) in enumerate(calls):
                x, t = given[0], given[1]
                clean = x - t * forward(*given, **named)
                part = direction[:, number * BLOCK : (number + 1) * BLOCK]
                total += float((clean * part).sum())
            weight[place] -= sign * size
        values.append(total)
    expected = (values[0] - values[1]) / (2 * size)
    assert float(gradient[place]) == pytest.approx(expected, rel=1e-5)
    # The whole rollout changes by more than that: what is fixed here moves, too.
    wholes = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight[place] += sign * size
            wholes.append(float((rollout(model, context, steps, forcing, seed=0) * direction).sum()))
            weight[place] -= sign * size
    whole = (wholes[0] - wholes[1]) / (2 * size)
    assert abs(whole - expected) > 0.01 * abs(expected)


def test_energy_scores_are_least_for_the_right_law() -> None:
    """In the mean over draws of N(0, 1), and 0 in the mean only for points."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(20000, 1, generator=generator)
    scores = {}
    for location, scale in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 1.7), (0.0, 0.0)):
        first, second = location + scale * torch.randn(2, 20000, 1, generator=generator)
        scores[location, scale] = float(energy_score(first, second, real).mean())
    right = scores.pop((0.0, 1.0))
    # E|x - y| - E|x - x'| / 2 of standard normals is 1 / sqrt(pi).
    assert right == pytest.approx(3.141592653589793**-0.5, abs=0.01)
    assert min(scores.values()) > right + 0.03


def test_the_energy_of_rollouts_minds_how_blocks_fit() -> None:
    """Blocks in the right law that do not go on from the one before cost more."""
    generator = torch.Generator().manual_seed(0)
    count = 40_000
    size = (count, 2 * BLOCK, 1)

    def series() -> Tensor:
        level = torch.randn(count, 1, 1, generator=generator)
        return level + 0.1 * torch.randn(size, generator=generator)

    real, (first, second) = series(), (series(), series())
    mixed = [torch.cat([x[:, :BLOCK], -x[:, BLOCK:]], dim=1) for x in (first, second)]
    before = torch.zeros(count, BLOCK, 1)
    good, bad = (float(energy_loss(*pair, real, before, BLOCK)) for pair in ((first, second), mixed))
    assert bad > 1.02 * good


def test_the_critic_and_the_model_do_not_train_each_other() -> None:
    critic = RolloutCritic(CHANNELS, width=16, depth=1, n_heads=2, n_conditions=1)
    made = draws(BATCH, 8, CHANNELS).requires_grad_()
    real, times = draws(BATCH, 8, CHANNELS, seed=2), torch.rand(BATCH)
    told = torch.full((BATCH, 8, 1), torch.nan)
    generator_loss, critic_loss = critic_losses(critic, made, real, times, told, 4)
    generator_loss.backward(retain_graph=True)
    assert made.grad is not None
    assert all(parameter.grad is None for parameter in critic.parameters())
    made.grad = None
    critic_loss.backward()
    assert made.grad is None
    assert any(parameter.grad is not None for parameter in critic.parameters())


def fit(loss: Any, learning_rate: float, steps: int = 3, **options: Any) -> tuple[Any, Any, Any]:
    layout = ControlLayout((Control("loudness", 1),))
    model = network(n_conditions=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recordings = [draws(60, CHANNELS, seed=seed) for seed in range(3)]
    conditions = [draws(60, 1, seed=seed) for seed in range(3)]
    history = self_force(
        model, recordings, conditions, forcing=SelfForcing(GRID, n_blocks=2, loss=loss, **options),
        options=TrainingOptions(max_steps=steps, batch_size=4, learning_rate=learning_rate, threads=1,
                                evaluate_every=steps),
        seed=0, layout=layout, held_out=(recordings[:1], conditions[:1]),
    )  # fmt: skip
    return before, model.state_dict(), history


@pytest.mark.parametrize("loss", ["energy", "relativistic"])
def test_without_a_learning_rate_nothing_moves(loss: str) -> None:
    before, after, history = fit(loss, 1e-30)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert history.held_out_loss[0] == history.held_out_loss[-1]


def test_a_critic_learns_by_itself_first() -> None:
    before, after, _ = fit("relativistic", 0.1, critic_steps=3)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_rollouts_come_nearer_to_the_recordings() -> None:
    """A model of noise of the wrong size learns the right one from its rollouts."""
    model = network()
    recordings = [0.3 * draws(400, CHANNELS, seed=seed) for seed in range(2)]
    history = self_force(
        model, recordings, forcing=SelfForcing(uniform_grid(2), n_blocks=2),
        options=TrainingOptions(
            max_steps=60, batch_size=16, learning_rate=5e-3, threads=1, evaluate_every=60
        ),
        seed=0, held_out=([0.3 * draws(400, CHANNELS, seed=9)], None),
    )  # fmt: skip
    first, last = history.held_out_loss[0, 0], history.held_out_loss[-1, 0]
    # Of n independent values of deviation .3 the score is about .3 (1 - 1 / (4 n)) / sqrt(2).
    least = sum(0.3 / 2**0.5 * (1 - 1 / (4 * n)) for n in (2, 8, 16)) / 3
    assert first > 1.3 * least
    assert last < 1.05 * least


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="loss must be one of"):
        SelfForcing(GRID, loss="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_blocks"):
        SelfForcing(GRID, n_blocks=0)
    with pytest.raises(ValueError, match="no recording is as long"):
        self_force(network(), [draws(10, CHANNELS)], forcing=SelfForcing(GRID), seed=0,
                   options=TrainingOptions(max_steps=1))  # fmt: skip
