from __future__ import annotations

import pytest
import torch

from sciffusion.training.ema import ExponentialProfile, PowerProfile, WeightAverage, profile_of
from sciffusion.training.options import TrainingOptions


def _average_of(sequence: torch.Tensor, profile: ExponentialProfile | PowerProfile) -> torch.Tensor:
    average = WeightAverage({"w": torch.zeros(1)}, profile)
    for value in sequence:
        average.update({"w": value.reshape(1)})
    return average.average["w"]


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0, 6.94])
def test_power_profile_weights_steps_by_a_power(exponent: float) -> None:
    n, g = 40, exponent + 1
    weights = torch.stack([_average_of(torch.eye(n)[i], PowerProfile(exponent))[0] for i in range(n)])
    steps = torch.arange(1, n + 1, dtype=torch.float64)
    expected = (steps**g - (steps - 1) ** g) / n**g
    torch.testing.assert_close(weights.double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("relative_std", "exponent"), [(0.05, 16.97), (0.10, 6.94)])
def test_exponents_of_the_published_widths(relative_std: float, exponent: float) -> None:
    profile = PowerProfile.from_relative_std(relative_std)
    assert profile.exponent == pytest.approx(exponent, abs=5e-3)  # arXiv:2312.02696, section 3.1
    assert profile.relative_std == pytest.approx(relative_std, rel=1e-9)


def test_relative_std_is_that_of_the_weights() -> None:
    profile = PowerProfile.from_relative_std(0.15)
    steps = torch.arange(1, 20_001, dtype=torch.float64) / 20_000
    g = profile.exponent + 1
    weights = torch.diff(torch.cat([torch.zeros(1, dtype=torch.float64), steps**g]))
    mean = (weights * steps).sum()
    std = ((weights * (steps - mean) ** 2).sum()).sqrt()
    assert float(std) == pytest.approx(0.15, rel=1e-3)


def test_exponential_profile_forgets_by_its_rate_after_the_warm_up() -> None:
    profile = ExponentialProfile(0.9)
    assert profile.decay(1) == pytest.approx(0.1)
    assert profile.decay(80) == pytest.approx(80 / 89)
    assert profile.decay(82) == 0.9
    assert ExponentialProfile.from_half_life(5.0).rate ** 5 == pytest.approx(0.5)


def test_warm_up_forgets_the_random_start() -> None:
    average = WeightAverage({"w": torch.full((1,), 1000.0)}, ExponentialProfile(0.999))
    for _ in range(200):
        average.update({"w": torch.ones(1)})
    # A constant decay of .999 would still hold .999^200 = 82 % of the start.
    assert abs(float(average.average["w"]) - 1.0) < 1e-3


def test_average_of_half_precision_weights_is_kept_in_float32() -> None:
    average = WeightAverage({"w": torch.zeros(1, dtype=torch.bfloat16)}, ExponentialProfile(0.99))
    for _ in range(500):
        average.update({"w": torch.ones(1, dtype=torch.bfloat16)})
    assert average.average["w"].dtype == torch.float32
    # In bfloat16 the average would get stuck where a hundredth of the distance rounds away.
    assert float(average.average["w"]) > 0.97


def test_state_goes_on_where_it_was() -> None:
    sequence = torch.randn(20, generator=torch.Generator().manual_seed(0))
    profile = PowerProfile(3.0)
    first = WeightAverage({"w": torch.zeros(1)}, profile)
    for value in sequence[:10]:
        first.update({"w": value.reshape(1)})
    second = WeightAverage({"w": torch.full((1,), 9.0)}, profile)
    second.load_state_dict(first.state_dict())
    for value in sequence[10:]:
        second.update({"w": value.reshape(1)})
    assert torch.equal(second.average["w"], _average_of(sequence, profile))
    with pytest.raises(ValueError, match="other parameters"):
        WeightAverage({"v": torch.zeros(1)}, profile).load_state_dict(first.state_dict())


def test_options_choose_the_profile() -> None:
    assert profile_of(TrainingOptions()) is None
    assert profile_of(TrainingOptions(ema_decay=0.9)) == ExponentialProfile(0.9)
    assert profile_of(TrainingOptions(ema_half_life=1.0)) == ExponentialProfile(0.5)
    assert isinstance(profile_of(TrainingOptions(ema_relative_std=0.1)), PowerProfile)
