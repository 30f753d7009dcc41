"""The transformer: identity at the start, rotation by differences of positions, and who sees whom."""

from __future__ import annotations

import torch

from sciffusion.networks import ModulatedTransformer, TokenTransformer
from sciffusion.networks.transformer import rotate


def trained_like(network: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a random value, as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return network.eval().requires_grad_(False)


def test_blocks_start_as_the_identity() -> None:
    network = ModulatedTransformer(16, 2, 2)
    x, condition = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    torch.testing.assert_close(network(x, condition), torch.nn.functional.layer_norm(x, (16,)))


def test_rotation_depends_on_differences_of_positions() -> None:
    query, key = torch.randn(2, 1, 1, 4, 8, generator=torch.Generator().manual_seed(0)).double().unbind(0)
    positions = torch.arange(4)
    near = rotate(query, positions) @ rotate(key, positions).mT
    far = rotate(query, positions + 1000) @ rotate(key, positions + 1000).mT
    torch.testing.assert_close(near, far)
    assert not torch.allclose(near, rotate(query, positions + 1) @ rotate(key, positions).mT)


def test_invisible_tokens_change_nothing() -> None:
    network = trained_like(ModulatedTransformer(16, 2, 2))
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(1))
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    condition = torch.ones(1, 1, 16)
    changed = x.clone()
    changed[:, 4:, 0] += 1.0
    before, after = (network(given, condition, visible=causal) for given in (x, changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax() > 1e-3


def test_missing_conditions_are_not_zeros() -> None:
    network = trained_like(TokenTransformer(4, 3, width=16, depth=1, n_heads=2, n_conditions=2))
    tokens, times = torch.zeros(3, 5, dtype=torch.int64), torch.full((3, 5), 0.5)
    missing = network(tokens, times)
    given = network(tokens, times, torch.zeros(3, 2))
    half = network(tokens, times, torch.tensor([[0.0, torch.nan]] * 3))
    torch.testing.assert_close(missing, network(tokens, times, torch.full((3, 2), torch.nan)))
    assert (
        min(float((a - b).abs().amax()) for a, b in ((missing, given), (missing, half), (given, half))) > 1e-3
    )


def test_times_are_ignored_where_they_say_nothing() -> None:
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    times = torch.full((1, 5), 0.2), torch.full((1, 5), 0.9)
    for use_times in (True, False):
        network = trained_like(TokenTransformer(4, 3, width=16, depth=1, n_heads=2, use_times=use_times))
        early, late = (network(tokens, t) for t in times)
        assert torch.equal(early, late) is not use_times
