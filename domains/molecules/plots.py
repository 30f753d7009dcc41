"""Pictures of molecules: grids of formulas, and histograms of properties before and after a tilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sciffusion.estimators.imports import optional_import

from .parsing import parse_smiles, quiet_rdkit
from .plots_layout import INK, draw_histogram, effective_size, histogram_edges, panels
from .properties import PROPERTY_NAMES, molecular_properties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MoleculeGrid", "molecule_grid", "plot_properties"]

_LABELS = {
    "qed": "drug-likeness (QED)",
    "logp": "logP",
    "sa": "synthetic accessibility",
    "weight": "weight (g/mol)",
    "tpsa": "polar surface area (Å²)",
    "molar_refractivity": "molar refractivity (cm³/mol)",
    "fraction_sp3": "share of sp3 carbons",
}
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
        svg, png = (_drawing(drawn, texts, lit, shape, kind) for kind in ("SVG", "Cairo"))
    return MoleculeGrid(str(svg), bytes(png))


def plot_properties(
    before: Sequence[str] | pd.DataFrame,
    after: Sequence[str] | pd.DataFrame | None = None,
    *,
    names: Sequence[str] = ("qed", "logp", "tpsa", "weight"),
    weights: ArrayLike | None = None,
    expected_weights: ArrayLike | None = None,
    targets: Mapping[str, float] | None = None,
    labels: tuple[str, str] = ("before", "after"),
    ax: Any = None,
) -> Figure:
    r"""Draw the distribution of properties before and after a tilt.

    Parameters
    ----------
    before, after : sequence of str, or frame of properties
        Molecules (those that are invalid are left out), or a frame with a column for each of `names`.
    names : sequence of str
        Properties to draw, one panel each.
    weights : array-like of shape (n_after,), optional
        Weights of the draws after the tilt; their effective number is in the legend.
    expected_weights : array-like of shape (n_before,), optional
        Importance weights :math:`e^{\lambda r}` of the draws before the tilt: drawn as a line, what the tilt
        should give.
    targets : mapping of str to float, optional
        Values that were asked for, drawn as vertical lines.
    labels : (str, str)
        Names in the legend.
    ax : Axes or array of Axes, optional
        Where to draw, one for each name.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw, a property is missing, or weights are negative, not finite or of another
        number than the molecules.
    ImportError
        If matplotlib is not installed.
    """
    names = list(names)
    first, share = _table(before, names, expected_weights, "before", "expected_weights")
    groups = [(first, None, labels[0], "before")]
    if after is not None:
        second, after_weights = _table(after, names, weights, "after", "weights")
        label = labels[1]
        if after_weights is not None:
            label += f" ({effective_size(after_weights):.0f} effective of {len(second)})"
        groups.append((second, after_weights, label, "after"))
    elif weights is not None:
        raise ValueError("weights belong to the draws after the tilt, which were not given")
    if share is not None:
        groups.append((first, share, f"{labels[0]}, reweighted", "expected"))
    figure, axes = panels(len(names), ax)
    for name, one in zip(names, axes, strict=True):
        edges = histogram_edges([table[name].to_numpy() for table, *_ in groups], name.startswith("n_"))
        for table, given, label, style in groups:
            draw_histogram(one, table[name].to_numpy(), given, edges, label, style)
        if targets and name in targets:
            one.axvline(targets[name], color=INK, linestyle=":", linewidth=1.4, label="asked for")
        one.set_xlabel(_LABELS.get(name, name.removeprefix("n_").replace("_", " ")))
        one.set_ylim(bottom=0)
        one.set_yticks([])
    handles = {
        label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    if ax is None:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4, frameon=False)
    else:
        axes[0].legend(handles.values(), handles.keys(), frameon=False)
    return figure


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
) -> str | bytes:
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
    text: str | bytes = canvas.GetDrawingText()
    return text


def _table(
    given: Sequence[str] | pd.DataFrame,
    names: list[str],
    weights: ArrayLike | None,
    name: str,
    weights_name: str,
) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
    """Return the rows to draw, with their weights, those of invalid molecules left out."""
    if isinstance(given, pd.DataFrame):
        missing = [one for one in names if one not in given.columns]
        if missing:
            raise ValueError(f"{name} has no column {', '.join(missing)}; it has {list(given.columns)}")
        table = given[names].astype(np.float64).reset_index(drop=True)
    else:
        unknown = [one for one in names if one not in PROPERTY_NAMES]
        if unknown:
            raise ValueError(
                f"names holds {', '.join(unknown)}, expected some of {', '.join(PROPERTY_NAMES)}"
            )
        table = molecular_properties(list(given), names)
    kept = np.isfinite(table.to_numpy()).all(1)
    if not kept.any():
        raise ValueError(f"{name} holds no valid molecule to draw")
    if weights is None:
        return table[kept], None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(table),) or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            f"{weights_name} must be {len(table)} finite numbers of at least 0, one a molecule of {name}, "
            f"got shape {values.shape}"
        )
    if not values[kept].sum() > 0:
        raise ValueError(f"{weights_name} gives every valid molecule the weight zero")
    return table[kept], values[kept]
