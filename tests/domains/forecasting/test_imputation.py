"""Imputation: exact laws where they are known, and what users are promised about their frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sciffusion import DiffusionForecaster
from sciffusion.domains.forecasting.gap_draws import draw_gaps
from sciffusion.domains.forecasting.panel import Panel
from sciffusion.exact import AutoregressiveTarget

TINY = {"n_members": 2, "width": 32, "batch_size": 32, "max_steps": 30, "random_state": 0}


def walks(count: int, length: int, seed: int) -> np.ndarray:
    """Return random walks of unit steps."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(count, length)), axis=1)


@pytest.fixture(scope="module")
def gaussian() -> DiffusionForecaster:
    """Return a forecaster of random walks with the network off."""
    return DiffusionForecaster(horizon=4, network_off=True, random_state=0).fit(walks(20, 500, 0))


@pytest.fixture(scope="module")
def networked() -> DiffusionForecaster:
    """Return a forecaster with a little network."""
    t = np.arange(120)
    X = 10 + 3 * np.sin(t * np.pi / 6) + 0.3 * walks(4, 120, 1)
    return DiffusionForecaster(horizon=6, season_length=12, **TINY).fit(X)


@pytest.fixture(params=["gaussian", "networked"])
def model(request: pytest.FixtureRequest) -> DiffusionForecaster:
    """Either forecaster."""
    fitted: DiffusionForecaster = request.getfixturevalue(request.param)
    return fitted


def pierced(X: np.ndarray, share: float = 0.3) -> np.ndarray:
    """Return an array with holes of every kind: single ones, a long one, at the beginning, at the end."""
    holed = np.where(np.random.default_rng(2).random(X.shape) < share, np.nan, X)
    holed[0, 30:90] = np.nan
    holed[1, :9] = np.nan
    holed[2, -3:] = np.nan
    holed[3, -17:] = np.nan
    return holed


# ------------------------------------------------------------------ laws


def test_gaps_of_a_random_walk_have_the_law_of_the_brownian_bridge(gaussian: DiffusionForecaster) -> None:
    """Compared with the exact conditional law of an autoregression whose coefficient is next to 1.

    Tolerances: means within .25 of the exact deviation (the stack was learned from 10,000 steps, which find
    each weight to a few hundredths), covariances within 12 % of the largest (4,000 draws give 2 %).
    """
    row = walks(1, 60, 5)
    unknown = np.zeros(60, dtype=bool)
    unknown[[20, 21, 22, 23, 24, 25, 30, 31, 40]] = True
    target = AutoregressiveTarget(torch.tensor([0.99999]), 1.0, 60)
    exact = target.conditional(torch.from_numpy(~unknown), torch.from_numpy(row[0, ~unknown]))
    draws = gaussian.impute(np.where(unknown, np.nan, row), 4000)[0][:, unknown]
    covariance = exact.covariance.numpy()
    apart = (draws.mean(axis=0) - exact.mean.numpy()) / np.sqrt(np.diag(covariance))
    assert np.abs(apart).max() < 0.25
    assert np.abs(np.cov(draws.T) - covariance).max() < 0.12 * covariance.max()


def test_a_long_gap_has_the_same_law_however_windows_cut_it(gaussian: DiffusionForecaster) -> None:
    """A network that has learned nothing draws in windows what no network draws at once."""
    X = walks(2, 120, 7)
    X[0, 30:80] = np.nan
    X[1, 60:64] = np.nan
    panel = Panel.from_array(X)
    settings: dict[str, Any] = {"nfe": 4, "seed": 3, "device": torch.device("cpu")}
    idle = DiffusionForecaster(horizon=6, n_members=1, width=8, depth=1, max_steps=1, random_state=0)
    model = idle.fit(walks(10, 100, 0)).model_
    assert model.network is not None
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    windows = draw_gaps(model, panel, 1000, **settings)
    at_once = draw_gaps(replace(model, network=None), panel, 1000, **settings)
    for row, places in ((0, slice(30, 80)), (1, slice(60, 64))):
        one, other = (draws[row, :, places, 0] for draws in (windows, at_once))
        spread = other.std(axis=0)
        np.testing.assert_allclose(one.std(axis=0) / spread, 1.0, atol=0.1)
        assert np.abs(one.mean(axis=0) - other.mean(axis=0)).max() < 0.1 * spread.max()
        changes = [np.diff(draws, axis=1).std(axis=0) for draws in (one, other)]
        np.testing.assert_allclose(changes[0] / changes[1], 1.0, atol=0.1)


