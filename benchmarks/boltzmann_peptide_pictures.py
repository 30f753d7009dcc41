"""Pictures of alanine dipeptide: Ramachandran maps, free energies along phi, and energies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from boltzmann_peptide_rows import KT_COLD, profile_of
from boltzmann_peptide_sets import Draws
from survival_pictures import new_figure, save_figure

from sciffusion.domains.boltzmann import plot_free_energy_profiles, plot_ramachandran

__all__ = ["draw_pictures"]

MAPS = ("300 K", "300 K, OpenMM", "600 K", "600 K reweighted", "pure guidance", "G-SMC", "VCG-SMC")
PROFILES = ("300 K, other seed", "600 K reweighted", "pure guidance", "G-SMC", "VCG-SMC")


def draw_pictures(sets: Mapping[str, Draws], folder: Path) -> None:
    """Write `ramachandran.png` and `profiles.png`.

    Parameters
    ----------
    sets : mapping of str to Draws
        By name; those that the pictures show are picked.
    folder : Path
        Where the pictures go.
    """
    new_figure()  # chooses a backend that needs no display
    maps = {name: sets[name].torsions for name in MAPS if name in sets}
    save_figure(plot_ramachandran(maps, kT=KT_COLD, units="kJ/mol"), folder / "ramachandran.png")
    profiles = {name: profile_of(sets[name]) for name in PROFILES if name in sets}
    figure = plot_free_energy_profiles(
        profiles,
        profile_of(sets["300 K"]),
        coordinate="φ (degrees)",
        units="kJ/mol",
        angle=True,
        highest=40.0,
    )
    save_figure(figure, folder / "profiles.png")
