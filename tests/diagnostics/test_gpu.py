"""Diagnostics of values on a GPU give what they give on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, DPMSolverMultistep, NetworkDenoiser, VariancePreserving
from sciffusion.diagnostics import (
    denoiser_distance,
    density_dimension,
    energy_distance,
    energy_test,
    flow_dimension,
    fokker_planck_residual,
    hallucination_variance,
    jacobian_asymmetry,
    latent_recovery,
    maximum_mean_discrepancy,
    memorisation,
    normal_bundle_dimension,
    rank_calibration,
    region_coverage,
    sliced_wasserstein,
    spectrum_ratio,
)
from sciffusion.sampling import State, uniform_grid

PATH = VariancePreserving()


def _network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    return torch.tanh(x.flip(-1)) * 0.3 + 0.2 * torch.sin(time).reshape(
        time.shape + (1,) * (x.ndim - time.ndim)
    )


DENOISER = NetworkDenoiser(_network, PATH)
WEAKER = NetworkDenoiser(lambda x, t, c: 0.9 * _network(x, t, c), PATH)
# A generator on the CPU gives both devices the same noise.
CALLS: dict[str, Callable[[Tensor, torch.Generator], Any]] = {
    "energy_distance": lambda x, g: energy_distance(x[:20], x[20:]),
    "kernel": lambda x, g: maximum_mean_discrepancy(x[:20], x[20:]),
    "sliced": lambda x, g: sliced_wasserstein(x[:20], x[20:], first_weights=x[:20, 0].abs(), generator=g),
    "energy_test": lambda x, g: energy_test(x[:20], x[20:], generator=g).p_value,
    "memorisation": lambda x, g: memorisation(x[:15], x[15:30], x[30:]).training_share_z,
    "latent_recovery": lambda x, g: latent_recovery(x[:20], x[20:], 1, generator=g, n_groups=4).ratio,
    "spectrum_ratio": lambda x, g: spectrum_ratio(x[:20], x[20:], 2, generator=g).error,
    "ranks": lambda x, g: rank_calibration(x.reshape(8, 5, 4), x[:8], generator=g).dispersion,
    "regions": lambda x, g: region_coverage(x.reshape(8, 5, 4), x[:8], generator=g).largest_gap,
    "distance": lambda x, g: (
        denoiser_distance(DENOISER, WEAKER, x, torch.tensor([0.2, 0.6]), generator=g).squared
    ),
    "bundle": lambda x, g: normal_bundle_dimension(DENOISER, x[:4], 0.3, generator=g).spectrum,
    "density": lambda x, g: density_dimension(DENOISER, x, 0.3, n_probes=2, generator=g).dimension,
    "flow": lambda x, g: (
        flow_dimension(DENOISER, DPMSolverMultistep(2), uniform_grid(6, 1.0, 0.1), x[:4]).spectrum
    ),
    "asymmetry": lambda x, g: jacobian_asymmetry(DENOISER, x, 0.3, n_probes=2, generator=g).each,
    "residual": lambda x, g: fokker_planck_residual(DENOISER, x, 0.3).each,
    "hallucination": lambda x, g: (
        hallucination_variance(
            DENOISER, AncestralDDPM(), uniform_grid(50), state=State(x=x), generator=g
        ).variance
    ),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and none is available")
@pytest.mark.parametrize("name", CALLS)
def test_devices_agree(name: str) -> None:
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = (
        torch.as_tensor(CALLS[name](x.to(device), torch.Generator().manual_seed(1)))
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-7)
