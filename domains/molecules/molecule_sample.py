r"""What a weighted draw of molecules gives, with what its weights say.

Weights :math:`W_i \ge 0` sum to 1: any average over the law aimed at is :math:`\sum_i W_i f(x_i)`. The
effective sample size :math:`1 / \sum_i W_i^2` says how many draws of that law they are worth at most; a run
that collapsed on the way may end with even weights and few different molecules, so look at
`min_ess` and `n_ancestors`, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.random_state import integer_seed

from .parsing import parse_smiles

__all__ = ["MoleculeSample"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MoleculeSample:
    """Drawn molecules with their weights.

    Parameters
    ----------
    smiles : list of str
        As the model wrote them, valid or not.
    weights : ndarray of shape (n,)
        Sum to 1; equal where the method has none.
    law : str
        What the weighted molecules follow, and whether exactly, in words.
    method : str
        How they were drawn.
    nfe : int
        Network evaluations of a draw.
    log_normaliser : float or None
        Estimate of log E[exp(scale * reward)] over valid draws of the model; None without particles.
    log_normaliser_error : float or None
        Its standard error, from the genealogy of the particles; inf where one ancestor is left.
    min_ess : float or None
        Smallest effective sample size on the way, as a share of the particles.
    n_ancestors : int or None
        Particles of the start that have descendants among the draws.
    rewards : ndarray of shape (n,) or None
        Rewards of the draws, -inf where one was refused.
    scaffold_share : float or None
        Share of the draws that contain the scaffold.
    failures : dict of str to str
        Molecules for which the reward failed, with the reason.
    n_drawn : int
        Rows drawn from the model, those of rejected molecules included.
    """

    smiles: list[str]
    weights: Floats
    law: str
    method: str
    nfe: int
    log_normaliser: float | None = None
    log_normaliser_error: float | None = None
    min_ess: float | None = None
    n_ancestors: int | None = None
    rewards: Floats | None = None
    scaffold_share: float | None = None
    failures: dict[str, str] = field(default_factory=dict)
    n_drawn: int = 0

    @classmethod
    def unweighted(cls, smiles: Sequence[str], **facts: Any) -> MoleculeSample:
        """Return draws of equal weight."""
        return cls(list(smiles), np.full(len(smiles), 1.0 / max(len(smiles), 1)), **facts)

    def __len__(self) -> int:
        return len(self.smiles)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights, between 1 and n."""
        return float(1.0 / np.sum(self.weights**2))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which strings are molecules, shape (n,)."""
        seen = {one: parse_smiles(one) is not None for one in set(self.smiles)}
        return np.array([seen[one] for one in self.smiles], dtype=np.bool_)

    def molecules(self) -> list[Any]:
        """Return RDKit molecules, None where a string is none."""
        return [parse_smiles(one) for one in self.smiles]

    def average(self, values: Any) -> float:
        """Return the weighted average of one number a molecule; what has weight zero is not looked at.

        Parameters
        ----------
        values : array-like of shape (n,)
        """
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != (len(self),):
            raise ValueError(f"values must have shape ({len(self)},), got {numbers.shape}")
        weighted = self.weights > 0.0
        return float(np.sum(self.weights[weighted] * numbers[weighted]))

    def resampled(self, random_state: Any = None, n: int | None = None) -> MoleculeSample:
        """Return molecules drawn by their weights, systematically, with equal weights.

        Parameters
        ----------
        random_state : int, RandomState or None
            Source of the draw.
        n : int, optional
            How many; as many as there are by default. A molecule appears ``n`` times its weight times,
            rounded down or up.
        """
        count = len(self) if n is None else n
        shift = np.random.default_rng(integer_seed(random_state)).random()
        points = (np.arange(count) + shift) / count
        cumulative = np.cumsum(self.weights)
        places = np.searchsorted(cumulative / cumulative[-1], np.minimum(points, 1.0 - 1e-12), side="right")
        order = np.random.default_rng(integer_seed(random_state) + 1).permutation(places)
        return replace(
            self,
            smiles=[self.smiles[place] for place in order],
            weights=np.full(count, 1.0 / count),
            rewards=None if self.rewards is None else self.rewards[order],
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with columns ``smiles``, ``weight``, ``valid`` and, with one, ``reward``."""
        frame = pd.DataFrame({"smiles": self.smiles, "weight": self.weights, "valid": self.valid})
        if self.rewards is not None:
            frame["reward"] = self.rewards
        return frame

    def summary(self) -> str:
        """Return what the draw is, in a few lines."""
        n_different = len(self._canonical())
        lines = [
            f"{len(self)} draws ({self.method}, {self.nfe} network evaluations each): "
            f"{self.valid.mean():.1%} valid, {n_different} different molecules",
            f"law: {self.law}",
        ]
        if self.log_normaliser is not None:
            share = "" if self.min_ess is None else f", smallest share on the way {self.min_ess:.2f}"
            lines.append(
                f"effective sample size {self.ess:.1f} of {len(self)}{share}; "
                f"log normaliser {self.log_normaliser:.3f} +- {self.log_normaliser_error:.3f}"
            )
        if self.scaffold_share is not None:
            lines.append(f"{self.scaffold_share:.1%} of the draws contain the scaffold")
        if self.failures:
            lines.append(f"the reward failed for {len(self.failures)} molecules, which have weight zero")
        return "\n".join(lines)

    def _canonical(self) -> set[str]:
        chem = optional_import("rdkit.Chem", "molecules")
        found = (parse_smiles(one) for one in set(self.smiles))
        return {str(chem.MolToSmiles(molecule)) for molecule in found if molecule is not None}
