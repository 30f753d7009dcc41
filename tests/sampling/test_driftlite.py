"""Annealing and tilting by controlled particles, against laws known in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Cosine,
    NetworkDenoiser,
    Path,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
)
from sciffusion.continuous.divergence import divergence
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import SampleResult, log_snr_grid
from sciffusion.sampling.driftlite import AnalyticReward, DriftLiteSampler
from sciffusion.sampling.driftlite.fields import DenoiserField, Subspace
from sciffusion.sampling.driftlite.potential import Increments, ParticleValues, Tilt, signal_fraction
from sciffusion.sampling.driftlite.rewards import as_smooth_reward
from sciffusion.sampling.driftlite.run import Plan

PATH = VariancePreserving()
CENTRE = torch.tensor([0.4, -0.2], dtype=torch.float64)
WIDTH = 0.8
MIXTURE = GaussianMixtureTarget.from_stds(
    [0.35, 0.65],
    torch.tensor([[-1.2, 0.5], [0.9, -0.3]], dtype=torch.float64),
    torch.tensor([[0.5, 0.5], [0.7, 0.7]], dtype=torch.float64),
)
PATHS: list[Path] = [PATH, VarianceExploding(0.01, 20.0), Cosine(), RectifiedFlow()]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _reward(x: Tensor) -> Tensor:
    return -0.5 * ((x - CENTRE.to(x)) ** 2).sum(-1) / WIDTH


PULL = AnalyticReward(
    _reward, lambda x: -(x - CENTRE.to(x)) / WIDTH, lambda x: torch.full_like(x[:, 0], -2.0 / WIDTH)
)


def _grid(n_steps: int = 60, path: Path = PATH) -> Tensor:
    start = 0.999 if isinstance(path, RectifiedFlow) else 1.0
    return log_snr_grid(path, n_steps, start=start, end=float(path.time_of_log_snr(4.0)))


def _plane() -> tuple[Tensor, float]:
    """Return the points and the cell of a fine lattice on which laws in the plane are integrated."""
    line = torch.linspace(-6.0, 6.0, 401, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


def _exact(gamma: float, tilted: bool, t: float, denoiser: ExactDenoiser) -> tuple[float, Tensor]:
    """Return log Z and the mean of p_t^gamma exp(r) by quadrature."""
    points, cell = _plane()
    logs = gamma * denoiser.log_density(points, t) + (_reward(points) if tilted else 0.0)
    log_z = float(torch.logsumexp(logs, 0)) + math.log(cell)
    return log_z, (torch.softmax(logs, 0)[:, None] * points).sum(0)


SYSTEMS, COUNT = 8, 150


def _run(sampler: DriftLiteSampler, grid: Tensor | None = None, **options: Any) -> SampleResult:
    settings = {"count": COUNT, "shape": (2,), "systems": SYSTEMS, "dtype": torch.float64}
    settings |= {"generator": _generator()} | options
    return sampler.sample(_grid() if grid is None else grid, **settings)


def _means(result: SampleResult) -> Tensor:
    assert result.log_weights is not None
    weights = result.log_weights.exp().reshape(SYSTEMS, -1, 1)
    return (weights * result.samples.reshape(SYSTEMS, -1, 2)).sum(1)


def _assert_mean(estimates: Tensor, truth: Tensor | float, bias: float) -> None:
    """Check the mean of independent systems within 4 standard errors and the error of the steps."""
    error = 4 * estimates.std(0) / math.sqrt(estimates.shape[0]) + bias
    assert bool(((estimates.mean(0) - truth).abs() <= error).all()), (estimates.mean(0), truth, error)


def _values(path: Path, t: float, x: Tensor, reward: Any = None) -> ParticleValues:
    denoiser = ExactDenoiser(MIXTURE, path)
    c = path.coefficients(t)
    smooth = None if reward is None else as_smooth_reward(reward).evaluate(x, Subspace(), _generator())
    return ParticleValues(
        x, denoiser.score(x, t), denoiser.score_divergence(x, t), denoiser.log_density(x, t), smooth,
        float(c.alpha**2 + c.sigma**2), 2,
    )  # fmt: skip


# The potential and the controls -------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_the_potential_closes_the_evolution_equation_of_the_law_at_every_point(
    path: Path, noise_scale: float
) -> None:
    # d log q = -div v - v . s_q + V^2/2 (div s_q + |s_q|^2) + G, with q = p^gamma exp(beta r).
    denoiser, gamma, x = (
        ExactDenoiser(MIXTURE, path),
        1.7,
        torch.randn(50, 2, generator=_generator()).double(),
    )
    t = float(path.time_of_log_snr(0.3))
    grid = torch.tensor([t, t - 1e-5], dtype=torch.float64)
    plan = Plan.make(path, grid, gamma, None)
    tilt, step = Tilt(gamma, 0.6), Increments(*_increments(plan), reward=2e-5)
    values = _values(path, t, x, _reward)
    change = gamma * (denoiser.log_density(x, grid[1]) - denoiser.log_density(x, t)) + 2e-5 * _reward(x)
    target = values.target_score(tilt)
    assert values.divergence is not None
    curvature = gamma * values.divergence - 0.6 * 2.0 / WIDTH
    along = step.log_signal * (x * target).sum(-1) + 2.0 * step.log_signal
    half = 0.5 * (1.0 + noise_scale**2) * step.squared_noise
    spreading = 0.5 * noise_scale**2 * step.squared_noise
    square = (target**2).sum(-1)
    moved = -along - half * (curvature + square) + spreading * (curvature + square)
    potential = values.guidance_potential(tilt, step)
    torch.testing.assert_close(moved + potential, change, rtol=1e-3, atol=1e-3 * float(change.abs().mean()))


def _increments(plan: Plan) -> tuple[float, float]:
    step = plan.increments(0)
    return step.log_signal, step.squared_noise


def test_controls_add_the_divergence_and_the_flux_along_the_score() -> None:
    x, tilt = torch.randn(6, 2, generator=_generator(), dtype=torch.float64), Tilt(2.0, 0.4)
    values, denoiser = _values(PATH, 0.4, x, _reward), ExactDenoiser(MIXTURE, PATH)
    c = PATH.coefficients(0.4)
    fields = [
        lambda y: -(y - CENTRE) / WIDTH,
        lambda y: denoiser.score(y, 0.4),
        lambda y: -y / (c.alpha**2 + c.sigma**2),
    ]
    target = values.target_score(tilt)
    for field, ours, h in zip(fields, values.fields(), values.control_potentials(tilt), strict=True):
        value, trace = divergence(field, x)
        torch.testing.assert_close(ours, value)
        torch.testing.assert_close(h, trace + (target * value).sum(-1))


def test_the_scalars_of_energy_control_have_the_fields_as_gradients() -> None:
    x = torch.randn(6, 2, generator=_generator(), dtype=torch.float64)
    values, moved = _values(PATH, 0.4, x, _reward), _values(PATH, 0.4, x + torch.tensor([1e-5, 0.0]), _reward)
    slopes = (moved.scalars() - values.scalars()) / 1e-5
    torch.testing.assert_close(
        slopes, torch.stack([field[:, 0] for field in values.fields()]), rtol=1e-3, atol=1e-4
    )


def test_control_potentials_average_to_zero_under_the_law_aimed_at() -> None:
    gamma, t, count = 2.0, 0.5, 40_000
    x = ExactDenoiser(MIXTURE, PATH).draw_marginal(count, t, _generator())
    values = _values(PATH, t, x, _reward)
    for tilt in (Tilt(1.0, 0.0), Tilt(gamma, 0.7)):
        logs = (tilt.gamma - 1.0) * ExactDenoiser(MIXTURE, PATH).log_density(x, t) + tilt.beta * _reward(x)
        weights = torch.softmax(logs, 0)
        h = values.control_potentials(tilt)
        error = torch.sqrt((weights**2 * (h - (weights * h).sum(-1, keepdim=True)) ** 2).sum(-1))
        assert bool(((weights * h).sum(-1).abs() < 4 * error).all())


@pytest.mark.parametrize("path", PATHS)
def test_increments_are_the_integrals_of_drift_and_squared_diffusion(path: Path) -> None:
    ends = [float(path.time_of_log_snr(value)) for value in (-0.05, 0.05)]
    log_signal, noise = _increments(Plan.make(path, torch.tensor(ends, dtype=torch.float64), 1.0, None))
    c = path.coefficients(torch.linspace(*ends, 4001, dtype=torch.float64))
    width = (ends[0] - ends[1]) / 4000
    for ours, integrand in ((log_signal, -c.drift), (noise, c.squared_diffusion)):
        exact = width * float(integrand.sum() - 0.5 * (integrand[0] + integrand[-1]))
        exact_paths = isinstance(path, VariancePreserving | VarianceExploding | Cosine)
        assert ours == pytest.approx(exact, rel=1e-6 if exact_paths else 1e-3)


# Runs on normal laws, where a control without any variance exists ----------------------------------------


NORMAL_MEAN = torch.tensor([0.6, -0.4], dtype=torch.float64)
NORMAL = GaussianTarget(NORMAL_MEAN, torch.full((2,), 0.25, dtype=torch.float64))


def _normal_log_z(gamma: float, path: Path, t: float) -> float:
    c = path.coefficients(t)
    variance = float(c.alpha**2 * 0.25 + c.sigma**2)
    return (1.0 - gamma) * math.log(2.0 * math.pi * variance) - math.log(gamma)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("gamma", [2.0, 0.6])
def test_annealing_a_normal_law_needs_no_weights_and_no_many_steps(path: Path, gamma: float) -> None:
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(NORMAL, path))
    grid = _grid(120, path)
    result = _run(sampler, grid, gamma=gamma)
    assert result.particles is not None
    assert float(result.trace["variance_potential"].mean()) < 1e-6 * float(
        result.trace["variance_guidance"].mean()
    )
    assert float(result.particles.ess_history.min()) > 0.97 * COUNT
    assert result.log_normaliser is not None
    _assert_mean(result.log_normaliser, _normal_log_z(gamma, path, float(grid[-1])), bias=0.02)
    variance = float(path.coefficients(grid[-1]).alpha ** 2 * 0.25 + path.coefficients(grid[-1]).sigma ** 2)
    _assert_mean(_means(result), NORMAL_MEAN * path.coefficients(grid[-1]).alpha, bias=0.01)
    _assert_mean(
        result.samples.reshape(SYSTEMS, -1, 2).var(1), variance / gamma, bias=0.12 * variance / gamma
    )
    assert result.nfe == 121


def test_the_error_of_the_normaliser_is_of_second_order_by_the_trapezoid_rule() -> None:
    errors = {}
    for rule in ("trapezoid", "left"):
        sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(NORMAL, PATH), weights=rule)
        for steps in (8, 16, 32):
            grid = _grid(steps)
            found = _run(sampler, grid, gamma=2.0, count=500).log_normaliser
            assert found is not None
            errors[rule, steps] = abs(float(found.mean()) - _normal_log_z(2.0, PATH, float(grid[-1])))
    assert errors["trapezoid", 32] < 0.35 * errors["trapezoid", 16] < 0.35**2 * errors["trapezoid", 8]
    assert 0.35 * errors["left", 16] < errors["left", 32] < 0.65 * errors["left", 16]
    assert errors["trapezoid", 16] < 0.3 * errors["left", 16]


def test_weights_are_the_mean_of_the_potentials_at_both_ends_of_a_step_each_under_its_own_tilt() -> None:
    grid, start = torch.tensor([0.6, 0.4], dtype=torch.float64), torch.randn(8, 2, generator=_generator())
    start = start.double()
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH), control="none", resample=False)
    options: dict[str, Any] = {"gamma": 1.6, "reward": PULL, "start": start, "generator": _generator(1)}
    result = sampler.sample(grid, count=8, shape=(2,), **options)
    plan = Plan.make(PATH, grid, 1.6, signal_fraction)
    ends = [
        _values(PATH, float(grid[place]), x, PULL).guidance_potential(plan.tilt(place), plan.increments(0))
        for place, x in enumerate((start, result.samples))
    ]
    growth = 0.5 * (ends[0] + ends[1])
    assert result.log_weights is not None
    assert result.log_normaliser is not None
    torch.testing.assert_close(result.log_weights, growth.log_softmax(0))
    torch.testing.assert_close(result.log_normaliser[0], torch.logsumexp(growth, 0) - math.log(8))


def test_a_law_left_as_it_is_has_equal_weights() -> None:
    result = _run(DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH)))
    assert result.log_normaliser is not None
    torch.testing.assert_close(result.log_normaliser, torch.zeros(SYSTEMS, dtype=torch.float64))
    assert result.log_weights is not None
    torch.testing.assert_close(result.log_weights, torch.full((SYSTEMS * COUNT,), -math.log(COUNT)).double())


# Runs on a mixture ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["vcg", "ecg", "none", "langevin", "unguided"])
@pytest.mark.parametrize(("gamma", "tilted"), [(2.0, False), (1.0, True), (1.6, True)])
def test_every_control_leaves_the_weighted_law_as_it_is(control: Any, gamma: float, tilted: bool) -> None:
    denoiser = ExactDenoiser(MIXTURE, PATH)
    grid = _grid(100)
    sampler = DriftLiteSampler.from_denoiser(denoiser, control=control)
    # Coefficients that come from the particles themselves cost a bias of order 1/N, largest for this one.
    count = 4 * COUNT if control == "ecg" else COUNT
    result = _run(sampler, grid, gamma=gamma, reward=PULL if tilted else None, count=count)
    log_z, mean = _exact(gamma, tilted, float(grid[-1]), denoiser)
    assert result.log_normaliser is not None
    _assert_mean(result.log_normaliser, log_z, bias=0.03)
    _assert_mean(_means(result), mean, bias=0.02)


def test_control_lowers_the_variance_and_pure_guidance_is_biased() -> None:
    denoiser, grid = ExactDenoiser(MIXTURE, PATH), _grid(100)
    trace = _run(DriftLiteSampler.from_denoiser(denoiser), grid, gamma=2.0).trace
    assert trace["variance_guidance"].mean() > 5 * trace["variance_potential"].mean()
    guided = _run(
        DriftLiteSampler.from_denoiser(denoiser, control="none", weights="none"), grid, gamma=2.0, count=600
    )
    assert guided.particles is None
    means = guided.samples.reshape(SYSTEMS, -1, 2).mean(1)
    bias = (means.mean(0) - _exact(2.0, False, float(grid[-1]), denoiser)[1]).abs()
    assert float((bias / (means.std(0) / math.sqrt(SYSTEMS))).max()) > 6.0


@pytest.mark.parametrize(
    "settings",
    [
        {"noise_scale": 0.5},
        {"noise_scale": 1.6},
        {"resample": False},
        {"bound": 0.1},
        {"weights": "left"},
        {"n_probes": 1},
    ],
)
def test_choices_that_must_not_matter_do_not(settings: dict[str, Any]) -> None:
    denoiser, grid = ExactDenoiser(MIXTURE, PATH), _grid(100)
    sampler = DriftLiteSampler.from_score(
        lambda x, t: denoiser.score(x, t), PATH, divergence=denoiser.score_divergence, **settings
    )
    if "n_probes" in settings:
        # The exact denoiser computes in float64 tensors through which gradients pass.
        sampler = DriftLiteSampler.from_score(lambda x, t: denoiser.score(x, t), PATH, **settings)
    result = _run(sampler, grid, gamma=2.0)
    log_z, mean = _exact(2.0, False, float(grid[-1]), denoiser)
    assert result.log_normaliser is not None
    _assert_mean(result.log_normaliser, log_z, bias=0.25 if "weights" in settings else 0.04)
    _assert_mean(_means(result), mean, bias=0.03)


def test_a_linear_network_is_a_reward() -> None:
    # Its gradient carries the graph of the parameters though it does not depend on the values.
    network = torch.nn.Linear(2, 1, dtype=torch.float64)
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH))
    learned = _run(sampler, _grid(5), reward=lambda x: network(x)[:, 0])
    slope, offset = network.weight.detach()[0], network.bias.detach()
    given = AnalyticReward(
        lambda x: x @ slope + offset, lambda x: slope.expand_as(x), lambda x: torch.zeros_like(x[:, 0])
    )
    torch.testing.assert_close(learned.samples, _run(sampler, _grid(5), reward=given).samples)


@pytest.mark.parametrize("noise_scale", [0.4, 1.0])
def test_unguided_particles_move_as_the_model_does_whatever_their_noise(noise_scale: float) -> None:
    denoiser, start = (
        ExactDenoiser(MIXTURE, PATH),
        torch.randn(SYSTEMS * COUNT, 2, generator=_generator()).double(),
    )
    options: dict[str, Any] = {"resample": False, "noise_scale": noise_scale}
    unguided = DriftLiteSampler.from_denoiser(denoiser, control="unguided", **options)
    plain = DriftLiteSampler.from_denoiser(denoiser, control="none", **options)
    moved = _run(unguided, _grid(8), gamma=1.7, reward=PULL, start=start, generator=_generator(1)).samples
    expected = _run(plain, _grid(8), start=start, generator=_generator(1)).samples
    torch.testing.assert_close(moved, expected)


def test_the_bound_scales_all_coefficients_of_a_control_together() -> None:
    # Where fields are nearly parallel, large coefficients cancel: one cut by itself leaves the other.
    def first(bound: float) -> Tensor:
        sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH), control="ecg", bound=bound)
        coefficients: Tensor = _run(sampler, _grid(2), gamma=2.0).trace["coefficients"][0]
        return coefficients

    free, bounded = first(math.inf), first(0.01)
    assert float(free.abs().amin(0).max()) > 0.02
    torch.testing.assert_close(bounded.abs().amax(-1), torch.full((SYSTEMS,), 0.01, dtype=torch.float64))
    torch.testing.assert_close(bounded, free * 0.01 / free.abs().amax(-1, keepdim=True))


def test_a_constant_in_the_reward_moves_the_normaliser_by_itself() -> None:
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH))
    plain = _run(sampler, _grid(15), reward=_reward)
    moved = _run(sampler, _grid(15), reward=lambda x: _reward(x) + 3.0)
    torch.testing.assert_close(moved.samples, plain.samples)
    assert plain.log_normaliser is not None
    torch.testing.assert_close(moved.log_normaliser, plain.log_normaliser + 3.0)


def test_single_precision_agrees_with_double() -> None:
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH))
    narrow = _run(sampler, gamma=2.0, reward=PULL, dtype=torch.float32)
    wide = _run(sampler, gamma=2.0, reward=PULL)
    assert narrow.samples.dtype == torch.float32
    assert narrow.log_weights is not None
    assert narrow.log_weights.dtype == torch.float64
    assert narrow.log_normaliser is not None
    assert wide.log_normaliser is not None
    error = 4 * math.sqrt(float(narrow.log_normaliser.var() + wide.log_normaliser.var()) / SYSTEMS)
    assert float(narrow.log_normaliser.mean()) == pytest.approx(float(wide.log_normaliser.mean()), abs=error)


def test_published_weights_of_a_tilted_mixture() -> None:
    # Tilt by exp(-x) on alpha = exp(-5 t^2): exact mean -1.258, standard deviation .979, P(x < 0) = .850.
    target = GaussianMixtureTarget.from_stds(
        [0.3, 0.7], torch.tensor([-1.5, 1.0], dtype=torch.float64), torch.tensor([0.4, 0.6]).double()
    )
    denoiser = ExactDenoiser(target, VariancePreserving(0.0, 20.0))
    reward = AnalyticReward(
        lambda x: -x[:, 0], lambda x: -torch.ones_like(x), lambda x: torch.zeros_like(x[:, 0])
    )
    count, found = 4_000, {}
    for name, control, weights in (
        ("guided", "langevin", "trapezoid"),
        ("unguided", "unguided", "trapezoid"),
        ("guidance", "none", "none"),
    ):
        sampler = DriftLiteSampler.from_denoiser(denoiser, control=control, weights=weights, resample=False)
        grid = torch.linspace(1.0, 1e-3, 251, dtype=torch.float64)
        result = sampler.sample(
            grid, count=count, shape=(1,), generator=_generator(), reward=reward, dtype=torch.float64,
            reward_schedule=lambda c: -torch.sqrt(-c.alpha.log() / 5.0),
        )  # fmt: skip
        logs = result.log_weights
        weight = torch.full((count,), 1 / count).double() if logs is None else logs.exp()
        x = result.samples[:, 0]
        averages = []
        for value in (x, (x < 0).double()):
            mean = float((weight * value).sum())
            error = 4 * math.sqrt(float((weight**2 * (value - mean) ** 2).sum())) + 0.02
            averages.append((mean, error))
        ess = 1.0 if result.ess_history is None else float(result.ess_history.min()) / count
        found[name] = (*averages, ess)
    references = {
        "guided": (-1.258, 0.850, 0.59), "unguided": (-1.258, 0.850, 0.08), "guidance": (-1.202, 0.783, 1.0),
    }  # fmt: skip
    for name, (mean, below, ess) in references.items():
        assert found[name][0][0] == pytest.approx(mean, abs=found[name][0][1])
        assert found[name][1][0] == pytest.approx(below, abs=found[name][1][1])
        assert found[name][2] == pytest.approx(ess, abs=0.03)
    # Guidance alone is biased by more than its error.
    assert abs(found["guidance"][1][0] - 0.850) > found["guidance"][1][1]


# Scores, rewards and subspaces ---------------------------------------------------------------------------


def test_divergence_of_a_denoiser_is_that_of_its_score() -> None:
    exact = ExactDenoiser(MIXTURE, PATH)
    network = NetworkDenoiser(lambda x, time, condition: exact.predict(x, time).value, PATH)
    x, t = torch.randn(5, 2, generator=_generator(), dtype=torch.float64), torch.tensor(0.3).double()
    options = {"with_divergence": True, "with_log_density": False, "generator": _generator()}
    values = DenoiserField(network).evaluate(x, t, **options)
    torch.testing.assert_close(values.score, exact.score(x, t))
    torch.testing.assert_close(values.divergence, exact.score_divergence(x, t))
    probes = [DenoiserField(network, n_probes=50).evaluate(x, t, **options).divergence for _ in range(40)]
    estimates = torch.stack(probes)
    error = 4 * estimates.std(0) / math.sqrt(40)
    assert bool(((estimates.mean(0) - exact.score_divergence(x, t)).abs() < error).all())


def _without_centre(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def test_systems_without_a_centre_of_mass_live_in_their_subspace() -> None:
    # Three particles in the plane: a normal law of variance .25 in the four dimensions that are left.
    def score(x: Tensor, t: Tensor) -> Tensor:
        c = PATH.coefficients(t)
        return -x / (0.25 * c.alpha**2 + c.sigma**2)

    grid = _grid(160)
    c = PATH.coefficients(grid[-1])
    variance = float(c.alpha**2 * 0.25 + c.sigma**2)
    # Exact differentiation: sums over the coordinates see the projection.
    sampler = DriftLiteSampler.from_score(score, PATH, project=_without_centre, effective_dim=4)
    result = _run(sampler, grid, shape=(3, 2), gamma=2.0, count=20)
    assert float(result.samples.mean(1).abs().max()) < 1e-12
    truth = 2.0 * (-math.log(2.0 * math.pi * variance) - math.log(2.0))
    assert result.log_normaliser is not None
    _assert_mean(result.log_normaliser, truth, bias=0.03)
    pull = _run(sampler, grid, shape=(3, 2), reward=lambda x: -0.5 * (x**2).sum((1, 2)) / variance, count=20)
    assert pull.log_normaliser is not None
    _assert_mean(pull.log_normaliser, -2.0 * math.log(2.0), bias=0.03)


def test_the_last_state_may_be_denoised() -> None:
    denoiser = ExactDenoiser(MIXTURE, PATH)
    result = _run(DriftLiteSampler.from_denoiser(denoiser, denoise=True), gamma=2.0)
    state = result.state
    torch.testing.assert_close(result.samples, denoiser.predict(state.x, state.t).value)


def test_a_start_of_ones_own_is_used() -> None:
    start = torch.randn(SYSTEMS * COUNT, 2, generator=_generator(3), dtype=torch.float64) / math.sqrt(2.0)
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH))
    own, drawn = _run(sampler, gamma=2.0, start=start), _run(sampler, gamma=2.0)
    assert own.log_normaliser is not None
    assert drawn.log_normaliser is not None
    gap = own.log_normaliser + math.log(1.0 / (2.0 * math.pi)) - math.log(2.0) - drawn.log_normaliser
    _assert_mean(gap, 0.0, bias=0.0)


def test_records_and_counts() -> None:
    seen: list[tuple[int, int]] = []
    sampler = DriftLiteSampler.from_denoiser(ExactDenoiser(MIXTURE, PATH), control="ecg", weights="left")
    result = _run(
        sampler, _grid(7), reward=_reward, gamma=2.0, progress=lambda made, total: seen.append((made, total))
    )
    assert result.nfe == 7
    assert seen[-1] == (7, 7)
    assert result.trace["coefficients"].shape == (7, SYSTEMS, 3)
    assert result.trace["variance_potential"].shape == (7, SYSTEMS)
    assert result.ess_history is not None
    assert result.ess_history.shape == (7, SYSTEMS)
    again = _run(sampler, _grid(7), reward=_reward, gamma=2.0)
    assert torch.equal(result.samples, again.samples)
