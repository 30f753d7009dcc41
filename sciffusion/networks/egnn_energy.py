r"""Energies of particles: invariant networks whose gradients are equivariant fields.

With the states of `sciffusion.networks.egnn` the network returns

.. math:: E = \sum_{i<j} \Bigl[s_{ij}\bigl(z_{ij}\, w\cdot e_{ij} + \tfrac12 z_{ij}^2\, v \cdot e_{ij}\bigr)
   + \psi_c(d_{ij})\Bigr] + \tfrac12 \sum_i (u\cdot h_i)\, |x_i|^2

as energy, :math:`s_{ij}` the standard deviation of a noisy pair, :math:`\psi_c` in place of :math:`g_c`,
and :math:`u_q z_q + \frac12 v_q z_q^2` of each quadruple of bonded particles
(`sciffusion.networks.quadruples`); where the states are constant its gradient is, :math:`\psi_c` apart, the
field that `EquivariantNetwork` reads from them. The field is conservative by construction, and costs a
backward pass. The form is a construction of this library.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.networks.egnn import EquivariantNetwork

__all__ = ["EquivariantEnergy"]


class EquivariantEnergy(EquivariantNetwork):
    """A network from positions to the gradient of an energy that does not change as they turn.

    Parameters
    ----------
    frame, width, depth, bumps
        As for `EquivariantNetwork`, of whose parameters it has the same.
    """

    def energy(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return energies ``(batch,)`` of positions ``(batch, particles, dimensions)``.

        Parameters
        ----------
        x : Tensor
            Positions, as for `EquivariantNetwork.forward`.
        noise : Tensor
            ``log(sigma / alpha) / 4``, a scalar or shape ``(batch,)``.
        """
        states = self._states(x, noise)
        steady, harmonic = self.pair_readout(states.pairs).unbind(-1)
        direct = (states.features @ self.bump_force(states.level).unsqueeze(-1)).squeeze(-1)
        excess = states.excess
        pairs = states.spread * excess * (steady + 0.5 * excess * harmonic) + direct
        squares = states.x.square().sum(-1, keepdim=True)
        particles = 0.5 * self.particle_readout(states.particles) * squares
        total: Tensor = pairs.sum(-1) + particles.flatten(1).sum(-1)
        if states.bends is not None:
            _, bend, straight, bent = states.bends
            total = total + (bend * (straight + 0.5 * bend * bent)).sum(-1)
        return total

    def forward(self, x: Tensor, noise: Tensor, condition: Any = None) -> Tensor:
        """Return the gradient of the energy (see `EquivariantNetwork.forward`)."""
        keep = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            if x.is_inference():
                x = x.clone()
            noise = noise.clone() if noise.is_inference() else noise
            if not x.requires_grad:
                x = x.detach().requires_grad_(True)
            total = self.energy(x, noise).sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=keep, materialize_grads=True)
        return gradient
