r"""Functions of the clean data, linearised at an estimate, and the moments that they inherit.

Near the clean estimate D a function with m values an item is :math:`f(x_0) \approx f(D) + H (x_0 - D)`.  If
:math:`x_0` has covariance C given the noisy state, the values have mean f(D) and covariance

.. math:: S = H C H^\top .

Rows of H are backward passes through f, columns of :math:`C H^\top` backward passes through the denoiser (see
`DifferentiableEstimate`): m of each, whatever the number of items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.sampling.guidance.estimate import DifferentiableEstimate

__all__ = ["Linearisation", "Moments", "as_columns", "in_double", "match_values"]


def in_double(values: Tensor) -> Tensor:
    """Return values in float64 where their device knows it."""
    return values if values.device.type == "mps" else values.to(torch.float64)


def as_columns(values: Tensor, x: Tensor, name: str) -> Tensor:
    """Return the values of a function as ``(count, m)``.

    Parameters
    ----------
    values : Tensor
        What a function returned for ``x``: shape ``(count,)`` or ``(count, ...)``.
    x : Tensor
        Shape ``(count, ...)``.
    name : str
        Of the function, for the message.

    Raises
    ------
    TypeError
        If no tensor was returned.
    ValueError
        If the first axis does not count the items, or for NaN; the message names the items.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must return a Tensor, got {type(values).__name__}")
    if values.ndim < 1 or values.shape[0] != x.shape[0]:
        raise ValueError(
            f"{name} must return values of shape (count, ...) with count = {x.shape[0]}, "
            f"got shape {tuple(values.shape)}"
        )
    columns = values.reshape(x.shape[0], -1)
    bad = columns.isnan().any(-1).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(f"{name} returned NaN for {len(bad)} of {len(x)} items, the first being {bad[:5]}")
    return columns


def match_values(given: Tensor | float, values: Tensor, name: str) -> Tensor:
    """Return what was given for a function's values, shared or one an item, as ``(count, m)``.

    Parameters
    ----------
    given : Tensor or float
        A number, or of shape ``values.shape[1:]`` (shared by all items) or ``values.shape``.
    values : Tensor
        The function's values, shape ``(count, ...)``.
    name : str
        Of the argument, for the message.

    Raises
    ------
    ValueError
        For another shape.
    """
    # Without the type a Python number would pass through float32.
    wide = given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=torch.float64)
    tensor = wide.detach().to(values.device, values.dtype)
    if tensor.shape not in ((), values.shape[1:], values.shape):
        raise ValueError(
            f"{name} must be a number or have shape {tuple(values.shape[1:])} (shared by all items) or "
            f"{tuple(values.shape)} (one an item), got {tuple(tensor.shape)}"
        )
    return tensor.expand(values.shape).reshape(values.shape[0], -1)


class Linearisation:
    """A function linearised at some values.

    Parameters
    ----------
    function : callable
        From values ``(count, ...)`` to columns ``(count, m)``, differentiable, each item by itself.
    point : Tensor
        Where; its own gradient is not taken.

    Raises
    ------
    ValueError
        If the result carries no gradient.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        self._point = point.detach().requires_grad_(True)
        self._graph = function(self._point)
        if not self._graph.requires_grad:
            raise ValueError("the function must be differentiable: its result carries no gradient")
        self.values = self._graph.detach()

    def pull_back(self, weights: Tensor) -> Tensor:
        """Return ``H^T`` times weights of shape ``(count, m)``, of the shape of the point."""
        return self._gradient(self._graph, weights.to(self._graph))

    def push_forward(self, direction: Tensor) -> Tensor:
        """Return ``H`` times a direction, shape ``(count, m)``: the derivative of `pull_back`."""
        weights = torch.zeros_like(self._graph, requires_grad=True)
        (pulled,) = torch.autograd.grad(self._graph, self._point, weights, create_graph=True)
        (pushed,) = torch.autograd.grad(pulled, weights, direction)
        return pushed

    def rows(self) -> Tensor:
        """Return H, shape ``(count, m, ...)`` with the axes of an item last."""
        columns = [self._gradient(column, torch.ones_like(column)) for column in self._graph.unbind(-1)]
        return torch.stack(columns, 1)

    def _gradient(self, values: Tensor, weights: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(
            values, self._point, weights, retain_graph=True, materialize_grads=True
        )
        return gradient


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the values of a function, given the noisy state.

    Parameters
    ----------
    mean : Tensor
        f(D), shape ``(count, m)``, float64.
    covariance : Tensor
        S, shape ``(count, m, m)``, float64, symmetric; not positive definite if the denoiser is bad.
    rows : Tensor
        H, shape ``(count, m, size)``, float64, with the axes of an item flattened.
    products : Tensor
        ``C H^T``, shape ``(count, m, ...)``.
    """

    mean: Tensor
    covariance: Tensor
    rows: Tensor
    products: Tensor

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor], estimate: DifferentiableEstimate) -> Moments:
        """Linearise at the clean estimate: m backward passes through the denoiser."""
        linear = Linearisation(function, estimate.value)
        rows = linear.rows()
        products = torch.stack([estimate.covariance_times(row) for row in rows.unbind(1)], 1)
        flat, moved = in_double(rows.flatten(2)), in_double(products.flatten(2))
        covariance = flat @ moved.mT
        return cls(in_double(linear.values), 0.5 * (covariance + covariance.mT), flat, products)

    def correction(self, weights: Tensor) -> Tensor:
        """Return ``C H^T`` times weights of shape ``(count, m)``: the change of the clean estimate."""
        shape = weights.shape + (1,) * (self.products.ndim - 2)
        return (weights.to(self.products).reshape(shape) * self.products).sum(1)
