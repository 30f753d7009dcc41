"""Compute policies: orders of forecasts, caps that hold, full budgets that change nothing, and reuse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    DPMSolverMultistep,
    Euler,
    Heun,
    Path,
    PointwiseDenoiser,
    RectifiedFlow,
    Solver,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import (
    BudgetedCompute,
    ComputePolicy,
    Hook,
    State,
    StaticRefresh,
    amplification_profile,
    log_snr_grid,
    sample,
    uniform_grid,
)

PATH = VariancePreserving()


def _mixture(path: Path = PATH) -> ExactDenoiser:
    centres = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.3, 0.7], centres, torch.full_like(centres, 0.2))
    return ExactDenoiser(target, path)


def _start(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class _Polynomial(PointwiseDenoiser):
    """A clean estimate that is a polynomial in the log signal-to-noise ratio, with noise as prediction."""

    path = PATH

    def __init__(self, degree: int) -> None:
        self.degree = degree

    def value(self, x: Tensor, t: Tensor | float) -> Tensor:
        place = self.path.log_snr(t)
        place = place.reshape(place.shape + (1,) * (x.ndim - place.ndim))
        return sum(((k + 1.0) * place**k for k in range(self.degree + 1)), torch.zeros_like(x))

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        clean = ContinuousPrediction(self.value(x, t), "x0")
        return clean.to("eps", self.path.coefficients(t), x)


class _Watch(Hook):
    """Keeps the largest difference between what the solver sees and the denoiser's clean estimate."""

    def __init__(self, denoiser: _Polynomial) -> None:
        self.denoiser, self.states, self.error = denoiser, [], []

    def before_eval(self, state: State) -> State:
        self.states.append(state)
        return state

    def after_eval(self, state: State, prediction: ContinuousPrediction) -> ContinuousPrediction:
        state = self.states[-1]
        clean = prediction.to("x0", self.denoiser.path.coefficients(state.t), state.x).value
        self.error.append(float((clean - self.denoiser.value(state.x, state.t)).abs().max()))
        return prediction


@pytest.mark.parametrize("shape", [(), (4,), (4, 3)])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_forecasts_are_exact_for_polynomials_of_their_order(order: int, shape: tuple[int, ...]) -> None:
    # Three calls in a row and then forecasts only.
    class FirstThree(StaticRefresh):
        def _begin(self) -> None:
            self._places = frozenset((0, 1, 2))

    speeds = torch.linspace(0.5, 1.0, max(1, 12 if len(shape) == 2 else 4)).to(torch.float64)
    speeds = speeds[: max(1, torch.Size(shape).numel())].reshape(shape) if shape else torch.tensor(0.9)
    grid = uniform_grid(8, 0.9, 0.2).reshape((-1,) + (1,) * len(shape)) * speeds
    for degree, exact in ((order, True), (order + 1, False)):
        watch = _Watch(_Polynomial(degree))
        policy = FirstThree(3, order=order)
        state = State(x=_start(4, 3))
        sample(watch.denoiser, DPMSolverMultistep(1), grid, state=state, hooks=[watch], policy=policy)
        assert (max(watch.error[3:]) < 1e-9) is exact
        assert max(watch.error[:3]) < 1e-9


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(1, 30),
    n_steps=st.integers(1, 25),
    warm=st.integers(0, 6),
    reserve=st.integers(0, 6),
    max_age=st.none() | st.integers(1, 5),
    threshold=st.floats(1e-6, 1e6),
    gain=st.floats(0.0, 3.0),
    heun=st.booleans(),
    order=st.sampled_from([1, 2]),
)
def test_calls_never_exceed_the_budget(
    budget: int, n_steps: int, warm: int, reserve: int, max_age: int | None, threshold: float,
    gain: float, heun: bool, order: int,
) -> None:  # fmt: skip
    policy = BudgetedCompute(
        budget, order=order, warm=warm, reserve=reserve, max_age=max_age, threshold=threshold,
        proportional=gain, integral=gain,
    )  # fmt: skip
    solver: Solver = Heun() if heun else DPMSolverMultistep(2)
    result = sample(_mixture(), solver, uniform_grid(n_steps), state=State(x=_start(4, 2)), policy=policy)
    evaluations = 2 * n_steps - 1 if heun else n_steps
    assert 1 <= result.nfe == policy.spent <= min(budget, evaluations)
    # What can be paid for in full is not saved on, and nothing is left over at the end.
    if not heun:
        assert result.nfe == min(budget, n_steps)
    assert bool(result.samples.isfinite().all())


