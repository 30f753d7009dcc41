"""The sampler run: a solver, a grid and hooks around a denoiser.

The driver moves times, counts network evaluations and calls hooks.  It never does arithmetic on the values
being sampled, so continuous and discrete diffusion share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from sciffusion.sampling.compute import ComputePolicy, EveryStep
from sciffusion.sampling.grids import check_start, checked_grid
from sciffusion.sampling.guidance.base import Guidance, GuidedDenoiser
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.smc import ParticleReport, ParticleRun, Particles, ParticleStep
from sciffusion.sampling.state import State

__all__ = ["SampleResult", "sample"]


class _Prior(Protocol):
    def draw_prior(
        self, shape: tuple[int, ...], generator: torch.Generator, t: Tensor, dtype: torch.dtype,
        device: torch.device | str,
    ) -> Tensor: ...  # fmt: skip


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class _Solver(Protocol):
    nfe: int

    def step(self, state: State, t_next: Tensor, denoiser: Any) -> State: ...


@dataclass(frozen=True, eq=False)
class SampleResult:
    """What a sampler run gives.

    Parameters
    ----------
    samples : Tensor
        Values at the end of the grid.
    nfe : int
        Number of network evaluations, each of the whole batch.
    state : State
        Final state.
    trace : Mapping
        What hooks recorded, by name.
    particles : ParticleReport, optional
        Weights, effective sample sizes and log normaliser of a run with particles.
    """

    samples: Tensor
    nfe: int
    state: State
    trace: Mapping[str, Any]
    particles: ParticleReport | None = None

    @property
    def log_weights(self) -> Tensor | None:
        """Log weights of the samples, those of one system summing to weight 1; None without particles."""
        return None if self.particles is None else self.particles.log_weights

    @property
    def ess_history(self) -> Tensor | None:
        """Effective sample sizes, shape ``(weighings, systems)``; None without particles."""
        return None if self.particles is None else self.particles.ess_history

    @property
    def log_normaliser(self) -> Tensor | None:
        """Log normaliser of the weighted law, one a system; None without particles."""
        return None if self.particles is None else self.particles.log_normaliser

    def unweighted(self, generator: torch.Generator, count: int | None = None) -> Tensor:
        """Return samples drawn by their weights, ``count`` a system (as many as particles by default).

        Without particles the samples have no weights and are returned as they are.
        """
        if self.particles is None:
            return self.samples
        return self.samples[self.particles.draw(generator, count).to(self.samples.device)]


class _RememberingPath:
    """A path that computes the coefficients of a whole grid at once and hands them out time by time.

    Times are known by identity: a solver hands back the tensors that the driver gave it.  For any other
    tensor the coefficients are computed, and the last ones kept: where a step ends, the next one begins.
    """

    def __init__(self, path: Any, grid: Tensor) -> None:
        self._path = path
        self._grid = grid
        #: The times of the run, by step.
        self.times = grid.unbind(0)
        # One time for all elements; times of single elements would cost memory for the whole run.
        self._places = {id(t): k for k, t in enumerate(self.times)} if grid.ndim == 1 else {}
        self._every: tuple[Any, ...] = ()
        self._last: tuple[Any, Any] = (None, None)

    def coefficients(self, t: Tensor) -> Any:
        """Return the path's coefficients at times ``t``."""
        place = self._places.get(id(t))
        if place is not None:
            if not self._every:
                self._every = self._path.coefficients(self._grid).unbind()
            return self._every[place]
        if t is not self._last[0]:
            self._last = (t, self._path.coefficients(t))
        return self._last[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._path, name)


class _Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: _Denoiser) -> None:
        self._denoiser = denoiser
        self.path = denoiser.path
        self.nfe = 0

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        self.nfe += 1
        return self._denoiser(state, condition, cache)


