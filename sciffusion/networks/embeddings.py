r"""Embeddings of the diffusion time and of single numbers.

`angle_embedding` maps a time :math:`t \in [0, 1]` to

.. math::
   \bigl(\sin k\theta, \cos k\theta\bigr)_{k=1..K}, \qquad \theta = \tfrac{\pi}{2} t,

smooth up to both ends: on the trigonometric path :math:`\cos\theta` and :math:`\sin\theta` are the signal and
noise levels themselves.  `sinusoidal_embedding` is the geometric family of frequencies that Ho, Jain and
Abbeel use for integer steps (*Denoising Diffusion Probabilistic Models*, arXiv 2006.11239).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["angle_embedding", "sinusoidal_embedding"]


def angle_embedding(t: Tensor, n_frequencies: int) -> Tensor:
    """Return sines and cosines of multiples of the path's angle.

    Parameters
    ----------
    t : Tensor
        Times in [0, 1], any shape.
    n_frequencies : int
        Number K of multiples.

    Returns
    -------
    Tensor
        Shape ``t.shape + (2 * n_frequencies,)``.
    """
    multiples = torch.arange(1, n_frequencies + 1, dtype=t.dtype, device=t.device)
    angles = 0.5 * math.pi * t[..., None] * multiples
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sinusoidal_embedding(steps: Tensor, width: int, longest: float = 1e4) -> Tensor:
    """Return the sinusoidal embedding of step numbers.

    Parameters
    ----------
    steps : Tensor
        Step numbers (or any scale on which 1 is a small difference), any shape.
    width : int
        Even number of outputs, at least 4.
    longest : float, default 1e4
        Ratio of the highest to the lowest frequency.

    Returns
    -------
    Tensor
        Shape ``steps.shape + (width,)``.
    """
    if width < 4 or width % 2:
        raise ValueError(f"width must be an even number >= 4, got {width}")
    half = width // 2
    exponents = torch.arange(half, dtype=steps.dtype, device=steps.device) / (half - 1)
    angles = steps[..., None] * torch.exp(-math.log(longest) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
