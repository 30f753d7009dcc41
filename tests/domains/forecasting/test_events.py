"""Probabilities of events: exact where the forecaster is Gaussian, those of `sample` where it is not."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from sciffusion import DiffusionForecaster
from sciffusion.domains.forecasting.event_flow import PathEvents, WhiteFlow
from sciffusion.domains.forecasting.recalibration import Recalibration

HORIZON = 6
METHODS = ("monte_carlo", "importance")


def _mean(paths: torch.Tensor) -> torch.Tensor:
    return paths.flatten(1).mean(-1)


def _last(paths: torch.Tensor) -> torch.Tensor:
    return paths[:, -1]


def _highest(paths: torch.Tensor) -> torch.Tensor:
    return paths.amax(-1)


def _walks(count: int, channels: int = 1) -> np.ndarray:
    steps = np.random.default_rng(1).normal(size=(count, 150, channels))
    values = np.cumsum(steps, axis=1) * 0.5 + np.sin(np.arange(150) / 4.0)[:, None]
    return values[..., 0] if channels == 1 else values


@dataclass(frozen=True)
class Gaussian:
    """The law of the paths of one series of a forecaster without a network."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, model: DiffusionForecaster, place: int) -> Gaussian:
        """Read location, scale and correlation from the fitted parts; steps first, then channels."""
        fitted, panel = model.model_, model.panel_
        series = fitted.base.series(panel)
        prepared = fitted.prepare(series, series.last_windows())
        channels = panel.n_channels
        rows = slice(place * channels, (place + 1) * channels)
        location, scale = prepared.location[rows].T, prepared.scale[rows].T
        across = fitted.law.channel_factor @ fitted.law.channel_factor.T
        correlation = np.kron(fitted.law.factor @ fitted.law.factor.T, across)
        return cls(location.ravel(), scale.reshape(-1, 1) * correlation * scale.ravel())

    def linear(self, weights: np.ndarray) -> tuple[float, float]:
        return float(weights @ self.mean), float(np.sqrt(weights @ self.covariance @ weights))


@pytest.fixture(scope="module")
def gaussian() -> DiffusionForecaster:
    return DiffusionForecaster(
        horizon=HORIZON, network_off=True, calibrate=False, nonnegative=False, random_state=0
    ).fit(_walks(3))


@pytest.fixture(scope="module")
def trained() -> DiffusionForecaster:
    model = DiffusionForecaster(
        horizon=HORIZON,
        max_steps=25,
        n_members=2,
        width=32,
        batch_size=32,
        learning_rate=2e-2,
        random_state=0,
    )
    return model.fit(_walks(3))


@pytest.fixture(scope="module")
def two_channels() -> DiffusionForecaster:
    return DiffusionForecaster(horizon=4, network_off=True, calibrate=False, random_state=0).fit(
        _walks(2, channels=2)
    )


def _thresholds(model: DiffusionForecaster, weights: np.ndarray, probability: float) -> np.ndarray:
    laws = [Gaussian.of(model, place).linear(weights) for place in range(model.panel_.n_series)]
    return np.array([mean + std * norm.isf(probability) for mean, std in laws])


def _assert_close(found: Any, truth: Any, errors: float = 4.0) -> None:
    assert (np.abs(found.probability - truth) < errors * found.standard_error).all(), (found, truth)


