r"""Sampling with flow maps: one to a few network evaluations.

A flow map goes from a time :math:`t_i` to any smaller one at once.  Between two jumps noise may be put back,
which repairs what a jump got wrong at the price of new randomness.  With :math:`\tilde\sigma = \sigma/\alpha`
and :math:`\gamma \in [0, 1]` a step from :math:`t_i` to :math:`t_{i+1}` is

.. math::
   \tilde\sigma_u = \sqrt{1 - \gamma^2}\; \tilde\sigma_{i+1}, \qquad
   x_u = G(x_i, t_i, u), \qquad
   x_{i+1} = \alpha_{i+1} \left( \frac{x_u}{\alpha_u}
   + \sqrt{\tilde\sigma_{i+1}^2 - \tilde\sigma_u^2}\; \varepsilon \right) .

- :math:`\gamma = 1`, the default, jumps to the data and puts all noise back: multistep consistency sampling,
  the only choice for a `ConsistencyModel`;
- :math:`\gamma = 0` is deterministic: for the exact map the samples are those of one jump;
- in between is the gamma-sampling of trajectory models.

For the exact map every choice gives exact samples whatever the number of steps.  On a path with noise left at
time 0 (:math:`\tilde\sigma_0 > 0`) u is never below 0.

Song et al., *Consistency Models*, arXiv 2303.01469 (multistep sampling); Kim et al., *Consistency Trajectory
Models*, arXiv 2310.02279 (gamma-sampling).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.flow_map import FlowMap
from sciffusion.continuous.path import Path, align, as_times
from sciffusion.sampling.driver import SampleResult, sample
from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.state import State

__all__ = ["few_step_sample"]


@dataclass(frozen=True, eq=False)
class _Departure(State):
    """A state that also knows where the flow map is to take it."""

    arrival: Tensor | None = None


class _Jumps:
    """A flow map in the place of the denoiser of a sampler run; it returns arrived values."""

    def __init__(self, flow_map: FlowMap) -> None:
        self._flow_map = flow_map
        self.path: Path = flow_map.path

    def __call__(self, state: _Departure, condition: Any = None, cache: Any = None) -> Tensor:
        assert state.arrival is not None
        return self._flow_map(state.x, state.t, state.arrival, condition)


class _JumpAndRenoise:
    """One step of the module's equation."""

    nfe = 1

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def step(self, state: State, t_next: Tensor, jumps: Any) -> State:
        """Jump to u, put noise back, and leave elements alone whose time does not change."""
        path: Path = jumps.path
        t_next = as_times(t_next)
        there, end = path.coefficients(t_next), path.coefficients(torch.zeros((), dtype=torch.float64))
        moving = t_next < state.t
        relative, floor = there.noise_to_signal, end.noise_to_signal
        jump_noise = torch.maximum((1.0 - self.gamma**2) ** 0.5 * relative, floor)
        u = torch.where(jump_noise > floor, path.time_of_log_snr(-torch.log(jump_noise)), 0.0)
        # Without noise to put back u is the next time itself, not its rounded image.
        u = t_next if self.gamma == 0.0 else torch.minimum(u.clamp_min(0.0), t_next)
        u = torch.where(moving, u, state.t)
        values = {f.name: getattr(state, f.name) for f in fields(State)}
        arrived: Tensor = jumps(_Departure(**values, arrival=u))
        at = path.coefficients(u)
        added = (relative**2 - at.noise_to_signal**2).clamp_min(0.0).sqrt()
        added = torch.where(moving & (u < t_next), there.alpha * added, 0.0)
        scale = torch.where(moving, there.alpha / at.alpha, 1.0)
        x = align(scale, arrived) * arrived
        if bool((added > 0.0).any()):
            x = x + align(added, x) * self._noise(x, state.generator)
        x = torch.where(align(moving.to(torch.float64), x) > 0.0, x, state.x)
        return state.moved(x, t_next, ())

    @staticmethod
    def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            raise ValueError("putting noise back needs a generator, got None; pass generator= or gamma=0")
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
        return noise.to(like.device)


def few_step_sample(
    flow_map: FlowMap,
    times: Tensor,
    *,
    shape: Sequence[int] | None = None,
    state: State | None = None,
    gamma: float = 1.0,
    condition: Any = None,
    hooks: Sequence[Hook] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    inference_mode: bool = True,
) -> SampleResult:
    """Sample by jumps of a flow map, with noise put back between them.

    Parameters
    ----------
    flow_map : FlowMap
        `ConsistencyModel`, `TrajectoryModel`, or one made of a solver or of an exact target.
    times : Tensor
        Shape ``(n_steps + 1, ...)``: times in [0, 1] that decrease along the first axis, such as
        ``uniform_grid(2)``; the last one is that of the samples, normally 0.  Further axes give single items
        or elements times of their own, as for `sample`.
    shape : sequence of int, optional
        Shape of the values, drawn from the path's prior at ``times[0]``.
    state : State, optional
        Start from these values instead.  Exactly one of ``shape`` and ``state`` is given; known sites of the
        state keep their values.
    gamma : float in [0, 1], default 1
        Share of noise put back, see the module's equation.  A consistency model needs 1.
    condition : object, optional
        Passed to the flow map.
    hooks : sequence of Hook
        As for `sample`; ``after_eval`` sees the arrived values.
    generator : torch.Generator, optional
        For the start and for the noise put back.
    dtype, device, progress, inference_mode
        As for `sample`.

    Returns
    -------
    SampleResult
        As of `sample`; ``nfe`` counts ``flow_map.nfe`` evaluations a jump.

    Raises
    ------
    ValueError
        For gamma outside [0, 1], times that do not decrease within [0, 1], a start that is missing or given
        twice, or a missing generator.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    result = sample(
        _Jumps(flow_map), _JumpAndRenoise(gamma), times, shape=shape, state=state, condition=condition,
        hooks=hooks, generator=generator, dtype=dtype, device=device, progress=progress,
        inference_mode=inference_mode,
    )  # fmt: skip
    return replace(result, nfe=result.nfe * flow_map.nfe)
