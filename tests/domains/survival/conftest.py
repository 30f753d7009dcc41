"""A small simulated study with mixed columns, and models that fit in a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from sciffusion.domains.survival import SDPMSurvival, make_survival_target
from sciffusion.domains.survival.draws import Draws

QUICK = {
    "n_members": 2, "width": 16, "max_steps": 40, "learning_rate": 4e-3, "n_draws": 64, "nfe": 4,
    "random_state": 0,
}  # fmt: skip
QUICK_PAPER = {
    "recipe": "paper", "width": 16, "max_epochs": 4, "n_draws": 32, "nfe": 4, "random_state": 0,
}  # fmt: skip


class Study(NamedTuple):
    X: pd.DataFrame
    T: NDArray[np.float64]
    E: NDArray[np.bool_]

    @property
    def y(self) -> NDArray[np.void]:
        return make_survival_target(self.T, self.E)

    @property
    def array(self) -> NDArray[np.float64]:
        return self.X[["age", "marker"]].to_numpy()


def simulate(n_rows: int, seed: int) -> Study:
    """Exponential times whose rate depends on a number and on a category; times are rounded, so some tie."""
    rng = np.random.default_rng(seed)
    age = rng.normal(60.0, 10.0, n_rows)
    sex = rng.choice(["f", "m"], n_rows)
    X = pd.DataFrame({"age": age, "marker": rng.normal(size=n_rows), "sex": pd.Categorical(sex)})
    event_time = rng.exponential(10.0 * np.exp(-0.08 * (age - 60.0) - 0.7 * (sex == "m")))
    censoring_time = rng.uniform(0.0, 25.0, n_rows)
    times = np.ceil(4.0 * np.minimum(event_time, censoring_time)) / 4.0
    return Study(X, times, event_time <= censoring_time)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # Networks this small only lose time to more threads, and sums then come in one order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def study() -> Study:
    return simulate(160, seed=3)


@pytest.fixture(scope="session")
def make_study() -> Callable[[int, int], Study]:
    return simulate


@pytest.fixture(scope="session")
def make_model() -> Callable[..., SDPMSurvival]:
    """Return what builds a quick model; `recipe="paper"` takes the quick settings of that recipe."""

    def make(**parameters: Any) -> SDPMSurvival:
        base = QUICK_PAPER if parameters.get("recipe") == "paper" else QUICK
        return SDPMSurvival(**{**base, **parameters})

    return make


@pytest.fixture(scope="module")
def fitted(study: Study, make_model: Callable[..., SDPMSurvival]) -> SDPMSurvival:
    return make_model().fit(study.X, study.T, study.E)


@pytest.fixture(scope="session")
def panel_draws() -> Callable[..., Draws]:
    """Return what shows the draws behind a model's curves."""

    def draws(model: SDPMSurvival, X: Any) -> Draws:
        parts = model._over_chunks(X, lambda draws, rows: draws)
        times, events = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        weights = [np.ones_like(part.times) if part.weights is None else part.weights for part in parts]
        return Draws(times, events, np.concatenate(weights))

    return draws
