"""Brownian trees: increments that fit together, their law, and the strong convergence that they bring."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    BrownianTree,
    EulerMaruyama,
    PowerScale,
    RectifiedFlow,
    Solver,
    StochasticHeun,
    WhiteNoise,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import assert_solver_laws


def _times(*values: float) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def _increment(tree: BrownianTree, like: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    return torch.sqrt(t - t_next) * tree.draw(like, None, t, t_next)


@pytest.mark.parametrize("times", [(1.0, 0.75, 0.5), (0.9, 0.61803, 0.1), (0.123457, 0.123456, 0.1)])
def test_increments_of_neighbouring_steps_add_up(times: tuple[float, float, float]) -> None:
    like, (a, b, c) = torch.zeros(5, 3, dtype=torch.float64), _times(*times)
    tree = BrownianTree(7)
    first, second = _increment(tree, like, a, b), _increment(tree, like, b, c)
    torch.testing.assert_close(first + second, _increment(tree, like, a, c), rtol=1e-12, atol=1e-14)


def test_order_of_questions_does_not_matter() -> None:
    like = torch.zeros(4, 2, dtype=torch.float64)
    grid = uniform_grid(10)
    forwards, backwards = BrownianTree(3), BrownianTree(3)
    steps = list(pairwise(grid))
    there = [forwards.draw(like, None, *step) for step in steps]
    back = [backwards.draw(like, None, *step) for step in reversed(steps)]
    assert all(torch.equal(x, y) for x, y in zip(there, reversed(back), strict=True))


def test_items_have_paths_of_their_own_seeds_in_any_batch() -> None:
    t, t_next = _times(0.7, 0.31)
    many = BrownianTree(torch.tensor([11, 12, 13])).draw(torch.zeros(3, 4, 2), None, t, t_next)
    swapped = BrownianTree(torch.tensor([13, 11])).draw(torch.zeros(2, 4, 2), None, t, t_next)
    assert torch.equal(many[[2, 0]], swapped)
    prefix = BrownianTree(5).draw(torch.zeros(2, 3), None, t, t_next)
    assert torch.equal(BrownianTree(5).draw(torch.zeros(6, 3), None, t, t_next)[:2], prefix)
    assert not torch.equal(many[0], many[1])


def test_per_element_times_pick_the_same_paths() -> None:
    like = torch.zeros(3, 4, dtype=torch.float64)
    t = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tree = BrownianTree(1)
    together = tree.path(like, t)
    for row, column in [(0, 1), (2, 3)]:
        alone = tree.path(like, t[row, column])
        assert torch.equal(together[row, column], alone[row, column])
    assert torch.equal(tree.draw(like, None, t, t), torch.zeros_like(like))


def test_increments_have_the_law_of_white_noise() -> None:
    # Times on nodes, inside cells and close to each other.
    grid = torch.tensor([1.0, 0.75, 0.7123, 0.4002, 0.4001, 0.0], dtype=torch.float64)
    tree, like = BrownianTree(0), torch.zeros(400, 25, dtype=torch.float64)
    draws = torch.stack([tree.draw(like, None, *pair) for pair in pairwise(grid)])
    for draw in draws:
        assert stats.kstest(draw.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(draws.reshape(5, -1)) - torch.eye(5, dtype=torch.float64)
    assert float(correlation.abs().max()) < 4.0 / math.sqrt(like.numel())
    # Elements and items are independent: neighbours, and the same place in neighbouring items.
    for first, second in [(draws[:, :, :-1], draws[:, :, 1:]), (draws[:, :-1], draws[:, 1:])]:
        pair = torch.stack([first.flatten(), second.flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 4.0 / math.sqrt(pair.shape[1])


def test_law_inside_the_cells_of_a_shallow_tree_is_exact() -> None:
    tree, like = BrownianTree(2, depth=2), torch.zeros(20_000, dtype=torch.float64)
    values = torch.stack([tree.path(like, t) for t in _times(0.1, 0.4, 0.66, 0.9)])
    expected = torch.minimum(*torch.meshgrid(*[torch.stack(_times(0.1, 0.4, 0.66, 0.9))] * 2, indexing="ij"))
    torch.testing.assert_close(values.cov(), expected, rtol=0.0, atol=0.03)


@pytest.mark.parametrize("name", ["euler-maruyama", "heun", "extended", "extended 2"])
def test_runs_of_more_steps_converge_with_a_tree_and_not_with_white_noise(name: str) -> None:
    def solver(noise: BrownianTree | WhiteNoise) -> Solver:
        return {
            "euler-maruyama": EulerMaruyama(sigma_strength, noise),
            "heun": StochasticHeun(sigma_strength, noise),
            "extended": ERSDE(1, PowerScale(2.0), noise),
            "extended 2": ERSDE(2, PowerScale(2.0), noise),
        }[name]

    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=0.5), RectifiedFlow())
    x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def run(noise: BrownianTree | WhiteNoise, steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(steps)
        grid = uniform_grid(steps, 0.95, 0.1)
        return sample(denoiser, solver(noise), grid, state=State(x=x), generator=generator).samples

    def errors(make: type[BrownianTree] | type[WhiteNoise]) -> list[float]:
        arguments = (4,) if make is BrownianTree else ()
        exact = run(make(*arguments), 256)
        return [float((run(make(*arguments), n) - exact).square().mean().sqrt()) for n in (16, 32, 64)]

    with_tree, with_white = errors(BrownianTree), errors(WhiteNoise)
    # Strong order 1: noise that does not depend on the state, and a rate that is smooth in time.
    assert with_tree[0] / with_tree[1] > 1.7
    assert with_tree[1] / with_tree[2] > 1.7
    assert with_white[2] > 0.8 * with_white[0]


def test_a_tree_serves_batches_of_another_shape_between_steps() -> None:
    # The end of the last step is remembered; it is that of no other batch.
    tree, times = BrownianTree(3), torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    tree.draw(torch.zeros(4, 1), None, times[0], times[1])
    other = torch.zeros(4, 3)
    expected = BrownianTree(3).draw(other, None, times[1], times[2])
    assert torch.equal(tree.draw(other, None, times[1], times[2]), expected)


def test_solvers_with_a_tree_keep_the_laws() -> None:
    assert_solver_laws(EulerMaruyama(noise=BrownianTree(0)))
    assert_solver_laws(ERSDE(2, noise=BrownianTree(0)))


def test_bad_trees_and_times_are_refused() -> None:
    with pytest.raises(ValueError, match="seed must be"):
        BrownianTree(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"seed must be an integer .* got 1\.5"):
        BrownianTree(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="64 bits"):
        BrownianTree(2**63)
    with pytest.raises(ValueError, match="depth"):
        BrownianTree(0, depth=0)
    with pytest.raises(ValueError, match="3 seeds for 2 items"):
        BrownianTree(torch.arange(3)).path(torch.zeros(2, 4), 0.5)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        BrownianTree(0).path(torch.zeros(2), 1.5)
