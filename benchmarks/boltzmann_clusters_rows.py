"""Draws of trained models for the benchmark of the clusters, kept on disk, and what is measured of them.

Every system of particles is drawn and kept by itself, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.datasets import ParticleDataset
from sciffusion.datasets.particles_cache import Arrays, cached_arrays
from sciffusion.domains.boltzmann import BoltzmannReference
from sciffusion.sampling.driftlite import AnalyticReward

__all__ = [
    "METHODS",
    "TASKS",
    "ClusterTask",
    "Plan",
    "SystemDraws",
    "draw_systems",
    "file_digest",
    "floor_rows",
    "measure",
    "pooled",
    "trap",
    "weights_row",
]

Floats = NDArray[np.float64]
METHODS: dict[str, dict[str, Any]] = {
    "pure guidance": {"control": "guidance"},
    "G-SMC": {"control": "none"},
    "G-SMC, equal time": {"control": "none"},
    "VCG": {"control": "vcg", "resample": False},
    "VCG-SMC": {"control": "vcg"},
    "VCG-SMC, no Langevin": {"control": "vcg", "langevin_steps": 0},
    "ECG-SMC": {"control": "ecg"},
}


@dataclass(frozen=True)
class ClusterTask:
    """One law to draw from with a model of another.

    Parameters
    ----------
    name : str
        In tables.
    system : {"dw4", "lj13"}
        Which cluster, and which model.
    training, reference : str
        Names in `boltzmann_sets.SETS` of the law of the model and of that to draw from.
    temperature : float
        Of the draws.
    strength : float
        Of the added trap; 0 for annealing.
    systems : dict of str to int
        Systems of particles of each method.
    """

    name: str
    system: str
    training: str
    reference: str
    temperature: float
    strength: float
    systems: dict[str, int]

    @property
    def stem(self) -> str:
        """Name in files."""
        return f"{self.system}_{'tilting' if self.strength else 'annealing'}"


_ALL = {"pure guidance": 5, "G-SMC": 5, "G-SMC, equal time": 1, "VCG": 2, "VCG-SMC": 5,
        "VCG-SMC, no Langevin": 2, "ECG-SMC": 2}  # fmt: skip
_FEWER = {"pure guidance": 2, "G-SMC": 5, "G-SMC, equal time": 1, "VCG": 1, "VCG-SMC": 5,
          "VCG-SMC, no Langevin": 1}  # fmt: skip
_FEWEST = {"pure guidance": 1, "G-SMC": 1, "VCG-SMC": 1}
TASKS = {
    task.stem: task
    for task in (
        ClusterTask("DW-4 annealed from 2 to 1", "dw4", "dw4 T=2", "dw4 T=1", 1.0, 0.0, _ALL),
        ClusterTask("DW-4 tilted by a trap of .5 at 2", "dw4", "dw4 T=2", "dw4 T=2, trap .5", 2.0, 0.5, _ALL),
        ClusterTask("LJ-13 annealed from 1 to .4", "lj13", "lj13 T=1", "lj13 T=.4", 0.4, 0.0, _FEWER),
        ClusterTask(
            "LJ-13 tilted by a trap of .8 at 1", "lj13", "lj13 T=1", "lj13 T=1, trap 1.8", 1.0, 0.8, _FEWEST
        ),
    )
}


@dataclass(frozen=True)
class Plan:
    """How much is drawn.

    Parameters
    ----------
    particles : int
        Of a system; particles of a system share weights and control.
    most_systems : int
        Upper limit on the systems of a method.
    nfe : int or None
        Score evaluations a particle; the model's own where None.
    """

    particles: int = 2000
    most_systems: int = 5
    nfe: int | None = None


class Sampler(Protocol):
    """What is asked of a model."""

    def sample(self, n: int, **settings: Any) -> Any:
        """Draw weighted configurations."""
        ...


@dataclass(frozen=True, eq=False)
class SystemDraws:
    """Weighted draws of one system, or of several together.

    Parameters
    ----------
    configurations : ndarray of shape (n, atoms, dimensions)
        Where finite.
    log_weights : ndarray of shape (n,)
    ess : ndarray of shape (steps, systems)
        Effective share of particles; empty without weights.
    ancestors, resamplings : ndarray of shape (systems,)
        Different ancestors over particles, and how often particles were resampled.
    log_normaliser : ndarray of shape (systems,)
    cpu_seconds, lost : float
        Of drawing; share of particles that were not finite.
    """

    configurations: NDArray[np.float32]
    log_weights: Floats
    ess: Floats
    ancestors: Floats
    resamplings: Floats
    log_normaliser: Floats
    cpu_seconds: float
    lost: float


def trap(strength: float, atoms: int, dimensions: int) -> AnalyticReward:
    """Return the energy of a harmonic trap around the centre, strength / 2 sum |x|^2 of centred positions."""

    def energy(x: Tensor) -> Tensor:
        return 0.5 * strength * x.square().sum((1, 2))

    def gradient(x: Tensor) -> Tensor:
        return strength * x

    def laplacian(x: Tensor) -> Tensor:
        return x.new_full((len(x),), strength * (atoms - 1) * dimensions)

    return AnalyticReward(energy, gradient, laplacian)


def file_digest(path: Path) -> str:
    """Return what tells one model file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def draw_systems(
    model: Sampler,
    digest: str,
    task: ClusterTask,
    method: str,
    plan: Plan,
    folder: Path,
    tell: Callable[[str], None] = print,
) -> list[SystemDraws]:
    """Return all systems of a method, drawn or from the cache.

    Parameters
    ----------
    model : Sampler
        Fitted.
    digest : str
        Of its file: draws of another model are not taken.
    task, method, plan
        What to draw.
    folder : Path
        Of the cache.
    tell : callable
        Is told of every system in a line.

    Raises
    ------
    ValueError
        As `sample`: for a control that the model cannot have.
    """
    found = []
    for number in range(min(task.systems[method], plan.most_systems)):
        known = {"model": digest, "task": task.stem, "method": method, "number": number, "nfe": plan.nfe}
        key = known | {"particles": plan.particles, "settings": METHODS[method], "version": 1}

        def draw(number: int = number) -> Arrays:
            arrays = _draw(model, task, method, plan, number)
            tell(f"{task.name}, {method}, system {number + 1}: {float(arrays['cpu_seconds']):.0f} CPU s")
            return arrays

        name = f"{task.stem}-{method.replace(' ', '_').replace(',', '')}-{number}"
        found.append(_system(cached_arrays(name, key, draw, folder=folder)))
    return found


