"""The protein of the benchmark: settings, exact laws at the end of the grid, and what runs are measured by.

Every law is normal, or normal but for three numbers: mean, covariance and log normaliser are exact to
rounding or to a quadrature that settles below 1e-6. Laws are those of the state at the last time of the grid,
which has .002 nm of noise: this is what the particles aim at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciffusion.continuous import VariancePreserving
from sciffusion.domains.boltzmann import DistanceRestraint, ElasticNetwork, RestrainedLaw, restrained_law
from sciffusion.domains.boltzmann.units import thermal_energy
from sciffusion.exact import GaussianMixtureTarget, GaussianTarget
from sciffusion.exact.reweighted import reweighted_mixture
from sciffusion.sampling import SampleResult

__all__ = ["END", "PATH", "Reference", "Setting", "SystemValues", "time_grid"]

PATH = VariancePreserving()
#: Noise over signal at the end of the grid, in nm.
END = 0.002
#: Temperature of the model, in kelvin.
HOT = 600.0


@dataclass(frozen=True)
class Setting:
    """A law aimed at: temperature in kelvin, and the kind of restraint ("", "linear" or "true")."""

    name: str
    temperature: float = HOT
    kind: str = ""
    distance: float = 1.5
    stiffness: float = 500.0

    @property
    def gamma(self) -> float:
        """Exponent of the model's law."""
        return HOT / self.temperature

    @property
    def thermal_energy(self) -> float:
        """``k_B T`` of the law aimed at, in kJ/mol."""
        return thermal_energy(self.temperature, "kJ/mol")

    def restraint(self, network: ElasticNetwork) -> DistanceRestraint | None:
        """Give the restraint between first and last bead, None where the setting has none."""
        if not self.kind:
            return None
        true = DistanceRestraint(0, network.n_atoms - 1, self.distance, self.stiffness)
        return true.linearised(network) if self.kind == "linear" else true


def time_grid(steps: int) -> Tensor:
    """Give times evenly spaced in the log signal-to-noise ratio, an eighth of them before 2.7 nm of noise.

    There little is seen of a protein of 2 nm, and the sampler's steps are nearly exact however long.
    """
    ends = float(PATH.log_snr(1.0)), -1.0, -math.log(END)
    early = steps // 8
    log_snr = torch.cat(
        [
            torch.linspace(ends[0], ends[1], early + 1, dtype=torch.float64)[:-1],
            torch.linspace(ends[1], ends[2], steps - early + 1, dtype=torch.float64),
        ]
    )
    times = PATH.time_of_log_snr(log_snr)
    times[0] = 1.0
    return times


