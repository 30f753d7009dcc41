"""Card of alanine dipeptide: of the system, and of a set that was drawn."""

from __future__ import annotations

from dataclasses import replace

from .cards import Column
from .particles_cards import ParticleCard

__all__ = ["ALANINE_DIPEPTIDE", "alanine_dipeptide_card"]

_ENGINES = {
    "torch": (
        "Langevin dynamics (LFMiddle) of this library's batched force field with replica exchange up to a "
        "temperature at which all basins are visited"
    ),
    "openmm": "Langevin dynamics (LangevinMiddleIntegrator of OpenMM{version}), independent chains",
}
_SOURCE = (
    "Amber99SB-ILDN (Lindorff-Larsen et al., Proteins 78:1950-1958, 2010) and OBC II (Onufriev, Bashford and "
    "Case, Proteins 55:383-394, 2004) as in OpenMM{version}; sampled by this library"
)

#: The system, whatever simulates it and at which temperature.
ALANINE_DIPEPTIDE = ParticleCard(
    name="alanine_dipeptide",
    title="Alanine dipeptide (ACE-ALA-NME) in implicit water",
    loader="make_alanine_dipeptide",
    citation=_SOURCE.format(version=""),
    licence="none needed, the configurations are simulated",
    n_atoms=22,
    dimensions=3,
    units="kJ/mol",
    length_unit="nm",
    potential=(
        "harmonic bonds and angles, periodic torsions, charges and Lennard-Jones without cutoff, generalised "
        "Born solvent with surface term; no constraints"
    ),
    sampling="; or ".join(text.format(version="") for text in _ENGINES.values()) + "; centred, not turned",
    columns=(
        Column("configurations", "positions, geometric centre at the origin", "nm"),
        Column("energies", "potential energy", "kJ/mol"),
        Column("forces", "minus the gradient of the energy", "kJ/mol/nm"),
    ),
    notes=(
        "all configurations are L-alanine: a law that ignores mirror images has both hands",
        "hydrogens are heavier in the simulation, which does not change the law of the configurations",
        "phi above 0 is rare and reached slowly: `diagnostics` holds chains, rates of exchange and the R-hat "
        "of the energy and of the sign of phi",
    ),
)


def alanine_dipeptide_card(
    engine: str, temperature: float, step: float, length: float, chains: int, version: str
) -> ParticleCard:
    """Return the card of a set.

    Parameters
    ----------
    engine : {"torch", "openmm"}
        What simulated it.
    temperature, step, length : float
        In kelvin, femtoseconds, and nanoseconds of all chains at that temperature together.
    chains : int
        Independent chains.
    version : str
        Of OpenMM, whose files hold the force field.
    """
    sampling = (
        f"{_ENGINES[engine].format(version=f' {version}')}; {temperature:g} K, step {step:g} fs, "
        f"{chains} chains, {length:.3g} ns in all after the burn-in; centred, not turned"
    )
    return replace(ALANINE_DIPEPTIDE, citation=_SOURCE.format(version=f" {version}"), sampling=sampling)
