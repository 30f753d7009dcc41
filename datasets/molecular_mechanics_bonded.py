r"""Harmonic bonds, harmonic angles and periodic torsions for many configurations at once.

All functions take positions as a tensor ``(3, atoms, batch)``, whose last axis is contiguous, so that every
operation runs over long rows. With :math:`d_{ij} = x_i - x_j`, the angle :math:`\theta` at the middle atom
and the dihedral angle :math:`\varphi` of four atoms (IUPAC sign),

.. math::

    E = \sum \tfrac12 k (|d_{ij}| - r_0)^2 + \sum \tfrac12 k (\theta - \theta_0)^2
        + \sum k \, (1 + \cos(n \varphi - \varphi_0)).

Torsions of the same four atoms are summed into one Fourier series,
:math:`c_0 + \sum_n a_n \cos n\varphi + b_n \sin n\varphi`, whose terms follow from :math:`\cos\varphi` and
:math:`\sin\varphi` by the addition theorem: no inverse function is needed, and all derivatives are smooth.
Gradients are written out, and as operations of torch they can be differentiated again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Angles", "Bonds", "Torsions", "incidence"]


def incidence(places: Tensor, signs: Tensor, atoms: int) -> Tensor:
    """Give the matrix (atoms, terms) that sums terms over the atoms they belong to.

    Parameters
    ----------
    places : Tensor of shape (terms,)
        The atom of each term.
    signs : Tensor of shape (terms,)
        What the term counts for.
    atoms : int
        Number of atoms.
    """
    matrix = torch.zeros(atoms, len(places), dtype=signs.dtype)
    return matrix.index_put_((places, torch.arange(len(places))), signs, accumulate=True)


def _gathering(places: Tensor, atoms: int) -> Tensor:
    return incidence(places, torch.ones(len(places), dtype=torch.float64), atoms)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    a, b, c = first.unbind(0)
    d, e, f = second.unbind(0)
    return torch.stack([b * f - c * e, c * d - a * f, a * e - b * d])


def _column(values: Tensor) -> Tensor:
    return values.to(torch.float64)[:, None]


class Bonds(nn.Module):
    """Harmonic bonds.

    Parameters
    ----------
    places : Tensor of shape (bonds, 2)
        The two atoms.
    lengths, constants : Tensor of shape (bonds,)
        Length at rest (nm) and force constant (kJ/mol/nm^2).
    atoms : int
        Number of atoms.
    """

    places: Tensor
    lengths: Tensor
    constants: Tensor
    ends: Tensor

    def __init__(self, places: Tensor, lengths: Tensor, constants: Tensor, atoms: int) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.register_buffer("lengths", _column(lengths))
        self.register_buffer("constants", _column(constants))
        ends = _gathering(places[:, 0], atoms) - _gathering(places[:, 1], atoms)
        self.register_buffer("ends", ends)

    def forward(self, positions: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, gradients (3, atoms, batch)."""
        first, second = self.places.unbind(1)
        difference = positions[:, first] - positions[:, second]
        length = difference.square().sum(0).sqrt()
        stretch = length - self.lengths
        energy = 0.5 * (self.constants * stretch.square()).sum(0)
        if not gradient:
            return energy, None
        return energy, self.ends @ (difference * (self.constants * stretch / length))


