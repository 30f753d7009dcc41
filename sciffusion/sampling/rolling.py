"""Rolling sampling: an endless series frame by frame, from a window that moves along.

A window of W frames stands at the times 1/W, 2/W, ..., 1.  Denoising all of them by one W-th makes the first
frame clean; it is given away (and stays in sight as context), the window moves on by one frame and takes in a
frame of pure noise.  So a series needs one pass through the window to start, and from then on
``steps_per_frame`` steps for every frame, however long it is.

Each element makes ordinary steps between its own two times, so every solver, guidance and hook works here.
What is exact: if the denoiser sees enough (a process of memory p needs p frames of context), the result has
the law of the series in the limit of many steps, whatever the window.

Ruhe et al., *Rolling Diffusion Models*, arXiv 2402.09470.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import Path, PathCoefficients
from sciffusion.continuous.solvers.base import Evaluation, Solver
from sciffusion.sampling.driver import sample
from sciffusion.sampling.grids import uniform_grid
from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.state import State
from sciffusion.sampling.time_maps import BoundaryPhase, RollingWindow, TimeMap, local_grid

__all__ = ["RolledFrame", "rolling_sample"]


class RolledFrame(NamedTuple):
    """A finished frame of a rolling run.

    Parameters
    ----------
    number : int
        Its place in the series, from 0.
    values : Tensor
        Shape ``(batch, *frame)``.
    nfe : int
        Network evaluations from the start of the run until it was finished.
    """

    number: int
    values: Tensor
    nfe: int


def rolling_sample(
    denoiser: Denoiser,
    solver: Solver,
    *,
    window: int,
    frame_shape: Sequence[int],
    n_frames: int | None = None,
    steps_per_frame: int = 1,
    context: int = 0,
    past: Tensor | None = None,
    condition: Any = None,
    condition_at: Callable[[int], Any] | None = None,
    noise: Callable[[int], Tensor] | None = None,
    guidance: Guidance | Sequence[Guidance] = (),
    hooks: Sequence[Hook] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Iterator[RolledFrame]:
    r"""Sample a series of any length frame by frame, with a window that moves along.

    Parameters
    ----------
    denoiser : Denoiser
        Sees values of shape ``(batch, frames, ...)`` at times of shape ``(1, frames)``: the clean context
        (fewer frames at the start of the series) and the window.
    solver : Solver
        Any; earlier evaluations move along with the frames, so multistep solvers keep their order.
    window : int
        Number W of frames that are denoised together.
    frame_shape : sequence of int
        Shape ``(batch, ...)`` of one frame.
    n_frames : int, optional
        Number of frames to give; without end by default.
    steps_per_frame : int, default 1
        Steps between two frames; each frame makes ``window * steps_per_frame`` steps in all.
    context : int, default 0
        Number of clean frames before the window that the denoiser sees.  What it cannot see it cannot
        continue: a process of memory p needs ``context >= p``.
    past : Tensor, optional
        Frames known before the start, shape ``(batch, n, ...)``; the last ``context`` of them are used.
    condition : object, optional
        Passed to the denoiser.
    condition_at : callable, optional
        From the number in the series of the first frame that the denoiser sees (negative in the past) to the
        condition; instead of ``condition``.
    noise : callable, optional
        From the number of a frame to the noise from which it starts, of shape ``frame_shape``; drawn from the
        path's prior by default.
    guidance, hooks
        As for `sample`.  Hooks are started anew for every frame, and what they record is not returned.
    generator : torch.Generator, optional
        For the noise and for stochastic steps.
    dtype, device
        Of values drawn from the prior.

    Yields
    ------
    RolledFrame
        Frame after frame, the first after ``window * steps_per_frame`` steps, each further one after
        ``steps_per_frame``.

    Raises
    ------
    ValueError
        For numbers that are not positive, a ``past`` that does not fit, both kinds of condition, or a missing
        generator.
    """
    counts = {"window": window, "steps_per_frame": steps_per_frame, "n_frames": n_frames}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be positive, got {count}")
    if context < 0:
        raise ValueError(f"context must not be negative, got {context}")
    if condition is not None and condition_at is not None:
        raise ValueError("give at most one of condition= and condition_at=")
    draw = noise if noise is not None else _prior_noise(denoiser.path, frame_shape, generator, dtype, device)

    def frames() -> Iterator[RolledFrame]:
        new = [draw(number) for number in range(window)]
        before = _context(past, context, new[0])
        seen = before.shape[1]
        current = State(x=torch.cat([before, torch.stack(new, 1)], 1))
        phase: TimeMap = BoundaryPhase(window, seen)
        number, nfe, steps = 0, 0, window * steps_per_frame
        while True:
            grid = local_grid(phase, uniform_grid(steps), seen + window)
            given = condition if condition_at is None else condition_at(number - seen)
            part = sample(
                denoiser, solver, grid, state=current, condition=given, guidance=guidance, hooks=hooks,
                generator=generator, resume=True,
            )  # fmt: skip
            nfe += part.nfe
            yield RolledFrame(number, part.samples[:, seen], nfe)
            number += 1
            if number == n_frames:
                return
            dropped = int(seen == context)
            current = _rolled(part.state, draw(number + window - 1), dropped, denoiser.path)
            seen += 1 - dropped
            phase, steps = RollingWindow(window, seen), steps_per_frame

    return frames()


def _prior_noise(
    path: Path,
    frame_shape: Sequence[int],
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Callable[[int], Tensor]:
    if generator is None:
        raise ValueError("drawing the frames' noise needs a generator, got None")
    return lambda number: path.draw_prior(tuple(frame_shape), generator, 1.0, dtype, device)


def _context(past: Tensor | None, context: int, frame: Tensor) -> Tensor:
    """Return the last frames of the past, of the shape of the others."""
    if past is None or context == 0:
        return frame.new_empty((frame.shape[0], 0, *frame.shape[1:]))
    if past.ndim != frame.ndim + 1 or past.shape[:1] + past.shape[2:] != frame.shape:
        raise ValueError(
            f"past must have shape (batch, frames, ...) with frames of shape {tuple(frame.shape)}, got "
            f"{tuple(past.shape)}"
        )
    return past[:, -context:].to(frame.dtype).to(frame.device)


def _rolled(state: State, frame: Tensor, dropped: int, path: Path) -> State:
    """Return the state without its first frame (where it is dropped) and with a new one of pure noise."""
    x = torch.cat([state.x[:, dropped:], frame[:, None]], 1)
    if not all(isinstance(evaluation, Evaluation) for evaluation in state.history):
        return replace(state, x=x, history=())
    fresh = path.coefficients(torch.ones(1, 1, dtype=torch.float64, device=state.t.device))
    history = tuple(_rolled_evaluation(evaluation, dropped, fresh) for evaluation in state.history)
    return replace(state, x=x, history=history)


def _rolled_evaluation(evaluation: Evaluation, dropped: int, fresh: PathCoefficients) -> Evaluation:
    """Move an earlier evaluation along with its frames.

    The new frame gets no estimate: at the time at which it stands, no solver uses one.
    """
    x0 = torch.cat([evaluation.x0[:, dropped:], torch.zeros_like(evaluation.x0[:, :1])], 1)
    old = evaluation.coefficients
    names = ("alpha", "sigma", "d_alpha", "d_sigma")
    rolled = {name: torch.cat([getattr(old, name)[:, dropped:], getattr(fresh, name)], 1) for name in names}
    return Evaluation(x0, PathCoefficients(**rolled))
