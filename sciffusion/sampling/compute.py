"""Compute policies: at which evaluations of a sampler run the network is really called."""

from __future__ import annotations

from typing import Any, Protocol

from sciffusion.sampling.state import State

__all__ = ["ComputePolicy", "EveryStep"]


class ComputePolicy(Protocol):
    """Decides about network calls and stands in for the network where there is none."""

    def decide(self, state: State, n_steps: int) -> bool:
        """Tell whether to run the network on ``state`` in a run of ``n_steps`` steps."""
        ...

    def forecast(self, state: State) -> Any:
        """Return a prediction for ``state`` without the network."""
        ...

    def observe(self, state: State, prediction: Any) -> None:
        """Take note of a prediction that the network made."""
        ...


class EveryStep:
    """Calls the network at every evaluation."""

    def decide(self, state: State, n_steps: int) -> bool:
        """Return True."""
        return True

    def forecast(self, state: State) -> Any:
        """Refuse: there is nothing to forecast from.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError("EveryStep calls the network at every evaluation and forecasts nothing")

    def observe(self, state: State, prediction: Any) -> None:
        """Ignore the prediction."""