class _Evaluator:
    """The denoiser as a solver sees it: condition, guidance, hooks and policy applied, calls counted."""

    def __init__(
        self,
        denoiser: _Denoiser,
        guidance: Guidance | Sequence[Guidance],
        condition: Any,
        hooks: Sequence[Hook],
        policy: ComputePolicy,
        grid: Tensor,
    ) -> None:
        self._counted = _Counted(denoiser)
        self._guided = GuidedDenoiser(self._counted, guidance)
        self._condition = condition
        self._hooks = hooks
        self._policy = policy
        self._n_steps = grid.shape[0] - 1
        self.path = _RememberingPath(denoiser.path, grid)
        self.nfe_per_call = self._guided.nfe
        self.differentiates = self._guided.differentiates
        self.guided = isinstance(guidance, Guidance) or len(guidance) > 0
        self.first_prediction: Any = None

    @property
    def nfe(self) -> int:
        """Network evaluations so far."""
        return self._counted.nfe

    def __call__(self, state: State, condition: Any = None, cache: Any = None) -> Any:
        for hook in self._hooks:
            state = hook.before_eval(state)
        if self._policy.decide(state, self._n_steps):
            prediction = self._guided(state, self._condition if condition is None else condition, cache)
            self._policy.observe(state, prediction)
        else:
            prediction = self._policy.forecast(state)
        for hook in self._hooks:
            prediction = hook.after_eval(state, prediction)
        if self.first_prediction is None:
            self.first_prediction = prediction
        return prediction

    def unguided(self, state: State) -> Any:
        """Predict without guidance, hooks and policy; counted."""
        return self._counted(state, self._condition)


def _times(grid_time: Tensor, known: Tensor | None) -> Tensor:
    """Return the times of one grid point, with known sites held at time 0."""
    if known is None:
        return grid_time
    known = known.to(grid_time.device)
    extra = known.ndim - grid_time.ndim
    if extra > 0:
        grid_time = grid_time.reshape(grid_time.shape + (1,) * extra)
    elif extra < 0:
        known = known.reshape(known.shape + (1,) * -extra)
    return torch.where(known, 0.0, grid_time)


def _start(
    path: _Prior,
    shape: Sequence[int] | None,
    state: State | None,
    t: Tensor,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
    resume: bool,
) -> State:
    if (shape is None) == (state is None):
        raise ValueError(
            "give exactly one of shape= (start from the path's prior) and state= (start from there)"
        )
    if state is not None:
        check_start(state.x, t, state.known)
        start = state if generator is None else replace(state, generator=generator)
        return replace(start, t=_times(t, state.known), index=0, history=state.history if resume else ())
    assert shape is not None
    if generator is None:
        raise ValueError("drawing the start from the prior needs a generator, got None")
    x = path.draw_prior(tuple(shape), generator, t, dtype, device)
    # A process may remember more of its noise than the values show.
    starting_aux = getattr(path, "starting_aux", None)
    aux = None if starting_aux is None else starting_aux(x, generator)
    return State(x=x, t=t, aux=aux, generator=generator)


