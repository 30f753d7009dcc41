"""`MoleculeSet`: what measures of a set of molecules are computed from, found in one pass over it.

A reference set is described once and kept (``save``, ``load``), so that each evaluation of samples pays for
the samples alone.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import check_choice

from .filters import MoleculeFilter
from .fingerprints import N_BITS, morgan_fingerprints
from .fragments import brics_fragments, murcko_scaffold
from .parallel import map_chunks
from .parsing import parse_smiles, quiet_rdkit
from .properties import PROPERTY_NAMES, property_values

__all__ = ["DEFAULT_PROPERTIES", "MoleculeSet", "describe_molecules"]

DEFAULT_PROPERTIES = ("qed", "logp", "sa", "weight", "tpsa")
_FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class MoleculeSet:
    """Description of a set of molecules.

    Parameters
    ----------
    n_given : int
        Number of strings, also those that are no molecule.
    smiles : list of str
        Canonical SMILES of the valid ones, in order and with repetitions.
    fingerprints : ndarray of uint8, shape (n_valid, 128)
        Packed Morgan fingerprints.
    properties : pandas.DataFrame
        One row a valid molecule, one column a property.
    fragments, scaffolds : Counter
        How often each BRICS fragment and each Murcko scaffold of two or more rings occurs.
    passes : ndarray of bool, shape (n_valid,), or None
        Which valid molecules pass the filter; None where none was applied.
    """

    n_given: int
    smiles: list[str]
    fingerprints: NDArray[np.uint8]
    properties: pd.DataFrame
    fragments: Counter[str]
    scaffolds: Counter[str]
    passes: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.smiles)

    def __repr__(self) -> str:
        """Return the sizes."""
        return (
            f"MoleculeSet({len(self)} of {self.n_given} valid, {len(self.fragments)} fragments, "
            f"{len(self.scaffolds)} scaffolds)"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the description into one compressed NPZ file, which holds no code."""
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "n_given": np.array(self.n_given),
            "smiles": np.array(self.smiles, dtype=np.str_),
            "fingerprints": self.fingerprints,
            "properties": self.properties.to_numpy(dtype=np.float64),
            "property_names": np.array(self.properties.columns, dtype=np.str_),
        }
        for name, counts in (("fragments", self.fragments), ("scaffolds", self.scaffolds)):
            arrays[name] = np.array(list(counts), dtype=np.str_)
            arrays[f"{name}_counts"] = np.array(list(counts.values()), dtype=np.int64)
        if self.passes is not None:
            arrays["passes"] = self.passes
        with open(path, "wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> MoleculeSet:
        """Read a description; no code in the file is run.

        Raises
        ------
        ValueError
            If the file is no description, or one of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if int(arrays["format"]) != _FORMAT:
                raise ValueError(f"its format is {int(arrays['format'])}, expected {_FORMAT}")
            return _from_arrays(arrays)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no saved MoleculeSet: {error}") from error


def describe_molecules(
    smiles: Sequence[str],
    *,
    properties: Sequence[str] = DEFAULT_PROPERTIES,
    filters: MoleculeFilter | None = None,
    n_jobs: int | None = None,
) -> MoleculeSet:
    """Describe a set of molecules in one pass.

    Parameters
    ----------
    smiles : sequence of str
        Valid or not.
    properties : sequence of str
        Of ``PROPERTY_NAMES``.
    filters : MoleculeFilter or None
        Applied to each valid molecule; None spares the time (about 3 ms a molecule, of 5 ms in all).
    n_jobs : int or None
        Processes, see ``joblib``.

    Raises
    ------
    TypeError
        If a single string is given.
    ValueError
        If a property is unknown.
    ImportError
        If RDKit is not installed.
    """
    if isinstance(smiles, str):
        raise TypeError(f"smiles must be a sequence of SMILES, got the str {smiles!r}")
    names = [check_choice("property", name, PROPERTY_NAMES) for name in properties]
    work = partial(_describe, names=names, filters=filters)
    parts = map_chunks(work, list(smiles), n_jobs)
    return _joined(parts) if parts else _describe([], names, filters)


def _describe(smiles: Sequence[str], names: list[str], filters: MoleculeFilter | None) -> MoleculeSet:
    chem = optional_import("rdkit.Chem", "molecules")
    with quiet_rdkit():
        molecules = [found for string in smiles if (found := parse_smiles(string)) is not None]
        fragments = Counter(name for molecule in molecules for name in brics_fragments(molecule))
        scaffolds = Counter(name for molecule in molecules if (name := murcko_scaffold(molecule)))
        passes = None if filters is None else np.array([filters.passes(one) for one in molecules], dtype=bool)
        return MoleculeSet(
            n_given=len(smiles),
            smiles=[str(chem.MolToSmiles(molecule)) for molecule in molecules],
            fingerprints=morgan_fingerprints(molecules).reshape(-1, N_BITS // 8),
            properties=pd.DataFrame(property_values(molecules, names), columns=names),
            fragments=fragments,
            scaffolds=scaffolds,
            passes=passes,
        )


def _joined(parts: list[MoleculeSet]) -> MoleculeSet:
    fragments: Counter[str] = Counter()
    scaffolds: Counter[str] = Counter()
    for part in parts:
        fragments.update(part.fragments)
        scaffolds.update(part.scaffolds)
    passes = [part.passes for part in parts if part.passes is not None]
    return MoleculeSet(
        n_given=sum(part.n_given for part in parts),
        smiles=[string for part in parts for string in part.smiles],
        fingerprints=np.concatenate([part.fingerprints for part in parts]),
        properties=pd.concat([part.properties for part in parts], ignore_index=True),
        fragments=fragments,
        scaffolds=scaffolds,
        passes=np.concatenate(passes) if passes else None,
    )


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> MoleculeSet:
    def counts(name: str) -> Counter[str]:
        return Counter(dict(zip(arrays[name].tolist(), arrays[f"{name}_counts"].tolist(), strict=True)))

    return MoleculeSet(
        n_given=int(arrays["n_given"]),
        smiles=[str(string) for string in arrays["smiles"]],
        fingerprints=arrays["fingerprints"],
        properties=pd.DataFrame(arrays["properties"], columns=arrays["property_names"].tolist()),
        fragments=counts("fragments"),
        scaffolds=counts("scaffolds"),
        passes=arrays.get("passes"),
    )
