"""The law of the draws: the base's Gaussian without a network or with one that has learned nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.stats import kstest

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.window_network import WindowNetwork

Floats = NDArray[np.float64]


def autoregressions(count: int, length: int, phi: float = 0.7, channels: int = 1, seed: int = 0) -> Floats:
    """Return stationary AR(1) series whose channels have innovations of correlation one half."""
    generator = np.random.default_rng(seed)
    mixing = np.linalg.cholesky(0.5 * np.eye(channels) + 0.5)
    shocks = generator.normal(size=(count, length + 50, channels)) @ mixing.T
    values = np.zeros_like(shocks)
    for step in range(1, length + 50):
        values[:, step] = phi * values[:, step - 1] + shocks[:, step]
    return values[:, 50:]


def plain(**parameters: Any) -> DiffusionForecaster:
    given = {"horizon": 4, "network_off": True, "calibrate": False, "nonnegative": False, "random_state": 0}
    return DiffusionForecaster(**{**given, **parameters})


@pytest.fixture(scope="module")
def two_channels() -> DiffusionForecaster:
    return plain().fit(autoregressions(10, 60, channels=2))


def test_without_a_network_draws_have_the_moments_of_the_law(two_channels: DiffusionForecaster) -> None:
    model, panel = two_channels.model_, two_channels.panel_
    series = model.base.series(panel)
    forecast = model.base.forecast(series, series.last_windows())
    location = forecast.location.reshape(10, 2, 4)
    scale = (forecast.scale * model.law.std).reshape(10, 2, 4)
    draws = two_channels.sample(n_samples=4000)
    # Antithetic pairs have the location for their mean, exactly.
    assert_allclose(draws.mean(axis=1), np.swapaxes(location, 1, 2), rtol=1e-5, atol=1e-5)
    steps = model.law.factor @ model.law.factor.T
    channels = model.law.channel_factor @ model.law.channel_factor.T
    law = np.kron(channels, steps)
    unit = (np.moveaxis(draws, 3, 2) - location[:, None]) / scale[:, None]
    found = np.cov(unit.reshape(-1, 8).T)
    assert_allclose(np.diag(law), 1.0)
    # 20 000 independent pairs: standard errors of at most 0.01.
    assert_allclose(found, law, atol=0.04)
    half = unit[:, :2000].reshape(-1, 8)
    assert kstest(half[::7, 3], "norm").pvalue > 1e-3


def test_the_law_is_near_that_of_the_errors_of_an_autoregression() -> None:
    phi = 0.7
    values = autoregressions(150, 105, phi)[..., 0]
    model = plain(horizon=5).fit(values[:, :100])
    draws = model.sample(n_samples=200)
    centre = draws.mean(axis=1)
    unit = draws - centre[:, None]
    found = np.einsum("nsi,nsj->ij", unit, unit) / (150 * 200)
    lag = np.arange(5)
    # The error i steps ahead is the sum of phi^(i-k) e_k over k <= i, if the forecast is the best.
    weights = np.where(lag[:, None] >= lag, phi ** np.maximum(lag[:, None] - lag, 0.0), 0.0)
    exact = weights @ weights.T
    correlation = found / np.sqrt(np.outer(np.diag(found), np.diag(found)))
    assert_allclose(correlation, exact / np.sqrt(np.outer(np.diag(exact), np.diag(exact))), atol=0.1)
    errors = ((values[:, 100:] - centre) ** 2).mean(axis=0)
    assert_allclose(np.diag(found).sum(), errors.sum(), rtol=0.15)
    assert np.diag(found).sum() < 1.4 * np.diag(exact).sum()


@pytest.mark.parametrize("nfe", [2, 5, 16])
def test_a_network_that_has_learned_nothing_changes_no_draw(nfe: int) -> None:
    tiny = {"n_members": 2, "width": 16, "depth": 2, "max_steps": 2, "batch_size": 16}
    forecaster = plain(network_off=False, **tiny).fit(autoregressions(3, 60))
    trained = forecaster.model_
    assert trained.network is not None
    blank = WindowNetwork(**trained.network.sizes, generator=torch.Generator().manual_seed(1)).eval()
    forecaster.model_ = replace(trained, network=None)
    without = forecaster.sample(n_samples=9, h=7)
    forecaster.model_ = replace(trained, network=blank)
    assert_allclose(forecaster.sample(n_samples=9, h=7, nfe=nfe), without, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        blank.perceptron.output.bias += 0.5
    assert np.abs(forecaster.sample(n_samples=9, h=7, nfe=nfe) - without).max() > 0.1


def test_equal_seeds_give_equal_paths() -> None:
    values = autoregressions(3, 60)[..., 0]
    tiny = {"network_off": False, "n_members": 2, "width": 16, "max_steps": 5, "batch_size": 16}
    one, same, other = (plain(**{**tiny, "random_state": seed}).fit(values) for seed in (5, 5, 6))
    assert_array_equal(one.sample(), same.sample())
    assert (one.sample() != other.sample()).mean() > 0.99
    assert_array_equal(one.sample(), one.sample())
    assert_array_equal(one.sample(random_state=8), same.sample(random_state=8))


def test_series_and_channels_do_not_share_their_noise(two_channels: DiffusionForecaster) -> None:
    draws = two_channels.sample(n_samples=2000)[:, :1000, 0]  # one of each pair; (series, draws, channels)
    found = np.corrcoef(np.moveaxis(draws, 1, 2).reshape(20, 1000))
    between = found.reshape(10, 2, 10, 2)
    apart = ~np.eye(10, dtype=bool)
    assert np.abs(between[:, 0, :, 0][apart]).max() < 0.2
    expected = (two_channels.model_.law.channel_factor @ two_channels.model_.law.channel_factor.T)[0, 1]
    assert expected == pytest.approx(0.5, abs=0.15)
    assert_allclose(np.diagonal(between[:, 0, :, 1]), expected, atol=0.12)


def test_quantiles_intervals_and_medians_agree_with_the_draws() -> None:
    import pandas as pd

    values = autoregressions(2, 60)[..., 0]
    frame = pd.DataFrame(
        {"unique_id": np.repeat(["a", "b"], 60), "ds": np.tile(np.arange(60), 2), "y": values.ravel()}
    )
    model = plain(n_samples=199).fit(frame)
    paths = model.sample().pivot(index=["unique_id", "ds"], columns="sample_id", values="y").to_numpy()
    points, quantiles = model.predict(level=(80,)), model.predict_quantiles(quantiles=[0.1, 0.5, 0.9])
    assert_allclose(points["DiffusionForecaster"], np.median(paths, axis=1))
    assert_allclose(points["DiffusionForecaster"], quantiles["DiffusionForecaster-q-50"])
    # Position k / (n + 1) of 199 draws is the k-th: 20 and 180.
    ordered = np.sort(paths, axis=1)
    for place, tail, level in ((19, "lo", 10), (179, "hi", 90)):
        assert_allclose(points[f"DiffusionForecaster-{tail}-80"], ordered[:, place])
        assert_allclose(quantiles[f"DiffusionForecaster-q-{level}"], ordered[:, place])


def test_beyond_the_horizon_series_do_not_share_their_noise() -> None:
    model = plain(horizon=2).fit(autoregressions(8, 60)[..., 0])
    last = model.sample(n_samples=300, h=6)[..., 5]
    last = last - model.predict(h=6)[:, None, 5]
    found = np.corrcoef(last)
    assert np.abs(found[~np.eye(8, dtype=bool)]).max() < 0.3
