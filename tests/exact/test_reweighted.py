"""Annealed and tilted mixtures against quadrature and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.exact import (
    GaussianMixtureTarget,
    GaussianTarget,
    QuadraticTilt,
    ReweightedMixture,
    reweighted_mixture,
)

TILT = QuadraticTilt(torch.tensor([0.5, 0.5]), 0.8)


def _mixture() -> GaussianMixtureTarget:
    """Components that overlap, one of them correlated, so that the proposal is not exact."""
    covariance = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    parts = [
        GaussianTarget.full(covariance, torch.tensor([-0.8, 0.0])),
        GaussianTarget.isotropic(2, 0.6, torch.tensor([0.9, 0.4])),
    ]
    return GaussianMixtureTarget(torch.tensor([0.3, 0.7]), parts)


def _quadrature(law: ReweightedMixture) -> tuple[float, Tensor]:
    """Log normaliser and mean on a fine grid."""
    line = torch.linspace(-8.0, 8.0, 401, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    log_mass = law.log_unnormalised(x) + 2.0 * math.log(float(line[1] - line[0]))
    share = torch.exp(log_mass - torch.logsumexp(log_mass, 0))
    return float(torch.logsumexp(log_mass, 0)), share @ x


@pytest.mark.parametrize("tilt", [None, TILT], ids=["plain", "tilted"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_normaliser_and_mean_agree_with_quadrature(exponent: float, tilt: QuadraticTilt | None) -> None:
    law = reweighted_mixture(_mixture(), exponent, tilt)
    log_z, mean = _quadrature(law)
    estimate = law.log_normaliser(torch.Generator().manual_seed(0), 20_000)
    # 4 standard errors; 1e-9 for the exponent of 1, whose weights are all equal.
    assert estimate.value == pytest.approx(log_z, abs=4.0 * estimate.standard_error + 1e-9)
    draws = law.draw(20_000, torch.Generator().manual_seed(1))
    error = draws.std(0) * (2.0 / 20_000 / estimate.relative_ess) ** 0.5
    assert float(((draws.mean(0) - mean) / error).abs().max()) < 4.0


def test_without_annealing_the_proposal_is_exact() -> None:
    law = reweighted_mixture(_mixture(), 1.0, TILT)
    x, log_weight = law.draw_weighted(500, torch.Generator().manual_seed(0))
    assert x.shape == (500, 2)
    torch.testing.assert_close(log_weight, torch.full_like(log_weight, law.log_mass), rtol=0.0, atol=1e-10)
    estimate = law.log_normaliser(torch.Generator().manual_seed(0))
    assert estimate.relative_ess == pytest.approx(1.0, abs=1e-9)
    assert estimate.standard_error < 1e-9


def test_tilt_of_a_mixture_is_an_observation_of_its_data() -> None:
    # exp(r) is the likelihood of observing every coordinate with noise std, up to its normaliser.
    law = reweighted_mixture(_mixture(), 1.0, TILT)
    posterior = _mixture().observed(torch.eye(2), TILT.centre, TILT.std)
    torch.testing.assert_close(law.proposal.weights, posterior.weights)
    torch.testing.assert_close(law.proposal.laws.covariance, posterior.laws.covariance)
    evidence = float(_mixture().log_evidence(torch.eye(2), TILT.centre, TILT.std))
    assert law.log_mass == pytest.approx(evidence + math.log(2.0 * math.pi * TILT.std**2), abs=1e-12)


def test_separated_components_in_thirty_dimensions_need_no_correction() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(8, 30, generator=generator, dtype=torch.float64)
    variances = 0.3 * torch.exp(0.1 * torch.randn(8, generator=generator, dtype=torch.float64))
    target = GaussianMixtureTarget.isotropic(torch.ones(8), means, variances.sqrt())
    law = reweighted_mixture(target, 2.0)
    expected = torch.logsumexp(
        2.0 * target.weights.log() - 15.0 * torch.log(4.0 * math.pi * variances), 0
    )  # int N(m, v I)^2 = (4 pi v)^(-d/2)
    assert law.log_mass == pytest.approx(float(expected), abs=1e-10)
    estimate = law.log_normaliser(generator, 4000)
    assert estimate.relative_ess > 0.99
    assert estimate.value == pytest.approx(law.log_mass, abs=0.02)


def test_standard_error_is_honest() -> None:
    law = reweighted_mixture(_mixture(), 2.0, TILT)
    log_z, _ = _quadrature(law)
    runs = [law.log_normaliser(torch.Generator().manual_seed(seed), 400) for seed in range(200)]
    scaled = torch.tensor([(run.value - log_z) / run.standard_error for run in runs])
    # 200 draws of a standard normal variable: the standard deviation has an error of 5 per cent.
    assert float(scaled.std()) == pytest.approx(1.0, abs=0.2)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="exponent must be positive"):
        reweighted_mixture(_mixture(), 0.0)
    with pytest.raises(ValueError, match=r"centre of shape \(2,\)"):
        reweighted_mixture(_mixture(), 1.0, QuadraticTilt(torch.zeros(3), 1.0))
    with pytest.raises(ValueError, match="std must be positive"):
        QuadraticTilt(torch.zeros(3), 0.0)
    with pytest.raises(ValueError, match="centre must be a vector"):
        QuadraticTilt(torch.zeros(()), 1.0)
    flat = GaussianTarget.diagonal(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="positive variances"):
        reweighted_mixture(GaussianMixtureTarget(torch.ones(1), [flat]))
    with pytest.raises(ValueError, match="oversampling"):
        reweighted_mixture(_mixture()).draw(10, torch.Generator(), oversampling=0)
