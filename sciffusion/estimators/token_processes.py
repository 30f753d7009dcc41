"""The processes a token estimator can be asked for, each with its kind of prediction and its losses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..discrete import CosineSchedule, DiscreteProcess, KeepSchedule, LinearSchedule, Matrix, TokenKind
from .token_alphabet import TokenAlphabet
from .token_rates import token_rates
from .validation import check_choice

__all__ = ["PROCESSES", "TokenRecipe", "token_recipe"]

_DISCRETE = "sciffusion.discrete"

#: Clocks by name.
SCHEDULES: dict[str, type[KeepSchedule]] = {"linear": LinearSchedule, "cosine": CosineSchedule}


@dataclass(frozen=True)
class TokenRecipe:
    """What goes with a process.

    Parameters
    ----------
    process : str
        Name of its class in ``sciffusion.discrete``.
    kind : {"loo", "denoiser"}
        What the network predicts.
    bound : str
        Name of the objective whose integral over times bounds the negative log likelihood.
    default : str
        Name of the objective that "auto" stands for.
    smallest : int
        Fewest tokens that the process can corrupt.
    solver : str
        Name of the solver that "auto" stands for.
    use_times : bool
        Whether the network is told times; masks show how much is noise.
    replaces : bool
        Whether noise replaces tokens whatever they are.
    aux : tuple of str
        What the network sees of a site beside its token.
    """

    process: str
    kind: TokenKind
    bound: str
    default: str
    smallest: int = 2
    solver: str = "trapezoid"
    use_times: bool = True
    replaces: bool = True
    aux: tuple[str, ...] = ()

    def build(self, alphabet: TokenAlphabet, schedule: Any, rates: Any) -> DiscreteProcess:
        """Return the process for an alphabet.

        Parameters
        ----------
        alphabet : TokenAlphabet
            The tokens.
        schedule : str
            Name of the clock.
        rates : object
            What a process with rates of its own is told.

        Raises
        ------
        ValueError
            If the alphabet is too small for it, the clock is not known, or rates are given in vain.
        """
        if alphabet.vocab_size < self.smallest:
            raise ValueError(
                f"X must hold at least {self.smallest} different tokens for process={self.name!r}, got "
                f"{alphabet.vocab_size}; process='mask' does with one"
            )
        clock = SCHEDULES[check_choice("schedule", schedule, SCHEDULES)]()
        if self.process == "Matrix":
            return Matrix(token_rates(alphabet, rates), clock)
        if rates is not None:
            raise ValueError("rates belong to process='matrix'; leave them out for other processes")
        made: DiscreteProcess = _named(self.process)(alphabet.vocab_size, clock)
        return made

    def objective(self, name: str) -> Any:
        """Return an objective by its name among `objectives`.

        Raises
        ------
        ValueError
            If there is none of this name for the process.
        """
        return _named(self.objectives[check_choice("objective", name, self.objectives)])()

    @property
    def name(self) -> str:
        """What users call the process."""
        return next(name for name, recipe in PROCESSES.items() if recipe == self)

    @property
    def objectives(self) -> dict[str, str]:
        """Names of objectives, each with its class in ``sciffusion.discrete``."""
        named = {"auto": self.default, "elbo": self.bound, "cross_entropy": "DenoiserCrossEntropy"}
        return named if self.aux else {**named, "maximal_coupling": "MaximalCouplingLoss"}


PROCESSES: dict[str, TokenRecipe] = {
    "mask": TokenRecipe("Mask", "denoiser", "MaskELBO", "MaskELBO", smallest=1, use_times=False),
    "uniform": TokenRecipe("Uniform", "loo", "UniformELBO", "UniformELBO"),
    # A leave-one-out law, for the denoiser's probability of its noise tends to 1 at the data as one minus a
    # multiple of 1 - a, which a network should not have to learn.
    "uniform_absorbing": TokenRecipe(
        "UniformAbsorbing", "loo", "AbsorbingUniformLoss", "AbsorbingUniformLoss", aux=("noise",)
    ),
    "matrix": TokenRecipe(
        "Matrix", "loo", "GenericELBO", "DenoiserCrossEntropy", solver="ancestral", replaces=False
    ),
}


def token_recipe(name: Any) -> TokenRecipe:
    """Return the recipe of a process by its name; raise ValueError, listing the names, if there is none."""
    return PROCESSES[check_choice("process", name, PROCESSES)]


def _named(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(_DISCRETE), name)
    return found
