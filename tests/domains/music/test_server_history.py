"""The history of a stream: digests at any sample kept, frames from any sample kept."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sciffusion.domains.music.server_history import PcmHistory


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(1000).astype(np.float32)


def test_digests_are_those_of_the_first_samples(samples: np.ndarray) -> None:
    history = PcmHistory(frame_samples=32, kept_samples=10_000)
    for part in np.split(samples, [100, 101, 640]):
        history.append(part)
    for sample in (0, 1, 31, 32, 99, 100, 101, 500, 999, 1000):
        assert history.digest_at(sample) == hashlib.sha256(samples[:sample].tobytes()).hexdigest()


def test_frames_from_anywhere_are_the_samples_from_there(samples: np.ndarray) -> None:
    history = PcmHistory(frame_samples=32, kept_samples=10_000)
    history.append(samples[:700])
    history.append(samples[700:])
    for first in (0, 5, 32, 333, 999, 1000):
        frames = history.since(first, most=100)
        joined = np.concatenate([frame.samples for frame in frames]) if frames else samples[:0]
        np.testing.assert_array_equal(joined, samples[first:])
        assert [frame.first for frame in frames[1:]] == [frame.end for frame in frames[:-1]]
        assert all(1 <= len(frame.samples) <= 32 for frame in frames)
    assert len(history.since(0, most=3)) == 3


def test_only_the_latest_samples_are_kept(samples: np.ndarray) -> None:
    history = PcmHistory(frame_samples=50, kept_samples=200)
    for part in np.split(samples, 20):
        history.append(part)
    assert (history.oldest, history.end) == (800, 1000)
    assert history.digest_at(825) == hashlib.sha256(samples[:825].tobytes()).hexdigest()
    with pytest.raises(ValueError, match="sample 799 is not kept: 800 to 1000 are"):
        history.since(799)
    with pytest.raises(ValueError, match="digest at sample 799 is not kept"):
        history.digest_at(799)
    with pytest.raises(ValueError, match="sample 1001 is not kept"):
        history.since(1001)
    with pytest.raises(ValueError, match="is not kept"):
        history.digest_at(1001)
