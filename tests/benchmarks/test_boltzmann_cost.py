"""Cost of effective draws: observables, what errors are worth, and miniature runs of both methods."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from boltzmann_cost import (
    DIFFUSION,
    EXCHANGE,
    TASKS,
    chain_times,
    diffusion_runs,
    equal_time,
    exchange_runs,
    training_cost,
)
from boltzmann_cost_runs import OBSERVABLES, Law, Run, estimate, law_of, observe, rows_of
from sklearn.base import BaseEstimator

WELLS = replace(TASKS["dw4"], burn_in=1000, columns=16)


def test_observables_by_hand() -> None:
    x = np.array([[[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]]) + 5.0
    energy, radius, short = observe(x, np.array([-7.0]), short=4.0)[:, 0]
    assert (energy, short) == (-7.0, 2.0)
    assert radius == pytest.approx(((1 + 1) + (4 + 1) + (1 + 4)) / 3.0)


def test_weighted_means() -> None:
    values = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]])
    np.testing.assert_allclose(estimate(values), [7.0 / 3.0, 8.0 / 3.0])
    np.testing.assert_allclose(estimate(values, np.log([1.0, 1.0, 2.0]) - 900.0), [11.0 / 4.0, 4.0])


def test_an_average_of_independent_draws_is_worth_their_number() -> None:
    generator = np.random.default_rng(0)
    exact = generator.standard_normal((3, 200_000)) * np.array([[1.0], [2.0], [3.0]])
    law = law_of([exact[:, :100_000], exact[:, 100_000:]], [1e5, 1e5])
    np.testing.assert_allclose(law.error, np.array([1.0, 2.0, 3.0]) / np.sqrt(2e5), rtol=0.01)
    draws = generator.standard_normal((400, 3, 50)) * np.array([[1.0], [2.0], [3.0]])
    rows = pd.DataFrame(rows_of({}, [Run(estimate(item), 0.5, {"note": 2.0}) for item in draws], law))
    np.testing.assert_allclose(rows["draws by error"], 50.0, rtol=0.25)  # its error is sqrt(2 / 400) = 7 %
    np.testing.assert_allclose(rows["ms per draw by spread"], 500.0 / rows["draws by spread"])
    assert list(rows["observable"]) == list(OBSERVABLES)
    assert set(rows["note"]) == {2.0}


def test_a_common_shift_counts_as_error_but_not_as_spread() -> None:
    law = Law(np.zeros(3), np.full(3, 4.0), np.zeros(3))
    runs = [Run(np.full(3, value), 1.0, {}) for value in (0.9, 1.1)]
    row = rows_of({}, runs, law)[0]
    assert row["bias"] == pytest.approx(1.0)
    assert row["draws by error"] == pytest.approx(4.0 / 1.01)
    assert row["draws by spread"] == pytest.approx(4.0 / 0.02)


def test_short_simulations_estimate_the_law() -> None:
    runs = exchange_runs(WELLS, (0, 1), frames=20, thinning=20)
    assert runs[0].estimates[0] != runs[1].estimates[0]
    for run in runs:
        assert -24.0 < run.estimates[0] < -20.5
        assert run.cpu_seconds > 0.0
        assert 0.3 < run.notes["rarest exchange"] < 0.9


def test_times_of_chains_are_in_steps() -> None:
    fine, coarse = (chain_times(WELLS, 1200 // thinning, thinning) for thinning in (10, 30))
    assert list(fine.index) == list(OBSERVABLES)
    times = "autocorrelation time, steps"
    assert (fine[times] >= 10.0).all()
    assert (coarse[times] >= 30.0).all()
    assert 30.0 < fine.loc["energy", times] < 300.0  # about 100 in long chains


@dataclass
class _Drawn:
    configurations: np.ndarray[Any, Any]
    log_weights: np.ndarray[Any, Any]
    ess: np.ndarray[Any, Any]
    unique_ancestors: int


class _Sampler:
    """Two particles in a harmonic trap at temperature 2, weighted to another temperature."""

    def sample(self, n: int, **settings: Any) -> _Drawn:
        assert settings == {"temperature": 1.0, "particles": n, "random_state": settings["random_state"]}
        generator = np.random.default_rng(settings["random_state"])
        x = np.sqrt(2.0) * generator.standard_normal((n, 2, 1))
        x -= x.mean(axis=1, keepdims=True)
        log_weights = -0.5 * (x**2).sum(axis=(1, 2)) * (1.0 - 0.5)
        return _Drawn(x, log_weights, np.array([[1.0], [0.25]]), n // 2)


class _Trap:
    n, dimensions = 2, 1

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square().sum(dim=(1, 2))


def test_weighted_particles_are_judged_by_their_weights() -> None:
    task = replace(WELLS, system=_Trap())  # type: ignore[arg-type]
    runs = diffusion_runs(_Sampler(), task, range(4), particles=4000)
    means = np.stack([run.estimates for run in runs]).mean(axis=0)
    assert means[0] == pytest.approx(0.5, abs=0.03)  # kT / 2 in the one free coordinate
    assert means[1] == pytest.approx(0.5, abs=0.03)  # its mean square is kT, spread over two particles
    assert runs[0].notes == {
        "particles": 4000.0,
        "final ESS / N": 0.25,
        "least ESS / N": 0.25,
        "ancestors / N": 0.5,
    }


def test_chains_get_as_much_time_as_particles() -> None:
    row = {"system": "s", "observable": "energy", "bias": 0.3, "spread": 0.4, "error": 0.5, "CPU s": 2.0}
    row |= {"ms per draw by error": 1.0, "ms per draw by spread": 1.0}
    slower = row | {"CPU s": 8.0, "error": 0.1, "ms per draw by error": 6.0, "ms per draw by spread": 3.0}
    table = equal_time(pd.DataFrame([row | {"method": EXCHANGE}, slower | {"method": DIFFUSION}]))
    found = table.loc[("s", "energy")]
    assert found["error, replica exchange"] == pytest.approx(np.hypot(0.3, 0.2))
    assert (found["cost ratio by error"], found["cost ratio by spread"]) == (6.0, 3.0)
    assert not len(equal_time(pd.DataFrame([row | {"method": EXCHANGE}])))


class _Fit(BaseEstimator):
    """Does 20 ms of work a step."""

    def __init__(self, max_steps: int = 500) -> None:
        self.max_steps = max_steps

    def fit(self, X: np.ndarray[Any, Any], *, temperature: float, forces: np.ndarray[Any, Any]) -> _Fit:
        assert (temperature, X.shape) == (2.0, forces.shape)
        until = time.process_time() + 0.02 * self.max_steps
        while time.process_time() < until:
            pass
        return self


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
def test_a_fit_is_charged_by_its_steps(tmp_path: Path) -> None:
    found = training_cost(WELLS, _Fit(), quick=True, folder=tmp_path, steps=(2, 12))
    assert found["fit, CPU s"] == pytest.approx(500 * 0.02, rel=0.1)
    assert found["data, CPU s"] > 0.0
