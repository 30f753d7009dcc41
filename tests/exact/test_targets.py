"""Exact targets against autograd, quadrature, draws and each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Cosine, Heun, Path, RectifiedFlow, VariancePreserving
from sciffusion.continuous.divergence import divergence
from sciffusion.exact import ExactDenoiser, ExactTarget, GaussianMixtureTarget, GaussianTarget
from sciffusion.exact.line import LineMixture
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.testing import assert_sampler_matches


def _correlated(seed: int, dim: int = 3) -> GaussianTarget:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    mean = torch.randn(dim, generator=generator, dtype=torch.float64)
    return GaussianTarget.full(factor @ factor.mT + 0.1 * torch.eye(dim, dtype=torch.float64), mean)


TARGETS: dict[str, ExactTarget] = {
    "isotropic": GaussianTarget.isotropic(3, std=0.7, mean=0.4),
    "diagonal": GaussianTarget.diagonal(torch.tensor([0.2, 1.0, 3.0]), torch.tensor([1.0, 0.0, -2.0])),
    "full": _correlated(0),
    "autoregressive": GaussianTarget.autoregressive(3, -0.6, std=1.5),
    "mixture": GaussianMixtureTarget(torch.tensor([1.0, 3.0]), [_correlated(1), _correlated(2)]),
    "round mixture": GaussianMixtureTarget.isotropic([1.0, 3.0], torch.eye(3)[:2] * 2.0, [0.5, 0.8]),
    "mixed mixture": GaussianMixtureTarget(
        torch.tensor([1.0, 3.0]),
        [GaussianTarget.isotropic(3, 0.5), GaussianTarget.diagonal(torch.tensor([0.2, 1.0, 0.5]))],
    ),
    "low rank": GaussianTarget.low_rank(torch.tensor([[1.0], [0.5], [-1.0]]), 0.3, torch.ones(3)),
    "spectral": GaussianTarget.spectral(torch.tensor([0.8, 0.1]), 3, torch.tensor([1.0, 0.0, -1.0])),
}
GAUSSIANS = [name for name, target in TARGETS.items() if isinstance(target, GaussianTarget)]
PATHS: list[Path] = [VariancePreserving(), RectifiedFlow()]


def _points(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x, torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", TARGETS)
def test_score_is_the_gradient_of_the_log_density(name: str, path: Path) -> None:
    denoiser = ExactDenoiser(TARGETS[name], path)
    x, t = _points()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x)
    torch.testing.assert_close(denoiser.score(x, t).detach(), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", TARGETS)
def test_covariance_is_the_scaled_jacobian_of_the_mean(name: str, path: Path) -> None:
    denoiser = ExactDenoiser(TARGETS[name], path)
    x, t = _points()
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda v, s=s: denoiser.predict(v, s).value, row)
            for row, s in zip(x, t, strict=True)
        ]
    )
    c = path.coefficients(t)
    expected = (c.sigma**2 / c.alpha)[:, None, None] * jacobian
    torch.testing.assert_close(denoiser.posterior(x, t).covariance, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("levels", ["scalar", "item", "coordinate"])
@pytest.mark.parametrize("name", TARGETS)
def test_score_divergence_is_the_trace_of_the_jacobian_of_the_score(name: str, levels: str) -> None:
    denoiser = ExactDenoiser(TARGETS[name], VariancePreserving())
    x, t = _points()
    times = {"scalar": t[2], "item": t, "coordinate": t[:, None] * torch.tensor([1.0, 0.8, 0.5])}[levels]
    score, exact = divergence(lambda v: denoiser.score(v, times), x)
    torch.testing.assert_close(denoiser.score_divergence(x, times), exact, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(denoiser.score(x, times), score)


@pytest.mark.parametrize("levels", ["item", "coordinate"])
@pytest.mark.parametrize("name", TARGETS)
def test_posterior_variance_and_trace_are_those_of_the_covariance(name: str, levels: str) -> None:
    denoiser = ExactDenoiser(TARGETS[name], VariancePreserving())
    x, t = _points()
    times = t if levels == "item" else t[:, None] * torch.tensor([1.0, 0.8, 0.5])
    covariance = denoiser.posterior(x, times).covariance
    assert covariance is not None
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(denoiser.posterior_variance(x, times), diagonal, rtol=1e-9, atol=1e-11)
    trace = TARGETS[name].posterior_trace(*denoiser._noisy(x, times))
    torch.testing.assert_close(trace, diagonal.sum(-1), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", TARGETS)
def test_draws_have_the_density_of_the_target(name: str) -> None:
    # E grad log p = 0 and E x (grad log p)^T = -I hold for the law of the draws alone.
    denoiser = ExactDenoiser(TARGETS[name], VariancePreserving())
    x = denoiser.draw_marginal(40_000, 0.1, torch.Generator().manual_seed(0))
    score = denoiser.score(x, 0.1)
    product = x[:, :, None] * score[:, None, :]
    for values, expected in ((score, torch.zeros(3)), (product, -torch.eye(3))):
        z = (values.mean(0) - expected) / (values.std(0) / values.shape[0] ** 0.5)
        # Twelve standard normal values, correlated: 4.5 is passed by chance once in 10,000 runs.
        assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize("name", TARGETS)
def test_optimal_loss_is_the_mean_squared_error_of_the_exact_mean(name: str) -> None:
    path, target = VariancePreserving(), TARGETS[name]
    denoiser = ExactDenoiser(target, path)
    generator = torch.Generator().manual_seed(0)
    x0 = target.draw(40_000, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    for t in (0.1, 0.5):
        error = (denoiser.predict(path.marginal(x0, t, noise), t).value - x0).square().mean(-1)
        deviation = 4.0 * float(error.std()) / 200.0
        # The mixture's own average over 40,000 draws is as uncertain again.
        optimal = float(denoiser.optimal_loss(t, generator, 40_000))
        assert float(error.mean()) == pytest.approx(optimal, abs=1.5 * deviation)


def test_density_of_a_mixture_integrates_to_one() -> None:
    centres = torch.tensor([-1.5, 1.0], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.3, 0.7], centres, 0.3 * torch.ones_like(centres))
    x = torch.linspace(-9.0, 9.0, 4001, dtype=torch.float64)[:, None]
    for t in (0.01, 0.3, 1.0):
        density = ExactDenoiser(target, VariancePreserving()).log_density(x, t).exp()
        assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["isotropic", "diagonal", "full", "autoregressive", "line", "low rank", "spectral"]
)
def test_flow_map_is_the_limit_of_small_steps(name: str) -> None:
    line = torch.tensor([-1.0, 1.5], dtype=torch.float64)
    targets = TARGETS | {
        "line": GaussianMixtureTarget.from_stds([0.4, 0.6], line, 0.5 * torch.ones_like(line))
    }
    denoiser = ExactDenoiser(targets[name], Cosine())
    x = torch.randn(6, targets[name].dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    numeric = sample(denoiser, Heun(), uniform_grid(400, 0.9, 0.1), state=State(x=x)).samples
    torch.testing.assert_close(numeric, denoiser.flow_map(x, 0.9, 0.1), rtol=1e-3, atol=1e-3)
    back = denoiser.flow_map(denoiser.flow_map(x, 0.9, 0.1), 0.1, 0.9)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


def test_flow_of_a_mixture_is_accurate_far_in_the_tails() -> None:
    # With one component in two equal halves the flow is the Gaussian one, also at ten standard deviations.
    same = torch.tensor([0.5, 0.5], dtype=torch.float64)
    mixture = GaussianMixtureTarget.from_stds([0.5, 0.5], same, 0.7 * torch.ones_like(same))
    single = GaussianTarget.isotropic(1, std=0.7, mean=0.5)
    x = torch.tensor([[-10.0], [-3.0], [0.0], [6.0], [10.0]], dtype=torch.float64)
    path = VariancePreserving()
    ours = ExactDenoiser(mixture, path).flow_map(x, 1.0, 0.2)
    torch.testing.assert_close(ours, ExactDenoiser(single, path).flow_map(x, 1.0, 0.2), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "name", ["full", "autoregressive", "mixture", "round mixture", "low rank", "spectral"]
)
def test_equal_levels_for_every_coordinate_give_the_eigenbasis_result(name: str) -> None:
    denoiser = ExactDenoiser(TARGETS[name], VariancePreserving())
    x, t = _points()
    wide = t[:, None].expand(5, 3).contiguous()
    torch.testing.assert_close(denoiser.predict(x, wide).value, denoiser.predict(x, t).value)
    torch.testing.assert_close(denoiser.log_density(x, wide), denoiser.log_density(x, t))
    torch.testing.assert_close(denoiser.posterior(x, wide).covariance, denoiser.posterior(x, t).covariance)


def test_coordinates_without_noise_condition_the_others() -> None:
    target = _correlated(3, dim=4)
    known = torch.tensor([False, True, False, True])
    values = torch.tensor([0.7, -1.1], dtype=torch.float64)
    path = VariancePreserving()
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, known] = values
    t = (0.4 * (~known).to(torch.float64)).expand(6, 4)
    joint = ExactDenoiser(target, path).posterior(x, t)
    reduced = ExactDenoiser(target.conditional(known, values), path).posterior(x[:, ~known], 0.4)
    torch.testing.assert_close(joint.mean[:, ~known], reduced.mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(joint.mean[:, known], values.expand(6, 2), rtol=1e-9, atol=1e-10)
    assert joint.covariance is not None
    torch.testing.assert_close(joint.covariance[:, ~known][:, :, ~known], reduced.covariance)


def test_values_keep_their_type_and_scalar_times_their_meaning() -> None:
    denoiser = ExactDenoiser(TARGETS["mixture"], VariancePreserving())
    x, t = _points(torch.float32)
    assert denoiser.predict(x, t).value.dtype == torch.float32
    assert torch.equal(denoiser.predict(x[1], 0.2).value, denoiser.predict(x, 0.2).value[1])


def test_autoregressive_covariance_has_the_sign_of_the_coefficient() -> None:
    covariance = GaussianTarget.autoregressive(3, -0.5, std=2.0).covariance
    expected = torch.tensor([[4.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(covariance, expected)


def test_bad_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        GaussianTarget.full(torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="negative eigenvalues"):
        GaussianTarget.full(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="coefficient"):
        GaussianTarget.autoregressive(3, 1.0)
    with pytest.raises(ValueError, match="weights must be positive"):
        GaussianMixtureTarget(torch.tensor([1.0, 0.0]), [_correlated(0), _correlated(1)])
    with pytest.raises(ValueError, match="components are correlated"):
        ExactDenoiser(TARGETS["mixture"], Cosine()).flow_map(torch.zeros(1, 3), 0.9, 0.1)
    with pytest.raises(ValueError, match="last axis of length 3"):
        ExactDenoiser(TARGETS["full"], Cosine()).predict(torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="give a generator"):
        ExactDenoiser(TARGETS["mixture"], Cosine()).optimal_loss(0.5)


def test_draws_of_a_mixture_match_draws_with_other_seeds() -> None:
    draws = TARGETS["mixture"].draw(3000, torch.Generator().manual_seed(5))
    assert_sampler_matches(draws, TARGETS["mixture"], torch.Generator().manual_seed(6))


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_round_components_give_what_their_matrices_give(scale: float) -> None:
    # Small scales make the expanded squares cancel, where the plain form takes over.
    means = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3.0
    stds = scale * torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    path = RectifiedFlow()
    ours = ExactDenoiser(GaussianMixtureTarget.isotropic([1, 2, 3, 4], means, stds), path)
    eye = torch.eye(6, dtype=torch.float64)
    spread = [GaussianTarget(m, std**2 * eye[0].new_ones(6), eye) for m, std in zip(means, stds, strict=True)]
    theirs = ExactDenoiser(GaussianMixtureTarget(torch.tensor([1.0, 2.0, 3.0, 4.0]), spread), path)
    for t in (0.3 * scale, 0.5, 1.0):
        x = ours.draw_marginal(20, t, torch.Generator().manual_seed(1))
        for times in (t, torch.full((20,), t, dtype=torch.float64)):
            for name in ("score", "score_divergence", "log_density", "posterior_variance"):
                expected = getattr(theirs, name)(x, times)
                # Scores of 1e6 are differences of values around 3, of which seven digits are left.
                size = 1e-9 * float(expected.abs().max())
                torch.testing.assert_close(getattr(ours, name)(x, times), expected, rtol=0.0, atol=size)


def test_equal_standard_deviations_give_round_components() -> None:
    target = GaussianMixtureTarget.from_stds([0.5, 0.5], torch.eye(2), torch.tensor([[0.3, 0.3], [0.5, 0.5]]))
    assert target.laws.spaces.variances.shape == (2, 1)


def test_the_flow_on_the_line_keeps_its_digits_far_out_on_both_sides() -> None:
    line = LineMixture(*torch.tensor([[0.4, 0.6], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
    x = torch.tensor([-12.0, -9.0, -0.5, 0.5, 9.0, 12.0], dtype=torch.float64)
    old, new = (
        (torch.full_like(x, alpha), torch.full_like(x, sigma)) for alpha, sigma in ((0.6, 0.8), (0.9, 0.1))
    )
    exact = x * (0.82**0.5)
    torch.testing.assert_close(line.flow(x, old, new), exact, rtol=1e-9, atol=0.0)
