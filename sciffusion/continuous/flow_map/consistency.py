r"""Consistency models in continuous time (sCM): from any noise level to the data in one evaluation.

**The map.**  On a path with data of standard deviation :math:`s_d` let

.. math::
   \theta = \arctan\frac{\sigma}{\alpha s_d}, \qquad
   z = \frac{x}{\sqrt{\alpha^2 s_d^2 + \sigma^2}} = \cos\theta\,\frac{x_0}{s_d} + \sin\theta\,\varepsilon :

every path becomes the trigonometric one in the angle :math:`\theta` and data of unit variance, and stays
finite where the signal is 0.  With :math:`\delta = \theta - \theta_0` the angle left to the clean end of the
path (:math:`\theta_0 = 0` unless the path keeps noise at time 0),

.. math:: f(z, \theta) = \cos\delta\; z - \sin\delta\; F(z, \theta),

which is z itself at :math:`\delta = 0` whatever the network F: the boundary condition holds by construction.

**The loss.**  Along the flow f must not change.  With the velocity :math:`\dot z = dz/d\theta`, either that
of a frozen denoiser D (distillation), :math:`\dot z = (\cos\theta\,z - D/s_d)/\sin\theta`, or that of the
pair (training from data), :math:`\dot z = \cos\theta\,\varepsilon - \sin\theta\,x_0/s_d`,

.. math::
   g = -\cos^2\!\delta\,(F^- - \dot z) - r \cos\delta \sin\delta \left(z + \frac{dF^-}{d\theta}\right),

which at :math:`r = 1` is :math:`\cos\delta\; df/d\theta`; r rises from 0 to 1 while training warms up, and
:math:`F^-` is F without gradient.  The total derivative comes from one forward-mode pass.  With a learned
weight :math:`q(\theta)` and n elements an item the loss is

.. math:: \frac{e^{q}}{n} \left\lVert F - F^- - \bar g \right\rVert^2 - q , \qquad
          \bar g = \frac{g}{\lVert g\rVert + c}.

At r = 1 the tangent g vanishes at the exact map and, with the denoiser's velocity, nowhere else.

**What the normalisation does.**  Dividing each item's tangent by its own norm keeps its zero when the tangent
is a function of :math:`(z, \theta)`, as in distillation.  From data it is random given :math:`(z, \theta)`,
and the mean of normalised tangents vanishes elsewhere than the mean of tangents: in one dimension at their
median.  With many dimensions norms concentrate and the bias disappears.  ``normalisation="batch"`` divides by
one number for the whole batch instead and has no such bias (construction of this library).

Lu and Song, *Simplifying, Stabilizing and Scaling Continuous-Time Consistency Models*, arXiv 2410.11081.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from sciffusion.continuous.denoiser import PointwiseDenoiser
from sciffusion.continuous.flow_map.base import check_interval
from sciffusion.continuous.path import Path, align, as_times

__all__ = ["ConsistencyModel", "ConsistencyObjective", "Normalisation", "TimeSource"]

Normalisation = Literal["item", "batch", "none"]

#: Multiples of the angle that the learned weight of the loss is made of.
_WEIGHT_FREQUENCIES = 4


class TimeSource(Protocol):
    """Draws training times, such as `sciffusion.training.LogNormalNoise`."""

    def sample(self, shape: int, generator: torch.Generator, device: Any = None) -> tuple[Tensor, Tensor]:
        """Return ``shape`` times in [0, 1] and their importance ratios."""
        ...


class _Angles(NamedTuple):
    """The angle of some times, the angle left to the clean end, and the scale of states there."""

    angle: Tensor
    left: Tensor
    scale: Tensor


def _angles(path: Path, data_std: float, t: Tensor) -> _Angles:
    c, end = path.coefficients(t), path.coefficients(torch.zeros((), dtype=torch.float64))
    angle = torch.atan2(c.sigma, c.alpha * data_std)
    left = angle - torch.atan2(end.sigma, end.alpha * data_std)
    return _Angles(angle, left, torch.hypot(c.alpha * data_std, c.sigma))


class ConsistencyModel(nn.Module):
    r"""A network as the map from any time to the clean end of its path; a `FlowMap` whose arrival is time 0.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(z, time, condition)`` with values of unit variance, of the shape of the state, and
        ``time`` :math:`= 2\theta/\pi` in [0, 1], of the shape of the times given.  It must be differentiable
        in forward mode (`torch.func.jvp`): plain layers are.  A network trained as ``NetworkDenoiser(network,
        Trigonometric(), "v")`` on data of unit variance has the same meaning and is a good start.
    path : Path
        Any; see the module's equations.
    data_std : float, default 1
        Standard deviation of the clean data, in their units.

    Raises
    ------
    ValueError
        For a standard deviation that is not positive.
    """

    nfe = 1
    updates: Tensor

    def __init__(self, network: nn.Module, path: Path, data_std: float = 1.0) -> None:
        super().__init__()
        if not data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.network = network
        self.path = path
        self.data_std = data_std
        self.weight = nn.Parameter(torch.zeros(2 * _WEIGHT_FREQUENCIES + 1))
        # Saved with the weights, so that a fit taken up from a checkpoint goes on with its warm-up.
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, t: Tensor | float, s: Tensor | float = 0.0, condition: Any = None) -> Tensor:
        """Return the clean end of the curves through ``x`` at times ``t``.

        Parameters
        ----------
        x : Tensor
            States, any shape.
        t : Tensor or float
            Their times, of a shape that is a prefix of that of ``x``.
        s : Tensor or float, default 0
            Arrival: 0, or ``t`` itself for elements that stay.
        condition : object, optional
            Passed to the network.

        Returns
        -------
        Tensor
            Of the shape of ``x``.

        Raises
        ------
        ValueError
            For an arrival in between, which a consistency model does not know; a `TrajectoryModel` does.
        """
        t, s = check_interval(t, s)
        if bool(((s > 0.0) & (s < t)).any()):
            raise ValueError("a consistency model arrives at s=0 only; use a TrajectoryModel for 0 < s < t")
        here = _angles(self.path, self.data_std, t)
        end = _angles(self.path, self.data_std, torch.zeros((), dtype=torch.float64))
        z = align(1.0 / here.scale, x) * x
        value = self.evaluate(z, here.angle, condition)
        arrived = align(torch.cos(here.left), z) * z - align(torch.sin(here.left), z) * value
        return torch.where(align((s < t).to(torch.float64), x) > 0, align(end.scale, x) * arrived, x)

    def evaluate(self, z: Tensor, angle: Tensor, condition: Any = None) -> Tensor:
        """Return F for values of unit variance at angles in [0, pi/2]."""
        value: Tensor = self.network(z, (angle / (0.5 * math.pi)).to(z.dtype).to(z.device), condition)
        if value.shape != z.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for a state of shape {tuple(z.shape)}; "
                "expected equal shapes"
            )
        return value

    def loss_weight(self, angle: Tensor) -> Tensor:
        """Return the learned log weight q at angles, of their shape."""
        multiples = torch.arange(
            1, _WEIGHT_FREQUENCIES + 1, dtype=self.weight.dtype, device=self.weight.device
        )
        turned = angle.to(self.weight.dtype).to(self.weight.device)[..., None] * multiples
        features = torch.cat([torch.ones_like(turned[..., :1]), turned.sin(), turned.cos()], dim=-1)
        return (features * self.weight).sum(-1)


@dataclass(frozen=True)
class ConsistencyObjective:
    """Loss of a `ConsistencyModel`, in the form that `sciffusion.training.fit_network` takes.

    Parameters
    ----------
    times : TimeSource
        Which times are trained; the source has ``LogNormalNoise(location=-1 + log(2 data_std), scale=1.4)``.
    teacher : PointwiseDenoiser, optional
        A frozen denoiser on the model's path, to be distilled; None trains from the data alone.
    warmup_updates : int, default 1000
        Updates over which r rises from 0 to 1.
    normalisation : {"item", "batch", "none"}, optional
        Of the tangent; "item" with a teacher and "batch" without one by default (see the module's text).
    offset : float, default 0.1
        The constant c, in units of standardised data.

    Raises
    ------
    ValueError
        For values out of range.
    """

    times: TimeSource
    teacher: PointwiseDenoiser | None = None
    warmup_updates: int = 1000
    normalisation: Normalisation | None = None
    offset: float = 0.1

    def __post_init__(self) -> None:
        if self.normalisation is not None and self.normalisation not in get_args(Normalisation):
            raise ValueError(
                f"normalisation must be one of {get_args(Normalisation)}, got {self.normalisation!r}"
            )
        if self.warmup_updates < 0:
            raise ValueError(f"warmup_updates must not be negative, got {self.warmup_updates}")
        if not self.offset > 0.0:
            raise ValueError(f"offset must be positive, got {self.offset}")

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        model : ConsistencyModel
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
        if not isinstance(model, ConsistencyModel):
            raise TypeError(f"expected a ConsistencyModel, got {type(model).__name__}")
        x0, condition = batch[0], batch[1] if len(batch) > 1 else None
        drawn, ratio = self.times.sample(x0.shape[0], generator, x0.device)
        t = as_times(drawn)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device)
        x = model.path.marginal(x0, t, noise.to(x0.device))
        velocity = self.velocity(model, x0, x, t, condition)
        value, tangent = self.tangent(model, x, t, velocity, condition, self._warmth(model))
        angle = _angles(model.path, model.data_std, t).angle
        moved = value - value.detach() - self._normalised(tangent)
        log_weight = model.loss_weight(angle)
        losses = log_weight.exp() * moved.square().flatten(1).mean(1) - log_weight
        return (ratio.to(losses.dtype) * losses).mean()

    def velocity(
        self, model: ConsistencyModel, x0: Tensor, x: Tensor, t: Tensor, condition: Any = None
    ) -> Tensor:
        """Return the velocity of z per unit angle: the teacher's, or that of the pair of data and noise."""
        angle, _, scale = _angles(model.path, model.data_std, t)
        if self.teacher is None:
            clean = x0
        else:
            with torch.no_grad():
                coefficients = model.path.coefficients(t)
                clean = self.teacher.predict(x, t, condition).to("x0", coefficients, x).value
        # Both velocities are (cos z - x0 / sd) / sin; for a pair x0 is known.
        of_x = torch.cos(angle) / (torch.sin(angle) * scale)
        return align(of_x, x) * x - align(1.0 / (torch.sin(angle) * model.data_std), x) * clean

    def tangent(
        self,
        model: ConsistencyModel,
        x: Tensor,
        t: Tensor,
        velocity: Tensor,
        condition: Any = None,
        warmth: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the network's values, with gradient, and the tangent g before normalisation.

        Parameters
        ----------
        model : ConsistencyModel
            The model.
        x, t : Tensor
            States and their times.
        velocity : Tensor
            Of z per unit angle, of the shape of ``x``.
        condition : object, optional
            Passed to the network.
        warmth : float, default 1
            The factor r in [0, 1].

        Returns
        -------
        value, tangent : Tensor
            Of the shape of ``x``.
        """
        _prepare_forward_mode()
        angle, left, scale = _angles(model.path, model.data_std, t)
        z = align(1.0 / scale, x) * x
        cosine, sine = align(torch.cos(left), z), align(torch.sin(left), z)
        value = model.evaluate(z, angle, condition)
        with torch.no_grad():
            gain = cosine * sine
            turned = angle.to(z.dtype).to(z.device)
            # The product is differentiated at once: cos sin dF/dangle stays finite where dF/dangle does not.
            speed = align(torch.cos(left) * torch.sin(left), turned).to(turned)
            change = torch.func.jvp(_network_of(model, condition), (z, turned), (gain * velocity, speed))[1]
            drift = cosine.square() * (value.detach() - velocity)
            tangent: Tensor = -drift - warmth * (gain * z + change)
        return value, tangent

    def _warmth(self, model: ConsistencyModel) -> float:
        """Return r for this update, and count the update."""
        done = int(model.updates)
        if model.training:
            model.updates += 1
        return 1.0 if self.warmup_updates == 0 else min(1.0, done / self.warmup_updates)

    def _normalised(self, tangent: Tensor) -> Tensor:
        kind = self.normalisation or ("batch" if self.teacher is None else "item")
        if kind == "none":
            return tangent
        norms = tangent.flatten(1).norm(dim=1)
        size = norms.square().mean().sqrt() if kind == "batch" else norms
        scaled: Tensor = tangent / (align(size, tangent) + self.offset)
        return scaled


@cache
def _prepare_forward_mode() -> None:
    # The first use loads parts of torch that it compiles itself in a way it has deprecated: nothing that a
    # user of this class could act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _network_of(model: ConsistencyModel, condition: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z, angle: model.evaluate(z, angle, condition)
