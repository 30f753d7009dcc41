"""The Fréchet distance against Gaussians whose distance is known, and its bias against the exact one."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import sqrtm

from sciffusion.domains.music.metrics_frechet import (
    GaussianFit,
    frechet_distance,
    frechet_limit,
    gaussian_frechet_distance,
)


def _rotation(dim: int, seed: int) -> torch.Tensor:
    values = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(values)[0]


def test_commuting_covariances_have_a_closed_form() -> None:
    turn = _rotation(6, 0)
    first = torch.tensor([4.0, 1.0, 0.25, 0.0, 0.0, 9.0], dtype=torch.float64)
    second = torch.tensor([1.0, 9.0, 0.25, 4.0, 0.0, 0.0], dtype=torch.float64)
    shift = torch.arange(6.0, dtype=torch.float64)
    # Two of the variances of each are 0: a root of the product by iteration would fail or be complex.
    expected = float(shift.square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    found = gaussian_frechet_distance(
        GaussianFit(torch.zeros(6, dtype=torch.float64), turn @ first.diag() @ turn.mT),
        GaussianFit(shift, turn @ second.diag() @ turn.mT),
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_general_covariances_agree_with_the_root_of_the_product() -> None:
    generator = torch.Generator().manual_seed(1)
    fits = []
    for _ in range(2):
        factor = torch.randn(5, 5, generator=generator, dtype=torch.float64)
        mean = torch.randn(5, generator=generator, dtype=torch.float64)
        fits.append(GaussianFit(mean, factor @ factor.mT))
    first, second = fits
    root = sqrtm((first.covariance @ second.covariance).numpy()).real.trace()
    expected = (first.mean - second.mean).square().sum() + first.covariance.trace()
    expected = float(expected + second.covariance.trace()) - 2.0 * float(root)
    assert gaussian_frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert gaussian_frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_no_way_from_itself_and_a_shift_is_its_square() -> None:
    values = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))  # no full rank
    assert frechet_distance(values, values) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(values, values + 0.1) == pytest.approx(50 * 0.01, rel=1e-3)
    assert frechet_distance(values, values[torch.randperm(30)]) == pytest.approx(0.0, abs=1e-5)


def test_extrapolation_removes_most_of_the_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    dim, count, repeats = 16, 200, 12
    plain, limit = [], []
    for _ in range(repeats):
        first = torch.randn(count, dim, generator=generator)
        second = 2.0 * torch.randn(count, dim, generator=generator) + 0.5
        plain.append(frechet_distance(first, second))
        limit.append(frechet_limit(first, second, generator=generator))
    exact = dim * (0.25 + 1.0)
    biases = [sum(values) / repeats - exact for values in (plain, limit)]
    assert biases[0] > 0.5  # 16 * 17 / 200 and more: the plain value is too large
    assert abs(biases[1]) < 0.35 * biases[0]


def test_bad_samples_are_refused() -> None:
    good = torch.zeros(10, 3)
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(torch.zeros(1, 3), good)
    with pytest.raises(ValueError, match="one dimension"):
        frechet_distance(good, torch.zeros(10, 4))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(good, torch.full((4, 3), math.nan))
    with pytest.raises(ValueError, match="n_sizes"):
        frechet_limit(good, good, generator=torch.Generator(), n_sizes=1)
    with pytest.raises(ValueError, match="one dimension"):
        gaussian_frechet_distance(GaussianFit.of(good), GaussianFit.of(torch.zeros(10, 4)))