def _draw(model: Sampler, task: ClusterTask, method: str, plan: Plan, number: int) -> Arrays:
    atoms, dimensions = {"dw4": (4, 2), "lj13": (13, 3)}[task.system]
    settings = dict(METHODS[method]) | ({} if plan.nfe is None else {"nfe": plan.nfe})
    if task.strength:
        settings["potential"] = trap(task.strength, atoms, dimensions)
    started = time.process_time()
    drawn = model.sample(
        plan.particles, temperature=task.temperature, particles=plan.particles, random_state=number,
        **settings,
    )  # fmt: skip
    seconds = time.process_time() - started
    weighted = len(drawn.log_normaliser) > 0
    return {
        "configurations": np.asarray(drawn.configurations, dtype=np.float32),
        "log_weights": np.asarray(drawn.log_weights, dtype=np.float64),
        "ess": np.asarray(drawn.ess, dtype=np.float64),
        "ancestors": np.array([drawn.unique_ancestors / plan.particles if weighted else math.nan]),
        "resamplings": np.asarray(drawn.resamplings if weighted else [math.nan], dtype=np.float64),
        "log_normaliser": np.asarray(drawn.log_normaliser if weighted else [math.nan], dtype=np.float64),
        "cpu_seconds": np.array(seconds),
    }


def _system(arrays: Arrays) -> SystemDraws:
    x, logs = arrays["configurations"], arrays["log_weights"]
    kept = np.isfinite(x).all((1, 2)) & ~np.isnan(logs)
    rest = [arrays[name] for name in ("ess", "ancestors", "resamplings", "log_normaliser")]
    return SystemDraws(x[kept], logs[kept], *rest, float(arrays["cpu_seconds"]), 1.0 - float(kept.mean()))


def pooled(systems: Sequence[SystemDraws]) -> SystemDraws:
    """Return all systems together, each with the same weight."""
    names = ("configurations", "log_weights", "ancestors", "resamplings", "log_normaliser")
    levelled = [replace(one, log_weights=_levelled(one.log_weights)) for one in systems]
    parts = {name: np.concatenate([getattr(one, name) for one in levelled]) for name in names}
    return SystemDraws(
        **parts,
        ess=np.concatenate([one.ess for one in systems], axis=1),
        cpu_seconds=sum(one.cpu_seconds for one in systems),
        lost=float(np.mean([one.lost for one in systems])),
    )


def _levelled(log_weights: Floats) -> Floats:
    """Return log weights of which the weights sum to 1."""
    return log_weights - np.logaddexp.reduce(log_weights)


def measure(systems: Sequence[SystemDraws], reference: BoltzmannReference) -> pd.DataFrame:
    """Return the measures of all systems together ("pooled"), and mean and deviation over systems."""
    together = pooled(systems)
    whole = reference.compare(together.configurations, together.log_weights)
    each = pd.DataFrame([reference.compare(one.configurations, one.log_weights) for one in systems])
    deviation = each.std(ddof=1) if len(each) > 1 else each.iloc[0] * math.nan
    return pd.DataFrame({"pooled": pd.Series(whole), "mean": each.mean(), "deviation": deviation})


def weights_row(systems: Sequence[SystemDraws]) -> dict[str, float]:
    """Return what weights did, means over systems, and the costs."""
    together = pooled(systems)
    logs = together.log_normaliser
    count = len(together.log_weights)
    return {
        "systems": len(systems),
        "min_ess": float(together.ess.min()) if together.ess.size else math.nan,
        "resamplings": float(together.resamplings.mean()),
        "ancestors": float(together.ancestors.mean()),
        "log_normaliser": float(logs.mean()),
        "log_normaliser_error": float(logs.std(ddof=1) / math.sqrt(len(logs))) if len(logs) > 1 else math.nan,
        "cpu_seconds": together.cpu_seconds,
        "cpu_ms": 1e3 * together.cpu_seconds / max(count, 1),
        "lost": together.lost,
    }


def floor_rows(reference: BoltzmannReference, other: ParticleDataset, count: int, most: int) -> pd.DataFrame:
    """Return the measures of blocks of another run of the reference, one row a block of ``count`` draws."""
    blocks = min(most, len(other) // count)
    rows = []
    for block in range(blocks):
        chosen = slice(block * count, (block + 1) * count)
        rows.append(reference.compare(other.configurations[chosen], energies=other.energies[chosen]))
    return pd.DataFrame(rows)
