r"""How far each frequency has formed, and noise that is put where little has formed yet.

Along deterministic trajectories from noise to data, with clean estimates :math:`D_t` and end points
:math:`x_0`, the *progress* of a Fourier coefficient is

.. math::
   \gamma_t = \operatorname{clip}\Bigl(1 - \frac{|\hat D_t - \hat x_0|^2}{|\hat x_0|^2 + 10^{-8}}, 0, 1\Bigr),

averaged over items and other axes and over the frequencies of a radial bin, then stretched over time to reach
from 0 to 1 in each bin.  A noise covariance that leaves out what is finished is

.. math:: C_t \propto (1 - \gamma_t / d)^{2p}

with a divider :math:`d \ge 1` and a power p (for images the authors took 1.73 and .75, or 25 and .5 under
guidance).  Both are the calibration of Davidson, Issachar and Benaim, *Colored Noise Sampling*, arXiv
2605.30332; whether the noise is then used without bias is decided in `ColoredNoise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.noise.operators import SpectralOperator, frequency_radius
from sciffusion.continuous.path import align, as_times

__all__ = ["FrequencyProgress", "measure_progress"]


@dataclass(frozen=True, eq=False)
class FrequencyProgress:
    """Progress of each frequency over time.

    Parameters
    ----------
    times : Tensor
        Shape ``(n_times,)``, decreasing, float64.
    progress : Tensor
        Shape ``(n_times, n_bins)``, values in [0, 1], float64.
    bins : Tensor of int
        Bin of each entry of the half spectrum.
    shape : tuple of int
        Lengths of the transformed axes.
    """

    times: Tensor
    progress: Tensor
    bins: Tensor
    shape: tuple[int, ...]

    def at(self, t: Tensor | float) -> Tensor:
        """Return the progress at one time, interpolated linearly, shape ``(n_bins,)``."""
        t = as_times(t).cpu().reshape(())
        rising, values = self.times.flip(0), self.progress.flip(0)
        right = int(torch.searchsorted(rising, t).clamp(1, len(rising) - 1))
        share = ((t - rising[right - 1]) / (rising[right] - rising[right - 1])).clamp(0.0, 1.0)
        return torch.lerp(values[right - 1], values[right], share)

    def covariance(
        self, divider: float = 1.0, power: float = 0.5, floor: float = 1e-3
    ) -> Callable[[Tensor], SpectralOperator]:
        """Return the covariance of the module's equation for `ColoredNoise`.

        Parameters
        ----------
        divider : float, default 1
            At least 1; the larger, the whiter.
        power : float, default .5
            Not negative; 0 is white.
        floor : float, default 1e-3
            Lower bound (> 0) of the rest ``1 - progress / divider``.  Where all frequencies finish together a
            rest without bound turns the covariance ever faster, which spoils the order of a solver.

        Returns
        -------
        callable
            From a time to the operator, not normalised.
        """
        if divider < 1.0 or power < 0.0:
            raise ValueError(f"divider must be at least 1 and power not negative, got {divider} and {power}")
        if not floor > 0.0:
            raise ValueError(f"floor must be positive, got {floor}")

        def covariance(t: Tensor) -> SpectralOperator:
            rest = (1.0 - self.at(t) / divider).clamp_min(floor)
            return SpectralOperator((rest ** (2.0 * power))[self.bins], self.shape)

        return covariance


def measure_progress(
    denoiser: Denoiser, grid: Tensor, start: Tensor, *, n_axes: int = 1, n_bins: int | None = None
) -> FrequencyProgress:
    """Measure the progress of frequencies along trajectories of the probability flow.

    Costs one network evaluation of the whole batch for each time of the grid but the last; split a large
    batch and average the results of `FrequencyProgress.progress` where memory is short.  The noise of the
    estimate falls with the number of items; the authors used 4096 images or more.

    Parameters
    ----------
    denoiser : Denoiser
        On its path.
    grid : Tensor
        Decreasing times of at least two steps, shape ``(n_steps + 1,)``; Euler steps in time are made between
        them, the last one to the data.
    start : Tensor
        Starting noise at ``grid[0]``, shape ``(count, ...)``.
    n_axes : int, default 1
        Number of trailing axes to transform.
    n_bins : int, optional
        Radial bins of equal width; by default as many as half the longest of those axes.

    Returns
    -------
    FrequencyProgress
        At the times of the grid but the last.

    Raises
    ------
    ValueError
        For a grid of fewer than two steps or that does not decrease, axes that the values do not have, and
        fewer than one bin.
    """
    grid = as_times(grid)
    if grid.ndim != 1 or len(grid) < 3 or not bool((grid.diff() < 0.0).all()):
        raise ValueError(
            f"grid must be a vector of at least three decreasing times, got shape {tuple(grid.shape)}"
        )
    if not 1 <= n_axes < start.ndim:
        raise ValueError(
            f"n_axes must lie between 1 and the axes of an item, got {n_axes} for {tuple(start.shape)}"
        )
    if n_bins is not None and n_bins < 1:
        raise ValueError(f"n_bins must be positive, got {n_bins}")
    shape = tuple(start.shape[-n_axes:])
    radius = frequency_radius(shape)
    count = max(shape) // 2 + 1 if n_bins is None else n_bins
    # Rounding to the nearest bin keeps each frequency of one axis in a bin of its own.
    bins = torch.round(radius / radius.max().clamp_min(1e-300) * (count - 1)).long()
    axes = tuple(range(-n_axes, 0))
    estimates, end = _estimates(denoiser, grid, start)
    final = torch.fft.rfftn(end.double(), dim=axes)
    values = torch.stack(
        [_binned(torch.fft.rfftn(x0.double(), dim=axes), final, bins, count) for x0 in estimates]
    )
    low, high = values.amin(0), values.amax(0)
    stretched = torch.where(high > low, (values - low) / (high - low), torch.zeros_like(values))
    return FrequencyProgress(grid[:-1].cpu(), stretched.cpu(), bins, shape)


def _binned(estimate: Tensor, final: Tensor, bins: Tensor, count: int) -> Tensor:
    """Return the mean progress in each bin."""
    error = (estimate - final).abs().square() / (final.abs().square() + 1e-8)
    progress = (1.0 - error).clamp(0.0, 1.0)
    mean = progress.reshape(-1, bins.numel()).mean(0)
    flat = bins.reshape(-1).to(mean.device)
    sums = torch.zeros(count, dtype=mean.dtype, device=mean.device).index_add_(0, flat, mean)
    return sums / torch.bincount(flat, minlength=count).clamp_min(1)


@dataclass(frozen=True, eq=False)
class _Noisy:
    x: Tensor
    t: Tensor


def _estimates(denoiser: Denoiser, grid: Tensor, start: Tensor) -> tuple[Sequence[Tensor], Tensor]:
    """Return the clean estimates along Euler's trajectory, and its end."""
    estimates, x = [], start
    with torch.inference_mode():
        for t, t_next in pairwise(grid):
            c = denoiser.path.coefficients(t)
            prediction = denoiser(_Noisy(x, t))
            estimates.append(prediction.to("x0", c, x).value)
            if bool(denoiser.path.coefficients(t_next).sigma == 0.0):
                x = estimates[-1]
            else:
                x = x + align(t_next - t, x) * prediction.to("flow", c, x).value
    return estimates, x