def sample(
    denoiser: _Denoiser,
    solver: _Solver,
    grid: Tensor,
    *,
    shape: Sequence[int] | None = None,
    state: State | None = None,
    condition: Any = None,
    guidance: Guidance | Sequence[Guidance] = (),
    particles: Particles | None = None,
    hooks: Sequence[Hook] = (),
    policy: ComputePolicy | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    inference_mode: bool = True,
    resume: bool = False,
) -> SampleResult:
    """Run a solver along a grid of times.

    Parameters
    ----------
    denoiser : Denoiser
        Called as ``denoiser(state, condition, cache)``; knows its ``path``.
    solver : Solver
        Makes the steps.
    grid : Tensor
        Shape ``(n_steps + 1, ...)``: times in [0, 1] that decrease along the first axis.  Further axes give
        single items or elements times of their own; they are a prefix of the shape of the values.
    shape : sequence of int, optional
        Shape of the values, drawn from the path's prior at ``grid[0]``.
    state : State, optional
        Start from these values instead; ``state.x`` belongs to the times ``grid[0]``, and known sites hold
        their clean values.  Exactly one of ``shape`` and ``state`` is given.
    condition : object, optional
        Passed to the denoiser at every evaluation.
    guidance : Guidance or sequence of Guidance
        Changes the predictions; in a sequence the first one works on the denoiser itself.
    particles : Particles, optional
        Weighs and resamples the items, whose first axis is then systems x particles; after the hooks of each
        step.
    hooks : sequence of Hook
        Applied in this order.
    policy : ComputePolicy, optional
        `EveryStep` by default.
    generator : torch.Generator, optional
        For the start and for stochastic steps; replaces that of ``state``.
    dtype, device
        Of values drawn from the prior.
    progress : callable, optional
        Called as ``progress(steps_made, n_steps)`` after every step.
    inference_mode : bool, default True
        Run under `torch.inference_mode`; the samples then cannot enter a computation with gradients.
        Guidance that differentiates the denoiser runs under `torch.no_grad` instead.
    resume : bool, default False
        Let a multistep solver go on from the earlier evaluations in ``state.history``, instead of starting
        without any; for a run in several parts.

    Returns
    -------
    SampleResult
        Samples, number of network evaluations, final state, trace and, with particles, their weights, which
        any average over the samples needs.

    Raises
    ------
    ValueError
        For a grid that does not decrease within [0, 1] (naming the first place), a start that is missing,
        given twice, not finite (naming the item) or of a shape that its times do not fit, a missing
        generator, a batch that does not hold whole particle systems, or weights that all vanish.
    TypeError
        For a grid of integers or known sites that are no mask of bool.
    RuntimeError
        If the solver evaluates the network more often in a step than it declares.
    """
    grid = checked_grid(grid)
    n_steps = grid.shape[0] - 1
    policy = EveryStep() if policy is None else policy
    evaluator = _Evaluator(denoiser, guidance, condition, hooks, policy, grid)
    times = evaluator.path.times
    with _gradient_mode(inference_mode, evaluator.differentiates):
        current = _start(denoiser.path, shape, state, times[0], generator, dtype, device, resume)
        policy.start(denoiser.path, grid, solver.nfe)
        for hook in hooks:
            current = hook.before_run(current)
        run = None if particles is None else particles.begin(current)
        for index in range(n_steps):
            t_next = _times(times[index + 1], current.known)
            proposed = _step(solver, current, t_next, evaluator)
            after = proposed
            for hook in hooks:
                after = hook.after_step(current, after)
            if run is not None:
                last = index == n_steps - 1
                after = _weighed(run, current, proposed, after, evaluator, solver, last)
            current = after
            if progress is not None:
                progress(index + 1, n_steps)
    trace = {name: value for hook in hooks for name, value in hook.trace().items()}
    report = None if run is None else run.systems.report()
    return SampleResult(current.x, evaluator.nfe, current, trace, report)


def _gradient_mode(inference_mode: bool, differentiates: bool) -> AbstractContextManager[object]:
    if not inference_mode:
        return nullcontext()
    return torch.no_grad() if differentiates else torch.inference_mode()


def _step(solver: _Solver, before: State, t_next: Tensor, evaluator: _Evaluator) -> State:
    evaluations = evaluator.nfe
    evaluator.first_prediction = None
    after = replace(solver.step(before, t_next, evaluator), index=before.index + 1)
    made, declared = evaluator.nfe - evaluations, solver.nfe * evaluator.nfe_per_call
    if made > declared:
        guided = f" ({solver.nfe} of its own, {evaluator.nfe_per_call} each under guidance)"
        raise RuntimeError(
            f"{type(solver).__name__} made {made} evaluations in a step and declares {declared}"
            f"{guided if evaluator.nfe_per_call > 1 else ''}"
        )
    return after


def _weighed(
    run: ParticleRun,
    before: State,
    proposed: State,
    after: State,
    evaluator: _Evaluator,
    solver: _Solver,
    last: bool,
) -> State:
    step = ParticleStep(
        before, after, proposed, evaluator.first_prediction, evaluator, solver, last, evaluator.guided,
        lambda: evaluator.unguided(before),
    )  # fmt: skip
    return run.after_step(step)
