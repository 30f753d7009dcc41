"""A toy ensemble of linear regressions: gradients, optima and independence of members are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sciffusion.training import TrainingHistory, TrainingOptions, fit_network


class LinearEnsemble(nn.Module):
    """`n_members` linear maps; members start differently."""

    def __init__(self, starts: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(starts.clone())
        self.bias = nn.Parameter(torch.zeros(len(starts), 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,mi->mb", x, self.weight) + self.bias


class SingleNetwork(nn.Module):
    """A small network with dropout, whose masks come from torch's global stream."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Dropout(dropout), nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[:, 0]


@dataclass(frozen=True)
class Problem:
    """Rows to train on and rows kept back."""

    x: Tensor
    y: Tensor
    x_held_out: Tensor
    y_held_out: Tensor

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    @staticmethod
    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        x, y = batch
        jitter = 0.05 * torch.randn(x.shape, generator=generator, device=x.device)
        losses: Tensor = (network(x + jitter) - y).square().mean(-1)
        return losses

    def held_out(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        losses: Tensor = (network(self.x_held_out.to(device)) - self.y_held_out.to(device)).square().mean(-1)
        return losses

    def fit(self, network: nn.Module, options: TrainingOptions, **kwargs: Any) -> TrainingHistory:
        arguments = {"objective": self.objective, "data": self.data, "seed": 1, **kwargs}
        return fit_network(network, options=options, **arguments)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Networks this small only lose time to more threads, and sums then come in one order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def problem() -> Problem:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * torch.randn(160, generator=generator)
    return Problem(x[:120], y[:120], x[120:], y[120:])


@pytest.fixture
def make_ensemble() -> Callable[..., LinearEnsemble]:
    def make(n_members: int = 3, scale: float = 1.0) -> LinearEnsemble:
        starts = scale * torch.randn(n_members, 3, generator=torch.Generator().manual_seed(5))
        return LinearEnsemble(starts)

    return make


@pytest.fixture
def make_network() -> Callable[..., SingleNetwork]:
    def make(dropout: float = 0.0) -> SingleNetwork:
        return SingleNetwork(dropout)

    return make
