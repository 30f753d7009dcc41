"""What noisy tokens say of properties: closed forms against integration, and a law that is learned."""

from __future__ import annotations

import math

import torch

from sciffusion.discrete import Mask
from sciffusion.domains.molecules.property_network import (
    NoisyPropertyNetwork,
    linear_log_weight,
    property_loss,
    target_log_weight,
)


def expectation(mean: float, variance: float, log_value: object) -> float:
    """Return the log of E exp(log_value(y)) for a normal y, by a fine sum."""
    y = torch.linspace(-12.0, 12.0, 200_001, dtype=torch.float64)
    log_density = -0.5 * (y - mean) ** 2 / variance - 0.5 * math.log(2.0 * math.pi * variance)
    total = torch.logsumexp(log_density + log_value(y), 0)  # type: ignore[operator]
    return float(total + math.log(24.0 / 200_000))


def test_log_weights_are_those_of_a_normal_law() -> None:
    mean = torch.tensor([[0.3, -1.0], [2.0, 0.0]], dtype=torch.float64)
    variance = torch.tensor([[0.5, 1.0], [0.1, 2.0]], dtype=torch.float64)
    tilt = linear_log_weight(torch.tensor([1.5, 0.0], dtype=torch.float64))(mean, variance)
    values, widths = torch.tensor([1.0, math.nan]), torch.tensor([0.4, math.nan])
    wanted = target_log_weight(values.double(), widths.double(), 2.0)(mean, variance)
    for row in range(2):
        m, v = float(mean[row, 0]), float(variance[row, 0])
        torch.testing.assert_close(
            float(tilt[row]), expectation(m, v, lambda y: 1.5 * y), rtol=1e-6, atol=1e-6
        )
        exact = expectation(m, v, lambda y: -2.0 * (y - 1.0) ** 2 / (2.0 * float(widths.double()[0]) ** 2))
        torch.testing.assert_close(float(wanted[row]), exact, rtol=1e-6, atol=1e-6)


def test_one_hot_tokens_are_tokens() -> None:
    torch.manual_seed(0)
    network = NoisyPropertyNetwork(5, 2, width=16, depth=1, n_heads=2)
    torch.nn.init.normal_(network.output.weight)
    tokens = torch.randint(5, (3, 7))
    times = torch.full((3, 7), 0.5)
    onehot = torch.nn.functional.one_hot(tokens, 5).float()
    for one, other in zip(network(tokens, times), network(onehot, times), strict=True):
        torch.testing.assert_close(one, other)


def test_unknown_properties_carry_no_loss() -> None:
    network = NoisyPropertyNetwork(4, 2, width=16, depth=1, n_heads=2)
    x0, t = torch.zeros(2, 5, dtype=torch.int64), torch.full((2,), 0.5)
    y = torch.tensor([[1.0, math.nan], [math.nan, math.nan]])
    loss = property_loss(network, Mask(3), x0, y, t, torch.Generator().manual_seed(0))
    torch.testing.assert_close(float(loss.detach()), 0.5)  # of the one known value, under N(0, 1)


def test_the_law_at_full_noise_is_the_prior_of_the_property() -> None:
    """With everything masked, mean and variance become those of the training set; with nothing, the value."""
    torch.manual_seed(0)
    process, generator = Mask(2), torch.Generator().manual_seed(0)
    network = NoisyPropertyNetwork(3, 1, width=16, depth=1, n_heads=2)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(150):
        x0 = torch.randint(2, (64, 4), generator=generator)
        y = x0.float().mean(1, keepdim=True) * 4.0 - 2.0  # mean 0, variance 1
        loss = property_loss(network, process, x0, y, torch.rand(64, generator=generator), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mean, variance = network(torch.full((1, 4), 2), torch.ones(1, 4))
    assert abs(float(mean.detach())) < 0.3
    assert abs(float(variance.detach()) - 1.0) < 0.35
    mean, variance = network(torch.tensor([[1, 1, 1, 1]]), torch.zeros(1, 4))
    assert abs(float(mean.detach()) - 2.0) < 0.5
    assert float(variance.detach()) < 0.3
