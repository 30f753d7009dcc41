"""Updates: exact where they claim to be, adaptive, and all or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.adaptive_levels import ADAPTED_LEVELS, ConformalState
from sciffusion.domains.forecasting.base_forecast import BaseForecaster
from sciffusion.domains.forecasting.update_methods import completed_windows, judged_errors

LENGTH, NEW = 200, 17
SMALL: dict[str, Any] = {"horizon": 4, "season_length": 6, "random_state": 0}
TINY = {"max_steps": 20, "n_members": 2, "width": 16, "batch_size": 32}


def _array() -> np.ndarray:
    generator = np.random.default_rng(4)
    season = np.sin(np.arange(LENGTH + NEW) * np.pi / 3.0)
    return season + 0.3 * generator.standard_normal((5, LENGTH + NEW))


def _frame(X: np.ndarray, first: int = 0, name: str = "s") -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=first + X.shape[1], freq="D")[first:]
    return pd.concat(
        [pd.DataFrame({"unique_id": f"{name}{i}", "ds": stamps, "y": y}) for i, y in enumerate(X)],
        ignore_index=True,
    )


def _fitted(**settings: Any) -> DiffusionForecaster:
    return DiffusionForecaster(**SMALL | {"network_off": True} | settings).fit(_array()[:, :LENGTH])


def test_the_ridge_is_that_of_a_fit_to_all_rows() -> None:
    model, X = _fitted(), _array()
    for start, stop in ((LENGTH, LENGTH + 5), (LENGTH + 5, LENGTH + 6), (LENGTH + 6, LENGTH + NEW)):
        assert model.update(X[:, start:stop]) is model
    refitted, _ = BaseForecaster.fit(model.panel_, model.model_.base.settings, most_windows=100_000)
    found = model.model_.base.ridge
    assert found.count == refitted.ridge.count
    np.testing.assert_allclose(found.gram, refitted.ridge.gram, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.coefficients, refitted.ridge.coefficients, rtol=1e-7, atol=1e-9)


def test_forecasts_start_from_the_new_end() -> None:
    model, X = _fitted(), _array()
    before = model.predict(4)
    model.update(X[:, LENGTH:], refit_base=False)
    np.testing.assert_array_equal(model.panel_.values[..., 0], X)
    np.testing.assert_allclose(model.predict(4, random_state=1), _fitted().predict(X, 4, random_state=1))
    assert np.abs(model.predict(4) - before).max() > 0.1


def test_only_windows_with_a_new_last_target_are_taken_in() -> None:
    model, X = _fitted(), _array()
    known = model.panel_
    model.update(X[:, LENGTH:])
    series = model.model_.base.series(model.panel_)
    windows = completed_windows(series, known, model.model_)
    assert sorted(set(windows.origin)) == list(range(LENGTH - 4, LENGTH + NEW - 4))
    assert len(windows) == 5 * NEW


def test_levels_move_as_the_recursion_says() -> None:
    scores = np.arange(99.0)[:, None]
    target = 1.0 - np.array(ADAPTED_LEVELS)[:, None] / 100.0
    state = ConformalState(scores, target)
    gamma, alpha = 0.05, target.copy()
    for value in (1000.0, 49.0, -3.0):
        lower, upper = state._bounds(state.alpha[1], outermost=True)
        missed = float(not lower[0] <= value <= upper[0])
        alpha[1] += gamma * (0.2 - missed)
        state = state.observed(np.array([[value]]), gamma)
        assert state.alpha[1, 0] == pytest.approx(alpha[1, 0])
    assert state.alpha[1, 0] == pytest.approx(0.2 + gamma * (0.2 - 1.0 + 0.2 + 0.2 - 1.0))
    assert len(state.scores) == 102


def test_the_share_of_misses_is_that_of_all_rows_seen() -> None:
    state = ConformalState(np.arange(99.0)[:, None], np.full((len(ADAPTED_LEVELS), 1), 0.2))
    moved = state.observed(np.array([[50.0], [1000.0], [np.nan], [40.0], [50.0]]), 0.1)
    assert moved.alpha[1, 0] == pytest.approx(0.2 + 0.1 * (0.2 - 0.25))
    assert state.observed(np.array([[np.nan]]), 0.1).alpha[1, 0] == 0.2


def test_long_run_coverage_holds_under_drift() -> None:
    generator, gamma, steps = np.random.default_rng(6), 0.05, 400
    state = ConformalState(
        generator.standard_normal((200, 1)), 1.0 - np.array(ADAPTED_LEVELS)[:, None] / 100.0
    )
    fixed, adapted = [], []
    for time in range(steps):
        error = (1.0 + time / 100.0) * generator.standard_normal((1, 1))
        for kept, found in ((fixed, state.bounds(80.0)), (adapted, state.bounds(80.0, adaptive=True))):
            kept.append(bool(found[0][0] <= error[0, 0] <= found[1][0]))
        state = state.observed(error, gamma)
    bound = (0.8 + gamma) / (gamma * steps)  # of Gibbs and Candes
    assert abs(np.mean(adapted) - 0.8) < bound
    assert np.mean(fixed) < 0.8 - bound


def test_errors_are_judged_at_the_moment_they_become_known() -> None:
    model, X = _fitted(), _array()
    known, fitted = model.panel_, model.model_
    model.update(X[:, LENGTH:], refit_base=False)
    errors = judged_errors(fitted, model.panel_, known)
    assert errors.shape == (NEW, 5, 4)
    assert np.isfinite(errors).all()
    # The value at LENGTH + 1 was forecast two steps ahead from the end of the fit.
    series = fitted.base.series(known)
    forecast = fitted.base.forecast(series, series.last_windows())
    wanted = (X[:, LENGTH + 1] - forecast.location[:, 1]) / (forecast.scale[:, 1] * fitted.law.std[1])
    np.testing.assert_allclose(errors[1, :, 1], wanted)


def test_adaptive_intervals_widen_after_a_jump_of_the_variance_and_others_do_not() -> None:
    model, X = _fitted(), _array()
    wild = X[:, LENGTH:] + 3.0 * np.random.default_rng(8).standard_normal((5, NEW))
    model.update(wild, gamma=0.05, refit_base=False)
    width = {
        method: np.diff(model.predict_interval(method=method, level=80), axis=2).mean()
        for method in ("conformal", "adaptive")
    }
    assert width["adaptive"] > 1.2 * width["conformal"]


def test_new_series_join() -> None:
    X = _array()
    model = DiffusionForecaster(**SMALL, network_off=True).fit(_frame(X[:3, :LENGTH]))
    count = model.model_.base.ridge.count
    rows = pd.concat([_frame(X[:2, LENGTH:], first=LENGTH), _frame(X[3:4], name="new")])
    found = model.update(rows).predict(4)
    assert list(found["unique_id"].unique()) == ["s0", "s1", "s2", "new0"]
    last = found.groupby("unique_id")["ds"].max()
    assert last["s2"] < last["s0"] == last["new0"]  # the series without new rows is where it was
    assert model.model_.base.ridge.count > count + 2 * NEW
    assert np.isfinite(found.iloc[:, 2:].to_numpy(dtype=float)).all()


@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        (np.ones((4, 3)), ValueError, "5 series"),
        (np.ones((5, 3, 2)), ValueError, "1 channels"),
        (np.full((5, 2), np.inf), ValueError, "infinity|infinite"),
        (_frame(_array()[:, :3]), TypeError, "fitted on an array"),
    ],
)
def test_a_failing_update_changes_nothing(rows: Any, error: type[Exception], text: str) -> None:
    model = _fitted()
    before = dict(vars(model))
    with pytest.raises(error, match=text):
        model.update(rows)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_rows_that_disagree_with_known_ones_are_refused() -> None:
    X = _array()
    model = DiffusionForecaster(**SMALL, network_off=True).fit(_frame(X[:, :LENGTH]))
    known = model.panel_
    with pytest.raises(ValueError, match="disagree"):
        model.update(_frame(X[:, LENGTH - 1 :] + 1.0, first=LENGTH - 1))
    with pytest.raises(ValueError, match="n_steps"):
        model.update(_frame(X[:, LENGTH:], first=LENGTH), n_steps=-1)
    assert model.panel_ is known


def test_tuning_replaces_the_network_and_agrees_with_itself() -> None:
    X = _array()
    found = []
    for _ in range(2):
        model = DiffusionForecaster(**SMALL, **TINY).fit(X[:, :LENGTH])
        old = {name: one.clone() for name, one in model.model_.network.state_dict().items()}
        network = model.model_.network
        model.update(X[:, LENGTH:], n_steps=25)
        assert model.model_.network is not network
        assert all(bool((network.state_dict()[name] == one).all()) for name, one in old.items())
        found.append(model.sample(4, n_samples=6))
    np.testing.assert_array_equal(found[0], found[1])


def test_without_steps_the_network_is_the_same_object() -> None:
    X = _array()
    model = DiffusionForecaster(**SMALL, **TINY).fit(X[:, :LENGTH])
    network = model.model_.network
    assert model.update(X[:, LENGTH:]).model_.network is network


def test_it_survives_saving(tmp_path: Any) -> None:
    model = _fitted().update(_array()[:, LENGTH:])
    model.save(tmp_path / "model.safetensors")
    again = DiffusionForecaster.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.conformal_.alpha, model.conformal_.alpha)
    np.testing.assert_array_equal(again.predict(4), model.predict(4))
    np.testing.assert_array_equal(
        again.update(_array()[:, :3]).predict(4), model.update(_array()[:, :3]).predict(4)
    )


def test_new_rows_of_one_series_judge_all_of_its_channels_and_no_other() -> None:
    X = _array()
    both = _frame(X[:2]).assign(z=_frame(X[2:4])["y"])
    early = both[both["ds"] < both["ds"].min() + pd.Timedelta(days=LENGTH)]
    model = DiffusionForecaster(**SMALL, network_off=True, target=["y", "z"]).fit(early)
    known, fitted = model.panel_, model.model_
    model.update(pd.concat([early, both[both["unique_id"] == "s0"]]).drop_duplicates(["unique_id", "ds"]))
    errors = judged_errors(fitted, model.panel_, known)
    assert errors.shape == (NEW, 4, 4)
    assert np.isfinite(errors[:, :2]).all()
    assert np.isnan(errors[:, 2:]).all()
    new = completed_windows(fitted.base.series(model.panel_), known, fitted)
    assert set(new.row) == {0, 1}
