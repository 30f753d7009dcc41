"""From runs of particles to a `BoltzmannSample` in the units of the data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.sampling import SampleResult
from sciffusion.sampling.smc import ParticleReport

from .boltzmann_sample import BoltzmannSample
from .chirality import fold_mirror_images
from .draws import ScoreSource

__all__ = ["Law", "assemble", "check_exponent", "divide"]

_LARGEST_EXPONENT = 20.0


class Law(NamedTuple):
    """The law drawn from: temperature, thermal energy, exponent, and the hand wanted of a chiral centre.

    `symmetric` says that the model is an even mixture of both hands; else it has learned the one.
    """

    temperature: float
    kt: float
    gamma: float
    chiral_centre: tuple[int, ...] | None
    hand: int
    symmetric: bool


def check_exponent(gamma: float, temperature: float, training_temperature: float) -> float:
    """Return the exponent of a law, or raise ``ValueError`` if its temperature is too far from the data's."""
    if not 1.0 / _LARGEST_EXPONENT <= gamma <= _LARGEST_EXPONENT:
        low, high = training_temperature / _LARGEST_EXPONENT, training_temperature * _LARGEST_EXPONENT
        raise ValueError(
            f"temperature must lie between {low:.4g} and {high:.4g}, a factor of {_LARGEST_EXPONENT:g} from "
            f"the {training_temperature:.4g} of the training data, got {temperature:.4g}: configurations so "
            "different were never seen; train at a temperature nearer to it"
        )
    return gamma


def divide(n: int, particles: int) -> list[int]:
    """Return nearly equal numbers of particles of as few systems as hold ``n``, each at least 2.

    An odd ``n`` of systems of 2 leaves one system of 3.
    """
    systems = max(min(-(-n // particles), n // 2), 1)
    edges = [n * number // systems for number in range(systems + 1)]
    return [stop - start for start, stop in pairwise(edges)]


def assemble(runs: list[SampleResult], source: ScoreSource, law: Law, n: int) -> BoltzmannSample:
    """Join the runs of independent systems."""
    positions = torch.cat([run.samples for run in runs]).cpu().float() * source.length
    share = None
    if law.chiral_centre is not None:
        folded = fold_mirror_images(positions, law.chiral_centre, law.hand)
        positions, share = folded.configurations, folded.share
    reports = [run.particles for run in runs if run.particles is not None]
    log_normaliser = np.asarray([float(report.log_normaliser) for report in reports])
    log_normaliser = log_normaliser + _shift(source, law)
    return BoltzmannSample(
        configurations=positions.numpy(),
        log_weights=_log_weights(reports, n),
        ess=_joined([report.ess_history / report.count for report in reports]),
        ancestors=_ancestors(reports, n),
        resamplings=np.asarray([int(report.resamplings) for report in reports], dtype=np.int64),
        log_normaliser=log_normaliser,
        log_normaliser_error=_error(reports, log_normaliser),
        temperature=law.temperature,
        kT=law.kt,
        gamma=law.gamma,
        nfe=runs[0].nfe,
        reflected_share=share,
        variances=_variances(runs),
    )


def _shift(source: ScoreSource, law: Law) -> float:
    """Return what units and hands add to the log normaliser (see `sciffusion.domains.boltzmann.draws`)."""
    shift = -(law.gamma - 1.0) * source.dof * math.log(source.length)
    return shift + ((law.gamma - 1.0) * math.log(2.0) if law.symmetric else 0.0)


def _log_weights(reports: list[ParticleReport], n: int) -> NDArray[np.float64]:
    if not reports:
        return np.full(n, -math.log(n))
    parts = [report.log_weights.cpu().double() + math.log(report.count / n) for report in reports]
    joined: NDArray[np.float64] = torch.cat(parts).numpy()
    return joined


def _ancestors(reports: list[ParticleReport], n: int) -> NDArray[np.int64]:
    if not reports:
        return np.arange(n)
    joined: NDArray[np.int64] = torch.cat([report.ancestors.cpu() for report in reports]).numpy()
    return joined


def _joined(histories: list[Tensor]) -> NDArray[np.float64]:
    if not histories:
        return np.empty((0, 0))
    joined: NDArray[np.float64] = torch.cat(histories, -1).cpu().double().numpy()
    return joined


def _error(reports: list[ParticleReport], log_normaliser: NDArray[np.float64]) -> float:
    """Return the standard error of the mean log normaliser: between systems, or from one's genealogy."""
    if len(reports) > 1:
        return float(log_normaliser.std(ddof=1) / math.sqrt(len(reports)))
    return float(reports[0].log_normaliser_error) if reports else math.nan


def _variances(runs: list[SampleResult]) -> NDArray[np.float64]:
    """Return the variances of the weights' growth without and with control, ``(steps, 2, systems)``."""
    names = ("variance_guidance", "variance_potential")
    stacked = [torch.stack([run.trace[name] for name in names], 1) for run in runs]
    return _joined(stacked)
