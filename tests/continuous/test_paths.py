"""Laws and closed forms of the Gaussian paths."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

import sciffusion.continuous as continuous
from sciffusion.continuous import (
    Cosine,
    MeanReverting,
    OrnsteinUhlenbeckVarianceExploding,
    Path,
    RectifiedFlow,
    ReflectedVarianceExploding,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
    align,
)
from sciffusion.testing import assert_path_laws

PATHS = [
    VariancePreserving(),
    VariancePreserving.from_alpha_min(0.01, sigma_min=0.01),
    VarianceExploding(),
    VarianceExploding(0.01, 20.0),
    Cosine(),
    Cosine(shift=0.008, alpha_min=0.0),
    Cosine(shift=0.15, alpha_min=0.01, sigma_min=0.01),
    RectifiedFlow(),
    RectifiedFlow(alpha_min=0.01, sigma_min=0.01),
    Trigonometric(),
    MeanReverting(),
    OrnsteinUhlenbeckVarianceExploding(),
]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_path_laws(path: Path) -> None:
    assert_path_laws(path)


def test_every_public_path_is_checked() -> None:
    public = [getattr(continuous, name) for name in continuous.__all__]
    paths = {item for item in public if inspect.isclass(item) and issubclass(item, Path) and item is not Path}
    # Reflected states are no sum of signal and noise: they have tests of their own.
    assert paths - {ReflectedVarianceExploding} == {type(path) for path in PATHS}


def test_linear_rate_closed_form() -> None:
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    c = VariancePreserving().coefficients(t)
    expected = torch.exp(-0.5 * (0.1 * t + 9.95 * t**2))
    torch.testing.assert_close(c.alpha, expected, rtol=1e-12, atol=0.0)
    rate = 0.1 + 19.9 * t[1:]
    torch.testing.assert_close(c.squared_diffusion[1:], rate, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(c.drift, -0.5 * (0.1 + 19.9 * t), rtol=1e-12, atol=0.0)


def test_rate_that_starts_at_zero_is_the_exponential_of_t_squared() -> None:
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    c = VariancePreserving.from_alpha_min(0.01, sigma_min=0.02).coefficients(t)
    torch.testing.assert_close(c.alpha, torch.exp(t**2 * math.log(0.01)), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(c.sigma, torch.sqrt(1.0 - c.alpha**2 + 0.02**2), rtol=1e-12, atol=0.0)


def test_cosine_path_holds_the_discrete_cosine_schedule() -> None:
    points, shift = 21, 0.005
    k = torch.arange(points, dtype=torch.float64)
    f = torch.cos((k / points + shift) / (1.0 + shift) * math.pi / 2.0) ** 2
    c = Cosine(shift=shift, alpha_min=0.0).coefficients(k / points)
    torch.testing.assert_close(c.alpha**2, f / f[0], rtol=1e-12, atol=0.0)
    torch.testing.assert_close(c.sigma**2, 1.0 - f / f[0], rtol=1e-10, atol=1e-15)


def test_no_cancellation_close_to_the_data() -> None:
    # sigma = pi t / 2 to leading order; computed as sqrt(1 - alpha^2) it would be wrong in the fifth digit.
    t = torch.tensor(1e-6, dtype=torch.float64)
    for path in (Cosine(alpha_min=0.0), Trigonometric()):
        sigma = float(path.coefficients(t).sigma)
        assert sigma == pytest.approx(math.pi / 2.0 * 1e-6, rel=1e-10)


def test_python_numbers_are_not_rounded_to_float32() -> None:
    exact = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(Cosine().coefficients(0.3).alpha, Cosine().coefficients(exact).alpha)


def test_marginal_leaves_elements_at_time_zero_unchanged() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 4, 3, generator=generator)
    t = torch.tensor([0.0, 0.5, 0.0, 1.0])
    x = RectifiedFlow().marginal(x0, t, noise)
    assert x.dtype == torch.float32
    assert torch.equal(x[[0, 2]], x0[[0, 2]])
    assert torch.equal(x[3], noise[3])


def test_prior_has_the_variance_of_standardised_data_at_the_start() -> None:
    generator = torch.Generator().manual_seed(0)
    path = VarianceExploding(0.01, 20.0)
    x = path.draw_prior((200_000,), generator, dtype=torch.float64)
    # The standard error of the variance of 200,000 normal draws is 0.3 per cent.
    assert float(x.var()) == pytest.approx(401.0, rel=0.015)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="beta_min"):
        VariancePreserving(beta_min=-1.0)
    with pytest.raises(ValueError, match="sigma_min"):
        VarianceExploding(sigma_min=0.0)
    with pytest.raises(ValueError, match="alpha_min"):
        RectifiedFlow(alpha_min=1.0)
    with pytest.raises(ValueError, match=r"times of shape \(3,\)"):
        align(torch.ones(3, dtype=torch.float64), torch.ones(4, 3))


def test_clean_data_are_at_time_zero_where_the_rate_starts_at_zero() -> None:
    assert float(VariancePreserving.from_alpha_min(0.01).time_of_log_snr(float("inf"))) == 0.0
