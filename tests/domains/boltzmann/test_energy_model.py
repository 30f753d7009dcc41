"""Energies of noisy configurations, and the equation of diffusion that they obey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.boltzmann import BoltzmannDiffusion
from sciffusion.domains.boltzmann.energy_model import EnergyDenoiser, log_energy, residual_variance
from sciffusion.domains.boltzmann.score_model import PATH, ScoreModel, build_score_model
from sciffusion.networks.egnn import ParticleFrame, centre
from sciffusion.sampling.driftlite import DenoiserField, Subspace

LOCAL, VARIANCE = 0.4, 0.3


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _positions(count: int = 6) -> Tensor:
    return centre(torch.randn(count, 4, 3, generator=_generator()))


def _model() -> ScoreModel:
    """Return an energy model in float64 with random weights."""
    frame = ParticleFrame.of(_positions(100), (0,) * 4)
    bumps = torch.linspace(0.0, 5.0, 8)
    model = build_score_model(
        frame, bumps, length=1.0, local_scale=LOCAL, width=6, depth=1, energy_based=True
    )
    with torch.no_grad():
        for number, weight in enumerate(model.network.parameters()):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=_generator(number)))
    model.network.double()
    return model


@pytest.mark.parametrize("level", [0.02, 0.4, 5.0])
def test_the_score_is_the_gradient_of_the_log_density(level: float) -> None:
    denoiser = _model().denoiser()
    assert isinstance(denoiser, EnergyDenoiser)
    t = PATH.time_of_log_snr(-torch.tensor(level, dtype=torch.float64).log())
    field = DenoiserField(denoiser, None, None, Subspace(centre, 9))
    assert field.knows_log_density
    x = _positions().double()
    found = field.evaluate(x, t, with_divergence=True, with_log_density=True, generator=_generator())
    assert found.log_density is not None
    assert found.divergence is not None
    step, total = 1e-4, torch.zeros(6, dtype=torch.float64)
    for probe in centre(torch.eye(12, dtype=torch.float64).reshape(12, 1, 4, 3)):
        up, down = (denoiser.log_density(x + sign * step * probe, t) for sign in (1.0, -1.0))
        slope = (found.score * probe).flatten(1).sum(1)
        torch.testing.assert_close((up - down) / (2 * step), slope, rtol=1e-5, atol=1e-5)
        total += (up + down - 2.0 * found.log_density) / step**2
    # Projected unit vectors form a tight frame of the subspace, so that curvatures along them add up.
    torch.testing.assert_close(total, found.divergence, rtol=1e-3, atol=1e-2)


def test_densities_agree_with_one_level_an_item() -> None:
    model = _model()
    y, levels = _positions().double(), torch.linspace(-3.0, 1.0, 6, dtype=torch.float64)
    together = log_energy(model.network, LOCAL, y, levels)
    for row in range(6):
        alone = log_energy(model.network, LOCAL, y[row : row + 1], levels[row])
        torch.testing.assert_close(alone[0], together[row])


def _gaussian(variance: Tensor, speed: float = 1.0) -> Any:
    def log_density(y: Tensor, levels: Tensor) -> Tensor:
        noisy = variance + torch.exp(2.0 * speed * levels).reshape(-1, 1, 1)
        # Without its normaliser: a constant of the level must not matter.
        return -0.5 * (centre(y).square() / noisy).flatten(1).sum(1)

    return log_density


def _mean_penalty(log_density: Any, repeats: int = 1) -> float:
    level, total = torch.tensor(-1.2, dtype=torch.float64), 0.0
    for seed in range(repeats):
        y = 0.6 * centre(torch.randn(64, 4, 3, generator=_generator(seed)).double())
        total += float(residual_variance(log_density, y, level, LOCAL, _generator(seed)).detach())
    return total / repeats


def test_an_isotropic_gaussian_has_no_residual_with_any_probe() -> None:
    assert abs(_mean_penalty(_gaussian(torch.tensor(VARIANCE, dtype=torch.float64)))) < 1e-12


def test_other_gaussians_have_none_on_average_and_wrong_clocks_have() -> None:
    stretched = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    # The residual of a Gaussian is constant; probes add noise of mean 0 on top of it.
    right = _mean_penalty(_gaussian(stretched), 60)
    wrong = _mean_penalty(_gaussian(stretched, speed=1.3), 60)
    assert wrong > 0.05
    assert abs(right) < 0.1 * wrong


def test_the_penalty_teaches_the_network() -> None:
    model = _model()
    y, level = 0.6 * _positions(20).double(), torch.tensor(-1.0, dtype=torch.float64)

    def log_density(values: Tensor, levels: Tensor) -> Tensor:
        return log_energy(model.network, LOCAL, values, levels)

    residual_variance(log_density, y, level, LOCAL, _generator()).backward()  # type: ignore[no-untyped-call]
    slopes = [weight.grad for weight in model.network.parameters() if weight.grad is not None]
    assert len(slopes) > 10
    assert all(bool(slope.isfinite().all()) for slope in slopes)


@pytest.fixture(scope="module")
def fitted() -> BoltzmannDiffusion:
    """Return a model of a harmonic cluster of variance 0.09, fitted with its forces."""
    x = np.random.default_rng(0).normal(size=(400, 3, 2)) * 0.3
    x -= x.mean(1, keepdims=True)
    model = BoltzmannDiffusion(
        width=6, depth=1, max_steps=6, batch_size=64, energy_based=True, fokker_planck=0.01, nfe=40,
        langevin_steps=0, particles=200, device="cpu", random_state=0,
    )  # fmt: skip
    return model.fit(x, temperature=2.0, forces=-2.0 * x / 0.09)


def test_a_learned_energy_is_controlled_by_ecg(fitted: BoltzmannDiffusion) -> None:
    found = fitted.sample(400, temperature=1.0, control="ecg", random_state=0)
    variance = float((found.weights * np.square(found.configurations).sum((1, 2))).sum()) / 4
    assert variance == pytest.approx(0.045, rel=0.15)
    assert found.ess.min() > 0.5


def test_a_learned_energy_says_its_density(fitted: BoltzmannDiffusion) -> None:
    x = np.random.default_rng(1).normal(size=(10, 3, 2)) * 0.3
    found = fitted.score_samples(x, normalised=False)
    flow = fitted.score_samples(x, nfe=80)
    gap = found - flow
    assert gap.std() < 0.1 * flow.std()


def test_it_is_saved_with_its_kind(fitted: BoltzmannDiffusion, tmp_path: Any) -> None:
    fitted.save(tmp_path / "m.safetensors")
    back = BoltzmannDiffusion.load(tmp_path / "m.safetensors")
    assert back.energy_based
    x = np.random.default_rng(1).normal(size=(10, 3, 2)) * 0.3
    np.testing.assert_array_equal(
        back.score_samples(x, normalised=False), fitted.score_samples(x, normalised=False)
    )


def test_a_penalty_needs_energies() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3, 2))
    with pytest.raises(ValueError, match="fokker_planck > 0 needs energy_based=True"):
        BoltzmannDiffusion(fokker_planck=0.1).fit(x)
    with pytest.raises(ValueError, match="ecg"):
        BoltzmannDiffusion(width=4, depth=1, max_steps=1, random_state=0, nfe=4).fit(x).sample(
            4, control="ecg"
        )
