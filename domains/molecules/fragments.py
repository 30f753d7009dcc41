"""What molecules are built of: BRICS fragments and Murcko scaffolds, counted over a set.

Fragments are what is left when the bonds that chemists make are cut (Degen et al., On the art of compiling
and using drug-like chemical fragment spaces, 2008); a scaffold is the rings of a molecule and what links them
(Bemis and Murcko, The properties of known drugs, 1996).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sciffusion.estimators.imports import optional_import

__all__ = ["brics_fragments", "cosine_similarity", "murcko_scaffold"]

MIN_SCAFFOLD_RINGS = 2


def brics_fragments(molecule: Any) -> list[str]:
    """Return the fragments of an RDKit molecule as SMILES, with marks where bonds were cut."""
    chem = optional_import("rdkit.Chem", "molecules")
    return str(chem.MolToSmiles(chem.FragmentOnBRICSBonds(molecule))).split(".")


def murcko_scaffold(molecule: Any, *, min_rings: int = MIN_SCAFFOLD_RINGS) -> str | None:
    """Return the scaffold of an RDKit molecule as SMILES, None where it has fewer than `min_rings` rings."""
    if molecule.GetRingInfo().NumRings() < min_rings:
        return None
    chem = optional_import("rdkit.Chem", "molecules")
    scaffolds = optional_import("rdkit.Chem.Scaffolds.MurckoScaffold", "molecules")
    return str(chem.MolToSmiles(scaffolds.GetScaffoldForMol(molecule))) or None


def cosine_similarity(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    r"""Return the cosine of the angle between two vectors of counts, NaN if one is empty.

    .. math:: \frac{\sum_k a_k b_k}{\sqrt{\sum_k a_k^2} \sqrt{\sum_k b_k^2}}
    """
    if not first or not second:
        return float("nan")
    product = sum(count * second.get(key, 0) for key, count in first.items())
    return float(product / np.sqrt(float(_squares(first.values())) * float(_squares(second.values()))))


def _squares(counts: Iterable[int]) -> int:
    return sum(value * value for value in counts)
