"""Finite data sets, autoregressive series, structured covariances and products, against brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Cosine, DPMSolverMultistep, Heun, VariancePreserving
from sciffusion.continuous.divergence import divergence
from sciffusion.exact import (
    AutoregressiveTarget,
    EmpiricalTarget,
    ExactDenoiser,
    ExactTarget,
    GaussianMixtureTarget,
    GaussianTarget,
    ProductTarget,
)
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid

PATH = VariancePreserving()


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ATOMS = EmpiricalTarget(_normal(40, 3), torch.linspace(1.0, 2.0, 40))
SERIES = AutoregressiveTarget(torch.tensor([0.5, -0.3, 0.2]), 0.7, 3, mean=1.0)
PRODUCT = ProductTarget(
    [
        GaussianTarget.full(torch.tensor([[1.0, 0.5], [0.5, 0.7]])),
        GaussianMixtureTarget.isotropic([0.3, 0.7], torch.tensor([[-1.0], [1.0]]), [0.3, 0.5]),
    ]
)
TARGETS: dict[str, ExactTarget] = {"atoms": ATOMS, "series": SERIES, "product": PRODUCT}


@pytest.mark.parametrize("levels", ["item", "coordinate"])
@pytest.mark.parametrize("name", TARGETS)
def test_score_divergence_and_covariance_are_derivatives_of_the_log_density(name: str, levels: str) -> None:
    denoiser, x = ExactDenoiser(TARGETS[name], PATH), _normal(5, 3)
    t = torch.tensor([0.1, 0.2, 0.4, 0.7, 0.95], dtype=torch.float64)
    times = t if levels == "item" else t[:, None] * torch.tensor([1.0, 0.8, 0.6])
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser.log_density(leaf, times).sum(), leaf)
    torch.testing.assert_close(denoiser.score(x, times), gradient, rtol=1e-8, atol=1e-9)
    _, trace = divergence(lambda v: denoiser.score(v, times), x)
    torch.testing.assert_close(denoiser.score_divergence(x, times), trace, rtol=1e-7, atol=1e-7)
    c = PATH.coefficients(times)
    rows = [torch.autograd.grad(denoiser.predict(leaf, times).value[:, i].sum(), leaf)[0] for i in range(3)]
    factor = (c.sigma**2 / c.alpha).expand(5, 3) if times.ndim == 2 else (c.sigma**2 / c.alpha)[:, None]
    covariance = denoiser.posterior(x, times).covariance
    assert covariance is not None
    torch.testing.assert_close(covariance, torch.stack(rows, 1) * factor[:, None], rtol=1e-7, atol=1e-9)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(denoiser.posterior_variance(x, times), variance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TARGETS)
def test_optimal_loss_is_the_error_of_the_exact_mean_on_its_own_draws(name: str) -> None:
    target, generator = TARGETS[name], torch.Generator().manual_seed(0)
    x0 = target.draw(20_000, generator)
    x = PATH.marginal(x0, 0.2, torch.randn(x0.shape, generator=generator, dtype=x0.dtype))
    denoiser = ExactDenoiser(target, PATH)
    error = (denoiser.predict(x, 0.2).value - x0).square().mean(-1)
    optimal = float(denoiser.optimal_loss(0.2, generator, 20_000))
    # Both are averages of 20,000 values: four standard errors of their difference at most.
    assert float(error.mean()) == pytest.approx(optimal, abs=4.0 * 2**0.5 * float(error.std()) / 20_000**0.5)


def test_blocks_do_not_change_what_atoms_give() -> None:
    small = EmpiricalTarget(ATOMS.atoms, ATOMS.weights, block=50)
    x, whole = _normal(7, 3), ExactDenoiser(ATOMS, PATH)
    part = ExactDenoiser(small, PATH)
    for name in ("score", "score_divergence", "log_density", "posterior_variance"):
        torch.testing.assert_close(getattr(part, name)(x, 0.3), getattr(whole, name)(x, 0.3))


def test_atoms_are_a_mixture_of_points() -> None:
    points = [GaussianTarget.isotropic(3, 0.0, atom) for atom in ATOMS.atoms]
    mixture = ExactDenoiser(GaussianMixtureTarget(ATOMS.weights, points), PATH)
    atoms, x = ExactDenoiser(ATOMS, PATH), _normal(6, 3)
    torch.testing.assert_close(atoms.log_density(x, 0.3), mixture.log_density(x, 0.3))
    torch.testing.assert_close(atoms.predict(x, 0.3).value, mixture.predict(x, 0.3).value)
    torch.testing.assert_close(atoms.posterior(x, 0.3).covariance, mixture.posterior(x, 0.3).covariance)


def test_without_noise_a_value_belongs_to_its_nearest_atom() -> None:
    x = ATOMS.atoms[[3, 17]] + 1e-3
    assert torch.equal(ExactDenoiser(ATOMS, PATH).predict(x, 0.0).value, ATOMS.atoms[[3, 17]])
    with pytest.raises(ValueError, match="no density without noise"):
        ExactDenoiser(ATOMS, PATH).log_density(x, 0.0)


def test_sampling_with_the_exact_denoiser_of_a_data_set_returns_its_atoms() -> None:
    grid = log_snr_grid(PATH, 60)
    start = State(x=_normal(20, 3))
    result = sample(ExactDenoiser(ATOMS, PATH), DPMSolverMultistep(2), grid, state=start).samples
    assert float(torch.cdist(result, ATOMS.atoms).min(1).values.max()) < 1e-6


def test_flow_of_atoms_on_the_line_keeps_quantiles() -> None:
    target = EmpiricalTarget(torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([0.2, 0.5, 0.3]))
    denoiser, x = ExactDenoiser(target, Cosine()), _normal(9, 1)
    numeric = sample(denoiser, Heun(), uniform_grid(300, 0.9, 0.4), state=State(x=x)).samples
    torch.testing.assert_close(numeric, denoiser.flow_map(x, 0.9, 0.4), rtol=1e-4, atol=1e-4)
    final = denoiser.flow_map(x, 0.9, 0.0)
    assert float((final - target.atoms[:, 0]).abs().min(1).values.max()) < 1e-9
    with pytest.raises(ValueError, match="one dimension only"):
        ExactDenoiser(ATOMS, PATH).flow_map(_normal(2, 3), 0.9, 0.1)


def test_draws_of_atoms_have_their_weights() -> None:
    target = EmpiricalTarget(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1.0, 2.0, 5.0]))
    draws = target.draw(20_000, torch.Generator().manual_seed(0))[:, 0]
    counts = torch.stack([(draws == k).sum() for k in range(3)]).to(torch.float64)
    expected = 20_000 * target.weights
    # Chi-square with two degrees of freedom: 18 is passed by chance once in 8,000 runs.
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.0


def test_yule_walker_covariances_are_those_of_the_simulated_series() -> None:
    target = AutoregressiveTarget(torch.tensor([0.6, -0.4]), 0.5, 4, mean=2.0)
    noise = 0.5 * _normal(60_000, 60, seed=1)
    steps = [torch.zeros(60_000, dtype=torch.float64)] * 2
    for k in range(60):
        steps.append(0.6 * steps[-1] - 0.4 * steps[-2] + noise[:, k])
    simulated = torch.stack(steps[-4:], -1)
    # A covariance of 60,000 draws of variance about .36 has a standard error below .0021.
    torch.testing.assert_close(torch.cov(simulated.mT), target.covariance, rtol=0.0, atol=4.5 * 0.0021)
    torch.testing.assert_close(target.mean, torch.full((4,), 2.0, dtype=torch.float64))


def test_first_order_series_is_the_known_one() -> None:
    innovation = 1.5 * math.sqrt(1.0 - 0.36)
    target = AutoregressiveTarget(torch.tensor([-0.6]), innovation, 5)
    torch.testing.assert_close(target.covariance, GaussianTarget.autoregressive(5, -0.6, 1.5).covariance)


def test_forecast_is_the_conditional_law_of_the_future() -> None:
    target = AutoregressiveTarget(torch.tensor([0.5, -0.3, 0.2]), 0.7, 9, mean=-1.0)
    values = _normal(5, seed=2)
    known = torch.arange(9) < 5
    conditional, forecast = target.conditional(known, values), target.forecast(values, 4)
    torch.testing.assert_close(forecast.mean, conditional.mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(forecast.covariance, conditional.covariance, rtol=1e-8, atol=1e-10)
    many = target.forecast_mean(torch.stack([values, values + 1.0]), 4)
    torch.testing.assert_close(many[0], forecast.mean)


def test_low_rank_and_spectral_laws_are_those_of_their_matrices() -> None:
    factor, mean, x = _normal(6, 2), _normal(6, seed=3), _normal(4, 6, seed=4)
    power = torch.tensor([0.5, 2.0, 1.0, 0.2], dtype=torch.float64)
    lag = torch.arange(6, dtype=torch.float64)
    wave = torch.cos(2.0 * math.pi * (lag[:, None] - lag)[..., None] * torch.arange(4) / 6)
    circulant = (wave * power * torch.tensor([1.0, 2.0, 2.0, 1.0])).sum(-1) / 6
    pairs = [
        (GaussianTarget.low_rank(factor, 0.4, mean), factor @ factor.mT + 0.16 * torch.eye(6)),
        (GaussianTarget.spectral(power, mean=mean), circulant),
    ]
    for ours, covariance in pairs:
        torch.testing.assert_close(ours.covariance, covariance)
        a, b = ExactDenoiser(ours, PATH), ExactDenoiser(GaussianTarget.full(covariance, mean), PATH)
        for name in ("score", "score_divergence", "log_density", "posterior_variance"):
            torch.testing.assert_close(getattr(a, name)(x, 0.2), getattr(b, name)(x, 0.2))
        torch.testing.assert_close(a.flow_map(x, 0.9, 0.1), b.flow_map(x, 0.9, 0.1))
        torch.testing.assert_close(a.optimal_loss(0.3), b.optimal_loss(0.3))
        torch.testing.assert_close(ours.variances.sort().values, torch.linalg.eigvalsh(covariance))
        torch.testing.assert_close(torch.cov(ours.draw(40_000, torch.Generator().manual_seed(0)).mT),
                                   covariance, rtol=0.0, atol=0.15)  # fmt: skip


def test_large_structured_fields_never_become_matrices() -> None:
    # A dense covariance of these would take 2,000 GB.
    sites = 1 << 19
    frequency = torch.arange(sites // 2 + 1, dtype=torch.float64)
    field = GaussianTarget.spectral(1.0 / (1.0 + frequency))
    thin = GaussianTarget.low_rank(_normal(sites, 2), 0.1)
    for target in (field, thin):
        denoiser = ExactDenoiser(target, PATH)
        x = target.draw(1, torch.Generator().manual_seed(0))
        assert denoiser.predict(x, 0.5).value.shape == (1, sites)
        assert bool(denoiser.log_density(x, 0.5).isfinite())
        assert bool(denoiser.score_divergence(x, 0.5) < 0.0)


def test_flow_of_components_that_differ_in_one_coordinate() -> None:
    means = torch.tensor([[-1.0, 0.5, 2.0], [1.5, 0.5, 2.0]], dtype=torch.float64)
    stds = torch.tensor([[0.4, 0.3, 1.0], [0.6, 0.3, 1.0]], dtype=torch.float64)
    denoiser = ExactDenoiser(GaussianMixtureTarget.from_stds([0.3, 0.7], means, stds), Cosine())
    x = _normal(8, 3)
    numeric = sample(denoiser, Heun(), uniform_grid(400, 0.9, 0.1), state=State(x=x)).samples
    torch.testing.assert_close(numeric, denoiser.flow_map(x, 0.9, 0.1), rtol=1e-3, atol=1e-3)
    means[1, 2] = 1.0
    two = GaussianMixtureTarget.from_stds([0.3, 0.7], means, stds)
    with pytest.raises(ValueError, match="differ in 2"):
        ExactDenoiser(two, Cosine()).flow_map(x, 0.9, 0.1)


def test_flow_of_a_product_is_that_of_its_factors() -> None:
    denoiser, x = ExactDenoiser(PRODUCT, PATH), _normal(5, 3)
    moved = denoiser.flow_map(x, 0.9, 0.1)
    for factor, block in zip(PRODUCT.factors, (slice(0, 2), slice(2, 3)), strict=True):
        torch.testing.assert_close(
            ExactDenoiser(factor, PATH).flow_map(x[:, block], 0.9, 0.1), moved[:, block]
        )


def test_bad_targets_are_named() -> None:
    with pytest.raises(ValueError, match=r"atoms must have shape"):
        EmpiricalTarget(torch.zeros(3))
    with pytest.raises(ValueError, match="weights must be positive"):
        EmpiricalTarget(torch.zeros(2, 1), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="stationary series"):
        AutoregressiveTarget(torch.tensor([0.9, 0.2]), 1.0, 5)
    with pytest.raises(ValueError, match="innovation_std"):
        AutoregressiveTarget(torch.tensor([0.9]), 0.0, 5)
    with pytest.raises(ValueError, match="at least 3 values"):
        SERIES.forecast(torch.zeros(2), 1)
    with pytest.raises(ValueError, match="fewer columns than rows"):
        GaussianTarget.low_rank(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="dim // 2"):
        GaussianTarget.spectral(torch.ones(3), 7)
    with pytest.raises(ValueError, match="at least one target"):
        ProductTarget([])
