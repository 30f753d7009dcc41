"""`MoleculeDataset`: molecules as strings with what was measured of them, checked against their card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .molecules_card import MoleculeCard

__all__ = ["MoleculeDataset"]


@dataclass(frozen=True, eq=False, repr=False)
class MoleculeDataset:
    """Molecules as SMILES, with measurements where the set has them.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row a molecule, columns as on the card, ``smiles`` first.
    card : MoleculeCard
        What is known about the set.

    Raises
    ------
    ValueError
        If the number of rows or of different strings, or the columns differ from the card's, or a target is
        missing or infinite.
    """

    frame: pd.DataFrame
    card: MoleculeCard

    def __post_init__(self) -> None:
        """Refuse another table than the card describes."""
        card, columns = self.card, [column.name for column in self.card.columns]
        if list(self.frame.columns) != columns:
            raise ValueError(f"{card.name} has the columns {list(self.frame.columns)}, expected {columns}")
        found = (len(self.frame), int(self.frame["smiles"].nunique()))
        if found != (card.n_rows, card.n_distinct):
            raise ValueError(
                f"{card.name} has (rows, different strings) = {found}, its card says "
                f"{(card.n_rows, card.n_distinct)}: the file differs from {card.origin}"
            )
        if not np.isfinite(self.y.to_numpy(dtype=np.float64)).all():
            raise ValueError(f"{card.name} holds missing or infinite targets")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def smiles(self) -> list[str]:
        """The molecules as strings, in the order of the file."""
        return [str(string) for string in self.frame["smiles"]]

    @property
    def y(self) -> pd.DataFrame:
        """The measured targets, one column each; no column where the set has none."""
        return self.frame[list(self.card.targets)]

    def sample(self, n: int, *, random_state: int | None = None) -> pd.DataFrame:
        """Return `n` rows drawn without replacement, in the order of the file.

        Parameters
        ----------
        n : int
            At most the number of rows.
        random_state : int or None
            Seed of the draw.

        Raises
        ------
        ValueError
            If the set does not have so many rows.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be 1 to {len(self)}, the rows of {self.card.name}, got {n}")
        rows = np.random.default_rng(random_state).choice(len(self), size=n, replace=False)
        return self.frame.iloc[np.sort(rows)].reset_index(drop=True)

    def __repr__(self) -> str:
        """Return name and size."""
        targets = ", ".join(self.card.targets) or "no targets"
        return f"MoleculeDataset({self.card.name}: {len(self)} molecules, {targets})"
