r"""Rewards of molecules: what a sampler run is steered towards.

A reward r is a number a molecule; steering with scale :math:`\lambda` aims at the law of the model times
:math:`e^{\lambda r}`. It is a function of a list of molecules, so that a predictor is asked once a batch.

Strings that are no molecule get the reward :math:`-\infty`: the law aimed at is then also that of the model
given that its draws are valid. A function is asked once for each different molecule, by its canonical SMILES,
so it must give the same molecule the same number each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import check_choice

from .parsing import parse_smiles

__all__ = ["MoleculeReward", "OnRewardError", "RewardError", "RewardInput"]

Floats = NDArray[np.float64]
RewardInput = Literal["smiles", "molecules"]
OnRewardError = Literal["raise", "zero"]


class RewardError(ValueError):
    """A reward failed for a molecule, or returned no number for it; the message names the molecule."""


class MoleculeReward:
    """A reward function of lists of molecules, with its failures handled molecule by molecule.

    Parameters
    ----------
    function : callable
        From a list of n molecules to n numbers. ``-inf`` refuses a molecule.
    takes : {"smiles", "molecules"}, default "smiles"
        What it is given: canonical SMILES, or RDKit molecules.
    on_error : {"raise", "zero"}, default "raise"
        Where the function raises, or returns NaN or infinity: name the molecule, or give it the weight zero
        (a reward of ``-inf``) and go on. What failed is listed in `failures`.
    invalid : float, default -inf
        Reward of strings that are no molecule.

    Attributes
    ----------
    failures : dict of str to str
        Molecules for which the function failed, with the reason.
    n_asked : int
        Number of molecules the function was asked about; each is asked about once.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        *,
        takes: RewardInput = "smiles",
        on_error: OnRewardError = "raise",
        invalid: float = -math.inf,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"a reward must be a function of a list of molecules, got {type(function).__name__}"
            )
        check_choice("takes", takes, get_args(RewardInput))
        check_choice("on_reward_error", on_error, get_args(OnRewardError))
        if math.isnan(invalid) or invalid == math.inf:
            raise ValueError(f"the reward of invalid strings must be a number or -inf, got {invalid}")
        self.function, self.takes, self.on_error, self.invalid = function, takes, on_error, float(invalid)
        self.failures: dict[str, str] = {}
        self.n_asked = 0
        self._canonical: dict[str, str | None] = {}
        self._known: dict[str, float] = {}

    def __call__(self, smiles: Sequence[str]) -> Floats:
        """Return the rewards of strings, -inf (or `invalid`) where one is no molecule.

        Parameters
        ----------
        smiles : sequence of str
            SMILES, valid or not, in any writing.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        RewardError
            If the function fails for a molecule and `on_error` is "raise".
        """
        names = self._names(smiles)
        new = [name for name in dict.fromkeys(names) if name is not None and name not in self._known]
        if new:
            self._known.update(zip(new, self._asked(new), strict=True))
        return np.array([self.invalid if name is None else self._known[name] for name in names])

    def valid(self, smiles: Sequence[str]) -> NDArray[np.bool_]:
        """Say which strings are molecules."""
        return np.array([name is not None for name in self._names(smiles)], dtype=np.bool_)

    def _names(self, smiles: Sequence[str]) -> list[str | None]:
        """Return canonical SMILES, None where a string is no molecule."""
        chem = optional_import("rdkit.Chem", "molecules")
        for string in set(smiles) - self._canonical.keys():
            molecule = parse_smiles(string)
            self._canonical[string] = None if molecule is None else str(chem.MolToSmiles(molecule))
        return [self._canonical[string] for string in smiles]

    def _asked(self, names: list[str]) -> list[float]:
        self.n_asked += len(names)
        try:
            values = self._values(names)
        except Exception as error:
            return self._one_by_one(names, error)
        return [self._checked(name, value) for name, value in zip(names, values, strict=True)]

    def _values(self, names: list[str]) -> list[float]:
        """Return what the function says of a batch, as floats."""
        chem = optional_import("rdkit.Chem", "molecules")
        given = names if self.takes == "smiles" else [chem.MolFromSmiles(name) for name in names]
        values = np.asarray(self.function(list(given)), dtype=np.float64)
        if values.shape != (len(names),):
            raise _ShapeError(
                f"the reward must return one number a molecule, shape ({len(names)},), got {values.shape}"
            )
        return [float(value) for value in values]

    def _one_by_one(self, names: list[str], error: Exception) -> list[float]:
        """Find the molecules for which the function fails; the others keep what it says of them."""
        if isinstance(error, _ShapeError):
            raise ValueError(str(error)) from None
        rewards = []
        for name in names:
            try:
                value = self._values([name])[0]
            except Exception as single:
                rewards.append(self._failed(name, f"raised {type(single).__name__}: {single}", single))
            else:
                rewards.append(self._checked(name, value))
        if not any(name in self.failures for name in names):
            # Each molecule alone is fine, so it is the batch that the function cannot take.
            raise ValueError(
                f"the reward raised {type(error).__name__} for a list of {len(names)} molecules ({error}) "
                "but not for any of them alone; it must take lists of any length"
            ) from error
        return rewards

    def _checked(self, name: str, value: float) -> float:
        if math.isnan(value) or value == math.inf:
            return self._failed(name, f"returned {value}; expected a number, or -inf to refuse it", None)
        return value

    def _failed(self, name: str, reason: str, cause: Exception | None) -> float:
        if self.on_error == "raise":
            raise RewardError(
                f"the reward failed for the molecule {name!r}: it {reason}; on_reward_error='zero' gives "
                "such molecules the weight zero and goes on"
            ) from cause
        self.failures[name] = reason
        return -math.inf


class _ShapeError(ValueError):
    """The function returned something that is not one number a molecule."""
