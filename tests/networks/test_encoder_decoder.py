"""Encoder-decoder attention: cached evaluation against masked evaluation, and who may see whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.networks import BlockCausalTransformer, ContextCache, EncoderDecoderTransformer
from sciffusion.networks.encoder_decoder import context_visible

BLOCK, WINDOW, WIDTH, N_BLOCKS = 4, 3, 16, 6
CONTEXT = (WINDOW - 1) * BLOCK
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def transformer(dtype: torch.dtype = torch.float64, window: int = WINDOW, cls: Any = None) -> Any:
    """Return a network with random parameters, as if it had been trained."""
    network = (cls or EncoderDecoderTransformer)(WIDTH, 3, 2, block=BLOCK, window=window)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.25, generator=generator)
    return network.eval().requires_grad_(False).to(dtype)


def sequence(dtype: torch.dtype = torch.float64, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return features and modulation of clean blocks and a noisy one at the end."""
    shape = (2, 2, N_BLOCKS * BLOCK, WIDTH)
    x, condition = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).unbind(0)
    return x, condition


def committed(network: Any, x: Tensor, condition: Tensor, sizes: list[int]) -> ContextCache:
    cache, start = network.start_cache(len(x)), 0
    for size in sizes:
        part = slice(start * BLOCK, (start + size) * BLOCK)
        cache = network.commit(x[:, part], condition[:, part], cache)
        start += size
    return cache  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_cached_equals_masked_evaluation(before: int, dtype: torch.dtype) -> None:
    """Without a context, with part of one, with a full one, and after blocks have left it."""
    network, (x, condition) = transformer(dtype), sequence(dtype)
    end = (before + 1) * BLOCK
    reference = network(x[:, :end], condition[:, :end])[:, -BLOCK:]
    cache = committed(network, x, condition, [1] * before)
    target = slice(end - BLOCK, end)
    out = network(x[:, target], condition[:, target], cache)
    torch.testing.assert_close(out, reference, atol=TOLERANCE[dtype], rtol=0.0)
    assert int(cache.count) == min(before * BLOCK, CONTEXT)


@pytest.mark.parametrize("sizes", [[5], [1, 4], [2, 2, 1]])
def test_blocks_may_be_committed_together(sizes: list[int]) -> None:
    network, (x, condition) = transformer(), sequence()
    one_by_one, together = (committed(network, x, condition, parts) for parts in ([1] * 5, sizes))
    torch.testing.assert_close(together.snapshot(), one_by_one.snapshot(), atol=1e-12, rtol=0.0)


def test_nothing_before_the_window_counts() -> None:
    """Unlike keys of block-causal layers, which know of blocks that have left."""
    network, (x, condition) = transformer(), sequence()
    reference = network(x, condition)[:, -BLOCK:]
    alone = network(x[:, -CONTEXT - BLOCK :], condition[:, -CONTEXT - BLOCK :])[:, -BLOCK:]
    torch.testing.assert_close(alone, reference, atol=1e-12, rtol=0.0)
    causal = transformer(cls=BlockCausalTransformer)
    kept = slice(-CONTEXT - BLOCK, None)
    difference = causal(x[:, kept], condition[:, kept])[:, -BLOCK:] - causal(x, condition)[:, -BLOCK:]
    assert float(difference.abs().amax()) > 1e-3


def test_the_context_attends_in_both_directions() -> None:
    """The keys of its first block change with its last one, which block-causal keys never do."""
    network, (x, condition) = transformer(), sequence()
    changed = x.clone()
    changed[:, BLOCK : 2 * BLOCK, 0] += 1.0
    before, after = (committed(network, given, condition, [2]) for given in (x, changed))
    first = slice(0, BLOCK)
    assert torch.equal(before.keys[0, ..., first, :], after.keys[0, ..., first, :])
    assert (
        float(
            (before.keys[1:, ..., first, :] - after.keys[1:, ..., first, :]).abs().amin((1, 2, 3, 4)).amin()
        )
        > 0
    )


def test_context_keys_know_nothing_of_the_target() -> None:
    """Context and target in one evaluation: whatever the target holds, and at whatever level of noise."""
    network, (x, condition) = transformer(), sequence()
    clean, made = 2 * BLOCK, []
    for factor in (1.0, -3.0):
        given, told = x[:, : clean + BLOCK].clone(), condition[:, : clean + BLOCK].clone()
        given[:, clean:] *= factor
        told[:, clean:] *= factor
        made.append(network.extend(given, told, network.start_cache(2), clean=clean, settled=clean))
    assert torch.equal(made[0][2].keys, made[1][2].keys)
    assert torch.equal(made[0][2].values, made[1][2].values)
    assert not torch.equal(made[0][0], made[1][0])


