"""The driver: counting, times, known sites, hooks, policies and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    AncestralDDPM,
    ContinuousPrediction,
    DPMSolverMultistep,
    Euler,
    Heun,
    NetworkDenoiser,
    PathCoefficients,
    Solver,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import Hook, ProjectionHook, State, TraceRecorder, sample, uniform_grid

PATH = VariancePreserving()
DENOISER = ExactDenoiser(GaussianTarget.isotropic(3, std=0.5), PATH)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _start(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(), dtype=torch.float64)


@pytest.mark.parametrize(
    ("solver", "end", "nfe"),
    [(Euler(), 0.0, 8), (Heun(), 0.0, 15), (Heun(), 0.1, 16), (DPMSolverMultistep(3), 0.0, 8)],
)
def test_network_evaluations_are_counted(solver: Solver, end: float, nfe: int) -> None:
    calls = []

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        calls.append(condition)
        return 0.3 * x

    denoiser = NetworkDenoiser(network, PATH)
    result = sample(
        denoiser, solver, uniform_grid(8, end=end), shape=(4, 3), generator=_generator(), condition=7
    )
    assert result.nfe == nfe == len(calls)
    assert result.nfe <= solver.total_nfe(8)
    assert set(calls) == {7}
    assert result.samples.shape == (4, 3)
    assert result.state.index == 8


def test_solver_that_hides_evaluations_is_refused() -> None:
    class Greedy(Heun):
        nfe = 1

    with pytest.raises(RuntimeError, match="Greedy made 2 evaluations in a step and declares 1"):
        sample(DENOISER, Greedy(), uniform_grid(3), state=State(x=_start(4, 3)))


def test_runs_are_reproducible_and_leave_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    runs = [
        sample(DENOISER, AncestralDDPM(), uniform_grid(5), shape=(4, 3), generator=_generator(seed)).samples
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_prior_start_has_the_type_asked_for() -> None:
    result = sample(
        DENOISER, Euler(), uniform_grid(2), shape=(4, 3), generator=_generator(), dtype=torch.float64
    )
    assert result.samples.dtype == torch.float64
    assert result.samples.is_inference()
    free = sample(DENOISER, Euler(), uniform_grid(2), state=State(x=_start(4, 3)), inference_mode=False)
    assert not free.samples.is_inference()


def test_gradients_flow_through_a_run_outside_inference_mode() -> None:
    x = _start(4, 3).requires_grad_()
    result = sample(DENOISER, Heun(), uniform_grid(10), state=State(x=x), inference_mode=False)
    (gradient,) = torch.autograd.grad(result.samples.sum(), x)
    # The flow of centred isotropic Gaussian data is a multiplication by one factor.
    torch.testing.assert_close(gradient, result.samples.detach() / x.detach(), rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("solver", [Euler(), Heun(), DPMSolverMultistep(2), DPMSolverMultistep(3)])
def test_every_element_may_follow_its_own_times(solver: Solver) -> None:
    # Independent coordinates on three different grids give what three separate runs give.
    x = _start(5, 3)
    grids = [uniform_grid(6), uniform_grid(6, 0.9, 0.2), torch.tensor([0.8, 0.8, 0.5, 0.5, 0.1, 0.0, 0.0])]
    grids = [grid.to(torch.float64) for grid in grids]
    joint = torch.stack(grids, -1)[:, None, :].expand(7, 5, 3)
    together = sample(DENOISER, solver, joint, state=State(x=x)).samples
    single = ExactDenoiser(GaussianTarget.isotropic(1, std=0.5), PATH)
    for k, grid in enumerate(grids):
        alone = sample(single, solver, grid, state=State(x=x[:, k : k + 1])).samples
        torch.testing.assert_close(together[:, k : k + 1], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_known_sites_keep_their_value(shape: tuple[int, ...]) -> None:
    x = _start(5, 3)
    known = torch.zeros(shape, dtype=torch.bool)
    known[1] = True
    seen = []

    class Watch(Hook):
        def before_eval(self, state: State) -> State:
            seen.append(state.t)
            return state

    result = sample(DENOISER, Heun(), uniform_grid(4), state=State(x=x, known=known), hooks=[Watch()])
    assert torch.equal(result.samples[1], x[1])
    assert not torch.equal(result.samples[0], x[0])
    assert all(bool((t[known] == 0.0).all()) for t in seen)


def test_hooks_are_called_in_order_and_may_change_everything() -> None:
    calls: list[str] = []

    class Logged(Hook):
        def before_run(self, state: State) -> State:
            calls.append("run")
            return replace(state, aux="kept")

        def before_eval(self, state: State) -> State:
            calls.append("before")
            return state

        def after_eval(self, state: State, prediction: ContinuousPrediction) -> ContinuousPrediction:
            calls.append("after")
            return ContinuousPrediction(torch.zeros_like(prediction.value), "x0")

        def after_step(self, before: State, after: State) -> State:
            calls.append("step")
            assert after.index == before.index + 1
            return after

        def trace(self) -> Mapping[str, Any]:
            return {"calls": len(calls)}

    result = sample(DENOISER, Euler(), uniform_grid(2), state=State(x=_start(4, 3)), hooks=[Logged()])
    assert calls == ["run", "before", "after", "step", "before", "after", "step"]
    assert result.trace == {"calls": 7}
    assert result.state.aux == "kept"
    # The last step to clean data returns the clean estimate, which the hook has set to 0.
    assert torch.equal(result.samples, torch.zeros(4, 3, dtype=torch.float64))


def test_trace_and_projection() -> None:
    x = 3.0 * _start(50, 3)
    recorder = TraceRecorder()
    project = ProjectionHook(lambda values: values.clamp(-0.1, 0.1))
    grid = uniform_grid(5)
    for _ in range(2):
        result = sample(DENOISER, Euler(), grid, state=State(x=x), hooks=[project, recorder])
    assert len(result.trace["x"]) == 6
    assert torch.equal(torch.stack(result.trace["x_times"]), grid)
    assert torch.equal(result.trace["x"][0], x)
    assert all(float(values.abs().max()) <= 0.1 for values in result.trace["x"][1:])
    last = ProjectionHook(lambda values: values.clamp(-0.1, 0.1), only_last=True)
    spread = TraceRecorder(lambda state: float(state.x.abs().max()), name="spread")
    result = sample(DENOISER, Euler(), grid, state=State(x=x), hooks=[last, spread])
    assert result.trace["spread"][-2] > 0.1 >= result.trace["spread"][-1]
    with pytest.raises(ValueError, match="project returned shape"):
        sample(DENOISER, Euler(), grid, state=State(x=x), hooks=[ProjectionHook(lambda values: values[:1])])


def test_policy_decides_which_evaluations_cost() -> None:
    class EverySecond:
        def __init__(self) -> None:
            self.last: Any = None

        def start(self, path: Any, grid: Tensor, nfe_per_step: int) -> None:
            assert nfe_per_step == 1

        def decide(self, state: State, n_steps: int) -> bool:
            assert n_steps == 6
            return state.index % 2 == 0

        def forecast(self, state: State) -> Any:
            return self.last

        def observe(self, state: State, prediction: Any) -> None:
            self.last = prediction

    solver, state = DPMSolverMultistep(1), State(x=_start(4, 3))
    result = sample(DENOISER, solver, uniform_grid(6), state=state, policy=EverySecond())
    assert result.nfe == 3
    # Two first-order steps with one clean estimate are one step: the grid of every second time.
    coarse = sample(DENOISER, solver, uniform_grid(3), state=state)
    torch.testing.assert_close(result.samples, coarse.samples, rtol=1e-10, atol=1e-12)


def test_coefficients_are_computed_once_for_a_whole_grid() -> None:
    class Noted(VariancePreserving):
        def coefficients(self, t: Tensor | float) -> PathCoefficients:
            calls.append(torch.as_tensor(t).tolist())
            return super().coefficients(t)

    calls: list[Any] = []
    denoiser, grid = NetworkDenoiser(lambda x, time, condition: 0.3 * x, Noted()), uniform_grid(4)
    for solver in (DPMSolverMultistep(2), Heun()):
        calls.clear()
        plain = sample(denoiser, solver, grid, state=State(x=_start(4, 3))).samples
        assert calls == [grid.tolist()]
        # Times of single elements: once for the end of each step, which is the start of the next.
        calls.clear()
        wide = sample(denoiser, solver, grid[:, None].expand(5, 4), state=State(x=_start(4, 3))).samples
        assert len(calls) == 5
        assert torch.equal(plain, wide)


def test_progress_is_reported_after_every_step() -> None:
    seen: list[tuple[int, int]] = []
    sample(
        DENOISER,
        Euler(),
        uniform_grid(3),
        state=State(x=_start(4, 3)),
        progress=lambda *done: seen.append(done),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (torch.tensor([1.0]), "at least two times"),
        (torch.tensor([0.0, 1.0]), "must decrease"),
        (torch.tensor([1.5, 0.0]), r"times in \[0, 1\]"),
        (torch.tensor([1.0, float("nan")]), r"times in \[0, 1\]"),
    ],
)
def test_bad_grids_are_refused(grid: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(DENOISER, Euler(), grid, state=State(x=_start(4, 3)))


def test_bad_starts_are_refused() -> None:
    state = State(x=_start(4, 3))
    with pytest.raises(ValueError, match="exactly one of shape"):
        sample(DENOISER, Euler(), uniform_grid(2))
    with pytest.raises(ValueError, match="exactly one of shape"):
        sample(DENOISER, Euler(), uniform_grid(2), shape=(4, 3), state=state, generator=_generator())
    with pytest.raises(ValueError, match="needs a generator"):
        sample(DENOISER, Euler(), uniform_grid(2), shape=(4, 3))
    with pytest.raises(ValueError, match="needs a generator"):
        sample(DENOISER, AncestralDDPM(), uniform_grid(2), state=state)
    with pytest.raises(ValueError, match="do not fit a state"):
        sample(DENOISER, Euler(), uniform_grid(2)[:, None].expand(3, 5), state=state)
