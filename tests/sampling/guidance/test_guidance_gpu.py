"""Guidance on a GPU gives what it gives on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import EDMPreconditioning, NetworkDenoiser, VariancePreserving
from sciffusion.sampling import State, event_probability, uniform_grid
from sciffusion.sampling.guidance import (
    ClassifierFreeGuidance,
    DensityGuidance,
    EventGuidance,
    Guidance,
    GuidedDenoiser,
    Likelihood,
    PosteriorGuidance,
    RewardGuidance,
)

READING = Likelihood(torch.eye(2, 3), torch.ones(2), 0.5)
EVENTS: list[Any] = [(lambda x: x[:, 0], ">", 0.4), (lambda x: x[:, 1:], "==", torch.tensor([0.1, 0.2]), 0.3)]


def _network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    return torch.tanh(x) + (0.0 if condition is None else condition)


DENOISER = NetworkDenoiser(_network, VariancePreserving(), preconditioning=EDMPreconditioning())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is available")
@pytest.mark.parametrize(
    "guidance",
    [
        ClassifierFreeGuidance(2.0),
        RewardGuidance(lambda x: x.sum(-1)),
        *[PosteriorGuidance(READING, method) for method in ("dps", "pigdm", "tmpd", "mmps")],
        EventGuidance(EVENTS),
        DensityGuidance(0.7),
        DensityGuidance(rate=1.0),
    ],
)
def test_devices_agree(guidance: Guidance) -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(0.4, dtype=torch.float64)
    values = [
        GuidedDenoiser(DENOISER, guidance)(State(x=x.to(device), t=t), 0.3).value
        for device in ("cpu", "cuda")
    ]
    assert values[1].is_cuda
    torch.testing.assert_close(values[1].cpu(), values[0], rtol=1e-8, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is available")
def test_probabilities_agree() -> None:
    found = [
        # A generator on the CPU gives both devices the same noise.
        event_probability(
            DENOISER, EVENTS[0], uniform_grid(10), shape=(200, 3), method="importance", device=device,
            generator=torch.Generator().manual_seed(0), dtype=torch.float64,
        ).probability
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    assert found[1] == pytest.approx(found[0], rel=1e-6)
