r"""Rolling diffusion of states: forecasts of any length from a window of frames at growing noise levels.

The window network is trained on clean past frames and W noisy ones whose times are those that
`sciffusion.sampling.rolling_sample` meets: (k + s)/W in the rolling phase and min(k/W + s, 1) in the boundary
phase, in which the first window comes out of pure noise. The path is the trigonometric one,
:math:`x_t = \cos\theta\,x_0 + \sin\theta\,\varepsilon`, :math:`\theta = \pi t/2`, with EDM's preconditioning
and weighting: the network learns :math:`\sin\theta\,x_0 - \cos\theta\,\varepsilon` of every frame with unit
weight, so that its error counts the less the nearer a frame is to clean.

Ruhe, Heek, Salimans and Hoogeboom, *Rolling Diffusion Models*, arXiv 2402.09470; Cachay et al., *Elucidated
Rolling Diffusion Models for Probabilistic Weather Forecasting*, arXiv 2506.20024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sciffusion.continuous import (
    DenoisingObjective,
    DPMSolverMultistep,
    EDMPreconditioning,
    NetworkDenoiser,
    PointwiseDenoiser,
    Trigonometric,
)
from sciffusion.sampling import rolling_sample

__all__ = ["PATH", "roll_states", "rolling_evaluations", "window_denoiser", "window_loss"]

PATH = Trigonometric()


def window_denoiser(network: nn.Module) -> NetworkDenoiser:
    """Return a `WindowNetwork` as the denoiser of standardised frames."""
    return NetworkDenoiser(network, PATH, "x0", EDMPreconditioning(1.0))


def window_loss(network: nn.Module, frames: Tensor, times: Tensor, noise: Tensor, window: int) -> Tensor:
    """Return the mean loss over the last `window` of frames ``(batch, frames, dim)`` at their times."""
    losses = DenoisingObjective(PATH, "edm")(window_denoiser(network), frames, times, noise)
    return losses[:, -window:].mean()


def rolling_evaluations(n_frames: int, window: int, steps_per_frame: int) -> int:
    """Return how often a rolling run asks its denoiser."""
    return steps_per_frame * (window + n_frames - 1)


def roll_states(
    denoiser: PointwiseDenoiser,
    past: Tensor,
    n_frames: int,
    *,
    window: int,
    steps_per_frame: int,
    generator: torch.Generator,
) -> Tensor:
    """Continue trajectories frame by frame.

    Parameters
    ----------
    denoiser : PointwiseDenoiser
        Of frames ``(batch, context + window, ...)`` at times of their own.
    past : Tensor
        Known frames, shape ``(batch, context, ...)``; all of them stay in sight at first, and later as many
        of the newest.
    n_frames : int
        Frames to give.
    window, steps_per_frame, generator
        As for `rolling_sample`.

    Returns
    -------
    Tensor
        Shape ``(batch, n_frames, ...)``, of the type and on the device of ``past``.
    """
    run = rolling_sample(
        denoiser,
        DPMSolverMultistep(2),
        window=window,
        frame_shape=(past.shape[0], *past.shape[2:]),
        n_frames=n_frames,
        steps_per_frame=steps_per_frame,
        context=past.shape[1],
        past=past,
        generator=generator,
        dtype=past.dtype,
        device=past.device,
    )
    return torch.stack([frame.values for frame in run], dim=1)
