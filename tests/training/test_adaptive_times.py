"""Times that follow the loss: the optimal density, unbiasedness and memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.training import AdaptiveTimes, UniformTimes


def _loss(t: Tensor) -> Tensor:
    return 0.05 + torch.exp(-(((t - 0.3) / 0.05) ** 2))


def _trained(**settings: float) -> AdaptiveTimes:
    sampler = AdaptiveTimes(n_bins=20, **settings)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        times = sampler.sample(64, generator).times
        sampler.update(times, _loss(times))
    return sampler


def test_density_becomes_the_root_mean_square_of_the_loss() -> None:
    fine = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    size = _loss(fine).square().reshape(20, -1).mean(1).sqrt()
    expected = 0.1 + 0.9 * size / size.mean()
    torch.testing.assert_close(_trained(floor=0.1).density, expected, rtol=0.1, atol=0.01)


def test_estimates_stay_unbiased_and_lose_variance() -> None:
    sampler, generator = _trained(), torch.Generator().manual_seed(1)
    exact = float(_loss((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000).mean())
    plain = UniformTimes(stratified=False).sample((2000, 8), generator).times
    sampler.stratified = False
    times, ratio = sampler.sample((2000, 8), generator)
    means = (ratio * _loss(times)).mean(1)
    assert abs(float(means.mean()) - exact) < 4.0 * float(means.std()) / 2000**0.5
    assert float(means.var()) < 0.3 * float(_loss(plain).mean(1).var())
    assert float(ratio.max()) <= 1.0 / sampler.floor


def test_uniform_until_every_interval_was_seen() -> None:
    sampler = AdaptiveTimes(n_bins=4)
    sampler.update(torch.tensor([0.1, 0.4, 0.6]), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(sampler.density, torch.ones(4, dtype=torch.float64))
    sampler.update(torch.tensor([0.9]), torch.tensor([1.0]))
    assert not torch.equal(sampler.density, torch.ones(4, dtype=torch.float64))


def test_memory_goes_on_where_it_was_and_bad_settings_are_refused() -> None:
    sampler, other = _trained(), AdaptiveTimes(n_bins=20)
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(sampler.density, other.density)
    with pytest.raises(ValueError, match="intervals"):
        AdaptiveTimes(n_bins=3).load_state_dict(sampler.state_dict())
    with pytest.raises(ValueError, match="must match"):
        sampler.update(torch.zeros(2), torch.zeros(3))
    for wrong in ({"n_bins": 0}, {"decay": 1.0}, {"floor": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AdaptiveTimes(**wrong)  # type: ignore[arg-type]


def test_first_losses_of_an_interval_count_in_full() -> None:
    # Else intervals seen early and late would differ by how often they were seen.
    sampler = AdaptiveTimes(n_bins=2, floor=0.5)
    early, late = torch.tensor([0.2]), torch.tensor([0.7])
    for _ in range(5):
        sampler.update(early, torch.ones(1))
    sampler.update(late, torch.ones(1))
    torch.testing.assert_close(sampler.density, torch.ones(2, dtype=torch.float64))
