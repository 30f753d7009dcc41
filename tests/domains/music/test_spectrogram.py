"""Causal spectra: what they say of a sine, that they invert, and that they see no future."""

from __future__ import annotations

import math

import pytest
import torch

from sciffusion.domains.music.spectrogram import CausalSpectrogram


def test_a_sine_on_a_bin_has_a_peak_of_its_amplitude() -> None:
    spectrogram = CausalSpectrogram(window=256, hop=64)
    time = torch.arange(64 * 10)
    sine = 0.7 * torch.sin(2.0 * math.pi * 16 / 256 * time)[None]
    spectra, _ = spectrogram.analyse(sine, spectrogram.start_analysis(1))
    last = spectra[0, -1].abs()
    assert spectra.shape == (1, 10, 129)
    assert int(last.argmax()) == 16
    assert float(last[16]) == pytest.approx(0.7, rel=1e-4)
    assert float(last[15]) == pytest.approx(0.35, rel=1e-3)
    assert float(last[20:].max()) < 1e-5


@pytest.mark.parametrize(("window", "hop"), [(2048, 480), (256, 64), (256, 100), (64, 1), (64, 32)])
def test_synthesis_undoes_analysis_late_by_the_overlap(window: int, hop: int) -> None:
    spectrogram = CausalSpectrogram(window=window, hop=hop)
    frames = 4 * window // hop
    audio = torch.randn(2, frames * hop, generator=torch.Generator().manual_seed(0))
    spectra, _ = spectrogram.analyse(audio, spectrogram.start_analysis(2))
    again, _ = spectrogram.synthesise(spectra, spectrogram.start_synthesis(2))
    delay = spectrogram.delay
    assert delay == window - hop
    assert torch.allclose(again[:, delay:], audio[:, : frames * hop - delay], atol=2e-6)
    assert float(again[:, :delay].abs().max()) < 1e-6


def test_a_frame_ends_with_its_hop() -> None:
    spectrogram = CausalSpectrogram(window=256, hop=64)
    audio = torch.zeros(1, 640)
    audio[0, 3 * 64 + 30] = 1.0  # within the fourth frame's last hop
    spectra, _ = spectrogram.analyse(audio, spectrogram.start_analysis(1))
    loud = spectra[0].abs().sum(-1) > 1e-4
    assert loud.tolist() == [False, False, False, True, True, True, True, False, False, False]


@pytest.mark.parametrize(("window", "hop"), [(2, 1), (255, 64), (256, 129), (256, 0)])
def test_windows_and_hops_are_checked(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match=r"window|hop"):
        CausalSpectrogram(window=window, hop=hop)