@pytest.mark.parametrize("path", [PATH, RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("solver", [DPMSolverMultistep(3), Heun()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", ["budgeted", "uniform", "amplification"])
def test_full_budget_changes_nothing(kind: str, solver: Solver, path: Path) -> None:
    n_steps = 7
    budget = solver.total_nfe(n_steps)
    policy: ComputePolicy
    policy = BudgetedCompute(budget) if kind == "budgeted" else StaticRefresh(budget, kind)  # type: ignore[arg-type]
    start = State(x=_start(5, 2))
    plain = sample(_mixture(path), solver, uniform_grid(n_steps), state=start)
    ours = sample(_mixture(path), solver, uniform_grid(n_steps), state=start, policy=policy)
    assert torch.equal(ours.samples, plain.samples)
    assert ours.nfe == plain.nfe


@pytest.mark.parametrize("budget", [2, 5, 8, 13])
@pytest.mark.parametrize("kind", ["budgeted", "uniform", "amplification"])
def test_no_call_is_kept_for_an_evaluation_that_is_not_made(kind: str, budget: int) -> None:
    # Heun's last step, to clean data, takes one evaluation: 2 n - 1 in all.
    policy: ComputePolicy
    policy = BudgetedCompute(budget) if kind == "budgeted" else StaticRefresh(budget, kind)  # type: ignore[arg-type]
    decided: list[bool] = []
    decide = policy.decide

    def noted(state: State, n_steps: int) -> bool:
        decided.append(decide(state, n_steps))
        return decided[-1]

    policy.decide = noted  # type: ignore[method-assign]
    result = sample(_mixture(), Heun(), uniform_grid(7), state=State(x=_start(4, 2)), policy=policy)
    assert len(decided) == 13
    assert result.nfe == sum(decided) == budget
    assert decided[0]
    # A controlled budget keeps a quarter for the end, which is nothing of one below 4.
    assert decided[-1] or kind == "amplification" or (kind == "budgeted" and budget < 4)


def test_the_cap_holds_for_a_solver_that_evaluates_twice_even_in_the_last_step() -> None:
    class Twice(Euler):
        nfe = 2

        def step(self, state: Any, t_next: Tensor, denoiser: Any) -> Any:
            denoiser(state)
            return super().step(state, t_next, denoiser)

    for budget in (1, 4, 9):
        for policy in (
            BudgetedCompute(budget),
            StaticRefresh(budget),
            StaticRefresh(budget, "amplification"),
        ):
            start = State(x=_start(3, 2))
            result = sample(_mixture(), Twice(), uniform_grid(5), state=start, policy=policy)
            assert result.nfe == policy.spent <= budget


@pytest.mark.parametrize("policy", [BudgetedCompute(6), StaticRefresh(6), StaticRefresh(6, "amplification")])
def test_one_policy_serves_several_runs(policy: ComputePolicy) -> None:
    grid, solver = log_snr_grid(PATH, 24), DPMSolverMultistep(1)
    first = sample(_mixture(), solver, grid, state=State(x=_start(5, 2)), policy=policy)
    # A run of another length, type and batch in between.
    other = ExactDenoiser(GaussianTarget.isotropic(3), RectifiedFlow())
    sample(other, Heun(), uniform_grid(5), state=State(x=_start(2, 3)), policy=policy)
    second = sample(_mixture(), solver, grid, state=State(x=_start(5, 2)), policy=policy)
    assert torch.equal(first.samples, second.samples)
    assert first.nfe == second.nfe == 6


def test_static_calls_are_where_they_should_be() -> None:
    called: list[int] = []

    class Denoiser(ExactDenoiser):
        def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
            called.append(state.index)
            return super().__call__(state, condition, cache)

    denoiser = Denoiser(GaussianTarget.isotropic(2), PATH)

    def places(policy: ComputePolicy, n_steps: int = 9) -> list[int]:
        called.clear()
        sample(
            denoiser, DPMSolverMultistep(1), uniform_grid(n_steps), state=State(x=_start(3, 2)), policy=policy
        )
        return list(called)

    assert places(StaticRefresh(5)) == [0, 2, 4, 6, 8]
    assert places(StaticRefresh(1)) == [0]
    assert places(StaticRefresh(2)) == [0, 8]
    assert places(StaticRefresh(20)) == list(range(9))
    # Errors near the data are not forgotten by the flow, so there the calls are closer together.
    weighted = places(StaticRefresh(5, "amplification"), 30)
    assert len(weighted) == 5
    assert weighted[0] == 0
    assert weighted[-1] - weighted[-2] < weighted[1] - weighted[0]


def test_amplification_is_the_response_of_the_result_for_gaussian_data() -> None:
    # Perturb the clean estimate of one step of an almost exact flow and compare the move of the result.
    std, n_steps, push = 0.6, 200, 1e-3
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std), PATH)
    grid = uniform_grid(n_steps, 0.95, 0.05)
    profile = amplification_profile(PATH, grid, std)

    class Nudge(Hook):
        def __init__(self, step: int) -> None:
            self.step, self.count = step, -1

        def after_eval(self, state: State, prediction: ContinuousPrediction) -> ContinuousPrediction:
            self.count += 1
            moved = prediction.value + (push if self.count == self.step else 0.0)
            return replace(prediction, value=moved)

    start, solver = State(x=_start(1, 1)), DPMSolverMultistep(1)
    plain = sample(denoiser, solver, grid, state=start).samples
    for step in (0, 60, 120, 199):
        moved = sample(denoiser, solver, grid, state=start, hooks=[Nudge(step)]).samples
        # The profile takes the exact flow after the step, the run first-order steps.
        assert float(moved - plain) / push == pytest.approx(float(profile[step]), rel=0.05)


def test_calls_follow_the_drift() -> None:
    # A denoiser that is constant except for a fast turn at some log signal-to-noise ratio.
    class Turning(PointwiseDenoiser):
        path = PATH

        def __init__(self, place: float) -> None:
            self.place, self.called = place, []

        def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
            log_snr = self.path.log_snr(t)
            self.called.append(float(log_snr))
            return ContinuousPrediction(torch.tanh(4.0 * (log_snr - self.place)) * torch.ones_like(x), "x0")

    def calls_near(place: float, turn: float) -> int:
        denoiser = Turning(turn)
        state, policy = State(x=_start(4, 2)), BudgetedCompute(20)
        grid = log_snr_grid(PATH, 100, 0.95, 0.01)
        sample(denoiser, DPMSolverMultistep(1), grid, state=state, policy=policy)
        assert len(denoiser.called) == 20
        return sum(abs(called - place) < 0.5 for called in denoiser.called)

    for place, elsewhere in ((0.5, 2.0), (2.0, 0.5)):
        assert calls_near(place, place) > calls_near(place, elsewhere)


def _decisions(
    profile: list[float], drifts: list[float], budget: int, gains: tuple[float, float]
) -> list[bool]:
    """Write out the rule of the module, for estimates of size 1 and the default settings."""
    n, kept, called = len(profile), min(2, budget // 4), []
    risk, age, wound, seen = 0.0, 0, 0.0, [0.01] * 5
    for i, (gain, drift) in enumerate(zip(profile, drifts, strict=True)):
        spent, left = sum(called), n - i
        spare = budget - spent
        if i < max(1, min(3, budget // 4)) or spent < 2 or 0 < min(spare, left) == left or left <= kept:
            called.append(True)
        elif spare <= kept:
            called.append(False)
        else:
            distance = (left - kept) / (spare - kept)
            risk, seen = risk + gain * drift * (1 + age), [*seen, drift]
            excess = spent - budget * sum(profile[: i + 1]) / sum(profile)
            wound = min(max(wound + excess, -20.0), 20.0)
            usual = sum(profile[i:]) / left * sum(seen) / len(seen) * distance * (distance + 1.0) / 2.0
            threshold = usual * math.exp(gains[0] * excess + gains[1] * wound)
            called.append(age >= max(2.0, 2.0 * distance) or risk >= threshold)
        risk, age = (0.0, 0) if called[-1] else (risk, age + 1)
    return called


@pytest.mark.parametrize("gains", [(0.1, 0.01), (0.5, 0.1)])
@pytest.mark.parametrize("budget", [6, 12, 20])
def test_budgeted_calls_are_those_of_the_equations(budget: int, gains: tuple[float, float]) -> None:
    grid, n_steps = uniform_grid(40), 40
    random = torch.rand(n_steps, generator=torch.Generator().manual_seed(budget), dtype=torch.float64)
    drifts = (random**4).tolist()
    policy = BudgetedCompute(budget, proportional=gains[0], integral=gains[1])
    policy._drift = lambda state: drifts[policy._evaluation]  # type: ignore[method-assign]
    policy.start(PATH, grid, 1)
    called = []
    for step in range(n_steps):
        state = State(x=torch.ones(1, 1), t=grid[step])
        called.append(policy.decide(state, n_steps))
        if called[-1]:
            policy.observe(state, ContinuousPrediction(torch.ones(1, 1), "x0"))
    profile = amplification_profile(PATH, grid).tolist()
    assert called == _decisions(profile, drifts, budget, gains)
    assert sum(called) == budget


def test_bad_policies_are_refused() -> None:
    for make, name in (
        (lambda: BudgetedCompute(0), "budget"),
        (lambda: BudgetedCompute(2.5), "budget"),  # type: ignore[arg-type]
        (lambda: BudgetedCompute(5, order=0), "order"),
        (lambda: BudgetedCompute(5, order=3), "order"),
        (lambda: BudgetedCompute(5, warm=-1), "warm"),
        (lambda: BudgetedCompute(5, max_age=0), "max_age"),
        (lambda: BudgetedCompute(5, threshold=0.0), "threshold"),
        (lambda: StaticRefresh(5, data_std=0.0), "data_std"),
        (lambda: StaticRefresh(5, "random"), "spacing"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=name):
            make()
    with pytest.raises(RuntimeError, match="start must be called"):
        StaticRefresh(3).decide(State(x=_start(2, 2)), 5)
