r"""Local intrinsic dimension: along how many directions the data of a denoiser vary around a point.

All three estimates look at a *scale*, the relative noise :math:`\tilde\sigma = \sigma/\alpha` at the time
that is asked about.  Directions along which the data vary less than the scale are not seen; with a scale
that is too small a network is asked about noise that it has not learned.  So a dimension is a statement
about a scale, and a curve over several scales is worth more than one number.

*Normal bundle.*  Around a data point :math:`x_0` the noise predictions :math:`\hat\varepsilon_j` at
:math:`\alpha x_0 + \sigma z_j` span the normal space: a direction in which the data do not vary returns its
noise, one in which they vary widely does not.  The linear map from z to :math:`\hat\varepsilon` that fits
best has, for Gaussian data of variances :math:`v_i`, the singular values :math:`\tilde\sigma^2 / (v_i +
\tilde\sigma^2)`: 1 for normal, 0 for tangent directions, and 1/2 where the data vary exactly as much as the
scale.  (Stanczuk, Batzolis, Deveney and Schoenlieb, *Your Diffusion Model Secretly Knows the Dimension of
the Data Manifold*, arXiv 2212.12611, stack the predictions themselves and take the largest gap; the fit,
which takes away the randomness of z, is a construction of this library.)

*Flow.*  The Jacobian of the probability flow from noise to a time has singular values that stay as they are
along tangent directions and fall like :math:`\tilde\sigma` along normal ones (Horvat and Pfister, *On Gauge
Freedom, Conservativity and Intrinsic Dimensionality Estimation in Diffusion Models*, arXiv 2402.03845).
For Gaussian data they are proportional to :math:`\alpha (v_i + \tilde\sigma^2)^{1/2}`.  A direction is
called normal if, over the last halving of :math:`\tilde\sigma`, its value falls by more than the root of 2:
for Gaussian data if :math:`v_i < 2\tilde\sigma^2`.  This needs no threshold in the units of the data
(construction of this library).

*Density (FLIPD).*  The log density of noisy data grows as :math:`(k - d)\log\sigma` around a k-dimensional
set, hence

.. math:: k \approx d + \sigma^2\bigl(\nabla\!\cdot s + \lVert s\rVert^2\bigr) \text{ at } x = \alpha x_0 ,

with one divergence, exact or by Hutchinson's probes, and no singular values (Kamkari, Ross, Hosseinzadeh,
Cresswell and Loaiza-Ganem, *A Geometric View of Data Complexity*, arXiv 2406.03537).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sciffusion.continuous import Denoiser, Solver, align, as_times, divergence
from sciffusion.sampling import State, sample

__all__ = ["IntrinsicDimension", "density_dimension", "flow_dimension", "normal_bundle_dimension"]

Rule = Literal["half", "gap"]


@dataclass(frozen=True)
class IntrinsicDimension:
    """Local dimension around points.

    Parameters
    ----------
    dimension : Tensor
        Of every point, shape ``(count,)``; whole numbers except for `density_dimension`.
    mean, error : float
        Mean over the points and its standard error. Read the values themselves where data have parts of
        different dimension.
    scale : float
        Relative noise ``sigma / alpha``: directions with a smaller standard deviation do not count.
    spectrum : Tensor or None
        Singular values, falling, shape ``(count, dim)``: of the map from noise to its prediction (near 1:
        normal) or of the flow's Jacobian.
    """

    dimension: Tensor
    mean: float
    error: float
    scale: float
    spectrum: Tensor | None


def normal_bundle_dimension(
    denoiser: Denoiser,
    x0: Tensor,
    t: float,
    *,
    generator: torch.Generator,
    n_noise: int | None = None,
    rule: Rule = "half",
    condition: Any = None,
) -> IntrinsicDimension:
    """Estimate the dimension from the space that noise predictions span.

    Parameters
    ----------
    denoiser : Denoiser
        Evaluated once, on ``count * n_noise`` values.
    x0 : Tensor
        Clean points, shape ``(count, dim)``.
    t : float
        Time above 0 that sets the scale.
    generator : torch.Generator
        Draws the noise.
    n_noise : int, optional
        Noise vectors a point, at least ``2 * dim``; four times the dimension by default.
    rule : {"half", "gap"}, default "half"
        Singular values above 1/2 are normal; or those before the largest gap of their logarithms, which
        cannot give dimension 0 or ``dim``.
    condition : object, optional
        Passed to the denoiser as it is.

    Returns
    -------
    IntrinsicDimension
        With the spectrum.

    Raises
    ------
    ValueError
        For points of another shape, a time without noise, too few noise vectors or an unknown rule.
    """
    level = _checked(denoiser, x0, t)
    count, dim = x0.shape
    draws = 4 * dim if n_noise is None else n_noise
    if draws < 2 * dim:
        raise ValueError(f"n_noise must be at least twice the dimension {dim}, got {draws}")
    if rule not in ("half", "gap"):
        raise ValueError(f"rule must be 'half' or 'gap', got {rule!r}")
    noise = torch.randn(count * draws, dim, generator=generator, dtype=x0.dtype, device=generator.device)
    noise = noise.to(x0.device)
    x = denoiser.path.marginal(x0.repeat_interleave(draws, 0), t, noise)
    with torch.no_grad():
        prediction = denoiser(State(x=x, t=as_times(t)), condition)
    eps = prediction.to("eps", denoiser.path.coefficients(t), x).value
    spectrum = torch.linalg.svdvals(_best_linear_map(noise, eps, count))
    if rule == "half":
        normal = (spectrum > 0.5).sum(-1)
    else:
        logs = spectrum.clamp_min(torch.finfo(torch.float64).tiny).log()
        normal = (logs[:, :-1] - logs[:, 1:]).argmax(-1) + 1
    return _result((dim - normal).to(torch.float64), level, spectrum)


def flow_dimension(
    denoiser: Denoiser,
    solver: Solver,
    grid: Tensor,
    start: Tensor,
    *,
    condition: Any = None,
) -> IntrinsicDimension:
    """Estimate the dimension from the Jacobian of the probability flow, at the samples of given noise.

    Parameters
    ----------
    denoiser : Denoiser
        Differentiable, item by item.
    solver : Solver
        Of the flow (a deterministic one).
    grid : Tensor
        Scalar times; the last one, above 0, sets the scale. Best spaced evenly in the log of the noise.
    start : Tensor
        Values at ``grid[0]``, shape ``(count, dim)``. Memory grows with the number of steps, time with the
        dimension: one backward pass through the run a coordinate.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    IntrinsicDimension
        With the singular values of the Jacobian.

    Raises
    ------
    ValueError
        For values of another shape, or a grid that ends without noise or does not halve it.
    """
    scales = denoiser.path.coefficients(as_times(grid)).noise_to_signal
    level = _checked(denoiser, start, float(grid[-1]))
    wider = scales >= 2.0 * scales[-1]
    if scales.ndim != 1 or not bool(wider[0]):
        raise ValueError("grid must hold scalar times and start at twice its last relative noise or more")
    before = int(wider.sum()) - 1
    with torch.inference_mode(False), torch.enable_grad():
        leaf = start.detach().clone().requires_grad_(True)
        values, spectra, reached = leaf, [], 0
        for stop in (before, grid.shape[0] - 1):
            if stop > reached:
                state = State(x=values)
                values = sample(
                    denoiser, solver, grid[reached : stop + 1], state=state, condition=condition,
                    inference_mode=False,
                ).samples  # fmt: skip
            spectra.append(torch.linalg.svdvals(_jacobian(values, leaf)))
            reached = stop
    alphas = denoiser.path.coefficients(as_times(grid)).alpha
    fall = torch.log(spectra[0] / alphas[before]) - torch.log(spectra[1] / alphas[-1])
    slope = fall / torch.log(scales[before] / scales[-1])
    return _result((slope < 0.5).sum(-1).to(torch.float64), level, spectra[1])


def density_dimension(
    denoiser: Denoiser,
    x0: Tensor,
    t: float,
    *,
    n_probes: int | None = None,
    generator: torch.Generator | None = None,
    condition: Any = None,
) -> IntrinsicDimension:
    """Estimate the dimension from the growth of the log density with the noise (FLIPD).

    Parameters
    ----------
    denoiser : Denoiser
        Differentiable in the values.
    x0 : Tensor
        Clean points, shape ``(count, dim)``.
    t : float
        Time above 0 that sets the scale.
    n_probes : int >= 1, optional
        Hutchinson probes, one backward pass each; None for the exact divergence.
    generator : torch.Generator, optional
        Source of the probes.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    IntrinsicDimension
        Real numbers, which may lie outside 0 to ``dim`` where the scale is not small against the distances in
        the data.

    Raises
    ------
    ValueError
        For points of another shape, a time without noise, or probes without a generator.
    """
    level = _checked(denoiser, x0, t)
    coefficients = denoiser.path.coefficients(t)

    def noise_prediction(x: Tensor) -> Tensor:
        prediction = denoiser(State(x=x, t=as_times(t)), condition)
        return prediction.to("eps", coefficients, x).value

    x = align(coefficients.alpha, x0) * x0
    # With the score -eps / sigma the formula is d - sigma div eps + |eps|^2, of which no part is large.
    eps, spread = divergence(noise_prediction, x, n_probes=n_probes, generator=generator)
    sigma = float(coefficients.sigma)
    dimension = x0.shape[1] - sigma * spread + eps.square().sum(-1)
    return _result(dimension.detach().cpu().to(torch.float64), level, None)


def _best_linear_map(noise: Tensor, eps: Tensor, count: int) -> Tensor:
    """Return, for every point, the matrix that predicts the noise predictions best from the noise."""
    parts = [values.detach().cpu().to(torch.float64) for values in (noise, eps)]
    z, y = (part.reshape(count, -1, part.shape[-1]) for part in parts)
    solution: Tensor = torch.linalg.lstsq(z - z.mean(1, keepdim=True), y - y.mean(1, keepdim=True)).solution
    return solution


def _jacobian(values: Tensor, leaf: Tensor) -> Tensor:
    """Return the Jacobian of every item, shape ``(count, dim, dim)``."""
    if values is leaf:
        return torch.eye(leaf.shape[1], dtype=torch.float64).expand(leaf.shape[0], -1, -1)
    unit = torch.eye(leaf.shape[1], dtype=leaf.dtype, device=leaf.device)
    rows = [torch.autograd.grad(values, leaf, row.expand_as(leaf), retain_graph=True)[0] for row in unit]
    return torch.stack(rows, 1).cpu().to(torch.float64)


def _checked(denoiser: Denoiser, points: Tensor, t: float) -> float:
    """Return the relative noise at a time, after a look at the points."""
    if points.ndim != 2 or points.shape[0] < 1 or not points.is_floating_point():
        raise ValueError(
            f"points must be floating-point numbers of shape (count, dim), got {points.dtype} of shape "
            f"{tuple(points.shape)}"
        )
    scale = float(denoiser.path.coefficients(float(t)).noise_to_signal)
    if not 0.0 < scale < float("inf"):
        raise ValueError(
            f"expected a time with both signal and noise, got t={t} with sigma / alpha = {scale}"
        )
    return scale


def _result(dimension: Tensor, scale: float, spectrum: Tensor | None) -> IntrinsicDimension:
    count = dimension.shape[0]
    error = float(dimension.std() / count**0.5) if count > 1 else float("nan")
    return IntrinsicDimension(dimension, float(dimension.mean()), error, scale, spectrum)
