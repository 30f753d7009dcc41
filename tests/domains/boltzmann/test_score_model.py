"""Where bumps stand, and how a model is read."""

from __future__ import annotations

import pytest
import torch

from sciffusion.domains.boltzmann.score_model import build_score_model, place_bumps
from sciffusion.networks.egnn import ParticleFrame, centre


def _line(*places: float) -> torch.Tensor:
    return torch.tensor(places).reshape(1, -1, 1)


def test_bumps_are_dense_from_the_smallest_distance_on_and_reach_beyond_the_largest() -> None:
    scaled = torch.cat([_line(0.0, 1.0, 3.0), _line(0.0, 2.0, 6.0)])  # distances 1 to 6
    found = place_bumps(scaled, 0.2)
    dense = 1.0 - 0.15 + 0.15 * torch.arange(16)
    sparse = torch.linspace(0.0, 7.2, 24)
    kept = sparse[(sparse < dense[0] - 0.075) | (sparse > dense[-1] + 0.075)]
    torch.testing.assert_close(found, torch.cat([dense, kept]).sort().values)
    assert float(found.diff().min()) > 0.07
    near = place_bumps(_line(0.0, 0.5, 0.9), 0.2)
    assert float(near.max()) == pytest.approx(4.8)  # 1.2 times 4 where all is smaller


@pytest.mark.parametrize("energy_based", [False, True])
def test_a_new_model_is_that_of_a_gaussian(energy_based: bool) -> None:
    # The network is the zero field: the denoiser is that of data of unit variance, whatever the local scale.
    x = centre(torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0)))
    frame = ParticleFrame.of(x, (0, 0, 0))
    model = build_score_model(
        frame, place_bumps(x, 0.3), length=2.0, local_scale=0.3, width=4, depth=1, energy_based=energy_based
    )
    assert model.energy_based is energy_based
    denoiser = model.denoiser()
    for t in (0.1, 0.5, 0.9):
        alpha = float(denoiser.path.coefficients(torch.tensor(t)).alpha)
        found = denoiser.predict(x, torch.tensor(t)).value.detach()
        torch.testing.assert_close(found, alpha * x, rtol=1e-5, atol=1e-6)
