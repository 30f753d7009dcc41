"""Weights before the first allowed evaluation are neither looked at nor kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sciffusion.training import TrainingOptions, fit_network


def _fit(evaluate_from: int) -> tuple[list[float], list[int]]:
    network = nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(0.0)
        network.bias.fill_(0.0)
    seen: list[float] = []

    def held_out(model: nn.Module) -> Tensor:
        assert isinstance(model, nn.Linear)
        seen.append(float(model.bias))
        return model.bias.detach().square().sum()  # best at the very start

    def objective(model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return (model(batch[0]) - 5.0).square().mean()

    options = TrainingOptions(
        max_steps=30, learning_rate=0.1, evaluate_every=5, evaluate_from=evaluate_from, patience=2
    )
    history = fit_network(
        network, objective, (torch.zeros(8, 1),), options=options, seed=0, held_out=held_out
    )
    return seen, [int(history.best_step[0]), history.stopped_step]


def test_without_it_the_start_is_kept() -> None:
    seen, (best, stopped) = _fit(0)
    assert best == 0
    assert stopped == 10
    assert len(seen) == 3


def test_the_first_allowed_evaluation_is_kept_and_patience_runs_from_there() -> None:
    seen, (best, stopped) = _fit(15)
    assert best == 15
    assert stopped == 25
    assert len(seen) == 3


def test_it_must_not_lie_beyond_the_last_step() -> None:
    with pytest.raises(ValueError, match="evaluate_from must not exceed max_steps=10, got 11"):
        TrainingOptions(max_steps=10, evaluate_from=11)
