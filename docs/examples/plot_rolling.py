r"""
Sampling an endless series, frame by frame
==========================================

A series need not be denoised all at once. In a *rolling* run a window of frames stands at growing noise
levels; each round makes the first frame clean, gives it away and takes in a frame of pure noise. The cost of
a frame stays the same however long the series is, and the first frames are there long before the last.

Here the series is a stationary AR(1) process, whose exact denoiser at times of single elements is known, so
that everything that differs from the truth is the doing of the window and the steps.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import ContinuousPrediction, DPMSolverMultistep, PointwiseDenoiser, RectifiedFlow
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import rolling_sample, uniform_grid
from sciffusion.sampling.time_maps import BlockCausal, BoundaryPhase, Pyramid, RollingWindow, SharedTime

COEFFICIENT, WINDOW, N_FRAMES = 0.9, 4, 40

# %%
# Time maps
# ---------
#
# A time map turns one global time s, from 1 (noise) to 0 (data), into a time for each element. Dark is noise.

maps = {
    "shared": SharedTime(),
    "pyramid": Pyramid(0.25),
    "blocks of 3": BlockCausal(3),
    "boundary phase": BoundaryPhase(9),
    "rolling window": RollingWindow(9),
}
figure, panels = plt.subplots(1, 5, figsize=(10, 2.6), sharey=True, layout="constrained")
for axes, (name, time_map) in zip(panels, maps.items(), strict=True):
    times = time_map.local(uniform_grid(60), 9)
    axes.imshow(times, cmap="Greys", aspect="auto", vmin=0.0, vmax=1.0, extent=(-0.5, 8.5, 0.0, 1.0))
    axes.set(title=name, xlabel="element")
panels[0].set_ylabel("global time s")
plt.show()

# %%
# A rolling run
# -------------
#
# The denoiser sees the window and, with ``context=1``, the last frame that was given away: an AR(1) process
# needs no more.


class SeriesDenoiser(PointwiseDenoiser):
    """The exact denoiser of an AR(1) series of whatever length it is shown."""

    path = RectifiedFlow()

    def predict(
        self, x: torch.Tensor, t: torch.Tensor | float, condition: Any = None
    ) -> ContinuousPrediction:
        """Return the exact posterior mean."""
        target = GaussianTarget.autoregressive(x.shape[1], COEFFICIENT)
        return ExactDenoiser(target, self.path).predict(x, t)


def roll(context: int, count: int, seed: int = 0) -> torch.Tensor:
    """Return series of shape (count, frames)."""
    frames = rolling_sample(
        SeriesDenoiser(),
        DPMSolverMultistep(2),
        window=WINDOW,
        frame_shape=(count,),
        n_frames=N_FRAMES,
        steps_per_frame=4,
        context=context,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    return torch.stack([frame.values for frame in frames], 1)


# %%
# What it must see
# ----------------
#
# Without context the window forgets what it gave away, and neighbours hang together less than they should.

lags = torch.arange(12)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for context in (1, 0):
    series = roll(context, 1000)
    left.plot(series[0], label=f"context={context}")
    last = N_FRAMES - len(lags)
    correlation = [(series[:, last] * series[:, last + lag]).mean() for lag in lags]
    right.plot(lags, correlation, "o", label=f"context={context}")
right.plot(lags, COEFFICIENT**lags, color="0.5", label="exact")
left.set(xlabel="frame", title="One series each, from the same noise")
right.set(xlabel="lag", ylabel="covariance", title="Covariance of 1000 series")
right.legend()
plt.show()
