"""Log densities by the flow and by models that know them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

T0 = torch.zeros((), dtype=torch.float64)


def _truth(law: Any, x: np.ndarray) -> np.ndarray:
    values: Tensor = law.log_density(torch.from_numpy(x), T0)
    return values.numpy()


@pytest.mark.parametrize("variance", [0.3, 4.0])
def test_densities_of_a_harmonic_cluster_are_exact(harmonic: Any, variance: float) -> None:
    law = harmonic(variance, variance)
    x = np.random.default_rng(0).normal(size=(7, 3, 2)) * variance**0.5
    model = law.model(nfe=160)
    found = model.score_samples(x)
    np.testing.assert_allclose(found, _truth(law, x), atol=2e-3)
    np.testing.assert_allclose(model.score_samples(x + 5.0), found, atol=2e-3)
    np.testing.assert_allclose(model.score_samples(x[2:4]), found[2:4], atol=1e-4)
    assert model.score(x) == pytest.approx(found.mean())
    weights = np.arange(7.0)
    assert model.score(x, sample_weight=weights) == pytest.approx(np.average(found, weights=weights))


def test_densities_of_a_stretched_cluster_are_nearly_so(harmonic: Any) -> None:
    law = harmonic(2.0, 0.2)
    x = np.random.default_rng(0).normal(size=(9, 3, 2)) * np.sqrt([2.0, 0.2])
    found = law.model(nfe=160, max_noise=50.0).score_samples(x)
    np.testing.assert_allclose(found, _truth(law, x), atol=0.01)


def test_probes_are_unbiased(harmonic: Any) -> None:
    law = harmonic(2.0, 0.2)
    x = np.random.default_rng(0).normal(size=(200, 3, 2)) * np.sqrt([2.0, 0.2])
    exact = law.model(nfe=40, divergence=None)
    probed = law.model(nfe=40, divergence=None, n_probes=1)
    gap = probed.score_samples(x) - exact.score_samples(x)
    assert gap.std() > 0.0
    assert abs(gap.mean()) < 4.0 * gap.std() / np.sqrt(len(gap))


def test_models_that_know_densities_give_them_up_to_a_constant(harmonic: Any) -> None:
    law = harmonic(2.0, 0.2)
    x = np.random.default_rng(0).normal(size=(9, 3, 2)) * np.sqrt([2.0, 0.2])
    found = law.model().score_samples(x, normalised=False)
    gap = found - _truth(law, x)
    np.testing.assert_allclose(gap - gap.mean(), 0.0, atol=1e-3)
    with pytest.raises(ValueError, match="energy_based=True"):
        law.model(log_density=None).score_samples(x, normalised=False)
    with pytest.raises(TypeError, match="normalised"):
        law.model().score_samples(x, normalised="no")


def test_other_shapes_are_refused(harmonic: Any) -> None:
    model = harmonic(1.0, 1.0).model()
    with pytest.raises(ValueError, match="3 atoms in 2 dimensions"):
        model.score_samples(np.random.default_rng(0).normal(size=(4, 4, 2)))
    with pytest.raises(ValueError, match="nfe"):
        model.score_samples(np.random.default_rng(0).normal(size=(4, 3, 2)), nfe=3)
