"""Objectives that change with the step, also over an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sciffusion.training import ScheduledObjective, TrainingOptions, WeightWarmup


def test_bound_rises_geometrically_and_then_holds() -> None:
    warmup = WeightWarmup(steps=100)
    assert [warmup.at(step) for step in (0, 50, 100, 900)] == pytest.approx([5.0, 50.0, 500.0, 500.0])
    with pytest.raises(ValueError, match="steps"):
        WeightWarmup(steps=0)
    with pytest.raises(ValueError, match="positive"):
        WeightWarmup(steps=1, start=0.0)


def test_every_update_gets_the_objective_of_its_step(problem: Any, make_network: Any, tmp_path: Path) -> None:
    seen: list[int] = []
    fail_at = 25

    def make(step: int) -> Callable[..., Tensor]:
        def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
            if step == fail_at:
                raise RuntimeError("stopped")
            seen.append(step)
            return problem.objective(network, batch, generator) * (1.0 + step)

        return objective

    options = TrainingOptions(max_steps=40, batch_size=16, evaluate_every=10, patience=None)
    checkpoint = tmp_path / "fit.ckpt"
    with pytest.raises(RuntimeError, match="stopped"):
        problem.fit(make_network(), options, objective=ScheduledObjective(make), checkpoint=checkpoint)
    fail_at = -1
    problem.fit(make_network(), options, objective=ScheduledObjective(make), checkpoint=checkpoint)
    assert seen == [*range(25), *range(20, 40)]
    first = ScheduledObjective(make)(make_network(), problem.data, torch.Generator())
    assert seen[-1] == 0
    assert bool(first > 0.0)
