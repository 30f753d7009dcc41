from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sciffusion.training import TrainingHistory, TrainingOptions


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_steps", 0, ValueError),
        ("max_steps", 10.0, TypeError),
        ("batch_size", True, TypeError),
        ("learning_rate", 0.0, ValueError),
        ("learning_rate", "fast", TypeError),
        ("learning_rate", float("nan"), ValueError),
        ("weight_decay", -1e-3, ValueError),
        ("warmup_steps", -1, ValueError),
        ("learning_rate_schedule", "linear", ValueError),
        ("ema_decay", 1.0, ValueError),
        ("ema_half_life", 0, ValueError),
        ("ema_relative_std", 0.5, ValueError),
        ("evaluate_every", 0, ValueError),
        ("patience", 0, ValueError),
        ("gradient_clip", -1, ValueError),
    ],
)
def test_wrong_options_are_named(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        TrainingOptions(**{name: value})


def test_only_one_average_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="ema_decay and ema_half_life"):
        TrainingOptions(ema_decay=0.9, ema_half_life=3.0)


def test_numpy_numbers_are_welcome() -> None:
    assert TrainingOptions(max_steps=np.int64(5), learning_rate=np.float32(0.5)).learning_rate_at(0) == 0.5
    assert json.dumps(TrainingOptions(max_steps=np.int64(5), weight_decay=np.float64(0.5)).to_dict())


def test_learning_rate_rises_and_falls() -> None:
    options = TrainingOptions(
        max_steps=110, learning_rate=2.0, warmup_steps=10, learning_rate_schedule="cosine"
    )
    rates = [options.learning_rate_at(step) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-3
    assert all(a >= b for a, b in pairwise(rates[10:]))
    constant = TrainingOptions(learning_rate=2.0)
    assert {constant.learning_rate_at(step) for step in (0, 5, 999)} == {2.0}


def test_history_survives_json() -> None:
    history = TrainingHistory(
        steps=np.array([0, 10]),
        train_loss=np.array([[np.nan, np.nan], [1.0, 0.1]]),
        held_out_loss=np.array([[2.0, 1.0], [1.5, 3.0]]),
        best_step=np.array([10, 0]),
        best_loss=np.array([1.5, 1.0]),
        stopped_step=10,
    )
    back = TrainingHistory.from_dict(json.loads(json.dumps(history.to_dict())))
    for name, value in vars(history).items():
        np.testing.assert_array_equal(getattr(back, name), value)
