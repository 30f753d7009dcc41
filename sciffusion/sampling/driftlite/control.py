r"""How the coefficients of a control are chosen at each step.

With averages :math:`E_w` over the weighted particles of a system, :math:`g = G - E_w G` and centred
:math:`h_i`,

- variance-controlling guidance (VCG) makes the variance of the potential :math:`G + \sum_i\theta_i h_i`
  least: :math:`A_{ij} = E_w[h_i h_j]`, :math:`c_i = -E_w[g h_i]`;
- energy-controlling guidance (ECG) makes the energy :math:`\frac12 E_w|\nabla a|^2 - E_w[g a]` of the Poisson
  equation least among :math:`a = \sum_i\theta_i s_i`, whose gradients are the fields:
  :math:`A_{ij} = E_w[\nabla s_i\cdot\nabla s_j]`, :math:`c_i = E_w[g s_i]`;

and :math:`A\theta = c`.  Early on, the score and the drift of the path are nearly parallel: A is scaled to
unit diagonal and a ridge is added.  Any coefficients that do not depend on the particles leave the weighted
law as it is, so the ridge and the bound on :math:`|\theta_i|` cost variance at most.  Taken from the N
particles themselves they cost a bias of order 1/N, too, and the estimated normaliser is unbiased no more.

Ren et al., *DriftLite*, arXiv 2509.21655, sections 3.2 and 3.3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sciffusion.sampling.driftlite.potential import Increments, ParticleValues, Tilt, dot

__all__ = ["Control", "control_coefficients"]

Control = Literal["vcg", "ecg", "none", "langevin", "unguided"]


def _centred(values: Tensor, weights: Tensor) -> Tensor:
    """Subtract the weighted mean of each system from values ``(..., batch)``; they get systems and count."""
    grouped = values.reshape(*values.shape[:-1], *weights.shape)
    return grouped - (weights * grouped).sum(-1, keepdim=True)


def weighted_variance(values: Tensor, weights: Tensor) -> Tensor:
    """Return the variance of ``values`` ``(batch,)`` in each system under weights ``(systems, count)``."""
    return (weights * _centred(values, weights) ** 2).sum(-1)


def solve_scaled(matrix: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Solve symmetric systems ``(systems, n, n)`` scaled to unit diagonal, with a ridge added there."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    scaled = matrix / (scale[..., :, None] * scale[..., None, :])
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    solution: Tensor = torch.linalg.solve(scaled + ridge * eye, right / scale)
    return solution / scale


def control_coefficients(
    control: Control,
    values: ParticleValues,
    potential: Tensor,
    tilt: Tilt,
    step: Increments,
    weights: Tensor,
    *,
    ridge: float,
    bound: float,
    noise_scale: float,
) -> Tensor:
    """Return the coefficients of the control of every system.

    Parameters
    ----------
    control : {"vcg", "ecg", "none", "langevin", "unguided"}
        How they are chosen; "none" leaves the guidance as it is, "unguided" takes it back, "langevin" all but
        the part that belongs to the noise.
    values : ParticleValues
        What is known of the particles.
    potential : Tensor
        Increments G without control, shape ``(batch,)``.
    tilt, step
        Law aimed at, and what the path adds in this step.
    weights : Tensor
        Shape ``(systems, count)``.
    ridge, bound : float
        Of the linear system, and of the coefficients.
    noise_scale : float
        Noise of the particles relative to that of the path.

    Returns
    -------
    Tensor
        Shape ``(systems, fields)``, float64.
    """
    n_fields = 2 if values.reward is None else 3
    if control in ("none", "langevin", "unguided"):
        taken = {"none": 0.0, "langevin": 0.5, "unguided": 0.5 * (1.0 + noise_scale**2)}[control]
        fixed = torch.zeros(weights.shape[0], n_fields, dtype=torch.float64, device=weights.device)
        fixed[:, -2] = taken * (1.0 - tilt.gamma)
        fixed[:, :-2] = -taken * tilt.beta
        return fixed
    g = _centred(potential, weights)
    if control == "vcg":
        h = _centred(values.control_potentials(tilt), weights)
        matrix = torch.einsum("sn,isn,jsn->sij", weights, h, h)
        right = -torch.einsum("sn,sn,isn->si", weights, g, h)
    else:
        fields = values.fields()
        products = torch.stack([torch.stack([dot(a, b) for a in fields]) for b in fields])
        matrix = torch.einsum("sn,ijsn->sij", weights, products.reshape(n_fields, n_fields, *weights.shape))
        right = torch.einsum("sn,sn,isn->si", weights, g, _centred(values.scalars(), weights))
    theta = solve_scaled(matrix, right, ridge) / step.squared_noise
    # All shrink together: where fields are nearly parallel, large coefficients cancel, and one of them cut by
    # itself would leave the other.
    largest = theta.abs().amax(-1, keepdim=True)
    return theta * (bound / largest).clamp_max(1.0)