EVEN, FINAL = np.full(HORIZON, 1.0 / HORIZON), np.eye(HORIZON)[-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("probability", [0.3, 1e-2])
@pytest.mark.parametrize(("function", "weights"), [(_mean, EVEN), (_last, FINAL)])
def test_linear_events_have_their_exact_probability(
    gaussian: DiffusionForecaster, method: str, probability: float, function: Any, weights: np.ndarray
) -> None:
    values = _thresholds(gaussian, weights, probability)
    found = gaussian.event_probability((function, ">", values), method=method, n_samples=4000, random_state=1)
    _assert_close(found, probability)
    below = gaussian.event_probability(
        (function, "<=", values), method=method, n_samples=4000, random_state=2
    )
    _assert_close(below, 1.0 - probability)
    assert (found.method == method).all()
    assert ((found.lower < found.probability) & (found.probability < found.upper)).all()


@pytest.mark.parametrize("probability", [1e-4, 1e-7])
def test_rare_events_are_estimated_to_a_few_per_cent(
    gaussian: DiffusionForecaster, probability: float
) -> None:
    event = (_last, ">", _thresholds(gaussian, FINAL, probability))
    found = gaussian.event_probability(event)
    assert (found.method == "importance").all()
    assert found.reliable.all()
    _assert_close(found, probability)
    assert (found.standard_error < 0.06 * probability).all()
    plain = gaussian.event_probability(event, method="monte_carlo")
    assert not plain.reliable.any()
    assert (plain.upper > probability).all()


def test_conjunctions_are_bivariate_normal_probabilities(gaussian: DiffusionForecaster) -> None:
    for level in (0.5, 2.5):
        chances = []
        values = {name: [] for name in ("first", "last")}
        for place in range(3):
            law = Gaussian.of(gaussian, place)
            ends = np.ix_([0, -1], [0, -1])
            mean, covariance = law.mean[[0, -1]], law.covariance[ends]
            deviations = np.sqrt(np.diag(covariance))
            # The first step above, the last one below: against their correlation.
            bounds = mean + np.array([level, -0.4 * level]) * deviations
            values["first"].append(bounds[0])
            values["last"].append(bounds[1])
            flip = np.diag([-1.0, 1.0])
            chances.append(multivariate_normal(flip @ mean, flip @ covariance @ flip).cdf(flip @ bounds))
        events = [(lambda y: y[:, 0], ">", np.array(values["first"])), (_last, "<", np.array(values["last"]))]
        found = gaussian.event_probability(events, n_samples=4000, method="importance")
        _assert_close(found, np.array(chances))
        assert (found.standard_error < 0.2 * np.array(chances)).all()


def test_noise_widens_an_event(gaussian: DiffusionForecaster) -> None:
    values = _thresholds(gaussian, EVEN, 1e-3)
    truth = np.array([
        norm.sf((values[place] - mean) / np.hypot(std, 2.0 * std))
        for place in range(3)
        for mean, std in [Gaussian.of(gaussian, place).linear(EVEN)]
    ])  # fmt: skip
    for place in range(3):
        noise = 2.0 * Gaussian.of(gaussian, place).linear(EVEN)[1]
        for method in METHODS:
            found = gaussian.event_probability((_mean, ">", values, noise), method=method, n_samples=4000)
            assert abs(found.probability[place] - truth[place]) < 4.0 * found.standard_error[place]


def test_standard_errors_are_those_of_repeated_runs(gaussian: DiffusionForecaster) -> None:
    values = _thresholds(gaussian, EVEN, 1e-3)
    for method, count in (("importance", 200), ("monte_carlo", 4000)):
        runs = [
            gaussian.event_probability(
                (_mean, ">", values), method=method, n_samples=count, random_state=seed
            )
            for seed in range(25)
        ]
        estimates = np.stack([run.probability for run in runs])
        declared = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
        assert estimates.std() == pytest.approx(declared, rel=0.25)
        assert abs(estimates.mean() - 1e-3) < 4.0 * declared / np.sqrt(estimates.size)


def test_both_methods_estimate_the_law_that_sample_draws_from(trained: DiffusionForecaster) -> None:
    paths = trained.sample(n_samples=4000, random_state=9)
    for share in (0.1, 0.99):
        value = np.quantile(paths.max(-1), share, axis=1)
        counted = trained.event_probability(
            (_highest, ">", value), method="monte_carlo", n_samples=4000, random_state=9
        )
        np.testing.assert_allclose(counted.probability, (paths.max(-1) > value[:, None]).mean(1), atol=1e-12)
        weighted = trained.event_probability((_highest, ">", value), method="importance", n_samples=2000)
        error = np.hypot(counted.standard_error, weighted.standard_error)
        assert (np.abs(counted.probability - weighted.probability) < 4.0 * error).all()


def test_events_that_can_happen_in_several_ways_are_found_in_all(gaussian: DiffusionForecaster) -> None:
    """Either end may be extreme: the proposals must not settle on one of them."""
    law = Gaussian.of(gaussian, 0)
    deviation = np.sqrt(np.diag(law.covariance))

    def far_out(paths: torch.Tensor) -> torch.Tensor:
        standard = (paths - torch.from_numpy(law.mean)) / torch.from_numpy(deviation)
        return standard[:, [0, -1]].abs().amax(-1)

    correlation = law.covariance[0, -1] / deviation[0] / deviation[-1]
    joint = multivariate_normal(np.zeros(2), [[1.0, correlation], [correlation, 1.0]])
    inside = joint.cdf([3.5, 3.5], lower_limit=[-3.5, -3.5])
    found = gaussian.event_probability((far_out, ">", 3.5), method="importance", n_samples=4000)
    assert abs(found.probability[0] - (1.0 - inside)) < 4.0 * found.standard_error[0]
    assert found.standard_error[0] < 0.1 * (1.0 - inside)


def test_channels_are_drawn_jointly(two_channels: DiffusionForecaster) -> None:
    def difference(paths: torch.Tensor) -> torch.Tensor:
        return paths[:, -1, 1] - paths[:, -1, 0]

    weights = np.zeros(8)
    weights[-2:] = (-1.0, 1.0)
    values = _thresholds(two_channels, weights, 1e-3)
    _assert_close(two_channels.event_probability((difference, ">", values)), 1e-3)
    counted = two_channels.event_probability(
        (difference, ">", _thresholds(two_channels, weights, 0.2)), method="monte_carlo"
    )
    _assert_close(counted, 0.2)


@pytest.mark.parametrize("method", METHODS)
def test_recalibrated_steps_keep_the_probabilities_of_their_quantiles(
    gaussian: DiffusionForecaster, method: str
) -> None:
    """A monotone map of the residuals moves thresholds and not probabilities."""
    law = Recalibration(0.9, 1.3, 1.4)
    mapped = copy.copy(gaussian)
    mapped.model_ = replace(gaussian.model_, recalibration=law)
    chance = 0.01
    ends = [
        (one.mean[-1], one.covariance[-1, -1] ** 0.5) for one in (Gaussian.of(gaussian, k) for k in range(3))
    ]
    values = np.array([mean + std * law(np.array([norm.isf(chance)]))[0] for mean, std in ends])
    _assert_close(mapped.event_probability((_last, ">", values), method=method, n_samples=4000), chance)


def test_functions_see_clipped_values() -> None:
    model = DiffusionForecaster(horizon=3, network_off=True, nonnegative=True, random_state=0)
    model.fit(np.abs(_walks(1)))
    for method in METHODS:
        found = model.event_probability((lambda y: y.amin(-1), "<", -1e-9), method=method)
        assert found.probability[0] == 0.0
        assert 0.0 < found.upper[0] < 0.02


def test_several_series_equal_separate_calls(trained: DiffusionForecaster) -> None:
    histories = _walks(3)
    value = np.quantile(trained.sample(n_samples=500).max(-1), 0.995, axis=1)
    together = trained.event_probability((_highest, ">", value))
    assert "importance" in set(together.method)
    panel = trained.panel_
    for place in range(3):
        alone = DiffusionForecaster.event_probability(
            _Only(trained, panel.take([place])), (_highest, ">", value[place])
        )
        assert alone.method[0] == together.method[place]
        assert alone.probability[0] == pytest.approx(together.probability[place], rel=1e-3)
    given = trained.event_probability((_highest, ">", value), X=histories)
    np.testing.assert_allclose(given.probability, together.probability, rtol=1e-3)


class _Only:
    """The forecaster with another panel."""

    def __init__(self, model: DiffusionForecaster, panel: Any) -> None:
        self._model, self.panel_ = model, panel

    def _request(self, *given: Any) -> Any:
        return self._model._request(*given)._replace(panel=self.panel_)

    def __getattr__(self, name: str) -> Any:
        found = getattr(type(self._model), name, None)
        if callable(found) and name in ("_weighted", "_sharpened"):
            return found.__get__(self)
        return getattr(self._model, name)


def test_frames_name_their_series_and_take_values_by_name() -> None:
    dates = pd.date_range("2024-01-01", periods=80, freq="D")
    walks = _walks(2)[:, :80]
    df = pd.concat(
        [pd.DataFrame({"shop": name, "day": dates, "sales": walks[place]}) for place, name in enumerate("ba")]
    )
    model = DiffusionForecaster(
        horizon=3,
        network_off=True,
        nonnegative=False,
        id_col="shop",
        time_col="day",
        target="sales",
        random_state=0,
    ).fit(df)
    lows = {"a": -100.0, "b": 100.0}
    found = model.event_probability((_mean, ">", lows), method="monte_carlo")
    assert list(found.columns[:4]) == ["shop", "probability", "standard_error", "lower"]
    assert dict(zip(found["shop"], found["probability"], strict=True)) == {"a": 1.0, "b": 0.0}
    assert found.equals(model.event_probability((_mean, ">", pd.Series(lows)), method="monte_carlo"))
    with pytest.raises(ValueError, match=r"no value for the series \['b'\]"):
        model.event_probability((_mean, ">", {"a": 1.0}))


def test_an_impossible_event_has_probability_0_and_an_upper_bound(gaussian: DiffusionForecaster) -> None:
    found = gaussian.event_probability((lambda y: torch.sigmoid(y).sum(-1), ">", 1000.0))
    assert (found.probability == 0.0).all()
    assert (found.standard_error > 0.0).all()
    assert (found.lower == 0.0).all()
    assert (found.upper == 3.0 / 1000).all()  # of the 1000 antithetic pairs that were counted
    assert not found.reliable.any()


def test_functions_without_gradient_are_counted(gaussian: DiffusionForecaster) -> None:
    def rises(paths: torch.Tensor) -> torch.Tensor:
        return (paths.diff(dim=-1) > 0).sum(-1)

    found = gaussian.event_probability((rises, ">=", 5))
    assert (found.method == "monte_carlo").all()
    assert (found.probability > 0.0).any()
    for function in (rises, lambda y: torch.from_numpy(y.numpy().sum(-1))):
        with pytest.raises(ValueError, match=r"cannot be differentiated.*method='monte_carlo'"):
            gaussian.event_probability((function, ">", 5), method="importance")


def test_horizons_beyond_the_trained_one_are_counted(gaussian: DiffusionForecaster) -> None:
    value = float(gaussian.sample(10, n_samples=200)[0, :, -1].mean())
    found = gaussian.event_probability((_last, ">", value), 10, n_samples=200)
    assert found.probability[0] == pytest.approx(0.5, abs=0.15)
    with pytest.raises(ValueError, match=r"importance sampling reaches the trained horizon of 6 steps.*h=10"):
        gaussian.event_probability((_last, ">", value), 10, n_samples=20, method="importance")


def test_shorter_horizons_show_the_function_fewer_steps(gaussian: DiffusionForecaster) -> None:
    weights = np.eye(HORIZON)[1]
    for method in METHODS:
        found = gaussian.event_probability(
            (_last, ">", _thresholds(gaussian, weights, 0.1)), 2, method=method
        )
        _assert_close(found, 0.1)


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        ((_mean, "near", 1.0), ValueError, "relation must be one of"),
        ((_mean, "==", 1.0), ValueError, "give two inequalities"),
        ((3, ">", 1.0), TypeError, "must be callable"),
        ((_mean, ">"), TypeError, "tuple"),
        ((_mean, ">", [1.0, 2.0]), ValueError, "one a series, 3 here"),
        ((_mean, ">", np.nan), ValueError, "finite"),
        ((_mean, ">", 1.0, -1.0), ValueError, "noise_std"),
        ((lambda y: y.mean(), ">", 1.0), ValueError, "count"),
        ((lambda y: 0.0, ">", 1.0), TypeError, "must return a Tensor"),
        ((lambda y: torch.log(-y.abs() - 1.0).sum(-1), ">", 1.0), ValueError, "returned NaN"),
        ([], ValueError, "at least one"),
        (_mean, TypeError, "tuple"),
    ],
)
def test_bad_events_are_refused(
    gaussian: DiffusionForecaster, event: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        gaussian.event_probability(event)


def test_other_bad_input_is_refused(gaussian: DiffusionForecaster) -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        gaussian.event_probability((_mean, ">", 0.0), method="exact")
    with pytest.raises(ValueError, match="n_samples"):
        gaussian.event_probability((_mean, ">", 0.0), n_samples=3)


def test_the_flow_of_noise_is_that_of_the_draws(trained: DiffusionForecaster) -> None:
    """The same starting noise, whitened, gives the paths of the forecaster."""
    fitted = trained.model_
    noise = fitted.starting_noise(trained.panel_.ids, 8, trained.seed_ + 1)[..., fitted.n_context :]
    factor = torch.from_numpy(fitted.law.factor)
    white = torch.linalg.solve_triangular(factor, noise.double().mT, upper=False).mT
    flow = WhiteFlow(fitted, trained.panel_, nfe=8, device=torch.device("cpu"))
    with torch.no_grad():
        paths = flow.paths(white.movedim(1, 2).flatten(2))
    np.testing.assert_allclose(paths[..., 0], trained.sample(n_samples=8), rtol=1e-4, atol=1e-4)
    event = PathEvents.read("event", (_mean, ">", 0.0), trained.panel_, HORIZON)
    leaf = white.movedim(1, 2).flatten(2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(event.gaps(flow.paths(leaf)).sum(), leaf)
    assert (gradient.abs().sum((0, 1)) > 0.0).all()
