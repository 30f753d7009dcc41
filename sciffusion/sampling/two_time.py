r"""Restoration with two-time heads: one slider from regression to generation (construction of this library).

**Following a curve.**  Between points (r, g) and (r', g') of a curve the heads of
`sciffusion.continuous.TwoTimeInterpolant` move the state :math:`W = X - y` by

.. math:: W' = \frac{\gamma'}{\gamma} W + \left(r' - \frac{\gamma'}{\gamma} r\right) (\hat x - y) ,

exact for constant heads; the second order extrapolates :math:`\hat x` through the last two evaluations,
linearly in the angle :math:`\arctan(g/r)`, in which it is smooth at both ends (in :math:`\log(r/\gamma)` it
is not, and the order is lost there).  A step to :math:`\gamma' = 0` returns :math:`(1 - r') y + r' \hat x`.

**The slider.**  :math:`\rho \in [0, 1]` says where on the straight curve :math:`(r, g) = (u, 1 - u)`
generation stops; from there one step goes to (1, 0), which returns :math:`\hat x`, the regression on the
state:

.. math:: \frac{\gamma}{r} = s_* \frac{\sqrt{1 - \rho^2}}{\rho} \quad\text{at the stop,}

with :math:`s_*` the standard deviation of x given y.  At :math:`\rho = 0` it is one evaluation in the corner
(0, 0) and the answer :math:`E[x|y]`; at :math:`\rho = 1` nothing is left to regress and the answer is a draw
from :math:`p(x|y)`.  For a normal posterior of variances v in its eigenbasis the answer has variances
:math:`\rho_v^2 v` around the mean, with :math:`\rho_v^2 = v/(v + s_*^2 (1-\rho^2)/\rho^2)`: :math:`\rho`
itself where :math:`v = s_*^2`.

**The frontier.**  An answer with mean :math:`E[x|y]` and deviations :math:`\rho` times those of the posterior
has

.. math::
   \mathrm{MSE} = (1 + \rho^2) \operatorname{tr} S, \qquad
   W_2^2(\text{answer}, p(x|y)) = (1 - \rho)^2 \operatorname{tr} S ,

and no estimator has a smaller distance to the conditional law at that error.  With equal variances the slider
is on that line; with unequal ones it is near it, and the mean of the posterior and a draw, mixed by
`posterior_mean_slider`, are on it exactly, for any posterior, at the cost of one more evaluation.

For the line: Wang, Bi, Zhang and Yuan, *Traversing Distortion-Perception Tradeoff using a Single Score-Based
Generative Model*, arXiv 2503.20297.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.path import as_times
from sciffusion.continuous.solvers.multistep import divided_differences
from sciffusion.continuous.two_time import TwoTimeHeads
from sciffusion.sampling.driver import SampleResult
from sciffusion.sampling.state import State

__all__ = ["follow_curve", "posterior_mean_slider", "restore", "slider_curve"]


def slider_curve(rho: float, n_steps: int, posterior_std: float, noise_scale: float) -> Tensor:
    """Return the curve of a slider position.

    Parameters
    ----------
    rho : float
        In [0, 1], from regression to generation.
    n_steps : int
        Steps at most; regression always takes one.
    posterior_std : float
        Standard deviation of x given y, in the units of the data, such as the root mean squared error of
        the answers at ``rho=0``.
    noise_scale : float
        Of the interpolant.

    Returns
    -------
    Tensor
        Shape ``(steps + 1, 2)``: points (r, g), float64, from (0, 0) or (0, 1) to (1, 0).  The steps before
        the stop are equal in the angle ``arctan(gamma / (r posterior_std))``.
    """
    if not 0.0 <= rho <= 1.0:
        raise ValueError(f"rho must lie in [0, 1], got {rho}")
    if n_steps < 1 or not posterior_std > 0.0:
        raise ValueError(f"n_steps and posterior_std must be positive, got {n_steps} and {posterior_std}")
    if rho == 0.0 or n_steps == 1:
        return torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    stop = math.acos(rho)
    angles = torch.linspace(0.5 * math.pi, stop, n_steps + (rho == 1.0), dtype=torch.float64)
    ratio = posterior_std / noise_scale * torch.tan(angles)
    u = 1.0 / (1.0 + ratio)
    u[0] = 0.0
    points = torch.stack([u, 1.0 - u], dim=1)
    end = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    return torch.cat([points[:-1] if rho == 1.0 else points, end])


def _checked_curve(curve: Tensor) -> Tensor:
    curve = as_times(curve)
    if curve.ndim != 2 or curve.shape[0] < 2 or curve.shape[1] != 2:
        raise ValueError(f"curve must have shape (points >= 2, 2), got {tuple(curve.shape)}")
    if not bool(((curve >= 0.0) & (curve <= 1.0)).all()):
        raise ValueError("curve must hold times in [0, 1]")
    if bool((curve[1:, 0] < curve[:-1, 0]).any()) or bool((curve[1:, 1] > curve[:-1, 1]).any()):
        raise ValueError("along a curve r must not fall and g must not rise")
    return curve.cpu()


def follow_curve(
    heads: TwoTimeHeads,
    curve: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    condition: Any = None,
    order: int = 2,
) -> SampleResult:
    """Carry observations along a curve of regression and generation times.

    Parameters
    ----------
    heads : TwoTimeHeads
        Exact or trained.
    curve : Tensor
        Shape ``(points, 2)`` of (r, g); it starts at r = 0, r does not fall and g does not rise.
    y : Tensor
        Observations, shape ``(..., dim)``; repeat one for several draws.
    generator : torch.Generator, optional
        For the starting noise; not needed where the curve starts at g = 0.
    condition : object, optional
        Passed to the heads.
    order : {1, 2}, default 2
        Of the multistep method; one evaluation a step.

    Returns
    -------
    SampleResult
        The states at the end of the curve; ``nfe`` is the number of steps.

    Raises
    ------
    ValueError
        For a curve that is no such curve, another order, or a missing generator.
    """
    curve = _checked_curve(curve)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    if float(curve[0, 0]) != 0.0:
        raise ValueError(f"the curve must start at r=0, where only y is known; got r={float(curve[0, 0])}")
    level = float(heads.interpolant.noise_level(curve[0, 1]))
    with torch.inference_mode():
        moved = _start(y, level, generator)
        known: list[tuple[Tensor, Tensor]] = []
        for index in range(len(curve) - 1):
            r, g = curve[index]
            residual = heads(y + moved, r, g, y, condition).clean - y
            known = [(torch.atan2(g, r), residual), *known][:order]
            moved = _step(moved, known, curve[index], curve[index + 1])
    samples = y + moved
    return SampleResult(samples, len(curve) - 1, State(x=samples, t=curve[-1, 1], index=len(curve) - 1), {})


def _start(y: Tensor, level: float, generator: torch.Generator | None) -> Tensor:
    if level == 0.0:
        return torch.zeros_like(y)
    if generator is None:
        raise ValueError("a curve that starts at g > 0 needs a generator for its noise, got None")
    noise = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=generator.device)
    return level * noise.to(y.device)


def _step(moved: Tensor, known: list[tuple[Tensor, Tensor]], old: Tensor, new: Tensor) -> Tensor:
    """Make one step of the module's equation for ``moved = X - y``, newest evaluation first."""
    ratio = new[1] / old[1] if float(old[1]) > 0.0 else torch.zeros_like(new[1])
    result = float(ratio) * moved + float(new[0] - ratio * old[0]) * known[0][1]
    # The step to the noiseless end returns the estimate itself: on the slider it is the regression.
    if len(known) == 1 or float(new[1]) == 0.0:
        return result
    places = [place for place, _ in known]
    width = torch.atan2(new[1], new[0]) - places[0]
    # g' times the integral of (angle - its start) over d cot(angle).
    first = new[0] * width - torch.xlogy(new[1], torch.sin(places[0] + width) / torch.sin(places[0]))
    factors = divided_differences(places, first, torch.zeros_like(first))
    for factor, (_, residual) in zip(factors, known, strict=True):
        result = result + float(factor) * residual
    return result


