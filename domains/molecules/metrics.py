r"""Measures of generated molecules, alone and against a reference set.

.. math::

   \text{valid} &= \frac{\text{strings that are molecules}}{\text{strings}}, \qquad
   \text{unique} = \frac{|\mathrm{set}(G)|}{|G|}, \qquad
   \text{novel} = \frac{|\mathrm{set}(G) \setminus \text{training}|}{|\mathrm{set}(G)|}, \\
   \text{internal diversity} &= 1 - \frac{1}{|G|^2} \sum_{a, b \in G} T(a, b), \qquad
   \text{nearest similarity} = \frac{1}{|G|} \sum_{a \in G} \max_{b \in R} T(a, b),

with G the valid molecules as canonical SMILES, R the reference and T the Tanimoto similarity of Morgan
fingerprints (radius 2, 1024 bits). Fragments and scaffolds are compared by the cosine of their counts,
properties by the Wasserstein distance W1 of their distributions, in the unit of the property. The definitions
are those of MOSES (Polykovskiy et al., arXiv:1811.12823); valid, unique and novel molecules are easy to make,
and a good model is one that also matches the reference. The similarities of fragments and above all of
scaffolds, and the nearest similarity, grow with the number of molecules: compare them at equal sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import wasserstein_distance

from .filters import MoleculeFilter
from .fingerprints import mean_similarity, nearest_similarity
from .fragments import cosine_similarity
from .molecule_set import DEFAULT_PROPERTIES, MoleculeSet, describe_molecules
from .report import canonical_smiles

__all__ = ["Evaluation", "evaluate"]

_MEANINGS = {
    "valid": "share of the strings that are molecules",
    "unique": "share of different molecules among the valid ones",
    "novel": "share of the different molecules that are not in the training set",
    "internal_diversity": "1 - mean similarity of two of the molecules",
    "nearest_similarity": "mean similarity to the nearest molecule of the reference",
    "fragment_similarity": "cosine of the counts of BRICS fragments",
    "scaffold_similarity": "cosine of the counts of Murcko scaffolds of two or more rings",
    "passes_filters": "share of the valid molecules that pass the filters",
}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Measures of a set of generated molecules.

    Parameters
    ----------
    scores : pandas.Series
        One number a measure, NaN where nothing could be measured (no valid molecule, no scaffold).
    n_given, n_valid : int
        Strings, and how many of them are molecules.
    n_reference : int or None
        Molecules of the reference set.
    """

    scores: pd.Series[float]
    n_given: int
    n_valid: int
    n_reference: int | None

    def __getitem__(self, name: str) -> float:
        """Return one measure."""
        return float(self.scores[name])

    def to_frame(self) -> pd.DataFrame:
        """Return a frame indexed by the measure, with the columns ``value`` and ``meaning``."""
        meanings = [_meaning(str(name)) for name in self.scores.index]
        return pd.DataFrame({"value": self.scores, "meaning": meanings})

    def __repr__(self) -> str:
        """Return the table of measures."""
        against = "" if self.n_reference is None else f" against {self.n_reference} of the reference"
        lines = [f"{self.n_valid} of {self.n_given} molecules{against}"]
        width = max(map(len, map(str, self.scores.index)))
        lines += [
            f"  {name:<{width}} {value:9.4f}   {_meaning(str(name))}" for name, value in self.scores.items()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(float_format="{:.4f}".format))


