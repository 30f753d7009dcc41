r"""Scores of music as a set: histograms and their distance, and drift over time.

Two histograms p and q with middle :math:`m = (p + q) / 2` are as far apart as the Jensen-Shannon distance

.. math:: \Bigl(\tfrac12 \sum_i p_i \log_2 \frac{p_i}{m_i} + \tfrac12 \sum_i q_i \log_2 \frac{q_i}{m_i}
    \Bigr)^{1/2} \in [0, 1],

a metric that is 1 for histograms without a common bin (Lin, *Divergence Measures Based on the Shannon
Entropy*, IEEE Transactions on Information Theory 37, 1991; Endres and Schindelin, *A New Metric for
Probability Distributions*, the same 49, 2003). Between finite sets of pieces of one kind it is not 0:
compare with the distance between disjoint halves of the real pieces.

*Drift* is a score in windows of a long stream against elapsed minutes: the slope of a straight line, and its
standard error from the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics_notes import Notes, harmonic_intervals, melodic_intervals

__all__ = [
    "Drift",
    "drift",
    "drift_of_windows",
    "harmonic_histogram",
    "jensen_shannon_distance",
    "melodic_histogram",
]

FloatArray = NDArray[np.float64]

#: Melodic steps beyond this many semitones are counted as this many.
LARGEST_STEP = 12
#: Intervals above the bass are counted up to this many semitones; wider ones an octave or more lower.
WIDEST_INTERVAL = 24


class Drift(NamedTuple):
    """A score in windows, with the straight line through it.

    Parameters
    ----------
    minutes : ndarray of shape ``(windows,)``
        Middle of each window since the start of the stream.
    values : ndarray of shape ``(windows,)``
    slope : float
        Change of the score a minute.
    error : float
        Standard error of the slope, from the residuals of the line.
    """

    minutes: FloatArray
    values: FloatArray
    slope: float
    error: float

    @property
    def z(self) -> float:
        """The slope in standard errors."""
        return self.slope / self.error if self.error > 0.0 else math.copysign(math.inf, self.slope)


def jensen_shannon_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Return the Jensen-Shannon distance between two histograms, in [0, 1].

    Parameters
    ----------
    first, second : array-like of shape ``(bins,)``
        Counts or shares, not negative; each is divided by its sum.

    Raises
    ------
    ValueError
        For other shapes, values that are negative or not finite, or a histogram of zeros.
    """
    p, q = (_shares(values, name) for values, name in ((first, "first"), (second, "second")))
    if len(p) != len(q):
        raise ValueError(f"histograms must have equal numbers of bins, got {len(p)} and {len(q)}")
    middle = 0.5 * (p + q)
    divergence = 0.5 * sum(_relative_entropy(part, middle) for part in (p, q))
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def melodic_histogram(pieces: Sequence[Notes]) -> FloatArray:
    """Return counts of the steps of the top voice, -12 to 12 semitones, shape ``(25,)``."""
    steps = _rounded([melodic_intervals(notes) for notes in pieces])
    places = np.clip(steps, -LARGEST_STEP, LARGEST_STEP) + LARGEST_STEP
    return np.bincount(places, minlength=2 * LARGEST_STEP + 1).astype(np.float64)


def harmonic_histogram(pieces: Sequence[Notes]) -> FloatArray:
    """Return counts of intervals above the bass, 1 to 24 semitones, ``(24,)``; wider ones by octaves."""
    intervals = _rounded([harmonic_intervals(notes) for notes in pieces])
    octaves = -(-np.maximum(intervals - WIDEST_INTERVAL, 0) // 12)
    places = (intervals - 12 * octaves)[intervals >= 1] - 1
    return np.bincount(places, minlength=WIDEST_INTERVAL).astype(np.float64)


def drift(values: ArrayLike, window_seconds: float) -> Drift:
    """Return the drift of a score of windows that follow each other.

    Parameters
    ----------
    values : array-like of shape ``(windows,)``
        At least 3, finite.
    window_seconds : float
        Seconds of a window.

    Raises
    ------
    ValueError
        For too few windows, values that are not finite, or a duration that is not positive.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < 3 or not np.isfinite(scores).all():
        raise ValueError(
            f"values must be at least 3 finite scores, one a window, got shape {scores.shape} with "
            f"{np.isfinite(scores).sum()} finite"
        )
    if not window_seconds > 0.0:
        raise ValueError(f"window_seconds must be positive, got {window_seconds}")
    minutes = np.asarray((np.arange(len(scores)) + 0.5) * (window_seconds / 60.0), dtype=np.float64)
    centred = minutes - minutes.mean()
    spread = float(centred @ centred)
    slope = float(centred @ scores) / spread
    residuals = scores - scores.mean() - slope * centred
    error = math.sqrt(float(residuals @ residuals) / (len(scores) - 2) / spread)
    return Drift(minutes, scores, slope, error)


def drift_of_windows(
    samples: NDArray[np.float32],
    sample_rate: int,
    window_seconds: float,
    score: Callable[[NDArray[np.float32]], float],
) -> Drift:
    """Return the drift of a score over a stream, cut into windows; what is left at its end is not used.

    Parameters
    ----------
    samples : ndarray of shape ``(..., samples)``
        A stream, or several side by side, all of which a score sees.
    sample_rate : int
        Samples a second.
    window_seconds : float
        Seconds of a window.
    score : callable
        From samples ``(..., window)`` to a number.
    """
    if not window_seconds > 0.0:
        raise ValueError(f"window_seconds must be positive, got {window_seconds}")
    window = round(window_seconds * sample_rate)
    starts = range(0, samples.shape[-1] - window + 1, max(window, 1))
    return drift([score(samples[..., start : start + window]) for start in starts], window_seconds)


def _shares(values: ArrayLike, name: str) -> FloatArray:
    counts = np.asarray(values, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0.0).any() or counts.sum() <= 0.0:
        raise ValueError(
            f"{name} must be a histogram (bins,) of finite counts, not negative and not all 0, got shape "
            f"{counts.shape}"
        )
    return np.asarray(counts / counts.sum())


def _relative_entropy(shares: FloatArray, reference: FloatArray) -> float:
    held = shares > 0.0
    return float((shares[held] * np.log2(shares[held] / reference[held])).sum())


def _rounded(intervals: Sequence[FloatArray]) -> NDArray[np.int64]:
    return np.asarray(np.round(np.concatenate([np.zeros(0), *intervals])), dtype=np.int64)
