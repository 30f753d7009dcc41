"""Ratios of spectra against the power of series with a known covariance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.diagnostics import spectrum_ratio
from sciffusion.exact import GaussianTarget

LENGTH = 32


def draws(count: int, seed: int, coefficient: float = 0.7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return GaussianTarget.autoregressive(LENGTH, coefficient).draw(count, generator)


def expected_power(coefficient: float) -> Tensor:
    """Return f^H C f at every frequency of the full transform."""
    covariance = GaussianTarget.autoregressive(LENGTH, coefficient).covariance
    fourier = torch.fft.fft(torch.eye(LENGTH, dtype=torch.float64))
    return (fourier @ covariance.to(fourier.dtype) @ fourier.conj().mT).diagonal().real


def test_powers_and_ratio_are_those_of_the_covariances() -> None:
    found = spectrum_ratio(draws(4000, 0, 0.3), draws(4000, 1), 4, generator=torch.Generator().manual_seed(2))
    bands = [range(4), range(4, 8), range(8, 12), range(12, 17)]
    for band, rows in enumerate(bands):
        # Positive and negative frequencies of the band.
        index = sorted({k % LENGTH for k in rows} | {-k % LENGTH for k in rows})
        powers = [float(expected_power(coefficient)[index].mean()) for coefficient in (0.3, 0.7)]
        assert float(found.generated_power[band]) == pytest.approx(powers[0], rel=0.05)
        assert float(found.reference_power[band]) == pytest.approx(powers[1], rel=0.05)
        assert abs(float(found.ratio[band]) - powers[0] / powers[1]) < 4.0 * float(found.error[band])
    torch.testing.assert_close(found.edges, torch.linspace(0, 0.5, 5, dtype=torch.float64))


def test_a_doubled_series_has_four_times_the_power_and_a_shifted_one_the_same() -> None:
    x = draws(50, 0)
    found = spectrum_ratio(2.0 * x, x, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.ratio, torch.full((5,), 4.0, dtype=torch.float64))
    found = spectrum_ratio(x + 3.0, x, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.ratio, torch.ones(5, dtype=torch.float64))


def test_errors_are_the_spread_over_repetitions() -> None:
    runs = [
        spectrum_ratio(
            draws(60, 2 * seed), draws(90, 2 * seed + 1), 3, generator=torch.Generator().manual_seed(0)
        )
        for seed in range(80)
    ]
    ratios = torch.stack([run.ratio for run in runs])
    claimed = torch.stack([run.error for run in runs]).mean(0)
    torch.testing.assert_close(claimed, ratios.std(0), rtol=0.3, atol=0.0)
    deviation = (ratios.mean(0) - 1.0).abs() / (ratios.std(0) / 80**0.5)
    # A ratio of means is biased by the squared relative error of its denominator.
    assert float(deviation.max()) < 4.5


def test_axis_spacing_and_edges() -> None:
    x = draws(40, 0).reshape(10, 4, LENGTH)
    options = {"spacing": 0.5, "generator": torch.Generator().manual_seed(0)}
    last = spectrum_ratio(x, 2.0 * x, [0.0, 0.25, 1.0], **options)
    middle = spectrum_ratio(x.mT, 2.0 * x.mT, [0.0, 0.25, 1.0], axis=1, **options)
    torch.testing.assert_close(last.generated_power, middle.generated_power)
    torch.testing.assert_close(last.ratio, torch.full((2,), 0.25, dtype=torch.float64))
    # With spacing .5 the largest frequency is 1: every one is in a band, by Parseval weights and all.
    share = torch.tensor([7.0, 25.0], dtype=torch.float64) / 32
    total = float((last.generated_power * share).sum())
    centred = x - x.mean(0)
    assert total == pytest.approx(float(centred.square().sum(-1).mean()) * 10.0 / 9.0, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": 0}, "bands must be positive"),
        ({"bands": 40}, "none of the 17 frequencies"),
        ({"bands": [0.3, 0.1]}, "increasing edges"),
        ({"axis": 0}, "axis of samples"),
        ({"spacing": 0.0}, "spacing"),
    ],
)
def test_bad_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spectrum_ratio(draws(5, 0), draws(5, 1), **options, generator=torch.Generator())


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="equal axes"):
        spectrum_ratio(draws(5, 0), draws(5, 1)[:, :4], generator=torch.Generator())
    with pytest.raises(ValueError, match="reference must be finite"):
        spectrum_ratio(draws(5, 0), draws(5, 1) * float("nan"), generator=torch.Generator())
