from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from sciffusion.continuous import Trigonometric
from sciffusion.networks import angle_embedding, sinusoidal_embedding


def test_the_first_angle_is_the_noise_and_signal_level_of_the_trigonometric_path() -> None:
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    levels = Trigonometric().coefficients(t)
    embedded = angle_embedding(t, 3)
    assert embedded.shape == (11, 6)
    assert_close(embedded[:, 0], levels.sigma.reshape(-1))
    assert_close(embedded[:, 3], levels.alpha.reshape(-1))


def test_angles_are_multiples_of_the_first() -> None:
    t = torch.rand(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    embedded = angle_embedding(t, 3)
    theta = torch.atan2(embedded[..., 0], embedded[..., 3])
    assert_close(embedded[..., 2], (3.0 * theta).sin())
    assert_close(embedded[..., 4], (2.0 * theta).cos())


def test_a_scalar_time_gives_one_vector() -> None:
    assert_close(angle_embedding(torch.tensor(1.0), 1), torch.tensor([1.0, 0.0]))


def test_sinusoidal_frequencies_run_from_one_to_the_longest_wave() -> None:
    steps = torch.tensor([0.0, 1.0, 250.0], dtype=torch.float64)
    embedded = sinusoidal_embedding(steps, 8, longest=100.0)
    assert embedded.shape == (3, 8)
    assert_close(embedded[:, 0], steps.sin())
    assert_close(embedded[:, 3], (steps / 100.0).sin())
    assert_close(embedded.square().sum(dim=-1), torch.full((3,), 4.0, dtype=torch.float64))


@pytest.mark.parametrize("width", [0, 2, 7])
def test_widths_that_hold_no_pairs_of_frequencies_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"even number >= 4, got {width}"):
        sinusoidal_embedding(torch.zeros(1), width)
