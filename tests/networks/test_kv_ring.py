"""The ring: constant shapes, what it holds, and attention that does not notice how it is stored."""

from __future__ import annotations

import pytest
import torch

from sciffusion.networks import KVRing
from sciffusion.networks.transformer import KeyValues, rotate
from sciffusion.sampling.smc import take_items

LAYERS, BATCH, HEADS, FEATURES = 2, 3, 2, 4


def tokens(count: int, seed: int = 0) -> KeyValues:
    """Return keys, not rotated, and values."""
    shape = (2, LAYERS, BATCH, HEADS, count, FEATURES)
    return KeyValues(*torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double().unbind(0))


def empty(capacity: int) -> KVRing:
    return KVRing.empty(LAYERS, BATCH, HEADS, capacity, FEATURES, dtype=torch.float64)


def filled(capacity: int, new: KeyValues, sizes: list[int], *, in_place: bool = False) -> KVRing:
    """Append tokens in pieces of the given sizes, rotated to their positions."""
    ring, start = empty(capacity), 0
    for size in sizes:
        part = slice(start, start + size)
        positions = ring.next_position + torch.arange(size)
        ring = ring.append(
            KeyValues(rotate(new.keys[..., part, :], positions), new.values[..., part, :]), in_place=in_place
        )
        start += size
    return ring


def held(ring: KVRing) -> tuple[torch.Tensor, KeyValues]:
    """Return positions, and keys and values in their order."""
    order = ring.positions.argsort()
    order = order[ring.valid[order]]
    return ring.positions[order], KeyValues(ring.keys[..., order, :], ring.values[..., order, :])


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("sizes", [[2, 3], [4, 4, 4], [3, 3, 3, 3], [12], [1] * 12])
def test_a_ring_holds_the_last_tokens_at_their_positions(sizes: list[int], in_place: bool) -> None:
    new, total = tokens(12), sum(sizes)
    ring = filled(5, new, sizes, in_place=in_place)
    positions, (keys, values) = held(ring)
    last = torch.arange(max(total - 5, 0), total)
    assert torch.equal(positions, last)
    assert torch.equal(keys, rotate(new.keys[..., last, :], last))
    assert torch.equal(values, new.values[..., last, :])
    assert int(ring.next_position) == total


def test_appending_leaves_the_old_ring_alone_and_reuses_memory_on_request() -> None:
    new = tokens(4)
    ring = filled(5, new, [3])
    before = ring.snapshot()
    ring.append(new)
    ring.rotate(7)
    ring.evict(2)
    for name, part in before.items():
        assert torch.equal(getattr(ring, name), part), name
    address = [part.data_ptr() for part in (ring.keys, ring.values, ring.positions)]
    same = ring.append(new, in_place=True).rotate(-2, in_place=True)
    assert [part.data_ptr() for part in (same.keys, same.values, same.positions)] == address
    assert not torch.equal(same.keys, before["keys"])


def test_shapes_stay_constant() -> None:
    ring = empty(5)
    shapes = {name: part.shape for name, part in ring.snapshot().items()}
    for _ in range(7):
        ring = ring.append(tokens(2)).evict(ring.next_position - 3).rotate(-1)
        assert {name: part.shape for name, part in ring.snapshot().items()} == shapes


def test_evicted_tokens_are_gone_and_their_slots_are_written_again() -> None:
    new = tokens(8)
    ring = filled(6, new, [5]).evict(2)
    assert torch.equal(held(ring)[0], torch.tensor([2, 3, 4]))
    ring = ring.append(KeyValues(new.keys[..., 5:8, :], new.values[..., 5:8, :]))
    assert torch.equal(held(ring)[0], torch.tensor([2, 3, 4, 5, 6, 7]))
    assert not bool(ring.evict(ring.next_position).valid.any())


@pytest.mark.parametrize("shift", [-3, 1_000_000, torch.tensor(17)])
def test_rotation_moves_keys_with_their_positions(shift: int | torch.Tensor) -> None:
    new = tokens(4)
    moved = filled(4, new, [4]).rotate(shift)
    positions, (keys, values) = held(moved)
    assert torch.equal(positions, torch.arange(4) + shift)
    torch.testing.assert_close(keys, rotate(new.keys, positions), atol=1e-9, rtol=0.0)
    assert torch.equal(values, new.values)
    assert int(moved.next_position) == 4 + int(shift)


def test_rotating_in_small_steps_equals_one_large_one() -> None:
    ring = filled(4, tokens(4), [4])
    steps = ring
    for _ in range(50):
        steps = steps.rotate(-8)
    torch.testing.assert_close(steps.keys, ring.rotate(-400).keys, atol=1e-12, rtol=0.0)


def test_a_snapshot_is_plain_tensors_and_restores_the_ring() -> None:
    ring = filled(5, tokens(8), [4, 4]).evict(4)
    snapshot = ring.snapshot()
    copy = KVRing.restore(snapshot)
    ring.append(tokens(3), in_place=True)
    for name, part in snapshot.items():
        assert type(part) is torch.Tensor
        assert part.is_contiguous()
        assert torch.equal(getattr(copy, name), part)
    following = tokens(2, seed=1)
    a, b = copy.append(following), KVRing.restore(snapshot).append(following)
    assert torch.equal(a.keys, b.keys)
    snapshot.pop("cursor")
    with pytest.raises(ValueError, match="cursor"):
        KVRing.restore(snapshot)


def test_particles_take_their_past_along() -> None:
    ring = filled(5, tokens(3), [3])
    indices = torch.tensor([2, 2, 0])
    taken = take_items({"past": ring}, indices, BATCH)["past"]
    assert torch.equal(taken.keys, ring.keys[:, indices])
    assert torch.equal(taken.values, ring.values[:, indices])
    assert torch.equal(taken.positions, ring.positions)
    shared = KVRing.empty(LAYERS, 1, HEADS, 5, FEATURES)
    assert shared.take_items(torch.tensor([0, 1])) is shared


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        KVRing.empty(1, 1, 1, 0, 4)
    new = tokens(2)
    with pytest.raises(ValueError, match="must have shape"):
        empty(4).append(KeyValues(new.keys[:1], new.values[:1]))
