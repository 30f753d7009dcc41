"""Calibration on jointly Gaussian data, where the law of the ranks is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.diagnostics import rank_calibration, region_coverage

ITEMS, DRAWS, DIM = 3000, 49, 3


def posterior_draws(
    seed: int, spread: float = 1.0, shift: float = 0.0, correlation: float = 0.0, items: int = ITEMS
) -> tuple[Tensor, Tensor]:
    """Draw truths x ~ N(0, 1) seen as y = x + noise, and draws from p(x | y) with a wrong spread or shift.

    The posterior is N(y / 2, 1/2) in every coordinate; truths may be correlated given y, draws never are.
    """
    generator = torch.Generator().manual_seed(seed)
    y = math.sqrt(2.0) * torch.randn(items, 1, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(items, DRAWS + 1, DIM, generator=generator, dtype=torch.float64)
    shared = torch.randn(items, 1, 1, generator=generator, dtype=torch.float64)
    truth_noise = math.sqrt(1.0 - correlation) * noise[:, :1] + math.sqrt(correlation) * shared
    std = math.sqrt(0.5)
    truth = 0.5 * y + std * truth_noise
    draws = 0.5 * y + std * (spread * noise[:, 1:] + shift)
    return draws, truth[:, 0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_exact_posterior_has_uniform_ranks() -> None:
    found = rank_calibration(*posterior_draws(0), generator=generator())
    assert float(found.p_values.min()) > 1e-3
    assert float(((found.dispersion - 1.0) / found.dispersion_error).abs().max()) < 4.0
    assert float((found.shift / found.shift_error).abs().max()) < 4.0
    levels = torch.tensor([0.2, 0.5, 0.9])
    torch.testing.assert_close(
        found.coverage(levels), levels.to(torch.float64)[:, None].expand(3, DIM), rtol=0.0, atol=0.04
    )


@pytest.mark.parametrize("spread", [0.5, 0.8, 1.5])
def test_dispersion_of_a_wrong_spread_is_known(spread: float) -> None:
    # u = Phi(z / spread) for many draws, with Var Phi(a z) = arcsin(a^2 / (1 + a^2)) / (2 pi).
    found = rank_calibration(*posterior_draws(1, spread=spread), generator=generator())
    squared = spread**-2
    continuous = 12.0 * math.asin(squared / (1.0 + squared)) / (2.0 * math.pi)
    # A rank among L draws is binomial given u: its variance shrinks towards the middle by L / (L + 1) twice.
    expected = (DRAWS * (DRAWS - 1) * continuous / 12.0 + DRAWS * 0.25) / (DRAWS + 1) ** 2
    expected /= (1.0 - (DRAWS + 1.0) ** -2) / 12.0
    torch.testing.assert_close(
        found.dispersion, torch.full((DIM,), expected, dtype=torch.float64), rtol=0.05, atol=0.0
    )
    assert (float(found.dispersion.min()) > 1.0) == (spread < 1.0)
    assert float(found.p_values.max()) < 1e-6


def test_under_spread_draws_give_a_u_shape_and_too_little_coverage() -> None:
    found = rank_calibration(*posterior_draws(2, spread=0.5), generator=generator())
    thirds = torch.histc(found.positions[:, 0], bins=3, min=0.0, max=1.0)
    assert float(thirds[1]) < 0.6 * float(thirds[0])
    assert float(thirds[1]) < 0.6 * float(thirds[2])
    # A central 90 % interval of draws of half the spread covers 2 Phi(1.645 / 2) - 1 = .59.
    assert float(found.coverage(torch.tensor([0.9])).mean()) == pytest.approx(0.59, abs=0.03)


def test_shift_has_its_sign_and_size() -> None:
    # E Phi(z - s) = Phi(-s / sqrt 2) for truths standard normal and draws shifted by s.
    found = rank_calibration(*posterior_draws(3, shift=0.4), generator=generator())
    expected = 0.5 * math.erfc(0.4 / 2.0) - 0.5
    torch.testing.assert_close(
        found.shift,
        torch.full((DIM,), expected * DRAWS / (DRAWS + 1), dtype=torch.float64),
        rtol=0.0,
        atol=0.02,
    )


def test_p_values_and_errors_hold_over_repetitions() -> None:
    runs = [rank_calibration(*posterior_draws(seed, items=300), generator=generator()) for seed in range(60)]
    p = torch.stack([run.p_values for run in runs]).flatten()
    assert abs(float(p.mean()) - 0.5) < 4.0 * math.sqrt(1.0 / 12.0 / p.shape[0])
    for name in ("dispersion", "shift"):
        spread = float(torch.stack([getattr(run, name) for run in runs]).std())
        assert float(getattr(runs[0], f"{name}_error")[0]) == pytest.approx(spread, rel=0.2)


def test_error_of_the_dispersion_is_exact_for_few_draws() -> None:
    # With one draw the position is 1/4 or 3/4, always as far from the middle; with two it is 1/6, 1/2 or 5/6.
    draws, truth = posterior_draws(0, items=50)
    one = rank_calibration(draws[:, :1], truth, generator=generator())
    assert float(one.dispersion_error.max()) < 1e-8
    two = rank_calibration(draws[:, :2], truth, generator=generator())
    squares = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / 9.0
    expected = float(squares.std(correction=0) / squares.mean()) / 50**0.5
    assert float(two.dispersion_error[0]) == pytest.approx(expected, rel=1e-9)


def test_regions_see_a_wrong_dependence_that_ranks_do_not() -> None:
    good = region_coverage(*posterior_draws(4), generator=generator())
    assert good.p_value > 1e-3
    torch.testing.assert_close(good.coverage, good.levels, rtol=0.0, atol=0.04)
    draws, truth = posterior_draws(5, correlation=0.9)
    assert float(rank_calibration(draws, truth, generator=generator()).p_values.min()) > 1e-3
    # References that know the observation, as they may: the posterior mean.
    centre = draws.mean(1)
    assert region_coverage(draws, truth, generator=generator(), references=centre).p_value < 1e-6
    narrow = region_coverage(*posterior_draws(6, spread=0.6), generator=generator())
    assert narrow.p_value < 1e-6


def test_ties_are_broken_at_random() -> None:
    draws, truth = torch.zeros(2000, 9, 1), torch.zeros(2000, 1)
    found = rank_calibration(draws, truth, generator=generator())
    assert float(found.p_values[0]) > 1e-3
    assert found.positions.unique().shape[0] == 10


def test_bad_input_is_refused() -> None:
    draws, truth = torch.zeros(4, 9, 2), torch.zeros(4, 2)
    with pytest.raises(ValueError, match="draws and truth must have shapes"):
        rank_calibration(draws, truth[:3], generator=generator())
    with pytest.raises(ValueError, match="truth must be finite"):
        rank_calibration(draws, truth / 0.0, generator=generator())
    with pytest.raises(ValueError, match="n_bins"):
        rank_calibration(draws, truth, generator=generator(), n_bins=11)
    with pytest.raises(ValueError, match="references"):
        region_coverage(draws, truth, generator=generator(), references=truth[:1])
