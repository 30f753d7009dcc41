r"""Charges, Lennard-Jones and the implicit solvent of Onufriev, Bashford and Case, for many configurations.

Over all pairs, with :math:`r = |x_i - x_j|` and the pair's own parameters (excluded pairs have zeros),

.. math:: E = \sum_{i<j} \frac{k_e q_{ij}}{r} + 4 \epsilon_{ij}
   \left[(\sigma_{ij}/r)^{12} - (\sigma_{ij}/r)^6\right].

The solvent is a generalised Born model. Atom i of radius :math:`\rho_i`, reduced radius
:math:`\tilde\rho_i = \rho_i - 0.009` nm, is descreened by atom j of scaled radius
:math:`s_j = \text{scale}_j \tilde\rho_j`: with :math:`U = r + s_j` and
:math:`L = \max(\tilde\rho_i, |r - s_j|)`,

.. math::

    H_{ij} &= \tfrac12 (1/L - 1/U) + \tfrac18 (r - s_j^2/r)(1/U^2 - 1/L^2) + \frac{\ln(L/U)}{4 r}
    \quad (+\, 1/\tilde\rho_i - 1/L \text{ where } s_j - r > \tilde\rho_i), \\
    \psi_i &= \tilde\rho_i \textstyle\sum_j H_{ij}, \qquad
    1/R_i = 1/\tilde\rho_i - \tanh(\psi_i - 0.8 \psi_i^2 + 4.85 \psi_i^3) / \rho_i, \\
    E &= -\tfrac12 k_e (1/\epsilon_s - 1/\epsilon_w) \sum_{ij} q_i q_j / f_{ij}
        + 4 \pi \gamma \sum_i (\rho_i + 0.14)^2 (\rho_i / R_i)^6, \\
    f_{ij}^2 &= r^2 + R_i R_j \exp(-r^2 / 4 R_i R_j).

:math:`H_{ij}` is an integral between L and U whose integrand vanishes where they depend on r, so that its
slope is that at fixed L and U.

References
----------
Onufriev, Bashford and Case, *Exploring protein native states and large-scale conformational changes with a
modified generalized Born model*, Proteins 55:383-394, 2004. Schaefer, Bartels and Karplus, *Solution
conformations and thermodynamics of structured peptides*, Journal of Molecular Biology 284:835-848, 1998 (the
surface term).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .molecular_mechanics_bonded import incidence

__all__ = ["COULOMB", "Pairs", "Solvent"]

#: Coulomb's constant in kJ nm / (mol e^2).
COULOMB = 138.93545764438198
_OFFSET, _PROBE = 0.009, 0.14
_ALPHA, _BETA, _GAMMA = 1.0, 0.8, 4.85


def _column(values: Tensor) -> Tensor:
    return values.to(torch.float64)[:, None]


class Solvent(nn.Module):
    """Generalised Born solvent with the surface term, on given pair distances.

    Parameters
    ----------
    charges, radii, scales : Tensor of shape (atoms,)
        Charges (e), radii (nm) and dimensionless scale factors.
    first, second : Tensor of shape (pairs,)
        All pairs.
    solute, solvent : float
        Dielectric constants.
    surface : float
        Energy of the surface, gamma (kJ/mol/nm^2).
    """

    first: Tensor
    second: Tensor
    reduced: Tensor
    radii: Tensor
    own: Tensor
    other: Tensor
    summing: Tensor
    product: Tensor
    alone: Tensor
    surface: Tensor

    def __init__(
        self,
        charges: Tensor,
        radii: Tensor,
        scales: Tensor,
        first: Tensor,
        second: Tensor,
        *,
        solute: float,
        solvent: float,
        surface: float,
    ) -> None:
        super().__init__()
        strength = COULOMB * (1.0 / solute - 1.0 / solvent)
        radii, charges = _column(radii), _column(charges)
        reduced = radii - _OFFSET
        scaled = _column(scales) * reduced
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        receivers, sources = torch.cat([first, second]), torch.cat([second, first])
        shape = (2, len(first), 1)
        summing = incidence(receivers, torch.ones(len(receivers), dtype=torch.float64), len(radii))
        for name, value in {
            "reduced": reduced,
            "radii": radii,
            "own": reduced[receivers].reshape(shape),
            "other": scaled[sources].reshape(shape),
            "summing": summing,
            "product": -strength * charges[first] * charges[second],
            "alone": -0.5 * strength * charges.square(),
            "surface": 4.0 * math.pi * surface * (radii + _PROBE).square() * radii.pow(6),
        }.items():
            self.register_buffer(name, value)

    def forward(self, square: Tensor, inverse: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, slopes in r divided by r (pairs, batch).

        Parameters
        ----------
        square, inverse : Tensor of shape (pairs, batch)
            Squared distances (nm^2) and their inverse roots.
        gradient : bool
            Whether slopes are wanted.
        """
        distance = square * inverse
        descreening, change = self._descreen(distance, inverse, gradient)
        born, growth = self._born(self.summing @ descreening.flatten(0, 1), gradient)
        left, right = born[self.first], born[self.second]
        area = left * right
        ratio = square / (4.0 * area)
        decay = torch.exp(-ratio)
        screened = (square + area * decay).rsqrt()
        pair = self.product * screened
        surface = self.surface * born.pow(-6)
        alone = self.alone / born
        energy = pair.sum(0) + (alone + surface).sum(0)
        if change is None or growth is None:
            return energy, None
        weight = -0.5 * pair * screened.square()
        on_area = weight * decay * (1.0 + ratio)
        on_born = self.summing @ torch.cat([on_area * right, on_area * left])
        on_sum = (on_born - (alone + 6.0 * surface) / born) * growth
        through = on_sum[self.first] * change[0] + on_sum[self.second] * change[1]
        return energy, weight * (2.0 - 0.5 * decay) + through * inverse

    def _descreen(self, distance: Tensor, inverse: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give what each atom of a pair takes of the other's solvent (2, pairs, batch), and its slope."""
        own, other = self.own, self.other
        near = torch.maximum(own, (distance - other).abs()).reciprocal()
        # Beyond the own sphere's surface nothing is left to integrate: both limits coincide.
        far = torch.maximum(own, distance + other).reciprocal()
        logarithm = torch.log(far / near)
        squares = far.square() - near.square()
        reach = other.square() * inverse
        value = 0.5 * (near - far) + 0.125 * (distance - reach) * squares + 0.25 * inverse * logarithm
        value = value + torch.where(other - distance > own, own.reciprocal() - near, torch.zeros_like(near))
        if not gradient:
            return value, None
        return value, 0.125 * (1.0 + reach * inverse) * squares - 0.25 * inverse.square() * logarithm

    def _born(self, descreened: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give the radii of Born (atoms, batch) and their slopes in the sums of the descreening."""
        fraction = self.reduced * descreened
        bent = torch.tanh(fraction * (_ALPHA + fraction * (_GAMMA * fraction - _BETA)))
        born = (1.0 / self.reduced - bent / self.radii).reciprocal()
        if not gradient:
            return born, None
        inner = _ALPHA + fraction * (3.0 * _GAMMA * fraction - 2.0 * _BETA)
        return born, born.square() * (1.0 - bent.square()) * inner * self.reduced / self.radii


class Pairs(nn.Module):
    """All pairs: charges, Lennard-Jones and, if there is one, the solvent.

    Parameters
    ----------
    first, second : Tensor of shape (pairs,)
        All pairs of atoms, once each.
    products : Tensor of shape (pairs,)
        Products of charges (e^2), scaled or zero where the force field says so.
    diameters, depths : Tensor of shape (pairs,)
        Sigma (nm) and epsilon (kJ/mol).
    atoms : int
        Number of atoms.
    solvent : Solvent or None
        On the same pairs.
    """

    first: Tensor
    second: Tensor
    charge: Tensor
    attraction: Tensor
    repulsion: Tensor
    ends: Tensor

    def __init__(
        self,
        first: Tensor,
        second: Tensor,
        products: Tensor,
        diameters: Tensor,
        depths: Tensor,
        atoms: int,
        solvent: Solvent | None,
    ) -> None:
        super().__init__()
        self.solvent = solvent
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        sixth = _column(diameters).pow(6)
        self.register_buffer("charge", COULOMB * _column(products))
        self.register_buffer("attraction", 4.0 * _column(depths) * sixth)
        self.register_buffer("repulsion", 4.0 * _column(depths) * sixth.square())
        ones = torch.ones(len(first), dtype=torch.float64)
        self.register_buffer("ends", incidence(first, ones, atoms) - incidence(second, ones, atoms))

    def forward(self, positions: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, gradients (3, atoms, batch)."""
        difference = positions[:, self.first] - positions[:, self.second]
        square = difference.square().sum(0)
        inverse = square.rsqrt()
        inverse_square = inverse.square()
        sixth = inverse_square * inverse_square.square()
        charge = self.charge * inverse
        attraction, repulsion = self.attraction * sixth, self.repulsion * sixth.square()
        energy = (charge + repulsion - attraction).sum(0)
        slope = None
        if gradient:
            slope = (6.0 * attraction - 12.0 * repulsion - charge) * inverse_square
        if self.solvent is not None:
            solvation, change = self.solvent(square, inverse, gradient)
            energy = energy + solvation
            slope = slope + change if slope is not None and change is not None else None
        if slope is None:
            return energy, None
        return energy, self.ends @ (difference * slope)
