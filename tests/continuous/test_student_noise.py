"""Heavy-tailed noise: its law, its published form, and deterministic sampling that restores such a law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    EulerMaruyama,
    Heun,
    PointwiseDenoiser,
    StudentNoise,
    VarianceExploding,
    VariancePreserving,
    align,
)
from sciffusion.sampling import State, log_snr_grid, sample, uniform_grid


def _draws(degrees: float, dim: int, count: int = 20_000) -> Tensor:
    return StudentNoise(degrees).sample((count, dim), torch.Generator().manual_seed(0), torch.float64)


@pytest.mark.parametrize(("degrees", "dim"), [(1.0, 1), (3.0, 2), (5.0, 20)])
def test_coordinates_are_student_and_the_norm_follows_fisher(degrees: float, dim: int) -> None:
    noise = _draws(degrees, dim)
    assert stats.kstest(noise[:, 0].numpy(), "t", (degrees,)).pvalue > 1e-3
    # |n|^2 / N is the ratio of two means of squares.
    squared = noise.square().mean(1).numpy()
    assert stats.kstest(squared, "f", (dim, degrees)).pvalue > 1e-3


@pytest.mark.parametrize(("degrees", "dim"), [(3.0, 2), (128.0, 64)])
def test_published_form_by_a_beta_radius_is_the_same_law(degrees: float, dim: int) -> None:
    generator = np.random.default_rng(0)
    share = generator.beta(0.5 * dim, 0.5 * degrees, size=20_000)
    radius = math.sqrt(degrees) * np.sqrt(share / (1.0 - share))
    norm = _draws(degrees, dim).norm(dim=1).numpy()
    assert stats.ks_2samp(norm, radius).pvalue > 1e-3


def test_many_degrees_of_freedom_are_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(StudentNoise(math.inf).sample((1000, 4), generator, torch.float64), white)
    assert stats.kstest(_draws(1e6, 4).flatten().numpy(), "norm").pvalue > 1e-3


def test_one_factor_an_item_whatever_its_axes() -> None:
    # The largest elements of an item come together: their squares correlate within items only.
    shape, generator = (4000, 3, 2), torch.Generator().manual_seed(0)
    joint = StudentNoise(5.0, item_axes=2).sample(shape, generator, torch.float64).abs().log()
    rows = StudentNoise(5.0, item_axes=1).sample(shape, generator, torch.float64).abs().log()
    across = [float(torch.corrcoef(x[:, :2, 0].T)[0, 1]) for x in (joint, rows)]
    assert across[0] > 0.06
    assert abs(across[1]) < 0.06
    with pytest.raises(ValueError, match="fewer axes"):
        StudentNoise(5.0, item_axes=2).sample((3,), generator)
    with pytest.raises(ValueError, match="degrees_of_freedom"):
        StudentNoise(0.0)


ATOMS, WEIGHTS = torch.tensor([-1.0, 2.0], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64)


class _AtomsUnderStudentNoise(PointwiseDenoiser):
    """Perfect denoiser of point masses on the line corrupted with Student-t noise."""

    def __init__(self, path: VarianceExploding, degrees: float) -> None:
        self.path, self.degrees = path, degrees

    def predict(self, x: Tensor, t: Tensor | float, condition: object = None) -> ContinuousPrediction:
        sigma = align(self.path.coefficients(t).sigma, x)[..., None]
        kernel = (1.0 + ((x[..., None] - ATOMS) / sigma) ** 2 / self.degrees) ** (-0.5 * (1.0 + self.degrees))
        share = WEIGHTS * kernel / sigma
        return ContinuousPrediction((share * ATOMS).sum(-1) / share.sum(-1), "x0")


def _distribution(x: np.ndarray, sigma: float, degrees: float) -> np.ndarray:
    parts = zip(WEIGHTS.numpy(), ATOMS.numpy(), strict=True)
    return np.sum([weight * stats.t.cdf((x - atom) / sigma, degrees) for weight, atom in parts], axis=0)


@pytest.mark.parametrize("degrees", [2.0, 5.0])
def test_deterministic_solver_keeps_the_quantiles_of_the_heavy_tailed_marginals(degrees: float) -> None:
    path = VarianceExploding(0.3, 30.0)
    x = 30.0 * torch.linspace(-8.0, 8.0, 41, dtype=torch.float64)[:, None]
    denoiser = _AtomsUnderStudentNoise(path, degrees)
    result = sample(denoiser, Heun("noise_to_signal"), log_snr_grid(path, 400), state=State(x=x)).samples
    before = _distribution(x.numpy(), 30.0, degrees)
    after = _distribution(result.numpy(), 0.3, degrees)
    np.testing.assert_allclose(after, before, atol=2e-4)


def test_sampling_restores_a_heavy_tailed_law_from_the_heavy_tailed_start_only() -> None:
    degrees, path = 3.0, VarianceExploding(0.3, 30.0)
    denoiser = _AtomsUnderStudentNoise(path, degrees)
    generator = torch.Generator().manual_seed(0)
    noise = StudentNoise(degrees)
    starts = [
        noise.draw_prior(path, (4000, 1), generator, dtype=torch.float64),
        path.draw_prior((4000, 1), generator, dtype=torch.float64),
    ]
    p_values = []
    for start in starts:
        grid = log_snr_grid(path, 60)
        samples = sample(denoiser, Heun("noise_to_signal"), grid, state=State(x=start)).samples
        law = stats.kstest(samples[:, 0].numpy(), lambda x: _distribution(x, 0.3, degrees))
        p_values.append(law.pvalue)
    assert p_values[0] > 1e-3
    assert p_values[1] < 1e-6


def test_stochastic_solvers_refuse() -> None:
    denoiser = _AtomsUnderStudentNoise(VarianceExploding(), 3.0)
    state = State(x=torch.zeros(2, 1))
    with pytest.raises(TypeError, match="deterministic solver"):
        sample(denoiser, EulerMaruyama(noise=StudentNoise(3.0)), uniform_grid(3), state=state)


def test_start_has_the_scale_of_the_path() -> None:
    path, generator = VariancePreserving(), torch.Generator().manual_seed(0)
    start = StudentNoise(4.0).draw_prior(path, (5, 3), generator)
    generator.manual_seed(0)
    torch.testing.assert_close(start, StudentNoise(4.0).sample((5, 3), generator))
