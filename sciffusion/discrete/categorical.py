"""Draws from categorical laws in float64: truncated low-precision noise acts as a hidden temperature.

Zheng et al., *Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate
Categorical Sampling*, arXiv 2409.02908.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sciffusion.discrete.schedules import wide

__all__ = ["categories_at", "draw_categorical"]


def draw_categorical(log_probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one category from each law.

    Parameters
    ----------
    log_probabilities : Tensor of shape ``(..., categories)``
        Up to a constant; ``-inf`` rules a category out, and is never drawn.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        int64 of shape ``(...)``.

    Raises
    ------
    ValueError
        If a law holds NaN or rules out every category.
    """
    drawn = torch.rand(
        log_probabilities.shape[:-1], generator=generator, dtype=torch.float64, device=generator.device
    )
    return categories_at(log_probabilities, drawn)


def categories_at(log_probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the categories at given places of the cumulative laws.

    Parameters
    ----------
    log_probabilities : Tensor of shape ``(..., categories)``
        See `draw_categorical`, which gives uniform random places.
    uniforms : Tensor of shape ``(...)``
        Places in [0, 1), float64.

    Raises
    ------
    ValueError
        If a law holds NaN or rules out every category.
    """
    logits = wide(log_probabilities)
    top = logits.amax(-1, keepdim=True)
    if not bool(top.isfinite().all()):
        raise ValueError("expected laws with at least one possible category and no NaN or +inf")
    cumulative = torch.cumsum(torch.exp(logits - top), -1)
    # The number of categories whose cumulative weight does not exceed the point: one with weight, always,
    # since the point lies below the total.
    point = uniforms.to(logits.device) * cumulative[..., -1]
    return (cumulative <= point[..., None]).sum(-1).clamp_max(logits.shape[-1] - 1)
