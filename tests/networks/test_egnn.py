"""Equivariant networks of particles, and energies whose gradients they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sciffusion.networks.egnn import EquivariantNetwork, ParticleFrame, _spacings, centre
from sciffusion.networks.egnn_energy import EquivariantEnergy
from sciffusion.testing.equivariance import assert_equivariant

CHAIN = ((0, 1), (1, 2), (2, 3), (3, 4))
KINDS: list[type[EquivariantNetwork]] = [EquivariantNetwork, EquivariantEnergy]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _positions(count: int = 6, atoms: int = 5, dimensions: int = 3) -> Tensor:
    return centre(torch.randn(count, atoms, dimensions, generator=_generator()))


def _network(
    kind: type[EquivariantNetwork] = EquivariantNetwork,
    kinds: tuple[int, ...] = (0,) * 5,
    bonds: tuple[tuple[int, int], ...] = (),
    dimensions: int = 3,
    chiral: tuple[int, ...] | None = None,
) -> EquivariantNetwork:
    """Return a network in float64 whose weights are all random."""
    frame = ParticleFrame.of(_positions(200, len(kinds), dimensions), kinds, bonds, chiral=chiral)
    network = kind(frame, width=8, depth=2)
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            weight.copy_(0.4 * torch.randn(weight.shape, generator=_generator(number)))
    return network.double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kinds", [(0, 0, 0, 0, 0), (0, 1, 0, 1, 1)])
def test_outputs_turn_mirror_and_permute_with_particles(
    kind: type[EquivariantNetwork], dimensions: int, kinds: tuple[int, ...]
) -> None:
    network = _network(kind, kinds, dimensions=dimensions)
    assert_equivariant(network, (5, dimensions), atom_types=kinds, centred=True)


@pytest.mark.parametrize("kind", KINDS)
def test_bonds_tell_particles_of_one_kind_apart(kind: type[EquivariantNetwork]) -> None:
    network = _network(kind, bonds=CHAIN)
    assert_equivariant(network, (5, 3), atom_types=(0, 1, 2, 3, 4), centred=True)
    # The mirror of the chain is a symmetry of its bonds; exchange of a middle and an end atom is none.
    x, noise = _positions().double(), torch.zeros(6, dtype=torch.float64)
    for order, allowed in (([4, 3, 2, 1, 0], True), ([2, 1, 0, 3, 4], False)):
        gap = network(x[:, order], noise) - network(x, noise)[:, order]
        assert (float(gap.detach().abs().max()) < 1e-9) is allowed


def test_kinds_of_pairs_are_counted_by_kinds_and_bonds() -> None:
    x = _positions(300)
    alike = ParticleFrame.of(x, (0,) * 5)
    assert set(alike.pair_kinds) == {0}
    mixed = ParticleFrame.of(x, (0, 0, 1, 1, 1))
    assert len(set(mixed.pair_kinds)) == 3
    bonded = ParticleFrame.of(x, (0,) * 5, CHAIN)
    # Pairs (0, 1), (0, 2), (0, 3), (0, 4) lie 1, 2, 3 and more bonds apart.
    assert len(set(bonded.pair_kinds[:4])) == 4
    assert bonded.pair_kinds[0] == bonded.pair_kinds[4]  # (0, 1) and (1, 2)
    longer = ParticleFrame.of(_positions(300, 7), (0,) * 7, (*CHAIN, (4, 5)))
    # Of (0, 1) to (0, 6): four and five bonds apart are alike, and like the particle bound to none.
    assert longer.pair_kinds[3] == longer.pair_kinds[4] == longer.pair_kinds[5] != longer.pair_kinds[2]
    assert longer.pair_kinds[5] == longer.pair_kinds[-1]  # (5, 6)


def test_frames_measure_distances_with_weights() -> None:
    x, weights = _positions(4), torch.tensor([1.0, 0.0, 2.0, 0.0])
    repeated = x[[0, 2, 2]]
    found = ParticleFrame.of(x, range(5), (), weights)
    expected = ParticleFrame.of(repeated, range(5))
    torch.testing.assert_close(found.pair_means, expected.pair_means)
    torch.testing.assert_close(found.pair_stds, expected.pair_stds)
    distances = (repeated[:, 0] - repeated[:, 1]).norm(dim=-1)
    torch.testing.assert_close(found.pair_means[0], distances.mean())
    torch.testing.assert_close(found.pair_stds[0], distances.std(correction=0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_levels_equals_single_levels(kind: type[EquivariantNetwork]) -> None:
    network, x = _network(kind), _positions().double()
    levels = torch.linspace(-1.0, 0.8, 6, dtype=torch.float64)
    together = network(x, levels)
    for row, level in enumerate(levels):
        torch.testing.assert_close(network(x[row : row + 1], level)[0], together[row])
    assert not torch.allclose(together[0], network(x[:1], levels[5])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_is_the_zero_field_and_moves_with_the_first_step(
    kind: type[EquivariantNetwork],
) -> None:
    x, noise = _positions(), torch.zeros(6)
    network = kind(ParticleFrame.of(x, (0,) * 5), width=8, depth=1)
    assert not network(x, noise).detach().any()
    (network(x, noise) - x).square().mean().backward()
    readouts: list[nn.Linear] = [network.pair_readout, network.particle_readout, network.bump_force]
    for readout in readouts:
        assert readout.weight.grad is not None
        assert float(readout.weight.grad.abs().max()) > 0.0


def _pair(first: int, second: int) -> int:
    """Return the place of a pair of five particles."""
    pairs = [(one, other) for one in range(5) for other in range(one + 1, 5)]
    return pairs.index((min(first, second), max(first, second)))


def test_the_field_is_that_of_the_equations_pair_by_pair() -> None:
    kinds, silu = (0, 1, 0, 1, 1), nn.functional.silu
    network, x = _network(kinds=kinds), 1.3 * _positions(1).double()
    noise = torch.tensor([-0.3], dtype=torch.float64)
    level = network.level(torch.cat([(noise * torch.arange(1, 17) * math.pi / 4).sin(),
                                     (noise * torch.arange(1, 17) * math.pi / 4).cos(), noise]))  # fmt: skip
    others = [[other for other in range(5) if other != one] for one in range(5)]
    ratio = math.exp(8 * float(noise))
    alpha = (1.0 + ratio) ** -0.5
    distance, excess, features, states = {}, {}, {}, {}
    for one in range(5):
        for other in others[one]:
            place = _pair(one, other)
            length = ((x[0, one] - x[0, other]).square().sum() + 1e-8).sqrt()
            spread = alpha * (network.pair_stds[place] ** 2 + 2.0 * ratio).sqrt()
            z = (length - alpha * network.pair_means[place]) / spread
            bumps = (-0.5 * ((length - network.bumps) / network.bump_widths) ** 2).exp()
            seen = torch.cat([bumps, z.clamp(-8.0, 8.0)[None], length[None]])
            start = network.of_bumps(seen) + network.bump_level(level)
            distance[one, other], excess[one, other], features[one, other] = length, z, seen
            states[one, other] = silu(start + network.of_pair_kind.weight[network.pair_kind[place]])
    h = [network.of_particle_kind.weight[kind] for kind in kinds]
    for layer in network.layers:
        of_pairs, of_particles = layer.level(level).chunk(2)  # type: ignore[operator, union-attr]
        for one, other in list(states):
            hidden = layer.of_pair(states[one, other]) + layer.of_ends(h[one] + h[other]) + of_pairs  # type: ignore[operator, union-attr]
            states[one, other] = states[one, other] + layer.to_pair(silu(hidden))  # type: ignore[operator, union-attr]
        for one in range(5):
            mean = torch.stack([states[one, other] for other in others[one]]).sum(0) / 5
            hidden = layer.of_particle(h[one]) + layer.of_pairs(mean) + of_particles  # type: ignore[operator, union-attr]
            h[one] = h[one] + layer.to_particle(silu(hidden))  # type: ignore[operator, union-attr]
    force = torch.stack([network.particle_readout(h[one]) * x[0, one] for one in range(5)])
    for (one, other), state in states.items():
        steady, harmonic = network.pair_readout(state)
        pull = steady + excess[one, other] * harmonic + features[one, other] @ network.bump_force(level)
        force[one] = force[one] + pull * (x[0, one] - x[0, other]) / distance[one, other]
    torch.testing.assert_close(network(x + 3.0, noise)[0], force - force.mean(0))


def test_bumps_are_as_wide_as_their_neighbours_are_apart_and_stiff_pairs_are_cut_off_far_out() -> None:
    torch.testing.assert_close(
        _spacings(torch.tensor([0.0, 1.0, 3.0, 7.0])), torch.tensor([1.0, 1.5, 3.0, 4.0])
    )
    network = _network()
    assert torch.equal(network.bump_widths, _spacings(network.bumps))
    excess = torch.tensor([[-20.0, -5.0, 0.3, 7.9, 8.1]], dtype=torch.float64)
    found = network._features(torch.ones(1, 5).double(), excess)
    assert found[0, :, -2].tolist() == [-8.0, -5.0, 0.3, 7.9, 8.0]


def test_the_excess_is_linear_in_a_stiff_bond() -> None:
    # Lengths in standard deviations of noisy pairs, means shrunk with the signal.
    network = _network()
    level = 0.25 * torch.tensor([math.log(0.5)], dtype=torch.float64)
    length = torch.full((1, 10), 2.0, dtype=torch.float64)
    excess, spread = network._excess(length, level)
    alpha_squared = 1.0 / 1.25
    variance = alpha_squared * (network.pair_stds**2 + 2.0 * 0.25)
    torch.testing.assert_close(spread[0], variance.sqrt())
    torch.testing.assert_close(excess[0], (2.0 - alpha_squared**0.5 * network.pair_means) / variance.sqrt())


@pytest.mark.parametrize("bonds", [(), CHAIN])
def test_energies_do_not_change_with_the_frame_and_give_the_field(bonds: tuple[tuple[int, int], ...]) -> None:
    network = _network(EquivariantEnergy, bonds=bonds)
    assert isinstance(network, EquivariantEnergy)
    x, noise = _positions().double(), torch.linspace(-1.0, 0.5, 6, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=_generator(3)).double())[0]
    torch.testing.assert_close(network.energy(x @ turn + 2.0, noise), network.energy(x, noise))
    along = centre(torch.randn(x.shape, generator=_generator(4)).double())
    step = 1e-5
    change = (network.energy(x + step * along, noise) - network.energy(x - step * along, noise)) / (2 * step)
    torch.testing.assert_close((network(x, noise) * along).flatten(1).sum(1), change, rtol=1e-6, atol=1e-7)


def test_energies_can_be_asked_without_gradients_and_in_inference_mode() -> None:
    network, x, noise = _network(EquivariantEnergy), _positions().double(), torch.zeros(()).double()
    expected = network(x, noise).detach()
    with torch.no_grad():
        found = network(x, noise)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)
    with torch.inference_mode():
        torch.testing.assert_close(network(x + 0.0, noise + 0.0), expected)


BRANCHED = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (5, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_a_chiral_centre_breaks_mirrors_and_nothing_else(kind: type[EquivariantNetwork]) -> None:
    kinds = (0, 1, 2, 3, 3, 4, 5)
    network = _network(kind, kinds, BRANCHED, chiral=(0, 1, 2, 3))
    assert_equivariant(network, (7, 3), atom_types=kinds, centred=True, reflections=False)
    with pytest.raises(AssertionError, match="mirror"):
        assert_equivariant(network, (7, 3), atom_types=kinds, centred=True)
    # Without a centre the same bonds keep all symmetries.
    assert_equivariant(_network(kind, kinds, BRANCHED), (7, 3), atom_types=kinds, centred=True)


@pytest.mark.parametrize("kind", KINDS)
def test_flat_configurations_are_pushed_out_of_their_plane_only_by_a_known_hand(
    kind: type[EquivariantNetwork],
) -> None:
    flat = _positions(atoms=7).double()
    flat[..., 2] = 0.0
    noise, kinds = torch.zeros(6, dtype=torch.float64), tuple(range(7))
    for chiral, pushed in ((None, False), ((0, 1, 2, 3), True)):
        force = _network(kind, kinds, BRANCHED, chiral=chiral)(flat, noise)
        assert (float(force[..., 2].detach().abs().max()) > 1e-3) is pushed


def test_bent_flat_groups_are_pulled_back_in_proportion() -> None:
    # All but the terms of quadruples are silent: along the gradient of the volume, and linear in it.
    network = _network(kinds=(0, 1, 2, 3), bonds=((0, 1), (0, 2), (0, 3)))
    for readout in (network.pair_readout, network.particle_readout, network.bump_force):
        nn.init.zeros_(readout.weight)
        nn.init.zeros_(readout.bias)
    flat = torch.tensor([[0.0, 0, 0], [1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]], dtype=torch.float64)
    forces = []
    for height in (0.001, 0.002):
        bent = flat.clone()
        bent[0, 2] = height
        forces.append(network(centre(bent[None]), torch.zeros((), dtype=torch.float64))[0].detach())
    assert float(forces[0][0, 2].abs()) > 1e-6
    torch.testing.assert_close(forces[1][:, 2], 2.0 * forces[0][:, 2], rtol=1e-3, atol=0.0)
    assert float(forces[0][:, :2].abs().max()) < 0.01 * float(forces[0][0, 2].abs())
