"""Weights of single series: found where series differ, held out in training, kept by name and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.own_stack import OwnStack
from sciffusion.domains.forecasting.stack import Stack

HORIZON, MEMBERS, WINDOWS = 5, 2, 60


class Rows:
    """Windows of two rows, one of which the first member forecasts and the other the second."""

    def __init__(self, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.row = np.repeat([0, 1], WINDOWS)
        self.origin = np.tile(np.arange(WINDOWS), 2)
        self.members = generator.normal(size=(MEMBERS, 2 * WINDOWS, HORIZON))
        self.median = np.median(self.members, axis=0)
        self.targets = self.members[self.row, np.arange(2 * WINDOWS)]
        self.targets = self.targets + generator.normal(0.0, 0.05, self.targets.shape)
        self.units = np.ones((2 * WINDOWS, 1))
        self.stack = Stack(("one", "other"), np.full((MEMBERS, HORIZON), 0.5))

    def fit(self) -> tuple[OwnStack, np.ndarray] | None:
        return OwnStack.fit(
            self.stack, ("a", "b"), self.row, self.origin, self.members, self.median, self.targets, self.units
        )


def test_each_row_finds_the_member_that_forecasts_it() -> None:
    found = Rows().fit()
    assert found is not None
    weights = found[0].weights_of(["b", "a", "unknown"], Rows().stack)
    assert weights.shape == (3, MEMBERS, HORIZON)
    assert (weights[0, 1] > 0.85).all()
    assert (weights[1, 0] > 0.85).all()
    assert_array_equal(weights[2], 0.5)


def test_rows_that_do_not_differ_keep_the_common_weights() -> None:
    rows = Rows()
    rows.targets = 0.5 * rows.members.sum(axis=0) + np.random.default_rng(1).normal(size=rows.targets.shape)
    assert rows.fit() is None


def test_weights_of_a_training_window_have_not_seen_its_third_of_the_time() -> None:
    before, rows = Rows().fit(), Rows()
    middle = (rows.row == 0) & (rows.origin > 19.7) & (rows.origin <= 39.3)
    rows.targets[middle] += 0.3  # not enough to change how strong the weights are shrunk
    after = rows.fit()
    assert before is not None
    assert after is not None
    assert_array_equal(after[1][middle], before[1][middle])
    others = (rows.row == 0) & ~middle
    assert (after[1][others] != before[1][others]).any(axis=(1, 2)).all()
    assert_array_equal(after[1][rows.row == 1], before[1][rows.row == 1])


@pytest.mark.parametrize("ids", [("steady", "wandering"), (1, 0)])
def test_weights_go_with_the_name_of_a_series_and_survive_saving(
    ids: tuple[str | int, ...], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    repeating = np.tile(generator.normal(size=7), 30) + generator.normal(0.0, 0.05, 210)
    values = dict(zip(ids, (repeating, np.cumsum(generator.normal(size=210))), strict=True))
    days = pd.date_range("2024-01-01", periods=210, freq="D")
    df = pd.concat([pd.DataFrame({"unique_id": name, "ds": days, "y": y}) for name, y in values.items()])
    model = DiffusionForecaster(horizon=4, network_off=True, random_state=0).fit(df)
    own = model.model_.base.own
    assert own is not None
    found = model.predict()["DiffusionForecaster"]
    model.save(tmp_path / "model.safetensors")
    again = DiffusionForecaster.load(tmp_path / "model.safetensors")
    assert_array_equal(again.predict()["DiffusionForecaster"], found)
    assert_allclose(again.predict(df=df)["DiffusionForecaster"], found, rtol=1e-6)
    other = df.assign(unique_id=df["unique_id"].map({ids[0]: "new", ids[1]: ids[1]}))
    renamed = model.predict(df=other)
    changed = np.abs(renamed["DiffusionForecaster"].to_numpy() - found.to_numpy()) > 1e-3
    assert_array_equal(changed.reshape(2, -1).any(axis=1), [True, False])


def test_rows_of_an_array_are_not_the_series_whose_ids_are_their_numbers() -> None:
    generator = np.random.default_rng(0)
    repeating = np.tile(generator.normal(size=7), 30) + generator.normal(0.0, 0.05, 210)
    values = np.stack([repeating, np.cumsum(generator.normal(size=210))])
    days = pd.date_range("2024-01-01", periods=210, freq="D")
    df = pd.concat([pd.DataFrame({"unique_id": row, "ds": days, "y": y}) for row, y in enumerate(values)])
    model = DiffusionForecaster(horizon=4, network_off=True, random_state=0).fit(df)
    strangers = model.predict(df=df.assign(unique_id=df["unique_id"] + 5))["DiffusionForecaster"]
    assert_allclose(model.predict(values).ravel(), strangers, rtol=1e-6)
    assert np.abs(model.predict(values).ravel() - model.predict()["DiffusionForecaster"]).max() > 1e-3
