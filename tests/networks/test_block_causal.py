"""Cached evaluation against one masked evaluation of the whole history, and who may see whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.networks import BlockCausalTransformer, BlockLatentTransformer, KVRing
from sciffusion.networks.block_causal import block_visible, two_copy_visible

BLOCK, WINDOW, WIDTH, N_BLOCKS = 4, 3, 16, 10
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def transformer(
    positions: str = "fixed", dtype: torch.dtype = torch.float64, window: int = WINDOW
) -> BlockCausalTransformer:
    """Return a network with random parameters, as if it had been trained."""
    network = BlockCausalTransformer(WIDTH, 3, 2, block=BLOCK, window=window, positions=positions)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.25, generator=generator)
    return network.eval().requires_grad_(False).to(dtype)


def sequence(dtype: torch.dtype = torch.float64, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return features and modulation of a history of clean blocks and a noisy one at the end."""
    shape = (2, 2, N_BLOCKS * BLOCK, WIDTH)
    x, condition = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).unbind(0)
    return x, condition


def streamed(
    network: BlockCausalTransformer, x: Tensor, condition: Tensor, sizes: list[int] | None = None
) -> tuple[Tensor, KVRing]:
    """Commit all blocks but the last, in groups of the given sizes, then evaluate the last one."""
    cache, start = network.start_cache(len(x)), 0
    for size in sizes or [1] * (x.shape[1] // BLOCK - 1):
        part = slice(start * BLOCK, (start + size) * BLOCK)
        cache = network.commit(x[:, part], condition[:, part], cache)
        start += size
    return network(x[:, start * BLOCK :], condition[:, start * BLOCK :], cache), cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("positions", ["offset", "fixed"])
@pytest.mark.parametrize("window", [N_BLOCKS, WINDOW])
def test_cached_equals_the_whole_history(window: int, positions: str, dtype: torch.dtype) -> None:
    network, (x, condition) = transformer(positions, dtype, window), sequence(dtype)
    reference = network(x, condition)[:, -BLOCK:]
    out, cache = streamed(network, x, condition)
    torch.testing.assert_close(out, reference, atol=TOLERANCE[dtype], rtol=0.0)
    assert int(cache.valid.sum()) == min(window - 1, N_BLOCKS - 1) * BLOCK
    last = (N_BLOCKS - 1) * BLOCK if positions == "offset" else cache.capacity
    assert int(cache.next_position) == min((N_BLOCKS - 1) * BLOCK, last)


def test_recomputing_from_the_window_alone_is_something_else() -> None:
    network, (x, condition) = transformer(), sequence()
    kept = WINDOW * BLOCK
    alone = network(x[:, -kept:], condition[:, -kept:])[:, -BLOCK:]
    assert (alone - network(x, condition)[:, -BLOCK:]).abs().amax() > 1e-3


@pytest.mark.parametrize("positions", ["offset", "fixed"])
@pytest.mark.parametrize("sizes", [[9], [1, 8], [2, 3, 4], [5, 1, 1, 1]])
def test_blocks_may_be_committed_together(sizes: list[int], positions: str) -> None:
    """Prompts in one evaluation, longer than the window or not; uncommitted blocks go with the last one."""
    network, (x, condition) = transformer(positions), sequence()
    out, _ = streamed(network, x, condition, sizes)
    torch.testing.assert_close(out[:, -BLOCK:], network(x, condition)[:, -BLOCK:], atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("positions", ["offset", "fixed"])
def test_committing_and_the_first_step_may_share_an_evaluation(positions: str) -> None:
    network, (x, condition) = transformer(positions), sequence()
    out, _ = streamed(network, x, condition, [1] * (N_BLOCKS - 2))
    assert out.shape[1] == 2 * BLOCK
    torch.testing.assert_close(out[:, -BLOCK:], streamed(network, x, condition)[0], atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_positions_change_nothing(dtype: torch.dtype) -> None:
    network, (x, condition) = transformer("offset", dtype), sequence(dtype)
    near, cache = streamed(network, x, condition)
    far = cache.rotate(1_000_000 * BLOCK)
    out = network(x[:, -BLOCK:], condition[:, -BLOCK:], far)
    torch.testing.assert_close(out, near, atol={torch.float32: 1e-5, torch.float64: 1e-9}[dtype], rtol=0.0)
    grown = network.commit(x[:, :BLOCK], condition[:, :BLOCK], far)
    assert int(grown.next_position) == 1_000_000 * BLOCK + N_BLOCKS * BLOCK


def test_a_restored_ring_goes_on_identically() -> None:
    network, (x, condition) = transformer(), sequence()
    _, cache = streamed(network, x, condition)
    copy = KVRing.restore(cache.snapshot())
    for start in range(0, 5 * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        assert torch.equal(network(x[:, part], condition[:, part], cache),
                           network(x[:, part], condition[:, part], copy))  # fmt: skip
        cache = network.commit(x[:, part], condition[:, part], cache)
        copy = network.commit(x[:, part], condition[:, part], copy, in_place=True)


def test_memory_does_not_grow() -> None:
    network, (x, condition) = transformer(), sequence()
    cache = network.start_cache(2)
    addresses = {name: getattr(cache, name).data_ptr() for name in cache.snapshot()}
    for start in range(0, N_BLOCKS * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        cache = network.commit(x[:, part], condition[:, part], cache, in_place=True)
        assert {name: getattr(cache, name).data_ptr() for name in addresses} == addresses


def test_clean_keys_and_values_know_nothing_of_the_noise() -> None:
    """All blocks in one evaluation: whatever the last one holds, the keys of those before it are the same."""
    network, (x, condition) = transformer(), sequence()
    noisier, later = x.clone(), condition.clone()
    noisier[:, -BLOCK:, 0] += 1.0
    later[:, -BLOCK:] *= -1.0
    before, after = (
        network.commit(given, told, network.start_cache(2))
        for given, told in ((x, condition), (noisier, later))
    )
    earlier = before.positions < before.next_position - BLOCK
    assert int(earlier.sum()) == BLOCK
    assert torch.equal(before.keys[..., earlier, :], after.keys[..., earlier, :])
    assert not torch.equal(before.keys, after.keys)


@pytest.mark.parametrize("window", [2, WINDOW, N_BLOCKS])
def test_two_copies_equal_cached_evaluation(window: int) -> None:
    network = transformer(window=window)
    clean, at_zero = sequence()
    noisy, at_times = sequence(seed=2)
    trained = network.two_copy(noisy, clean, at_times, at_zero)
    cache = network.start_cache(2)
    for start in range(0, N_BLOCKS * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        out = network(noisy[:, part], at_times[:, part], cache)
        torch.testing.assert_close(trained[:, part], out, atol=1e-10, rtol=0.0)
        cache = network.commit(clean[:, part], at_zero[:, part], cache)


def test_a_noisy_block_is_seen_by_itself_alone() -> None:
    network = transformer()
    clean, at_zero = sequence()
    noisy, at_times = sequence(seed=2)
    changed = noisy.clone()
    changed[:, 5 * BLOCK : 6 * BLOCK, 0] += 1.0
    before, after = (network.two_copy(given, clean, at_times, at_zero) for given in (noisy, changed))
    moved = (before - after).abs().amax((0, 2)).unflatten(0, (N_BLOCKS, BLOCK)).amax(1)
    assert float(moved[5]) > 1e-3
    assert float(torch.cat([moved[:5], moved[6:]]).amax()) == 0.0


def test_a_clean_block_is_seen_by_later_noisy_ones_alone() -> None:
    network = transformer()
    clean, at_zero = sequence()
    noisy, at_times = sequence(seed=2)
    changed = clean.clone()
    changed[:, 5 * BLOCK : 6 * BLOCK, 0] += 1.0
    before, after = (network.two_copy(noisy, given, at_times, at_zero) for given in (clean, changed))
    moved = (before - after).abs().amax((0, 2)).unflatten(0, (N_BLOCKS, BLOCK)).amax(1)
    assert float(moved[:6].amax()) == 0.0
    assert float(moved[6 : 5 + WINDOW].amin()) > 1e-3


def test_a_shorter_history_does_not_leak_through_deep_layers() -> None:
    network = transformer(window=N_BLOCKS)
    clean, at_zero = sequence()
    noisy, at_times = sequence(seed=2)
    changed = clean.clone()
    changed[:, : 3 * BLOCK, 0] += 1.0
    oldest = torch.tensor([3, 0])
    before, after = (network.two_copy(noisy, given, at_times, at_zero, oldest) for given in (clean, changed))
    moved = (before - after).abs().amax(2).unflatten(1, (N_BLOCKS, BLOCK)).amax(2)
    # Blocks before the cut see each block's own clean copy at most, which a noisy block never does.
    assert float(moved[0].amax()) == 0.0
    assert float(moved[1, 1:].amin()) > 1e-3
    fresh = network.two_copy(noisy[:1, 3 * BLOCK :], clean[:1, 3 * BLOCK :], at_times[:1, 3 * BLOCK :],
                             at_zero[:1, 3 * BLOCK :])  # fmt: skip
    torch.testing.assert_close(before[:1, 3 * BLOCK :], fresh, atol=1e-10, rtol=0.0)


def test_masks_spelled_out() -> None:
    blocks = torch.tensor([0, 0, 1, 2])
    assert block_visible(blocks, blocks, 2).long().tolist() == [
        [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    ]  # fmt: skip
    assert two_copy_visible(torch.arange(3), 2).long().tolist() == [
        [1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1],
    ]  # fmt: skip
    # Without its oldest block, whose clean tokens are seen by themselves alone; every token sees something.
    assert two_copy_visible(torch.arange(3), 2, torch.tensor([1]))[0, 0].long().tolist() == [
        [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1],
    ]  # fmt: skip


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        BlockCausalTransformer(16, 1, 2, block=4, window=1)
    with pytest.raises(ValueError, match="positions"):
        BlockCausalTransformer(16, 1, 2, block=4, window=2, positions="moving")  # type: ignore[arg-type]
    network, (x, condition) = transformer(), sequence()
    with pytest.raises(ValueError, match="whole blocks of 4 tokens"):
        network.commit(x[:, :6], condition[:, :6], network.start_cache(2))


@pytest.mark.slow
def test_one_compiled_graph_serves_every_block() -> None:
    """Shapes are constant and nothing branches on values: full graphs, compiled once."""
    network, (x, condition) = transformer(), sequence()
    graphs = []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        graphs.append(module)
        return module.forward

    compiled = [
        torch.compile(call, backend=backend, fullgraph=True) for call in (network.forward, network.commit)
    ]
    caches = [network.start_cache(2), network.start_cache(2)]
    for start in range(0, N_BLOCKS * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        outs = [
            call(x[:, part], condition[:, part], cache)
            for call, cache in zip((compiled[0], network), caches, strict=True)
        ]
        torch.testing.assert_close(*outs)
        caches = [
            call(x[:, part], condition[:, part], cache)
            for call, cache in zip((compiled[1], network.commit), caches, strict=True)
        ]
    assert len(graphs) == 2


def test_conditions_that_all_tokens_share_cost_one_row_and_change_nothing() -> None:
    network = BlockLatentTransformer(3, block=2, window=2, width=16, depth=2, n_heads=2, n_conditions=3)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.requires_grad_(False).parameters():
        parameter.normal_(0.0, 0.3, generator=generator)
    x, time = torch.randn(2, 4, 3, generator=generator), torch.tensor(0.4)
    one = torch.tensor([[0.5, torch.nan, -1.0], [torch.nan, 2.0, 0.0]])
    rows = []
    network.transformer.transformer.register_forward_pre_hook(lambda _, given: rows.append(given[1].shape))
    with torch.inference_mode():
        shared = network(x, time, one)
        same = network(x, time, one[:, None].expand(-1, 4, -1))
        changed = one[:, None].repeat(1, 4, 1)
        changed[0, 3, 0] = 0.6
        other = network(x, time, changed)
    slow = network(x, time, one[:, None].expand(-1, 4, -1))  # with gradients every token has its row
    assert [shape[1] for shape in rows] == [1, 1, 4, 4]
    torch.testing.assert_close(same, shared, rtol=0, atol=0)
    torch.testing.assert_close(slow, shared, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other[1], shared[1], rtol=1e-5, atol=1e-6)
    assert float((other[0] - shared[0]).abs().amax()) > 1e-4
