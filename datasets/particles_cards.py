"""`ParticleCard`: what is known about a set of configurations of particles, and the cards of the clusters."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column

__all__ = ["DW4", "LJ13", "ParticleCard"]


@dataclass(frozen=True)
class ParticleCard(Card):
    """Description of a sampled system of particles.

    Parameters
    ----------
    name, title : str
        Short name, and one line in words.
    loader : str
        Name of the function that returns the set.
    citation, licence : str
        Where the system comes from; terms of the numbers and of what they were made with.
    n_atoms, dimensions : int
        Particles of a configuration, and coordinates of a particle.
    units, length_unit : str
        Unit of energies ("reduced" or "kJ/mol") and of lengths ("reduced" or "nm").
    potential : str
        The energy in words or as an equation, with its conventions.
    sampling : str
        How configurations are drawn: integrator, step, exchange, what was removed.
    columns : tuple of Column
        Meaning of the arrays of the set.
    notes : tuple of str
        What a careful user should know besides.
    """

    name: str
    title: str
    loader: str
    citation: str
    licence: str
    n_atoms: int
    dimensions: int
    units: str
    length_unit: str
    potential: str
    sampling: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Where the set comes from: "make" (simulated) or "load" (in an installed package)."""
        return self.loader.partition("_")[0]

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        return [
            ("loader", f"{self.loader}()"),
            ("particles", f"{self.n_atoms} in {self.dimensions} dimensions"),
            ("potential", self.potential),
            ("units", f"energies {self.units}, lengths {self.length_unit}"),
            ("sampling", self.sampling),
            ("source", self.citation),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [("columns", tuple(map(str, self.columns))), ("notes", self.notes)]
        return [(key, values) for key, values in lists if values]


_COLUMNS = (
    Column("configurations", "positions, centre of mass at the origin", "reduced"),
    Column("energies", "potential energy", "reduced"),
    Column("forces", "minus the gradient of the energy", "reduced"),
)
_SAMPLING = (
    "Langevin dynamics (BAOAB, step 0.01, mass 1, friction 1) at several temperatures with replica exchange, "
    "centre of mass removed, kept states then turned, mirrored and renumbered at random"
)
_LICENCE = "none needed, the configurations are simulated"
_CORRELATED = (
    "successive states of a chain are correlated: the effective number of independent draws is below the "
    "number of rows; `diagnostics` holds rates of exchange and R-hat of the energy"
)

DW4 = ParticleCard(
    name="dw4",
    title="Four particles in the plane joined by double wells (DW-4)",
    loader="make_dw4",
    citation="Köhler, Klein and Noé, Equivariant flows, arXiv 2006.02425; sampled by this library",
    licence=_LICENCE,
    n_atoms=4,
    dimensions=2,
    units="reduced",
    length_unit="reduced",
    potential=(
        "sum over distinct pairs of a y + b y^2 + c y^4, y = distance - 4, a = 0, b = -4, c = 0.9, plus "
        "0.5 oscillator sum of squared distances to the centre of mass (oscillator = 0)"
    ),
    sampling=_SAMPLING,
    columns=_COLUMNS,
    notes=(
        "each pair prefers one of two distances, about 2.5 and 5.5, not all of which fit together",
        "other codes sum over ordered pairs and so have twice this energy",
        _CORRELATED,
    ),
)

LJ13 = ParticleCard(
    name="lj13",
    title="Thirteen Lennard-Jones particles in a weak trap (LJ-13)",
    loader="make_lj13",
    citation="Köhler, Klein and Noé, Equivariant flows, arXiv 2006.02425; sampled by this library",
    licence=_LICENCE,
    n_atoms=13,
    dimensions=3,
    units="reduced",
    length_unit="reduced",
    potential=(
        "sum over distinct pairs of epsilon ((r_min / d)^12 - 2 (r_min / d)^6), epsilon = r_min = 1, plus "
        "0.5 oscillator sum of squared distances to the centre of mass (oscillator = 1)"
    ),
    sampling=_SAMPLING,
    columns=_COLUMNS,
    notes=(
        "the lowest energy without the trap is -44.3268, an icosahedron around one particle; below a "
        "temperature of about 0.4 chains leave it rarely",
        "other codes sum over ordered pairs and so have twice this energy of the pairs",
        _CORRELATED,
    ),
)
