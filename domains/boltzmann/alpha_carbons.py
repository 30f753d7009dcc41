"""Alpha carbons of a protein structure: what a coarse model of one bead a residue needs.

Structures are read by OpenMM, which comes with the extra "boltzmann" and brings one of its own: the villin
headpiece (mutant N68H, 35 residues) in a box of water, from its package data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciffusion.estimators.imports import optional_import

__all__ = ["AlphaCarbons", "load_villin", "read_alpha_carbons"]

#: Farthest that neighbours along a whole chain can be, in nm: trans peptides have .38.
_BROKEN = 0.45


@dataclass(frozen=True, eq=False)
class AlphaCarbons:
    """One bead a residue.

    Parameters
    ----------
    positions : Tensor
        Float64 of shape ``(residues, 3)``, in nm.
    residues : tuple of str
        Names with numbers, such as ``"LEU1"``.
    """

    positions: Tensor
    residues: tuple[str, ...]


def read_alpha_carbons(path: str | Path) -> AlphaCarbons:
    """Read the alpha carbons of one protein chain from a PDB file.

    Parameters
    ----------
    path : str or Path
        A file of the Protein Data Bank's format; water and ions are passed over.

    Returns
    -------
    AlphaCarbons
        Positions in nm, and residues, in the order of the chain.

    Raises
    ------
    ImportError
        Without OpenMM (extra "boltzmann").
    FileNotFoundError
        Where there is no such file.
    ValueError
        For fewer than four alpha carbons, or neighbours more than .45 nm apart: several chains, missing
        residues, or a molecule cut by the walls of a periodic box.
    """
    app = optional_import("openmm.app", "boltzmann")
    unit = optional_import("openmm.unit", "boltzmann")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no PDB file at {path}")
    file = app.PDBFile(str(path))
    # The calcium ion is called CA, too, but its element is not carbon.
    kept = [
        atom
        for atom in file.topology.atoms()
        if atom.name == "CA" and atom.element is not None and atom.element.symbol == "C"
    ]
    everything = file.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    positions = torch.from_numpy(np.array(everything, dtype=np.float64)[[atom.index for atom in kept]])
    residues = tuple(f"{atom.residue.name}{atom.residue.id}" for atom in kept)
    if len(kept) < 4:
        raise ValueError(f"path must hold a protein of at least four residues, got {len(kept)} alpha carbons")
    gaps: Tensor = torch.linalg.vector_norm(positions.diff(dim=0), dim=1)
    wide = gaps > _BROKEN
    if bool(wide.any()):
        place = int(wide.nonzero()[0])
        raise ValueError(
            f"path must hold one whole chain: {residues[place]} and {residues[place + 1]} are "
            f"{float(gaps[place]):.2f} nm apart, expected at most {_BROKEN} nm"
        )
    return AlphaCarbons(positions, residues)


def load_villin() -> AlphaCarbons:
    """Return the alpha carbons of the villin headpiece, from the structure that OpenMM brings along.

    Returns
    -------
    AlphaCarbons
        35 residues of the mutant N68H, three helices.

    Raises
    ------
    ImportError
        Without OpenMM (extra "boltzmann").
    """
    app = optional_import("openmm.app", "boltzmann")
    return read_alpha_carbons(Path(str(app.__file__)).parent / "data" / "test.pdb")