def restore(
    heads: TwoTimeHeads,
    y: Tensor,
    rho: float,
    generator: torch.Generator | None = None,
    *,
    n_steps: int = 16,
    posterior_std: float = 1.0,
    condition: Any = None,
) -> SampleResult:
    """Answer between regression and generation.

    Parameters
    ----------
    heads : TwoTimeHeads
        Exact or trained.
    y : Tensor
        Observations, shape ``(..., dim)``; repeat one for several draws.
    rho : float
        The slider, in [0, 1]: 0 gives ``E[x | y]`` in one evaluation, 1 draws from ``p(x | y)``.
    generator : torch.Generator, optional
        For the starting noise; needed unless ``rho=0``.
    n_steps : int, default 16
        Evaluations at most; one step alone is regression, whatever the slider.
    posterior_std : float, default 1
        Standard deviation of x given y, in the units of the data (see `slider_curve`).
    condition : object, optional
        Passed to the heads.

    Returns
    -------
    SampleResult
        Answers of the shape of ``y``, and the number of evaluations.
    """
    curve = slider_curve(rho, n_steps, posterior_std, heads.interpolant.noise_scale)
    return follow_curve(heads, curve, y, generator, condition=condition)


def posterior_mean_slider(mean: Tensor, samples: Tensor, rho: float) -> Tensor:
    """Mix the mean of the posterior and draws from it: ``(1 - rho) mean + rho samples``.

    Parameters
    ----------
    mean : Tensor
        ``E[x | y]``, from regression or as the mean of draws; broadcasts against ``samples``.
    samples : Tensor
        Draws from ``p(x | y)``.
    rho : float
        In [0, 1].

    Returns
    -------
    Tensor
        Answers on the frontier of the module's text, for any posterior.
    """
    if not 0.0 <= rho <= 1.0:
        raise ValueError(f"rho must lie in [0, 1], got {rho}")
    return torch.lerp(mean.expand_as(samples), samples, rho)
