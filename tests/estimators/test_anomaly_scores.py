"""What each measure of strangeness says where the right answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from sciffusion.continuous import ContinuousPrediction, PointwiseDenoiser
from sciffusion.estimators.anomaly import DiffusionAnomalyDetector
from sciffusion.estimators.vectors import anomaly_scores
from sciffusion.estimators.vectors.anomaly_scores import (
    LEVELS,
    N_INTERVALS,
    NoiseLevelNetwork,
    denoising_errors,
    denoising_panel,
    expected_interval,
    noise_level_objective,
    posterior_noise_level,
)
from sciffusion.estimators.vectors.network import PATH, VectorNetwork
from sciffusion.exact import ExactDenoiser, GaussianTarget


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _exact(monkeypatch: pytest.MonkeyPatch, denoiser: PointwiseDenoiser) -> VectorNetwork:
    """Put an exact denoiser in the place of the network's."""
    monkeypatch.setattr(anomaly_scores, "vector_denoiser", lambda network: denoiser)
    return VectorNetwork(2, 3, width=2, depth=1, masked=False, generator=_generator())


def test_the_panel_is_antithetic_and_each_member_has_noise_of_its_own() -> None:
    panel = denoising_panel(3, 5, 4, _generator())
    assert panel.shape == (3, 5, 4)
    assert_array_equal(panel[:, 0], -panel[:, 1])
    assert_array_equal(panel[:, 2], -panel[:, 3])
    assert not torch.equal(panel[0], panel[1])


def test_an_exact_denoiser_has_the_error_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    std = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    network = _exact(monkeypatch, ExactDenoiser(GaussianTarget.diagonal(std), PATH))
    rows = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]], dtype=torch.float64)
    panel = denoising_panel(2, 300, 3, _generator())
    found = denoising_errors(network, rows, panel).exp()
    for column, level in enumerate(LEVELS):
        cosine, sine = math.cos(math.atan(level)), math.sin(math.atan(level))
        gain = cosine * std**2 / (cosine**2 * std**2 + sine**2)
        # D - x = (gain cos - 1) x + gain sin eps, coordinate by coordinate.
        expected = ((gain * cosine - 1.0) * rows).square().sum(-1) + (gain * sine).square().sum()
        assert_allclose(found[:, column], expected, rtol=0.15)
    assert (found[1] > found[0]).all()


def test_a_denoiser_that_returns_the_truth_meets_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 3, generator=_generator(), dtype=torch.float64)

    class Perfect(PointwiseDenoiser):
        path = PATH

        def predict(self, x: Tensor, t: Tensor | float, condition: object = None) -> ContinuousPrediction:
            return ContinuousPrediction(rows.expand(x.shape), "x0")

    found = denoising_errors(_exact(monkeypatch, Perfect()), rows, denoising_panel(2, 2, 3, _generator()))
    assert torch.isfinite(found).all()
    assert (found < -20.0).all()


def test_the_posterior_noise_level_is_the_mode_of_the_inverse_gamma_law() -> None:
    dim, squared = 6, np.array([[1.0, 2.0, 6.0]])
    variances = np.linspace(1e-3, 5.0, 200_001)
    a, b = dim / 2 - 1, 0.5 * squared.mean()
    log_density = -(a + 1) * np.log(variances) - b / variances
    assert_allclose(posterior_noise_level(squared, dim) ** 2, variances[log_density.argmax()], atol=1e-4)


def test_neighbours_rank_rows_as_distances_do() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(200, 3)) * [1.0, 5.0, 0.1], rng.normal(size=(50, 3)) * [2.0, 9.0, 0.3]
    model = DiffusionAnomalyDetector(measure="neighbours", n_neighbors=4).fit(train)
    scale = train.std(axis=0)
    search = NearestNeighbors(n_neighbors=4).fit(train / scale)
    squared = (search.kneighbors(test / scale)[0] ** 2).mean(axis=1)
    assert_array_equal(rankdata(-model.score_samples(test)), rankdata(squared))
    # A training row is judged by the others.
    alone = (search.kneighbors()[0] ** 2).mean(axis=1)
    assert_allclose(-model.score_samples(train), np.sqrt(alone / 3), rtol=1e-9)


def test_the_classifier_learns_the_law_of_the_noise_level() -> None:
    # One training point: the best guess from x is the posterior of log sigma, which can be computed.
    dim = 4
    network = NoiseLevelNetwork(1, dim, width=32, depth=2, generator=_generator())
    stream, optimiser = _generator(), torch.optim.AdamW(network.parameters(), lr=5e-3)
    x0, weights = torch.zeros(1, 256, dim), torch.ones(1, 256)
    for step in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1.0 - step / 300)
        optimiser.zero_grad()
        noise_level_objective(network, x0, weights, stream).sum().backward()
        optimiser.step()
    radius = torch.tensor([0.4, 0.8, 1.5, 3.0])
    rows = torch.zeros(4, dim)
    rows[:, 0] = radius
    log_sigma = torch.linspace(math.log(0.02), math.log(2.0), 7001)[:-1]
    log_likelihood = -dim * log_sigma - 0.5 * (radius[:, None] / log_sigma.exp()) ** 2
    posterior = torch.softmax(log_likelihood, dim=1)
    exact = (posterior * (torch.arange(7000) // 1000)).sum(1)
    assert_allclose(expected_interval(network, rows), exact, atol=0.25)
    assert N_INTERVALS == 7


def test_weights_of_zero_do_not_count_for_the_classifier() -> None:
    network = NoiseLevelNetwork(2, 3, width=8, depth=1, generator=_generator())
    torch.nn.init.normal_(network.perceptron.output.weight, generator=_generator())
    x0 = torch.randn(2, 10, 3, generator=_generator())
    weights = torch.ones(2, 10)
    weights[:, 5:] = 0.0
    other = x0.clone()
    other[:, 5:] = 100.0
    losses = [noise_level_objective(network, one, weights, _generator()) for one in (x0, other)]
    torch.testing.assert_close(losses[0], losses[1])


def test_errors_are_standardised_by_the_weighted_training_rows() -> None:
    random = np.random.default_rng(0)
    rows, weights = random.normal(size=(80, 3)), random.uniform(0.2, 5.0, size=80)
    detector = DiffusionAnomalyDetector(random_state=0, max_steps=5, n_members=1, width=8, depth=2, n_draws=2)
    errors = detector.fit(rows, sample_weight=weights).log_errors(rows)
    share = weights / weights.sum()
    assert_allclose(share @ errors, 0.0, atol=1e-5)
    assert_allclose(share @ errors**2, 1.0, atol=1e-4)
