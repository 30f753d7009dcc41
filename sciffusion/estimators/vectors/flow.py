r"""Log densities by the probability flow, with their errors.

Along the flow :math:`dx/dt = u(x, t)` from the data towards the noise,

.. math::
   \log p_0(x_0) = \log p_T(x_T) + \int_0^T \operatorname{div} u(x_t, t)\,dt

(Chen et al., *Neural Ordinary Differential Equations*, arXiv 1806.07366; Song et al., arXiv 2011.13456).
Whatever the denoiser, the flow maps one normalised density to another: the result is the log density of a
proper law, up to the two errors reported here. Both integrals are taken by the classical fourth-order
Runge-Kutta method, four evaluations a step.

The flow starts at a small noise level, because a law with ties has no density without any: the result is the
density of the data blurred by that much. Coordinates marked as known stand still at time 0, and the result is
the density of the others given them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ...continuous import PointwiseDenoiser, align, conversion_coefficients, divergence
from ...continuous.divergence import random_signs

__all__ = ["FlowDensity", "flow_log_density", "rademacher_probes"]

#: The field's values and, one row a probe (or one for the exact value), its divergence.
_Field = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class FlowDensity(NamedTuple):
    """A log density and where the flow ended.

    Attributes
    ----------
    by_probe : Tensor of shape (probes, rows)
        One unbiased estimate of the log density a probe; a single row where the divergence was exact.
    end : Tensor of shape (rows, dim)
        Values at the last time.
    exact : bool
        Whether the divergence was exact.
    """

    by_probe: Tensor
    end: Tensor
    exact: bool

    @property
    def log_density(self) -> Tensor:
        """Mean over the probes, shape (rows,)."""
        return self.by_probe.mean(0)

    @property
    def standard_error(self) -> Tensor:
        """Standard error of that mean, shape (rows,): 0 without probes, NaN with a single one."""
        probes = self.by_probe.shape[0]
        if self.exact:
            return torch.zeros_like(self.by_probe[0])
        return (
            self.by_probe.std(0) / probes**0.5 if probes > 1 else torch.full_like(self.by_probe[0], torch.nan)
        )


def rademacher_probes(n_probes: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return random signs of shape (probes, dim), float64, which all rows share.

    With shared probes a row's estimate does not depend on the rows beside it.
    """
    return random_signs((n_probes, dim), generator).to(torch.float64)


def flow_log_density(
    denoiser: PointwiseDenoiser,
    x0: Tensor,
    times: Tensor,
    *,
    known: Tensor | None = None,
    probes: Tensor | None = None,
) -> FlowDensity:
    """Return the log density of rows under the flow of a denoiser.

    Parameters
    ----------
    denoiser : PointwiseDenoiser
        Differentiable in the state, each row by itself; data of about unit variance.
    x0 : Tensor of shape (rows, dim)
        Clean values.
    times : Tensor of shape (steps + 1,)
        Increasing times; the first is that of the smallest noise, at the last the state is taken to be
        normal with the path's `prior_std`.
    known : Tensor of bool, shape (dim,), optional
        Coordinates to condition on.
    probes : Tensor of shape (probes, dim), optional
        Of Hutchinson's estimate of the divergence; exact without.

    Returns
    -------
    FlowDensity
        In nats, in the units of ``x0``.
    """
    path = denoiser.path
    free = torch.ones(x0.shape[1], dtype=x0.dtype, device=x0.device)
    if known is not None:
        free = (~known).to(x0.device, x0.dtype)
    field = _velocity(denoiser, free, probes)
    first = align(path.coefficients(times[0]).alpha, x0)
    # Known coordinates stay clean; the others start at the first noise level.
    x = x0 * (free * first + (1.0 - free))
    integral = torch.zeros(1 if probes is None else len(probes), len(x0), dtype=x0.dtype, device=x0.device)
    for t, t_next in pairwise(times):
        x, integral = _runge_kutta(field, x, integral, t, t_next)
    std = align(path.prior_std(times[-1]), x)
    standard = -0.5 * (x / std).square() - torch.log(std * (2.0 * torch.pi) ** 0.5)
    volume = free.sum() * torch.log(first.reshape(()))
    return FlowDensity((standard * free).sum(-1) + volume + integral, x, probes is None)


def _velocity(denoiser: PointwiseDenoiser, free: Tensor, probes: Tensor | None) -> _Field:
    """Return the velocity of the flow at a time and its divergence, over the free coordinates."""
    conditional = not bool(free.bool().all())

    def field(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        c = denoiser.path.coefficients(t)
        of_x, of_x0 = conversion_coefficients("x0", "flow", c)
        where = torch.where(free.bool(), t.to(free.device), 0.0).expand(x.shape) if conditional else t

        def velocity(state: Tensor) -> Tensor:
            prediction = denoiser.predict(state, where)
            # Known coordinates have no velocity; their own coefficients would be infinite.
            clean = prediction.to("x0", denoiser.path.coefficients(where), state).value
            return free * (align(of_x, state) * state + align(of_x0, state) * clean)

        if probes is None:
            value, total = divergence(velocity, x)
            return value, total[None]
        return _probed(velocity, x, probes.to(x.device, x.dtype))

    return field


def _probed(velocity: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Return a field and Hutchinson's estimates of its divergence, one a probe, the probes shared by rows.

    `divergence` draws probes for every row and returns their mean; here a row must not depend on its
    company, and the spread over the probes is wanted.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        value = velocity(leaf)
        estimates = []
        for probe in probes:
            direction = probe.expand_as(value)
            (row,) = torch.autograd.grad(value, leaf, direction, retain_graph=True)
            estimates.append((row * direction).sum(-1))
    return value.detach(), torch.stack(estimates)


def _runge_kutta(
    field: _Field, x: Tensor, integral: Tensor, t: Tensor, t_next: Tensor
) -> tuple[Tensor, Tensor]:
    """Make one step of the classical fourth-order method for the state and the integral."""
    h = float(t_next - t)
    middle = 0.5 * (t + t_next)
    k1, d1 = field(x, t)
    k2, d2 = field(x + 0.5 * h * k1, middle)
    k3, d3 = field(x + 0.5 * h * k2, middle)
    k4, d4 = field(x + h * k3, t_next)
    return x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4), integral + h / 6.0 * (d1 + 2.0 * (d2 + d3) + d4)
