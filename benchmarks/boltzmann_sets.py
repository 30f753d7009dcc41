"""The sets of particles that the benchmarks of Boltzmann sampling train on and compare with.

Each is a call of `make_dw4` or `make_lj13` with long chains and a given seed; seeds 0 and 1 are independent
runs of the same law. Sets are kept in `build/boltzmann_references` and simulated where they are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sciffusion.datasets import ParticleDataset, make_dw4, make_lj13

__all__ = ["FOLDER", "SETS", "ParticleSet"]

FOLDER = Path("build/boltzmann_references")


@dataclass(frozen=True)
class ParticleSet:
    """One law and how many draws of it are wanted.

    Parameters
    ----------
    system : {"dw4", "lj13"}
        Which cluster.
    temperature, oscillator : float
        Temperature and strength of the trap, in reduced units.
    n : int
        Number of configurations.
    columns, thinning : int
        Independent chains, and steps between kept states of each. The energy of DW-4 forgets in about 100
        steps but its radius in about 900; LJ-13 forgets both in about 350 at its lowest temperature.
    """

    system: str
    temperature: float
    oscillator: float
    n: int
    columns: int
    thinning: int

    def load(self, seed: int = 0, *, quick: bool = False, folder: Path = FOLDER) -> ParticleDataset:
        """Return the set of a seed; a quick one has 2,000 configurations of short chains."""
        make = {"dw4": make_dw4, "lj13": make_lj13}[self.system]
        length = {} if quick else {"columns": self.columns, "thinning": self.thinning, "burn_in": 20_000}
        return make(
            2000 if quick else self.n,
            self.temperature,
            oscillator=self.oscillator,
            folder=folder,
            random_state=seed,
            **length,
        )


SETS = {
    "dw4 T=2": ParticleSet("dw4", 2.0, 0.0, 40_000, 128, 500),
    "dw4 T=1": ParticleSet("dw4", 1.0, 0.0, 40_000, 128, 500),
    "dw4 T=2, trap .5": ParticleSet("dw4", 2.0, 0.5, 40_000, 128, 500),
    "lj13 T=1": ParticleSet("lj13", 1.0, 1.0, 100_000, 64, 200),
    "lj13 T=.4": ParticleSet("lj13", 0.4, 1.0, 40_000, 64, 500),
    "lj13 T=1, trap 1.8": ParticleSet("lj13", 1.0, 1.8, 40_000, 64, 200),
}
