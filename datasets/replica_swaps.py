r"""Exchange of replicas between neighbouring temperatures.

A *column* has one replica at every temperature :math:`T_0 < T_1 < \dots` of a ladder. Neighbours of
alternating pairs, (0, 1), (2, 3), ... then (1, 2), (3, 4), ..., change places with probability

.. math:: \min\left(1, e^{(1/T_r - 1/T_{r+1}) (E_r - E_{r+1})}\right),

which is in detailed balance with the product of the Boltzmann laws: what is cold climbs, is freed and comes
back.

Source: Swendsen and Wang, *Replica Monte Carlo simulation of spin glasses*, Physical Review Letters 57:2607,
1986.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SwapCount", "acceptance", "exchange"]


def acceptance(energies: Tensor, temperatures: Tensor) -> Tensor:
    """Return the probabilities (temperatures - 1, columns) that neighbours change places.

    Parameters
    ----------
    energies : Tensor of shape (temperatures, columns)
        Energy of the replica now at each temperature.
    temperatures : Tensor of shape (temperatures,)
        The ladder.
    """
    inverse = 1.0 / temperatures
    exponent = (inverse[:-1] - inverse[1:])[:, None] * (energies[:-1] - energies[1:])
    return exponent.clamp(max=0.0).exp()


def exchange(
    energies: Tensor, temperatures: Tensor, parity: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Propose exchanges of the pairs (parity, parity + 1), (parity + 2, parity + 3), ...

    Returns
    -------
    sources : Tensor of shape (temperatures, columns)
        Place in the ladder that the replica of each place comes from.
    accepted : Tensor of shape (temperatures - 1, columns)
        Whether the exchange above each place was proposed and accepted.
    """
    uniform = torch.rand(
        energies[:-1].shape, generator=generator, dtype=energies.dtype, device=energies.device
    )
    places = torch.arange(len(energies), device=energies.device)
    proposed = (places[:-1] % 2 == parity)[:, None]
    accepted = (uniform < acceptance(energies, temperatures)) & proposed
    sources = places[:, None].repeat(1, energies.shape[1])
    sources[:-1] += accepted.long()
    sources[1:] -= accepted.long()
    return sources, accepted


class SwapCount:
    """Proposals and accepted exchanges between neighbours."""

    def __init__(self, temperatures: int) -> None:
        self.proposed, self.accepted = np.zeros(temperatures - 1), np.zeros(temperatures - 1)

    def add(self, parity: int, accepted: Tensor, counted: bool = True) -> None:
        """Count the exchanges ``accepted`` (temperatures - 1, columns) of one proposal."""
        if counted:
            self.proposed[parity::2] += accepted.shape[1]
            self.accepted += accepted.sum(dim=1).cpu().numpy()

    def rates(self) -> NDArray[np.float64]:
        """Return the share that was accepted, NaN where nothing was proposed."""
        unknown = np.full_like(self.proposed, np.nan)
        return np.divide(self.accepted, self.proposed, out=unknown, where=self.proposed > 0)
