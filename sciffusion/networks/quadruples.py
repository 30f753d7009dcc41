r"""Signed volumes of four bonded particles: what distances tell badly or not at all.

Three edges :math:`a, b, c` join four particles, as a chain (a torsion) or as the spokes of a centre. Their
*volume* and its share of the largest one of such edges are

.. math:: \tau = a \cdot (b \times c), \qquad s = \frac{\tau}{|a||b||c|} \in [-1, 1] .

The volume changes its sign in a mirror. Flat groups of atoms have :math:`s = 0`: distances change there only
in second order as the group bends, and forces along pairs have no part out of its plane, so that a network of
pairs learns badly how stiff it is. Along the gradient of the volume,
:math:`\partial\tau/\partial a = b \times c` and so on, forces are linear in s. A network adds

.. math:: F = \sum_q (u_q + v_q\, z_q) \, \nabla\tau_q / \overline{a^2}, \qquad
   z_q = \frac{s_q - \alpha^2 \mu_q}{(\rho_q^2 + \nu_q^2)^{1/2}},

where :math:`\mu_q` and :math:`\rho_q` are mean and deviation of the share in the data, :math:`\nu_q` is about
what noise adds, and u, v are functions of the states of the network. Without a chiral centre, means and u are
zero and states see squares of shares only: the field mirrors with the particles. With one, the network tells
left from right by all volumes whose sign does not depend on the numbering of particles of one kind. The terms
are a construction of this library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["QuadrupleTerms", "Quadruples", "Volumes", "find_quadruples", "volumes"]

_SMALLEST = 1e-4
_BUMPS = 8
_LARGEST = 8.0

Edges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Quadruples(NamedTuple):
    """Three edges each, and what data say of their volumes.

    Parameters
    ----------
    edges : tuple of three pairs of int each
        From and to which particle.
    kinds : tuple of int
        Quadruples of one kind are treated alike.
    signed : tuple of bool
        Whether the sign of the volume may be seen.
    means, stds : Tensor
        Of the shares in the data, equal for quadruples of one kind, shape ``(quadruples,)``; where signs are
        not seen the mean is zero.
    squares : Tensor
        Mean squared length of the edges.
    """

    edges: tuple[Edges, ...]
    kinds: tuple[int, ...]
    signed: tuple[bool, ...]
    means: Tensor
    stds: Tensor
    squares: Tensor

    @classmethod
    def of(
        cls,
        x: Tensor,
        kinds: Sequence[int],
        bonds: Iterable[tuple[int, int]],
        weights: Tensor | None = None,
        chiral: tuple[int, ...] | None = None,
    ) -> Quadruples | None:
        """Find quadruples and measure them in configurations; None where there are none.

        Parameters
        ----------
        x : Tensor of shape (batch, particles, dimensions)
            Positions without noise.
        kinds : sequence of int
            Kind of each particle.
        bonds : iterable of pairs of int
            Which particles are bonded.
        weights : Tensor of shape (batch,), optional
            Weights of the configurations.
        chiral : tuple of four int, optional
            A centre and three of its neighbours. Signs are seen only if it is given.
        """
        if x.shape[-1] != 3:
            return None
        edges, names, signed = find_quadruples(kinds, bonds, chiral)
        if not edges:
            return None
        found = sorted(set(names))
        number = torch.tensor([found.index(name) for name in names])
        measured = volumes(x, _edge_ends(len(kinds), edges).to(x))
        share = torch.ones(len(x)) if weights is None else weights.cpu()
        share = (share.double() / share.double().sum()).unsqueeze(-1)
        values, squares = measured.share.double().cpu(), measured.square.double().cpu()
        seen = torch.tensor(signed, dtype=torch.float64)
        mean = _by_kind((share * values).sum(0), number) * seen
        square = _by_kind((share * values.square()).sum(0), number)
        std = (square - mean**2).clamp_min(1e-8).sqrt()
        length = _by_kind((share * squares).sum(0), number)
        return cls(edges, tuple(number.tolist()), signed, mean.float(), std.float(), length.float())


class Volumes(NamedTuple):
    """Volumes of a batch.

    Parameters
    ----------
    share : Tensor of shape (batch, quadruples)
        Volume over the product of the lengths of the edges.
    square : Tensor of shape (batch, quadruples)
        Mean squared length of the edges.
    slopes : Tensor of shape (batch, quadruples, 3, dimensions)
        Derivative of the volume by each edge, over ``square``.
    """

    share: Tensor
    square: Tensor
    slopes: Tensor


def volumes(x: Tensor, ends: Tensor) -> Volumes:
    """Return volumes of positions ``(batch, particles, 3)`` by their ``(particles, 3 quadruples)`` ends."""
    edges = (ends.mT @ x).reshape(len(x), -1, 3, x.shape[-1])
    a, b, c = edges.unbind(2)
    slopes = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2)
    squares = edges.square().sum(-1) + _SMALLEST**2
    square = squares.mean(-1)
    share = (a * slopes[:, :, 0]).sum(-1) / squares.prod(-1).sqrt()
    return Volumes(share, square, slopes / square[..., None, None])


def find_quadruples(
    kinds: Sequence[int], bonds: Iterable[tuple[int, int]], chiral: tuple[int, ...] | None = None
) -> tuple[tuple[Edges, ...], list[tuple[int, ...]], tuple[bool, ...]]:
    """Return edges, a name of the kind, and whether signs may be seen, of all quadruples of bonds.

    Signs may be seen of chains, whose volume is the same from either end, and of centres of which the three
    neighbours are of different kinds, in the order of their kinds.
    """
    near: dict[int, set[int]] = {}
    for one, other in bonds:
        near.setdefault(int(one), set()).add(int(other))
        near.setdefault(int(other), set()).add(int(one))
    edges: list[Edges] = []
    names: list[tuple[int, ...]] = []
    signed: list[bool] = []
    for start, second, third, end in _chains(near):
        edges.append(((start, second), (second, third), (third, end)))
        kind = tuple(kinds[place] for place in (start, second, third, end))
        names.append((0, *min(kind, kind[::-1])))
        signed.append(chiral is not None)
    stars = [
        (centre, *sorted(three, key=lambda place: (kinds[place], place)))
        for centre in sorted(near)
        for three in combinations(sorted(near[centre]), 3)
    ]
    if chiral is not None and not any(_same_star(star, chiral) for star in stars):
        stars.append(chiral)
    for star in stars:
        around = tuple(kinds[place] for place in star[1:])
        edges.append(((star[0], star[1]), (star[0], star[2]), (star[0], star[3])))
        names.append((1, kinds[star[0]], *around))
        named = chiral is not None and _same_star(star, chiral)
        signed.append(chiral is not None and (named or len(set(around)) == 3))
    return tuple(edges), names, tuple(signed)


def _same_star(star: tuple[int, ...], chiral: tuple[int, ...]) -> bool:
    return star[0] == chiral[0] and set(star[1:]) == set(chiral[1:])


def _chains(near: dict[int, set[int]]) -> list[tuple[int, int, int, int]]:
    """Return all chains of three bonds, each from one end only."""
    return [
        (start, second, third, end)
        for second in sorted(near)
        for third in sorted(near[second])
        if second < third
        for start in sorted(near[second] - {third})
        for end in sorted(near[third] - {second, start})
    ]


def _edge_ends(particles: int, edges: Sequence[Edges]) -> Tensor:
    """Return a matrix from positions to edges, transposed: -1 where an edge starts and 1 where it ends."""
    pairs = torch.tensor(edges).reshape(-1, 2)
    ends = torch.zeros(particles, len(pairs))
    column = torch.arange(len(pairs))
    ends[pairs[:, 0], column], ends[pairs[:, 1], column] = -1.0, 1.0
    return ends


def _by_kind(values: Tensor, number: Tensor) -> Tensor:
    """Return the mean of values of one kind in the place of each."""
    empty = torch.zeros(int(number.max()) + 1, dtype=values.dtype)
    sums, counts = empty.index_add(0, number, values), empty.index_add(0, number, torch.ones_like(values))
    return (sums / counts)[number]


class QuadrupleTerms(nn.Module):
    """States of quadruples, and forces along the gradients of their volumes.

    Parameters
    ----------
    quadruples : Quadruples
        Lengths in the units of the positions without noise.
    particles : int
        Number of particles.
    width : int
        Numbers in a state.
    """

    ends: Tensor
    incidence: Tensor
    kind: Tensor
    signed: Tensor
    means: Tensor
    stds: Tensor
    squares: Tensor

    def __init__(self, quadruples: Quadruples, particles: int, width: int) -> None:
        super().__init__()
        ends = _edge_ends(particles, quadruples.edges)
        touched = (ends.abs().reshape(particles, -1, 3).sum(-1) > 0).float()
        signed = torch.tensor(quadruples.signed, dtype=torch.float32)
        kinds = torch.tensor(quadruples.kinds)
        for name, value in (("ends", ends), ("incidence", touched), ("kind", kinds), ("signed", signed)):
            self.register_buffer(name, value, persistent=False)
        for name in ("means", "stds", "squares"):
            self.register_buffer(name, getattr(quadruples, name).float().clone())
        self.of_shape = nn.Linear(2 * _BUMPS + 4, width)
        self.of_kind = nn.Embedding(max(quadruples.kinds) + 1, width)
        self.of_level = nn.Linear(width, width)
        self.to_particles = nn.Linear(width, width, bias=False)
        self.of_start = nn.Linear(width, width)
        self.of_ends = nn.Linear(width, width, bias=False)
        self.level_again = nn.Linear(width, width, bias=False)
        self.readout = nn.Linear(width, 2)
        nn.init.zeros_(self.readout.weight)  # starts as the zero field, as pairs and particles do
        nn.init.zeros_(self.readout.bias)

    def start(self, x: Tensor, level: Tensor, noise: Tensor) -> tuple[Volumes, Tensor, Tensor]:
        """Return volumes, their excess z, and the first states ``(batch, quadruples, width)``."""
        measured = volumes(x, self.ends)
        excess = self._excess(measured.share, noise)
        mixed = self.of_shape(self._features(measured.share, excess)) + self.of_kind(self.kind)
        return measured, excess, nn.functional.silu(mixed + self.of_level(level).unsqueeze(-2))

    def gathered(self, states: Tensor) -> Tensor:
        """Return what particles learn of the states, ``(batch, particles, width)``."""
        gathered: Tensor = self.to_particles(self.incidence @ states) / 4.0
        return gathered

    def coefficients(self, states: Tensor, particles: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and v, shape ``(batch, quadruples)``, from first states and last ones of particles."""
        ends = self.of_ends(self.incidence.mT @ particles)
        again = self.level_again(level).unsqueeze(-2)
        steady, harmonic = self.readout(nn.functional.silu(self.of_start(states) + ends + again)).unbind(-1)
        return steady * self.signed, harmonic

    def forces(self, slopes: Tensor, strengths: Tensor) -> Tensor:
        """Return forces ``(batch, particles, 3)`` of so much of each gradient."""
        return self.ends @ (strengths[..., None, None] * slopes).flatten(1, 2)

    def _excess(self, share: Tensor, noise: Tensor) -> Tensor:
        """Return how far shares are from their means, in standard deviations of noisy ones."""
        ratio = torch.exp(8.0 * noise).unsqueeze(-1)  # squared noise to signal
        # By noise, of a flat group: 9 for spokes at 120 degrees, 3 for a zigzag chain.
        added = 6.0 * ratio / self.squares
        variance = self.stds.square() + added / (1.0 + 5.0 * added)
        return (share - self.means / (1.0 + ratio)) / variance.sqrt()

    def _features(self, share: Tensor, excess: Tensor) -> Tensor:
        """Return smooth functions of shares: even ones, and odd ones where signs may be seen."""
        centres = torch.linspace(0.0, 1.0, _BUMPS, dtype=share.dtype, device=share.device)
        size = share.square()
        even = torch.exp(-0.5 * ((size.unsqueeze(-1) - centres.square()) * _BUMPS).square())
        at = torch.linspace(-1.0, 1.0, _BUMPS, dtype=share.dtype, device=share.device)
        odd = torch.exp(-0.5 * ((share.unsqueeze(-1) - at) * (0.5 * _BUMPS)).square())
        seen = self.signed.unsqueeze(-1)
        signs = torch.stack([share, excess.clamp(-_LARGEST, _LARGEST)], -1)
        sizes = torch.stack([size, excess.square().log1p()], -1)
        return torch.cat([even, sizes, seen * odd, seen * signs], -1)
