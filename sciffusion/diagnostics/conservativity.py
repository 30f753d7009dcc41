r"""Conservativity: whether a learned score is the gradient of anything.

A score is a gradient, so its Jacobian is symmetric; that of the clean estimate, too, since
:math:`\operatorname{Cov}(x_0|x) = (\sigma^2/\alpha)\,J` with :math:`J = \partial D/\partial x`.  Networks are
not bound to it.  The *asymmetry*

.. math:: \frac{\lVert J - J^\top \rVert_F^2}{4\,\lVert J \rVert_F^2} \in [0, 1]

is the share of the antisymmetric part: 0 for a gradient, 1 for a pure rotation.  The antisymmetric parts of
the Jacobians of score and clean estimate are equal up to the factor :math:`\alpha/\sigma^2`; J is used since
the score's Jacobian contains :math:`-I/\sigma^2`, beside which everything looks small.

A sampler can be exact though its field is not conservative; but likelihoods, dimension estimates and other
local geometry rest on the symmetric part (Horvat and Pfister, *On Gauge Freedom, Conservativity and Intrinsic
Dimensionality Estimation in Diffusion Models*, arXiv 2402.03845).

With random signs v, :math:`E\lVert (J - J^\top) v\rVert^2 = \lVert J - J^\top\rVert_F^2`: one product with J
and one with its transpose a probe, instead of a backward pass a coordinate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import Denoiser, as_times, posterior
from sciffusion.continuous.divergence import random_signs
from sciffusion.sampling import State

__all__ = ["Asymmetry", "jacobian_asymmetry"]


@dataclass(frozen=True)
class Asymmetry:
    """Antisymmetric share of the Jacobian of a denoiser.

    Parameters
    ----------
    share : float
        Of all items together, in [0, 1]; 0 for the gradient of a density.
    error : float
        Its standard error over items.
    each : Tensor
        Of every item, shape ``(count,)``; noisy where probes are used.
    """

    share: float
    error: float
    each: Tensor


def jacobian_asymmetry(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor | float,
    *,
    n_probes: int | None = None,
    generator: torch.Generator | None = None,
    condition: Any = None,
) -> Asymmetry:
    """Measure how far the Jacobian of a denoiser is from symmetric.

    Parameters
    ----------
    denoiser : Denoiser
        Differentiable in the values, item by item.
    x : Tensor
        Noisy values at times ``t``, shape ``(count, ...)``.
    t : Tensor or float
        Times above 0, a prefix of the shape of ``x``.
    n_probes : int >= 1, optional
        Random probes; None computes the Jacobians, one backward pass a coordinate. Probes need a denoiser
        that can be differentiated twice.
    generator : torch.Generator, optional
        Source of the probes.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    Asymmetry
        The share with its error.

    Raises
    ------
    ValueError
        For no probes, probes without a generator, or fewer than two axes.
    """
    if x.ndim < 2:
        raise ValueError(f"x must have shape (count, ...), got {tuple(x.shape)}")
    if n_probes is not None and (n_probes < 1 or generator is None):
        raise ValueError(f"probes need n_probes of at least 1 and a generator, got n_probes={n_probes}")

    def field(values: Tensor) -> Tensor:
        return posterior(denoiser, State(x=values, t=as_times(t)), condition).mean

    with torch.inference_mode(False), torch.enable_grad():
        if n_probes is None:
            parts = _from_jacobian(field, x)
        else:
            assert generator is not None
            parts = _from_probes(field, x, n_probes, generator)
    twisted, total = (part.detach().cpu().to(torch.float64) for part in parts)
    share = float(twisted.sum() / total.sum())
    # The error of a ratio of sums.
    residual = (twisted - share * total).square().sum().sqrt() / total.sum()
    return Asymmetry(share, float(residual), twisted / total.clamp_min(torch.finfo(torch.float64).tiny))


def _from_jacobian(field: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone().requires_grad_(True)
    values = field(leaf)
    size = x[0].numel()
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    rows = [
        torch.autograd.grad(values, leaf, row.reshape(x.shape[1:]).expand_as(x), retain_graph=True)[0]
        for row in unit
    ]
    jacobian = torch.stack([row.reshape(x.shape[0], size) for row in rows], 1)
    return 0.25 * (jacobian - jacobian.mT).square().sum((1, 2)), jacobian.square().sum((1, 2))


def _from_probes(
    field: Callable[[Tensor], Tensor], x: Tensor, n_probes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone().requires_grad_(True)
    values = field(leaf)
    # The product with the Jacobian itself is the gradient of the product with its transpose.
    dual = torch.zeros_like(values, requires_grad=True)
    (transposed,) = torch.autograd.grad(values, leaf, dual, create_graph=True)
    twisted = total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
    for probe in random_signs((n_probes, *x.shape), generator).to(x.device, x.dtype):
        (ahead,) = torch.autograd.grad(transposed, dual, probe, retain_graph=True)
        (back,) = torch.autograd.grad(values, leaf, probe, retain_graph=True)
        twisted = twisted + 0.25 * _squared(ahead - back)
        total = total + 0.5 * (_squared(ahead) + _squared(back))
    return twisted / n_probes, total / n_probes


def _squared(values: Tensor) -> Tensor:
    return values.reshape(values.shape[0], -1).square().sum(-1)
