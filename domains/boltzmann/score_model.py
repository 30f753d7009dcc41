r"""The learned score of a system of particles at every noise level.

Positions are centred and divided by one length, the root mean square of a coordinate, so that the path
:math:`x_t = \cos\theta\,x_0 + \sin\theta\,\varepsilon` starts from unit variance.  The law lives in the
subspace of centred positions, of :math:`(n - 1) d` dimensions for n particles in d dimensions, and its
density is one with respect to lengths in that subspace.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sciffusion.continuous import EDMPreconditioning, NetworkDenoiser, Trigonometric
from sciffusion.networks.egnn import EquivariantNetwork, ParticleFrame
from sciffusion.networks.egnn_energy import EquivariantEnergy

from .energy_model import EnergyDenoiser

__all__ = ["PATH", "ScoreModel", "build_score_model", "place_bumps"]

_DENSE_BUMPS, _SPARSE_BUMPS = 16, 24

#: Signal cos, noise sin: the variance of scaled positions is 1 at all times.
PATH = Trigonometric()


class ScoreModel(NamedTuple):
    """A network with what is needed to read it.

    Parameters
    ----------
    network : EquivariantNetwork
        On scaled positions; an `EquivariantEnergy` for models that know log densities.
    length : float
        Unit of the scaled positions, in the unit of the data.
    local_scale : float
        Smallest length on which the density varies, in scaled units.
    """

    network: EquivariantNetwork
    length: float
    local_scale: float

    def denoiser(self, network: Any = None) -> NetworkDenoiser:
        """Return the denoiser on the path, of another network of the same kind if one is given."""
        preconditioning = EDMPreconditioning(1.0, local_scale=self.local_scale)
        kind = EnergyDenoiser if self.energy_based else NetworkDenoiser
        return kind(self.network if network is None else network, PATH, "x0", preconditioning)

    @property
    def energy_based(self) -> bool:
        """Whether the network is one of energies."""
        return isinstance(self.network, EquivariantEnergy)


def build_score_model(
    frame: ParticleFrame,
    bumps: Tensor,
    *,
    length: float,
    local_scale: float,
    width: int,
    depth: int,
    energy_based: bool = False,
) -> ScoreModel:
    """Return an untrained model of a system."""
    kind = EquivariantEnergy if energy_based else EquivariantNetwork
    network = kind(frame, width=width, depth=depth, bumps=bumps)
    return ScoreModel(network.to(torch.float32), length, local_scale)


def place_bumps(scaled: Tensor, local_scale: float) -> Tensor:
    """Return centres of bumps from 0 to beyond the largest distance in scaled positions.

    They are dense, by three quarters of the smallest scale of the density, from the smallest distance in the
    data on, where walls are.
    """
    first, second = torch.triu_indices(scaled.shape[1], scaled.shape[1], 1)
    distances = (scaled[:2000, first] - scaled[:2000, second]).norm(dim=-1)
    spacing = 0.75 * local_scale
    dense = float(distances.min()) - spacing + spacing * torch.arange(_DENSE_BUMPS)
    sparse = torch.linspace(0.0, 1.2 * max(float(distances.max()), 4.0), _SPARSE_BUMPS)
    outside = (sparse < dense[0] - 0.5 * spacing) | (sparse > dense[-1] + 0.5 * spacing)
    return torch.cat([dense, sparse[outside]]).sort().values
