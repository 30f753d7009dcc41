r"""Clipping of gradients, for each member of a vectorised ensemble by itself.

With :math:`g_m` all gradients that belong to member :math:`m` (slice :math:`m` of the leading axis of every
parameter) and a largest norm :math:`c`, clipping replaces :math:`g_m` by
:math:`g_m \min(1, c / \lVert g_m \rVert)`. Members thus train as if each were alone: one whose gradient
explodes does not slow the others, as clipping by the joint norm would.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["clip_gradients"]

#: Keeps the division finite where a gradient is zero.
_TINY = 1e-12


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, n_members: int | None = None) -> None:
    """Scale gradients in place so that their norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters; those without a gradient are passed over.
    max_norm : float > 0
        Largest Euclidean norm.
    n_members : int, optional
        Members of the ensemble, the length of the leading axis of every parameter. None takes one norm over
        everything.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    if n_members is None:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, _scale(norm, max_norm))
        return
    squares = [g.reshape(n_members, -1).square().sum(1) for g in gradients]
    scale = _scale(torch.stack(squares).sum(0).sqrt(), max_norm)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


def _scale(norm: Tensor, max_norm: float) -> Tensor:
    return (max_norm / (norm + _TINY)).clamp(max=1.0)
