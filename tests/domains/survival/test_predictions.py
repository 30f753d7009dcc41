"""Everything predicted is read off the draws, exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.domains.survival.draws import Draws

PanelDraws = Callable[[SDPMSurvival, Any], Draws]


@pytest.fixture(scope="module")
def few(study: Any) -> Any:
    return study.X.iloc[:12]


@pytest.fixture(scope="module")
def draws(fitted: SDPMSurvival, few: Any, panel_draws: PanelDraws) -> Draws:
    return panel_draws(fitted, few)


@pytest.fixture(scope="module")
def curves(fitted: SDPMSurvival, few: Any) -> np.ndarray:
    return fitted.predict_survival_function(few)


def test_curves_are_lifelines_kaplan_meier_of_the_draws(
    fitted: SDPMSurvival, few: Any, draws: Draws, curves: np.ndarray
) -> None:
    lifelines = pytest.importorskip("lifelines")
    grid = fitted.unique_times_
    for row, curve in enumerate(curves):
        assert len(np.unique(draws.times[row])) < len(draws.times[row])  # ties are among the draws
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lifelines warns of weights that are not counts
            theirs = lifelines.KaplanMeierFitter().fit(
                draws.times[row], draws.events[row], weights=draws.weights[row], timeline=grid
            )
        assert_allclose(curve(grid), theirs.survival_function_.to_numpy()[:, 0], atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*beyond the longest observed time")
def test_the_paper_recipes_curves_are_scikit_survivals_kaplan_meier_of_the_draws(
    make_model: Callable[..., SDPMSurvival], study: Any, few: Any, panel_draws: PanelDraws
) -> None:
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    model = make_model(recipe="paper").fit(study.X, study.y)
    draws = panel_draws(model, few)
    curves = {
        True: model.predict_survival_function(few, return_array=True),
        False: model.predict_censoring_survival_function(few, return_array=True),
    }
    for row in range(len(few)):
        assert len(np.unique(draws.times[row])) == draws.times.shape[1]  # so that flags can be flipped
        for flag, values in curves.items():
            events = draws.events[row] == flag
            times, survival = nonparametric.kaplan_meier_estimator(events, draws.times[row])
            place = np.searchsorted(times, model.unique_times_, side="right")
            assert_allclose(values[row], np.append(1.0, survival)[place], atol=1e-12)


def test_curves_start_at_one_fall_and_stay_in_the_unit_interval(curves: np.ndarray) -> None:
    for curve in curves:
        assert curve(0.0) <= 1.0
        assert (np.diff(curve.y) <= 0.0).all()
        assert curve.y.min() >= 0.0
        assert curve.y[-1] < curve.y[0]


def test_steps_are_at_training_times_and_evaluate_as_the_array(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray, study: Any
) -> None:
    assert_array_equal(fitted.unique_times_, np.unique(study.T))
    values = fitted.predict_survival_function(few, return_array=True)
    assert_array_equal(np.stack([curve.y for curve in curves]), values)
    for curve in curves:
        assert_array_equal(curve.x, fitted.unique_times_)


def test_values_at_chosen_times_in_any_order(fitted: SDPMSurvival, few: Any, curves: np.ndarray) -> None:
    times = [7.1, 0.0, 3.3, 3.3]
    values = fitted.predict_survival_function(few, times=times, return_array=True)
    assert_array_equal(values, [[curve(t) for t in times] for curve in curves])
    steps = fitted.predict_survival_function(few, times=times)
    assert_array_equal(steps[0].x, [0.0, 3.3, 7.1])
    assert_array_equal([step(7.1) for step in steps], values[:, 0])


def test_the_cumulative_hazard_sums_the_drops_of_the_curve(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray
) -> None:
    hazards = fitted.predict_cumulative_hazard_function(few)
    for curve, hazard in zip(curves, hazards, strict=True):
        before = np.append(1.0, curve.y[:-1])
        drops = np.divide(before - curve.y, before, out=np.zeros_like(before), where=before > 0)
        assert_allclose(hazard.y, np.cumsum(drops), atol=1e-9)


def test_the_restricted_mean_is_the_area_under_the_curve(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray
) -> None:
    for tau in (None, 6.3, 0.01):
        horizon = fitted.unique_times_[-1] if tau is None else tau
        edges = np.unique(np.clip(np.append(fitted.unique_times_, [0.0, horizon]), 0.0, horizon))
        areas = [np.sum(np.diff(edges) * curve(edges[:-1])) for curve in curves]
        assert_allclose(fitted.predict_rmst(few, tau), areas, rtol=1e-12)


def test_quantiles_are_where_the_curve_falls_to_their_level(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray
) -> None:
    levels = [0.1, 0.5, 0.75, 0.999]
    quantiles = fitted.predict_quantile(few, levels)
    for row, curve in enumerate(curves):
        for level, quantile in zip(levels, quantiles[row], strict=True):
            reached = np.flatnonzero(1.0 - curve.y >= level - 1e-12)
            assert quantile == (curve.x[reached[0]] if len(reached) else np.inf)
    assert_array_equal(fitted.predict_median(few), quantiles[:, 1])
    assert_array_equal(fitted.predict_quantile(few), quantiles[:, 1])


def test_an_interval_holds_its_level(fitted: SDPMSurvival, few: Any) -> None:
    interval = fitted.predict_interval(few, 0.6)
    assert_array_equal(interval, fitted.predict_quantile(few, [0.2, 0.8]))
    assert_array_equal(fitted.predict_lower_bound(few, 0.8), interval[:, 0])


def test_the_probability_of_an_event_between_two_times_is_the_fall_of_the_curve(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray
) -> None:
    found = fitted.event_probability(few, 2.0, 7.5)
    assert_allclose(found, [curve(2.0) - curve(7.5) for curve in curves], atol=1e-15)
    assert found.min() >= 0.0
    whole = fitted.event_probability(few, 0.0, fitted.unique_times_[-1])
    assert_allclose(whole, [curve(0.0) - curve.y[-1] for curve in curves], atol=1e-15)


def test_the_censoring_curve_is_kaplan_meier_of_the_censored_draws(
    fitted: SDPMSurvival, few: Any, draws: Draws
) -> None:
    found = fitted.predict_censoring_survival_function(few, return_array=True)
    grid = fitted.unique_times_
    for row in range(len(few)):
        survival, values = 1.0, []
        for time in grid:
            here = draws.times[row] == time
            left = draws.weights[row][draws.times[row] >= time].sum()
            left -= (draws.weights[row] * draws.events[row])[here].sum()
            censored = (draws.weights[row] * (1.0 - draws.events[row]))[here].sum()
            survival *= 1.0 - (censored / left if censored > 0 else 0.0)
            values.append(survival)
        assert_allclose(found[row], values, atol=1e-9)


def test_event_times_follow_the_curve(fitted: SDPMSurvival, few: Any, curves: np.ndarray) -> None:
    times = fitted.sample_event_times(few, 4000, random_state=0)
    for row, curve in enumerate(curves):
        empirical = (times[row][:, None] > curve.x).mean(axis=0)
        assert np.abs(empirical - curve.y).max() < 1.95 / np.sqrt(4000)
        assert np.isinf(times[row]).mean() == pytest.approx(curve.y[-1], abs=0.04)


@pytest.mark.parametrize("one_each", [False, True])
def test_remaining_life_follows_the_conditional_curve(
    fitted: SDPMSurvival, few: Any, curves: np.ndarray, one_each: bool
) -> None:
    given = np.linspace(0.0, 6.0, len(few)) if one_each else 3.0
    times = fitted.sample_event_times(few, 4000, given=given, random_state=0)
    for row, start in enumerate(np.broadcast_to(given, len(few))):
        curve = curves[row]
        assert (times[row] > start).all()
        after = curve.x > start
        expected = curve.y[after] / curve(start)
        empirical = (times[row][:, None] > curve.x[after]).mean(axis=0)
        assert np.abs(empirical - expected).max() < 1.95 / np.sqrt(4000)


def test_nobody_survives_the_end_of_a_curve_that_reaches_zero(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    model = make_model().fit(study.X, study.T, np.ones(len(study.T), dtype=bool))
    late = model.sample_event_times(study.X.iloc[:3], 5, given=study.T.max(), random_state=0)
    assert np.isnan(late).all()


def test_observations_follow_the_draws_behind_the_curves(
    fitted: SDPMSurvival, few: Any, draws: Draws
) -> None:
    times, events = fitted.sample(few, 3000, random_state=0)
    assert times.dtype == np.float64
    assert events.dtype == np.bool_
    weights = draws.weights / draws.weights.sum(axis=1, keepdims=True)
    # The panel is quasi-random and small (64 draws): its own error is about .03.
    assert_allclose(events.mean(axis=1), (weights * draws.events).sum(axis=1), atol=0.06)
    for row in range(len(few)):
        for cut in (2.0, 5.0, 9.0):
            later = (weights[row] * (draws.times[row] > cut)).sum()
            assert (times[row] > cut).mean() == pytest.approx(later, abs=0.09)


def test_observations_are_independent_and_fresh(fitted: SDPMSurvival, few: Any) -> None:
    same = few.iloc[[0] * 400]
    times, events = fitted.sample(same, 2, random_state=1)
    ranks = times.argsort(axis=0).argsort(axis=0)
    assert abs(np.corrcoef(ranks.T)[0, 1]) < 0.15
    assert len(np.unique(times[:, 0])) > 30
    again = fitted.sample(same, 2, random_state=1)
    assert_array_equal(again[0], times)
    assert_array_equal(again[1], events)
    assert (fitted.sample(same, 2, random_state=2)[0] != times).any()
    assert (fitted.sample(same, 2)[0] != fitted.sample(same, 2)[0]).any()


def test_one_observation_is_not_always_of_the_same_member(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    model = make_model(n_members=4).fit(study.X, study.y)
    one = np.concatenate([model.sample(study.X.iloc[[0]], 1, random_state=s)[0][0] for s in range(60)])
    many = model.sample(study.X.iloc[[0]], 2000, random_state=0)[0][0]
    assert kstest(one + 1e-6 * np.arange(60), many).pvalue > 1e-3


@pytest.mark.parametrize("n_draws", [1, 2, 3, 65])
def test_any_number_of_draws_gives_curves(fitted: SDPMSurvival, few: Any, n_draws: int) -> None:
    values = fitted.predict_survival_function(few, return_array=True, n_draws=n_draws)
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) <= 0.0).all()
    # A curve of a few draws is coarse, but on average over patients it is about right.
    many = fitted.predict_survival_function(few, return_array=True)
    assert np.abs(values - many).mean() < 0.35


def test_more_draws_change_less(fitted: SDPMSurvival, few: Any) -> None:
    reference = fitted.predict_survival_function(few, return_array=True, n_draws=4096)
    errors = [
        np.abs(fitted.predict_survival_function(few, return_array=True, n_draws=n) - reference).mean()
        for n in (16, 64, 512)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_without_training_everybody_gets_the_cohorts_curve(
    make_model: Callable[..., SDPMSurvival], study: Any
) -> None:
    from sciffusion.domains.survival.kaplan_meier import kaplan_meier_curves

    # The solver narrows the ranks of an unlearned model by 1 - .9997 at 16 evaluations.
    model = make_model(max_steps=0, n_draws=2048, nfe=16).fit(study.X, study.y)
    values = model.predict_survival_function(study.X, return_array=True)
    assert_array_equal(values, np.broadcast_to(values[0], values.shape))
    cohort = kaplan_meier_curves(study.T[None], study.E[None]).survival_at(model.unique_times_)[0]
    reliable = model.unique_times_ <= np.quantile(study.T, 0.9)
    assert np.abs(values[0] - cohort)[reliable].max() < 0.01
    assert len(np.unique(model.predict(study.X))) == 1


@pytest.mark.parametrize(
    ("method", "arguments", "name"),
    [
        ("predict_quantile", {"levels": 1.0}, "levels"),
        ("predict_quantile", {"levels": [0.5, np.nan]}, "levels"),
        ("predict_rmst", {"tau": 0.0}, "tau"),
        ("predict_rmst", {"tau": 1e6}, "longest training time"),
        ("predict_interval", {"level": 1.5}, "level"),
        ("predict_lower_bound", {"level": 0.0}, "level"),
        ("event_probability", {"a": 3.0, "b": 2.0}, "b must be"),
        ("event_probability", {"a": -1.0, "b": 2.0}, "a must be"),
        ("sample", {"n_samples": 0}, "n_samples"),
        ("sample_event_times", {"given": -1.0}, "given"),
        ("sample_event_times", {"given": [1.0, 2.0]}, "given"),
        ("sample_event_times", {"given": np.nan}, "given"),
        ("predict_survival_function", {"times": [-1.0]}, "times"),
        ("predict_survival_function", {"times": []}, "times"),
        ("predict_survival_function", {"n_draws": 0}, "n_draws"),
    ],
)
def test_arguments_out_of_range_are_named(
    fitted: SDPMSurvival, few: Any, method: str, arguments: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        getattr(fitted, method)(few, **arguments)


@pytest.mark.parametrize("arguments", [{"n_samples": 2.5}, {"n_samples": True}])
def test_counts_must_be_integers(fitted: SDPMSurvival, few: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="n_samples"):
        fitted.sample(few, **arguments)


def test_the_risk_is_the_mean_probability_of_an_event_by_the_training_event_times(
    fitted: SDPMSurvival, study: Any, few: Any
) -> None:
    shares = (np.arange(100) + 0.5) / 100
    times = np.quantile(np.asarray(study.T)[np.asarray(study.E) > 0], shares, method="inverted_cdf")
    survival = np.stack([[curve(t) for t in times] for curve in fitted.predict_survival_function(few)])
    assert_allclose(fitted.predict(few), 1.0 - survival.mean(axis=1), atol=1e-12)


def test_the_risk_does_not_hang_on_one_patient_who_was_followed_very_long() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(200, 1))
    T = generator.exponential(np.exp(-X[:, 0]))
    E = generator.uniform(size=200) < 0.6
    T[0], E[0] = 1000.0, False
    model = SDPMSurvival(random_state=0, max_steps=60).fit(X, T, E)
    times = np.quantile(T[E], [0.25, 0.5, 0.75])
    middle = model.predict_survival_function(X, times=times, return_array=True).mean(axis=1)
    assert np.corrcoef(model.predict(X), middle)[0, 1] < -0.98


@pytest.mark.parametrize(
    "method", ["predict", "predict_median", "predict_rmst", "predict_interval", "predict_lower_bound"]
)
def test_more_network_evaluations_can_be_asked_for(
    fitted: SDPMSurvival, few: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    draw = fitted._model_.draw

    def watched(features: Any, start: Any, nfe: int, device: Any, generator: Any) -> Any:
        asked.append(nfe)
        return draw(features, start, nfe, device, generator)

    monkeypatch.setattr(fitted._model_, "draw", watched)
    getattr(fitted, method)(few)
    getattr(fitted, method)(few, nfe=17)
    assert asked[-1] == 17
    assert asked[0] == fitted._settings_.nfe


def test_curves_converge_in_the_number_of_evaluations(fitted: SDPMSurvival, few: Any) -> None:
    def curves(nfe: int) -> np.ndarray:
        return fitted.predict_survival_function(few, return_array=True, nfe=nfe)

    exact = curves(128)
    assert np.abs(curves(32) - exact).max() <= np.abs(curves(2) - exact).max()
    assert np.abs(curves(64) - exact).max() < 0.05
    with pytest.raises(ValueError, match="nfe must be an integer >= 1"):
        curves(0)


@pytest.mark.parametrize(
    "method",
    [
        "predict_survival_function",
        "predict_cumulative_hazard_function",
        "predict_censoring_survival_function",
    ],
)
def test_times_in_the_place_of_return_array_are_refused(fitted: SDPMSurvival, few: Any, method: str) -> None:
    with pytest.raises(TypeError, match="return_array must be True or False"):
        getattr(fitted, method)(few, [1.0, 2.0])
