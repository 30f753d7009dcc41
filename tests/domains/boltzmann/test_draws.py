"""Draws and free energies through `from_score`, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Trigonometric, VarianceExploding
from sciffusion.domains.boltzmann import BoltzmannDiffusion
from sciffusion.domains.boltzmann.assembling import Law, assemble, divide
from sciffusion.domains.boltzmann.draws import DrawSettings, ScaledReward, ScoreSource, run_systems
from sciffusion.networks.egnn import centre
from sciffusion.sampling.driftlite import AnalyticReward, FunctionField, Subspace

PATH = Trigonometric()
ATOMS, DIMENSIONS = 3, 2
DOF = (ATOMS - 1) * DIMENSIONS
STIFFNESS = 1.5


@pytest.fixture(scope="module")
def system(harmonic: Any) -> Any:
    return harmonic(0.6, 0.6)


def _trap(x: Tensor) -> Tensor:
    return -0.5 * STIFFNESS * centre(x).square().flatten(1).sum(1)


def _assert_normaliser(found: Any, truth: float, bias: float = 0.03) -> None:
    error = found.log_normaliser.std(ddof=1) / math.sqrt(len(found.log_normaliser))
    assert abs(found.log_normaliser.mean() - truth) < 4.0 * error + bias


@pytest.mark.parametrize("control", ["vcg", "ecg", "langevin", "none"])
def test_annealed_draws_have_the_exact_variance_and_normaliser(system: Any, control: str) -> None:
    found = system.model().sample(800, temperature=1.0, control=control, random_state=0)
    assert found.gamma == 2.0
    _assert_normaliser(found, system.log_normaliser(2.0), 0.1)
    variance = float((found.weights * np.square(found.configurations).sum((1, 2))).sum()) / DOF
    effective = 0.5 * found.effective_sample_size
    assert variance == pytest.approx(0.3, rel=0.05 + 4.0 * math.sqrt(2.0 / (DOF * effective)))
    assert found.free_energy_difference == pytest.approx(-1.0 * found.log_normaliser.mean())
    assert found.free_energy_error == pytest.approx(
        found.log_normaliser.std(ddof=1) / math.sqrt(len(found.log_normaliser))
    )


def test_tilted_draws_have_the_exact_variance_and_normaliser_and_a_potential_is_a_reward(system: Any) -> None:
    model = system.model(temperature=300.0, units="kJ/mol")
    kt = model.kT_ * 1.2
    by_reward = model.sample(800, temperature=360.0, reward=_trap, random_state=0)
    _assert_normaliser(by_reward, system.log_normaliser(1.0 / 1.2, STIFFNESS))
    by_energy = model.sample(800, temperature=360.0, potential=lambda x: -kt * _trap(x), random_state=0)
    np.testing.assert_allclose(by_energy.configurations, by_reward.configurations, atol=1e-4)
    np.testing.assert_allclose(by_energy.log_normaliser, by_reward.log_normaliser, atol=1e-3)
    analytic = AnalyticReward(
        _trap, lambda x: -STIFFNESS * centre(x), lambda x: torch.full_like(x[:, 0, 0], -STIFFNESS * DOF)
    )
    by_hand = model.sample(800, temperature=360.0, reward=analytic, random_state=0)
    np.testing.assert_allclose(by_hand.configurations, by_reward.configurations, atol=1e-4)
    halves = model.sample(
        800, temperature=360.0, reward=lambda x: 0.5 * _trap(x), potential=lambda x: -0.5 * kt * _trap(x),
        random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose(halves.log_normaliser, by_reward.log_normaliser, atol=1e-3)
    variance = float((by_reward.weights * np.square(by_reward.configurations).sum((1, 2))).sum()) / DOF
    assert variance == pytest.approx(1.0 / (1.0 / 1.2 / 0.6 + STIFFNESS), rel=0.15)


def test_a_constant_reward_shifts_the_normaliser_alone(system: Any) -> None:
    model = system.model()
    plain = model.sample(200, random_state=0, reward=lambda x: 0.0 * _trap(x))
    shifted = model.sample(200, random_state=0, reward=lambda x: 0.0 * _trap(x) + 1.25)
    np.testing.assert_allclose(shifted.log_normaliser - plain.log_normaliser, 1.25, atol=1e-6)
    np.testing.assert_allclose(shifted.configurations, plain.configurations, atol=1e-6)


def test_normalisers_are_in_units_of_the_data_and_rewards_see_them(system: Any) -> None:
    # The same law by a source of scaled positions: N(0, 2.5^2 0.6) as 2.5 times N(0, 0.6).
    length, gamma = 2.5, 1.6
    source = ScoreSource(
        FunctionField(system.score, system.divergence, None, None, Subspace(centre, DOF)), PATH,
        (ATOMS, DIMENSIONS), length, (20.0, 1e-3), centre, DOF,
    )  # fmt: skip
    reward = ScaledReward.of(lambda x: _trap(x) / length**2, length)
    settings = DrawSettings("vcg", True, 0.9, 1000.0, gamma, reward, 0)
    runs = run_systems(source, settings, [200] * 3, 59, device=torch.device("cpu"))
    found = assemble(runs, source, Law(1.0, 1.0, gamma, None, 1, False), 600)
    wide = type(system)(0.6 * length**2, 0.6 * length**2)
    _assert_normaliser(found, wide.log_normaliser(gamma, STIFFNESS / length**2))
    expected = length**2 / (gamma / 0.6 + STIFFNESS)
    variance = float((found.weights * np.square(found.configurations).sum((1, 2))).sum()) / DOF
    assert variance == pytest.approx(expected, rel=0.2)


def test_other_paths_do_as_well(system: Any) -> None:
    path = VarianceExploding(1e-3, 20.0)

    def score(x: Tensor, t: Tensor) -> Tensor:
        return -x / (0.6 + path.coefficients(t).sigma ** 2).to(x)

    def divergence(x: Tensor, t: Tensor) -> Tensor:
        return (-DOF / (0.6 + path.coefficients(t).sigma ** 2).to(x)).expand(len(x))

    model = BoltzmannDiffusion.from_score(
        score, path=path, atoms=3, dimensions=2, temperature=2.0, nfe=240, particles=200, device="cpu",
        max_noise=19.0, min_noise=2e-3, divergence=divergence,
    )  # fmt: skip
    _assert_normaliser(model.sample(600, temperature=1.0, random_state=0), system.log_normaliser(2.0), 0.1)


MIRROR = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
CORNERS = torch.stack([0.5 * MIRROR, 0.5 * MIRROR * torch.tensor([-1.0, 1.0, 1.0])])
NARROW = 0.01


def _pair(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    c = PATH.coefficients(t)
    variance = float(c.alpha**2 * NARROW + c.sigma**2)
    pull = -(centre(x)[:, None] - float(c.alpha) * CORNERS.to(x)) / variance
    squares = pull.square().flatten(2).sum(-1)
    return pull, squares, torch.softmax(-0.5 * variance * squares, 1)


def _pair_score(x: Tensor, t: Tensor) -> Tensor:
    pull, _, share = _pair(x, t)
    return (share[:, :, None, None] * pull).sum(1)


def _pair_divergence(x: Tensor, t: Tensor) -> Tensor:
    c = PATH.coefficients(t)
    variance = float(c.alpha**2 * NARROW + c.sigma**2)
    pull, squares, share = _pair(x, t)
    mean = (share[:, :, None, None] * pull).sum(1)
    return (share * (squares - 9.0 / variance)).sum(1) - mean.square().flatten(1).sum(1)


def _chiral(**settings: Any) -> BoltzmannDiffusion:
    return BoltzmannDiffusion.from_score(
        _pair_score, path=PATH, atoms=4, dimensions=3, temperature=2.0, divergence=_pair_divergence, nfe=80,
        particles=200, device="cpu", min_noise=5e-3, **settings,
    )  # fmt: skip


def test_one_hand_of_a_chiral_law_has_its_own_normaliser() -> None:
    # p_+ = N(m, v): log of the integral of p_+^2 is -(D/2) log(2 pi v) - (D/2) log 2; that of the even
    # mixture of both hands is smaller by log 2.
    truth = -4.5 * (math.log(2.0 * math.pi * NARROW) + math.log(2.0))
    folded = _chiral(chiral_centre=(0, 1, 2, 3)).sample(800, temperature=1.0, random_state=0)
    _assert_normaliser(folded, truth, 0.15)
    both = _chiral().sample(800, temperature=1.0, random_state=0)
    np.testing.assert_allclose(folded.log_normaliser - both.log_normaliser, math.log(2.0))
    assert folded.reflected_share is not None
    assert 0.2 < folded.reflected_share < 0.8
    assert both.reflected_share is None
    hand = CORNERS[0] if float(torch.linalg.det(CORNERS[0][1:] - CORNERS[0][:1])) > 0 else CORNERS[1]
    assert float((torch.from_numpy(folded.configurations) - hand).abs().max()) < 0.8


def test_rewards_of_mirror_images_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be used with the chiral_centre"):
        _chiral(chiral_centre=(0, 1, 2, 3)).sample(20, reward=lambda x: x[:, 0, 0], random_state=0)


def test_particles_are_divided_into_systems_of_two_or_more() -> None:
    for n in range(2, 40):
        for size in (2, 3, 7, 50):
            counts = divide(n, size)
            assert sum(counts) == n
            assert min(counts) >= 2
            assert max(counts) <= max(size, 3)
            assert max(counts) - min(counts) <= 1


def test_systems_have_equal_weight_and_ancestors_of_their_own(system: Any) -> None:
    found = system.model(particles=30).sample(100, temperature=1.5, random_state=0, resample=False)
    assert found.ess.shape == (59, 4)
    assert len(found.log_normaliser) == 4
    np.testing.assert_allclose(found.weights.sum(), 1.0)
    edges = np.cumsum(divide(100, 30))[:-1]
    shares = [part.sum() for part in np.split(found.weights, edges)]
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.25, 0.25])
    assert found.unique_ancestors == 100
    assert not found.resamplings.any()
    assert len(found.resampled(17)) == 17


def test_draws_do_not_depend_on_jobs_and_repeat_with_their_seed(system: Any) -> None:
    model = system.model(particles=20, nfe=8, divergence=None, log_density=None)
    one = model.sample(60, temperature=1.5, random_state=3)
    with joblib.parallel_config(backend="threading"):
        two = model.sample(60, temperature=1.5, random_state=3, n_jobs=2)
    np.testing.assert_array_equal(one.configurations, two.configurations)
    np.testing.assert_array_equal(one.log_weights, two.log_weights)
    other = model.sample(60, temperature=1.5, random_state=4)
    assert not np.array_equal(one.configurations, other.configurations)
    again = [model.sample(60, temperature=1.5).configurations for _ in range(2)]
    np.testing.assert_array_equal(*again)
    steps: list[tuple[int, int]] = []
    model.sample(60, temperature=1.5, progress=lambda made, whole: steps.append((made, whole)))
    assert steps[-1] == (21, 21)


def test_systems_have_random_streams_of_their_own(system: Any) -> None:
    found = system.model(particles=20, nfe=6).sample(40, temperature=1.5, random_state=0)
    assert not np.array_equal(found.configurations[:20], found.configurations[20:])
    assert found.log_normaliser[0] != found.log_normaliser[1]


def test_threshold_and_bound_are_those_of_the_sampler(system: Any) -> None:
    model = system.model(particles=50, nfe=12)
    settings: dict[str, Any] = {"temperature": 1.0, "random_state": 0}
    never, some, always = (
        model.sample(50, control="none", threshold=share, **settings) for share in (0.0, 0.5, 1.0)
    )
    assert not never.resamplings.any()
    assert 0 < int(some.resamplings[0]) < int(always.resamplings[0]) == len(always.ess)
    assert float(some.ess.min()) > float(never.ess.min())
    free, bound = (model.sample(50, bound=largest, **settings) for largest in (1000.0, 1e-12))
    guided = model.sample(50, control="none", **settings)
    # Coefficients of nothing are no control: the growth of the weights varies as without.
    np.testing.assert_allclose(bound.variances[:, 1], bound.variances[:, 0], rtol=1e-6)
    np.testing.assert_allclose(bound.variances[0], guided.variances[0], rtol=1e-6)
    assert (free.variances[:, 1] < 0.5 * free.variances[:, 0]).all()


def test_guidance_has_no_weights(system: Any) -> None:
    found = system.model(nfe=10).sample(50, temperature=1.0, control="guidance")
    np.testing.assert_allclose(found.weights, 1.0 / 50)
    assert found.ess.size == 0
    assert math.isnan(found.free_energy_difference)


def test_centres_of_mass_stay_at_the_origin(system: Any) -> None:
    found = system.model(nfe=10).sample(50, temperature=1.5)
    assert found.configurations.dtype == np.float32
    assert found.log_weights.dtype == np.float64
    assert float(np.abs(found.configurations.mean(1)).max()) < 1e-5
