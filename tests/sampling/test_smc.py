"""Resampling, weights and genealogy of particle systems, and their place in a sampler run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, DPMSolverMultistep, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.smc import (
    ParticleRun,
    Particles,
    ParticleStep,
    ParticleSystems,
    effective_sample_size,
    systematic_resample,
    take_particles,
)

PATH = VariancePreserving()
DENOISER = ExactDenoiser(GaussianTarget.isotropic(2), PATH)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _log_weights(*shape: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.randn(*shape, generator=_generator(seed), dtype=torch.float64)


def test_systematic_resampling_draws_each_particle_its_share_of_times() -> None:
    log_weights = _log_weights(3, 7)
    expected = 50 * torch.softmax(log_weights, -1)
    drawn = systematic_resample(log_weights.expand(500, 3, 7), _generator(), 50)
    counts = torch.nn.functional.one_hot(drawn, 7).sum(-2).to(torch.float64)
    assert bool((counts >= expected.floor()).all())
    assert bool((counts <= expected.ceil()).all())
    # The rounding is unbiased: a count differs from its share by at most 1, on average by nothing.
    torch.testing.assert_close(counts.mean(0), expected, rtol=0.0, atol=4 * 0.5 / math.sqrt(500))


def test_resampling_never_draws_a_particle_without_weight() -> None:
    log_weights = torch.full((2, 6), -math.inf, dtype=torch.float64)
    log_weights[0, 2], log_weights[1, 5] = 0.0, -3000.0
    assert systematic_resample(log_weights, _generator()).tolist() == [[2] * 6, [5] * 6]


def test_without_resampling_the_error_is_that_of_a_mean_weight() -> None:
    weights = torch.rand(5, generator=_generator(), dtype=torch.float64)
    systems = ParticleSystems(5, 5, 0.0)
    systems.update(weights.log())
    expected = weights.std() / math.sqrt(5) / weights.mean()
    torch.testing.assert_close(systems.report().log_normaliser_error[0], expected)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_resampling_refuses_weights_from_which_nothing_can_be_drawn(wrong: float) -> None:
    log_weights = torch.full((2, 3), -math.inf)
    log_weights[0], log_weights[1, 1] = 0.0, wrong
    with pytest.raises(ValueError, match="log_weights must be finite or -inf, and not all -inf"):
        systematic_resample(log_weights, _generator())


def test_effective_sample_size_counts_equal_particles() -> None:
    log_weights = torch.full((3, 8), -math.inf)
    log_weights[0] = 4.0
    log_weights[1, :2] = -900.0
    log_weights[2, 3] = 1.0
    torch.testing.assert_close(
        effective_sample_size(log_weights), torch.tensor([8.0, 2.0, 1.0], dtype=torch.float64)
    )


class _Pair(NamedTuple):
    first: Tensor
    second: float


@dataclass(frozen=True)
class _Kept:
    values: Tensor
    shared: Tensor


class _Ring:
    def __init__(self, taken: list[int]) -> None:
        self.taken = taken

    def take_items(self, indices: Tensor) -> _Ring:
        return _Ring(indices.tolist())


def test_everything_that_belongs_to_a_particle_moves_with_it() -> None:
    x, indices = torch.arange(8.0).reshape(4, 2), torch.tensor([3, 3, 0, 1])
    items = torch.arange(4)
    state = State(
        x=x,
        t=items / 10,
        known=items > 2,
        history=(_Pair(items, 7.0), _Kept(items.double(), torch.ones(3))),
        aux={"list": [items, "word"], "ring": _Ring([])},
        log_weight=items.double(),
    )
    moved = take_particles(state, indices)
    assert torch.equal(moved.x, x[indices])
    assert moved.t.tolist() == pytest.approx([0.3, 0.3, 0.0, 0.1])
    assert moved.known is not None
    assert moved.known.tolist() == [True, True, False, False]
    pair, kept = moved.history
    assert isinstance(pair, _Pair)
    assert (pair.first.tolist(), pair.second) == ([3, 3, 0, 1], 7.0)
    assert (kept.values.tolist(), kept.shared.shape) == ([3, 3, 0, 1], (3,))
    assert moved.aux["list"][0].tolist() == [3, 3, 0, 1]
    assert moved.aux["ring"].taken == [3, 3, 0, 1]
    assert moved.log_weight is not None
    assert moved.log_weight.tolist() == [3, 3, 0, 1]
    assert take_particles(State(x=x), indices).t.ndim == 0


def _walk(systems: int, count: int, threshold: float, steps: int = 12) -> tuple[ParticleSystems, float]:
    """Weigh a stationary random walk by exp(c x) at every step; return the systems and the true log Z."""
    generator, decay, slope = _generator(5), 0.8, 0.15
    particles = ParticleSystems(systems * count, count, threshold)
    x = torch.randn(systems * count, generator=generator, dtype=torch.float64)
    for _ in range(steps):
        particles.update(slope * x)
        indices = particles.resample(generator)
        x = x if indices is None else x[indices]
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x = decay * x + math.sqrt(1 - decay**2) * noise
    lag = torch.arange(steps)
    covariance = decay ** (lag[:, None] - lag).abs().to(torch.float64)
    return particles, 0.5 * slope**2 * float(covariance.sum())


@pytest.mark.parametrize(("threshold", "excess"), [(0.0, 1.15), (0.7, 1.6)])
def test_normaliser_is_unbiased_and_its_error_is_that_of_many_runs(threshold: float, excess: float) -> None:
    particles, truth = _walk(systems=3000, count=100, threshold=threshold)
    report = particles.report()
    ratio = torch.exp(report.log_normaliser - truth)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * float(ratio.std()) / math.sqrt(3000))
    spread = float(report.log_normaliser.std())
    claimed = float(report.log_normaliser_error.square().mean().sqrt())
    # Systematic resampling does better than the multinomial one for which the estimate is made.
    assert 0.85 * spread < claimed < excess * spread
    assert bool((report.resamplings > 0).all()) is (threshold > 0.0)
    assert (int(report.unique_ancestors.min()) == 100) is (threshold == 0.0)


def test_resampling_lowers_the_error_of_a_long_product() -> None:
    kept, _ = _walk(systems=400, count=100, threshold=0.0, steps=40)
    resampled, _ = _walk(systems=400, count=100, threshold=0.5, steps=40)
    assert resampled.report().log_normaliser.std() < 0.6 * kept.report().log_normaliser.std()


def test_systems_do_not_influence_each_other() -> None:
    together = ParticleSystems(20, 10, 0.5)
    increments = torch.cat([torch.zeros(10), 5.0 * torch.arange(10.0)])
    together.update(increments)
    indices = together.resample(_generator())
    assert indices is not None
    assert indices[:10].tolist() == list(range(10))
    assert set(indices[10:].tolist()) == {19}
    report = together.report()
    assert report.resamplings.tolist() == [0, 1]
    assert report.unique_ancestors.tolist() == [10, 1]
    assert float(report.log_normaliser_error[0]) == pytest.approx(0.0, abs=1e-12)
    assert report.log_normaliser_error[1] == math.inf
    assert float(report.log_normaliser[1]) == pytest.approx(
        float(torch.logsumexp(increments[10:], 0)) - math.log(10)
    )


def test_a_constant_factor_moves_the_normaliser_and_nothing_else() -> None:
    particles = ParticleSystems(6, 6, 0.9)
    for _ in range(3):
        particles.update(torch.full((6,), 0.4))
        assert particles.resample(_generator()) is None
    report = particles.report()
    assert float(report.log_normaliser) == pytest.approx(1.2)
    torch.testing.assert_close(report.ess_history, torch.full((3, 1), 6.0, dtype=torch.float64))


def test_weights_that_vanish_or_are_not_numbers_are_explained() -> None:
    particles = ParticleSystems(6, 3, 0.5)
    with pytest.raises(ValueError, match="particle 1 of system 1 grew by nan"):
        particles.update(torch.tensor([0.0, 0.0, 0.0, 0.0, math.nan, 0.0]))
    with pytest.raises(ValueError, match="grew by inf"):
        particles.update(torch.tensor([math.inf, 0.0, 0.0, 0.0, 0.0, 0.0]))
    particles.update(torch.tensor([0.0, -math.inf, 0.0, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match=r"all 3 particles of system 1 vanished.*collapsed.*more particles"):
        particles.update(torch.tensor([0.0, 0.0, 0.0, -math.inf, -math.inf, -math.inf]))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="whole systems of count=4 particles, got 6 items"):
        ParticleSystems(6, 4, 0.5)
    with pytest.raises(ValueError, match="count must be at least 2"):
        ParticleSystems(6, 1, 0.5)
    with pytest.raises(ValueError, match="threshold must lie in"):
        ParticleSystems(6, 3, 1.5)
    uneven = ParticleSystems(4, 4, 0.9)
    uneven.update(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="resampling needs a generator"):
        uneven.resample(None)


class _Favour(Particles):
    """Favours particles whose first value is large."""

    def begin(self, state: State) -> ParticleRun:
        return _FavourRun(state, self.count, self.threshold)


class _FavourRun(ParticleRun):
    def log_increments(self, step: ParticleStep) -> Tensor | None:
        return 0.3 * step.after.x[:, 0]


class _Label(Hook):
    """Lets every item carry its place at the start along."""

    def before_run(self, state: State) -> State:
        return State(**{**vars(state), "aux": state.x.clone()})


@pytest.mark.parametrize("solver", [AncestralDDPM(), DPMSolverMultistep(3)])
def test_a_run_with_particles_carries_weights_and_what_hooks_remember(solver: Any) -> None:
    result = sample(
        DENOISER, solver, uniform_grid(12), shape=(64, 2), generator=_generator(), dtype=torch.float64,
        particles=_Favour(32, threshold=0.8), hooks=[_Label()],
    )  # fmt: skip
    report = result.particles
    assert report is not None
    assert result.log_weights is report.log_weights
    assert result.ess_history is not None
    assert result.ess_history.shape == (12, 2)
    assert bool((report.resamplings > 0).all())
    sums = report.log_weights.exp().reshape(2, 32).sum(-1)
    torch.testing.assert_close(sums, torch.ones(2, dtype=torch.float64))
    starts = torch.unique(result.state.aux, dim=0)
    assert starts.shape[0] == int(report.unique_ancestors.sum())
    if isinstance(solver, DPMSolverMultistep):
        # A solver without noise takes each start to the same end, whatever was resampled on the way.
        alone = sample(DENOISER, solver, uniform_grid(12), state=State(x=result.state.aux)).samples
        torch.testing.assert_close(result.samples, alone, rtol=1e-12, atol=1e-12)
    assert result.unweighted(_generator(), 5).shape == (10, 2)
    assert result.nfe == 12


def test_a_run_without_particles_has_no_weights() -> None:
    result = sample(DENOISER, AncestralDDPM(), uniform_grid(3), shape=(4, 2), generator=_generator())
    assert (result.particles, result.log_weights, result.ess_history, result.log_normaliser) == (None,) * 4
    assert result.unweighted(_generator()) is result.samples


def test_runs_refuse_batches_and_grids_that_do_not_fit_the_systems() -> None:
    with pytest.raises(ValueError, match="whole systems of count=5 particles, got 8 items"):
        sample(
            DENOISER, AncestralDDPM(), uniform_grid(3), shape=(8, 2), generator=_generator(),
            particles=_Favour(5),
        )  # fmt: skip
    grid = torch.stack([uniform_grid(3, 1.0), uniform_grid(3, 0.9)], 1).repeat(1, 4)
    with pytest.raises(ValueError, match="must share their times"):
        sample(DENOISER, AncestralDDPM(), grid, shape=(8, 2), generator=_generator(), particles=_Favour(4))
