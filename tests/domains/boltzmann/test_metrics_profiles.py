"""Free energies along a coordinate: known laws, weights as repetitions, errors that cover."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.boltzmann.metrics_profiles import (
    families,
    free_energy_difference,
    free_energy_profile,
)


def test_profile_of_a_harmonic_coordinate() -> None:
    """Of a normal coordinate it is a parabola of curvature kT."""
    values = np.random.default_rng(0).normal(size=200_000)
    found = free_energy_profile(values, kT=2.5, bins=20, range=(-1.5, 1.5))
    expected = 2.5 * found.middles**2 / 2
    off = (found.values - found.values[9]) - (expected - expected[9])
    assert np.abs(off).max() < 6 * found.errors.max()
    assert found.values.min() == 0.0
    assert found.errors.max() < 0.05


def test_weights_bring_another_temperature() -> None:
    values = math.sqrt(2.0) * np.random.default_rng(0).normal(size=100_000)
    found = free_energy_profile(values, log_weights=-(values**2) / 4, bins=10, range=(-1.0, 1.0))
    expected = found.middles**2 / 2
    assert np.abs((found.values - found.values[5]) - (expected - expected[5])).max() < 6 * found.errors.max()


def test_errors_are_those_of_repetitions() -> None:
    """Standard deviation over many independent sets, with weights."""
    sets = np.random.default_rng(0).normal(size=(400, 400))
    profiles = [free_energy_profile(x, log_weights=x, bins=4, range=(-1.0, 1.0)) for x in sets]
    weights = np.exp(sets) / np.exp(sets).sum(1, keepdims=True)
    for b in range(4):
        inside = (sets >= profiles[0].edges[b]) & (sets < profiles[0].edges[b + 1])
        spread = np.std(np.log((weights * inside).sum(1)))
        assert np.mean([one.errors[b] for one in profiles]) == pytest.approx(spread, rel=0.12)


def test_difference_has_the_error_of_repetitions() -> None:
    source = np.random.default_rng(0)
    found = [
        free_energy_difference(x > 0.5, x < 0.0, kT=2.0, log_weights=0.5 * x)
        for x in source.normal(size=(400, 500))
    ]
    # Under the weights x is normal around .5.
    exact = -2.0 * math.log(0.5 / 0.30853753872598694)
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / 20)
    assert errors.mean() == pytest.approx(values.std(), rel=0.12)


def test_groups_of_copies_count_once() -> None:
    x = np.random.default_rng(0).normal(size=500)
    alone = free_energy_profile(x, bins=5, range=(-2.0, 2.0))
    copies = free_energy_profile(np.tile(x, 9), groups=np.tile(np.arange(500), 9), bins=5, range=(-2.0, 2.0))
    np.testing.assert_allclose(copies.values, alone.values)
    np.testing.assert_allclose(copies.errors, alone.errors)
    naive = free_energy_profile(np.tile(x, 9), bins=5, range=(-2.0, 2.0))
    np.testing.assert_allclose(naive.errors, alone.errors / 3.0)
    both = [free_energy_difference(y > 1, y < 0, groups=g) for y, g in ((x, None), (np.tile(x, 9), None))]
    assert both[1][1] == pytest.approx(both[0][1] / 3.0)


def test_groups_against_brute_force() -> None:
    source = np.random.default_rng(3)
    x, group, logs = source.normal(size=40), source.integers(0, 7, 40), source.normal(size=40)
    found = free_energy_profile(x, log_weights=logs, groups=group, bins=3, range=(-1.0, 1.0))
    w = np.exp(logs) / np.exp(logs).sum()
    for b in range(3):
        inside = (x >= found.edges[b]) & (x < found.edges[b + 1])
        share = w[inside].sum()
        total = sum((w * (inside - share))[group == g].sum() ** 2 for g in range(7))
        assert found.errors[b] == pytest.approx(math.sqrt(total) / share)


def test_groups_of_a_difference_against_brute_force() -> None:
    """With groups that have draws in both states, which cancel."""
    source = np.random.default_rng(3)
    x, group, logs = source.normal(size=40), source.integers(0, 7, 40), source.normal(size=40)
    first, second = x > 0.3, x < -0.1
    found = free_energy_difference(first, second, kT=2.5, log_weights=logs, groups=group)
    w = np.exp(logs) / np.exp(logs).sum()
    shares = w[first].sum(), w[second].sum()
    assert found[0] == pytest.approx(-2.5 * math.log(shares[0] / shares[1]))
    total = sum(
        (w[first & (group == g)].sum() / shares[0] - w[second & (group == g)].sum() / shares[1]) ** 2
        for g in range(7)
    )
    assert found[1] == pytest.approx(2.5 * math.sqrt(total))


def test_profiles_are_in_units_of_kt() -> None:
    x = np.random.default_rng(0).normal(size=300)
    one, other = (free_energy_profile(x, kT=kt, bins=5, range=(-2.0, 2.0)) for kt in (1.0, 2.5))
    np.testing.assert_allclose(other.values, 2.5 * one.values)
    np.testing.assert_allclose(other.errors, 2.5 * one.errors)


def test_families_tell_ancestors_of_different_systems_apart() -> None:
    drawn = SimpleNamespace(ancestors=np.array([0, 0, 0, 2, 2]), ess=np.ones((3, 2)))  # systems of 2 and 3
    labels = families(drawn)
    assert labels[0] == labels[1]
    assert len(set(labels[:3])) == 2
    assert labels[3] == labels[4] != labels[2]
    crossed = families(SimpleNamespace(ancestors=np.array([1, 1, 0, 2, 0]), ess=np.ones((3, 2))))
    assert not set(crossed[:2]) & set(crossed[2:])  # particle 1 of the first and 0 of the second system
    none = SimpleNamespace(ancestors=np.arange(5), ess=np.empty((0, 0)))
    assert len(set(families(none))) == 5


def test_empty_bins_are_infinite_and_the_last_edge_counts() -> None:
    found = free_energy_profile([0.0, 0.0, 1.0], bins=4)
    assert found.values.tolist() == [0.0, np.inf, np.inf, pytest.approx(math.log(2.0))]
    assert np.isnan(found.errors[1])
    assert free_energy_difference(np.array([True, False]), np.array([False, False]))[0] == -np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinate": [np.nan, 1.0]}, "coordinate must be finite"),
        ({"kT": -1.0}, "kT must be positive"),
        ({"bins": 0}, "bins must be at least 1"),
        ({"range": (1.0, 1.0)}, "range must be increasing"),
        ({"groups": [0]}, "groups must have shape"),
        ({"log_weights": [0.0]}, "log_weights must have shape"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        free_energy_profile(**({"coordinate": [0.0, 1.0]} | arguments))


def test_states_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="1 draws are in both states"):
        free_energy_difference(np.array([True, True]), np.array([True, False]))
    with pytest.raises(ValueError, match="boolean arrays"):
        free_energy_difference([0, 1], [1, 0])
