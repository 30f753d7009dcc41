r"""Divergence of a vector field, exact or estimated.

For a field :math:`f: R^d \to R^d`, :math:`\operatorname{div} f = \operatorname{tr} \partial f/\partial x`.
The exact value takes d backward passes; Hutchinson's estimate :math:`z^\top (\partial f/\partial x) z` with
independent signs :math:`z_i = \pm 1` takes one a probe and is unbiased (Hutchinson, *A Stochastic Estimator
of the Trace of the Influence Matrix*, Communications in Statistics 18, 1989).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["divergence"]


def divergence(
    field: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    n_probes: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return a field's values and its divergence, item by item.

    Parameters
    ----------
    field : callable
        From values of the shape of ``x`` to values of that shape, differentiable, each item (row of the
        first axis) by itself.  Called once.
    x : Tensor
        Shape ``(count, ...)``; all axes but the first are those of one item.
    n_probes : int >= 1, optional
        Hutchinson's estimate from this many probes; None for the exact divergence, one backward pass a
        coordinate.
    generator : torch.Generator, optional
        Source of the probes.

    Returns
    -------
    values : Tensor
        The field at ``x``, without gradient.
    divergence : Tensor
        Shape ``(count,)``.

    Raises
    ------
    ValueError
        For a number of probes below 1, or probes without a generator.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        values = field(leaf)
        probes = _basis(leaf) if n_probes is None else _signs(leaf, n_probes, generator)
        total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        if values.requires_grad:  # else the field is constant
            for probe in probes:
                # Values with parameters in them carry gradients even where they are constant in x.
                (row,) = torch.autograd.grad(values, leaf, probe, retain_graph=True, materialize_grads=True)
                total = total + (row * probe).reshape(x.shape[0], -1).sum(-1)
    return values.detach(), total if n_probes is None else total / n_probes


def _basis(x: Tensor) -> list[Tensor]:
    """Return for each coordinate of an item the probe that picks it."""
    size = x[0].numel()
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    return [row.reshape(x.shape[1:]).expand_as(x) for row in unit]


def _signs(x: Tensor, n_probes: int, generator: torch.Generator | None) -> list[Tensor]:
    if n_probes < 1:
        raise ValueError(f"n_probes must be at least 1, got {n_probes}")
    if generator is None:
        raise ValueError("probes need a generator, got None")
    shape = (n_probes, *x.shape)
    signs = 2.0 * torch.randint(2, shape, generator=generator, device=generator.device) - 1.0
    return list(signs.to(x.device, x.dtype))
