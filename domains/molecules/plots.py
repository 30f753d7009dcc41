"""Histograms of properties of molecules before and after a tilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .plots_layout import INK, draw_histogram, effective_size, histogram_edges, panels
from .properties import PROPERTY_NAMES, molecular_properties

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_properties"]

#: Properties, their weights, the name in the legend, and how the group is drawn.
_Group = tuple[pd.DataFrame, NDArray[np.float64] | None, str, str]

_LABELS = {
    "qed": "drug-likeness (QED)",
    "logp": "logP",
    "sa": "synthetic accessibility",
    "weight": "weight (g/mol)",
    "tpsa": "polar surface area (Å²)",
    "molar_refractivity": "molar refractivity (cm³/mol)",
    "fraction_sp3": "share of sp3 carbons",
}


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
    groups: list[_Group] = [(first, None, labels[0], "before")]
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
    _legend(figure, axes, outside=ax is None)
    return figure


def _legend(figure: Figure, axes: list[Axes], outside: bool) -> None:
    handles = {
        label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    if outside:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4, frameon=False)
    else:
        axes[0].legend(handles.values(), handles.keys(), frameon=False)


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
