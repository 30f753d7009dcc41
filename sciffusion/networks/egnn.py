r"""E(n)-equivariant networks on particles.

For positions :math:`x_i` (centred), distances :math:`d_{ij} = |x_i - x_j|` and a noise level c the network
keeps a state :math:`h_i` of every particle and :math:`e_{ij} = e_{ji}` of every pair,

.. math::
   e_{ij} &\leftarrow e_{ij} + U\,\phi\bigl(W e_{ij} + V (h_i + h_j) + b(c)\bigr), \qquad
   h_i \leftarrow h_i + B\,\phi\Bigl(A h_i + C \tfrac1{n}\sum_{j \ne i} e_{ij} + a(c)\Bigr),

starting from functions of the distances, of the kinds of the particles and of c, and returns

.. math:: F_i = \sum_{j \ne i} \bigl(w\cdot e_{ij} + z_{ij}\, v\cdot e_{ij} + g_c(d_{ij})\bigr)
   \frac{x_i - x_j}{d_{ij}} + (u \cdot h_i)\, x_i - \text{mean},

with :math:`g_c` a combination of what the states of pairs start from, whose coefficients depend on c alone.

States see distances only, so that F turns with the particles, moves with none of their common shifts, and
permutes with particles of one kind.  Distances enter by Gaussian bumps and by :math:`z_{ij} = (d_{ij} -
\mu_{ij}) / s_{ij}`, which measures the length of each kind of pair from its mean in the training data, in its
standard deviations: a stiff bond is a linear function of it.  The messages are those of Satorras, Hoogeboom
and Welling, *E(n) Equivariant Graph Neural Networks*, arXiv 2102.09844, without their moves of the positions
from layer to layer; states of pairs that last, and the readout by unit vectors and :math:`z_{ij}`, are
constructions of this library.

In three dimensions, particles with bonds also have the terms of `sciffusion.networks.quadruples`: forces out
of the plane of flat groups, and, where a chiral centre is named, the hand that distances cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sciffusion.networks.quadruples import Quadruples, QuadrupleTerms, Volumes

__all__ = ["EquivariantNetwork", "ParticleFrame", "centre"]

_SMALLEST_DISTANCE = 1e-4
_FREQUENCIES = 16


def centre(x: Tensor) -> Tensor:
    """Return positions ``(..., particles, dimensions)`` with their mean at the origin."""
    return x - x.mean(-2, keepdim=True)


class ParticleFrame(NamedTuple):
    """What does not change of a system of particles.

    Parameters
    ----------
    kinds : tuple of int
        Kind of each particle, 0, 1, ...; particles of one kind are treated alike where their pairs are.
    pair_kinds : tuple of int
        Kind of every pair ``i < j``, in the order of ``torch.triu_indices``.
    pair_means, pair_stds : Tensor
        Mean and standard deviation of the distance of each pair, equal for pairs of one kind, shape
        ``(pairs,)``.
    chiral : tuple of four int, optional
        A centre and three of its neighbours: the network sees the signs of its and other triple products, so
        that it can tell a configuration from its mirror image.
    quadruples : Quadruples, optional
        Bonded particles whose volumes the network sees.
    """

    kinds: tuple[int, ...]
    pair_kinds: tuple[int, ...]
    pair_means: Tensor
    pair_stds: Tensor
    chiral: tuple[int, ...] | None = None
    quadruples: Quadruples | None = None

    @classmethod
    def of(
        cls,
        x: Tensor,
        kinds: Sequence[int],
        bonds: Sequence[tuple[int, int]] = (),
        weights: Tensor | None = None,
        chiral: tuple[int, ...] | None = None,
    ) -> ParticleFrame:
        """Measure the distances of configurations.

        Parameters
        ----------
        x : Tensor of shape (batch, particles, dimensions)
            Positions without noise.
        kinds : sequence of int
            Kind of each particle.
        bonds : sequence of pairs of int
            Pairs of one kind of particles are also told apart by how many bonds, up to three, lie between
            them.
        weights : Tensor of shape (batch,), optional
            Weights of the configurations; equal by default.
        chiral : tuple of four int, optional
            As for the class.
        """
        kinds = tuple(int(kind) for kind in kinds)
        first, second = torch.triu_indices(len(kinds), len(kinds), 1)
        number, count = _pair_kinds(kinds, bonds)
        distances = (x[:, first] - x[:, second]).norm(dim=-1).double().cpu()
        empty = torch.zeros(count, dtype=torch.float64)
        groups = empty.index_add(0, number, torch.ones(len(number), dtype=torch.float64))
        share = torch.ones(len(x)) if weights is None else weights.cpu()
        share = (share.double() / share.double().sum()).unsqueeze(-1)
        mean = empty.index_add(0, number, (share * distances).sum(0)) / groups
        square = empty.index_add(0, number, (share * distances.square()).sum(0)) / groups
        std = (square - mean**2).clamp_min(1e-12).sqrt()
        quadruples = Quadruples.of(x, kinds, bonds, weights, chiral)
        return cls(
            kinds, tuple(number.tolist()), mean[number].float(), std[number].float(), chiral, quadruples
        )


def _pair_kinds(kinds: Sequence[int], bonds: Sequence[tuple[int, int]]) -> tuple[Tensor, int]:
    """Return the number of the kind of every pair ``i < j``, and how many kinds there are."""
    first, second = torch.triu_indices(len(kinds), len(kinds), 1)
    of = torch.as_tensor(kinds)
    low, high = torch.minimum(of[first], of[second]), torch.maximum(of[first], of[second])
    apart = _bonds_between(len(kinds), bonds)[first, second]
    names = torch.stack([low, high, apart], 1)
    found, number = torch.unique(names, dim=0, return_inverse=True)
    return number, len(found)


def _bonds_between(count: int, bonds: Sequence[tuple[int, int]], most: int = 3) -> Tensor:
    """Return how many bonds lie between particles, ``most + 1`` for more and for none at all."""
    near = torch.eye(count)
    joined = torch.eye(count)
    for one, other in bonds:
        near[one, other] = near[other, one] = 1.0
    apart = torch.full((count, count), most + 1)
    for steps in range(most + 1):
        apart = torch.where((joined > 0) & (apart > steps), torch.tensor(steps), apart)
        joined = joined @ near
    return apart


class _Layer(nn.Module):
    """One exchange between pairs and particles."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_pair = nn.Linear(width, width)
        self.of_ends = nn.Linear(width, width, bias=False)
        self.to_pair = nn.Linear(width, width)
        self.of_particle = nn.Linear(width, width)
        self.of_pairs = nn.Linear(width, width, bias=False)
        self.to_particle = nn.Linear(width, width)
        self.level = nn.Linear(width, 2 * width)

    def forward(
        self, pairs: Tensor, particles: Tensor, level: Tensor, incidence: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new states of pairs ``(batch, pairs, width)`` and of particles."""
        for_pairs, for_particles = self.level(level).unsqueeze(-2).chunk(2, -1)
        ends = incidence.mT @ self.of_ends(particles)
        hidden = nn.functional.silu(self.of_pair(pairs) + ends + for_pairs)
        pairs = pairs + self.to_pair(hidden)
        gathered = (incidence @ pairs) / incidence.shape[0]
        hidden = nn.functional.silu(self.of_particle(particles) + self.of_pairs(gathered) + for_particles)
        return pairs, particles + self.to_particle(hidden)


class _Bends(NamedTuple):
    """Volumes of quadruples, and what forces along their gradients are made of."""

    volumes: Volumes
    excess: Tensor
    steady: Tensor
    harmonic: Tensor


class _States(NamedTuple):
    """States of pairs and particles after all layers, and what went into them."""

    x: Tensor
    along: Tensor
    length: Tensor
    excess: Tensor
    spread: Tensor
    features: Tensor
    level: Tensor
    pairs: Tensor
    particles: Tensor
    bends: _Bends | None


class EquivariantNetwork(nn.Module):
    """A network from positions to vectors that turn, mirror and permute with them.

    Parameters
    ----------
    frame : ParticleFrame
        The system; lengths in the units of the positions without noise.
    width : int, default 64
        Numbers in the state of a particle or pair.
    depth : int, default 4
        Exchanges between pairs and particles.
    bumps : Tensor of shape (n,), optional
        Rising centres of Gaussian bumps over the distances, in the units of the network's input, each as wide
        as its distance to its neighbours; 24 from 0 to 6 by default.

    Notes
    -----
    The layers draw their first weights from torch's global stream, as those of torch do.
    """

    signed: Tensor
    incidence: Tensor
    pair_kind: Tensor
    particle_kind: Tensor
    pair_means: Tensor
    pair_stds: Tensor
    bumps: Tensor
    bump_widths: Tensor

    def __init__(
        self, frame: ParticleFrame, *, width: int = 64, depth: int = 4, bumps: Tensor | None = None
    ) -> None:
        super().__init__()
        self.width = width
        count = len(frame.kinds)
        first, second = torch.triu_indices(count, count, 1)
        number = torch.as_tensor(frame.pair_kinds)
        pair = torch.arange(len(first))
        signed = torch.zeros(count, len(first))
        signed[first, pair], signed[second, pair] = 1.0, -1.0
        for name, value in (("signed", signed), ("incidence", signed.abs()), ("pair_kind", number)):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("particle_kind", torch.as_tensor(frame.kinds), persistent=False)
        self.register_buffer("pair_means", frame.pair_means.float().clone())
        self.register_buffer("pair_stds", frame.pair_stds.float().clone())
        centres = torch.linspace(0.0, 6.0, 24) if bumps is None else bumps.float()
        n_bumps = len(centres)
        self.register_buffer("bumps", centres.clone())
        self.register_buffer("bump_widths", _spacings(centres), persistent=False)
        self.level = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.of_bumps = nn.Linear(n_bumps + 2, width)
        self.bump_level = nn.Linear(width, width)
        self.bump_force = nn.Linear(width, n_bumps + 2)
        self.of_pair_kind = nn.Embedding(max(frame.pair_kinds) + 1, width)
        self.of_particle_kind = nn.Embedding(max(frame.kinds) + 1, width)
        self.quadruples = None if frame.quadruples is None else QuadrupleTerms(frame.quadruples, count, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(depth))
        self.pair_readout = nn.Linear(width, 2)
        self.particle_readout = nn.Linear(width, 1)
        # Starts as the zero field.
        for readout in (self.pair_readout, self.particle_readout, self.bump_force):
            nn.init.zeros_(readout.weight)
            nn.init.zeros_(readout.bias)

    def forward(self, x: Tensor, noise: Tensor, condition: Any = None) -> Tensor:
        """Return vectors for positions.

        Parameters
        ----------
        x : Tensor
            Positions ``(batch, particles, dimensions)``, those of a variance-preserving path.
        noise : Tensor
            ``log(sigma / alpha) / 4``, a scalar or shape ``(batch,)``.
        condition : None
            Not used.

        Returns
        -------
        Tensor
            Shape of ``x``, with mean zero over the particles.
        """
        states = self._states(x, noise)
        steady, harmonic = self.pair_readout(states.pairs).unbind(-1)
        direct = (states.features @ self.bump_force(states.level).unsqueeze(-1)).squeeze(-1)
        pull = (steady + states.excess * harmonic + direct) / states.length
        moved = self.signed @ (pull.unsqueeze(-1) * states.along)
        if self.quadruples is not None and states.bends is not None:
            volumes, excess, steady, harmonic = states.bends
            moved = moved + self.quadruples.forces(volumes.slopes, steady + excess * harmonic)
        return centre(moved + self.particle_readout(states.particles) * states.x)

    def _states(self, x: Tensor, noise: Tensor) -> _States:
        """Return the last states of pairs and particles, and what they were made of."""
        x = centre(x)
        along = self.signed.mT @ x
        length = (along.square().sum(-1) + _SMALLEST_DISTANCE**2).sqrt()
        level = self.level(_noise_features(noise))
        excess, spread = self._excess(length, noise)
        features = self._features(length, excess)
        pairs = self._start(features, level)
        particles = self.of_particle_kind(self.particle_kind).expand(len(x), -1, -1)
        bends = None
        if self.quadruples is not None:
            volumes, bend, shapes = self.quadruples.start(x, level, noise)
            particles = particles + self.quadruples.gathered(shapes)
        for layer in self.layers:
            pairs, particles = layer(pairs, particles, level, self.incidence)
        if self.quadruples is not None:
            bends = _Bends(volumes, bend, *self.quadruples.coefficients(shapes, particles, level))
        return _States(x, along, length, excess, spread, features, level, pairs, particles, bends)

    def _excess(self, length: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far lengths are from their means, in standard deviations of noisy pairs, and these."""
        ratio = torch.exp(8.0 * noise).unsqueeze(-1)  # squared noise to signal
        alpha_squared = 1.0 / (1.0 + ratio)
        variance = alpha_squared * (self.pair_stds.square() + 2.0 * ratio)
        spread = variance.sqrt()
        return (length - alpha_squared.sqrt() * self.pair_means) / spread, spread

    def _features(self, length: Tensor, excess: Tensor) -> Tensor:
        """Return bumps over the lengths and two smooth functions of them, ``(batch, pairs, features)``."""
        bumps = torch.exp(-0.5 * ((length.unsqueeze(-1) - self.bumps) / self.bump_widths).square())
        return torch.cat([bumps, excess.clamp(-8.0, 8.0).unsqueeze(-1), length.unsqueeze(-1)], -1)

    def _start(self, features: Tensor, level: Tensor) -> Tensor:
        """Return the first states of pairs."""
        mixed = self.of_bumps(features) + self.bump_level(level).unsqueeze(-2)
        return nn.functional.silu(mixed + self.of_pair_kind(self.pair_kind))


def _spacings(centres: Tensor) -> Tensor:
    """Return for each of the rising centres the mean distance to its neighbours."""
    gaps = centres.diff()
    return 0.5 * (torch.cat([gaps[:1], gaps]) + torch.cat([gaps, gaps[-1:]]))


def _noise_features(noise: Tensor) -> Tensor:
    """Return smooth functions of ``log(sigma / alpha) / 4``, shape ``(..., features)``."""
    steps = torch.arange(1, _FREQUENCIES + 1, dtype=noise.dtype, device=noise.device)
    angles = noise.unsqueeze(-1) * steps * (math.pi / 4.0)
    return torch.cat([angles.sin(), angles.cos(), noise.unsqueeze(-1)], -1)
