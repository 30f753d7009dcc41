"""Histograms and their distance, and drift, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from sciffusion.domains.music.metrics import (
    drift,
    drift_of_windows,
    harmonic_histogram,
    jensen_shannon_distance,
    melodic_histogram,
)
from sciffusion.domains.music.metrics_notes import Notes


def test_distance_of_equal_disjoint_and_half_overlapping_histograms() -> None:
    assert jensen_shannon_distance([1, 3], [2, 6]) == pytest.approx(0.0, abs=1e-7)
    assert jensen_shannon_distance([1, 0], [0, 5]) == pytest.approx(1.0)
    # p = (1, 0), q = (1/2, 1/2): divergence 1/2 log2(4/3) + 1/2 (1/2 log2(2/3) + 1/2 log2 2)
    expected = 0.5 * math.log2(4 / 3) + 0.5 * (0.5 * math.log2(2 / 3) + 0.5)
    assert jensen_shannon_distance([4, 0], [1, 1]) == pytest.approx(math.sqrt(expected))


def test_distance_is_scipys() -> None:
    p, q = np.random.default_rng(0).random((2, 12))
    assert jensen_shannon_distance(p, q) == pytest.approx(float(jensenshannon(p, q, 2)))
    assert jensen_shannon_distance(p, q) == pytest.approx(jensen_shannon_distance(q, p))


@pytest.mark.parametrize("values", [[0, 0], [1, -1], [1, math.nan], [[1, 2]], []])
def test_what_is_no_histogram_is_refused(values: list) -> None:
    with pytest.raises(ValueError, match="second must be a histogram"):
        jensen_shannon_distance([1, 1], values)


def test_unequal_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="equal numbers of bins"):
        jensen_shannon_distance([1, 1], [1, 1, 1])


def test_steps_are_counted_around_zero_and_clipped() -> None:
    pitches = [60, 62, 62, 48, 90]
    onsets = np.arange(5.0)
    counts = melodic_histogram([Notes.of(onsets, onsets + 0.9, pitches)])
    assert counts.shape == (25,)
    assert {int(i) - 12: int(counts[i]) for i in np.flatnonzero(counts)} == {2: 1, 0: 1, -12: 1, 12: 1}


def test_intervals_above_the_bass_are_folded_beyond_two_octaves() -> None:
    pieces = [Notes.of([0.0] * 5, [1.0] * 5, [40, 41, 64, 65, 40 + 37])]
    counts = harmonic_histogram(pieces)
    assert counts.shape == (24,)
    # 1 semitone, 24, 25 -> 13, 37 -> 13
    assert {int(i) + 1: int(counts[i]) for i in np.flatnonzero(counts)} == {1: 1, 24: 1, 13: 2}
    assert not harmonic_histogram([]).any()


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    found = drift([1.0, 3.0, 5.0, 7.0], window_seconds=30.0)
    np.testing.assert_allclose(found.minutes, [0.25, 0.75, 1.25, 1.75])
    assert found.slope == pytest.approx(4.0)
    assert found.error == pytest.approx(0.0, abs=1e-12)
    assert found.z > 1e6


def test_slope_and_error_are_those_of_least_squares() -> None:
    from scipy.stats import linregress

    values = np.random.default_rng(0).normal(size=10)
    found = drift(values, 60.0)
    expected = linregress(np.arange(10) + 0.5, values)
    assert found.slope == pytest.approx(expected.slope)
    assert found.error == pytest.approx(expected.stderr)


def test_windows_of_a_stream_that_grows_louder() -> None:
    rate, level = 100, np.repeat([0.1, 0.2, 0.3, 0.4], 200)
    streams = np.stack([level, level]).astype(np.float32)[:, :-50]  # the last window is not whole
    found = drift_of_windows(streams, rate, 2.0, lambda part: float(np.sqrt(np.mean(part**2))))
    assert found.values == pytest.approx([0.1, 0.2, 0.3])
    assert found.slope == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, math.nan, 2.0, 3.0], [[1.0, 2.0, 3.0]]])
def test_too_few_or_broken_scores_are_refused(values: list) -> None:
    with pytest.raises(ValueError, match="at least 3 finite scores"):
        drift(values, 1.0)


def test_windows_without_duration_are_refused() -> None:
    with pytest.raises(ValueError, match="window_seconds"):
        drift([1.0, 2.0, 3.0], 0.0)
    with pytest.raises(ValueError, match="window_seconds"):
        drift_of_windows(np.zeros(10, dtype=np.float32), 1, -1.0, lambda part: 0.0)
