"""What a count network is trained on: shown counts, hidden properties, weights, marginal laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from sciffusion.discrete import PureDeath
from sciffusion.estimators import counts_training
from sciffusion.estimators.counts_training import (
    CountRows,
    CountSettings,
    marginal_laws,
    train_count_network,
)

COUNT, COLUMNS = 4000, 6


def run(monkeypatch: pytest.MonkeyPatch, weights: Tensor | None = None, **changed: Any) -> Any:
    """Return what one step on 4000 rows gives the objective, and its loss, the first count of a row."""
    seen: list[Any] = []

    def objective(denoiser: Any, counts: Tensor, times: Tensor, generator: Any, *given: Any) -> Tensor:
        seen[:] = given
        return counts[:, :1].double().expand(counts.shape)

    monkeypatch.setattr(counts_training, "DenoiserCrossEntropy", lambda: objective)
    settings = CountSettings(**{
        "head": "law", "mask_share": 0.5, "condition_dropout": 0.2, "width": 8, "depth": 1, "dropout": 0.0,
        "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 8, "max_steps": 1, "patience": None,
        "validation_fraction": 0.0, **changed,
    })  # fmt: skip
    counts = torch.arange(COUNT)[:, None].expand(COUNT, COLUMNS) % 3
    rows = CountRows(counts, torch.zeros(COUNT, 1), torch.ones(COUNT) if weights is None else weights)

    def train(network: Any, objective: Any, parts: tuple[Tensor, ...], **_: Any) -> Any:
        seen.append(float(objective(network, parts, torch.Generator().manual_seed(0))))

    network: Any = nn.Identity()
    train_count_network(settings, PureDeath(2), network, rows, None, train, 0)
    return seen


def test_properties_are_hidden_and_counts_shown_in_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions, shown, _ = run(monkeypatch)
    assert_allclose(conditions.isnan().double().mean(), 0.2, atol=0.03)
    assert_allclose(shown.double().mean(), 0.5 / 2, atol=0.03)
    numbers = torch.bincount(shown.sum(-1), minlength=COLUMNS + 1) / COUNT
    assert_allclose(numbers[1:], 0.5 / (COLUMNS + 1), atol=0.025)
    conditions, shown, _ = run(monkeypatch, mask_share=0.0, condition_dropout=0.0)
    assert not conditions.isnan().any()
    assert shown is None


@pytest.mark.parametrize("favoured", [0, 1, 2])
def test_losses_are_weighted_by_row(monkeypatch: pytest.MonkeyPatch, favoured: int) -> None:
    weights = torch.where(torch.arange(COUNT) % 3 == favoured, 8.0, 1.0)
    expected = (8.0 * favoured + sum({0, 1, 2} - {favoured})) / 10.0
    assert_allclose(run(monkeypatch, weights)[-1], expected, atol=0.01)


def test_marginal_laws_are_weighted_and_smoothed() -> None:
    laws = marginal_laws(torch.tensor([[0, 2], [1, 2], [1, 0]]), torch.tensor([2.0, 1.0, 0.0]), 3)
    expected = torch.tensor([[2.1, 1.1, 0.1, 0.1], [0.1, 0.1, 3.1, 0.1]], dtype=torch.float64) / 3.4
    assert_allclose(laws, expected)
