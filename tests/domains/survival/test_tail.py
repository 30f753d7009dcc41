"""Beyond the follow-up curves go on as Weibull curves, at the patient's level and with the cohort's bend."""

from __future__ import annotations

import numpy as np
import pytest

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.domains.survival.tail import (
    continue_hazard,
    continue_survival,
    shape_times,
    weibull_shape,
)


@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0])
def test_weibull_curves_give_their_shape_whatever_the_levels(shape: float) -> None:
    times = np.linspace(0.5, 3.0, 12)
    levels = np.array([[0.01], [0.3], [2.0]])
    assert weibull_shape(times, levels * times**shape) == pytest.approx(shape, rel=1e-9)


def test_levels_that_differ_between_patients_do_not_bend_the_slope() -> None:
    # A pooled slope without a level for each patient would mix the two.
    times = np.linspace(1.0, 3.0, 12)
    hazard = np.array([[0.02], [1.5]]) * times**2
    hazard[0, 6:] = 0.0  # seen for small hazards early, for large ones late
    assert weibull_shape(times, hazard) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("hazard", [np.zeros((3, 4)), np.full((3, 4), 0.2), np.empty((3, 0))])
def test_curves_that_do_not_tell_have_the_smallest_or_a_constant_hazard(hazard: np.ndarray) -> None:
    times = np.linspace(1.0, 2.0, hazard.shape[1]) if hazard.shape[1] else np.empty(0)
    shape = weibull_shape(times, hazard)
    assert shape == (0.1 if hazard.any() else 1.0)


def test_continuation_is_continuous_falls_and_agrees_with_the_hazard() -> None:
    at_last = np.array([[0.8], [0.2], [0.0], [1.0]])
    times = np.array([1.0, 2.0, 2.0 + 1e-9, 4.0])
    survival = np.repeat(at_last, 4, axis=1)
    longer = continue_survival(survival, at_last, times, 2.0, 3.0)
    np.testing.assert_array_equal(longer[:, :2], survival[:, :2])
    np.testing.assert_allclose(longer[:, 2], at_last[:, 0], atol=1e-8)
    np.testing.assert_allclose(longer[:, 3], at_last[:, 0] ** 8.0)
    hazard = continue_hazard(np.array([[0.5]]), np.array([[0.5]]), np.array([4.0]), 2.0, 3.0)
    np.testing.assert_allclose(hazard, 0.5 * 8.0)


def test_shape_times_are_positive_and_distinct() -> None:
    times = shape_times(np.array([0.0, 0.0, 1.0, 1.0, 5.0]))
    assert (np.diff(times) > 0.0).all()
    assert (times > 0.0).all()


def test_predictions_go_on_beyond_the_follow_up_with_a_warning() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 2))
    T = generator.weibull(3.0, 300) * np.exp(-0.5 * X[:, 0])
    model = SDPMSurvival(random_state=0, max_steps=100).fit(X, np.minimum(T, 0.9), T <= 0.9)
    inside = model.predict_survival_function(X[:5], return_array=True, times=[0.5, 0.9])
    with pytest.warns(UserWarning, match="longest training time is 0.9"):
        both = model.predict_survival_function(X[:5], return_array=True, times=[0.5, 0.9, 1.5])
    np.testing.assert_array_equal(both[:, :2], inside)
    assert (both[:, 2] < both[:, 1]).all()
    with pytest.warns(UserWarning, match="continued"):
        hazard = model.predict_cumulative_hazard_function(X[:5], return_array=True, times=[0.9, 1.5])
    assert (hazard[:, 1] > hazard[:, 0]).all()
    assert 1.5 < model._tail_shape_ < 5.0
    # Quantiles and intervals do not go beyond what was observed.
    assert np.isinf(model.predict_quantile(X[:5], 0.999)).all()
