"""The law of residuals in gaps is that of an autoregression pinned at its known values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciffusion.domains.forecasting.gap_law import (
    bridge_noise,
    chain_of_gaps,
    distances_to_known,
    estimate_persistence,
    persistence,
)
from sciffusion.exact import AutoregressiveTarget

PHIS = (0.0, 0.3, 0.7, 0.95)


def chain_of(unknown: np.ndarray, phi: float) -> np.ndarray:
    """Return the chain of a mask."""
    return chain_of_gaps(*distances_to_known(unknown), unknown, phi)


def factor_of(chain: np.ndarray) -> np.ndarray:
    """Return the matrix that turns white noise into the noise of a chain, one column an input."""
    white = torch.eye(len(chain), dtype=torch.float64)
    return bridge_noise(white, torch.from_numpy(chain)).numpy().T


@pytest.mark.parametrize("phi", PHIS)
def test_bridges_have_the_conditional_correlation_of_the_autoregression(phi: float) -> None:
    unknown = np.zeros(16, dtype=bool)
    unknown[[0, 1, 4, 5, 6, 7, 9, 13, 14, 15]] = True
    target = AutoregressiveTarget(torch.tensor([phi]), 1.0, len(unknown))
    known = torch.from_numpy(~unknown)
    covariance = target.conditional(known, torch.zeros(int(known.sum()))).covariance.numpy()
    deviation = np.sqrt(np.diag(covariance))
    factor = factor_of(chain_of(unknown, phi))[unknown][:, unknown]
    np.testing.assert_allclose(factor @ factor.T, covariance / np.outer(deviation, deviation), atol=1e-7)


def test_a_bridge_goes_on_from_a_drawn_value_as_the_conditional_law_says() -> None:
    """The continued chain and the shares of the scale multiply to the chain that was not cut."""
    phi, cut = 0.8, 4
    unknown = np.array([False, *[True] * 9, False])
    left, right = distances_to_known(unknown)
    whole = persistence(left, right, phi)
    share = np.cumprod(whole[cut + 1 :])
    own = persistence(np.where(left > 0, left - cut, 0.0), right, phi)[cut + 1 :]
    # correlation of neighbours given the value at the cut, from the whole chain
    rest = whole[cut + 2 : -1] - share[1:-1] * share[:-2]
    given = rest / np.sqrt((1 - share[:-2] ** 2) * (1 - share[1:-1] ** 2))
    np.testing.assert_allclose(own[1:-1], given, atol=1e-12)


def test_distances_count_to_the_nearest_known_place() -> None:
    left, right = distances_to_known(np.array([[True, False, True, True, False, True]]))
    np.testing.assert_array_equal(left, [[np.inf, 0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(right, [[1, 0, 2, 1, 0, np.inf]])


@pytest.mark.parametrize("phi", [0.2, 0.6, 0.95])
def test_the_coefficient_is_found_from_products_of_neighbours(phi: float) -> None:
    unknown = np.random.default_rng(0).random((300, 60)) < 0.7
    left, right = distances_to_known(unknown)
    chain = chain_of_gaps(left, right, unknown, phi)
    white = torch.randn(chain.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = bridge_noise(white, torch.from_numpy(chain)).numpy()
    pairs = unknown[:, 1:] & unknown[:, :-1]
    products = (noise[:, 1:] * noise[:, :-1])[pairs]
    found = estimate_persistence(products, left[:, 1:][pairs], right[:, 1:][pairs])
    assert found == pytest.approx(phi, abs=0.051)


def test_without_pairs_the_coefficient_is_a_half() -> None:
    assert estimate_persistence(np.empty(0), np.empty(0), np.empty(0)) == 0.5
