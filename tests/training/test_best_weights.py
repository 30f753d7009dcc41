from __future__ import annotations

import pytest
import torch

from sciffusion.training.best_weights import BestWeights


def _feed(best: BestWeights, losses: list[list[float]]) -> None:
    for step, row in enumerate(losses):
        weights = {"w": torch.full((len(row), 2), float(step))}
        best.update(step, torch.tensor(row), weights)


def test_each_member_keeps_its_own_first_minimum() -> None:
    best = BestWeights(n_members=3, patience=None)
    _feed(best, [[5.0, 5.0, 1.0], [4.0, 6.0, 1.0], [4.5, 3.0, 2.0]])
    assert best.best_step.tolist() == [1, 2, 0]
    assert best.best_loss.tolist() == [4.0, 3.0, 1.0]
    assert best.weights["w"][:, 0].tolist() == [1.0, 2.0, 0.0]
    assert not best.finished.any()


def test_a_finished_member_ignores_later_improvements() -> None:
    best = BestWeights(n_members=2, patience=2)
    _feed(best, [[1.0, 9.0], [2.0, 8.0], [2.0, 7.0], [0.0, 6.0]])
    assert best.finished.tolist() == [True, False]
    assert best.best_step.tolist() == [0, 3]
    assert best.weights["w"][:, 0].tolist() == [0.0, 3.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_no_minimum(value: float) -> None:
    best = BestWeights(n_members=1, patience=None)
    _feed(best, [[3.0], [value], [2.0]])
    assert best.best_step.tolist() == [2]


def test_kept_weights_are_copies() -> None:
    weights = {"w": torch.ones(3)}
    best = BestWeights(n_members=None, patience=None)
    best.update(0, torch.tensor(1.0), weights)
    weights["w"].zero_()
    best.update(1, torch.tensor(2.0), weights)
    assert torch.equal(best.weights["w"], torch.ones(3))
    best.update(2, torch.tensor(0.5), weights)
    assert torch.equal(best.weights["w"], torch.zeros(3))
