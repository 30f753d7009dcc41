"""The estimator of dynamics: a known predictive law, laws of both methods, and the contract."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sciffusion
from sciffusion import DynamicsDiffusion
from sciffusion.datasets import make_kuramoto_sivashinsky, make_lorenz63
from sciffusion.estimators import DiffusionEstimator

Floats = NDArray[np.float64]
METHODS: tuple[Literal["rolling", "dyffusion"], ...] = ("rolling", "dyffusion")
SMALL: dict[str, Any] = {
    "window": 3, "width": 16, "depth": 2, "max_steps": 40, "batch_size": 64, "random_state": 0,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def lorenz() -> Floats:
    return make_lorenz63(60, 20, burn_in=5.0, random_state=0).values


@pytest.fixture(scope="module")
def fitted(lorenz: Floats) -> dict[str, DynamicsDiffusion]:
    return {method: DynamicsDiffusion(method=method, **SMALL).fit(lorenz) for method in METHODS}


# -------------------------------------------------------------------- a law that is known

TURN = 0.9 * np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
INNOVATION = 0.4


def _linear_system(count: int, steps: int, seed: int) -> Floats:
    """Simulate x' = A x + noise from its stationary law, whose covariance is a multiple of the identity."""
    generator = np.random.default_rng(seed)
    state = INNOVATION / np.sqrt(1.0 - 0.81) * generator.standard_normal((count, 2))
    states = [state]
    for _ in range(steps - 1):
        state = state @ TURN.T + INNOVATION * generator.standard_normal((count, 2))
        states.append(state)
    return np.stack(states, 1)


def test_rolling_forecasts_of_a_linear_system_have_the_right_means_and_variances() -> None:
    model = DynamicsDiffusion(
        window=2, width=64, depth=2, max_steps=500, learning_rate=0.01, batch_size=512, steps_per_frame=8,
        random_state=0, device="cpu",
    ).fit(_linear_system(3000, 8, 0))  # fmt: skip
    initial = np.array([[1.5, 0.0], [-0.5, -1.0]])
    steps, count = 5, 1000
    draws = model.sample(initial, steps, count, random_state=1)
    for step in range(steps):
        mean = initial @ np.linalg.matrix_power(TURN, step + 1).T
        variance = INNOVATION**2 * (1.0 - 0.81 ** (step + 1)) / (1.0 - 0.81)
        # 0.1 standard deviations for what 500 training steps leave to learn, beyond four standard errors.
        error = np.abs(draws[:, :, step].mean(1) - mean) / np.sqrt(variance)
        assert error.max() < 0.1 + 4.0 / np.sqrt(count)
        np.testing.assert_allclose(draws[:, :, step].var(1), variance, rtol=0.2)
    # Whole paths: the errors of two steps hang together by the matrix of the system.
    error = draws - draws.mean(1, keepdims=True)
    cross = np.einsum("nsi,nsj->nij", error[:, :, 4], error[:, :, 3]) / count
    expected = TURN * INNOVATION**2 * (1.0 - 0.81**4) / (1.0 - 0.81)
    np.testing.assert_allclose(cross, np.broadcast_to(expected, cross.shape), atol=0.12)


def test_both_methods_learn_a_deterministic_system() -> None:
    angle = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, 400)[:, None] + 0.5 * np.arange(10)
    X = np.stack([np.cos(angle), 3.0 * np.sin(angle)], -1)
    for method in METHODS:
        model = DynamicsDiffusion(
            method=method,
            window=4,
            width=32,
            depth=2,
            max_steps=200,
            dropout=0.01,
            random_state=0,
            device="cpu",
        ).fit(X)
        error = model.predict(X[:50, 0], 8) - X[:50, 1:9]
        assert np.sqrt((error**2).mean((0, 1)) / [0.5, 4.5]).max() < 0.25
        assert model.score(X[:50]) > -0.15


# -------------------------------------------------------------------- what both methods promise


