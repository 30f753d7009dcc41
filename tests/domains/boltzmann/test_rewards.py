"""Rewards and potentials, by hand and by differentiation, of one hand and of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.boltzmann.draws import ScaledReward
from sciffusion.domains.boltzmann.rewards import combined_reward
from sciffusion.networks.egnn import centre
from sciffusion.sampling.driftlite import DifferentiableReward, Subspace

SPACE = Subspace(centre, 12)
CENTRE = (0, 1, 2, 3)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _positions(count: int = 40) -> Tensor:
    return centre(torch.randn(count, 5, 3, generator=_generator(), dtype=torch.float64))


def _reward(x: Tensor) -> Tensor:
    """One that mirror images do not share."""
    return torch.sin(x[:, 0, 0] - 0.5 * x[:, 4, 1]) + 0.3 * x[:, 2, 0] ** 3


def test_potentials_and_rewards_add_up() -> None:
    x = _positions()
    found = combined_reward(_reward, lambda y: 3.0 * y.square().flatten(1).sum(1), 1.5)
    assert found is not None
    by_hand = DifferentiableReward(lambda y: _reward(y) - 2.0 * y.square().flatten(1).sum(1))
    for one, other in zip(
        found.evaluate(x, SPACE, _generator()), by_hand.evaluate(x, SPACE, _generator()), strict=True
    ):
        torch.testing.assert_close(one, other)
    assert combined_reward(None, None, 1.0) is None


def test_rewards_of_scaled_positions_obey_the_chain_rule() -> None:
    x = _positions()
    scaled = ScaledReward.of(_reward, 2.5).evaluate(x, SPACE, _generator())
    direct = DifferentiableReward(lambda y: _reward(2.5 * y)).evaluate(x, SPACE, _generator())
    for one, other in zip(scaled, direct, strict=True):
        torch.testing.assert_close(one, other)


def test_what_cannot_be_differentiated_is_refused_with_the_remedy(harmonic: Any) -> None:
    model = harmonic(1.0, 1.0).model(nfe=4)
    with pytest.raises(TypeError, match="reward must be a function"):
        model.sample(4, reward=3.0)
    with pytest.raises(TypeError, match="potential must be a function"):
        model.sample(4, potential=3.0)
    with pytest.raises(TypeError, match="AnalyticReward"):
        model.sample(4, reward=lambda x: torch.zeros(len(x)))
    with pytest.raises(TypeError, match="AnalyticReward"):
        model.sample(4, potential=lambda x: x.detach().flatten(1).sum(1))
    with pytest.raises(ValueError, match="reward"):
        model.sample(4, reward=lambda x: x.sum())
    with pytest.raises(ValueError, match="reward"):
        model.sample(4, reward=lambda x: x.flatten(1).sum(1) * np.nan)
