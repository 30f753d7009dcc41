"""Preconditioning for data whose density is smooth on a known length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import EDMPreconditioning, NetworkDenoiser, Trigonometric

PATH = Trigonometric()


def _field(x: Tensor, noise: Tensor, condition: object = None) -> Tensor:
    return torch.sin(x) + noise.reshape(-1, 1) if noise.ndim else torch.sin(x) + noise


def _score(level: float, local_scale: float, x: Tensor) -> Tensor:
    t = PATH.time_of_log_snr(-torch.tensor(level, dtype=torch.float64).log())
    denoiser = NetworkDenoiser(_field, PATH, "x0", EDMPreconditioning(1.0, local_scale=local_scale))
    c = PATH.coefficients(t)
    mean = denoiser.predict(x, t).value
    return (c.alpha * mean - x) / c.sigma**2


def test_the_score_stays_bounded_as_noise_vanishes() -> None:
    # s = -x / S^2 + F alpha / (S sigma sqrt(1 + (alpha l / sigma)^2)) -> -x + F / l.
    x = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)[:, None]
    noise = torch.tensor(1e-5, dtype=torch.float64).log() / 4
    torch.testing.assert_close(_score(1e-5, 0.2, x), -x + _field(x, noise) / 0.2, rtol=1e-4, atol=1e-4)
    assert float(_score(1e-5, 0.0, x).abs().max()) > 1e4


def test_without_a_scale_and_at_large_noise_it_is_the_usual_form() -> None:
    x = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)[:, None]
    factor = 3.0 / (3.0**2 + 0.2**2) ** 0.5
    usual, smooth = _score(3.0, 0.0, x) + x, _score(3.0, 0.2, x) + x
    torch.testing.assert_close(smooth, factor * usual)


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_negative_scale_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="local_scale must not be negative"):
        EDMPreconditioning(local_scale=value)
