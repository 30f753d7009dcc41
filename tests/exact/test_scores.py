"""Scores and their divergences down to no noise, where the form by the posterior mean has no digits left."""

from __future__ import annotations

import pytest
import torch

from sciffusion.continuous import Trigonometric
from sciffusion.exact import (
    ExactDenoiser,
    ExactTarget,
    GaussianMixtureTarget,
    GaussianTarget,
    ProductTarget,
)

WIDE = torch.float64
DENSE = GaussianTarget.full(torch.tensor([[1.0, 0.5], [0.5, 0.8]], dtype=WIDE), torch.tensor([3.0, -2.0]))
CENTRES = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=WIDE)
TARGETS: dict[str, ExactTarget] = {
    "dense": DENSE,
    "round": GaussianTarget.isotropic(2, 0.7, 1.0),
    "low rank": GaussianTarget.low_rank(torch.tensor([[1.0], [0.5]]), 0.6),
    "spectral": GaussianTarget.spectral(torch.tensor([1.5, 0.4]), 2),
    "round mixture": GaussianMixtureTarget.isotropic([0.3, 0.7], CENTRES, [0.6, 0.9]),
    "diagonal mixture": GaussianMixtureTarget.from_stds(
        [0.3, 0.7], CENTRES, torch.tensor([[0.5, 0.8], [0.9, 0.4]], dtype=WIDE)
    ),
    "dense mixture": GaussianMixtureTarget(
        torch.tensor([0.4, 0.6]), [DENSE, GaussianTarget.isotropic(2, 2.0)]
    ),
    "product": ProductTarget(
        [GaussianMixtureTarget.isotropic([0.5, 0.5], CENTRES[:, :1], [0.6, 0.8]), GaussianTarget.isotropic(1)]
    ),
}
TIMES = {
    "none": torch.tensor(0.0, dtype=WIDE),
    "hardly any": torch.tensor(1e-9, dtype=WIDE),
    "some": torch.tensor(0.4, dtype=WIDE),
    "by item": torch.tensor([0.0, 1e-9, 0.3, 0.8], dtype=WIDE),
    "by coordinate": torch.tensor([[0.0, 0.5], [0.5, 1e-9], [0.3, 0.8], [0.0, 0.0]], dtype=WIDE),
}


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", TARGETS)
def test_scores_are_gradients_of_the_log_density_at_every_noise(name: str, time: str) -> None:
    denoiser, t = ExactDenoiser(TARGETS[name], Trigonometric()), TIMES[time]
    x = TARGETS[name].draw(4, torch.Generator().manual_seed(0)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x)
    score = denoiser.score(x, t)
    torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-9)
    columns = [torch.autograd.grad(score[:, k].sum(), x, retain_graph=True)[0][:, k] for k in range(2)]
    divergence = denoiser.score_divergence(x, t)
    assert divergence.shape == (4,)
    torch.testing.assert_close(divergence, torch.stack(columns).sum(0), rtol=1e-8, atol=1e-8)
