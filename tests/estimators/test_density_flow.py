"""Log densities by the flow of exact denoisers, whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import RectifiedFlow
from sciffusion.estimators.vectors.densities import flow_times
from sciffusion.estimators.vectors.flow import flow_log_density, rademacher_probes
from sciffusion.estimators.vectors.network import PATH, VectorNetwork, vector_denoiser
from sciffusion.estimators.vectors.tables import TableForm
from sciffusion.estimators.vectors.training import _Noise
from sciffusion.exact import ExactDenoiser, ExactTarget, GaussianMixtureTarget, GaussianTarget

MIN_NOISE = 0.003
ONE, ZERO = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.0, 0.4], [0.3, 0.4, 1.0]], dtype=torch.float64)
GAUSSIAN = GaussianTarget.full(COVARIANCE)
MIXTURE = GaussianMixtureTarget.from_stds(
    [0.3, 0.7],
    torch.tensor([[-1.2, 0.5], [0.6, -0.2]], dtype=torch.float64),
    torch.tensor([[0.3, 0.5], [0.5, 0.7]], dtype=torch.float64),
)


def _draws(target: ExactTarget, count: int = 100) -> Tensor:
    return target.draw(count, torch.Generator().manual_seed(0))


def _error(target: ExactTarget, nfe: int) -> float:
    x = _draws(target)
    found = flow_log_density(ExactDenoiser(target, PATH), x, flow_times(nfe, MIN_NOISE)).log_density
    return float((found - target.log_density(x, ONE, ZERO)).abs().mean())


@pytest.mark.parametrize("target", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_flow_of_an_exact_denoiser_gives_the_exact_log_density(target: ExactTarget) -> None:
    assert _error(target, 64) < 2e-3
    assert _error(target, 16) > 2 * _error(target, 64)


def test_the_error_of_the_steps_falls_with_the_fourth_power() -> None:
    x, denoiser = _draws(MIXTURE, 30), ExactDenoiser(MIXTURE, PATH)
    found = {n: flow_log_density(denoiser, x, flow_times(4 * n, 0.1)).log_density for n in (16, 32, 128)}
    coarse, fine = ((found[n] - found[128]).abs().mean() for n in (16, 32))
    assert 3.0 < math.log2(float(coarse / fine)) < 6.0


@pytest.mark.parametrize("level", [0.1, 0.4])
def test_the_density_is_that_of_the_data_blurred_by_the_first_noise(level: float) -> None:
    x = _draws(GAUSSIAN)
    found = flow_log_density(ExactDenoiser(GAUSSIAN, PATH), x, flow_times(256, level)).log_density
    blurred = GaussianTarget.full(COVARIANCE + level**2 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(found, blurred.log_density(x, ONE, ZERO), rtol=0.0, atol=3e-3)


def test_the_difference_to_half_the_steps_is_mostly_larger_than_the_error() -> None:
    x, denoiser, times = _draws(MIXTURE), ExactDenoiser(MIXTURE, PATH), flow_times(64, MIN_NOISE)
    fine = flow_log_density(denoiser, x, times).log_density
    step_error = (fine - flow_log_density(denoiser, x, times[::2]).log_density).abs()
    reference = flow_log_density(denoiser, x, flow_times(256, MIN_NOISE)).log_density
    assert float(((fine - reference).abs() <= step_error + 1e-4).double().mean()) > 0.95


def test_another_path_gives_the_same_density() -> None:
    path = RectifiedFlow()
    x = _draws(GAUSSIAN)
    times = torch.linspace(0.003, 1.0 - 1e-4, 65, dtype=torch.float64)
    found = flow_log_density(ExactDenoiser(GAUSSIAN, path), x, times).log_density
    # A uniform grid resolves little noise worse than the grid of the estimators does.
    np.testing.assert_allclose(found, GAUSSIAN.log_density(x, ONE, ZERO), atol=0.05)


def test_probes_are_unbiased_and_their_standard_error_is_honest() -> None:
    x, denoiser, times = _draws(GAUSSIAN), ExactDenoiser(GAUSSIAN, PATH), flow_times(32, 0.01)
    exact = flow_log_density(denoiser, x, times)
    assert exact.exact
    assert not exact.standard_error.any()
    probes = rademacher_probes(64, 3, torch.Generator().manual_seed(1))
    estimate = flow_log_density(denoiser, x, times, probes=probes)
    assert estimate.by_probe.shape == (64, 100)
    score = (estimate.log_density - exact.log_density) / estimate.standard_error
    # The probes are shared: the errors of all rows are one draw, of about one standard error.
    assert 0.0 < float(score.abs().mean()) < 3.5
    assert 0.01 < float(estimate.standard_error.mean()) < 0.5


def test_all_sign_vectors_together_give_the_exact_divergence() -> None:
    x, denoiser, times = _draws(GAUSSIAN, 10), ExactDenoiser(GAUSSIAN, PATH), flow_times(16, 0.05)
    signs = torch.tensor([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
    every = flow_log_density(denoiser, x, times, probes=signs.double())
    np.testing.assert_allclose(every.log_density, flow_log_density(denoiser, x, times).log_density, atol=1e-9)


def test_known_coordinates_give_the_conditional_density() -> None:
    x = _draws(GAUSSIAN)
    known = torch.tensor([True, False, False])
    found = flow_log_density(ExactDenoiser(GAUSSIAN, PATH), x, flow_times(64, MIN_NOISE), known=known)
    marginal = GaussianTarget.isotropic(1).log_density(x[:, :1], ONE, ZERO)
    expected = GAUSSIAN.log_density(x, ONE, ZERO) - marginal
    assert float((found.log_density - expected).abs().mean()) < 2e-3
    np.testing.assert_array_equal(found.end[:, 0], x[:, 0])


def test_an_unlearned_network_is_the_standard_normal_law() -> None:
    network = VectorNetwork(2, 3, width=8, depth=2, masked=True, generator=torch.Generator().manual_seed(0))
    x = _draws(GAUSSIAN)
    found = flow_log_density(vector_denoiser(network.double()), x, flow_times(32, 0.01)).log_density
    # All that is left is the first noise level: alpha x instead of x.
    np.testing.assert_allclose(found, GaussianTarget.isotropic(3).log_density(x, ONE, ZERO), atol=2e-3)


def test_members_answer_alone_or_together() -> None:
    generator = torch.Generator().manual_seed(0)
    network = VectorNetwork(3, 4, width=8, depth=2, masked=True, generator=generator)
    torch.nn.init.normal_(network.perceptron.output.weight, generator=generator)
    x = torch.randn(5, 4, generator=generator)
    noise = torch.randn(5, generator=generator)
    alone = network(x.expand(3, 5, 4), noise.expand(3, 5))
    torch.testing.assert_close(network(x, noise), alone.mean(0))
    assert not torch.allclose(alone[0], alone[1])
    # The same times an element, and one for all.
    torch.testing.assert_close(network(x, noise[:, None].expand(5, 4)), network(x, noise))
    torch.testing.assert_close(network(x, noise[0]), network(x, noise[:1].expand(5)))


def test_observed_coordinates_are_told_to_the_network_and_returned() -> None:
    generator = torch.Generator().manual_seed(0)
    network = VectorNetwork(2, 3, width=8, depth=2, masked=True, generator=generator)
    torch.nn.init.normal_(network.perceptron.output.weight, generator=generator)
    x = torch.randn(6, 3, generator=generator)
    times = torch.tensor([0.0, 0.4, 0.4], dtype=torch.float64).expand(6, 3)
    clean = vector_denoiser(network).predict(x, times).value
    torch.testing.assert_close(clean[:, 0], x[:, 0])
    blind = vector_denoiser(network).predict(x, 0.4).value
    assert not torch.allclose(clean[:, 1:], blind[:, 1:], atol=1e-3)


def test_given_tables_are_read_or_refused() -> None:
    form = TableForm(["a", "b"], 2)
    table, index = form.cases({"b": 2})
    np.testing.assert_array_equal(table, [[np.nan, 2.0]])
    assert index is None
    for wrong, error, words in [
        ({"c": 1.0}, ValueError, "'c'"),
        ({"a": "x"}, TypeError, "numbers"),
        ({"a": [1.0, 2.0]}, TypeError, r"one number for 'a', got \[1.0, 2.0\]; use a frame"),
        ({"a": np.nan}, ValueError, "finite values, got nan"),
        ({}, ValueError, "at least one column"),
        ([1.0], TypeError, "mapping"),
    ]:
        with pytest.raises(error, match=words):
            form.cases(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"condition_columns; \['b'\] are not there"):
        form.cases({"a": 1.0}, needed=[1])


def test_rows_are_shown_with_every_number_of_observed_coordinates_alike() -> None:
    always = torch.tensor([False, False, False, False, True])
    seen = _Noise(0.0, 1.0, 0.5, always).observed((1, 40_000, 5), torch.Generator().manual_seed(0))
    assert seen is not None
    assert bool(seen[..., 4].all())
    share = torch.bincount(seen[0, :, :4].sum(-1), minlength=5) / 40_000
    # Half of the rows show none; in the others each number from 0 to 4 has the probability 1/5.
    expected = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1])
    torch.testing.assert_close(share, expected, rtol=0.0, atol=0.01)
    nothing = _Noise(0.0, 1.0, 0.0, torch.zeros(5, dtype=torch.bool))
    assert nothing.observed((1, 3, 5), torch.Generator()) is None
