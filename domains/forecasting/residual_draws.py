"""Draws of standardised residuals: the network's probability flow, from noise correlated as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.continuous import Heun
from sciffusion.estimators.chunking import map_chunks
from sciffusion.sampling import State, angle_grid, sample

from .history import Floats
from .window_network import PATH, WindowCondition, WindowNetwork, window_denoiser

__all__ = ["FlowRun", "draw_residuals", "flow_grid", "plain_run"]

_MIN_NOISE = 0.02  # where a run ends, relative to the residual

#: Makes a run of the flow: takes the denoiser, the grid and the starting state, returns its samples.
FlowRun = Callable[[Any, Tensor, State, WindowCondition], Tensor]


def flow_grid(nfe: int) -> Tensor:
    """Return the times of a run with at most `nfe` >= 2 evaluations, two a step, equally spaced in angle.

    In the angle the velocity of the flow is the network itself, which stays bounded, and is exactly zero for
    one that has learned nothing: a second-order step is then exact, and a few of them suffice. The last time
    is where little noise is left, and that little stays in: a step on to the data would be one of first
    order, and would shrink the residuals to their mean.
    """
    return angle_grid(PATH, nfe // 2 + 1, last_log_snr=-math.log(_MIN_NOISE))[:-1]


def plain_run(
    denoiser: Any, grid: Tensor, state: State, condition: WindowCondition, *, inference_mode: bool = True
) -> Tensor:
    """Run the flow without guidance; gradients can be taken through it out of inference mode."""
    return sample(
        denoiser, Heun(), grid, state=state, condition=condition, inference_mode=inference_mode
    ).samples


def draw_residuals(
    network: WindowNetwork,
    inputs: Floats,
    unknown: NDArray[np.bool_],
    noise: Tensor,
    *,
    nfe: int,
    device: torch.device,
    run: FlowRun = plain_run,
) -> Tensor:
    """Return draws for windows.

    Parameters
    ----------
    network : WindowNetwork
        Fitted.
    inputs : ndarray of shape (windows, inputs)
        Standardised.
    unknown : ndarray of bool, shape (windows, tokens)
    noise : Tensor of shape (windows, draws, tokens)
        What the flow starts from.
    nfe : int
        Network evaluations.
    device : torch.device
        Where to compute.
    run : callable
        Makes the run; by default without guidance.

    Returns
    -------
    Tensor of float32, shape (windows, draws, tokens), on the CPU
        Of no meaning at known tokens.
    """
    network = network.to(device).eval()
    n_windows, n_draws, n_tokens = noise.shape
    grid = flow_grid(nfe)
    denoiser = window_denoiser(network)

    def draw(rows: slice) -> Tensor:
        given = WindowCondition(
            torch.from_numpy(inputs[rows]).float().to(device), torch.from_numpy(unknown[rows]).to(device)
        )
        with torch.inference_mode():
            condition = network.encode(given, n_draws)
        x = noise[rows].reshape(-1, n_tokens).to(device)
        drawn = run(denoiser, grid, State(x), condition)
        return drawn.cpu().reshape(-1, n_draws, n_tokens)

    width = network.perceptron.output.weight.shape[1]
    bytes_per_window = 4 * n_draws * network.n_members * (3 * width + 5 * n_tokens)
    return torch.cat(map_chunks(draw, n_windows, bytes_per_window))
