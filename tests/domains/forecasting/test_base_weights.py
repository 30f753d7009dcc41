"""Ridge, stack and spread: optima found by other means, and forecasts that have not seen their window."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.optimize import minimize

from sciffusion.domains.forecasting.nonnegative import nonnegative_weights
from sciffusion.domains.forecasting.ridge import DirectRidge, out_of_fold
from sciffusion.domains.forecasting.spread import Spread
from sciffusion.domains.forecasting.stack import Stack, fit_weights, members_array, step_ranges

Floats = NDArray[np.float64]


def regression(count: int = 500, seed: int = 0) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(count, 4))
    targets = inputs @ generator.normal(size=(4, 3)) + generator.normal(size=(count, 3))
    return inputs, targets


# ---------------------------------------------------------------- ridge


@pytest.mark.parametrize(("count", "penalty"), [(100, 1.0), (1000, 3.0)])
def test_the_ridge_solves_its_normal_equations(count: int, penalty: float) -> None:
    inputs, targets = regression(count)
    ridge = DirectRidge.fit(inputs, targets)
    expected = np.linalg.solve(inputs.T @ inputs + penalty * np.eye(4), inputs.T @ targets)
    assert_allclose(ridge.coefficients, expected)
    assert_allclose(ridge.predict(inputs[:5]), inputs[:5] @ expected)


def test_targets_of_the_ridge_are_clipped() -> None:
    inputs, targets = regression()
    wild = targets.copy()
    wild[0] = 1e6
    clipped = targets.copy()
    clipped[0] = 10.0
    assert_allclose(DirectRidge.fit(inputs, wild).coefficients, DirectRidge.fit(inputs, clipped).coefficients)


def test_windows_are_added_and_taken_out_exactly() -> None:
    inputs, targets = regression()
    whole = DirectRidge.fit(inputs, targets)
    grown = DirectRidge.fit(inputs[:300], targets[:300]).updated(inputs[300:], targets[300:])
    shrunk = whole.without(inputs[300:], targets[300:])
    assert_allclose(grown.coefficients, whole.coefficients)
    assert_allclose(shrunk.coefficients, DirectRidge.fit(inputs[:300], targets[:300]).coefficients)
    assert (grown.count, shrunk.count) == (500, 300)


def test_out_of_fold_forecasts_are_those_of_refits() -> None:
    inputs, targets = regression(200)
    fold = np.repeat(np.arange(4), 50)
    complete = np.ones(200, dtype=bool)
    complete[[3, 77, 130]] = False
    targets[~complete] = np.nan
    ridge = DirectRidge.fit(inputs[complete], targets[complete])
    found = out_of_fold(ridge, inputs, targets, fold, complete)
    for number in range(4):
        others = (fold != number) & complete
        refit = DirectRidge.fit(inputs[others], targets[others])
        assert_allclose(found[fold == number], refit.predict(inputs[fold == number]))
    assert np.abs(found - ridge.predict(inputs)).max() > 1e-3


def test_without_other_folds_there_is_no_out_of_fold_forecast() -> None:
    inputs, targets = regression(20)
    ridge = DirectRidge.fit(inputs, targets)
    found = out_of_fold(ridge, inputs, targets, np.zeros(20, dtype=np.int64), np.ones(20, dtype=bool))
    assert np.isnan(found).all()


# ---------------------------------------------------------------- non-negative weights


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_non_negative_weights_are_the_minimiser(penalty: float) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(50, 4))
    target = inputs @ np.array([1.0, -1.0, 0.5, 0.0]) + generator.normal(0.0, 0.1, 50)
    gram, moments, prior = inputs.T @ inputs, inputs.T @ target, np.full(4, 0.3)
    found = nonnegative_weights(gram, moments, prior=prior, penalty=penalty)
    typical = np.trace(gram) / 4

    def loss(w: Floats) -> float:
        return float(w @ gram @ w - 2 * moments @ w + penalty * typical * ((w - prior) ** 2).sum())

    best = minimize(loss, prior, bounds=[(0.0, None)] * 4, method="L-BFGS-B")
    assert (found >= 0.0).all()
    assert_allclose(found, best.x, atol=1e-3)
    assert loss(found) <= best.fun + 1e-7 * abs(best.fun)
    assert_allclose(nonnegative_weights(1e6 * gram, 1e6 * moments, prior=prior, penalty=penalty), found)


# ---------------------------------------------------------------- stack


def opinions(count: int = 400, horizon: int = 8, seed: int = 0) -> tuple[Floats, Floats]:
    """Return targets, and three members: one good, one worse, and one that errs to a side."""
    generator = np.random.default_rng(seed)
    targets = generator.normal(0.0, 3.0, (count, horizon))
    members = np.stack(
        [
            targets + generator.normal(0.0, 0.3, targets.shape),
            targets + generator.normal(0.0, 1.5, targets.shape),
            targets + generator.normal(2.0, 1.0, targets.shape),
        ]
    )
    return members, targets


def test_the_stack_finds_the_weights_of_the_least_loss_within_the_simplex() -> None:
    members, targets = opinions()
    median = np.median(members, axis=0)
    found = fit_weights(members - median, targets - median, np.full(3, 1 / 3), 0.0)
    assert (found >= 0.0).all()
    assert found.sum() <= 1.0 + 1e-3

    def loss(w: Floats) -> float:
        error = targets - median - np.einsum("kwh,k->wh", members - median, w)
        return float(np.sqrt(error**2 + 0.01).sum())

    constraint = {"type": "ineq", "fun": lambda w: 1.0 - w.sum()}
    best = minimize(loss, np.full(3, 0.3), bounds=[(0.0, 1.0)] * 3, constraints=[constraint], method="SLSQP")
    assert loss(found) < 1.002 * best.fun
    assert found[0] > 0.8


def test_the_stack_is_no_worse_than_its_best_member_and_free_of_units() -> None:
    members, targets = opinions()
    median = np.median(members, axis=0)
    units = np.ones((400, 1))
    stack = Stack.fit(("good", "worse", "aside"), members, median, targets, units)
    error = np.abs(stack.combine(members, median) - targets).mean()
    assert error < 1.01 * np.abs(members - targets).mean(axis=(1, 2)).min()
    scaled = Stack.fit(stack.names, 64.0 * members, 64.0 * median, 64.0 * targets, 64.0 * units)
    assert_allclose(scaled.weights, stack.weights, rtol=1e-6, atol=1e-9)
    members[0] += 7.0
    assert_allclose(stack.combine(members + 5.0, median + 5.0), stack.combine(members, median) + 5.0)


def test_ranges_of_steps_have_weights_of_their_own() -> None:
    members, targets = opinions()
    swapped = members.copy()
    swapped[0, :, 4:], swapped[1, :, 4:] = members[1, :, 4:], members[0, :, 4:]
    stack = Stack.fit(("a", "b", "c"), swapped, np.median(swapped, axis=0), targets, np.ones((400, 1)))
    assert (stack.weights[0, :4] > 0.7).all()
    assert (stack.weights[1, 4:] > 0.7).all()
    assert_array_equal(step_ranges(8), [0, 0, 1, 1, 2, 2, 3, 3])
    assert_array_equal(step_ranges(3), 0)


def test_few_or_missing_targets_leave_equal_weights() -> None:
    members, targets = opinions(3)
    median = np.median(members, axis=0)
    none = Stack.fit(("a", "b", "c"), members, median, np.full_like(targets, np.nan), np.ones((3, 1)))
    assert_allclose(none.weights, 1 / 3)
    holes = targets.copy()
    holes[:, ::2] = np.nan
    assert np.isfinite(Stack.fit(("a", "b", "c"), members, median, holes, np.ones((3, 1))).weights).all()


def test_members_without_a_forecast_take_the_median_of_the_others() -> None:
    forecasts = {
        "a": np.array([[1.0, np.nan, np.nan]]),
        "b": np.array([[2.0, 5.0, np.nan]]),
        "c": np.array([[9.0, 7.0, np.nan]]),
    }
    members, median = members_array(forecasts, ("c", "a", "b"))
    assert_array_equal(median, [[2.0, 6.0, np.nan]])
    assert_array_equal(members[:, 0], [[9.0, 7.0, np.nan], [1.0, 6.0, np.nan], [2.0, 5.0, np.nan]])


# ---------------------------------------------------------------- spread


def test_the_spread_finds_the_signal_that_has_the_size_of_the_errors() -> None:
    generator = np.random.default_rng(0)
    true, other = generator.lognormal(0.0, 0.8, (2, 2000, 6))
    residuals = 0.7 * true * generator.laplace(size=(2000, 6))
    residuals[generator.random(residuals.shape) < 0.1] = np.nan
    units = np.ones((2000, 1))
    spread = Spread.fit({"true": true, "other": other}, residuals, units)
    assert (spread.weights >= 0.0).all()
    # The scale of a Laplace law is the mean of its absolute value.
    assert_allclose(spread.weights[0], 0.7, rtol=0.12)
    assert spread.weights[1].max() < 0.06
    scale = spread.combine({"true": true, "other": other}, units)
    assert (scale > 0.0).all()
    assert np.nanmean(np.abs(residuals) / scale) == pytest.approx(1.0, abs=0.05)


def test_the_spread_has_the_units_of_its_signals() -> None:
    generator = np.random.default_rng(0)
    signals = {"a": generator.lognormal(size=(300, 6)), "b": np.ones((300, 6))}
    residuals = signals["a"] * generator.normal(size=(300, 6))
    units = np.full((300, 1), 2.0)
    one = Spread.fit(signals, residuals, units)
    large = {name: 512.0 * signal for name, signal in signals.items()}
    other = Spread.fit(large, 512.0 * residuals, 512.0 * units)
    assert_allclose(other.weights, one.weights, rtol=1e-6)
    assert_allclose(other.combine(large, 512.0 * units), 512.0 * one.combine(signals, units), rtol=1e-6)


@pytest.mark.parametrize("residuals", [np.zeros((20, 3)), np.full((20, 3), np.nan)])
def test_the_spread_of_nothing_is_small_and_positive(residuals: Floats) -> None:
    signals = {"a": np.zeros((20, 3)), "b": np.ones((20, 3))}
    units = np.ones((20, 1))
    spread = Spread.fit(signals, residuals, units)
    scale = spread.combine(signals, units)
    assert (scale > 0.0).all()
    assert np.isfinite(scale).all()
    if np.isfinite(residuals).all():
        assert (scale < 0.02).all()
