"""Draws of standardised rows given their observed coordinates."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ...continuous import DPMSolverMultistep
from ...sampling import State, power_grid, sample
from ..chunking import map_chunks
from ..random_state import private_generator
from .network import PATH, VectorNetwork, vector_denoiser

__all__ = ["draw_vectors"]

Floats = NDArray[np.float64]

_MAX_NOISE = 80.0  # where draws start, in standard deviations of the data


def draw_vectors(
    network: VectorNetwork,
    values: Floats,
    *,
    device: torch.device,
    nfe: int,
    min_noise: float,
    seed: int,
) -> Floats:
    """Return the rows with every NaN replaced by a draw given the observed coordinates.

    Parameters
    ----------
    network : VectorNetwork
        Fitted.
    values : ndarray of shape (rows, dim)
        Standardised rows, NaN where a value is to be drawn.
    device : torch.device
        Where to compute.
    nfe : int
        Network evaluations.
    min_noise : float
        Noise level of the last step before the data.
    seed : int
        Of the starting noise.
    """
    network = network.to(device).eval()
    start = float(PATH.time_of_log_snr(-math.log(_MAX_NOISE)))
    grid = power_grid(PATH, nfe, start=start, last_log_snr=-math.log(min_noise))

    def draw(rows: slice) -> Floats:
        part = torch.from_numpy(values[rows]).float()
        known = ~part.isnan()
        generator = private_generator(seed, rows.start)
        x = torch.where(known, part, torch.randn(part.shape, generator=generator, dtype=torch.float32))
        state = State(x.to(device), known=known.to(device) if bool(known.any()) else None)
        drawn = sample(vector_denoiser(network), DPMSolverMultistep(2), grid, state=state).samples
        result: Floats = drawn.cpu().to(torch.float64).numpy()
        return result

    width = network.perceptron.output.weight.shape[1]
    bytes_per_row = 4 * network.n_members * (4 * width + 8 * network.dim)
    return np.concatenate(map_chunks(draw, len(values), bytes_per_row))
