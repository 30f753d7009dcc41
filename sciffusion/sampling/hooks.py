"""Hooks: what may look at or change a sampler run between its parts.

The driver calls, in this order, ``before_run`` once, then in each step ``before_eval`` and ``after_eval``
around every network evaluation and ``after_step`` at its end, and ``trace`` when the run is over.  A hook
overrides what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.reflected import fold
from sciffusion.sampling.state import State

__all__ = ["Hook", "ProjectionHook", "ReflectionHook", "TraceRecorder"]


class Hook:
    """A hook that does nothing; subclass and override."""

    def before_run(self, state: State) -> State:
        """Return the state from which the run starts; also the place to forget an earlier run."""
        return state

    def before_eval(self, state: State) -> State:
        """Return the state that the denoiser sees; the solver's own state stays as it is."""
        return state

    def after_eval(self, state: State, prediction: Any) -> Any:
        """Return the prediction that the solver sees."""
        return prediction

    def after_step(self, before: State, after: State) -> State:
        """Return the state from which the next step starts."""
        return after

    def trace(self) -> Mapping[str, Any]:
        """Return what was recorded, by name."""
        return {}


class TraceRecorder(Hook):
    """Records times and states, or anything computed from a state, at the start and after every step.

    Parameters
    ----------
    record : callable, optional
        From a state to what is kept; a copy of ``x`` by default.
    name : str, default "x"
        Name of the record in the trace; the times are kept as ``"<name>_times"``.
    """

    def __init__(self, record: Callable[[State], Any] | None = None, name: str = "x") -> None:
        self.record = record
        self.name = name
        self._values: list[Any] = []
        self._times: list[Tensor] = []

    def before_run(self, state: State) -> State:
        """Forget an earlier run and record the start."""
        self._values, self._times = [], []
        return self._keep(state)

    def after_step(self, before: State, after: State) -> State:
        """Record the new state."""
        return self._keep(after)

    def trace(self) -> Mapping[str, Any]:
        """Return the records and their times, one entry for the start and one for every step."""
        return {self.name: self._values, f"{self.name}_times": self._times}

    def _keep(self, state: State) -> State:
        self._values.append(state.x.clone() if self.record is None else self.record(state))
        self._times.append(state.t.clone())
        return state


class ProjectionHook(Hook):
    """Maps the values onto a set after every step, for instance a range or a sum constraint.

    Parameters
    ----------
    project : callable
        From values to values of the same shape and type.
    only_last : bool, default False
        Project only once all times are 0.
    """

    def __init__(self, project: Callable[[Tensor], Tensor], only_last: bool = False) -> None:
        self.project = project
        self.only_last = only_last

    def after_step(self, before: State, after: State) -> State:
        """Project the new values.

        Raises
        ------
        ValueError
            If the projection changes the shape or type of the values.
        """
        if self.only_last and bool((after.t > 0.0).any()):
            return after
        x = self.project(after.x)
        if x.shape != after.x.shape or x.dtype != after.x.dtype:
            raise ValueError(
                f"project returned shape {tuple(x.shape)} and {x.dtype} for values of shape "
                f"{tuple(after.x.shape)} and {after.x.dtype}; expected the same"
            )
        return replace(after, x=x)


class ReflectionHook(Hook):
    """Folds the values back between bounds after every step, or only after the last one.

    Where the law of the noisy values lies between the bounds at every time, as on
    `sciffusion.continuous.reflected.ReflectedVarianceExploding`, folding after every step is part of the
    method.  On an ordinary path it is not: noisy values belong outside the bounds, and folding them changes
    the law of the samples.  There use ``only_last=True``, which puts each sample that an inexact denoiser or
    a coarse step left outside at its mirror place, and changes no other.

    Parameters
    ----------
    low, high : Tensor or float, optional
        Bounds that broadcast against the values; at least one.
    only_last : bool, default False
        Fold only once all times are 0.
    """

    def __init__(
        self,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        only_last: bool = False,
    ) -> None:
        # Refuses bounds that are none before any run.
        fold(torch.zeros(()), low, high)
        self.low, self.high = low, high
        self.only_last = only_last

    def after_step(self, before: State, after: State) -> State:
        """Fold the new values."""
        if self.only_last and bool((after.t > 0.0).any()):
            return after
        return replace(after, x=fold(after.x, self.low, self.high))
