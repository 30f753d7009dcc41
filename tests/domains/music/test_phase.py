"""Phases from magnitudes: a sine stays a sine, and bins go with their peak."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sciffusion.domains.music.light_codec import log_magnitudes
from sciffusion.domains.music.phase import (
    integrate_phases,
    peak_frequencies,
    peak_of_bins,
    spectra_of_peaks,
)
from sciffusion.domains.music.spectrogram import CausalSpectrogram

RATE, WINDOW, HOP = 24_000, 2048, 480


def _without_phases(audio: Tensor) -> Tensor:
    """Return audio from its magnitudes alone, without the delay."""
    spectrogram = CausalSpectrogram(WINDOW, HOP)
    spectra, _ = spectrogram.analyse(audio, spectrogram.start_analysis(len(audio)))
    start = torch.zeros(len(audio), spectrogram.bins, dtype=torch.float64)
    found, _ = spectra_of_peaks(log_magnitudes(spectra), spectra.abs(), start, window=WINDOW, hop=HOP)
    again, _ = spectrogram.synthesise(found, spectrogram.start_synthesis(len(audio)))
    return again[:, spectrogram.delay :]


def _sine(frequency: float, seconds: float = 1.0, amplitude: float = 0.5) -> Tensor:
    time = torch.arange(int(seconds * 50) * HOP, dtype=torch.float64) / RATE
    return (amplitude * torch.sin(2.0 * math.pi * frequency * time)).float()[None]


def _part_that_is_a_sine(audio: Tensor, frequency: float) -> tuple[float, float]:
    """Return amplitude and relative residual of the least-squares sine of a frequency."""
    time = torch.arange(audio.shape[-1], dtype=torch.float64) / RATE
    angle = 2.0 * math.pi * frequency * time
    waves = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    target = audio[0].double()[:, None]
    weights = torch.linalg.lstsq(waves, target).solution
    residual = (target - waves @ weights).norm() / target.norm()
    return float(weights.norm()), float(residual)


@pytest.mark.parametrize("frequency", [65.4, 110.0, 440.0, 445.9, 1000.3, 5000.0])
def test_a_sine_stays_a_sine_of_its_frequency_and_amplitude(frequency: float) -> None:
    again = _without_phases(_sine(frequency))[:, 4800:-4800]
    amplitude, residual = _part_that_is_a_sine(again, frequency)
    assert amplitude == pytest.approx(0.5, rel=0.01)
    # Without the (-1)^k of the window's middle, or with phases that do not add up, this is near 1.
    assert residual < 0.015


def test_two_sines_stay_apart() -> None:
    again = _without_phases(_sine(440.0, amplitude=0.3) + _sine(660.0, amplitude=0.1))[:, 4800:-4800]
    loud, _ = _part_that_is_a_sine(again, 440.0)
    quiet, _ = _part_that_is_a_sine(again, 660.0)
    assert loud == pytest.approx(0.3, rel=0.02)
    assert quiet == pytest.approx(0.1, rel=0.02)


def test_the_frequency_of_a_sine_is_found_between_bins() -> None:
    spectrogram = CausalSpectrogram(WINDOW, HOP)
    for exact in (40.0, 40.21, 40.49, 40.5, 40.77):
        sine = _sine(exact * RATE / WINDOW)
        spectra, _ = spectrogram.analyse(sine, spectrogram.start_analysis(1))
        levels = log_magnitudes(spectra)[0, -1]
        peak = int(levels.argmax())
        assert float(peak_frequencies(levels)[peak]) == pytest.approx(exact, abs=2e-3)


def test_bins_go_with_the_peak_uphill() -> None:
    levels = torch.tensor([1.0, 2.0, 5.0, 4.0, 3.0, 3.5, 9.0, 8.0, 7.0, 7.5])
    # Valleys, at 4 and 8, go to their higher side.
    assert peak_of_bins(levels).tolist() == [2, 2, 2, 2, 2, 6, 6, 6, 6, 9]
    assert peak_of_bins(torch.zeros(4)).tolist() == [0, 1, 2, 3]
    rising = torch.arange(1025.0)
    assert peak_of_bins(rising).tolist() == [1024] * 1025
    assert peak_of_bins(-rising)[None].unique().tolist() == [0]


def test_a_peak_goes_on_from_the_phase_of_its_bin() -> None:
    peaks = torch.tensor([[[0, 0, 2], [1, 1, 1]]])
    advances = torch.tensor([[[0.1, 9.0, 0.3], [9.0, 0.5, 9.0]]], dtype=torch.float64)
    start = torch.tensor([[1.0, 2.0, 6.2]], dtype=torch.float64)
    found, last = integrate_phases(peaks, advances, start)
    expected = torch.tensor([[1.1, 1.1, 6.5 - 2 * math.pi], [1.6, 1.6, 1.6]], dtype=torch.float64)
    assert torch.allclose(found[0], expected)
    assert torch.equal(last, found[:, -1])


def test_silence_stays_silence() -> None:
    again = _without_phases(torch.zeros(2, 4 * HOP + WINDOW - HOP))
    assert torch.equal(again, torch.zeros_like(again))
