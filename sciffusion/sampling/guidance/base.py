"""Guidance: what changes the predictions of a denoiser without training it anew.

A guidance receives the denoiser, calls it as it needs and returns a prediction of its own.  Guidances
compose: in a sequence the first one works on the denoiser itself, the next one on the guided result.
`GuidedDenoiser` gives the composition the form of a denoiser, so that solvers, samplers and diagnostics need
not know of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Protocol

__all__ = ["Guidance", "GuidedDenoiser"]


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class Guidance(ABC):
    """Changes predictions.

    Attributes
    ----------
    nfe : int
        Largest number of evaluations of the denoiser for one guided prediction.
    differentiates : bool
        Whether gradients are taken through the denoiser; a sampler run then goes without
        `torch.inference_mode`.
    """

    nfe: int = 1
    differentiates: bool = False

    @abstractmethod
    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction for a state.

        Parameters
        ----------
        denoiser : Denoiser
            What is guided; called at most ``nfe`` times.
        state : State
            Noisy values with their times.
        condition : object, optional
            What the denoiser is conditioned on.
        cache : object, optional
            Passed to the denoiser.

        Returns
        -------
        prediction
            Of a kind of the guidance's choice.
        """


class GuidedDenoiser:
    """A denoiser under guidance, itself a denoiser.

    Parameters
    ----------
    denoiser : Denoiser
        What is guided.
    guidance : Guidance or sequence of Guidance
        Applied in order, the first one next to the denoiser.

    Attributes
    ----------
    nfe : int
        Largest number of evaluations of ``denoiser`` in one call.
    differentiates : bool
        Whether any guidance takes gradients through the denoiser.
    """

    def __init__(self, denoiser: _Denoiser, guidance: Guidance | Sequence[Guidance]) -> None:
        given: Any = (guidance,) if isinstance(guidance, Guidance) else guidance
        parts = tuple(given) if isinstance(given, Iterable) else (given,)
        for part in parts:
            if not isinstance(part, Guidance):
                raise TypeError(
                    f"guidance must be a Guidance or a sequence of them, got {type(part).__name__}"
                )
        self.path = denoiser.path
        self.nfe = prod(part.nfe for part in parts)
        self.differentiates = any(part.differentiates for part in parts)
        inner = denoiser if len(parts) < 2 else GuidedDenoiser(denoiser, parts[:-1])
        self._inner = inner
        self._outermost = parts[-1] if parts else None

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction for a state."""
        if self._outermost is None:
            return self._inner(state, condition, cache)
        return self._outermost.on_prediction(self._inner, state, condition, cache)
