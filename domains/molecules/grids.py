"""Grids of formulas, drawn by RDKit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciffusion.estimators.imports import optional_import

from .parsing import parse_smiles, quiet_rdkit
from .properties import molecular_properties

__all__ = ["MoleculeGrid", "molecule_grid"]

_SHORT = {"qed": "QED", "logp": "logP", "sa": "SA", "tpsa": "TPSA"}


@dataclass(frozen=True)
class MoleculeGrid:
    """A picture of molecules, shown by itself in a notebook.

    Parameters
    ----------
    svg : str
        The picture as text.
    png : bytes
        The same as pixels.
    """

    svg: str
    png: bytes

    def save(self, path: str | Path) -> None:
        """Write the picture as its suffix says, ``.svg`` or ``.png``.

        Raises
        ------
        ValueError
            If it is another suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".svg", ".png"):
            raise ValueError(f"path must end in .svg or .png, got {str(path)!r}")
        Path(path).write_bytes(self.png if suffix == ".png" else self.svg.encode())

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        """Return the size of both forms."""
        return f"MoleculeGrid({len(self.svg)} characters of SVG, {len(self.png)} bytes of PNG)"


def molecule_grid(
    smiles: Sequence[str],
    *,
    captions: Sequence[str] | None = None,
    properties: Sequence[str] = ("qed", "logp"),
    scaffold: str | None = None,
    columns: int = 4,
    size: tuple[int, int] = (240, 190),
) -> MoleculeGrid:
    """Draw molecules side by side.

    Parameters
    ----------
    smiles : sequence of str
        At most a few dozen. A string that is no molecule is drawn as a question mark.
    captions : sequence of str, optional
        One line below each molecule; by default its `properties`.
    properties : sequence of str
        Of ``PROPERTY_NAMES``.
    scaffold : str, optional
        SMILES, ``*`` for any atom; where a molecule contains it, it is drawn alike and highlighted.
    columns : int
        Molecules in a row.
    size : (int, int)
        Width and height of a panel in pixels.

    Returns
    -------
    MoleculeGrid

    Raises
    ------
    ValueError
        If there is no molecule to draw, the captions are of another number, or the scaffold is no molecule.
    ImportError
        If RDKit is not installed.
    """
    if isinstance(smiles, str) or not len(smiles):
        raise ValueError(f"smiles must be a sequence of at least one SMILES, got {smiles!r}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    if captions is not None and len(captions) != len(smiles):
        raise ValueError(f"captions must have one text a molecule, {len(smiles)}, got {len(captions)}")
    with quiet_rdkit():
        molecules = [parse_smiles(string) for string in smiles]
        texts = list(captions) if captions is not None else _captions(smiles, molecules, properties)
        drawn = [_question_mark() if molecule is None else molecule for molecule in molecules]
        lit = [[] for _ in drawn] if scaffold is None else _align(drawn, scaffold)
        shape = (min(columns, len(drawn)), -(-len(drawn) // columns), *size)
        return MoleculeGrid(
            svg=str(_drawing(drawn, texts, lit, shape, "SVG")),
            png=bytes(_drawing(drawn, texts, lit, shape, "Cairo")),
        )


def _captions(smiles: Sequence[str], molecules: list[Any], names: Sequence[str]) -> list[str]:
    values = molecular_properties(list(smiles), list(names))
    texts = []
    for row, molecule in enumerate(molecules):
        parts = [f"{_SHORT.get(name, name.removeprefix('n_'))} {values[name][row]:.3g}" for name in names]
        texts.append("not a molecule" if molecule is None else "  ".join(parts))
    return texts


def _question_mark() -> Any:
    """Return what is drawn for a string that is no molecule."""
    atom = optional_import("rdkit.Chem", "molecules").MolFromSmiles("*")
    atom.GetAtomWithIdx(0).SetProp("_displayLabel", "?")
    return atom


def _align(molecules: list[Any], scaffold: str) -> list[list[int]]:
    """Lay molecules out like the scaffold that they contain; return its atoms in each."""
    chem = optional_import("rdkit.Chem", "molecules")
    layout = optional_import("rdkit.Chem.rdDepictor", "molecules")
    template = parse_smiles(scaffold)
    if template is None:
        raise ValueError(f"scaffold must be the SMILES of a molecule, got {scaffold!r}")
    rule = chem.AdjustQueryParameters.NoAdjustments()
    rule.makeDummiesQueries = True
    query = chem.AdjustQueryProperties(template, rule)
    layout.Compute2DCoords(query)
    fixed = {atom.GetIdx() for atom in template.GetAtoms() if atom.GetAtomicNum() == 0}
    found = []
    for molecule in molecules:
        match = molecule.GetSubstructMatch(query)
        if match:
            layout.GenerateDepictionMatching2DStructure(molecule, query)
        found.append([atom for place, atom in enumerate(match) if place not in fixed])
    return found


def _drawing(
    molecules: list[Any], texts: list[str], lit: list[list[int]], shape: tuple[int, int, int, int], kind: str
) -> Any:
    """Return the picture, a str of SVG or bytes of PNG as `kind` says."""
    drawing = optional_import("rdkit.Chem.Draw.rdMolDraw2D", "molecules")
    columns, rows, width, height = shape
    canvas = getattr(drawing, f"MolDraw2D{kind}")(columns * width, rows * height, width, height)
    options = canvas.drawOptions()
    options.legendFontSize, options.legendFraction, options.padding = 15, 0.14, 0.08
    options.bondLineWidth = 1.4
    options.setHighlightColour((0.68, 0.85, 0.98))
    bonds = [
        [
            bond.GetIdx()
            for bond in molecule.GetBonds()
            if bond.GetBeginAtomIdx() in atoms and bond.GetEndAtomIdx() in atoms
        ]
        for molecule, atoms in zip(molecules, map(set, lit), strict=True)
    ]
    canvas.DrawMolecules(molecules, legends=texts, highlightAtoms=lit, highlightBonds=bonds)
    canvas.FinishDrawing()
    return canvas.GetDrawingText()