def crps(draws: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean CRPS of draws (draws, n) of values (n,)."""
    away = np.abs(draws - truth).mean(axis=0)
    return float((away - 0.5 * np.abs(draws[:, None] - draws[None]).mean(axis=(0, 1))).mean())


def test_a_trained_network_closes_part_of_the_distance_to_the_exact_law() -> None:
    """An autoregression of second order: neither line nor level is its conditional mean, but it is linear."""
    target = AutoregressiveTarget(torch.tensor([1.6, -0.9]), 1.0, 130)
    generator = torch.Generator().manual_seed(0)
    X = target.draw(42, generator).numpy()
    train, fresh = X[:32], X[32:]
    settings: dict[str, Any] = {"horizon": 6, "random_state": 0, "gap_share": 0.6}
    off = DiffusionForecaster(network_off=True, **settings).fit(train)
    on = DiffusionForecaster(n_members=1, width=64, max_steps=250, patience=None, **settings).fit(train)
    unknown = np.zeros(130, dtype=bool)
    unknown[10:120:5] = unknown[11:120:5] = True
    known = torch.from_numpy(~unknown)
    errors = {"exact": 0.0, "off": 0.0, "on": 0.0}
    holes = np.where(unknown, np.nan, fresh)
    drawn = {"off": off.impute(holes, 60), "on": on.impute(holes, 60)}
    for row, values in enumerate(fresh):
        law = target.conditional(known, torch.from_numpy(values[~unknown]))
        exact = law.draw(60, generator).numpy()
        errors["exact"] += crps(exact, values[unknown])
        for name, draws in drawn.items():
            errors[name] += crps(draws[row][:, unknown], values[unknown])
    assert errors["off"] > 1.1 * errors["exact"]
    closed = (errors["off"] - errors["on"]) / (errors["off"] - errors["exact"])
    assert 0.3 < closed < 1.05, errors


def test_channels_of_a_gap_are_correlated_as_the_residuals_are() -> None:
    generator = np.random.default_rng(0)
    shocks = generator.multivariate_normal(np.zeros(2), [[1.0, 0.8], [0.8, 1.0]], size=(12, 400))
    X = np.cumsum(shocks, axis=1)
    model = DiffusionForecaster(horizon=4, network_off=True, random_state=0).fit(X)
    holed = X[:1].copy()
    holed[0, 100:103] = np.nan
    draws = model.impute(holed, 1000)[0][:, 101]
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.8, abs=0.15)


# ------------------------------------------------------------------ promises


def test_every_hole_is_filled_and_known_values_come_back_bit_for_bit(model: DiffusionForecaster) -> None:
    X = np.ascontiguousarray(model.panel_.values[:4, :120, 0])
    holed = pierced(X)
    known = ~np.isnan(holed)
    one, many = model.impute(holed), model.impute(holed, 5)
    assert one.shape == holed.shape
    assert many.shape == (4, 5, 120)
    assert np.isfinite(many).all()
    assert np.array_equal(one[known], holed[known])
    assert np.array_equal(many[:, 3][known], holed[known])
    np.testing.assert_allclose(one, np.median(model.impute(holed, model.n_samples), axis=1), atol=1e-12)
    np.testing.assert_array_equal(many, model.impute(holed, 5))
    assert not np.array_equal(many, model.impute(holed, 5, random_state=1))


def test_imputed_values_are_nearer_to_the_truth_than_the_mean(model: DiffusionForecaster) -> None:
    X = np.ascontiguousarray(model.panel_.values[:4, :120, 0])
    holed = pierced(X)
    missing = np.isnan(holed)
    error = np.abs(model.impute(holed) - X)[missing].mean()
    assert error < 0.7 * np.abs(np.nanmean(holed, axis=1, keepdims=True) - X)[missing].mean()


def test_one_series_does_not_depend_on_the_others_or_their_order(model: DiffusionForecaster) -> None:
    X = pierced(np.ascontiguousarray(model.panel_.values[:4, :120, 0]))
    frame = long_frame(X)
    frame = frame[(frame["unique_id"] != "s2") | (frame["ds"] >= "2024-01-31")]  # one begins later
    framed = DiffusionForecaster(horizon=4, network_off=model.network_off, **_tiny(model)).fit(frame)
    together = framed.impute(frame, 3)
    assert together["y"].notna().all()
    order = np.random.default_rng(0).permutation(len(frame))
    shuffled = framed.impute(frame.iloc[order], 3).sort_values(["unique_id", "sample_id", "ds"])
    alone = framed.impute(frame[frame["unique_id"] == "s2"], 3)
    together = together.sort_values(["unique_id", "sample_id", "ds"])
    np.testing.assert_allclose(shuffled["y"].to_numpy(), together["y"].to_numpy(), rtol=1e-5)
    mine = together[together["unique_id"] == "s2"]["y"].to_numpy()
    np.testing.assert_allclose(alone.sort_values(["sample_id", "ds"])["y"].to_numpy(), mine, rtol=1e-5)


def _tiny(model: DiffusionForecaster) -> dict[str, object]:
    return {name: getattr(model, name) for name in TINY}


def long_frame(X: np.ndarray) -> pd.DataFrame:
    """Return an array as a long frame of days."""
    stamps = pd.date_range("2024-01-01", periods=X.shape[1], freq="D")
    parts = [pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": row}) for i, row in enumerate(X)]
    return pd.concat(parts, ignore_index=True)


def test_frames_keep_rows_order_index_and_columns() -> None:
    X = pierced(walks(4, 100, 3))
    model = DiffusionForecaster(horizon=3, network_off=True, random_state=0).fit(long_frame(X))
    frame = long_frame(X).sample(frac=1.0, random_state=1)
    frame["note"] = np.arange(len(frame)).astype(str)
    one = model.impute(frame)
    assert list(one.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(one.drop(columns="y"), frame.drop(columns="y"))
    assert one["y"].notna().all()
    known = frame["y"].notna()
    assert (one["y"][known] == frame["y"][known]).all()
    many = model.impute(frame, 2)
    assert list(many.columns) == ["unique_id", "ds", "sample_id", "y", "note"]
    assert many["sample_id"].tolist() == [0] * len(frame) + [1] * len(frame)
    assert (many.index == np.tile(frame.index, 2)).all()
    fitted = model.impute()
    assert len(fitted) == 400
    assert fitted["y"].notna().all()


def test_trailing_holes_are_the_forecast(gaussian: DiffusionForecaster) -> None:
    X = walks(3, 100, 4)
    holed = X.copy()
    holed[:, -4:] = np.nan
    forecast = gaussian.sample(X[:, :-4], 400, h=4)
    filled = gaussian.impute(holed, 400)[..., -4:]
    np.testing.assert_allclose(filled.mean(axis=1), forecast.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(filled.std(axis=1), forecast.std(axis=1), rtol=0.2)


def test_trailing_holes_of_channels_are_drawn_by_noise_of_their_own() -> None:
    X = np.stack([walks(4, 200, 6), walks(4, 200, 7)], axis=2)
    model = DiffusionForecaster(horizon=4, network_off=True, nonnegative=False, random_state=0).fit(X)
    X[:2, -3:] = np.nan
    X[2, -2:, 1] = np.nan
    filled = model.impute(X, 300)
    for one in filled[:2]:
        assert abs(np.corrcoef(one[:, -1].T)[0, 1]) < 0.4
    assert abs(np.corrcoef(filled[0, :, -1, 0], filled[1, :, -1, 0])[0, 1]) < 0.4
    assert filled[2, :, -1, 1].std() > 0.1


def test_trailing_holes_are_the_same_whatever_is_drawn_at_once(
    gaussian: DiffusionForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = walks(5, 100, 8)
    X[:4, -3:] = np.nan
    whole, median = gaussian.impute(X, 20), gaussian.impute(X)
    monkeypatch.setattr("sciffusion.domains.forecasting.imputation_methods._ENDS_BYTES", 1)
    np.testing.assert_allclose(gaussian.impute(X, 20), whole, rtol=1e-6)
    np.testing.assert_allclose(gaussian.impute(X), median, rtol=1e-6)


def test_draws_stay_above_the_bound_of_the_training_values() -> None:
    X = np.random.default_rng(0).poisson(0.7, (4, 200)).astype(float)
    model = DiffusionForecaster(horizon=3, network_off=True, random_state=0).fit(X)
    assert model.impute(pierced(X), 50).min() >= 0.0


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_a_series_of_which_nothing_is_known_is_refused_by_name(kind: str) -> None:
    X = walks(4, 80, 0)
    model = DiffusionForecaster(horizon=3, network_off=True, random_state=0)
    model.fit(X if kind == "array" else long_frame(X))
    X[2] = np.nan
    with pytest.raises(ValueError, match=r"series '?s?2"):
        model.impute(X if kind == "array" else long_frame(X))


def test_a_channel_of_which_nothing_is_known_is_refused_by_name() -> None:
    X = np.stack([walks(4, 80, 0), walks(4, 80, 1)], axis=2)
    model = DiffusionForecaster(horizon=3, network_off=True, random_state=0).fit(X)
    X[2, :, 1] = np.nan
    with pytest.raises(ValueError, match="nothing is known of 'y1' in series 2"):
        model.impute(X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, X: model.impute(X, 0), "n_samples"),
        (lambda model, X: model.impute(X, nfe=1), "nfe"),
        (lambda model, X: model.impute(X, df=long_frame(X)), "either"),
        (lambda model, X: model.impute(np.stack([X, X], axis=2)), "channels"),
    ],
)
def test_bad_arguments_are_named(
    call: Callable[..., object], message: str, gaussian: DiffusionForecaster
) -> None:
    with pytest.raises(ValueError, match=message):
        call(gaussian, walks(4, 60, 0))


def test_saved_and_cloned_forecasters_impute_the_same(networked: DiffusionForecaster, tmp_path: Path) -> None:
    X = pierced(np.ascontiguousarray(networked.panel_.values[:4, :120, 0]))
    networked.save(tmp_path / "model.safetensors")
    loaded = DiffusionForecaster.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.impute(X, 3), networked.impute(X, 3))
    assert loaded.gap_share == networked.gap_share


@pytest.mark.parametrize("share", [-0.1, 1.0, "half"])
def test_a_bad_share_of_gap_windows_is_refused(share: object) -> None:
    with pytest.raises((ValueError, TypeError), match="gap_share"):
        DiffusionForecaster(gap_share=share).fit(walks(4, 60, 0))  # type: ignore[arg-type]
