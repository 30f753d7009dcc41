r"""Scaffolds: a part of the molecule is given, and the model decorates it.

A scaffold is a SMILES in which ``*`` marks where something is to be attached, such as ``c1ccc(*)cc1``. It is
written so that its tokens are known sites of the sequence:

- with no ``*`` or one, the string begins with the scaffold, written so that the attachment point comes last,
  and all after it is free: the model is conditioned on a beginning;
- with several (SMILES only), each further ``*`` is a gap between known stretches, of a length that is drawn
  for each molecule uniformly between 1 and a largest one.

What is guaranteed: the tokens of the scaffold stand in the string as they are. Not guaranteed: that the
molecule contains the scaffold. A SMILES may be invalid, and in both representations rings that are closed
later can change it (in SELFIES, a ring sign can raise a bond's order). So drawn molecules are checked, and
the share that contains the scaffold is reported. Nor is the law that of molecules with this scaffold: it is
that of strings with these tokens at these places, while a molecule has many strings, of which a model fitted
on canonical SMILES has learned one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import

from .parsing import invalid_reason, parse_smiles
from .templates import TokenTemplate
from .tokenizers import MoleculeTokenizer

__all__ = ["Scaffold", "contains_scaffold", "read_scaffold"]

_GAP = "*"
_TRIES = 400
_PLACEHOLDER = "I"


@dataclass(frozen=True)
class Scaffold:
    """A scaffold in the writing that its tokens are known in.

    Parameters
    ----------
    smiles : str
        As it was given.
    pieces : tuple of tuple of str
        Known tokens between the gaps; after the last piece the string is open.
    n_attachments : int
        Number of ``*``.
    """

    smiles: str
    pieces: tuple[tuple[str, ...], ...]
    n_attachments: int

    def templates(
        self, count: int, generator: np.random.Generator, longest_gap: int = 6
    ) -> list[TokenTemplate]:
        """Return a template for each of ``count`` molecules; they are the same where no gap has a length."""
        n_gaps = len(self.pieces) - 1
        lengths = generator.integers(1, longest_gap, size=(count, n_gaps), endpoint=True)
        rows = [[*map(int, row), 0] for row in lengths]
        return [
            TokenTemplate(
                tuple(
                    token
                    for piece, gap in zip(self.pieces, row, strict=True)
                    for token in (*piece, *[None] * gap)
                ),
                open_end=True,
            )
            for row in rows
        ]


def read_scaffold(smiles: str, tokenizer: MoleculeTokenizer) -> Scaffold:
    """Read a scaffold and find a writing of it that known tokens can hold.

    Parameters
    ----------
    smiles : str
        SMILES with ``*`` (or ``[*:1]``) where something is to be attached; without any, the molecule goes on
        after the last atom of the canonical SMILES.
    tokenizer : MoleculeTokenizer
        The representation of the model.

    Returns
    -------
    Scaffold

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is no valid SMILES, of several parts, nothing but attachment points, or (for SELFIES) has
        several of them or one with a bond that is not single.
    """
    if not isinstance(smiles, str):
        raise TypeError(f"scaffold must be a SMILES string, got {type(smiles).__name__}")
    molecule = parse_smiles(smiles)
    if molecule is None:
        raise ValueError(f"scaffold {smiles!r} is no valid SMILES: {invalid_reason(smiles)}")
    points = _plain_points(molecule)
    if points == molecule.GetNumAtoms() or "." in smiles:
        raise ValueError(f"scaffold must be one connected part with atoms besides '*', got {smiles!r}")
    if tokenizer.name == "selfies" and points > 1:
        raise ValueError(
            f"a model of SELFIES takes scaffolds with at most one attachment point, got {points} in "
            f"{smiles!r}: lengths of branches are part of the string; use representation='smiles'"
        )
    writing = _writing(molecule, points, smiles)
    if tokenizer.name == "selfies":
        return Scaffold(smiles, (_selfies_beginning(writing, tokenizer, smiles),), points)
    stretches = writing.removesuffix(_GAP).split(_GAP)
    pieces = (tuple(tokenizer.tokenize(part)) if part else () for part in stretches)
    return Scaffold(smiles, tuple(pieces), points)


def contains_scaffold(smiles: Sequence[str], scaffold: str) -> NDArray[np.bool_]:
    """Say which strings are molecules that contain a scaffold as a substructure.

    Parameters
    ----------
    smiles : sequence of str
        Molecules; what is no valid SMILES contains nothing.
    scaffold : str
        SMILES; its attachment points are left out of the comparison.
    """
    chem = optional_import("rdkit.Chem", "molecules")
    core = parse_smiles(scaffold)
    if core is None:
        raise ValueError(f"scaffold {scaffold!r} is no valid SMILES: {invalid_reason(scaffold)}")
    core = chem.DeleteSubstructs(core, chem.MolFromSmarts("[#0]"))
    found = {one: parse_smiles(one) for one in set(smiles)}
    holds = {one: mol is not None and mol.HasSubstructMatch(core) for one, mol in found.items()}
    return np.array([holds[one] for one in smiles], dtype=np.bool_)


def _plain_points(molecule: Any) -> int:
    """Take numbers off the attachment points and return how many there are."""
    points = [atom for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 0]
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)
    for atom in points:
        atom.SetIsotope(0)
    return len(points)


def _selfies_beginning(writing: str, tokenizer: MoleculeTokenizer, given: str) -> tuple[str, ...]:
    """Return the tokens of a scaffold that ends with an attachment point, in SELFIES, without that point."""
    if not writing.endswith(_GAP):
        return tuple(tokenizer.tokenize(tokenizer.from_smiles(writing)))
    beginning = writing.removesuffix(_GAP)
    if beginning[-1] in "=#$:/\\":
        raise ValueError(
            f"a model of SELFIES takes scaffolds whose attachment point has a single bond, got {given!r}"
        )
    # Something must stand at the point, or a branch before it would be written as the end of the chain.
    return tuple(tokenizer.tokenize(tokenizer.from_smiles(f"{beginning}{_PLACEHOLDER}"))[:-1])


def _writing(molecule: Any, points: int, given: str) -> str:
    """Return a SMILES of the scaffold that ends with an attachment point, where it has one."""
    chem = optional_import("rdkit.Chem", "molecules")
    if not points:
        return str(chem.MolToSmiles(molecule))
    roots = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetAtomicNum()]
    candidates = [str(chem.MolToSmiles(molecule, rootedAtAtom=root)) for root in roots]
    if not any(one.endswith(_GAP) for one in candidates):
        # The order of branches is the writer's choice: some order has the point at the end.
        candidates = list(chem.MolToRandomSmilesVect(molecule, _TRIES, randomSeed=1))
    ending = [one for one in candidates if one.endswith(_GAP) and not one.startswith(_GAP)]
    ending = ending or [one for one in candidates if one.endswith(_GAP)]
    if not ending:
        raise ValueError(f"no SMILES of the scaffold {given!r} ends with an attachment point")
    return min(ending, key=lambda one: (len(one), one))