@pytest.mark.parametrize("method", METHODS)
def test_paths_have_their_shape_and_their_seed(
    method: str, fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    model, initial = fitted[method], lorenz[:4, -1]
    draws = model.sample(initial, 7, 5, random_state=3)
    assert draws.shape == (4, 5, 7, 3)
    assert np.isfinite(draws).all()
    np.testing.assert_array_equal(model.sample(initial, 7, 5, random_state=3), draws)
    assert not np.allclose(model.sample(initial, 7, 5, random_state=4), draws)
    # A longer forecast begins with the shorter one, and older states are not looked at with context=1.
    np.testing.assert_allclose(model.sample(initial, 11, 5, random_state=3)[:, :, :7], draws, rtol=1e-5)
    np.testing.assert_array_equal(model.sample(lorenz[:4, -3:], 7, 5, random_state=3), draws)
    assert (draws.std(1) > 0.0).all()
    assert model.sample(initial, 2).shape == (4, 20, 2, 3)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_are_means_and_repeat(
    method: str, fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    model = fitted[method]
    mean = model.predict(lorenz[:6, 0], 4, 200)
    assert mean.shape == (6, 4, 3)
    np.testing.assert_array_equal(model.predict(lorenz[:6, 0], 4, 200), mean)
    draws = model.sample(lorenz[:6, 0], 4, 200, random_state=9)
    error = np.abs(draws.mean(1) - mean) / np.maximum(draws.std(1), 1e-12)
    assert error.max() < 5.0 * np.sqrt(2.0 / 200)
    assert model.score(lorenz) == model.score(lorenz)
    assert model.score(lorenz) > model.score(lorenz[:, ::-1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_evaluations_are_counted(
    method: str, steps: int, fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    model, calls = fitted[method], []
    hooks = [
        network.register_forward_hook(lambda *_: calls.append(1)) for network in model._networks_.values()
    ]
    model.sample(lorenz[:2, 0], steps, 2, random_state=0)
    for hook in hooks:
        hook.remove()
    assert len(calls) == model.evaluations(steps)


def test_one_step_of_dyffusion_is_a_map_without_randomness(lorenz: Floats) -> None:
    model = DynamicsDiffusion(**{**SMALL, "method": "dyffusion", "window": 1}).fit(lorenz)
    draws = model.sample(lorenz[:3, 0], 4, 6, random_state=0)
    np.testing.assert_allclose(draws, np.broadcast_to(draws[:, :1], draws.shape), rtol=1e-5)
    assert model.interpolator_history_ is None
    assert model.evaluations(4) == 4
    # The map applied twice is the second step.
    np.testing.assert_allclose(model.predict(draws[:, 0, 0], 1)[:, 0], draws[:, 0, 1], rtol=1e-4, atol=1e-3)


def test_extra_steps_and_steps_per_frame_cost_what_they_say(
    fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    more = DynamicsDiffusion(method="dyffusion", extra_steps=2, **SMALL).fit(lorenz)
    assert more.evaluations(6) == 2 * (5 + 7)
    assert more.sample(lorenz[:2, 0], 6, 2, random_state=0).shape == (2, 2, 6, 3)
    rolling = clone(fitted["rolling"]).set_params(steps_per_frame=5, max_steps=1).fit(lorenz)
    assert rolling.evaluations(6) == 5 * (3 + 5)


@pytest.mark.parametrize("method", METHODS)
def test_units_of_the_variables_do_not_matter(
    method: str, fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    factor, shift = np.array([1e6, 1e-3, 2.0]), np.array([1e6, 0.0, -7.0])
    other = clone(fitted[method]).fit(lorenz * factor + shift)
    draws = fitted[method].sample(lorenz[:3, 0], 4, 2, random_state=0)
    scaled = other.sample(lorenz[:3, 0] * factor + shift, 4, 2, random_state=0)
    np.testing.assert_allclose((scaled - shift) / factor, draws, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_hidden_variables_are_found_in_the_context(method: str, lorenz: Floats) -> None:
    model = DynamicsDiffusion(**{**SMALL, "method": method, "context": 2}).fit(lorenz[..., :1])
    initial = lorenz[:4, :2, :1]
    draws = model.sample(initial, 5, 3, random_state=0)
    assert draws.shape == (4, 3, 5, 1)
    older = initial.copy()
    older[:, 0] += 5.0
    assert not np.allclose(model.sample(older, 5, 3, random_state=0), draws)
    with pytest.raises(ValueError, match="at least context=2 states a case, got 1"):
        model.sample(initial[:, 0], 5)


def test_constant_variables_stay() -> None:
    X = np.concatenate(
        [make_lorenz63(30, 12, burn_in=5.0, random_state=0).values, np.full((30, 12, 1), 4.0)], -1
    )
    draws = DynamicsDiffusion(**SMALL).fit(X).sample(X[:2, 0], 4, 3, random_state=0)
    assert (draws[..., 3] == 4.0).all()
    assert (draws[..., :3].std(1) > 0.0).all()


def test_chained_walks_do_not_run_away(fitted: dict[str, DynamicsDiffusion], lorenz: Floats) -> None:
    model = pickle.loads(pickle.dumps(fitted["dyffusion"]))
    with torch.no_grad():
        model._networks_["forecaster"].body.last.bias.add_(3.0)  # every walk goes up by three deviations
    draws = model.sample(lorenz[:3, 0], 40, 2, random_state=0)
    low, high = lorenz.min((0, 1)), lorenz.max((0, 1))
    top = high + 0.5 * (high - low)
    assert (draws <= top * (1.0 + 1e-5)).all()
    assert np.isclose(draws[:, :, -1], top, rtol=1e-5).mean() > 0.5


# -------------------------------------------------------------------- fields on a circle


@pytest.mark.parametrize("method", METHODS)
def test_shifted_fields_have_shifted_forecasts(method: str) -> None:
    X = make_kuramoto_sivashinsky(16, 12, n_points=24, burn_in=20.0, random_state=0).values
    model = DynamicsDiffusion(
        **{**SMALL, "method": method, "periodic": True, "dropout": 0.3, "max_steps": 60, "batch_size": 32}
    ).fit(X)
    initial = np.concatenate([X[:2, 0], np.roll(X[:2, 0], 5, -1)])
    if method == "dyffusion":  # dropout of whole channels is the same at every point
        first, second = (model.sample(part, 4, 3, random_state=0) for part in (initial[:2], initial[2:]))
        np.testing.assert_allclose(second, np.roll(first, 5, -1), atol=1e-4)
        assert first.std(1).max() > 1e-3
    else:  # equal in law: the noise is not shifted, but its mean effect is
        draws = model.sample(initial, 4, 200, random_state=0)
        gap = np.abs(draws[2:].mean(1) - np.roll(draws[:2].mean(1), 5, -1))
        assert (gap / draws.std(1).mean() < 6.0 * np.sqrt(2.0 / 200)).all()
    np.testing.assert_allclose(model._scale_.mean, model._scale_.mean[0])


# -------------------------------------------------------------------- the contract


def test_it_is_a_public_name_and_an_estimator() -> None:
    assert sciffusion.DynamicsDiffusion is DynamicsDiffusion
    assert issubclass(DynamicsDiffusion, DiffusionEstimator)
    assert "DynamicsDiffusion" in sciffusion.__all__


@pytest.mark.parametrize("method", METHODS)
def test_copies_and_files_hold_the_same_model(
    method: str, fitted: dict[str, DynamicsDiffusion], lorenz: Floats, tmp_path: Path
) -> None:
    model = fitted[method]
    draws = model.sample(lorenz[:2, 0], 4, 3, random_state=0)
    model.save(tmp_path / "model.safetensors")
    for copy in (pickle.loads(pickle.dumps(model)), DiffusionEstimator.load(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(copy.sample(lorenz[:2, 0], 4, 3, random_state=0), draws)
        np.testing.assert_array_equal(copy.predict(lorenz[:2, 0], 2), model.predict(lorenz[:2, 0], 2))
        assert copy.get_params() == model.get_params()
        assert (copy.interpolator_history_ is None) == (method == "rolling")


@pytest.mark.parametrize("method", METHODS)
def test_fits_repeat_and_leave_global_streams_alone(
    method: str, fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = clone(fitted[method]).fit(lorenz)
    draws = again.sample(lorenz[:2, 0], 4, 3, random_state=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(draws, fitted[method].sample(lorenz[:2, 0], 4, 3, random_state=0))
    other = clone(again).set_params(random_state=1).fit(lorenz)
    assert not np.allclose(other.sample(lorenz[:2, 0], 4, 3, random_state=0), draws)


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_fit_is_taken_up_again(method: str, lorenz: Floats, tmp_path: Path) -> None:
    options = {**SMALL, "method": method, "checkpoint": tmp_path / "fit"}
    whole = DynamicsDiffusion(**options).fit(lorenz)
    assert (tmp_path / "fit").exists()
    again = DynamicsDiffusion(**options).fit(lorenz)
    np.testing.assert_array_equal(
        again.sample(lorenz[:2, 0], 3, 2, random_state=0), whole.sample(lorenz[:2, 0], 3, 2, random_state=0)
    )
    with pytest.raises(ValueError, match="checkpoint"):
        DynamicsDiffusion(**options).fit(lorenz + 0.1 * lorenz**2)


def test_few_trajectories_keep_back_their_ends() -> None:
    X = make_lorenz63(2, 200, burn_in=5.0, random_state=0).values
    one = DynamicsDiffusion(**SMALL).fit(X[:1])
    assert np.isfinite(one.history_.held_out_loss).all()
    none = DynamicsDiffusion(**{**SMALL, "validation_fraction": 0.0}).fit(X)
    assert np.isnan(none.history_.held_out_loss).all()
    shortest = DynamicsDiffusion(**SMALL).fit(X[:, :4])  # one window a trajectory
    assert np.isfinite(shortest.sample(X[:1, 0], 5, 2, random_state=0)).all()


def test_chunks_change_nothing_but_the_draws(
    fitted: dict[str, DynamicsDiffusion], lorenz: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sciffusion.domains.forecasting import dynamics

    whole = fitted["rolling"].sample(lorenz[:6, 0], 3, 400, random_state=0)
    monkeypatch.setattr(
        dynamics, "map_chunks", lambda draw, n, size: [draw(slice(k, k + 1)) for k in range(n)]
    )
    parts = fitted["rolling"].sample(lorenz[:6, 0], 3, 400, random_state=0)
    assert parts.shape == whole.shape
    gap = np.abs(parts.mean(1) - whole.mean(1)) / whole.std(1)
    assert gap.max() < 5.0 * np.sqrt(2.0 / 400)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "arima"}, ValueError, "method must be one of 'rolling', 'dyffusion'"),
        ({"window": 0}, ValueError, "window"),
        ({"window": 2.0}, TypeError, "window must be an integer"),
        ({"context": 0}, ValueError, "context"),
        ({"extra_steps": -1}, ValueError, "extra_steps"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"boundary_probability": 0.0}, ValueError, "boundary_probability"),
        ({"steps_per_frame": 0}, ValueError, "steps_per_frame"),
        ({"n_samples": 1}, ValueError, "n_samples"),
        ({"periodic": "yes"}, TypeError, "periodic"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate"),
        ({"window": 30}, ValueError, "at least 31 steps a trajectory, got 20"),
    ],
)
def test_wrong_parameters_are_named(
    options: dict[str, Any], error: type[Exception], message: str, lorenz: Floats
) -> None:
    model = DynamicsDiffusion(**{**SMALL, **options})
    with pytest.raises(error, match=message):
        model.fit(lorenz)
    with pytest.raises(NotFittedError):
        model.sample(lorenz[:1, 0], 2)


def test_wrong_arrays_are_named(fitted: dict[str, DynamicsDiffusion], lorenz: Floats) -> None:
    model = DynamicsDiffusion(**SMALL)
    holes = lorenz.copy()
    holes[3, 4, 1] = np.nan
    for X, message in (
        (lorenz[0], r"shape \(n_trajectories, n_steps, dim\), got \(20, 3\)"),
        (holes, r"1 values are not, the first at \(3, 4, 1\)"),
        ([[[1.0, 2.0]], [[1.0], [2.0]]], "array of numbers with equal trajectories"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X)
    with pytest.raises(NotFittedError):
        model.predict(lorenz[:1, 0], 2)
    for initial, message in (
        (lorenz[0, 0], r"initial must have shape \(n, 3\)"),
        (lorenz[:2, 0, :2], "initial has 2 variables, expected the 3 of the fit"),
        (holes[3:4, 4], "initial must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted["rolling"].sample(initial, 2)
    with pytest.raises(ValueError, match="steps"):
        fitted["rolling"].sample(lorenz[:2, 0], 0)
    with pytest.raises(TypeError, match="n_samples"):
        fitted["dyffusion"].sample(lorenz[:2, 0], 2, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="X has 2 variables"):
        fitted["rolling"].score(lorenz[..., :2])


def test_a_failed_fit_leaves_the_model_as_it_was(
    fitted: dict[str, DynamicsDiffusion], lorenz: Floats
) -> None:
    model = pickle.loads(pickle.dumps(fitted["rolling"]))
    draws = model.sample(lorenz[:1, 0], 2, 2, random_state=0)
    with pytest.raises(ValueError, match="X must have shape"):
        model.fit(lorenz[0])
    np.testing.assert_array_equal(model.sample(lorenz[:1, 0], 2, 2, random_state=0), draws)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_models_move_between_devices(method: str, lorenz: Floats) -> None:
    model = DynamicsDiffusion(**{**SMALL, "method": method, "device": "cuda"}).fit(lorenz)
    draws = model.sample(lorenz[:2, 0], 4, 3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(device="cpu")
    np.testing.assert_allclose(model.sample(lorenz[:2, 0], 4, 3, random_state=0), draws, rtol=1e-2, atol=1e-2)
