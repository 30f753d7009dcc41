"""Distances between samples against closed forms, scipy and themselves on expanded samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from sciffusion.diagnostics import (
    distance_floor,
    energy_distance,
    maximum_mean_discrepancy,
    median_distance,
    sliced_wasserstein,
)
from sciffusion.diagnostics import distances as module

DISTANCES: dict[str, Callable[..., Tensor]] = {
    "energy": energy_distance,
    "sliced": sliced_wasserstein,
    "kernel": lambda x, y, **options: maximum_mean_discrepancy(x, y, median=1.3, **options),
}


def normal(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(count, dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", DISTANCES)
def test_zero_for_a_sample_with_itself_and_positive_for_a_shifted_one(name: str) -> None:
    x = normal(50, 3, 0)
    assert float(DISTANCES[name](x, x)) == pytest.approx(0.0, abs=1e-7)
    assert float(DISTANCES[name](x, x + 1.0)) > 0.3


@pytest.mark.parametrize("name", DISTANCES)
def test_integer_weights_are_repetitions(name: str) -> None:
    x, y = normal(20, 3, 0), normal(31, 3, 1, shift=0.4)
    counts = torch.arange(20) % 4
    weighted = DISTANCES[name](x, y, first_weights=counts.to(torch.float64))
    repeated = DISTANCES[name](x.repeat_interleave(counts, 0), y)
    torch.testing.assert_close(weighted, repeated, rtol=1e-10, atol=1e-10)
    swapped = DISTANCES[name](y, x, second_weights=counts.to(torch.float64))
    torch.testing.assert_close(swapped, weighted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", DISTANCES)
def test_leading_axes_are_separate_pairs_and_blocks_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.stack([normal(15, 2, seed) for seed in range(6)]).reshape(2, 3, 15, 2)
    y = torch.stack([normal(12, 2, seed, shift=0.2) for seed in range(6, 12)]).reshape(2, 3, 12, 2)
    together = DISTANCES[name](x, y)
    apart = [DISTANCES[name](x[i, j], y[i, j]) for i in range(2) for j in range(3)]
    torch.testing.assert_close(together, torch.stack(apart).reshape(2, 3))
    monkeypatch.setattr(module, "_BLOCK", 40)
    torch.testing.assert_close(DISTANCES[name](x, y), together)


@pytest.mark.parametrize("weighted", [False, True])
def test_energy_distance_on_a_line_is_that_of_scipy(weighted: bool) -> None:
    x, y = normal(40, 1, 0), normal(25, 1, 1, shift=0.5)
    w = torch.rand(40, generator=torch.Generator().manual_seed(2), dtype=torch.float64) if weighted else None
    expected = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy(), None if w is None else w.numpy())
    assert float(energy_distance(x, y, first_weights=w)) == pytest.approx(expected**2, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_sliced_distance_on_a_line_is_the_wasserstein_distance(weighted: bool) -> None:
    x, y = normal(40, 1, 0), normal(25, 1, 1, shift=0.5)
    v = torch.rand(25, generator=torch.Generator().manual_seed(2), dtype=torch.float64) if weighted else None
    ours = float(sliced_wasserstein(x, y, second_weights=v, power=1.0, n_projections=3))
    weights = None if v is None else v.numpy()
    expected = stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy(), None, weights)
    assert ours == pytest.approx(expected, rel=1e-9)


def test_sliced_distance_of_a_shift_is_its_length_over_the_root_of_the_dimension() -> None:
    # Along a direction u the cost is (shift . u)^2, whose mean over the sphere is |shift|^2 / dim.
    x, shift = normal(30, 5, 0), torch.tensor([3.0, 0.0, -4.0, 0.0, 0.0], dtype=torch.float64)
    ours = float(sliced_wasserstein(x, x + shift, n_projections=20_000))
    assert ours == pytest.approx(5.0 / math.sqrt(5.0), rel=0.02)


def test_unbiased_energy_distance_is_zero_on_average_and_the_biased_one_is_not() -> None:
    x = torch.stack([normal(20, 2, seed) for seed in range(400)])
    y = torch.stack([normal(20, 2, seed) for seed in range(400, 800)])
    values = energy_distance(x, y, unbiased=True)
    assert abs(float(values.mean())) < 4.0 * float(values.std()) / 20.0
    # The biased one has the mean 2 E|x - x'| / n, and E|x - x'| = sqrt(pi) in two dimensions.
    assert float(energy_distance(x, y).mean()) == pytest.approx(2.0 * math.sqrt(math.pi) / 20.0, rel=0.05)


@pytest.mark.parametrize("name", DISTANCES)
def test_floor_is_the_distance_of_independent_samples_of_that_size(name: str) -> None:
    pairs = [(normal(25, 2, seed), normal(25, 2, seed + 60)) for seed in range(60)]
    expected = torch.stack([DISTANCES[name](*pair) for pair in pairs])
    mean, std = distance_floor(
        DISTANCES[name],
        normal(2000, 2, 200),
        generator=torch.Generator().manual_seed(0),
        count=25,
        n_repeats=60,
    )
    error = float(expected.std()) * math.sqrt(2.0 / 60.0)
    assert mean == pytest.approx(float(expected.mean()), abs=4.0 * error)
    assert std == pytest.approx(float(expected.std()), rel=0.5)
    with pytest.raises(ValueError, match="count must lie in 1 to 15"):
        distance_floor(DISTANCES[name], pairs[0][0].repeat(2, 1)[:30], generator=torch.Generator(), count=16)


def test_kernel_discrepancy_of_two_points_has_its_closed_form() -> None:
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    kernel = sum(math.exp(-0.5 / h**2) for h in (0.5, 2.0)) / 2.0
    ours = maximum_mean_discrepancy(x, y, median=1.0, multiples=(0.5, 2.0))
    assert float(ours) == pytest.approx(math.sqrt(2.0 - 2.0 * kernel), rel=1e-12)


def test_kernel_bandwidth_comes_from_the_reference() -> None:
    x, y = normal(60, 3, 0), 2.0 * normal(50, 3, 1)
    expected = float(torch.pdist(y).median())
    assert median_distance(y) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(
        maximum_mean_discrepancy(x, y), maximum_mean_discrepancy(x, y, median=expected), rtol=1e-6, atol=1e-8
    )
    many = normal(4500, 2, 2)
    assert median_distance(many) == pytest.approx(median_distance(many[:2000]), rel=0.03)


@pytest.mark.parametrize(
    ("first", "options", "words"),
    [
        (torch.zeros(3), {}, r"first must have shape \(..., count, dim\)"),
        (torch.zeros(3, 5), {}, "one dimension"),
        (torch.full((3, 2), float("nan")), {}, "first must be finite, got 3 samples"),
        (torch.zeros(3, 2), {"first_weights": torch.ones(2)}, "first_weights must have shape"),
        (torch.zeros(3, 2), {"first_weights": torch.zeros(3)}, "not all 0"),
        (torch.zeros(2, 3, 2), {}, "equal leading axes"),
    ],
)
@pytest.mark.parametrize("name", DISTANCES)
def test_bad_samples_are_refused(name: str, first: Tensor, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DISTANCES[name](first, torch.zeros(4, 2), **options)


def test_bad_options_are_refused() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(TypeError, match="real numbers"):
        energy_distance([[1.0]], x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        sliced_wasserstein(x, x, n_projections=0)
    with pytest.raises(ValueError, match="positive"):
        maximum_mean_discrepancy(x, x)
    with pytest.raises(ValueError, match="at least 2 samples"):
        energy_distance(x[:1], x, unbiased=True)
