"""Rewards and potentials, by hand and by differentiation, of one hand and of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.boltzmann.chirality import fold_mirror_images, hand_of
from sciffusion.domains.boltzmann.draws import ScaledReward
from sciffusion.domains.boltzmann.handed_reward import HandedReward
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


@pytest.mark.parametrize("hand", [1, -1])
def test_a_reward_of_one_hand_is_that_of_the_folded_configuration(hand: int) -> None:
    x = _positions(400)
    reward = HandedReward(DifferentiableReward(_reward), CENTRE, hand)
    value, slope, laplacian = reward.evaluate(x, SPACE, _generator())
    arms = torch.nn.functional.normalize(x[:, 1:4] - x[:, :1], dim=-1)
    clear = torch.linalg.det(arms).abs() > 0.3
    assert 20 < int(clear.sum()) < 400
    folded = fold_mirror_images(x[clear], CENTRE, hand).configurations
    torch.testing.assert_close(value[clear], _reward(folded))
    # Mirror images share it, flat centres included, and gradients are mirrored.
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    mirrored = reward.evaluate(x * flip, SPACE, _generator())
    torch.testing.assert_close(mirrored.value, value)
    torch.testing.assert_close(mirrored.gradient, slope * flip)
    torch.testing.assert_close(mirrored.laplacian, laplacian)
    assert 0.2 < float((hand_of(x, CENTRE) == hand).double().mean()) < 0.8


def test_derivatives_of_a_reward_of_one_hand_are_those_of_its_value() -> None:
    reward = HandedReward(DifferentiableReward(_reward), CENTRE, 1)

    def value(y: Tensor) -> Tensor:
        flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        share = reward._share(y[:, list(CENTRE)])
        return share * _reward(y) + (1.0 - share) * _reward(y * flip)

    x = _positions(200)
    found = reward.evaluate(x, SPACE, _generator())
    expected = DifferentiableReward(value).evaluate(x, SPACE, _generator())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
