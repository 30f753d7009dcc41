"""Bounds, draws and infilling of token estimators, with exact denoisers in the place of networks.

With the exact denoiser of a Markov chain a bound is the log likelihood itself, and draws follow the chain, so
that an error in the estimates shows at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.discrete import Ancestral, Corrupted, CosineSchedule
from sciffusion.estimators.token_alphabet import EncodedTokens, TokenAlphabet
from sciffusion.estimators.token_bounds import SharedNoise, log_bound_rows
from sciffusion.estimators.token_draws import DrawPlan, draw_rows
from sciffusion.estimators.token_network import PlacedTokenTransformer
from sciffusion.estimators.token_processes import PROCESSES, token_recipe
from sciffusion.estimators.token_times import bound_times
from sciffusion.estimators.token_training import TokenTask
from sciffusion.exact import MarkovChainOracle

CHAIN = MarkovChainOracle.bench_a()
STATES = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
LOG_LAW = CHAIN.log_likelihood(torch.from_numpy(STATES)).numpy()
RATES = [[0.0, 1.0, 0.2], [1.0, 0.0, 0.5], [0.2, 0.5, 0.0]]


def task_of(name: str, schedule: str = "linear") -> TokenTask:
    recipe = token_recipe(name)
    process = recipe.build(TokenAlphabet((0, 1, 2), False), schedule, RATES if name == "matrix" else None)
    return TokenTask(process, recipe, recipe.objective("auto"), recipe.objective("elbo"))


class ExactNetwork(nn.Module):
    """Answers with the posterior of the chain; nothing is learnt."""

    sizes = {"n_heads": 1, "width": 8, "state_size": 4}  # noqa: RUF012

    def __init__(self, task: TokenTask) -> None:
        super().__init__()
        self.task = task

    def forward(
        self, tokens: Tensor, times: Tensor, condition: Any = None, aux: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        state = Corrupted(tokens, times.double(), aux)
        return CHAIN.predict(self.task.process, state, self.task.recipe.kind).logits


def indices(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows @ np.array([27, 9, 3, 1])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("name", PROCESSES)
def test_the_bound_of_the_exact_denoiser_is_the_log_likelihood(name: str, schedule: str) -> None:
    task = task_of(name, schedule)
    bounds, errors = log_bound_rows(
        ExactNetwork(task), task, STATES, np.empty((81, 0)), draws=300, seed=1, device=torch.device("cpu")
    )
    # Four standard errors of each row; groups of rows share their noise, so errors average out slowly.
    if name != "matrix":  # whose errors have heavy tails
        assert (np.abs(bounds - LOG_LAW) < 4.0 * errors + 1e-6).all()
    assert errors.mean() < (0.6 if name == "matrix" else 0.3)
    assert_allclose(np.exp(LOG_LAW) @ bounds, -CHAIN.entropy(), atol=0.25 if name == "matrix" else 0.08)


@pytest.mark.parametrize("name", PROCESSES)
def test_rows_share_their_noise_but_not_their_results(name: str) -> None:
    task = task_of(name)
    network = ExactNetwork(task)

    def bounds(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        given = np.empty((len(rows), 0))
        return log_bound_rows(network, task, rows, given, draws=8, seed=3, device=torch.device("cpu"))[0]

    whole = bounds(STATES)
    assert_allclose(bounds(STATES[::-1]), whole[::-1], rtol=1e-10)
    assert_allclose(bounds(STATES[17:19]), whole[17:19], rtol=1e-10)


@pytest.mark.parametrize("name", PROCESSES)
def test_shared_noise_has_the_law_of_the_process(name: str) -> None:
    task = task_of(name)
    noise = SharedNoise.draw(task.process, 4000, 3, seed=2)
    row = torch.tensor([[0, 1, 2]])
    state = noise.of(row)
    clean = nn.functional.one_hot(row, 3).double().expand(4000, 3, 3)
    found = nn.functional.one_hot(state.x, task.process.state_size).double().mean(0)
    assert_allclose(found, task.process.push(clean, state.t).mean(0), atol=0.035)


@pytest.mark.parametrize("name", ["mask", "uniform", "uniform_absorbing"])
def test_replaced_sites_have_the_joint_law_of_the_process(name: str) -> None:
    task = task_of(name)
    noise = SharedNoise.replacing(task.process, 6000, 3, seed=2)
    row = torch.tensor([[0, 1, 2]])
    state = noise.of(row)
    if state.aux is not None:
        assert ((state.x == row) | (state.x == state.aux["noise"])).all()
    lost = 1.0 - task.process.schedule.keep(state.t)
    changed = (state.x != row).double()
    visible = 1.0 if task.process.mask_token is not None else 2.0 / 3.0
    found = float((noise.weights * changed[:, 0] * changed[:, 2]).mean())
    assert_allclose(found, visible**2 / 3.0, atol=0.02)  # the integral of the square of the share of noise
    found = float((noise.weights * changed[:, 0] * (1.0 - changed[:, 2]) / lost).mean())
    assert_allclose(found, visible - visible**2 / 2.0, atol=0.03)


def test_times_of_bounds_integrate_what_blows_up_at_the_data() -> None:
    # The integral of 1 / (2 sqrt(1 - a)) over the share of noise 1 - a is 1, with finite variance.
    for schedule in (task_of("uniform").process.schedule, CosineSchedule()):
        times, weights = bound_times(schedule, 200, torch.Generator().manual_seed(0))
        lost = 1.0 - schedule.keep(times)
        integrand = -schedule.derivative(times) / (2.0 * torch.sqrt(lost))
        assert_allclose(float((weights * integrand).mean()), 1.0, rtol=1e-6)
        assert_allclose(float((weights * 1.0).mean()), 1.0, rtol=0.02)


@pytest.mark.parametrize("name", PROCESSES)
def test_draws_follow_the_chain(name: str) -> None:
    task = task_of(name)
    count = 4000
    start = EncodedTokens(np.zeros((count, 4), np.int64), np.zeros((count, 4), bool))
    plan = DrawPlan(Ancestral(), 16, "linear")
    rows = draw_rows(
        ExactNetwork(task), task, start, np.empty((count, 0)), plan, seed=0, device=torch.device("cpu")
    )
    found = np.bincount(indices(rows), minlength=81) / count
    # 81 states and 4000 draws: a distance of .04 by chance, and .02 of the 16 steps.
    assert 0.5 * np.abs(found - np.exp(LOG_LAW)).sum() < 0.075


def test_rows_that_are_drawn_in_parts_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def halves(function: Any, count: int, _: int) -> list[Any]:
        return [function(slice(0, count // 2)), function(slice(count // 2, count))]

    monkeypatch.setattr("sciffusion.estimators.token_draws.map_chunks", halves)
    task = task_of("mask")
    start = EncodedTokens(np.zeros((60, 4), np.int64), np.zeros((60, 4), bool))
    plan = DrawPlan(Ancestral(), 4, "linear")
    rows = draw_rows(
        ExactNetwork(task), task, start, np.empty((60, 0)), plan, seed=0, device=torch.device("cpu")
    )
    assert (rows[:30] != rows[30:]).any(axis=1).sum() > 15


@pytest.mark.parametrize("name", PROCESSES)
def test_infilled_sites_follow_their_law_given_the_others(name: str) -> None:
    task = task_of(name)
    count = 4000
    tokens, given = np.tile([2, 0, 1, 1], (count, 1)), np.tile([True, False, False, True], (count, 1))
    plan = DrawPlan(Ancestral(), 16, "linear")
    rows = draw_rows(
        ExactNetwork(task), task, EncodedTokens(tokens, given), np.empty((count, 0)), plan, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    assert_array_equal(rows[:, [0, 3]], tokens[:, [0, 3]])
    allowed = (STATES[:, 0] == 2) & (STATES[:, 3] == 1)
    law = np.where(allowed, np.exp(LOG_LAW), 0.0)
    found = np.bincount(indices(rows), minlength=81) / count
    assert 0.5 * np.abs(found - law / law.sum()).sum() < 0.04


def test_an_end_that_is_barred_is_never_drawn() -> None:
    recipe = token_recipe("uniform")
    alphabet = TokenAlphabet((0, 1), True)
    task = TokenTask(
        recipe.build(alphabet, "linear", None), recipe, recipe.objective("auto"), recipe.objective("elbo")
    )
    network = PlacedTokenTransformer(5, 3, 3, width=8, depth=1, n_heads=2)
    shape = (300, 5)
    start = EncodedTokens(np.zeros(shape, np.int64), np.zeros(shape, bool))
    barred = np.tile([True, True, False, False, False], (300, 1))
    plan = DrawPlan(Ancestral(), 4, "linear", end=alphabet.end)
    rows = draw_rows(
        network.eval(), task, start, np.empty((300, 0)), plan, seed=0, device=torch.device("cpu"),
        barred=barred,
    )  # fmt: skip
    assert (rows[:, :2] != alphabet.end).all()
    assert (rows[:, 2:] == alphabet.end).any(axis=0).all()


def test_a_network_knows_places_where_all_tokens_are_alike() -> None:
    network = PlacedTokenTransformer(6, 3, 2, width=8, depth=1, n_heads=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    logits = network(torch.full((1, 6), 2), torch.ones(1, 6))
    assert bool(((logits[0, 1:] - logits[0, :-1]).abs().amax(-1) > 1e-4).all())
    assert network(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4)).shape == (1, 4, 2)
