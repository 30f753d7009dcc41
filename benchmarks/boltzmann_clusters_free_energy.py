r"""Free energies of the clusters without any sampler of the library.

With :math:`Z(T) = \int e^{-E(x)/T}\,dx` over centred positions and :math:`\gamma = T_0/T`, a model of the law
p at :math:`T_0` estimates

.. math:: \log\int p^\gamma\,dx = \log Z(T) - \gamma \log Z(T_0), \qquad
   \log\int p\,e^{-V/T_0}\,dx = \log \mathrm{E}_p\,e^{-V/T_0} .

:math:`\log Z` is found by importance sampling from a Gaussian at a temperature where that is easy, and taken
to others by thermodynamic integration of the mean energies of replica exchange over :math:`\beta = 1/T`,

.. math:: \log Z(T_2) = \log Z(T_1) - \int_{1/T_1}^{1/T_2} \langle E\rangle\,d\beta ,

along a cubic spline. The second is a mean over configurations simulated at :math:`T_0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from sciffusion.datasets import ParticleDataset
from sciffusion.datasets.particles_cache import Arrays, cached_arrays

__all__ = ["Known", "annealing_constant", "integrate_energies", "log_partition", "tilting_constant"]

Floats = NDArray[np.float64]
_CHUNK = 100_000


class Known(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


class Cluster(Protocol):
    """What is asked of a system."""

    n: int
    dimensions: int

    def __call__(self, configurations: torch.Tensor) -> torch.Tensor:
        """Return energies."""
        ...


def log_partition(system: Cluster, temperature: float, spread: float, count: int, seed: int = 0) -> Known:
    """Return the log of the integral of the Boltzmann factor, by importance sampling.

    Parameters
    ----------
    system : energy function with ``n`` and ``dimensions``
        The cluster.
    temperature : float
        In reduced units.
    spread : float
        Standard deviation of each free coordinate of the Gaussian drawn from.
    count : int
        Draws.
    seed : int
        Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    dof = (system.n - 1) * system.dimensions
    normaliser = -0.5 * dof * math.log(2.0 * math.pi * spread**2)
    logs = []
    for start in range(0, count, _CHUNK):
        shape = (min(_CHUNK, count - start), system.n, system.dimensions)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        noise -= noise.mean(1, keepdim=True)
        density = normaliser - 0.5 * noise.square().sum((1, 2))
        with torch.inference_mode():
            logs.append(-system(spread * noise) / temperature - density)
    found = torch.cat(logs)
    total = torch.logsumexp(found, 0)
    shares = (found - total).exp() * count  # mean 1
    return Known(float(total) - math.log(count), float(shares.std()) / math.sqrt(count))


def integrate_energies(temperatures: Floats, energies: Floats, start: float, stop: float) -> float:
    """Return the integral of mean energies over the inverse temperature, from one temperature to another."""
    order = np.argsort(1.0 / temperatures)
    curve = CubicSpline((1.0 / temperatures)[order], energies[order])
    return float(curve.integrate(1.0 / start, 1.0 / stop))


def _log_partition_cached(
    system: Cluster, temperature: float, spread: float, count: int, folder: Path
) -> Known:
    def compute() -> Arrays:
        return {"found": np.array(log_partition(system, temperature, spread, count))}

    settings = {"system": repr(system), "temperature": temperature, "spread": spread, "count": count}
    return Known(*cached_arrays("partition", settings, compute, folder=folder)["found"].tolist())


def annealing_constant(
    training: ParticleDataset, references: list[ParticleDataset], folder: Path, *, quick: bool
) -> Known:
    """Return the log integral of the annealed density (see above), with its error.

    Parameters
    ----------
    training : ParticleDataset
        At the temperature of the model.
    references : list of ParticleDataset
        Independent runs at the target temperature.
    folder : Path
        Of the cache.
    quick : bool
        A hundredth of the draws.
    """
    system, hot, cold = training.energy, training.temperature, references[0].temperature
    few = 100 if quick else 1
    if training.dimensions == 2:  # 6 free coordinates: both integrals directly
        counts = {hot: 10_000_000, cold: 30_000_000}
        at_hot, at_cold = (
            _log_partition_cached(system, heat, 2.4, counts[heat] // few, folder)  # type: ignore[arg-type]
            for heat in (hot, cold)
        )
        return Known(
            at_cold.value - hot / cold * at_hot.value, math.hypot(at_cold.error, hot / cold * at_hot.error)
        )
    return _integrated(system, hot, cold, references, folder, 2_000_000 // few)  # type: ignore[arg-type]


def _integrated(
    system: Cluster, hot: float, cold: float, references: list[ParticleDataset], folder: Path, count: int
) -> Known:
    """Integrate from the highest temperature of the ladder; the error is that between the runs."""
    anchor = float(np.max(references[0].diagnostics["temperatures"]))
    at_anchor = _log_partition_cached(system, anchor, math.sqrt(anchor), count, folder)
    found = []
    for run in references:
        ladder, means = run.diagnostics["temperatures"], run.diagnostics["mean_energies"]
        to_hot, to_cold = (integrate_energies(ladder, means, anchor, heat) for heat in (hot, cold))
        found.append(-to_cold + hot / cold * to_hot)
    between = float(np.std(found, ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    own = abs(1.0 - hot / cold)
    return Known(float(np.mean(found)) + (1.0 - hot / cold) * at_anchor.value,
                 math.hypot(between, own * at_anchor.error))  # fmt: skip


def tilting_constant(training: ParticleDataset, potential: Callable[[torch.Tensor], torch.Tensor]) -> Known:
    """Return the log mean of the tilt over simulated configurations, with its error.

    Parameters
    ----------
    training : ParticleDataset
        At the temperature of model and target.
    potential : callable
        The added energy, of centred positions.

    Notes
    -----
    The error counts the effective draws of the energy; where the radius forgets more slowly, as in DW-4, it
    is about 1.4 times as large.
    """
    x = torch.from_numpy(training.configurations).double()
    logs = -potential(x - x.mean(1, keepdim=True)) / training.kT
    total = torch.logsumexp(logs, 0)
    shares = (logs - total).exp() * len(logs)
    size = float(training.diagnostics["effective_size"])
    return Known(float(total) - math.log(len(logs)), float(shares.std()) / math.sqrt(size))
