r"""Properties of molecules by name, as numbers and as rewards.

.. code-block:: text

    qed                 drug-likeness in [0, 1] (Bickerton et al., 2012)
    logp                octanol-water partition, log10 (Wildman and Crippen, 1999)
    sa                  synthetic accessibility, 1 (easy) to 10 (Ertl and Schuffenhauer, 2009)
    weight              molecular weight in g/mol
    tpsa                topological polar surface area in square angstrom (Ertl et al., 2000)
    molar_refractivity  in cm3/mol (Wildman and Crippen, 1999)
    n_heavy_atoms, n_rings, n_aromatic_rings, n_rotatable_bonds, n_hydrogen_donors, n_hydrogen_acceptors,
    n_stereo_centers    counts
    fraction_sp3        share of the carbons with four neighbours, in [0, 1]

All are RDKit's; ``sa`` is the script of its authors that comes with RDKit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import check_choice

from .parallel import map_chunks
from .parsing import parse_smiles, quiet_rdkit

__all__ = [
    "PROPERTY_NAMES",
    "PropertyFunction",
    "molecular_properties",
    "property_function",
    "property_values",
]

_DESCRIPTORS = "rdkit.Chem.rdMolDescriptors"
_SOURCES = {
    "qed": ("rdkit.Chem.QED", "qed"),
    "logp": ("rdkit.Chem.Crippen", "MolLogP"),
    "sa": ("", ""),
    "weight": ("rdkit.Chem.Descriptors", "MolWt"),
    "tpsa": (_DESCRIPTORS, "CalcTPSA"),
    "molar_refractivity": ("rdkit.Chem.Crippen", "MolMR"),
    "n_heavy_atoms": (_DESCRIPTORS, "CalcNumHeavyAtoms"),
    "n_rings": (_DESCRIPTORS, "CalcNumRings"),
    "n_aromatic_rings": (_DESCRIPTORS, "CalcNumAromaticRings"),
    "n_rotatable_bonds": (_DESCRIPTORS, "CalcNumRotatableBonds"),
    "n_hydrogen_donors": (_DESCRIPTORS, "CalcNumHBD"),
    "n_hydrogen_acceptors": (_DESCRIPTORS, "CalcNumHBA"),
    "n_stereo_centers": (_DESCRIPTORS, "CalcNumAtomStereoCenters"),
    "fraction_sp3": (_DESCRIPTORS, "CalcFractionCSP3"),
}
PROPERTY_NAMES = tuple(_SOURCES)


def property_values(molecules: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64]:
    """Return properties of RDKit molecules.

    Parameters
    ----------
    molecules : sequence of rdkit.Chem.Mol
        Valid molecules.
    names : sequence of str
        Of `PROPERTY_NAMES`.

    Returns
    -------
    ndarray of shape (n_molecules, n_names)

    Raises
    ------
    ValueError
        If a name is unknown; the message lists those there are.
    """
    functions = [_function(check_choice("property", name, PROPERTY_NAMES)) for name in names]
    with quiet_rdkit():
        rows = [[float(function(molecule)) for function in functions] for molecule in molecules]
    return np.array(rows, dtype=np.float64).reshape(len(molecules), len(functions))


def molecular_properties(
    smiles: Sequence[str],
    names: Sequence[str] = ("qed", "logp", "sa", "weight", "tpsa"),
    *,
    invalid: float = math.nan,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Return properties of molecules given as strings.

    Parameters
    ----------
    smiles : sequence of str
        SMILES, valid or not.
    names : sequence of str
        Of `PROPERTY_NAMES`.
    invalid : float
        What stands in the row of a string that is no molecule.
    n_jobs : int or None
        Processes, see ``joblib``. ``qed`` takes about 1 ms a molecule, the others less.

    Returns
    -------
    pandas.DataFrame
        One row a string, in order, one column a property.

    Raises
    ------
    ValueError
        If a name is unknown.
    ImportError
        If RDKit is not installed.
    """
    names = list(names)
    for name in names:
        check_choice("property", name, PROPERTY_NAMES)
    chunks = map_chunks(partial(_read, names=names, invalid=invalid), list(smiles), n_jobs)
    values = np.concatenate([np.empty((0, len(names))), *chunks])
    return pd.DataFrame(values, columns=names)


@dataclass(frozen=True)
class PropertyFunction:
    """One property as a function of a list of strings, fit to be a reward.

    Parameters
    ----------
    name : str
        One of `PROPERTY_NAMES`.
    invalid : float
        What a string that is no molecule gets.
    n_jobs : int or None
        Processes, see ``joblib``.
    """

    name: str
    invalid: float = -math.inf
    n_jobs: int | None = None

    def __call__(self, smiles: Sequence[str]) -> NDArray[np.float64]:
        """Return one number for each string, shape ``(n,)``."""
        frame = molecular_properties(smiles, [self.name], invalid=self.invalid, n_jobs=self.n_jobs)
        return frame[self.name].to_numpy(dtype=np.float64)


def property_function(
    name: str, *, invalid: float = -math.inf, n_jobs: int | None = None
) -> PropertyFunction:
    """Return a property as a function from a list of SMILES to numbers.

    Parameters
    ----------
    name : str
        One of `PROPERTY_NAMES`.
    invalid : float
        What a string that is no molecule gets; by default minus infinity, the weight zero of a tilt.
    n_jobs : int or None
        Processes, see ``joblib``.

    Raises
    ------
    ValueError
        If there is no such property; the message lists those there are.

    Examples
    --------
    >>> from sciffusion.domains.molecules import property_function
    >>> property_function("n_rings")(["C1CCCCC1", "CCO", "C1CC"])
    array([  1.,   0., -inf])
    """
    check_choice("property", name, PROPERTY_NAMES)
    return PropertyFunction(name, invalid, n_jobs)


def _read(smiles: Sequence[str], names: list[str], invalid: float) -> NDArray[np.float64]:
    values = np.full((len(smiles), len(names)), invalid, dtype=np.float64)
    with quiet_rdkit():
        parsed = [(row, parse_smiles(string)) for row, string in enumerate(smiles)]
    found = [(row, molecule) for row, molecule in parsed if molecule is not None]
    if found:
        values[[row for row, _ in found]] = property_values([molecule for _, molecule in found], names)
    return values


def _function(name: str) -> Callable[[Any], float]:
    if name == "sa":
        return _accessibility_function()
    module, attribute = _SOURCES[name]
    function: Callable[[Any], float] = getattr(optional_import(module, "molecules"), attribute)
    return function


@cache
def _accessibility_function() -> Callable[[Any], float]:
    """Return the score of RDKit's contributed script, which is in no package."""
    folder = Path(optional_import("rdkit.RDConfig", "molecules").RDContribDir)
    script = folder / "SA_Score" / "sascorer.py"
    specification = spec_from_file_location("rdkit_contributed_sascorer", script)
    if specification is None or specification.loader is None or not script.exists():
        raise ImportError(
            f"this RDKit came without its contributed scripts ({script} is missing), so 'sa' is not available"
        )
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    score: Callable[[Any], float] = module.calculateScore
    return score