@pytest.mark.parametrize("cls", [EncoderDecoderTransformer, BlockCausalTransformer])
@pytest.mark.parametrize(
    ("before", "clean", "settled"), [(0, 1, 1), (2, 1, 1), (1, 3, 1), (3, 2, 0), (0, 5, 5)]
)
def test_one_evaluation_equals_a_commit_and_a_step(cls: Any, before: int, clean: int, settled: int) -> None:
    network, (x, condition) = transformer(cls=cls), sequence()
    cache = committed(network, x, condition, [1] * before)
    end = (before + clean + 1) * BLOCK
    part = slice(before * BLOCK, end)
    out, first, longer = network.extend(
        x[:, part], condition[:, part], cache, clean=clean * BLOCK, settled=settled * BLOCK
    )
    whole = committed(network, x, condition, [1] * (before + clean))
    target = slice(end - BLOCK, end)
    torch.testing.assert_close(out, network(x[:, target], condition[:, target], whole), atol=1e-10, rtol=0.0)
    torch.testing.assert_close(longer.snapshot(), whole.snapshot(), atol=1e-10, rtol=0.0)
    # The first one goes on as if nothing had followed it.
    rest = slice((before + settled) * BLOCK, end - BLOCK)
    if settled < clean:
        first = network.commit(x[:, rest], condition[:, rest], first)
    torch.testing.assert_close(first.snapshot(), whole.snapshot(), atol=1e-10, rtol=0.0)


def test_an_unread_context_cannot_be_attended_to() -> None:
    network, (x, condition) = transformer(), sequence()
    part = slice(0, 3 * BLOCK)
    _, first, _ = network.extend(x[:, part], condition[:, part], network.start_cache(2), clean=12, settled=4)
    assert bool(network(x[:, :BLOCK], condition[:, :BLOCK], first).isnan().all())


def test_a_restored_context_goes_on_identically() -> None:
    network, (x, condition) = transformer(), sequence()
    cache = committed(network, x, condition, [1, 1, 1])
    copy = ContextCache.restore(cache.snapshot())
    for start in range(0, 3 * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        assert torch.equal(network(x[:, part], condition[:, part], cache),
                           network(x[:, part], condition[:, part], copy))  # fmt: skip
        cache, copy = (network.commit(x[:, part], condition[:, part], kept) for kept in (cache, copy))
    with pytest.raises(ValueError, match="a snapshot of a context holds"):
        ContextCache.restore({"keys": cache.keys})


def test_items_are_taken_with_all_that_belongs_to_them() -> None:
    network, (x, condition) = transformer(), sequence()
    cache = committed(network, x, condition, [2]).take_items(torch.tensor([1, 1, 0]))
    swapped = committed(network, x[[1, 1, 0]], condition[[1, 1, 0]], [2])
    torch.testing.assert_close(cache.snapshot(), swapped.snapshot(), atol=1e-12, rtol=0.0)
    shared = committed(network, x[:1], condition[:1], [2])
    assert shared.take_items(torch.tensor([0, 0, 0])) is shared
    part = slice(2 * BLOCK, 3 * BLOCK)
    out = network(x[:, part], condition[:, part], shared)
    torch.testing.assert_close(out[0], network(x[:1, part], condition[:1, part], shared)[0])


@pytest.mark.parametrize("targets", [1, 2, N_BLOCKS])
@pytest.mark.parametrize("oldest", [None, 0, 2])
def test_training_equals_cached_evaluation(targets: int, oldest: int | None) -> None:
    """Last blocks after contexts of any number of whole blocks."""
    network, (clean, at_zero), (noisy, at_times) = transformer(), sequence(), sequence(seed=2)
    tail = slice(-targets * BLOCK, None)
    cut = None if oldest is None else torch.tensor([oldest, 0])
    trained = network.two_copy(noisy[:, tail], clean, at_times[:, tail], at_zero, cut)
    for block in range(N_BLOCKS - targets, N_BLOCKS):
        for item in range(2):
            first = max(block - WINDOW + 1, 0 if cut is None else int(cut[item]), 0)
            past, own = slice(first * BLOCK, block * BLOCK), slice(block * BLOCK, (block + 1) * BLOCK)
            cache = network.start_cache(1)
            if past.start < past.stop:
                cache = network.commit(clean[item : item + 1, past], at_zero[item : item + 1, past], cache)
            out = network(noisy[item : item + 1, own], at_times[item : item + 1, own], cache)
            place = slice((block - N_BLOCKS + targets) * BLOCK, (block - N_BLOCKS + targets + 1) * BLOCK)
            torch.testing.assert_close(trained[item : item + 1, place], out, atol=1e-10, rtol=0.0)


def test_mask_spelled_out() -> None:
    assert context_visible(torch.tensor([False, True, True]), 2).long().tolist() == [
        [1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]
    ]  # fmt: skip


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        EncoderDecoderTransformer(16, 1, 2, block=4, window=1)
    network, (x, condition) = transformer(), sequence()
    with pytest.raises(ValueError, match="whole clean blocks of 4 tokens"):
        network.commit(x[:, :6], condition[:, :6], network.start_cache(2))
    with pytest.raises(ValueError, match="at most 4 tokens"):
        network(x[:, :8], condition[:, :8], network.start_cache(2))
    with pytest.raises(ValueError, match="training takes whole blocks"):
        network.two_copy(x[:, :3], x, condition[:, :3], condition)
