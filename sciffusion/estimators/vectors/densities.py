"""Log densities of standardised rows under a fitted network, in chunks, with their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...sampling import power_grid
from ..chunking import map_chunks
from .flow import flow_log_density, rademacher_probes
from .network import PATH, VectorNetwork, vector_denoiser

__all__ = ["EXACT_UP_TO", "LogDensityRows", "flow_times", "in_double", "log_density_rows"]

Floats = NDArray[np.float64]
_Network = TypeVar("_Network", bound=nn.Module)

#: Columns up to which the divergence is exact unless the caller says otherwise.
EXACT_UP_TO = 32

_MAX_NOISE = 250.0  # where the flow ends, in standard deviations of the data
_EVALUATIONS_A_STEP = 4


class LogDensityRows(NamedTuple):
    """Log densities in standardised units and their errors, each of shape (rows,)."""

    log_density: Floats
    standard_error: Floats
    step_error: Floats


def flow_times(nfe: int, min_noise: float) -> Tensor:
    """Return increasing times for an even number of Runge-Kutta steps within ``nfe`` evaluations."""
    n_steps = max(2 * (nfe // (2 * _EVALUATIONS_A_STEP)), 2)
    ends = [float(PATH.time_of_log_snr(-math.log(level))) for level in (_MAX_NOISE, min_noise)]
    return power_grid(PATH, n_steps, start=ends[0], end=ends[1]).flip(0)


def in_double(network: _Network, device: torch.device) -> _Network:
    """Return a copy for evaluation on a device, in float64 where the device has it.

    In double precision a row's result does not depend on the rows beside it beyond the last digits.
    """
    copy = deepcopy(network).to(device).eval()
    return copy if device.type == "mps" else copy.double()


def log_density_rows(
    network: VectorNetwork,
    values: Tensor,
    *,
    device: torch.device,
    nfe: int,
    min_noise: float,
    known: Tensor | None = None,
    n_probes: int | None = None,
    generator: torch.Generator,
    with_step_error: bool = False,
) -> LogDensityRows:
    """Return the log density of standardised rows.

    Parameters
    ----------
    network : VectorNetwork
        Fitted.
    values : Tensor of float64, shape (rows, dim)
        Standardised rows.
    device : torch.device
        Where to compute.
    nfe : int
        Network evaluations, at least 8.
    min_noise : float
        Noise level at which the flow starts.
    known : Tensor of bool, shape (dim,), optional
        Coordinates to condition on.
    n_probes : int, optional
        Probes of Hutchinson's estimate; exact divergence without.
    generator : torch.Generator
        Draws the probes; on the CPU.
    with_step_error : bool
        Integrate a second time with half as many steps; the error is 0 without.
    """
    double = in_double(network, device)
    denoiser = vector_denoiser(double)
    dtype = next(double.parameters()).dtype
    times = flow_times(nfe, min_noise)
    probes = None if n_probes is None else rademacher_probes(n_probes, values.shape[1], generator)

    def score(rows: slice) -> tuple[Floats, Floats, Floats]:
        x = values[rows].to(device, dtype)
        fine = flow_log_density(denoiser, x, times, known=known, probes=probes)
        error = torch.zeros_like(fine.log_density)
        if with_step_error:
            coarse = flow_log_density(denoiser, x, times[::2], known=known, probes=probes)
            error = (fine.log_density - coarse.log_density).abs()
        found = (fine.log_density, fine.standard_error, error)
        first, second, third = (one.cpu().to(torch.float64).numpy() for one in found)
        return first, second, third

    width = network.perceptron.output.weight.shape[1]
    bytes_per_row = 8 * network.n_members * (12 * width + 8 * network.dim)
    return LogDensityRows(*_joined(score, len(values), bytes_per_row))


def _joined(
    score: Callable[[slice], tuple[Floats, Floats, Floats]], n_rows: int, bytes_per_row: int
) -> tuple[Floats, Floats, Floats]:
    parts = map_chunks(score, n_rows, bytes_per_row)
    first, second, third = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, third
