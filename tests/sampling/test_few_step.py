"""Few-step sampling: exact with the exact map whatever the steps, counted, and element by element."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Cosine, Heun, Path, RectifiedFlow, Trigonometric, VarianceExploding
from sciffusion.continuous.flow_map import ConsistencyModel, ExactFlowMap, SolverFlowMap
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.sampling import State, few_step_sample, uniform_grid
from sciffusion.testing import assert_sampler_matches

CENTRES = torch.tensor([-1.5, 1.0], dtype=torch.float64)
MIXTURE = GaussianMixtureTarget.from_stds([0.3, 0.7], CENTRES, torch.tensor([0.4, 0.6], dtype=torch.float64))
PATHS: list[Path] = [Trigonometric(), RectifiedFlow(), Cosine(), VarianceExploding(0.01, 40.0)]


def _exact(path: Path) -> ExactFlowMap:
    return ExactFlowMap(ExactDenoiser(MIXTURE, path))


def _start(path: Path, count: int, time: float = 1.0) -> Tensor:
    return ExactDenoiser(MIXTURE, path).draw_marginal(count, time, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_exact_map_gives_exact_samples_in_any_number_of_steps(path: Path, gamma: float) -> None:
    for n_steps in (1, 3):
        state = State(x=_start(path, 600))
        result = few_step_sample(
            _exact(path),
            uniform_grid(n_steps),
            state=state,
            gamma=gamma,
            generator=torch.Generator().manual_seed(1),
        )
        assert result.nfe == n_steps
        # The data keep what noise the path leaves at time 0.
        end = path.coefficients(0.0)
        wide = GaussianMixtureTarget.from_stds(
            [0.3, 0.7], CENTRES, torch.sqrt(torch.tensor([0.4, 0.6], dtype=torch.float64) ** 2 + end.sigma**2)
        )
        assert_sampler_matches(result.samples, wide, torch.Generator().manual_seed(2))


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_noisy_times_in_between_have_their_marginal(path: Path) -> None:
    # Stopping at t = 0.5 must give the noisy law there: too much or too little noise put back shows.
    target, count = GaussianTarget.isotropic(1, std=0.8), 40_000
    denoiser = ExactDenoiser(target, path)
    start = denoiser.draw_marginal(count, 1.0, torch.Generator().manual_seed(0))
    for gamma in (0.4, 1.0):
        result = few_step_sample(
            ExactFlowMap(denoiser), uniform_grid(2, 1.0, 0.5), state=State(x=start), gamma=gamma,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        c = path.coefficients(0.5)
        exact = float(c.alpha**2 * 0.64 + c.sigma**2)
        assert float(result.samples.var()) == pytest.approx(exact, rel=4.0 * (2.0 / count) ** 0.5)


def test_without_noise_put_back_steps_do_not_matter() -> None:
    path = Cosine()
    state = State(x=_start(path, 50))
    once, often = (
        few_step_sample(_exact(path), uniform_grid(n), state=state, gamma=0.0).samples for n in (1, 4)
    )
    torch.testing.assert_close(once, often, rtol=1e-8, atol=1e-8)


def test_evaluations_of_a_solver_are_counted() -> None:
    path = Cosine()
    teacher = SolverFlowMap(ExactDenoiser(MIXTURE, path), Heun(), 5)
    result = few_step_sample(teacher, uniform_grid(2), state=State(x=_start(path, 8)), gamma=0.0)
    assert result.nfe == 20
    assert int(result.state.index) == 2


def test_runs_are_reproducible_and_respect_types() -> None:
    network = TwoTimeMLP(2, width=8, depth=1, n_times=1, generator=torch.Generator().manual_seed(0))
    model = ConsistencyModel(network, Trigonometric(), 0.7)
    runs = [
        few_step_sample(model, uniform_grid(3), shape=(5, 2), generator=torch.Generator().manual_seed(s))
        for s in (4, 4, 5)
    ]
    assert runs[0].samples.dtype == torch.float32
    assert torch.equal(runs[0].samples, runs[1].samples)
    assert not torch.equal(runs[0].samples, runs[2].samples)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_each_element_has_its_own_times_and_known_ones_stay(gamma: float) -> None:
    path = RectifiedFlow()
    target = GaussianTarget.isotropic(3, std=0.8)
    flow_map = ExactFlowMap(ExactDenoiser(target, path))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Second element waits in the first step; the third one is clean from the start.
    times = torch.tensor([[0.9, 0.5, 0.0], [0.4, 0.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    grid = times[:, None, :].expand(3, 4, 3)
    half = few_step_sample(
        flow_map, grid[:2], state=State(x=x), gamma=gamma, generator=torch.Generator().manual_seed(1)
    ).samples
    assert torch.equal(half[:, 1:], x[:, 1:])
    assert not torch.isclose(half[:, 0], x[:, 0]).any()
    whole = few_step_sample(
        flow_map, grid, state=State(x=x), gamma=gamma, generator=torch.Generator().manual_seed(1)
    ).samples
    expected = x[:, 1] * 0.8 / (0.25 * 0.64 + 0.25) ** 0.5
    torch.testing.assert_close(whole[:, 1], expected)
    assert torch.equal(whole[:, 2], x[:, 2])
    known = torch.tensor([False, True, False]).expand(4, 3)
    fixed = few_step_sample(
        flow_map, uniform_grid(2), state=State(x=x, known=known), gamma=gamma,
        generator=torch.Generator().manual_seed(1),
    ).samples  # fmt: skip
    assert torch.equal(fixed[:, 1], x[:, 1])


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
def test_jumps_go_to_the_noise_that_gamma_leaves(gamma: float) -> None:
    arrivals: list[float] = []

    class Spied(ExactFlowMap):
        def __call__(
            self, x: Tensor, t: Tensor | float, s: Tensor | float, condition: object = None
        ) -> Tensor:
            arrivals.append(float(s))
            return super().__call__(x, t, s, condition)

    flow_map = Spied(ExactDenoiser(GaussianTarget.isotropic(1), RectifiedFlow()))
    state, generator = State(x=torch.zeros(2, 1)), torch.Generator().manual_seed(0)
    few_step_sample(flow_map, uniform_grid(2), state=state, gamma=gamma, generator=generator)
    # The relative noise at the middle, t = .5, is 1; at u it is u / (1 - u).
    noise = (1.0 - gamma**2) ** 0.5
    assert arrivals == pytest.approx([noise / (1.0 + noise), 0.0])


def test_bad_use_is_refused() -> None:
    flow_map = _exact(Cosine())
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\]"):
        few_step_sample(flow_map, uniform_grid(2), shape=(2, 1), gamma=1.5)
    with pytest.raises(ValueError, match="grid must decrease"):
        few_step_sample(flow_map, torch.tensor([0.5, 1.0]), shape=(2, 1))
    with pytest.raises(ValueError, match="pass generator= or gamma=0"):
        few_step_sample(flow_map, uniform_grid(2), state=State(x=torch.zeros(2, 1)))
    model = ConsistencyModel(torch.nn.Identity(), Cosine())
    with pytest.raises(ValueError, match="use a TrajectoryModel"):
        few_step_sample(model, uniform_grid(2), state=State(x=torch.zeros(2, 1)), gamma=0.5)
