"""A run of tokens on a GPU gives what the same run gives on the CPU."""

from __future__ import annotations

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    DiscreteProcess,
    DiscreteSolver,
    FirstHitting,
    Mask,
    MaximalCoupling,
    NetworkTokenDenoiser,
    PredictionTrapezoid,
    Remasking,
    RenewedNoise,
    Uniform,
    UniformAbsorbing,
    keep_grid,
)
from sciffusion.networks import TokenTransformer
from sciffusion.sampling import State, sample


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is available")
@pytest.mark.parametrize(("process", "solver"), [
    (Mask(3), Ancestral()), (Uniform(3), Ancestral()), (UniformAbsorbing(3), RenewedNoise()),
    (Mask(3), PredictionTrapezoid()), (Uniform(3), MaximalCoupling()), (Mask(3), FirstHitting()),
    (Mask(3), Remasking("confidence")),
])  # fmt: skip
def test_devices_agree(process: DiscreteProcess, solver: DiscreteSolver) -> None:
    """The grid, and the generator, which gives both devices the same noise, stay on the CPU."""
    network = TokenTransformer(process.state_size, 3, width=16, depth=1, n_heads=2).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    known = torch.tensor([True, False, False, False, False, True]).expand(20, 6)
    x = process.draw_prior((20, 6), generator)
    x = torch.where(known, 1, x)
    samples = [
        sample(
            NetworkTokenDenoiser(network.to(device).double(), process, "denoiser"), solver, keep_grid(6),
            state=State(x.to(device), known=known.to(device), generator=torch.Generator().manual_seed(1)),
        ).samples.cpu()
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    torch.testing.assert_close(samples[1], samples[0])
