"""Scores, their divergences and rewards as DriftLite sees them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import NetworkDenoiser, VariancePreserving
from sciffusion.sampling import State
from sciffusion.sampling.driftlite import DifferentiableReward
from sciffusion.sampling.driftlite.fields import DenoiserField, FunctionField, Subspace
from sciffusion.sampling.driftlite.rewards import as_smooth_reward

PATH = VariancePreserving()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_denoiser_in_a_subspace_has_the_divergence_of_its_score_there() -> None:
    def without_centre(x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    def network(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        return torch.tanh(x) * x.flip(-1)

    subspace, x = (
        Subspace(without_centre, 4),
        torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(0)).double(),
    )
    denoiser, t = NetworkDenoiser(network, PATH), torch.tensor(0.4, dtype=torch.float64)
    asked: dict[str, Any] = {
        "with_divergence": True,
        "with_log_density": False,
        "generator": torch.Generator().manual_seed(0),
    }
    found = DenoiserField(denoiser, subspace=subspace).evaluate(x, t, **asked)
    c = PATH.coefficients(t)

    def score(x: Tensor, t: Tensor) -> Tensor:
        return (c.alpha * denoiser(State(x=x, t=t)).to("x0", c, x).value - x) / c.sigma**2

    expected = FunctionField(score, subspace=subspace).evaluate(x, t, **asked)
    torch.testing.assert_close(found.score, expected.score)
    torch.testing.assert_close(found.divergence, expected.divergence)


def test_rewards_are_differentiated_twice() -> None:
    x = torch.randn(7, 2, generator=_generator(), dtype=torch.float64)
    values = as_smooth_reward(lambda y: torch.sin(y).sum(-1)).evaluate(x, Subspace(), _generator())
    torch.testing.assert_close(values.gradient, torch.cos(x))
    torch.testing.assert_close(values.laplacian, -torch.sin(x).sum(-1))
    probed = DifferentiableReward(lambda y: torch.sin(y).sum(-1), n_probes=1)
    # The second derivatives have no cross terms, so that one probe is exact.
    torch.testing.assert_close(probed.evaluate(x, Subspace(), _generator()).laplacian, values.laplacian)
