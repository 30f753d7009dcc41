r"""Trajectory models (CTM): from any time to any smaller one in one evaluation.

**The map.**  In the relative noise :math:`\tilde\sigma = \sigma/\alpha` the source's map
:math:`G = \frac{s}{t} x + (1 - \frac{s}{t})\,g(x, t, s)` becomes, on any path,

.. math::
   G(x, t, s) = \frac{\sigma_s}{\sigma_t}\,x
   + \left(\alpha_s - \frac{\sigma_s \alpha_t}{\sigma_t}\right) g(x, t, s) ,

the deterministic step (DDIM) with g in the place of the clean estimate.  It is x at :math:`s = t`, whatever
g, and finite where the signal is 0.  For the exact map :math:`g(x, t, t) = E[x_0 | x_t]`: on the diagonal a
trajectory model is a denoiser, and at s = 0 it is a consistency model.

**The loss.**  For times :math:`s \le u < t` the soft consistency error compares, at the clean end,

.. math::
   G^-\bigl(G(x_t, t, s), s, 0\bigr) \quad\text{with}\quad
   G^-\bigl(G^-(\Phi(x_t, t, u), u, s), s, 0\bigr) ,

where :math:`\Phi` is a solver on a frozen denoiser, or on the model's own diagonal, and :math:`G^-` is G
without gradient in its weights.  To it comes the denoising loss of :math:`g(x_t, t, t)`.  Both errors are in
units of standardised data; the denoising one carries the EDM weight.  The adversarial term of the source is
left out.

Kim et al., *Consistency Trajectory Models: Learning Probability Flow ODE Trajectory of Diffusion*, arXiv
2310.02279.  Network scaling: Karras et al., arXiv 2206.00364.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.continuous.denoiser import Denoiser, PointwiseDenoiser
from sciffusion.continuous.flow_map.base import FlowMap, SolverFlowMap, check_interval
from sciffusion.continuous.flow_map.consistency import TimeSource
from sciffusion.continuous.objective import DenoisingObjective
from sciffusion.continuous.path import Path, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.solvers.base import Solver
from sciffusion.continuous.solvers.deterministic import Heun

__all__ = ["TrajectoryModel", "TrajectoryObjective", "deterministic_move", "soft_consistency"]


def deterministic_move(path: Path, x: Tensor, t: Tensor, s: Tensor, clean: Tensor) -> Tensor:
    """Return the deterministic step (DDIM) from times ``t`` to ``s`` with a given clean estimate.

    Parameters
    ----------
    path : Path
        Of the states.
    x : Tensor
        States at times ``t``.
    t, s : Tensor
        Departure and arrival, of a shape that is a prefix of that of ``x``.
    clean : Tensor
        Of the shape of ``x``.

    Returns
    -------
    Tensor
        States at times ``s``; an element whose times are equal keeps its value.
    """
    old, new = path.coefficients(t), path.coefficients(s)
    still = s == t
    ratio = torch.where(still, 1.0, new.sigma / old.sigma)
    of_clean = torch.where(still, 0.0, new.alpha - ratio * old.alpha)
    return align(ratio, x) * x + align(of_clean, x) * clean


class _Diagonal(PointwiseDenoiser):
    """The denoiser ``g(x, t, t)`` of a trajectory model."""

    def __init__(self, model: TrajectoryModel) -> None:
        self.model = model
        self.path = model.path

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Return the estimate on the diagonal as a prediction of kind ``"x0"``."""
        t = as_times(t)
        return ContinuousPrediction(self.model.estimate(x, t, t, condition), "x0")


