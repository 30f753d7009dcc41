"""Paths in which events hold: moments of the Gaussian conditional law, and consistency with plain draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from sciffusion import DiffusionForecaster

HORIZON = 5


def _mean(paths: torch.Tensor) -> torch.Tensor:
    return paths.mean(-1)


def _last(paths: torch.Tensor) -> torch.Tensor:
    return paths[:, -1]


def _walks(count: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(2).normal(size=(count, 120)), axis=1)


@pytest.fixture(scope="module")
def gaussian() -> DiffusionForecaster:
    model = DiffusionForecaster(
        horizon=HORIZON, network_off=True, calibrate=False, nonnegative=False, random_state=0
    )
    return model.fit(_walks(2))


@pytest.fixture(scope="module")
def trained() -> DiffusionForecaster:
    model = DiffusionForecaster(
        horizon=HORIZON,
        max_steps=30,
        n_members=2,
        width=32,
        batch_size=32,
        learning_rate=1e-2,
        random_state=0,
    )
    return model.fit(_walks(2))


def _law(model: DiffusionForecaster, place: int) -> tuple[np.ndarray, np.ndarray]:
    fitted = model.model_
    series = fitted.base.series(model.panel_)
    prepared = fitted.prepare(series, series.last_windows())
    root = prepared.scale[place][:, None] * fitted.law.factor
    return prepared.location[place], root @ root.T


def _assert_moments(paths: np.ndarray, weights: np.ndarray, size: float, mean: Any, covariance: Any) -> None:
    """Compare weighted moments with exact ones, within errors of an effective sample size."""
    deviations = np.sqrt(np.diag(covariance))
    found = weights @ paths
    assert (np.abs(found - mean) < 4.0 * deviations / np.sqrt(size)).all()
    away = paths - found
    spread = (weights[:, None] * away).T @ away
    errors = np.sqrt((np.outer(deviations, deviations) ** 2 + covariance**2) / size)
    assert (np.abs(spread - covariance) < 4.5 * errors).all()


@pytest.mark.parametrize("distance", [0.5, 3.5])
def test_noisy_linear_observations_give_the_gaussian_conditional_law(
    gaussian: DiffusionForecaster, distance: float
) -> None:
    weights = np.stack([np.full(HORIZON, 1.0 / HORIZON), np.eye(HORIZON)[-1]])
    targets, laws = [], []
    for place in range(2):
        mean, covariance = _law(gaussian, place)
        kernel = weights @ covariance @ weights.T
        noise = np.sqrt(np.diag(kernel)) * 0.3
        target = weights @ mean + np.array([distance, -0.3]) * np.sqrt(np.diag(kernel))
        gain = covariance @ weights.T @ np.linalg.inv(kernel + np.diag(noise**2))
        targets.append((target, noise))
        laws.append((mean + gain @ (target - weights @ mean), covariance - gain @ weights @ covariance))
    for place in range(2):
        target, noise = targets[place]
        condition = [(_mean, "==", target[0], noise[0]), (_last, "==", target[1], noise[1])]
        found = gaussian.sample(n_samples=4000, condition=condition)
        assert found.weights.sum(1) == pytest.approx(1.0)
        assert found.effective_sample_size[place] > 1500
        size = found.effective_sample_size[place]
        _assert_moments(found.paths[place], found.weights[place], size, *laws[place])
        chosen = gaussian.sample(n_samples=2000, condition=condition, return_weights=False)
        assert chosen.shape == (2, 2000, HORIZON)
        _assert_moments(chosen[place], np.full(2000, 1 / 2000), 1000, *laws[place])


def test_paths_beyond_a_rare_threshold_have_the_truncated_mean(gaussian: DiffusionForecaster) -> None:
    beta = 3.5
    mean, covariance = _law(gaussian, 0)
    weights = np.full(HORIZON, 1.0 / HORIZON)
    std = np.sqrt(weights @ covariance @ weights)
    found = gaussian.sample(n_samples=4000, condition=(_mean, ">", weights @ mean + beta * std))
    inside = found.weights[0] > 0.0
    assert (found.paths[0].mean(-1)[inside] > weights @ mean + beta * std).all()
    hazard = norm.pdf(beta) / norm.sf(beta)
    expected = mean + covariance @ weights / std * hazard
    errors = np.sqrt(np.diag(covariance) / found.effective_sample_size[0])
    assert (np.abs(found.weights[0] @ found.paths[0] - expected) < 4.0 * errors).all()


def test_conditional_paths_of_a_network_are_its_own_paths_in_which_the_event_holds(
    trained: DiffusionForecaster,
) -> None:
    plain = trained.sample(n_samples=8000, random_state=3)[0]
    value = float(np.quantile(plain.max(-1), 0.9))
    found = trained.sample(n_samples=3000, condition=(lambda y: y.amax(-1), ">", value))
    hits = plain[plain.max(-1) > value]
    errors = hits.std(0) * np.hypot(len(hits) ** -0.5, found.effective_sample_size[0] ** -0.5)
    assert (np.abs(found.weights[0] @ found.paths[0] - hits.mean(0)) < 4.0 * errors).all()


def test_functions_without_gradient_and_long_horizons_weigh_plain_draws(trained: DiffusionForecaster) -> None:
    def rises(paths: torch.Tensor) -> torch.Tensor:
        return (paths.diff(dim=-1) > 0).sum(-1)

    found = trained.sample(n_samples=400, condition=(rises, ">=", 3))
    plain = trained.sample(n_samples=400)
    np.testing.assert_array_equal(found.paths, plain)
    np.testing.assert_array_equal(found.weights > 0, (np.diff(plain, axis=-1) > 0).sum(-1) >= 3)
    middle = float(trained.sample(7, n_samples=50)[:, :, -1].mean())
    longer = trained.sample(7, n_samples=50, condition=(_last, ">", middle - 20.0))
    assert longer.paths.shape == (2, 50, 7)
    assert (longer.weights > 0).any(1).all()


def test_frames_get_a_weight_column_and_state_what_it_is_worth() -> None:
    dates = pd.date_range("2024-01-01", periods=120, freq="D")
    df = pd.concat(
        [pd.DataFrame({"unique_id": f"s{k}", "ds": dates, "y": walk}) for k, walk in enumerate(_walks(2))]
    )
    model = DiffusionForecaster(
        horizon=3, network_off=True, calibrate=False, nonnegative=False, random_state=0
    ).fit(df)
    highs = model.sample(n_samples=400).groupby("unique_id")["y"].quantile(0.9)
    found = model.sample(n_samples=300, condition=(_last, ">", highs))
    assert list(found.columns) == ["unique_id", "ds", "sample_id", "y", "weight"]
    paths = found.groupby(["unique_id", "sample_id"]).agg(last=("y", "last"), weight=("weight", "first"))
    assert paths["weight"].groupby("unique_id").sum().to_numpy() == pytest.approx([1.0, 1.0])
    above = paths["last"] > paths.index.get_level_values(0).map(highs).to_numpy()
    assert (above == (paths["weight"] > 0)).all()
    assert set(found.attrs["effective_sample_size"]) == {"s0", "s1"}
    chosen = model.sample(n_samples=30, condition=(_last, ">", highs), return_weights=False)
    assert list(chosen.columns) == ["unique_id", "ds", "sample_id", "y"]
    lasts = chosen.groupby(["unique_id", "sample_id"])["y"].last()
    assert (lasts > lasts.index.get_level_values(0).map(highs).to_numpy()).all()


def test_equal_seeds_give_equal_paths_and_others_do_not_matter(trained: DiffusionForecaster) -> None:
    condition = (_mean, ">", np.array([0.0, 1.0]) + trained.predict().mean(1))
    first = trained.sample(n_samples=50, condition=condition)
    again = trained.sample(n_samples=50, condition=condition)
    np.testing.assert_array_equal(first.paths, again.paths)
    other = trained.sample(n_samples=50, condition=condition, random_state=5)
    assert np.abs(other.paths - first.paths).max() > 1e-3
    alone = trained.sample(_walks(2)[:1], n_samples=50, condition=(_mean, ">", float(condition[2][0])))
    np.testing.assert_allclose(alone.paths[0], first.paths[0], rtol=1e-3, atol=1e-3)


def test_bad_conditions_are_refused(gaussian: DiffusionForecaster) -> None:
    with pytest.raises(ValueError, match="give the tolerance as its noise"):
        gaussian.sample(n_samples=10, condition=(_mean, "==", 0.0))
    with pytest.raises(ValueError, match=r"no path fulfils the condition for the series \[0, 1\]"):
        gaussian.sample(n_samples=10, condition=(lambda y: torch.tanh(y).sum(-1), ">", 1e3))
    with pytest.raises(TypeError, match="return_weights"):
        gaussian.sample(n_samples=10, condition=(_mean, ">", 0.0), return_weights="no")


def test_few_effective_paths_come_with_a_warning(gaussian: DiffusionForecaster) -> None:
    def steps(paths: torch.Tensor) -> torch.Tensor:  # no gradient: plain draws are all there is
        return paths[:, -1].detach()

    high = np.quantile(gaussian.sample(n_samples=200)[:, :, -1], 0.97, axis=1)
    with pytest.warns(UserWarning, match="tell no more than"):
        gaussian.sample(n_samples=200, condition=(steps, ">", high))
