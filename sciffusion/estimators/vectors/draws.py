"""Draws of standardised rows given their observed coordinates, and tables of given values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ...continuous import DPMSolverMultistep
from ...sampling import State, power_grid, sample
from ..chunking import map_chunks
from ..random_state import private_generator
from .columns import column_positions
from .network import PATH, VectorNetwork, vector_denoiser

__all__ = ["draw_vectors", "given_table"]

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


def given_table(
    given: Mapping[Any, float] | pd.DataFrame | None, names: list[str] | None, n_features: int
) -> tuple[Floats, pd.Index[Any] | None]:
    """Return a table of cases, NaN where nothing is given, and its index if the cases came with one.

    Raises
    ------
    TypeError, ValueError
        If `given` is neither a mapping nor a frame, names a column that does not exist, or holds a value
        that is missing, infinite or no number.
    """
    if given is None:
        return np.full((1, n_features), np.nan), None
    if isinstance(given, pd.DataFrame):
        columns, index = list(given.columns), given.index
        content = given.to_numpy()
    elif isinstance(given, Mapping):
        columns, index = list(given), None
        content = np.array([list(given.values())], dtype=object)
    else:
        raise TypeError(
            f"given must be a mapping from columns to values or a frame, got {type(given).__name__}"
        )
    if not columns or not len(content):
        raise ValueError("given must hold at least one column and one case; leave it out to draw freely")
    places = column_positions(columns, names, n_features, "given")
    try:
        numbers = np.asarray(content, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"given must hold numbers, got {content[0].tolist()}") from error
    if not np.isfinite(numbers).all():
        raise ValueError("given must hold finite values; leave out the columns whose value is not known")
    table = np.full((len(numbers), n_features), np.nan)
    table[:, places] = numbers
    return table, index
