"""Posterior guidance against exact posteriors of Gaussian data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    DPMSolverMultistep,
    NetworkDenoiser,
    RectifiedFlow,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
    align,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.guidance import (
    GuidedDenoiser,
    Likelihood,
    PosteriorGuidance,
    RewardGuidance,
    log_likelihood,
)

PATH = VariancePreserving()
DATA = GaussianTarget.autoregressive(4, 0.7, 1.3)
DENOISER = ExactDenoiser(DATA, PATH)
OPERATOR = torch.tensor([[1.0, 0.5, 0.0, -0.3], [0.0, 0.0, 2.0, 1.0]], dtype=torch.float64)
READINGS = torch.tensor([0.7, -1.9], dtype=torch.float64)
NOISE = torch.tensor([0.4, 1.5], dtype=torch.float64)
INSTRUMENT = Likelihood(OPERATOR, READINGS, NOISE)


def _state(t: float | Tensor = 0.4, count: int = 5, dtype: torch.dtype = torch.float64) -> State:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64).to(dtype)
    return State(x=x, t=torch.as_tensor(t, dtype=torch.float64))


def _guided(state: State, guidance: Any, denoiser: Any = DENOISER) -> Tensor:
    return GuidedDenoiser(denoiser, guidance)(state).value


@pytest.mark.parametrize("path", [PATH, VarianceExploding(), RectifiedFlow(), Trigonometric()])
@pytest.mark.parametrize("t", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("method", ["tmpd", "mmps"])
def test_moment_matching_is_exact_for_gaussian_data(path: Any, t: float, method: Any):
    exact = ExactDenoiser(DATA.observed(OPERATOR, READINGS, NOISE), path)
    state = _state(t)
    guided = _guided(state, PosteriorGuidance(INSTRUMENT, method), ExactDenoiser(DATA, path))
    torch.testing.assert_close(guided, exact(state).value, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", [RectifiedFlow(), Trigonometric()])
def test_pure_noise_is_guided_to_the_posterior_mean(path: Any):
    exact = DATA.observed(OPERATOR, READINGS, NOISE).mean
    guided = _guided(_state(1.0), PosteriorGuidance(INSTRUMENT), ExactDenoiser(DATA, path))
    # The estimate is made where the signal is 1e-4 of the noise.
    torch.testing.assert_close(guided, exact.expand(5, 4), rtol=0.0, atol=2e-3)


def test_elements_with_times_of_their_own_are_guided_exactly():
    t = torch.tensor([0.1, 0.9, 0.4, 0.0], dtype=torch.float64).expand(5, 4)
    state = _state(t)
    exact = ExactDenoiser(DATA.observed(OPERATOR, READINGS, NOISE), PATH)
    guided = _guided(state, PosteriorGuidance(INSTRUMENT))
    torch.testing.assert_close(guided, exact(state).value, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(guided[:, 3], state.x[:, 3])


def test_a_list_of_instruments_is_the_stacked_operator():
    first = Likelihood(lambda x: x @ OPERATOR[0], READINGS[0], NOISE[0])
    second = Likelihood(OPERATOR[1:], READINGS[1:], NOISE[1:])
    for method in ("dps", "pigdm", "tmpd", "mmps"):
        joint = _guided(_state(), PosteriorGuidance(INSTRUMENT, method))
        torch.testing.assert_close(_guided(_state(), PosteriorGuidance([first, second], method)), joint)


def test_observations_may_differ_between_items():
    each = READINGS + torch.arange(5, dtype=torch.float64)[:, None]
    guided = _guided(_state(), PosteriorGuidance(Likelihood(OPERATOR, each, NOISE)))
    for row, readings in enumerate(each):
        alone = _guided(_state(), PosteriorGuidance(Likelihood(OPERATOR, readings, NOISE)))
        torch.testing.assert_close(guided[row], alone[row])


def test_conjugate_gradients_with_fewer_iterations_than_readings_come_closer_with_each():
    exact = _guided(_state(0.6), PosteriorGuidance(Likelihood(torch.eye(4), 2.0 * torch.ones(4), 0.3)))
    many = Likelihood(torch.eye(4), 2.0 * torch.ones(4), 0.3)
    gaps = [
        float((_guided(_state(0.6), PosteriorGuidance(many, "mmps", iterations=n)) - exact).norm())
        for n in (1, 2, 4)
    ]
    assert gaps[0] > gaps[1] > 1e6 * gaps[2]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_conjugate_gradients_end_after_as_many_iterations_as_readings_of_unlike_noise(
    dtype: torch.dtype, error: float
):
    # Rounding alone would keep them from it: the whitened matrix has eigenvalues from 1 to 1e6.
    rows = torch.cat([OPERATOR, torch.tensor([[0.3, -1.0, 0.4, 0.2], [1.0, 1.0, 1.0, -2.0]]).double()])
    readings = torch.tensor([0.7, -1.9, 2.5, 0.1], dtype=torch.float64)
    noise = torch.tensor([1e-3, 0.1, 5.0, 0.02], dtype=torch.float64)
    guidance = PosteriorGuidance(Likelihood(rows, readings, noise), "mmps", iterations=4)
    expected = ExactDenoiser(DATA.observed(rows, readings, noise), PATH)(_state()).value
    guided = _guided(_state(dtype=dtype), guidance).double()
    torch.testing.assert_close(guided, expected, rtol=0.0, atol=error)


def test_dps_is_the_gradient_of_the_likelihood_at_the_clean_estimate():
    state, c = _state(), PATH.coefficients(0.4)
    x = state.x.clone().requires_grad_(True)
    estimate = DENOISER.predict(x, 0.4).value
    log_likelihood(INSTRUMENT, estimate).sum().backward()
    expected = estimate.detach() + c.sigma**2 / c.alpha * x.grad
    torch.testing.assert_close(_guided(state, PosteriorGuidance(INSTRUMENT, "dps")), expected)


def test_the_zeta_form_is_the_gradient_of_the_length_of_the_residual():
    state, c = _state(), PATH.coefficients(0.4)
    x = state.x.clone().requires_grad_(True)
    estimate = DENOISER.predict(x, 0.4).value
    length = ((READINGS - estimate @ OPERATOR.T) / NOISE).norm(dim=-1)
    (-0.7 * length.sum()).backward()
    expected = estimate.detach() + c.sigma**2 / c.alpha * x.grad
    torch.testing.assert_close(_guided(state, PosteriorGuidance(INSTRUMENT, "dps", zeta=0.7)), expected)


def test_pigdm_is_exact_for_white_data_of_the_declared_width():
    for path in (PATH, RectifiedFlow(), VarianceExploding()):
        data = GaussianTarget.isotropic(4, std=1.7)
        exact = ExactDenoiser(data.observed(OPERATOR, READINGS, NOISE), path)
        guidance = PosteriorGuidance(INSTRUMENT, "pigdm", data_std=1.7)
        guided = _guided(_state(), guidance, ExactDenoiser(data, path))
        torch.testing.assert_close(guided, exact(_state()).value)
    c = PATH.coefficients(0.4)
    assert float(c.sigma**2) == pytest.approx(float(1.0 - c.alpha**2))  # r_t^2 of the paper


def test_row_sums_are_exact_where_the_covariance_is_diagonal():
    data = GaussianTarget.diagonal(torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64))
    denoiser, instrument = ExactDenoiser(data, PATH), Likelihood(torch.eye(4), torch.ones(4), 0.5)
    full = _guided(_state(), PosteriorGuidance(instrument), denoiser)
    short = _guided(_state(), PosteriorGuidance(instrument, covariance="row_sums"), denoiser)
    torch.testing.assert_close(short, full)
    correlated = _guided(_state(), PosteriorGuidance(instrument, covariance="row_sums"))
    assert not torch.allclose(correlated, _guided(_state(), PosteriorGuidance(instrument)), atol=1e-3)


def test_a_nonlinear_operator_is_linearised_at_the_clean_estimate():
    state = _state()
    estimate = DENOISER(state).value

    def square(x: Tensor) -> Tensor:
        return (x**2)[:, :2]

    guided = _guided(state, PosteriorGuidance(Likelihood(square, torch.ones(2), 0.5)))
    for row in range(5):
        slope = torch.diag(2.0 * estimate[row])[:2]
        shifted = 1.0 - estimate[row, :2] ** 2 + slope @ estimate[row]
        exact = ExactDenoiser(DATA.observed(slope, shifted, 0.5), PATH)
        torch.testing.assert_close(guided[row], exact(state).value[row])


@pytest.mark.parametrize("method", ["tmpd", "mmps", "pigdm"])
def test_a_run_samples_the_posterior_of_gaussian_data(method: Any):
    data = GaussianTarget.isotropic(4) if method == "pigdm" else DATA
    generator = torch.Generator().manual_seed(1)
    result = sample(
        ExactDenoiser(data, PATH), DPMSolverMultistep(3), uniform_grid(60), shape=(4000, 4),
        guidance=PosteriorGuidance(INSTRUMENT, method), generator=generator, dtype=torch.float64,
    )  # fmt: skip
    assert result.nfe == 60
    exact = data.observed(OPERATOR, READINGS, NOISE)
    torch.testing.assert_close(result.samples.mean(0), exact.mean, rtol=0.0, atol=0.06)
    torch.testing.assert_close(result.samples.T.cov(), exact.covariance, rtol=0.0, atol=0.1)


def test_an_imperfect_network_gives_finite_predictions():
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.linspace(-1.0, 1.0, value.numel()).reshape(value.shape))
    denoiser = NetworkDenoiser(lambda x, t, condition: network(x), PATH, "eps")
    for t in (0.0, 0.01, 0.5, 1.0):
        for method in ("dps", "pigdm", "tmpd", "mmps"):
            guided = _guided(_state(t, dtype=torch.float32), PosteriorGuidance(INSTRUMENT, method), denoiser)
            assert guided.dtype == torch.float32
            assert bool(guided.isfinite().all())


def test_guidances_that_differentiate_can_follow_each_other():
    """The outer one differentiates the clean estimate; the change by the inner one is held fixed."""
    slope = torch.tensor([1.0, 0.0, -2.0, 0.0], dtype=torch.float64)
    reward = RewardGuidance(lambda x: x @ slope)
    state, c = _state(), PATH.coefficients(0.4)
    inner = _guided(state, reward)
    covariance = DENOISER.posterior(state.x, 0.4).covariance
    spread = OPERATOR @ covariance @ OPERATOR.T + torch.diag(NOISE**2)
    weights = torch.linalg.solve(spread, (READINGS - inner @ OPERATOR.T)[..., None])
    expected = inner + (covariance @ OPERATOR.T @ weights)[..., 0]
    torch.testing.assert_close(_guided(state, [reward, PosteriorGuidance(INSTRUMENT)]), expected)
    torch.testing.assert_close(inner, DENOISER(state).value + covariance @ slope)
    assert align(c.alpha, state.x).ndim == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Likelihood(OPERATOR, READINGS, 0.0), "noise_std must be positive"),
        (
            lambda: Likelihood(OPERATOR, READINGS, torch.tensor([0.1, torch.inf])),
            "positive and finite, got inf",
        ),
        (lambda: PosteriorGuidance(INSTRUMENT, "dps", zeta=float("inf")), "zeta is a positive and finite"),
        (lambda: Likelihood(OPERATOR, READINGS * torch.nan, 1.0), "observation must be finite"),
        (lambda: Likelihood(OPERATOR[0], 1.0, 1.0), r"must have shape \(m, size\)"),
        (lambda: PosteriorGuidance(INSTRUMENT, "dpss"), "method must be one of"),
        (lambda: PosteriorGuidance(INSTRUMENT, "tmpd", zeta=1.0), "zeta is a positive and finite strength"),
        (lambda: PosteriorGuidance(INSTRUMENT, "dps", covariance="row_sums"), "belongs to method 'tmpd'"),
        (lambda: PosteriorGuidance(INSTRUMENT, data_std=0.0), "must be positive"),
        (lambda: PosteriorGuidance([]), "at least one Likelihood"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_readings_are_refused():
    with pytest.raises(TypeError, match="must hold Likelihood objects, got int"):
        PosteriorGuidance([3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="must hold Likelihood objects, got int"):
        PosteriorGuidance(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="operator must return a Tensor, got ndarray"):
        _guided(_state(), PosteriorGuidance(Likelihood(lambda x: x.detach().numpy(), 1.0, 1.0)))
    with pytest.raises(TypeError, match="operator must be a matrix or a callable"):
        Likelihood("A", 1.0, 1.0)  # type: ignore[arg-type]
    wrong = Likelihood(OPERATOR, torch.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"observation must be a number or have shape \(2,\)"):
        _guided(_state(), PosteriorGuidance(wrong))
    missing = Likelihood(lambda x: torch.where(x[:, 0] > x[1, 0] - 1e-9, x[:, 0], torch.nan), 1.0, 1.0)
    with pytest.raises(ValueError, match="operator returned NaN for"):
        _guided(_state(), PosteriorGuidance(missing))
    with pytest.raises(ValueError, match="items have 4 values"):
        _guided(_state(), PosteriorGuidance(Likelihood(torch.ones(1, 3), 1.0, 1.0)))
    blind = NetworkDenoiser(lambda x, t, condition: x.detach(), PATH)
    for method in ("dps", "tmpd", "mmps"):
        with pytest.raises(ValueError, match="clean estimate carries no gradient"):
            _guided(_state(), PosteriorGuidance(INSTRUMENT, method), blind)
    flat = Likelihood(lambda x: x.detach()[:, 0], 1.0, 1.0)
    with pytest.raises(ValueError, match="carries no gradient"):
        _guided(_state(), PosteriorGuidance(flat))
