"""First-order deterministic sampling against azula, an independent library."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import DPMSolverMultistep, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import State, sample, uniform_grid

# Not in the extra `test`: azula requires torchvision, and where the build of torchvision does not fit that of
# torch, its mere presence breaks the import of pytorch-lightning.
_REASON = "azula is not installed (pip install --no-deps azula einops)"
denoise = pytest.importorskip("azula.denoise", reason=_REASON)
noise = pytest.importorskip("azula.noise", reason=_REASON)
peer_sample = pytest.importorskip("azula.sample", reason=_REASON)


def test_first_order_steps_equal_azula_ddim() -> None:
    centres = torch.tensor([[-1.0, 0.3], [1.0, 0.8]], dtype=torch.float64)
    target = GaussianMixtureTarget.from_stds([0.3, 0.7], centres, torch.full_like(centres, 0.4))
    path = VariancePreserving.from_alpha_min(1e-3, sigma_min=1e-3)
    ours = ExactDenoiser(target, path)

    class Peer(denoise.Denoiser):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.schedule = noise.VPSchedule(alpha_min=1e-3, sigma_min=1e-3)

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> object:
            return denoise.DiracPosterior(mean=ours.predict(x_t, t).value)

    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = sample(ours, DPMSolverMultistep(1), uniform_grid(12), state=State(x=start)).samples
    sampler = peer_sample.DDIMSampler(Peer(), steps=12, silent=True, dtype=torch.float64)
    torch.testing.assert_close(result, sampler(start), rtol=1e-5, atol=1e-6)
