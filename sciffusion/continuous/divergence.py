r"""Divergence of a vector field, exact or estimated.

For a field :math:`f: R^d \to R^d`, :math:`\operatorname{div} f = \operatorname{tr} \partial f/\partial x`.
The exact value takes d backward passes; Hutchinson's estimate :math:`z^\top (\partial f/\partial x) z` with
independent signs :math:`z_i = \pm 1` takes one a probe and is unbiased (Hutchinson, *A Stochastic Estimator
of the Trace of the Influence Matrix*, Communications in Statistics 18, 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["divergence", "divergence_of_values", "random_signs"]


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
        total = divergence_of_values(values, leaf, n_probes=n_probes, generator=generator)
    return values.detach(), total


def divergence_of_values(
    values: Tensor,
    x: Tensor,
    *,
    n_probes: int | None = None,
    generator: torch.Generator | None = None,
    create_graph: bool = False,
) -> Tensor:
    """Return the divergence of values already computed, which may be differentiated again.

    Parameters
    ----------
    values : Tensor
        The field at ``x``, of its shape, each item by itself.
    x : Tensor
        Shape ``(count, ...)``, with gradients on.
    n_probes, generator
        As for `divergence`.
    create_graph : bool, default False
        Keep the graph of the divergence itself.

    Returns
    -------
    Tensor
        Shape ``(count,)``.
    """
    probes = _basis(x) if n_probes is None else _signs(x, n_probes, generator)
    total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
    if values.requires_grad:  # else the field is constant
        for probe in probes:
            # Values with parameters in them carry gradients even where they are constant in x.
            (row,) = torch.autograd.grad(
                values, x, probe, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
            total = total + (row * probe).reshape(x.shape[0], -1).sum(-1)
    return total if n_probes is None else total / n_probes


def random_signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return independent signs, -1 or 1 with equal probability, float32 on the generator's device."""
    return 2.0 * torch.randint(2, tuple(shape), generator=generator, device=generator.device) - 1.0


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
    return list(random_signs((n_probes, *x.shape), generator).to(x.device, x.dtype))
