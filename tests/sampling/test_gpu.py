"""A run on a GPU gives what the same run gives on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ERSDE,
    DPMSolverMultistep,
    EDMPreconditioning,
    Heun,
    NetworkDenoiser,
    Solver,
    VariancePreserving,
)
from sciffusion.sampling import State, sample, uniform_grid


def _network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    return torch.tanh(x) + time.reshape(time.shape + (1,) * (x.ndim - time.ndim))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is available")
@pytest.mark.parametrize("solver", [Heun(), DPMSolverMultistep(2), ERSDE(2)])
def test_devices_agree(solver: Solver) -> None:
    denoiser = NetworkDenoiser(_network, VariancePreserving(), preconditioning=EDMPreconditioning())
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = torch.tensor([True, False, False, False, True, False])
    results = [
        # A generator on the CPU gives both devices the same noise.
        sample(
            denoiser,
            solver,
            uniform_grid(8),
            state=State(x=x.to(device), known=known.to(device)),
            generator=torch.Generator().manual_seed(1),
        ).samples
        for device in ("cpu", "cuda")
    ]
    assert results[1].is_cuda
    torch.testing.assert_close(results[1].cpu(), results[0], rtol=1e-9, atol=1e-10)
