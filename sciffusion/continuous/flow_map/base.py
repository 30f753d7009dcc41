r"""Flow maps: where the probability flow takes a state, without the steps in between.

The probability-flow equation :math:`\dot x = \dot\alpha\,E[x_0|x] + \dot\sigma\,E[\varepsilon|x]` moves a
state from a time t to a smaller time s along one curve.  Its *flow map* :math:`G(x, t, s)` obeys

.. math::
   G(x, t, t) = x, \qquad G(G(x, t, u), u, s) = G(x, t, s), \qquad
   \frac{d}{dt} G(x_t, t, s) = 0 \text{ along the flow}.

The first rule is the boundary condition, which every flow map of this library obeys by construction; the
second is what trajectory models are trained on, the third what consistency models are trained on.  A
denoiser becomes a flow map through a solver (`SolverFlowMap`); a target known in closed form has its own
(`ExactFlowMap`), against which learned ones are measured.

Boffi, Albergo and Vanden-Eijnden, *Flow Map Matching*, arXiv 2406.07507 (the three rules); Song et al.,
*Consistency Models*, arXiv 2303.01469.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser, NoisyState
from sciffusion.continuous.path import Path, match_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.solvers.base import Solver

__all__ = ["ExactFlowMap", "FlowMap", "SolverFlowMap", "check_interval"]


@runtime_checkable
class FlowMap(Protocol):
    """Anything that moves states along the probability flow of a known path.

    Attributes
    ----------
    path : Path
        The path on whose states it works.
    nfe : int
        Network evaluations of one call.
    """

    @property
    def path(self) -> Path:
        """The path on whose states it works."""
        ...

    @property
    def nfe(self) -> int:
        """Network evaluations of one call."""
        ...

    def __call__(self, x: Tensor, t: Tensor | float, s: Tensor | float, condition: Any = None) -> Tensor:
        """Return the values at times ``s`` of the curves that pass through ``x`` at times ``t >= s``."""
        ...


def check_interval(t: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return departure and arrival times in float64 and of one shape.

    Raises
    ------
    ValueError
        If an arrival is later than its departure, or the shapes do not belong to one state.
    """
    departure, arrival = match_times(t, s)
    if bool((arrival > departure).any()):
        raise ValueError(
            f"a flow map goes towards the data: expected s <= t, got {_worst(departure, arrival)}"
        )
    return departure, arrival


def _worst(t: Tensor, s: Tensor) -> str:
    place = int((s - t).reshape(-1).argmax())
    return f"s={float(s.reshape(-1)[place]):.4g} for t={float(t.reshape(-1)[place]):.4g}"


class _KnownFlow(Protocol):
    path: Path

    def flow_map(self, x: Tensor, t: Tensor | float, t_next: Tensor | float) -> Tensor: ...


class ExactFlowMap:
    """The flow map of a target known in closed form.

    Parameters
    ----------
    denoiser : ExactDenoiser
        Of a target whose flow is known: anything with a ``path`` and a method ``flow_map(x, t, s)``.

    Notes
    -----
    It counts as one network evaluation, which is what a perfectly trained flow map would take.
    """

    nfe = 1

    def __init__(self, denoiser: _KnownFlow) -> None:
        self.denoiser = denoiser
        self.path = denoiser.path

    def __call__(self, x: Tensor, t: Tensor | float, s: Tensor | float, condition: Any = None) -> Tensor:
        """Return the exact values at times ``s`` (see `FlowMap`)."""
        t, s = check_interval(t, s)
        return self.denoiser.flow_map(x, t, s)


@dataclass(frozen=True, eq=False)
class _Moving:
    """The least that a solver needs of a state."""

    x: Tensor
    t: Tensor
    history: tuple[Any, ...] = ()
    generator: torch.Generator | None = field(default=None)

    def moved(self, x: Tensor, t: Tensor, history: tuple[Any, ...]) -> _Moving:
        return replace(self, x=x, t=t, history=history)


@dataclass(frozen=True, eq=False)
class _Conditioned:
    """A denoiser with its condition already given."""

    denoiser: Denoiser
    condition: Any

    @property
    def path(self) -> Path:
        return self.denoiser.path

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        return self.denoiser(state, self.condition if condition is None else condition, cache)


class SolverFlowMap:
    """A denoiser as a flow map, by a deterministic solver: the teacher of a learned one.

    Parameters
    ----------
    denoiser : Denoiser
        Exact, trained or guided.
    solver : Solver
        Of the probability flow; a stochastic one gives no flow map.
    n_steps : int, default 1
        Steps of each call, equally spaced in time between departure and arrival.

    Notes
    -----
    It obeys the boundary condition exactly (an element that does not move keeps its value) and the other two
    rules up to the error of the solver.
    """

    def __init__(self, denoiser: Denoiser, solver: Solver, n_steps: int = 1) -> None:
        if n_steps < 1:
            raise ValueError(f"n_steps must be positive, got {n_steps}")
        self.denoiser = denoiser
        self.solver = solver
        self.n_steps = n_steps

    @property
    def path(self) -> Path:
        """The path of the denoiser."""
        return self.denoiser.path

    @property
    def nfe(self) -> int:
        """Network evaluations of one call, at most."""
        return self.solver.total_nfe(self.n_steps)

    def __call__(self, x: Tensor, t: Tensor | float, s: Tensor | float, condition: Any = None) -> Tensor:
        """Return the values at times ``s`` by ``n_steps`` steps (see `FlowMap`)."""
        t, s = check_interval(t, s)
        denoiser = _Conditioned(self.denoiser, condition)
        state = _Moving(x, t)
        for step in range(1, self.n_steps + 1):
            # The arrival itself, not its rounded interpolation, ends the last step.
            t_next = s if step == self.n_steps else t + (s - t) * (step / self.n_steps)
            state = self.solver.step(state, t_next, denoiser)
        return state.x