@dataclass(frozen=True, eq=False)
class SystemValues:
    """One run's weighted estimates: mean and covariance of coordinates, and the restrained distance."""

    mean: Tensor
    covariance: Tensor
    lengths: Tensor
    weights: Tensor

    @classmethod
    def of(cls, network: ElasticNetwork, samples: Tensor, weights: Tensor) -> SystemValues:
        """Take them from samples ``(count, atoms, 3)`` and weights ``(count,)`` of sum 1."""
        y = network.to_modes(samples.double())
        mean = weights @ y
        off = y - mean
        lengths = torch.linalg.vector_norm(samples[:, 0] - samples[:, -1], dim=-1).double()
        return cls(mean, (weights[:, None] * off).mT @ off, lengths, weights)

    def save(self, path: Path) -> None:
        """Write them, so that a resumed run has them for its picture."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ("mean", "covariance", "lengths", "weights")
        np.savez(path, **{name: getattr(self, name).numpy() for name in names})

    @classmethod
    def load(cls, path: Path) -> SystemValues:
        """Read them again."""
        with np.load(path) as file:
            return cls(**{name: torch.from_numpy(file[name]) for name in file.files})

    @property
    def mean_length(self) -> float:
        """Mean distance of first and last bead, in nm."""
        return float(self.weights @ self.lengths)


def _systems(network: ElasticNetwork, result: SampleResult, count: int) -> list[SystemValues]:
    samples = result.samples.reshape(-1, count, network.n_atoms, 3)
    equal = torch.full((count,), 1.0 / count, dtype=torch.float64)
    if result.particles is None:
        return [SystemValues.of(network, system, equal) for system in samples]
    weights = result.particles.log_weights.reshape(-1, count).softmax(-1)
    return [SystemValues.of(network, system, w) for system, w in zip(samples, weights, strict=True)]


class Reference:
    """The exact law of a setting, at the end of the grid and without noise."""

    def __init__(self, network: ElasticNetwork, setting: Setting) -> None:
        self.network, self.setting = network, setting
        restraint = setting.restraint(network)
        # Without a restraint a law needs none; one of no strength keeps one form for all settings.
        self._kept = restraint or DistanceRestraint(0, network.n_atoms - 1, 1.0, 1e-300)
        end = PATH.coefficients(time_grid(8)[-1])
        self.law, self.log_normaliser = self._exact(float(end.alpha), float(end.sigma))
        self.clean_log_normaliser = self._exact(1.0, 0.0)[1]
        self.mean, self.covariance = self.law.mean, self.law.covariance
        lengths, density = self.length_density(150)
        self.mean_length = float((lengths * density).sum() / density.sum())
        self._generator = torch.Generator().manual_seed(7919)

    def length_density(self, points: int, low: float = 0.4, high: float = 1.9) -> tuple[Tensor, Tensor]:
        """Give distances of first and last bead, in nm, and their exact density."""
        lengths = torch.linspace(low, high, points, dtype=torch.float64)
        return lengths, self.law.length_density(lengths, nodes=32)

    def _exact(self, alpha: float, sigma: float) -> tuple[RestrainedLaw, float]:
        hot = self.network.law(HOT)
        seen = GaussianTarget(alpha * hot.mean, alpha**2 * hot.variances + sigma**2)
        mixture = GaussianMixtureTarget(torch.ones(1, dtype=torch.float64), [seen])
        cooled = reweighted_mixture(mixture, self.setting.gamma)
        base = cooled.proposal.components[0]
        operator = self.network.difference(0, self.network.n_atoms - 1)
        law = restrained_law(base, operator, self._kept, self.setting.thermal_energy)
        return law, cooled.log_mass + law.log_normaliser

    def floors(self, count: int, repeats: int = 5) -> dict[str, float]:
        """Give what equally many exact draws would be measured at, on average."""
        equal = torch.full((count,), 1.0 / count, dtype=torch.float64)
        rows = []
        for _ in range(repeats):
            draws = self.network.from_modes(self.law.draw(count, self._generator))
            rows.append(self._distances(SystemValues.of(self.network, draws, equal)))
        names = ("mean_error", "covariance_error", "variance_error")
        return {f"{name}_floor": sum(row[name] for row in rows) / repeats for name in names}

    def _distances(self, values: SystemValues) -> dict[str, float]:
        variances = self.covariance.diagonal()
        covariance_error = (values.covariance - self.covariance).norm() / self.covariance.norm()
        return {
            "mean_error": float(((values.mean - self.mean) ** 2 / variances).mean().sqrt()),
            "covariance_error": float(covariance_error),
            "variance_error": float((values.covariance.diagonal() / variances - 1.0).abs().mean()),
            "length": values.mean_length,
            "length_exact": self.mean_length,
        }

    def rows(self, result: SampleResult, count: int) -> tuple[list[dict[str, float]], list[SystemValues]]:
        """Measure every system of a run: one row each, and the estimates themselves."""
        systems, report, rows = _systems(self.network, result, count), result.particles, []
        for place, values in enumerate(systems):
            row = self._distances(values)
            row["variance_guidance"] = float(result.trace["variance_guidance"][:, place].mean())
            row["variance"] = float(result.trace["variance_potential"][:, place].mean())
            if report is not None:
                estimate = float(report.log_normaliser[place])
                row["log_z"] = self.log_normaliser
                row["log_z_error"] = estimate - self.log_normaliser
                row["log_z_error_clean"] = estimate - self.clean_log_normaliser
                row["log_z_claimed"] = float(report.log_normaliser_error[place])
                row["min_ess"] = float(report.ess_history[:, place].min()) / count
                row["resamplings"] = int(report.resamplings[place])
                row["ancestors"] = int(report.unique_ancestors[place])
            rows.append(row)
        return rows, systems