class Angles(nn.Module):
    """Harmonic angles.

    Parameters
    ----------
    places : Tensor of shape (angles, 3)
        The three atoms, the middle one second.
    values, constants : Tensor of shape (angles,)
        Angle at rest (radians) and force constant (kJ/mol).
    atoms : int
        Number of atoms.
    """

    places: Tensor
    values: Tensor
    constants: Tensor
    ends: Tensor

    def __init__(self, places: Tensor, values: Tensor, constants: Tensor, atoms: int) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.register_buffer("values", _column(values))
        self.register_buffer("constants", _column(constants))
        first, middle, last = (_gathering(column, atoms) for column in places.unbind(1))
        self.register_buffer("ends", torch.cat([first - middle, last - middle], dim=1))

    def forward(self, positions: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, gradients (3, atoms, batch)."""
        first, middle, last = self.places.unbind(1)
        left = positions[:, first] - positions[:, middle]
        right = positions[:, last] - positions[:, middle]
        left_square, right_square = left.square().sum(0), right.square().sum(0)
        product = (left * right).sum(0)
        area = (left_square * right_square - product.square()).clamp_min(1e-16).sqrt()
        bend = torch.atan2(area, product) - self.values
        energy = 0.5 * (self.constants * bend.square()).sum(0)
        if not gradient:
            return energy, None
        pull = self.constants * bend / area
        on_left = (left * (product / left_square) - right) * pull
        on_right = (right * (product / right_square) - left) * pull
        return energy, self.ends @ torch.cat([on_left, on_right], dim=1)


class Torsions(nn.Module):
    """Fourier series of dihedral angles.

    Parameters
    ----------
    places : Tensor of shape (torsions, 4)
        The four atoms in order; torsions of the same four are summed.
    orders : Tensor of shape (torsions,)
        Whole numbers n >= 1.
    phases, constants : Tensor of shape (torsions,)
        Phase (radians) and constant k (kJ/mol).
    atoms : int
        Number of atoms.
    """

    places: Tensor
    series: Tensor
    constant: Tensor
    ends: Tensor

    def __init__(self, places: Tensor, orders: Tensor, phases: Tensor, constants: Tensor, atoms: int) -> None:
        super().__init__()
        unique, which = torch.unique(places, dim=0, return_inverse=True)
        highest = int(orders.max()) if len(orders) else 0
        series = torch.zeros(2, highest, len(unique), 1, dtype=torch.float64)
        phases, constants = phases.to(torch.float64), constants.to(torch.float64)
        for part, factor in enumerate((phases.cos(), phases.sin())):
            place = (torch.full_like(which, part), orders - 1, which, torch.zeros_like(which))
            series.index_put_(place, constants * factor, accumulate=True)
        self.register_buffer("places", unique)
        self.register_buffer("series", series)
        self.register_buffer("constant", constants.sum())
        one, two, three, four = (_gathering(column, atoms) for column in unique.unbind(1))
        self.register_buffer("ends", torch.cat([one - two, two - three, three - four], dim=1))

    def forward(self, positions: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give energies (batch,) and, if asked, gradients (3, atoms, batch)."""
        one, two, three, four = (positions[:, place] for place in self.places.unbind(1))
        first, axis, last = two - one, three - two, four - three
        left, right = _cross(first, axis), _cross(axis, last)
        left_square, right_square = left.square().sum(0), right.square().sum(0)
        axis_length = axis.square().sum(0).sqrt()
        scale = (left_square * right_square).rsqrt()
        cosine = (left * right).sum(0) * scale
        sine = (first * right).sum(0) * axis_length * scale
        energy, slope = self._fourier(cosine, sine, gradient)
        if slope is None:
            return energy, None
        # An angle grows along the normals of its two planes; the axis takes up what the ends leave over.
        on_left, on_right = (
            left * (slope * axis_length / left_square),
            right * (slope * axis_length / right_square),
        )
        along = axis / axis_length.square()
        before, after = (first * along).sum(0), (last * along).sum(0)
        on_axis = -on_left * before - on_right * after
        # Differences are (two - one, three - two, four - three), the matrix has the opposite sign.
        return energy, -self.ends @ torch.cat([on_left, on_axis, on_right], dim=1)

    def _fourier(self, cosine: Tensor, sine: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        """Give the sums of the series and, if asked, their slopes in the angles."""
        energy = torch.zeros_like(cosine)
        slope = torch.zeros_like(cosine) if gradient else None
        wave, tilt = cosine, sine
        for place in range(self.series.shape[1]):
            even, odd = self.series[0, place], self.series[1, place]
            energy = energy + even * wave + odd * tilt
            if slope is not None:
                slope = slope + (place + 1) * (odd * wave - even * tilt)
            wave, tilt = wave * cosine - tilt * sine, tilt * cosine + wave * sine
        return energy.sum(0) + self.constant, slope
