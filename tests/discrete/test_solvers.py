"""Laws that every solver of tokens must obey: known sites, times of single sites, evaluations, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Births,
    Corrected,
    Corrupted,
    CTMCCorrector,
    DiscretePrediction,
    DiscreteProcess,
    DiscreteSolver,
    DrawSolver,
    EulerRates,
    FirstHitting,
    Gibbs,
    Mask,
    Matrix,
    MaximalCoupling,
    PredictionTrapezoid,
    PureDeath,
    Remasking,
    RenewedNoise,
    TauLeaping,
    ThetaTrapezoid,
    Uniform,
    UniformAbsorbing,
    keep_grid,
    loop_grid,
)
from sciffusion.discrete.kernels import ordinal_rates
from sciffusion.discrete.schedules import CosineSchedule, KeepSchedule
from sciffusion.discrete.solvers.rates import forward_rates, reverse_rates
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import State, sample

ORACLE = MarkovChainOracle.bench_a()
PROCESSES: dict[str, DiscreteProcess] = {
    "uniform": Uniform(3),
    "mask": Mask(3),
    "cosine": Mask(3, CosineSchedule()),
}
BOTH: list[DiscreteSolver] = [
    Ancestral(),
    MaximalCoupling(),
    PredictionTrapezoid(),
    PredictionTrapezoid(0.3, "probability", "middle"),
    PredictionTrapezoid(0.5, "log"),
    EulerRates(),
    TauLeaping(),
    ThetaTrapezoid(0.4),
    Corrected(Ancestral(), Gibbs()),
    Corrected(PredictionTrapezoid(), Gibbs(2)),
    Corrected(Ancestral(), CTMCCorrector()),
]
MASKED: list[DiscreteSolver] = [
    *(Remasking(schedule) for schedule in ("cap", "rescale", "confidence", "loop")),
    FirstHitting(),
]
CASES = [(solver, "uniform") for solver in BOTH] + [
    (s, name) for s in BOTH + MASKED for name in ("mask", "cosine")
]


def grid_for(solver: DiscreteSolver, schedule: KeepSchedule, steps: int = 5) -> torch.Tensor:
    """Return a grid that the solver can walk."""
    if isinstance(solver, EulerRates | TauLeaping | ThetaTrapezoid) or "CTMC" in str(vars(solver)):
        return keep_grid(steps, "linear", schedule, 1e-3, 1.0 - 1e-3)
    return keep_grid(steps, "linear", schedule)


def start(process: DiscreteProcess, count: int, known: torch.Tensor | None = None) -> State:
    generator = torch.Generator().manual_seed(0)
    x = process.draw_prior((count, 4), generator)
    if known is not None:
        x = torch.where(known, torch.tensor([0, 2, 1, 0]), x)
    return State(x, known=known, generator=generator)


@pytest.mark.parametrize(("solver", "name"), CASES)
def test_known_sites_stay_and_the_rest_is_clean_within_the_budget(solver: DiscreteSolver, name: str) -> None:
    process = PROCESSES[name]
    denoiser = ORACLE.denoiser(process, "loo" if name == "uniform" else "denoiser")
    known = torch.zeros(64, 4, dtype=torch.bool)
    known[:, 1] = True
    known[::2, 2] = True
    result = sample(denoiser, solver, grid_for(solver, process.schedule), state=start(process, 64, known))
    assert torch.equal(result.samples[known], torch.tensor([0, 2, 1, 0]).expand(64, 4)[known])
    assert int(result.samples.max()) < 3
    assert result.nfe <= solver.total_nfe(5)
    assert bool((result.state.t == 0.0).all())


@pytest.mark.parametrize(("solver", "name"), CASES)
def test_equal_times_of_sites_are_a_scalar_time(solver: DiscreteSolver, name: str) -> None:
    process = PROCESSES[name]
    denoiser = ORACLE.denoiser(process, "loo" if name == "uniform" else "denoiser")
    x0 = ORACLE.draw(32, torch.Generator().manual_seed(0))
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    x = process.corrupt(x0, t, torch.Generator().manual_seed(1)).x
    after = [
        solver.step(State(x, t=early, generator=torch.Generator().manual_seed(2)), late, denoiser)
        for early, late in ((t, s), (t.expand(32), s.expand(32)), (t.expand(32, 4), s.expand(32, 4)))
    ]
    assert torch.equal(after[0].x, after[1].x)
    assert torch.equal(after[0].x, after[2].x)


@pytest.mark.parametrize("solver", [s for s in BOTH if isinstance(s, DrawSolver)])
@pytest.mark.parametrize("name", ["uniform", "mask"])
def test_sites_whose_time_does_not_change_keep_their_token(solver: DrawSolver, name: str) -> None:
    process = PROCESSES[name]
    denoiser = ORACLE.denoiser(process, "loo" if name == "uniform" else "denoiser")
    x0 = ORACLE.draw(256, torch.Generator().manual_seed(0))
    t = torch.tensor([0.7, 0.4, 0.7, 0.0], dtype=torch.float64).expand(256, 4)
    s = torch.tensor([0.3, 0.4, 0.0, 0.0], dtype=torch.float64).expand(256, 4)
    x = process.corrupt(x0, t, torch.Generator().manual_seed(1)).x
    after = solver.step(State(x, t=t, generator=torch.Generator().manual_seed(2)), s, denoiser)
    assert torch.equal(after.x[:, 1::2], x[:, 1::2])
    assert not torch.equal(after.x[:, 0], x[:, 0])
    assert int(after.x[:, 2].max()) < 3


@pytest.mark.parametrize(("solver", "name"), CASES)
def test_a_run_repeats_from_its_seed(solver: DiscreteSolver, name: str) -> None:
    process = PROCESSES[name]
    denoiser = ORACLE.denoiser(process, "denoiser")
    grid = grid_for(solver, process.schedule, 3)
    runs = [sample(denoiser, solver, grid, state=start(process, 32)).samples for _ in range(2)]
    assert torch.equal(*runs)


def test_reverse_rates_are_those_of_the_formulas() -> None:
    keep, x = 0.6, torch.tensor([[0, 2, 1, 1]])
    state = Corrupted(x, torch.tensor(1.0 - keep, dtype=torch.float64))
    uniform = ORACLE.predict(PROCESSES["uniform"], state, "loo")
    conditional = torch.exp(uniform.noisy_conditional(PROCESSES["uniform"], state))
    expected = conditional / (3.0 * conditional.gather(-1, x[..., None]))
    expected.scatter_(-1, x[..., None], 0.0)
    torch.testing.assert_close(reverse_rates(uniform, PROCESSES["uniform"], state), expected)
    masked = Corrupted(torch.tensor([[0, 3, 1, 3]]), state.t)
    own = ORACLE.predict(PROCESSES["mask"], masked, "denoiser")
    rates = reverse_rates(own, PROCESSES["mask"], masked)
    torch.testing.assert_close(rates[0, 1::2, :3], keep / (1.0 - keep) * own.probabilities[0, 1::2])
    assert float(rates[0, ::2].abs().max()) == 0.0
    leaving = forward_rates(PROCESSES["mask"], masked)
    assert leaving[0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]] or (
        float((leaving[0] - torch.tensor([[0, 0, 0, 1.0], [0] * 4, [0, 0, 0, 1], [0] * 4])).abs().max())
        < 1e-9
    )


def test_rates_refuse_a_grid_that_starts_without_data_and_remembered_noise() -> None:
    process = PROCESSES["uniform"]
    with pytest.raises(ValueError, match="first keep probability above 0"):
        sample(ORACLE.denoiser(process), EulerRates(), keep_grid(4), state=start(process, 2))
    absorbing = UniformAbsorbing(3)
    x = absorbing.draw_prior((2, 4), torch.Generator())
    state = State(x, aux={"noise": x}, generator=torch.Generator())
    with pytest.raises(TypeError, match="remembered"):
        sample(
            ORACLE.denoiser(absorbing, "denoiser"),
            TauLeaping(),
            keep_grid(4, "linear", None, 0.01, 0.99),
            state=state,
        )


@dataclass(frozen=True)
class Neighbours(Uniform):
    """Noise that depends on the token that it replaces."""

    def push(self, probabilities: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        keep = self.schedule.keep(t)
        return keep * probabilities + (1.0 - keep) * probabilities.roll(1, -1)


def test_coupling_refuses_noise_that_depends_on_the_token() -> None:
    state = start(PROCESSES["uniform"], 2)
    prediction = ORACLE.predict(PROCESSES["uniform"], state, "loo")
    with pytest.raises(TypeError, match="does not depend on the token"):
        MaximalCoupling().log_probabilities(prediction, Neighbours(3), state, torch.tensor(0.5))


@pytest.mark.parametrize("process", [PureDeath(2), Matrix(ordinal_rates(3))])
def test_a_run_refuses_such_noise_by_the_name_of_its_process(process: DiscreteProcess) -> None:
    """Counts of 0 and 1 alone die like tokens that are replaced by 0: all tokens must be looked at."""
    with pytest.raises(TypeError, match=f"token it replaces.* got {type(process).__name__}"):
        sample(ORACLE.denoiser(process), MaximalCoupling(), keep_grid(2), state=start(process, 2))


class Unsure:
    """A denoiser that rules token 0 out everywhere, also where it is known."""

    def __init__(self, path: DiscreteProcess, kind: Any) -> None:
        self.path, self.kind = path, kind

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        logits = torch.zeros(*state.x.shape, 3)
        logits[..., 0] = -torch.inf
        return DiscretePrediction(logits, self.kind)


@pytest.mark.parametrize("kind", ["loo", "denoiser"])
@pytest.mark.parametrize(("solver", "process"), [
    (Ancestral(), Mask(3)), (Ancestral(), Uniform(3)), (PredictionTrapezoid(), Mask(3)),
    (PredictionTrapezoid(), Uniform(3)), (Remasking(), Mask(3)), (FirstHitting(), Mask(3)),
    (RenewedNoise(), UniformAbsorbing(3)), (Births(), PureDeath(2)),
])  # fmt: skip
def test_what_a_denoiser_says_of_known_sites_does_not_matter(
    solver: DiscreteSolver, process: DiscreteProcess, kind: Any
) -> None:
    known = torch.tensor([True, False, False, True]).expand(3, 4)
    result = sample(Unsure(process, kind), solver, keep_grid(4), state=start(process, 3, known))
    assert bool((result.samples[:, [0, 3]] == 0).all())
    assert bool((result.samples[:, 1:3] > 0).all())
    assert int(result.samples.max()) < 3


@pytest.mark.parametrize(
    ("solver", "nfe", "steps"),
    [
        (Ancestral(), 16, 16),
        (PredictionTrapezoid(), 17, 8),
        (ThetaTrapezoid(), 17, 9),
        (ThetaTrapezoid(), 16, 8),
        (Corrected(Ancestral(), Gibbs()), 16, 8),
        (Corrected(Ancestral(), Gibbs()), 15, 8),
        (Corrected(Ancestral(), Gibbs(), moves=3), 16, 4),
        (Corrected(ThetaTrapezoid(), Gibbs()), 16, 6),
        (FirstHitting(), 4, 4),
    ],
)
def test_budgets_are_counted_in_evaluations_and_never_exceeded(
    solver: DiscreteSolver, nfe: int, steps: int
) -> None:
    assert solver.steps_within(nfe) == steps
    assert solver.total_nfe(steps) <= nfe < solver.total_nfe(steps + 1)


def test_a_budget_below_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="does not pay for one step"):
        PredictionTrapezoid().steps_within(1)
    with pytest.raises(ValueError, match="does not pay for one step"):
        Corrected(Ancestral(), Gibbs()).steps_within(0)


def test_wrong_parameters_are_named() -> None:
    for make in (PredictionTrapezoid, ThetaTrapezoid):
        with pytest.raises(ValueError, match="theta must lie inside"):
            make(1.0)
    with pytest.raises(ValueError, match="scale must be one of"):
        PredictionTrapezoid(scale="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="last must be"):
        PredictionTrapezoid(last="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="schedule must be one of"):
        Remasking("often")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no strength eta"):
        Remasking("confidence", 0.1)
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        Remasking("cap", 1.5)
    with pytest.raises(ValueError, match="moves must be at least 1"):
        Corrected(Ancestral(), Gibbs(), moves=0)


@pytest.mark.parametrize("spacing", ["linear", "cosine"])
@pytest.mark.parametrize("schedule", [None, CosineSchedule()])
def test_grids_are_spaced_in_the_keep_probability(spacing: Any, schedule: KeepSchedule | None) -> None:
    times = keep_grid(8, spacing, schedule)
    keeps = (1.0 - times) if schedule is None else schedule.keep(times)
    u = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    torch.testing.assert_close(keeps, u if spacing == "linear" else torch.sin(0.5 * torch.pi * u) ** 2)
    assert (float(times[0]), float(times[-1])) == (1.0, 0.0)
    cut = keep_grid(8, spacing, schedule, first_keep=0.01, last_keep=0.99)
    assert float(cut[-1]) == 0.0
    assert len(cut) == 9
    keeps = (1.0 - cut) if schedule is None else schedule.keep(cut)
    assert keeps[[0, -2]].tolist() == pytest.approx([0.01, 0.99])


def test_a_loop_stands_still_at_its_keep_probability() -> None:
    times = loop_grid(4, 3, 2, keep=0.9)
    assert (1.0 - times).tolist() == pytest.approx([0.0, 0.225, 0.45, 0.675, 0.9, 0.9, 0.9, 0.9, 0.95, 1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "at least 1"),
        ((1, "linear", None, 0.1, 0.9), "at least 2"),
        ((4, "logit"), "needs 0 <"),
        ((4, "square"), "spacing must be"),
        ((4, "linear", None, 0.9, 0.1), "expected 0 <= first_keep"),
    ],
)
def test_grids_that_are_none_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keep_grid(*arguments)
    with pytest.raises(TypeError, match="integer"):
        keep_grid(4.0)  # type: ignore[arg-type]
