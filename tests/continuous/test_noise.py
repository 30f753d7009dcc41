"""Noise sources and quasi-random panels."""

from __future__ import annotations

import pytest
import torch

from sciffusion.continuous import WhiteNoise, gaussian_panel


def _panel(seed: int, *, quasi_random: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return gaussian_panel(256, 3, generator, quasi_random=quasi_random, dtype=torch.float64)


def test_panel_is_reproducible_and_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = _panel(0), _panel(0), _panel(1)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert bool(first.isfinite().all())


def test_quasi_random_panel_integrates_better_than_independent_draws() -> None:
    def error(quasi_random: bool) -> float:
        panels = torch.stack([_panel(seed, quasi_random=quasi_random) for seed in range(20)])
        # E of the second moment and of exp are 1 and exp(1/2).
        second = (panels.square().mean((1, 2)) - 1.0).square().mean()
        growth = (panels.exp().mean((1, 2)) - float(torch.tensor(0.5).exp())).square().mean()
        return float(second + growth) ** 0.5

    assert error(True) < 0.25 * error(False)


def test_panel_and_noise_refuse_bad_arguments() -> None:
    with pytest.raises(ValueError, match="count and dim"):
        gaussian_panel(0, 3, torch.Generator())
    t = torch.tensor(0.5)
    with pytest.raises(ValueError, match="generator"):
        WhiteNoise().draw(torch.zeros(2), None, t, t)
