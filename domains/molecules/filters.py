"""Filters of medicinal chemistry: which molecules nobody would want to make a drug of.

A molecule passes if it has only the elements H, C, N, O, S, F, Cl and Br, no charged atom, no ring of eight
or more atoms, and none of a list of patterns. The patterns are RDKit's catalogue of pan-assay interference
compounds (PAINS A, B and C, 480 patterns; Baell and Holloway, 2010), or those that a user gives, such as the
502 of MOSES that ``sciffusion.datasets.fetch_moses_filters`` fetches: then the share that passes is the
measure of MOSES.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sciffusion.estimators.imports import optional_import

__all__ = ["MoleculeFilter"]

ELEMENTS = frozenset({1, 6, 7, 8, 9, 16, 17, 35})
LONGEST_RING = 7


@dataclass(frozen=True)
class MoleculeFilter:
    """Say which molecules pass.

    Parameters
    ----------
    patterns : tuple of str or None
        SMARTS that a molecule must not contain, matched with explicit hydrogens; None for RDKit's PAINS.

    Raises
    ------
    ValueError
        At the first use, if a pattern is no SMARTS.
    """

    patterns: tuple[str, ...] | None = None

    @classmethod
    def from_patterns(cls, patterns: Sequence[str] | None) -> MoleculeFilter:
        """Return the filter of any sequence of SMARTS, or that of PAINS."""
        return cls(None if patterns is None else tuple(str(pattern) for pattern in patterns))

    def passes(self, molecule: Any) -> bool:
        """Whether an RDKit molecule passes."""
        if any(atom.GetFormalCharge() or atom.GetAtomicNum() not in ELEMENTS for atom in molecule.GetAtoms()):
            return False
        if any(len(ring) > LONGEST_RING for ring in molecule.GetRingInfo().AtomRings()):
            return False
        if self.patterns is None:
            return not _pains().HasMatch(molecule)
        hydrogens = optional_import("rdkit.Chem", "molecules").AddHs(molecule)
        return not any(hydrogens.HasSubstructMatch(query) for query in _queries(self.patterns))


@lru_cache(maxsize=1)
def _pains() -> Any:
    catalogue = optional_import("rdkit.Chem.FilterCatalog", "molecules")
    parameters = catalogue.FilterCatalogParams()
    parameters.AddCatalog(catalogue.FilterCatalogParams.FilterCatalogs.PAINS)
    return catalogue.FilterCatalog(parameters)


@lru_cache(maxsize=4)
def _queries(patterns: tuple[str, ...]) -> list[Any]:
    chem = optional_import("rdkit.Chem", "molecules")
    queries = [chem.MolFromSmarts(pattern) for pattern in patterns]
    for pattern, query in zip(patterns, queries, strict=True):
        if query is None:
            raise ValueError(f"the filter pattern {pattern!r} is no SMARTS")
    return queries
