r"""Spectra: whether a generator puts the right power into every band of frequencies.

For values :math:`x_j` on an even grid of N points at distance h, with ensemble mean :math:`\mu_j`, the power
at the frequency :math:`f_k = k/(Nh)` is

.. math:: P_k = E\Bigl|\sum_j (x_j - \mu_j)\, e^{-2\pi i jk/N}\Bigr|^2 ,

averaged over samples, over all other axes and over the frequencies of a band, each counted as often as it
occurs in the full transform.  The ratio of generated to reference power is 1 in every band for a perfect
generator.  Smooth networks show a ratio that falls at high frequencies.  The same transform is applied to
both, so the leakage of non-periodic series does not disturb the ratio of equal laws; between unequal ones it
blurs the bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SpectrumRatio", "spectrum_ratio"]


@dataclass(frozen=True)
class SpectrumRatio:
    """Power of generated over power of reference data, band by band.

    Parameters
    ----------
    edges : Tensor
        Edges of the bands, cycles per unit of the axis, shape ``(bands + 1,)``.
    ratio : Tensor
        Shape ``(bands,)``; 1 is right, NaN where the reference has no power.
    error : Tensor
        Standard errors, by the bootstrap over samples of both sets.
    generated_power, reference_power : Tensor
        Mean power of each band.
    """

    edges: Tensor
    ratio: Tensor
    error: Tensor
    generated_power: Tensor
    reference_power: Tensor


def spectrum_ratio(
    generated: Tensor,
    reference: Tensor,
    bands: int | Sequence[float] = 8,
    *,
    generator: torch.Generator,
    axis: int = -1,
    spacing: float = 1.0,
    n_bootstrap: int = 200,
) -> SpectrumRatio:
    """Compare the spectra of generated and reference data along one axis.

    Parameters
    ----------
    generated, reference : Tensor
        Shapes ``(count, ...)``, equal but for the count; samples along the first axis.
    bands : int or sequence of float, default 8
        Number of bands of equal width from 0 to the largest frequency, or their edges in cycles per unit.
        A band without any frequency is refused.
    generator : torch.Generator
        Draws the bootstrap resamples.
    axis : int, default -1
        Along which the values are ordered; not the first one.
    spacing : float, default 1
        Distance of neighbouring values along the axis.
    n_bootstrap : int, default 200
        Resamples for the standard errors.

    Returns
    -------
    SpectrumRatio
        Ratios, errors and powers.

    Raises
    ------
    ValueError
        For shapes that do not match, values that are not finite, an impossible axis or bands.
    """
    for name, values in (("generated", generated), ("reference", reference)):
        if values.ndim < 2 or values.shape[0] < 2 or values.shape[1:] != generated.shape[1:]:
            raise ValueError(
                "generated and reference must have shapes (count, ...) with at least two samples and equal "
                f"axes after the first, got {tuple(generated.shape)} and {tuple(reference.shape)}"
            )
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} must be finite")
    if axis % generated.ndim == 0:
        raise ValueError(f"axis must not be the axis of samples, got {axis}")
    if not spacing > 0.0 or n_bootstrap < 2:
        raise ValueError(
            f"spacing must be positive and n_bootstrap at least 2, got {spacing} and {n_bootstrap}"
        )
    length = generated.shape[axis]
    edges, member = _bands(length, spacing, bands)
    powers = [_band_power(values, axis, member) for values in (generated, reference)]
    resampled = [_bootstrap_means(power, n_bootstrap, generator) for power in powers]
    means = [power.mean(0) for power in powers]
    return SpectrumRatio(edges, means[0] / means[1], (resampled[0] / resampled[1]).std(0), *means)


def _bands(length: int, spacing: float, bands: int | Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the edges, and for each band the share of each frequency, shape ``(bands, frequencies)``."""
    frequencies = torch.fft.rfftfreq(length, spacing, dtype=torch.float64)
    if isinstance(bands, int):
        if bands < 1:
            raise ValueError(f"bands must be positive, got {bands}")
        edges = torch.linspace(0.0, float(frequencies[-1]), bands + 1, dtype=torch.float64)
    else:
        edges = torch.as_tensor(list(bands), dtype=torch.float64)
    if edges.shape[0] < 2 or not bool((edges.diff() > 0.0).all()):
        raise ValueError(f"bands must be at least two increasing edges, got {edges.tolist()}")
    # Each band holds its lower edge; the last one its upper edge, too.
    inside = (frequencies >= edges[:-1, None]) & (frequencies < edges[1:, None])
    inside[-1] |= frequencies == edges[-1]
    # All frequencies but 0 and the highest of an even length stand for two of the full transform.
    twice = torch.full_like(frequencies, 2.0)
    twice[0] = 1.0
    if length % 2 == 0:
        twice[-1] = 1.0
    share = inside * twice
    total = share.sum(-1, keepdim=True)
    if not bool((total > 0.0).all()):
        empty = int((total == 0.0).nonzero()[0, 0])
        raise ValueError(
            f"bands: none of the {frequencies.shape[0]} frequencies lies between "
            f"{float(edges[empty]):.4g} and {float(edges[empty + 1]):.4g}"
        )
    return edges, share / total


def _band_power(values: Tensor, axis: int, member: Tensor) -> Tensor:
    """Return the power of every sample in every band, shape ``(count, bands)``."""
    wide = values.detach().cpu().to(torch.float64).movedim(axis, -1)
    transformed = torch.fft.rfft(wide - wide.mean(0), dim=-1).abs().square()
    per_sample = transformed.reshape(wide.shape[0], -1, transformed.shape[-1]).mean(1)
    # The mean of n samples takes away one n-th of the power.
    power: Tensor = per_sample @ member.mT * (wide.shape[0] / (wide.shape[0] - 1.0))
    return power


def _bootstrap_means(power: Tensor, n_bootstrap: int, generator: torch.Generator) -> Tensor:
    count = power.shape[0]
    index = torch.randint(count, (n_bootstrap, count), generator=generator, device=generator.device).cpu()
    repeats = torch.zeros(n_bootstrap, count, dtype=torch.float64)
    repeats.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64))
    return repeats @ power / count
