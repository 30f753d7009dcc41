"""Hyper-parameters of the two recipes of `SDPMSurvival`: what a parameter left at None becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sciffusion.estimators.validation import check_choice, check_integer, check_number

__all__ = ["RECIPES", "Settings", "resolve_settings"]


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a fit, with every None resolved."""

    recipe: str
    n_members: int
    width: int
    depth: int
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    max_epochs: int | None
    patience: int
    validation_fraction: float
    n_draws: int
    nfe: int

    def __post_init__(self) -> None:
        for name, low in (("n_members", 1), ("width", 1), ("depth", 1), ("batch_size", 1), ("max_steps", 0),
                          ("patience", 1), ("n_draws", 1), ("nfe", 1)):  # fmt: skip
            check_integer(name, getattr(self, name), low=low)
        if self.max_epochs is not None:
            check_integer("max_epochs", self.max_epochs, low=1)
        check_number("dropout", self.dropout, low=0.0, high=1.0, open_high=True)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("validation_fraction", self.validation_fraction, low=0.0, high=1.0, open_low=True,
                     open_high=True)  # fmt: skip
        if self.recipe == "paper" and self.n_members != 1:
            raise ValueError(f"recipe='paper' is a single network: n_members must be 1, got {self.n_members}")
        if self.recipe == "paper" and self.max_steps == 0:
            raise ValueError(
                "recipe='paper' predicts nothing without training: max_steps must be >= 1, got 0"
            )

    def steps(self, n_rows: int) -> int:
        """Return the largest number of training steps for a data set of so many rows."""
        if self.max_epochs is None:
            return self.max_steps
        epoch = -(-n_rows // min(self.batch_size, n_rows))
        return min(self.max_steps, self.max_epochs * epoch)


#: Value of each parameter left at None.  Those of "paper" are frequent or median choices of the published
#: tuning (arXiv 2605.22776), which found no setting much better than others and publishes none.
RECIPES: Mapping[str, Settings] = MappingProxyType(
    {
        "default": Settings(
            recipe="default", n_members=8, width=32, depth=2, dropout=0.0, learning_rate=2e-3,
            weight_decay=0.05, batch_size=256, max_steps=3000, max_epochs=None, patience=10,
            validation_fraction=0.2, n_draws=256, nfe=8,
        ),
        "paper": Settings(
            recipe="paper", n_members=1, width=128, depth=3, dropout=0.05, learning_rate=5e-4,
            weight_decay=1e-5, batch_size=64, max_steps=10**9, max_epochs=1000, patience=20,
            validation_fraction=0.25, n_draws=2048, nfe=20,
        ),
    }
)  # fmt: skip


def resolve_settings(recipe: str, given: Mapping[str, Any]) -> Settings:
    """Fill in what is None from the recipe and check all values.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter that is wrong.
    """
    check_choice("recipe", recipe, RECIPES)
    return replace(RECIPES[recipe], **{name: value for name, value in given.items() if value is not None})
