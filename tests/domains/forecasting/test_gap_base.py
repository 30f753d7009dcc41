"""The gap base: exact where its members hold the answer, causal in nothing but what is known."""

from __future__ import annotations

import numpy as np
import pytest

from sciffusion.domains.forecasting.gap_base import GapBase
from sciffusion.domains.forecasting.gap_masks import artificial_gaps, hidden_blocks
from sciffusion.domains.forecasting.gap_members import (
    GapPlaces,
    gap_members,
    gap_signals,
    harmonic_distance,
)

UNITS = np.ones(1)


def one_gap(values: np.ndarray, gap: slice) -> np.ndarray:
    """Return a row with a gap."""
    row = values.astype(float)[None].copy()
    row[0, gap] = np.nan
    return row


def members_of(row: np.ndarray, periods: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Return members at the missing places of a row."""
    return gap_members(row, periods, GapPlaces.of(row, np.isnan(row)))


def test_the_line_is_straight_and_holds_the_nearest_value_at_the_ends() -> None:
    row = np.array([[np.nan, 2.0, np.nan, np.nan, 8.0, np.nan]])
    np.testing.assert_allclose(members_of(row)["line"], [2.0, 4.0, 6.0, 8.0])


def test_a_periodic_series_is_completed_exactly_by_its_season() -> None:
    values = np.tile([1.0, 5.0, -2.0, 0.0], 12)
    found = members_of(one_gap(values, slice(17, 24)), (4,))
    for name in ("season, 1", "season, 4", "season, 4 + line", "season, 4 + level 0.4"):
        np.testing.assert_allclose(found[name], values[17:24], atol=1e-12)
    assert np.abs(found["line"] - values[17:24]).max() > 1.0


def test_a_level_that_moves_under_a_season_is_followed_by_the_line_of_the_departures() -> None:
    season, trend = np.tile([1.0, 5.0, -2.0, 0.0], 12), 0.5 * np.arange(48)
    found = members_of(one_gap(season + trend, slice(20, 23)), (4,))
    np.testing.assert_allclose(found["season, 1 + line"], (season + trend)[20:23], atol=1e-9)


def test_the_level_of_both_sides_is_the_weighted_mean() -> None:
    row = np.array([[3.0, 1.0, np.nan, 2.0]])
    weights, values = np.array([0.6**2, 0.6, 0.6]), np.array([3.0, 1.0, 2.0])
    assert members_of(row)["level 0.4"][0] == pytest.approx(np.average(values, weights=weights))


def test_harmonic_distance_has_its_limits() -> None:
    found = harmonic_distance(np.array([1.0, 2.0, np.inf, 5.0]), np.array([1.0, 6.0, 3.0, np.inf]))
    np.testing.assert_allclose(found, [0.5, 1.5, 3.0, 5.0])


def test_signals_are_in_the_units_of_the_series_and_never_missing() -> None:
    generator = np.random.default_rng(0)
    row = np.where(generator.random((2, 60)) < 0.4, np.nan, np.cumsum(generator.normal(size=(2, 60)), 1))
    row[1, 3:] = np.nan
    places = GapPlaces.of(row, np.isnan(row))
    small = gap_signals(row, (5,), places, np.ones(2))
    large = gap_signals(1000.0 * row, (5,), places, np.full(2, 1000.0))
    for name, values in small.items():
        assert np.isfinite(values).all(), name
        np.testing.assert_allclose(1000.0 * values, large[name], rtol=1e-9, err_msg=name)


def fitted(values: np.ndarray, periods: tuple[int, ...] = ()) -> GapBase:
    """Return a base fitted to rows of unit changes."""
    masks = artificial_gaps(values, 10, np.random.default_rng(1))
    copies = np.where(masks, np.nan, values)
    return GapBase.fit(copies, values, periods, np.ones(len(values)))


def test_of_a_random_walk_the_base_learns_the_brownian_bridge() -> None:
    """The line is the conditional mean, the root of l r / (l + r) the deviation, phi is nearly 1."""
    generator = np.random.default_rng(0)
    base = fitted(np.cumsum(generator.normal(size=(6, 1500)), axis=1))
    fresh = np.cumsum(generator.normal(size=(1, 400)), axis=1)
    holes = artificial_gaps(fresh, 10, generator)[1] & (np.arange(400) > 5) & (np.arange(400) < 395)
    row = np.where(holes, np.nan, fresh)
    places = GapPlaces.of(row, np.isnan(row))
    fill = base.fill(row, UNITS)
    exact = np.sqrt(harmonic_distance(places.left, places.right))
    line = gap_members(row, (), places)["line"]
    assert np.sqrt(np.mean((places.at(fill.location) - line) ** 2) / np.mean(exact**2)) < 0.1
    ratio = places.at(fill.scale) / exact
    assert np.sqrt(np.mean((ratio - 1.0) ** 2)) < 0.1  # it follows what it takes for changes of volatility
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.05)
    assert base.phi > 0.94


def test_of_white_noise_the_base_learns_the_mean_and_no_persistence() -> None:
    generator = np.random.default_rng(0)
    base = fitted(generator.normal(size=(6, 1500)))
    row = np.where(generator.random((1, 400)) < 0.3, np.nan, generator.normal(size=(1, 400)))
    fill = base.fill(row, UNITS)
    missing = np.isnan(row)
    assert fill.location[missing].std() < 0.35
    assert fill.scale[missing].mean() == pytest.approx(1.0, abs=0.12)
    assert base.phi < 0.3


def test_filling_leaves_known_values_alone_and_scales_with_the_units() -> None:
    generator = np.random.default_rng(0)
    values = np.cumsum(generator.normal(size=(4, 300)), axis=1)
    base = fitted(values, (12,))
    row = np.where(generator.random((4, 300)) < 0.4, np.nan, values)
    fill = base.fill(row, np.ones(4))
    known = ~np.isnan(row)
    assert np.array_equal(fill.location[known], row[known])
    assert (fill.scale[known] == 0).all()
    assert (fill.scale[~known] > 0).all()
    larger = base.fill(1e4 * row, np.full(4, 1e4))
    np.testing.assert_allclose(larger.location, 1e4 * fill.location, rtol=1e-9)
    np.testing.assert_allclose(larger.scale, 1e4 * fill.scale, rtol=1e-9)


def test_a_row_with_one_known_value_and_wholly_hidden_seasons_is_filled() -> None:
    base = fitted(np.random.default_rng(0).normal(size=(4, 300)), (12,))
    row = np.full((1, 40), np.nan)
    row[0, 7] = 3.0
    fill = base.fill(row, UNITS)
    assert np.isfinite(fill.location).all()
    assert np.isfinite(fill.scale).all()


def test_artificial_gaps_hide_the_shares_they_say_and_nothing_that_is_missing() -> None:
    observed = np.where(np.random.default_rng(0).random((20, 2000)) < 0.1, np.nan, 1.0)
    masks = artificial_gaps(observed, 24, np.random.default_rng(1))
    assert not masks[:, np.isnan(observed)].any()
    shares = masks[:, ~np.isnan(observed)].mean(axis=1)
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], masks[2, 0], [False]]).astype(int)))
    assert np.diff(edges)[::2].mean() > 3


@pytest.mark.parametrize(("length", "block"), [(20, 3), (7, 1), (5, 10)])
def test_blocks_hide_every_place_once_and_never_two_neighbours(length: int, block: int) -> None:
    masks = hidden_blocks(length, block)
    assert (masks.sum(axis=0) == 1).all()
    own = masks.argmax(axis=0)
    assert (own[block:] != own[:-block]).all()


def test_blocks_that_are_hidden_together_leave_their_season_known() -> None:
    """Blocks of half a season that alternate would hide all of a phase."""
    masks = hidden_blocks(1200, 12)
    around = [np.roll(masks, shift, axis=1) for shift in (-24, 24)]
    both_lost = (masks & around[0] & around[1]).sum() / 1200
    assert both_lost < 0.25
