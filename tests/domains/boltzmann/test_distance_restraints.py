"""Laws under a distance restraint: closed form, quadrature and sampler, each against another way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import VariancePreserving
from sciffusion.domains.boltzmann.distance_restraints import DistanceRestraint, RestrainedLaw, restrained_law
from sciffusion.domains.boltzmann.elastic_network import ElasticNetwork
from sciffusion.exact import GaussianTarget
from sciffusion.sampling import log_snr_grid
from sciffusion.sampling.driftlite import DifferentiableReward, DriftLiteSampler, Subspace

KT = 2.5
PATH = VariancePreserving()


def _network() -> ElasticNetwork:
    generator = torch.Generator().manual_seed(3)
    beads = 0.3 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return ElasticNetwork(beads, cutoff=5.0, spring=300.0)


NETWORK = _network()
LENGTH = float((NETWORK.positions[0] - NETWORK.positions[4]).norm())
TRUE = DistanceRestraint(0, 4, LENGTH + 0.15, 400.0)
LINEAR = TRUE.linearised(NETWORK)


def _law(restraint: DistanceRestraint, **settings: int) -> RestrainedLaw:
    operator = NETWORK.difference(restraint.first, restraint.second)
    return restrained_law(NETWORK.law(KT / 0.00831446261815324), operator, restraint, KT, **settings)


def test_the_linearised_restraint_agrees_with_the_true_one_along_its_direction() -> None:
    stretched = NETWORK.positions.clone()
    unit = (NETWORK.positions[0] - NETWORK.positions[4]) / LENGTH
    stretched[0] += 0.07 * unit
    expected = 0.5 * 400.0 * (0.07 - 0.15) ** 2
    for restraint in (TRUE, LINEAR):
        assert float(restraint(stretched[None])) == pytest.approx(expected)
    sideways = NETWORK.positions.clone()
    sideways[0] += 0.2 * torch.linalg.cross(unit, torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64))
    assert float(LINEAR(sideways[None])) == pytest.approx(0.5 * 400.0 * 0.15**2)
    assert float(TRUE(sideways[None])) < float(LINEAR(sideways[None])) - 0.1


def test_the_linearised_law_is_that_of_the_completed_square() -> None:
    law = _law(LINEAR)
    base, kappa = law.base, LINEAR.stiffness / KT
    assert LINEAR.direction is not None
    row = LINEAR.direction @ law.operator
    precision = torch.diag(1.0 / base.variances)
    tilted = precision + kappa * torch.outer(row, row)
    mean = torch.linalg.solve(tilted, precision @ base.mean + kappa * LINEAR.distance * row)
    torch.testing.assert_close(law.covariance, torch.linalg.inv(tilted))
    torch.testing.assert_close(law.mean, mean)
    # log Z by completing the square.
    exponent = 0.5 * (mean @ tilted @ mean - base.mean @ precision @ base.mean - kappa * LINEAR.distance**2)
    log_z = float(exponent + 0.5 * (torch.logdet(precision) - torch.logdet(tilted)))
    assert law.log_normaliser == pytest.approx(log_z, abs=1e-9)
    assert law.quadrature_error == 0.0


def test_the_quadrature_is_exact_where_the_closed_form_is_known() -> None:
    class Unlabelled(DistanceRestraint):
        """The linearised restraint with its direction hidden, so that the quadrature takes it."""

        def length(self, difference: Tensor) -> Tensor:
            return LINEAR.length(difference)

    law = _law(LINEAR)
    found = _law(Unlabelled(0, 4, LINEAR.distance, LINEAR.stiffness))
    assert found.log_normaliser == pytest.approx(law.log_normaliser, abs=1e-9)
    torch.testing.assert_close(found.mean, law.mean)
    torch.testing.assert_close(found.covariance, law.covariance)


def test_the_error_of_the_quadrature_is_seen_with_few_nodes() -> None:
    few, many = _law(TRUE, nodes=4), _law(TRUE)
    assert few.quadrature_error > 1e-6 > many.quadrature_error
    assert abs(few.log_normaliser - many.log_normaliser) < few.quadrature_error


def test_the_true_law_has_the_moments_of_its_density_of_distances() -> None:
    """Another rule: over the sphere and then along the distance."""
    law = _law(TRUE)
    assert law.quadrature_error < 1e-6
    lengths = torch.linspace(1e-3, 1.5, 301, dtype=torch.float64)
    density = law.length_density(lengths, nodes=32)
    step = float(lengths[1] - lengths[0])
    assert float(density.sum()) * step == pytest.approx(1.0, abs=1e-6)
    second = float((density * lengths**2).sum()) * step
    expected = float(law.difference_covariance.trace() + law.difference_mean @ law.difference_mean)
    assert second == pytest.approx(expected, rel=1e-6)


def test_the_true_law_has_the_moments_of_reweighted_draws() -> None:
    law, count = _law(TRUE), 400_000
    y = law.base.draw(count, torch.Generator().manual_seed(0))
    log_weight = -TRUE(NETWORK.from_modes(y)) / KT
    weight = torch.exp(log_weight)
    assert float(weight.mean().log()) == pytest.approx(law.log_normaliser, abs=0.02)
    share = weight / weight.sum()
    mean = share @ y
    spread = law.covariance.diagonal()
    effective = float(1.0 / (share**2).sum())
    assert effective > 10_000
    assert float(((mean - law.mean) / spread.sqrt()).abs().max()) < 5.0 / math.sqrt(effective)
    off = y - mean
    covariance = (share[:, None] * off).mT @ off
    assert float((covariance - law.covariance).norm() / law.covariance.norm()) < 0.03
    # The restraint moved both, or this test says nothing.
    assert float(((law.mean - law.base.mean) / spread.sqrt()).abs().max()) > 0.5
    assert float((law.base.covariance - law.covariance).norm() / law.covariance.norm()) > 0.06


@pytest.mark.parametrize("restraint", [TRUE, LINEAR], ids=["true", "linearised"])
def test_draws_have_the_moments_of_the_law(restraint: DistanceRestraint) -> None:
    law, count = _law(restraint), 20_000
    y = law.draw(count, torch.Generator().manual_seed(0))
    spread = law.covariance.diagonal()
    assert float(((y.mean(0) - law.mean) / spread.sqrt()).abs().max()) < 5.0 / math.sqrt(count)
    assert float((y.mT.cov() - law.covariance).norm() / law.covariance.norm()) < 0.04


@pytest.mark.parametrize("restraint", [TRUE, LINEAR], ids=["true", "linearised"])
def test_rewards_have_the_derivatives_of_the_energy_in_the_space(restraint: DistanceRestraint) -> None:
    subspace = Subspace(NETWORK.project, NETWORK.effective_dim)
    generator = torch.Generator().manual_seed(0)
    x = NETWORK.project(NETWORK.positions + 0.1 * torch.randn(6, 5, 3, generator=generator).double())
    given = restraint.reward(NETWORK, KT).evaluate(x, subspace, generator)
    found = DifferentiableReward(lambda values: -restraint(values) / KT).evaluate(x, subspace, generator)
    torch.testing.assert_close(given.value, found.value)
    torch.testing.assert_close(given.gradient, found.gradient)
    torch.testing.assert_close(given.laplacian, found.laplacian)


def test_the_share_of_a_restraint_is_what_noise_leaves_of_its_stiffness() -> None:
    share = TRUE.schedule(KT)(PATH.coefficients(torch.linspace(0.01, 0.9, 7)))
    levels = PATH.coefficients(torch.linspace(0.01, 0.9, 7))
    variance = KT / TRUE.stiffness
    torch.testing.assert_close(share, variance / (variance + 2.0 * (levels.sigma / levels.alpha) ** 2))


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("restraint", [TRUE, LINEAR], ids=["true", "linearised"])
def test_driftlite_finds_the_law_and_its_normaliser(restraint: DistanceRestraint, gamma: float) -> None:
    temperature = gamma * KT / 0.00831446261815324
    score = NETWORK.score(temperature, PATH)
    sampler = DriftLiteSampler.from_score(
        score, PATH, divergence=score.divergence, project=NETWORK.project, effective_dim=NETWORK.effective_dim
    )
    grid = log_snr_grid(PATH, 200, end=2e-3)
    result = sampler.sample(
        grid, count=1000, shape=(5, 3), gamma=gamma, reward=restraint.reward(NETWORK, KT),
        reward_schedule=restraint.schedule(KT), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    end, law = PATH.coefficients(grid[-1]), NETWORK.law(temperature)
    noisy = end.alpha**2 * law.variances + end.sigma**2
    base = GaussianTarget(end.alpha * law.mean, noisy / gamma)
    exact = restrained_law(base, NETWORK.difference(0, 4), restraint, KT)
    power = (1.0 - gamma) * torch.log(2.0 * math.pi * noisy) - math.log(gamma)
    report = result.particles
    assert report is not None
    error = float(report.log_normaliser) - exact.log_normaliser - 0.5 * float(power.sum())
    assert abs(error) < max(0.1, 3.0 * float(report.log_normaliser_error))
    weight = report.log_weights.exp()
    y = NETWORK.to_modes(result.samples).double()
    off = ((weight @ y) - exact.mean) / exact.covariance.diagonal().sqrt()
    assert float(off.abs().max()) < 5.0 / math.sqrt(int(report.unique_ancestors))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"distance": 0.0}, "distance must be positive"),
        ({"stiffness": math.inf}, "stiffness must be positive"),
        ({"second": 0}, "must differ"),
        ({"direction": torch.zeros(3)}, "direction must be a vector of three"),
    ],
)
def test_restraints_that_cannot_be_are_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DistanceRestraint(**({"first": 0, "second": 1, "distance": 1.0, "stiffness": 1.0} | change))


def test_laws_of_wrong_arguments_are_refused() -> None:
    law = NETWORK.law(300.0)
    with pytest.raises(ValueError, match=r"operator must have shape \(3, 9\)"):
        restrained_law(law, torch.zeros(3, 4), TRUE, KT)
    with pytest.raises(ValueError, match="thermal_energy must be positive"):
        restrained_law(law, NETWORK.difference(0, 4), TRUE, 0.0)
