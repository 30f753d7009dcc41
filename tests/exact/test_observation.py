"""Exact posteriors of linear observations against Bayes' rule by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.exact import ExactTarget, GaussianMixtureTarget, GaussianTarget

ONE, ZERO = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)


def _gaussian() -> GaussianTarget:
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
    return GaussianTarget.full(covariance, torch.tensor([0.5, -0.3], dtype=torch.float64))


TARGETS = {
    "gaussian": _gaussian(),
    "mixture": GaussianMixtureTarget(
        torch.tensor([0.3, 0.7]), [_gaussian(), GaussianTarget.isotropic(2, 0.4, torch.tensor([-1.0, 1.0]))]
    ),
}
OPERATOR = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=torch.float64)
OBSERVATION = torch.tensor([0.4, 0.9], dtype=torch.float64)
NOISE = torch.tensor([0.5, 1.2], dtype=torch.float64)


def _plane() -> tuple[Tensor, float]:
    line = torch.linspace(-7.0, 7.0, 401, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@pytest.mark.parametrize("name", TARGETS)
def test_posterior_is_prior_times_likelihood_and_the_evidence_its_mass(name: str) -> None:
    target = TARGETS[name]
    x, cell = _plane()
    white = (OBSERVATION - x @ OPERATOR.mT) / NOISE
    log_likelihood = (-0.5 * white**2 - NOISE.log() - 0.5 * torch.log(torch.tensor(2.0 * torch.pi))).sum(-1)
    joint = target.log_density(x, ONE, ZERO) + log_likelihood
    evidence = torch.logsumexp(joint, 0) + torch.log(torch.tensor(cell))
    assert float(target.log_evidence(OPERATOR, OBSERVATION, NOISE)) == pytest.approx(
        float(evidence), abs=1e-6
    )
    exact: ExactTarget = target.observed(OPERATOR, OBSERVATION, NOISE)
    torch.testing.assert_close(exact.log_density(x, ONE, ZERO), joint - evidence, rtol=1e-6, atol=1e-5)


def test_observing_coordinates_without_noise_is_conditioning() -> None:
    target = GaussianTarget.autoregressive(4, 0.7)
    known = torch.tensor([True, False, True, False])
    values = torch.tensor([1.0, -0.5], dtype=torch.float64)
    posterior = target.observed(torch.eye(4)[known], values, 0.0)
    reduced = target.conditional(known, values)
    torch.testing.assert_close(posterior.mean[known], values)
    torch.testing.assert_close(posterior.mean[~known], reduced.mean)
    torch.testing.assert_close(posterior.covariance[~known][:, ~known], reduced.covariance)
    assert float(posterior.covariance[known].abs().max()) < 1e-12


def test_components_that_the_observation_rules_out_are_left_out() -> None:
    target = GaussianMixtureTarget.isotropic([0.5, 0.5], torch.tensor([[-50.0], [50.0]]), [0.1, 0.1])
    posterior = target.observed(torch.eye(1), torch.tensor([50.0]), 0.1)
    assert len(posterior.components) == 1
    assert float(posterior.components[0].mean) == pytest.approx(50.0)


def test_reference_posterior_of_two_narrow_components() -> None:
    # Prior .5 N(-2, .2^2) + .5 N(2, .2^2), y = x + N(0, 1.5^2) = 1.
    target = GaussianMixtureTarget.isotropic([0.5, 0.5], torch.tensor([[-2.0], [2.0]]), [0.2, 0.2])
    posterior = target.observed(torch.eye(1), torch.ones(1), 1.5)
    means = torch.stack([component.mean for component in posterior.components])[:, 0]
    mean = float((posterior.weights * means).sum())
    second = sum(
        float(w * (c.mean**2 + c.variances))
        for w, c in zip(posterior.weights, posterior.components, strict=True)
    )
    assert (mean, (second - mean**2) ** 0.5) == pytest.approx((1.40, 1.41), abs=0.006)
    assert float(posterior.weights[0]) == pytest.approx(0.148, abs=1e-3)


def test_bad_observations_are_named() -> None:
    target = _gaussian()
    with pytest.raises(ValueError, match=r"operator must have shape \(observations, 2\)"):
        target.observed(torch.ones(2, 3), torch.ones(2), 0.1)
    with pytest.raises(ValueError, match="observation must have shape"):
        target.observed(OPERATOR, torch.ones(3), 0.1)
    with pytest.raises(ValueError, match="noise_std must not be negative"):
        TARGETS["mixture"].log_evidence(OPERATOR, OBSERVATION, -1.0)
