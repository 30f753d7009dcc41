"""The solvers that a token estimator knows by name."""

from __future__ import annotations

import importlib
from typing import Any

from ..discrete import DiscreteSolver
from ..discrete.grids import KeepSpacing
from .token_processes import TokenRecipe

__all__ = ["SOLVERS", "token_solver"]

#: Names, each with its class in ``sciffusion.discrete`` and the spacing of times that suits it.
SOLVERS: dict[str, tuple[str, KeepSpacing]] = {
    "ancestral": ("Ancestral", "linear"),
    "trapezoid": ("PredictionTrapezoid", "linear"),
    "maximal_coupling": ("MaximalCoupling", "linear"),
}


def token_solver(given: Any, recipe: TokenRecipe, nfe: int, *, plain: bool = True) -> tuple[Any, KeepSpacing]:
    """Return a solver and the spacing of its times.

    Parameters
    ----------
    given : str or DiscreteSolver
        "auto", a name, or a solver.
    recipe : TokenRecipe
        What goes with the process.
    nfe : int
        Budget of a draw; "auto" is "ancestral" for a budget of one.
    plain : bool, default True
        Whether a draw goes without guidance and rewards, which for some processes only "ancestral" does.

    Raises
    ------
    ValueError
        If it is neither a known name nor a solver.
    """
    if isinstance(given, DiscreteSolver):
        return given, "linear"
    best = recipe.solver if plain and nfe > 1 else "ancestral"
    name = best if isinstance(given, str) and given == "auto" else given
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(
            f"solver must be 'auto', one of {', '.join(map(repr, SOLVERS))} or a DiscreteSolver, got "
            f"{given!r}"
        )
    module = importlib.import_module("sciffusion.discrete")
    class_name, spacing = SOLVERS[name]
    if name == "trapezoid" and recipe.process == "Uniform":
        # Small steps at both ends halve its error on uniform noise (benchmarks/discrete_exact.py).
        spacing = "cosine"
    return getattr(module, class_name)(), spacing
