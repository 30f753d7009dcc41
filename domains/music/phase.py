r"""Phases from magnitudes alone: every spectral peak is a sinusoid whose frequency is integrated.

A sinusoid of frequency :math:`\nu` (in bins) and phase :math:`\psi` at the middle of a frame has, with a
window that is symmetric about its middle, the spectrum

.. math::
    X(k) = A\, H(k - \nu)\, e^{i (\psi - \pi k)}, \qquad
    H(d) = \frac{\sin \pi d}{\pi d\, (1 - d^2)} \quad\text{(Hann)},

whose H is real, positive in the main lobe :math:`|d| < 2`. So all bins around a peak have one phase up to
:math:`(-1)^k`. From frame to frame the phase advances by :math:`2 \pi \nu h / N`. Every bin is assigned to
the peak that is reached by walking uphill. With the magnitudes a and c of the bins below and above the peak,
:math:`c / a = H(1 - \delta) / H(-1 - \delta)` is solved for the peak's distance :math:`\delta` from its
bin by

.. math::
    \delta = \frac{4 q}{3 + \sqrt{9 - 8 q^2}}, \qquad q = \frac{c - a}{c + a}

(construction of this library; a parabola through three logarithms is off by up to 0.02 bins). A peak goes on
from the phase that its bin had in the frame before:

.. math::
    \psi_f(k) = \psi_{f-1}\bigl(p_f(k)\bigr) + 2 \pi \frac{h}{N}\, \nu_f\bigl(p_f(k)\bigr).

Nothing but these phases is carried from frame to frame: no iteration, no look ahead.

References
----------
Beauregard, Harish, Wyse, "Single pass spectrogram inversion", DSP 2015; Laroche, Dolson, "Improved phase
vocoder time-scale modification of audio", IEEE Transactions on Speech and Audio Processing 7, 1999.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["integrate_phases", "peak_frequencies", "peak_of_bins", "spectra_of_peaks"]


def peak_of_bins(levels: Tensor) -> Tensor:
    """Return for every bin the peak that is reached by walking uphill.

    Parameters
    ----------
    levels : Tensor of shape ``(..., bins)``
        Magnitudes on any increasing scale.

    Returns
    -------
    int64 Tensor of shape ``(..., bins)``
        Bin of the peak; bins of a plateau are their own.
    """
    lowest = pad(levels, (1, 1), value=-math.inf)
    below, above = lowest[..., :-2], lowest[..., 2:]
    up = (above > levels) & (above >= below)
    down = (below > levels) & ~up
    bins = levels.shape[-1]
    towards = torch.arange(bins, device=levels.device) + up.long() - down.long()
    # Each round doubles the length of the walk; the longest possible one has as many steps as there are bins.
    for _ in range(max(bins - 1, 1).bit_length()):
        further = towards.gather(-1, towards)
        if torch.equal(further, towards):
            break
        towards = further
    return towards


def peak_frequencies(levels: Tensor) -> Tensor:
    """Return the frequency of every bin as if it were a peak, in bins, within half a bin of its own.

    Parameters
    ----------
    levels : Tensor of shape ``(..., bins)``
        Logarithms of magnitudes.

    Returns
    -------
    float64 Tensor of shape ``(..., bins)``
        Exact for a bin and its neighbours in the main lobe of one sinusoid under a Hann window.
    """
    outside = pad(levels.double(), (1, 1))
    ratio = torch.tanh(0.5 * (outside[..., 2:] - outside[..., :-2]))  # (c - a) / (c + a)
    shift = (4.0 * ratio / (3.0 + torch.sqrt(9.0 - 8.0 * ratio.square()))).clamp(-0.5, 0.5)
    shift[..., 0] = 0.0
    shift[..., -1] = 0.0
    return torch.arange(levels.shape[-1], device=levels.device) + shift


def integrate_phases(peaks: Tensor, advances: Tensor, phases: Tensor) -> tuple[Tensor, Tensor]:
    """Return the phase of every bin at the middle of its frame, and the last ones.

    Parameters
    ----------
    peaks : int64 Tensor of shape ``(batch, frames, bins)``
        Peak of every bin.
    advances : float64 Tensor of shape ``(batch, frames, bins)``
        Radians by which the phase of a bin grows to this frame.
    phases : float64 Tensor of shape ``(batch, bins)``
        Phases in the frame before.

    Returns
    -------
    tuple of float64 Tensor of shape ``(batch, frames, bins)`` and ``(batch, bins)``
        Radians in [0, 2 pi).
    """
    gained = advances.gather(-1, peaks)
    found = torch.empty_like(gained)
    for frame in range(peaks.shape[1]):
        phases = torch.remainder(phases.gather(-1, peaks[:, frame]) + gained[:, frame], 2.0 * math.pi)
        found[:, frame] = phases
    return found, phases


def spectra_of_peaks(
    levels: Tensor, magnitudes: Tensor, phases: Tensor, *, window: int, hop: int
) -> tuple[Tensor, Tensor]:
    """Return spectra with the given magnitudes and integrated phases, and the phases they end with.

    Parameters
    ----------
    levels : Tensor of shape ``(batch, frames, bins)``
        Logarithms of magnitudes, for peaks and their frequencies.
    magnitudes : Tensor of shape ``(batch, frames, bins)``
    phases : float64 Tensor of shape ``(batch, bins)``
        Phases in the frame before.
    window, hop : int
        Samples.

    Returns
    -------
    spectra : complex Tensor of shape ``(batch, frames, bins)``
    phases : float64 Tensor of shape ``(batch, bins)``
    """
    peaks = peak_of_bins(levels)
    frequencies = peak_frequencies(levels)
    advances = 2.0 * math.pi * hop / window * frequencies
    found, last = integrate_phases(peaks, advances, phases)
    bins = torch.arange(levels.shape[-1], device=levels.device)
    # The sign of the window's transform beyond its main lobe, with the (-1)^k of its middle.
    distance = (bins - frequencies.gather(-1, peaks)).abs()
    lobe = (distance.floor() - 1.0).clamp_min(0.0) + bins
    angles = (found + math.pi * lobe).to(magnitudes.dtype)
    return torch.polar(magnitudes, angles), last
