"""One model for unseen series: what pre-training is worth, and what a forecast may not depend on."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.metrics import crps
from sciffusion.domains.forecasting.zero_shot import ZeroShotForecaster

TINY: dict[str, Any] = {"n_members": 2, "width": 32, "batch_size": 64, "max_steps": 25, "random_state": 0}
HORIZON = 6


def family(seed: int, season: int, n: int = 12, length: int = 160) -> np.ndarray:
    """Make series with a season, a trend and autoregressive noise of rare large shocks, all upwards.

    Units and phases are random. What pre-training can learn is the skewness: no Gaussian law has it.
    """
    generator = np.random.default_rng(seed)
    rows = np.arange(length)
    noise = np.exp(generator.normal(size=(n, length))) - np.exp(0.5)
    for row in range(1, length):
        noise[:, row] += 0.4 * noise[:, row - 1]
    phase = generator.uniform(0, season, (n, 1))
    wave = generator.uniform(1.0, 4.0, (n, 1)) * np.sin(2 * np.pi * (rows + phase) / season)
    unit = 10.0 ** generator.uniform(-2, 3, (n, 1))
    return unit * (wave + generator.normal(0.0, 0.01, (n, 1)) * rows + noise)


def sets() -> dict[str, tuple[np.ndarray, int]]:
    """Return the sets that the models of this file are trained on."""
    return {f"season {season}": (family(season, season), season) for season in (4, 6, 7, 12)}


@pytest.fixture(scope="module")
def fitted() -> ZeroShotForecaster:
    """Return a tiny fitted model that keeps negative draws."""
    return ZeroShotForecaster(horizon=HORIZON, nonnegative=False, **TINY).fit(sets())


def mean_crps(model: ZeroShotForecaster) -> float:
    """Return the CRPS of unseen series of unseen seasons, in units of their deviation."""
    scores = []
    for season in (5, 9):
        series = family(100 + season, season, n=100)
        draws = model.sample(series[:, :-HORIZON], season_length=season, n_samples=60)
        unit = np.std(series, axis=1)[:, None]
        scores.append(crps(series[:, -HORIZON:] / unit, draws / unit[:, None], fair=True).mean())
    return float(np.mean(scores))


def test_pre_training_pays_on_unseen_series_of_unseen_seasons() -> None:
    trained = {"n_members": 1, "width": 64, "dropout": 0.0, "batch_size": 256, "learning_rate": 1e-2}
    on = ZeroShotForecaster(horizon=HORIZON, max_steps=250, random_state=0, **trained).fit(sets())
    off = ZeroShotForecaster(horizon=HORIZON, network_off=True, random_state=0).fit(sets())
    assert mean_crps(on) < 0.96 * mean_crps(off)


def test_forecasts_follow_the_units_of_the_prompt(fitted: ZeroShotForecaster) -> None:
    prompt = family(0, 8, n=4) / np.array([[1e-3], [1.0], [1.0], [1e3]])
    wanted = fitted.sample(prompt, season_length=8, n_samples=10)
    found = fitted.sample(273.15 + 1.8 * prompt, season_length=8, n_samples=10)
    size = np.std(prompt, axis=1)[:, None, None]
    np.testing.assert_allclose((found - 273.15) / 1.8 / size, wanted / size, atol=2e-4)


def long_frame(values: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Return series as a long frame of days."""
    days = pd.date_range("2024-01-01", periods=values.shape[1], freq="D")
    parts = [
        pd.DataFrame({"unique_id": name, "ds": days, "y": row})
        for name, row in zip(names, values, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_series_does_not_see_the_others_or_their_order(fitted: ZeroShotForecaster) -> None:
    values = family(3, 7, n=3)
    together = fitted.predict(4, df=long_frame(values, ["a", "b", "c"]))
    turned = fitted.predict(4, df=long_frame(values[::-1], ["c", "b", "a"]))
    alone = fitted.predict(4, df=long_frame(values[1:2], ["b"]))
    together = together.set_index(["unique_id", "ds"])
    pd.testing.assert_frame_equal(
        turned.set_index(["unique_id", "ds"]).loc[together.index], together, rtol=1e-4
    )
    pd.testing.assert_frame_equal(alone.set_index(["unique_id", "ds"]), together.loc[["b"]], rtol=1e-4)


def test_the_season_of_a_frame_is_that_of_its_frequency(fitted: ZeroShotForecaster) -> None:
    frame = long_frame(family(3, 7, n=2), ["a", "b"])
    weekly = fitted.predict(4, df=frame)
    pd.testing.assert_frame_equal(weekly, fitted.predict(4, df=frame, season_length=7))
    assert not np.allclose(
        weekly["ZeroShotForecaster"], fitted.predict(4, df=frame, season_length=5).iloc[:, 2]
    )


def test_frames_keep_ids_stamps_and_nested_intervals(fitted: ZeroShotForecaster) -> None:
    frame = long_frame(family(3, 7, n=2), ["a", "b"])
    found = fitted.predict(9, df=frame)
    assert list(found["unique_id"].unique()) == ["a", "b"]
    assert found["ds"].min() == frame["ds"].max() + pd.Timedelta(days=1)
    assert len(found) == 18
    lo95, lo80, middle = (found[f"ZeroShotForecaster{part}"] for part in ("-lo-95", "-lo-80", ""))
    assert (lo95 <= lo80).all()
    assert (lo80 <= middle).all()
    draws = fitted.sample(9, df=frame)
    medians = draws.groupby(["unique_id", "ds"])["y"].median().to_numpy()
    np.testing.assert_allclose(medians, middle)


@pytest.mark.parametrize("season", [None, 5, (5, 35), (30, 60), 1])
@pytest.mark.parametrize("length", [3, 40, 150])
def test_any_season_and_history_gives_finite_paths(
    fitted: ZeroShotForecaster, season: Any, length: int
) -> None:
    prompt = family(1, 5, n=3)[:, -length:]
    prompt[0, 1:-1] = np.nan
    prompt[1] = 7.0
    draws = fitted.sample(prompt, h=2 * HORIZON + 1, season_length=season, n_samples=5)
    assert draws.shape == (3, 5, 2 * HORIZON + 1)
    assert np.isfinite(draws).all()


def test_channels_are_series_of_their_own(fitted: ZeroShotForecaster) -> None:
    values = family(2, 6, n=4)
    cube = np.moveaxis(values.reshape(2, 2, -1), 1, 2)
    found = fitted.predict(cube, season_length=6, n_samples=400)
    flat = fitted.predict(values, season_length=6, n_samples=400).reshape(2, 2, HORIZON)
    assert found.shape == (2, HORIZON, 2)
    size = np.std(values, axis=1).reshape(2, 1, 2)
    assert np.abs((found - np.moveaxis(flat, 1, 2)) / size).mean() < 0.15  # other draws of the same law


def test_draws_of_a_nonnegative_prompt_are_nonnegative() -> None:
    model = ZeroShotForecaster(horizon=HORIZON, network_off=True, **TINY).fit(sets())
    low = np.abs(family(5, 6, n=2))
    both = np.stack([low[0], -low[1]])
    draws = model.sample(both, season_length=6)
    assert draws[0].min() == 0.0
    assert draws[1].min() < 0.0


def test_a_model_survives_saving_pickling_and_cloning(fitted: ZeroShotForecaster, tmp_path: Path) -> None:
    prompt = family(4, 5, n=2)
    wanted = fitted.sample(prompt, season_length=5, n_samples=4)
    fitted.save(tmp_path / "model.safetensors")
    for other in (
        ZeroShotForecaster.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(fitted)),
    ):
        np.testing.assert_array_equal(other.sample(prompt, season_length=5, n_samples=4), wanted)
        assert other.set_names_ == list(sets())
    with pytest.raises(NotFittedError):
        clone(fitted).predict(prompt)


def test_equal_seeds_give_equal_models_and_two_calls_agree(fitted: ZeroShotForecaster) -> None:
    prompt = family(4, 5, n=2)
    again = clone(fitted).fit(sets())
    np.testing.assert_array_equal(again.predict(prompt), fitted.predict(prompt))
    np.testing.assert_array_equal(fitted.predict(prompt), fitted.predict(prompt))
    assert not np.array_equal(fitted.predict(prompt, random_state=1), fitted.predict(prompt))


def test_a_failed_fit_leaves_the_model_before_it(fitted: ZeroShotForecaster) -> None:
    prompt = family(4, 5, n=2)
    before = fitted.predict(prompt)
    with pytest.raises(ValueError, match=r"set 'bad'.*infinity"):
        fitted.fit({"bad": np.array([[1.0, np.inf, 2.0]])})
    np.testing.assert_array_equal(fitted.predict(prompt), before)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([np.zeros((2, 50))], TypeError, "mapping"),
        ({}, TypeError, "mapping"),
        ({"short": np.zeros((2, 4))}, ValueError, "no series has a history"),
        ({"season": (np.zeros((2, 50)), 0)}, ValueError, "set 'season': season_length"),
    ],
)
def test_sets_that_cannot_be_used_are_refused(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ZeroShotForecaster(horizon=HORIZON, **TINY).fit(given)


def test_prompts_that_cannot_be_used_are_refused(fitted: ZeroShotForecaster) -> None:
    with pytest.raises(ValueError, match="either as X or as df"):
        fitted.predict(4)
    with pytest.raises(ValueError, match="given twice"):
        fitted.predict(4, 5, df=long_frame(family(3, 7, n=1), ["a"]))
    with pytest.raises(ValueError, match="fewer than 2 rows with an observed value"):
        fitted.predict(np.array([[np.nan, 1.0, np.nan]]))
    with pytest.raises(ValueError, match="at most 2 seasons, got"):
        fitted.predict(family(0, 7), season_length=(3, 4, 5))
    with pytest.raises(TypeError, match="level must hold per cents"):
        fitted.predict(4, df=long_frame(family(0, 7, n=1), ["a"]), level="80")
    with pytest.raises(ValueError, match="level"):
        fitted.predict(family(3, 7, n=1), level=[0.8, 120])


@pytest.mark.parametrize("call", [{"method": "impute"}, {"method": "anomaly_score", "kind": "denoising"}])
def test_a_model_that_has_learned_no_gaps_says_so(fitted: ZeroShotForecaster, call: dict[str, str]) -> None:
    X = family(0, 6, n=1)
    model = DiffusionForecaster(horizon=HORIZON, network_off=True, random_state=0).fit(X)
    model.model_ = fitted.model_
    X[0, 50] = np.nan
    kind = {name: value for name, value in call.items() if name != "method"}
    with pytest.raises(ValueError, match="learned no gaps"):
        getattr(model, call["method"])(X, **kind)
