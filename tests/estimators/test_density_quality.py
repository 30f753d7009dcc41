"""What `DensityDiffusion` learns, against laws that are known and against other estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from sciffusion.estimators.density import DensityDiffusion

Floats = NDArray[np.float64]
CORRELATION = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.4], [0.3, 0.4, 1.0]])
SPREAD, CENTRE = np.array([1.0, 10.0, 0.1]), np.array([5.0, 0.0, 1.0])
COVARIANCE = CORRELATION * np.outer(SPREAD, SPREAD)
SMALL: dict[str, Any] = {
    "width": 48, "depth": 3, "learning_rate": 0.01, "batch_size": 256, "density_nfe": 32, "random_state": 0
}  # fmt: skip


def _rows(count: int, seed: int) -> Floats:
    return np.random.default_rng(seed).multivariate_normal(CENTRE, COVARIANCE, size=count)


@pytest.fixture(scope="module")
def gaussian() -> DensityDiffusion:
    return DensityDiffusion(mask_share=0.7, max_steps=900, **{**SMALL, "depth": 2}).fit(_rows(4000, 0))


def _divergence(model: DensityDiffusion) -> float:
    """Estimate the Kullback-Leibler divergence from the true law to the model's, in nats."""
    rows = _rows(400, 1)
    return float((multivariate_normal(CENTRE, COVARIANCE).logpdf(rows) - model.score_samples(rows)).mean())


def test_the_density_approaches_that_of_gaussian_data(gaussian: DensityDiffusion) -> None:
    learned = _divergence(gaussian)
    # Independent columns, all that an unlearned network knows, are 0.65 nats away.
    unlearned = _divergence(DensityDiffusion(max_steps=1, **SMALL).fit(_rows(2000, 0)))
    assert unlearned == pytest.approx(-0.5 * np.log(np.linalg.det(CORRELATION)), abs=0.1)
    assert -0.02 < learned < 0.06


def test_draws_have_the_moments_of_the_data(gaussian: DensityDiffusion) -> None:
    drawn = gaussian.sample(4000, random_state=0)
    np.testing.assert_allclose((drawn.mean(axis=0) - CENTRE) / SPREAD, 0.0, atol=0.12)
    np.testing.assert_allclose(drawn.std(axis=0) / SPREAD, 1.0, atol=0.08)
    np.testing.assert_allclose(np.corrcoef(drawn.T), CORRELATION, atol=0.06)


def test_imputed_values_have_the_conditional_mean_and_variance(gaussian: DensityDiffusion) -> None:
    rows = _rows(150, 2)
    holes = rows.copy()
    holes[:, 1] = np.nan
    drawn = gaussian.impute(holes, 100, random_state=0)[:, :, 1]
    others = [0, 2]
    gain = COVARIANCE[1, others] @ np.linalg.inv(COVARIANCE[np.ix_(others, others)])
    mean = (rows[:, others] - CENTRE[others]) @ gain
    variance = COVARIANCE[1, 1] - gain @ COVARIANCE[others, 1]
    # The mean over 100 draws adds a hundredth of the variance; a marginal draw would err by 1.3 of it.
    error = ((drawn.mean(axis=0) - mean) ** 2).mean() / variance
    assert error < 0.12
    assert drawn.var(axis=0, ddof=1).mean() / variance == pytest.approx(1.0, abs=0.15)


def test_draws_given_a_column_follow_the_conditional_law(gaussian: DensityDiffusion) -> None:
    drawn = gaussian.sample(2000, given={0: 6.5}, random_state=0)
    assert (drawn[:, 0] == 6.5).all()
    for column in (1, 2):
        correlation = CORRELATION[0, column]
        z = (drawn[:, column] - CENTRE[column]) / SPREAD[column]
        assert z.mean() == pytest.approx(1.5 * correlation, abs=0.2)
        assert z.std() == pytest.approx(np.sqrt(1.0 - correlation**2), abs=0.1)


def test_condition_columns_give_the_conditional_density() -> None:
    model = DensityDiffusion(condition_columns=0, mask_share=0.0, max_steps=500, **SMALL).fit(_rows(2000, 0))
    rows = _rows(300, 1)
    joint = multivariate_normal(CENTRE, COVARIANCE).logpdf(rows)
    marginal = multivariate_normal(CENTRE[0], COVARIANCE[0, 0]).logpdf(rows[:, 0])
    assert -0.03 < float((joint - marginal - model.score_samples(rows)).mean()) < 0.08
    drawn = model.sample(500, given={0: 3.5}, random_state=0)
    assert ((drawn[:, 1] - CENTRE[1]) / SPREAD[1]).mean() == pytest.approx(-1.2, abs=0.25)


def test_two_moons_are_described_better_than_by_kernels_and_mixtures() -> None:
    train, _ = make_moons(2000, noise=0.08, random_state=0)
    test, _ = make_moons(1000, noise=0.08, random_state=1)
    model = DensityDiffusion(mask_share=0.0, max_steps=1000, density_nfe=32, random_state=0).fit(train)
    widths = np.geomspace(0.02, 0.3, 8)
    kernel = max(KernelDensity(bandwidth=width).fit(train).score(test) / len(test) for width in widths)
    mixture = GaussianMixture(4, random_state=0).fit(train).score(test)
    found = model.score(test)
    assert found > mixture
    assert found > kernel - 0.05


def test_little_noise_resolves_what_much_noise_blurs() -> None:
    # Two columns that are equal up to 2 % of their spread: the density knows it to the scale of min_noise.
    rng = np.random.default_rng(0)
    first = rng.normal(size=2000)
    rows = np.stack([first, first + 0.02 * rng.normal(size=2000)], axis=1)
    scores = [
        DensityDiffusion(min_noise=noise, mask_share=0.0, max_steps=300, **SMALL).fit(rows).score(rows[:300])
        for noise in (0.3, 0.01)
    ]
    assert scores[1] > scores[0] + 0.5
