r"""Predictions of guidance that acts on transitions of discrete processes, not on clean tokens.

Some guidance of tokens has no law of clean tokens to speak of: what it changes is the law
:math:`p(x_s^l \mid x_t)` that a step draws each site from. Solvers ask the prediction for that law, so such a
guidance answers with a prediction that knows it and nothing else; whatever needs laws of clean tokens
(maximal coupling, trapezoids, Gibbs moves) is refused by name instead of being given something wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from sciffusion.discrete import DiscretePrediction

__all__ = ["GuidedTokens", "TiltedTransition", "TransitionPrediction", "mixed_laws", "unguided_prediction"]


class TransitionPrediction(ABC):
    """A prediction that answers for reverse laws only.

    Attributes
    ----------
    base : prediction
        What was predicted without this guidance, at no further network evaluation.
    """

    base: Any

    @abstractmethod
    def reverse_log_probabilities(self, process: Any, state: Any, s: Tensor) -> Tensor:
        """Return the guided log law of each site at time ``s`` (see `DiscretePrediction`)."""

    def _refuse(self, wanted: str) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} knows the reverse law of a step and no {wanted}: this guidance acts on "
            "transitions. Use a solver that draws from reverse laws (Ancestral), or guidance that acts on "
            "clean tokens (DiscreteClassifierFree(blend='clean'))"
        )

    def to(self, kind: str, process: Any, state: Any) -> NoReturn:
        """Refuse: there is no law of clean tokens to convert."""
        self._refuse(f"{kind} law of clean tokens")

    @property
    def log_probabilities(self) -> Tensor:
        """Refuse."""
        self._refuse("law of clean tokens")

    @property
    def probabilities(self) -> Tensor:
        """Refuse."""
        self._refuse("law of clean tokens")

    def noisy_conditional(self, process: Any, state: Any) -> NoReturn:
        """Refuse."""
        self._refuse("noisy conditional")

    def log_score(self, process: Any, state: Any) -> NoReturn:
        """Refuse."""
        self._refuse("concrete score")


@dataclass(frozen=True, eq=False)
class TiltedTransition(TransitionPrediction):
    """The reverse law of each site times a weight for every token.

    Parameters
    ----------
    base : prediction
        Whose reverse law is tilted.
    log_tilt : Tensor of shape ``(..., state_size)``
        Log weights up to a constant a site, ``-inf`` to rule a token out. A site all of whose possible tokens
        are ruled out is left as it was: there is nothing to lead it to.
    """

    base: Any
    log_tilt: Tensor

    def reverse_log_probabilities(self, process: Any, state: Any, s: Tensor) -> Tensor:
        """Return the tilted law, normalised, float64."""
        law: Tensor = self.base.reverse_log_probabilities(process, state, s)
        tilted = law + self.log_tilt.to(law)
        possible = (tilted > -torch.inf).any(-1, keepdim=True)
        return torch.log_softmax(torch.where(possible, tilted, law), -1)


@dataclass(frozen=True, eq=False)
class GuidedTokens(DiscretePrediction):
    """A guided law of clean tokens that remembers what it was before.

    Parameters
    ----------
    logits, kind
        See `DiscretePrediction`.
    base : prediction
        What was predicted without this guidance.
    """

    base: Any = None


def mixed_laws(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    r"""Return normalised log laws :math:`\propto p^w q^{1 - w}`.

    Parameters
    ----------
    first, second : Tensor of shape ``(..., tokens)``
        Log laws p and q.
    weight : Tensor
        w, which broadcasts against the laws.

    Returns
    -------
    Tensor
        A token that a law of weight other than 0 rules out stays ruled out, whatever the sign of the weight;
        weights of 1 and 0 give p and q themselves.
    """
    out = ((first == -torch.inf) & (weight != 0.0)) | ((second == -torch.inf) & (weight != 1.0))
    finite = [torch.where(law == -torch.inf, 0.0, law) for law in (first, second)]
    return torch.log_softmax(
        torch.where(out, -torch.inf, weight * finite[0] + (1.0 - weight) * finite[1]), -1
    )


def unguided_prediction(prediction: Any) -> Any:
    """Return what a guided prediction was before any guidance that remembers it, or None if none does."""
    found = None
    while getattr(prediction, "base", None) is not None:
        prediction = found = prediction.base
    return found