class TrajectoryModel(nn.Module):
    r"""A network of two times as a `FlowMap`.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(z, time, arrival, condition)`` with values of unit variance and both times as
        :math:`\frac2\pi \arctan(\sigma / (\alpha s_d))` in [0, 1], of the shape of the times given;
        `sciffusion.networks.TwoTimeMLP` is one.
    path : Path
        Any.
    data_std : float, default 1
        Standard deviation of the clean data, in their units.
    """

    nfe = 1

    def __init__(self, network: nn.Module, path: Path, data_std: float = 1.0) -> None:
        super().__init__()
        if not data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.network = network
        self.path = path
        self.data_std = data_std

    def forward(self, x: Tensor, t: Tensor | float, s: Tensor | float = 0.0, condition: Any = None) -> Tensor:
        """Return the values at times ``s <= t`` of the curves through ``x`` at ``t`` (see `FlowMap`)."""
        t, s = check_interval(t, s)
        return deterministic_move(self.path, x, t, s, self.estimate(x, t, s, condition))

    def estimate(self, x: Tensor, t: Tensor, s: Tensor, condition: Any = None) -> Tensor:
        """Return ``g(x, t, s)``, of the shape of ``x``."""
        c = self.path.coefficients(t)
        scale = torch.hypot(c.alpha * self.data_std, c.sigma)
        times = [self._angle(time).to(x.dtype).to(x.device) for time in (t, s)]
        raw: Tensor = self.network(align(1.0 / scale, x) * x, *times, condition)
        if raw.shape != x.shape:
            raise ValueError(
                f"the network returned shape {tuple(raw.shape)} for a state of shape {tuple(x.shape)}; "
                "expected equal shapes"
            )
        skip, out = c.alpha * self.data_std**2 / scale**2, c.sigma * self.data_std / scale
        return align(skip, x) * x + align(out, x) * raw

    def denoiser(self) -> PointwiseDenoiser:
        """Return the diagonal ``g(x, t, t)`` as a denoiser, for solvers and guidance."""
        return _Diagonal(self)

    def _angle(self, t: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        return torch.atan2(c.sigma, c.alpha * self.data_std) / (0.5 * math.pi)


def soft_consistency(
    model: FlowMap,
    frozen: FlowMap,
    teacher: FlowMap,
    x: Tensor,
    times: tuple[Tensor, Tensor, Tensor],
    condition: Any = None,
) -> Tensor:
    """Return the soft consistency error, elementwise and not squared.

    Parameters
    ----------
    model : FlowMap
        What is trained.
    frozen : FlowMap
        The same map without gradients in its weights.
    teacher : FlowMap
        Takes states from ``t`` to ``u``.
    x : Tensor
        States at times ``t``.
    times : tuple of Tensor
        ``t >= u >= s``, each of a shape that is a prefix of that of ``x``.
    condition : object, optional
        Passed to the maps.

    Returns
    -------
    Tensor
        Difference of the two clean ends, of the shape of ``x``; 0 everywhere if all three are the exact map.
    """
    t, u, s = times
    with torch.no_grad():
        target = frozen(frozen(teacher(x, t, u, condition), u, s, condition), s, 0.0, condition)
    return frozen(model(x, t, s, condition), s, 0.0, condition) - target


@dataclass(frozen=True)
class _Frozen:
    """A module as a flow map whose weights take no gradient (its input does)."""

    model: TrajectoryModel
    weights: dict[str, Tensor]
    nfe: int = 1

    @classmethod
    def of(cls, model: TrajectoryModel) -> _Frozen:
        return cls(model, {name: weight.detach() for name, weight in model.named_parameters()})

    @property
    def path(self) -> Path:
        return self.model.path

    def __call__(self, x: Tensor, t: Tensor | float, s: Tensor | float, condition: Any = None) -> Tensor:
        moved: Tensor = torch.func.functional_call(self.model, self.weights, (x, t, s, condition))
        return moved


@dataclass(frozen=True)
class TrajectoryObjective:
    """Loss of a `TrajectoryModel`, in the form that `sciffusion.training.fit_network` takes.

    Parameters
    ----------
    times : TimeSource
        Which departure times are trained, such as `sciffusion.training.LogNormalNoise`.
    teacher : Denoiser, optional
        A frozen denoiser on the model's path; None uses the model's own diagonal.
    solver : Solver, optional
        Of the teacher's step; Heun's method by default.
    teacher_steps : int, default 1
        Steps of the solver between departure and the time compared with.
    longest : float, default 0.5
        Largest share of the way from t to s that the teacher takes, in (0, 1]: its solver's error grows with
        the way, the number of updates until the model has learned to go it falls.
    denoising : float, default 0.02
        Factor of the denoising loss on the diagonal, whose gradient is much noisier than the other one.

    Raises
    ------
    ValueError
        For values out of range.
    """

    times: TimeSource
    teacher: Denoiser | None = None
    solver: Solver | None = None
    teacher_steps: int = 1
    longest: float = 0.5
    denoising: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 < self.longest <= 1.0:
            raise ValueError(f"longest must lie in (0, 1], got {self.longest}")
        if self.teacher_steps < 1:
            raise ValueError(f"teacher_steps must be positive, got {self.teacher_steps}")
        if self.denoising < 0.0:
            raise ValueError(f"denoising must not be negative, got {self.denoising}")

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        model : TrajectoryModel
            What is trained.
        batch : tuple of Tensor
            Clean data of shape ``(rows, ...)`` and, optionally, the condition.
        generator : torch.Generator
            For times and noise.

        Returns
        -------
        Tensor
            Scalar.
        """
        if not isinstance(model, TrajectoryModel):
            raise TypeError(f"expected a TrajectoryModel, got {type(model).__name__}")
        x0, condition = batch[0], batch[1] if len(batch) > 1 else None
        drawn, ratio = self.times.sample(x0.shape[0], generator, x0.device)
        t = as_times(drawn)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device)
        noise = noise.to(x0.device)
        x = model.path.marginal(x0, t, noise)
        times = (t, *self._earlier(model, t, generator))
        frozen = _Frozen.of(model)
        error = soft_consistency(model, frozen, self._teacher(model), x, times, condition)
        losses = error.square().flatten(1).mean(1) / model.data_std**2
        if self.denoising > 0.0:
            objective = DenoisingObjective(model.path, "edm", model.data_std)
            losses = losses + self.denoising * objective(model.denoiser(), x0, t, noise, condition).flatten(
                1
            ).mean(1)
        return (ratio.to(losses.dtype) * losses).mean()

    def _teacher(self, model: TrajectoryModel) -> FlowMap:
        denoiser = model.denoiser() if self.teacher is None else self.teacher
        return SolverFlowMap(denoiser, self.solver or Heun(), self.teacher_steps)

    def _earlier(
        self, model: TrajectoryModel, t: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw ``u`` and ``s`` below ``t``, uniform in the angle of the relative noise.

        A quarter of the arrivals is the clean end, from where samples are judged.
        """
        shape = (3, *t.shape)
        drawn = torch.rand(shape, generator=generator, dtype=torch.float32, device=generator.device)
        to_s, to_u, clean = as_times(drawn).to(t.device)
        angles, at = _angle_scale(model)
        top = angles(t)
        bottom = angles(torch.zeros_like(t))
        low = torch.where(clean < 0.25, bottom, bottom + to_s * (top - bottom))
        middle = top - self.longest * to_u * (top - low)
        s = torch.minimum(torch.where(clean < 0.25, 0.0, at(low)), t)
        return torch.minimum(torch.maximum(at(middle), s), t), s


def _angle_scale(
    model: TrajectoryModel,
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the angle of times and the times of angles."""
    path, std = model.path, model.data_std

    def angles(t: Tensor) -> Tensor:
        c = path.coefficients(t)
        return torch.atan2(c.sigma, c.alpha * std)

    def times(angle: Tensor) -> Tensor:
        return path.time_of_log_snr(-torch.log(std * torch.tan(angle))).clamp(0.0, 1.0)

    return angles, times
