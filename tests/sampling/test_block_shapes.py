"""Once the window is full every block is made by calls of the same shapes, in graphs without branches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Euler, RectifiedFlow
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer
from sciffusion.sampling import BlockCausalGenerator, uniform_grid

BLOCK, WINDOW, CHANNELS, ITEMS, STEPS = 4, 3, 3, 2, 2
VARIANTS = ["block_causal", "encoder_decoder"]


def network(variant: Any) -> Any:
    model = BlockLatentTransformer(
        CHANNELS, block=BLOCK, window=WINDOW, width=16, depth=2, n_heads=2, n_conditions=1, variant=variant
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return model.eval().requires_grad_(False)


def shapes(value: Any) -> Any:
    """Return the shapes of all tensors in what a network was given."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        return tuple(shapes(part) for part in value)
    if isinstance(value, dict):
        return tuple(sorted((name, shapes(part)) for name, part in value.items()))
    return tuple(shapes(part) for part in vars(value).values()) if hasattr(value, "__dict__") else value


class Watched:
    """Records the shapes of every call of a network's methods."""

    def __init__(self, model: Any) -> None:
        self.calls: list[Any] = []
        for name in ("forward", "commit", "extend"):
            setattr(model, name, self._watch(name, getattr(model, name)))

    def _watch(self, name: str, call: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            self.calls.append((name, shapes(given), shapes(named)))
            return call(*given, **named)

        return run


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("revise", [0, 1])
def test_shapes_are_constant(revise: int, variant: str, fused: bool) -> None:
    """From the block on whose pending blocks are as many as ever, long before the window is full."""
    model = network(variant)
    watched = Watched(model)
    made = BlockCausalGenerator(
        BlockLatentDenoiser(model, RectifiedFlow(), "flow"), Euler(), uniform_grid(STEPS),
        frame_shape=(CHANNELS,), revise=revise, fused=fused,
    )  # fmt: skip
    stream, by_block = made.start(ITEMS, conditioned=True), []
    for _ in range(9):
        watched.calls.clear()
        stream, _ = made.advance(stream, lambda number: torch.full((ITEMS, BLOCK, 1), float(number)))
        by_block.append(list(watched.calls))
        assert stream.pending.shape[1] == min(revise + 1, len(by_block)) * BLOCK
    assert all(calls == by_block[revise + 1] for calls in by_block[revise + 1 :])
    assert len(by_block[-1]) == STEPS + (0 if fused else 1)
    sizes = {name: part.shape for name, part in stream.snapshot().items()}
    later, _ = made.advance(stream, lambda number: torch.full((ITEMS, BLOCK, 1), float(number)))
    assert {name: part.shape for name, part in later.snapshot().items()} == sizes


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_graph_serves_every_block(variant: str) -> None:
    """Nothing branches on values or depends on their layout: full graphs of the three calls, traced once."""
    model = network(variant)
    graphs = []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        graphs.append(module)
        return module.forward

    forward, commit = (torch.compile(call, backend=backend, fullgraph=True)
                       for call in (model.forward, model.commit))  # fmt: skip
    extend = torch.compile(
        lambda x, told, cache, y: model.extend(
            x, told, cache, settled=BLOCK, x=y, times=torch.ones(()), condition=told
        ),
        backend=backend, fullgraph=True,
    )  # fmt: skip
    draws = torch.Generator().manual_seed(1)
    cache = model.start_cache(ITEMS)
    with torch.no_grad():
        for number in range(6):
            x, y = torch.randn(2, ITEMS, BLOCK, CHANNELS, generator=draws).unbind()
            told = torch.full((ITEMS, BLOCK, 1), float(number))
            joined = extend(x, told, cache, y)
            cache = commit(x, told, cache)
            out = forward(y, torch.ones(()), told, cache=cache)
            torch.testing.assert_close(joined.prediction, out, atol=1e-5, rtol=0.0)
            torch.testing.assert_close(out, model(y, torch.ones(()), told, cache=cache), atol=1e-5, rtol=0.0)
    assert len(graphs) == 3