def evaluate(
    smiles: Sequence[str] | MoleculeSet,
    reference: Sequence[str] | MoleculeSet | None = None,
    *,
    training: Collection[str] | MoleculeSet | None = None,
    training_is_canonical: bool = False,
    unique_at: Iterable[int] = (1000, 10000),
    properties: Sequence[str] = DEFAULT_PROPERTIES,
    patterns: Sequence[str] | None = None,
    n_jobs: int | None = None,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Measure generated molecules by the measures of MOSES (Fréchet ChemNet distance apart).

    Parameters
    ----------
    smiles : sequence of str or MoleculeSet
        Generated strings, valid or not, or their description with filters.
    reference : sequence of str or MoleculeSet, optional
        Molecules to resemble, usually a test set; described once by `describe_molecules` it can be used
        again.
    training : collection of str or MoleculeSet, optional
        Molecules that are not novel.
    training_is_canonical : bool
        The strings of `training` are RDKit's canonical SMILES, so that they need not be parsed (.2 ms each).
    unique_at : iterable of int
        Also measure ``unique_at_K``, the uniqueness of the first K valid molecules, where there are so many.
    properties : sequence of str
        Of ``PROPERTY_NAMES``; ``w1_NAME`` is reported where there is a reference.
    patterns : sequence of str, optional
        SMARTS of the filters; by default RDKit's PAINS, see `MoleculeFilter`.
    n_jobs : int or None
        Processes, see ``joblib``.
    device : torch.device or str
        Where similarities are computed.

    Returns
    -------
    Evaluation
        30 000 molecules take about 3 minutes on one core, and as long again against 176 000.

    Raises
    ------
    ValueError
        If there are no strings, the reference has no valid molecule, or a property is unknown.
    ImportError
        If RDKit is not installed.
    """
    drawn = _described(smiles, properties, MoleculeFilter.from_patterns(patterns), n_jobs)
    if not drawn.n_given:
        raise ValueError("smiles is empty, expected at least one generated string")
    scores = {"valid": len(drawn) / drawn.n_given, "unique": _share_unique(drawn.smiles)}
    sizes = sorted({int(size) for size in unique_at if 0 < size <= len(drawn)})
    scores |= {f"unique_at_{size}": _share_unique(drawn.smiles[:size]) for size in sizes}
    if training is not None:
        scores["novel"] = _share_novel(set(drawn.smiles), training, training_is_canonical, n_jobs)
    diversity = 1 - mean_similarity(drawn.fingerprints, device=device)
    scores["internal_diversity"] = _mean(diversity)
    scores["passes_filters"] = float("nan") if drawn.passes is None else _mean(drawn.passes)
    known = None
    if reference is not None:
        known = _described(reference, properties, None, n_jobs)
        scores |= _compare(drawn, known, properties, device)
    series = pd.Series(scores, name="value", dtype=np.float64)
    return Evaluation(series, drawn.n_given, len(drawn), None if known is None else len(known))


def _described(
    smiles: Sequence[str] | MoleculeSet,
    properties: Sequence[str],
    filters: MoleculeFilter | None,
    n_jobs: int | None,
) -> MoleculeSet:
    if not isinstance(smiles, MoleculeSet):
        return describe_molecules(smiles, properties=properties, filters=filters, n_jobs=n_jobs)
    missing = [name for name in properties if name not in smiles.properties.columns]
    if missing:
        raise ValueError(
            f"the given MoleculeSet was described without {', '.join(missing)}; it has "
            f"{', '.join(smiles.properties.columns)}"
        )
    return smiles


def _compare(
    drawn: MoleculeSet, known: MoleculeSet, properties: Sequence[str], device: torch.device | str
) -> dict[str, float]:
    if not len(known):
        raise ValueError("the reference holds no valid molecule")
    nearest = nearest_similarity(drawn.fingerprints, known.fingerprints, device=device)
    scores = {
        "nearest_similarity": _mean(nearest),
        "fragment_similarity": cosine_similarity(drawn.fragments, known.fragments),
        "scaffold_similarity": cosine_similarity(drawn.scaffolds, known.scaffolds),
    }
    for name in properties:
        values = drawn.properties[name]
        scores[f"w1_{name}"] = (
            float(wasserstein_distance(values, known.properties[name])) if len(values) else float("nan")
        )
    return scores


def _share_unique(smiles: Sequence[str]) -> float:
    return len(set(smiles)) / len(smiles) if smiles else float("nan")


def _share_novel(
    drawn: set[str], training: Collection[str] | MoleculeSet, is_canonical: bool, n_jobs: int | None
) -> float:
    if not drawn:
        return float("nan")
    if isinstance(training, MoleculeSet):
        seen = set(training.smiles)
    elif is_canonical:
        seen = set(training)
    else:
        seen = {found for found in canonical_smiles(list(training), n_jobs=n_jobs) if found is not None}
    return len(drawn - seen) / len(drawn)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _meaning(name: str) -> str:
    if name.startswith("w1_"):
        return f"Wasserstein distance of {name.removeprefix('w1_')} to the reference"
    if name.startswith("unique_at_"):
        return f"the same among the first {name.removeprefix('unique_at_')} valid ones"
    return _MEANINGS[name]
