"""What every diagnostic asks of the samples and weights that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_samples", "as_weights", "check_same_dim"]


def as_samples(values: Tensor, name: str, *, least: int = 1, batched: bool = False) -> Tensor:
    """Return samples in float64, on a device that knows it.

    Parameters
    ----------
    values : Tensor
        Shape ``(count, dim)``; with ``batched`` any number of leading axes before these two.
    name : str
        Of the argument, for errors.
    least : int, default 1
        Smallest count that makes sense.
    batched : bool, default False
        Allow leading axes.

    Returns
    -------
    Tensor
        The same values.

    Raises
    ------
    TypeError
        If ``values`` is no tensor of numbers.
    ValueError
        For another shape, too few samples, or values that are not finite.
    """
    if not isinstance(values, Tensor) or values.is_complex() or values.dtype == torch.bool:
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a tensor of real numbers, got {found}")
    expected = "(..., count, dim)" if batched else "(count, dim)"
    if values.ndim < 2 or (values.ndim > 2 and not batched) or values.shape[-1] < 1:
        raise ValueError(f"{name} must have shape {expected}, got {tuple(values.shape)}")
    if values.shape[-2] < least:
        raise ValueError(f"{name} must hold at least {least} samples, got {values.shape[-2]}")
    if not bool(values.isfinite().all()):
        bad = int((~values.isfinite()).any(-1).sum())
        raise ValueError(f"{name} must be finite, got {bad} samples with NaN or infinite values")
    return (values.detach().cpu() if values.device.type == "mps" else values.detach()).to(torch.float64)


def as_weights(weights: Tensor | None, samples: Tensor, name: str) -> Tensor:
    """Return the weights of samples in float64, normalised to sum 1; equal ones for None.

    Parameters
    ----------
    weights : Tensor, optional
        Not negative, shape ``samples.shape[:-1]``.
    samples : Tensor
        What is weighted, shape ``(..., count, dim)``.
    name : str
        Of the argument, for errors.

    Returns
    -------
    Tensor
        Shape ``samples.shape[:-1]``.

    Raises
    ------
    ValueError
        For another shape, or weights that are negative, not finite or all 0.
    """
    shape = samples.shape[:-1]
    if weights is None:
        return torch.full(shape, 1.0 / shape[-1], dtype=torch.float64, device=samples.device)
    if weights.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(weights.shape)}")
    wide = weights.detach().cpu().to(torch.float64).to(samples.device)
    total = wide.sum(-1, keepdim=True)
    if not bool((wide >= 0.0).all() & wide.isfinite().all() & (total > 0.0).all()):
        raise ValueError(f"{name} must be finite, not negative and not all 0")
    return wide / total


def check_same_dim(**samples: Tensor) -> None:
    """Raise ``ValueError`` unless all samples, given by the names of their arguments, share a last axis."""
    if len({values.shape[-1] for values in samples.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in samples.items())
        raise ValueError(f"samples must have one dimension (last axis), got {shapes}")
