"""Coloured noise: matched drift is unbiased, the published rule is not; exact by recursion of variances."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    BrownianTree,
    ColoredNoise,
    DiagonalOperator,
    EulerMaruyama,
    FrequencyProgress,
    FullOperator,
    LinearOperator,
    NoiseSource,
    RectifiedFlow,
    Solver,
    SpectralOperator,
    StochasticHeun,
    VariancePreserving,
    measure_progress,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import assert_sampler_matches, sampler_covariance

START, END = 0.9, 0.1


def _random_covariance(dim: int, seed: int) -> FullOperator:
    factor = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return FullOperator(factor @ factor.mT + 0.05 * torch.eye(dim, dtype=torch.float64))


Covariance = LinearOperator | Callable[[Tensor], LinearOperator]


def _error(
    steps: int,
    match_drift: bool,
    covariance: Covariance,
    solver: type[EulerMaruyama] | type[StochasticHeun] = EulerMaruyama,
) -> float:
    path, target = RectifiedFlow(), GaussianTarget.autoregressive(3, -0.7)
    start, end = (
        c.alpha**2 * target.covariance + c.sigma**2 * torch.eye(3, dtype=torch.float64)
        for c in (path.coefficients(START), path.coefficients(END))
    )

    def make_solver(impulses: NoiseSource) -> Solver:
        return solver(sigma_strength, ColoredNoise(covariance, match_drift, white=impulses))

    grid = uniform_grid(steps, START, END)
    sampled = sampler_covariance(make_solver, ExactDenoiser(target, path), grid, start)
    return float((sampled - end).abs().max())


def _turning(t: Tensor) -> LinearOperator:
    """Covariance that changes with time and does not commute with that of the data."""
    angle = 3.0 * float(t)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return FullOperator(
        rotation @ torch.diag(torch.tensor([2.0, 0.7, 0.1], dtype=torch.float64)) @ rotation.mT
    )


@pytest.mark.parametrize("covariance", [_random_covariance(3, 0), _turning], ids=["constant", "turning"])
def test_matched_error_falls_as_one_over_n_and_the_published_one_stays(
    covariance: Covariance,
) -> None:
    matched = [_error(steps, True, covariance) for steps in (200, 400)]
    published = [_error(steps, False, covariance) for steps in (200, 400)]
    assert matched[0] / matched[1] == pytest.approx(2.0, abs=0.05)
    assert published[0] / published[1] < 1.1
    assert published[1] > 10.0 * matched[1]


@pytest.mark.parametrize("covariance", [_random_covariance(3, 0), _turning], ids=["constant", "turning"])
def test_matched_error_of_the_second_order_solver_falls_as_one_over_n_squared(covariance: Covariance) -> None:
    matched = [_error(steps, True, covariance, StochasticHeun) for steps in (100, 200)]
    assert matched[0] / matched[1] == pytest.approx(4.0, abs=0.3)
    assert _error(200, False, covariance, StochasticHeun) > 100.0 * matched[1]


@pytest.mark.parametrize("solver", [EulerMaruyama, StochasticHeun])
def test_identity_is_white_noise(solver: type[EulerMaruyama] | type[StochasticHeun]) -> None:
    identity = DiagonalOperator(torch.ones(3, dtype=torch.float64))
    matched, published = (_error(50, match, identity, solver) for match in (True, False))
    assert matched == pytest.approx(published, rel=1e-9)


def test_known_elements_take_no_part_and_the_others_are_sampled_from_their_conditional_law() -> None:
    target, path = GaussianTarget.autoregressive(4, 0.8), VariancePreserving()
    known = torch.tensor([True, False, False, True])
    values = torch.tensor([1.5, -0.5], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    x[:, known] = values
    noise = ColoredNoise(_random_covariance(4, 1))
    state = State(x=x, known=known.expand(4000, 4), generator=generator)
    solver = EulerMaruyama(sigma_strength, noise)
    result = sample(ExactDenoiser(target, path), solver, uniform_grid(150), state=state).samples
    assert torch.equal(result[:, known], values.expand(4000, 2))
    assert_sampler_matches(result[:, ~known], target.conditional(known, values), generator)


def test_draws_have_the_covariance_and_mean_variance_one() -> None:
    operator = _random_covariance(3, 2)
    noise = ColoredNoise(operator)
    t = torch.tensor(0.5)
    drawn = noise.draw(torch.zeros(200_000, 3, dtype=torch.float64), torch.Generator().manual_seed(0), t, t)
    expected = operator.normalised().apply(torch.eye(3, dtype=torch.float64))
    assert float(expected.trace()) == pytest.approx(3.0)
    torch.testing.assert_close(drawn.T.cov(), expected, rtol=0.0, atol=0.02)


def test_noise_of_an_item_does_not_depend_on_the_batch() -> None:
    # The published rule divides by the standard deviation of the batch, and so couples the items.
    noise = ColoredNoise(_random_covariance(3, 2), white=BrownianTree(torch.tensor([5, 6, 7])))
    alone = ColoredNoise(_random_covariance(3, 2), white=BrownianTree(torch.tensor([6])))
    t, t_next = torch.tensor(0.5), torch.tensor(0.4)
    three = noise.draw(torch.zeros(3, 3), None, t, t_next)
    torch.testing.assert_close(three[1:2], alone.draw(torch.zeros(1, 3), None, t, t_next))


def _field(length: int, exponent: float) -> tuple[GaussianTarget, Tensor]:
    """Stationary Gaussian series with a power law as spectrum, and its eigenvalues."""
    frequency = torch.arange(1, length // 2 + 2, dtype=torch.float64)
    operator = SpectralOperator(frequency**-exponent, (length,)).normalised()
    return GaussianTarget.full(operator.apply(torch.eye(length, dtype=torch.float64))), operator.eigenvalues


def test_measured_progress_is_that_of_the_exact_flow() -> None:
    length, steps = 32, 200
    target, power = _field(length, 1.0)
    path = RectifiedFlow()
    grid = uniform_grid(steps)
    start = torch.randn(16, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = measure_progress(ExactDenoiser(target, path), grid, start)
    tau = 1.0 - grid[:-1, None]
    total = tau**2 * power + (1.0 - tau) ** 2
    # Every coefficient moves by the same factor, so neither the draw nor the number of items matters.
    ratio = (1.0 + (1.0 - tau) * (tau * power - (1.0 - tau)) / total) * torch.sqrt(total / power)
    progress = (1.0 - (ratio - 1.0) ** 2).clamp(0.0, 1.0)
    low, high = progress.amin(0), progress.amax(0)
    torch.testing.assert_close(measured.progress, (progress - low) / (high - low), rtol=0.0, atol=0.01)
    assert measured.progress.shape == (steps, length // 2 + 1)


def test_covariance_of_progress_leaves_out_what_is_finished() -> None:
    target, _ = _field(32, 1.0)
    start = torch.randn(16, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    progress = measure_progress(ExactDenoiser(target, RectifiedFlow()), uniform_grid(50), start)
    t = float(progress.times[20])
    covariance = progress.covariance(divider=1.73, power=0.75)(torch.tensor(t))
    torch.testing.assert_close(covariance.eigenvalues, (1.0 - progress.progress[20] / 1.73) ** 1.5)
    # Low frequencies form first.
    assert bool((covariance.eigenvalues.diff() > 0.0).all())
    between = progress.at(0.5 * float(progress.times[3] + progress.times[4]))
    torch.testing.assert_close(between, 0.5 * (progress.progress[3] + progress.progress[4]))
    with pytest.raises(ValueError, match="divider"):
        progress.covariance(divider=0.5)
    with pytest.raises(ValueError, match="floor"):
        progress.covariance(floor=0.0)


def test_progress_is_held_beyond_its_times_and_its_rest_is_bounded() -> None:
    times = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    values = torch.tensor([[0.0, 0.2], [0.5, 0.6], [1.0, 1.0]], dtype=torch.float64)
    progress = FrequencyProgress(times, values, torch.tensor([0, 1]), (2,))
    assert progress.at(1.0).tolist() == [0.0, 0.2]
    assert progress.at(0.0).tolist() == [1.0, 1.0]
    assert progress.covariance(floor=0.01)(torch.tensor(0.0)).eigenvalues.tolist() == [0.01, 0.01]


def test_a_covariance_over_time_is_asked_for_at_the_noisiest_element() -> None:
    asked: list[float] = []

    def covariance(t: Tensor) -> DiagonalOperator:
        asked.append(float(t))
        return DiagonalOperator(torch.ones(3))

    ColoredNoise(covariance).operator(torch.tensor([0.2, 0.8, 0.5]))
    assert asked == pytest.approx([0.8])


def test_measuring_of_progress_refuses_what_it_cannot_measure() -> None:
    denoiser, start = ExactDenoiser(GaussianTarget.isotropic(4), RectifiedFlow()), torch.zeros(3, 4)
    for grid in (uniform_grid(1), uniform_grid(4).flip(0), uniform_grid(4)[:, None]):
        with pytest.raises(ValueError, match="grid must be a vector of at least three decreasing times"):
            measure_progress(denoiser, grid, start)
    for n_axes in (0, 2):
        with pytest.raises(ValueError, match="n_axes"):
            measure_progress(denoiser, uniform_grid(4), start, n_axes=n_axes)
    with pytest.raises(ValueError, match="n_bins"):
        measure_progress(denoiser, uniform_grid(4), start, n_bins=0)
    with pytest.raises(TypeError, match="covariance must be a LinearOperator or a function"):
        ColoredNoise("pink")  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_progress_of_short_and_odd_series_has_a_bin_a_frequency(length: int) -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(length), RectifiedFlow())
    start = torch.randn(4, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    progress = measure_progress(denoiser, uniform_grid(6), start)
    assert progress.bins.tolist() == list(range(length // 2 + 1))
    operator = progress.covariance()(torch.tensor(0.3)).normalised()
    matrix = operator.apply(torch.eye(length, dtype=torch.float64))
    assert float(matrix.trace()) == pytest.approx(length)


def test_progress_of_images_is_radial() -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(6 * 8), RectifiedFlow())

    class Images:
        path = denoiser.path

        def __call__(self, state: State, condition: object = None, cache: object = None) -> object:
            flat = State(x=state.x.reshape(-1, 48), t=state.t)
            prediction = denoiser(flat)
            return type(prediction)(prediction.value.reshape(state.x.shape), prediction.kind)

    start = torch.randn(4, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    progress = measure_progress(Images(), uniform_grid(10), start.reshape(12, 6, 8), n_axes=2, n_bins=4)
    assert progress.progress.shape == (10, 4)
    assert progress.bins.shape == (6, 5)
    assert progress.covariance()(torch.tensor(0.5)).apply(start).shape == start.shape
