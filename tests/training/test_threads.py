"""A fit can ask for a number of threads, and gives the caller's back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciffusion.training import TrainingOptions, fit_network


def _threads_during_a_fit(threads: int | None) -> set[int]:
    seen: set[int] = set()

    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        seen.add(torch.get_num_threads())
        return network(batch[0]).square().mean()

    options = TrainingOptions(max_steps=3, threads=threads)
    fit_network(nn.Linear(1, 1), objective, (torch.ones(4, 1),), options=options, seed=0)
    return seen


def test_the_number_asked_for_holds_during_the_fit_only() -> None:
    before = torch.get_num_threads()
    other = before + 1
    assert _threads_during_a_fit(other) == {other}
    assert torch.get_num_threads() == before


def test_without_a_number_the_callers_threads_are_used() -> None:
    assert _threads_during_a_fit(None) == {torch.get_num_threads()}
