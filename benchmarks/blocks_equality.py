"""Whether blocks from cached keys equal one masked evaluation of the whole history, in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, Heun, VariancePreserving
from sciffusion.discrete import Ancestral, Mask, NetworkTokenDenoiser
from sciffusion.networks import (
    BlockCausalTransformer,
    BlockLatentDenoiser,
    BlockLatentTransformer,
    BlockTokenTransformer,
    KVRing,
)
from sciffusion.networks.block_causal import BlockPositions
from sciffusion.sampling import BlockCausalGenerator, uniform_grid

__all__ = ["equality_rows", "streaming_rows"]

BLOCK, N_BLOCKS, WINDOW, WIDTH, DEPTH = 8, 10, 3, 64, 4
TYPES = {"float32": torch.float32, "float64": torch.float64}


def _random(module: torch.nn.Module, std: float) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return module.eval().requires_grad_(False)


def _cached(network: BlockCausalTransformer, x: Tensor, c: Tensor, restore: bool, far: int) -> Tensor:
    """Evaluate the last block on a ring that was filled block by block."""
    ring = network.start_cache(len(x)).rotate(far)
    last = (N_BLOCKS - 1) * BLOCK
    for start in range(0, last, BLOCK):
        part = slice(start, start + BLOCK)
        ring = network.commit(x[:, part], c[:, part], ring)
        if restore:
            ring = KVRing.restore(ring.snapshot())
    return network(x[:, last:], c[:, last:], ring)


def _comparisons(positions: BlockPositions, dtype: torch.dtype) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Yield what is compared, the window, and both outputs."""
    generator = torch.Generator().manual_seed(1)
    shape = (4, 2, N_BLOCKS * BLOCK, WIDTH)
    x, condition, noisy, times = torch.randn(shape, generator=generator).to(dtype).unbind(0)
    last = slice((N_BLOCKS - 1) * BLOCK, None)
    for window in (N_BLOCKS, WINDOW):
        network: BlockCausalTransformer = _random(
            BlockCausalTransformer(WIDTH, DEPTH, 4, block=BLOCK, window=window, positions=positions), 0.12
        ).to(dtype)
        whole = network(x, condition)[:, last]
        yield "filled block by block", window, _cached(network, x, condition, False, 0), whole
        yield "restored after each block", window, _cached(network, x, condition, True, 0), whole
        if positions == "offset":
            far = 1_000_000 // BLOCK * BLOCK
            yield "from position 1e6", window, _cached(network, x, condition, False, far), whole
        trained = network.two_copy(noisy, x, times, condition)[:, last]
        ring = network.commit(x[:, : last.start], condition[:, : last.start], network.start_cache(2))
        yield "two copies in training", window, trained, network(noisy[:, last], times[:, last], ring)
        if window == WINDOW:
            kept = slice((N_BLOCKS - WINDOW) * BLOCK, None)
            alone = network(x[:, kept], condition[:, kept])[:, -BLOCK:]
            yield "control: window alone", window, alone, whole


def equality_rows() -> list[dict[str, Any]]:
    """Give the largest difference of every comparison."""
    rows = []
    with torch.inference_mode():
        for name, dtype in TYPES.items():
            for positions in ("fixed", "offset"):
                for case, window, out, reference in _comparisons(positions, dtype):  # type: ignore[arg-type]
                    rows.append({
                        "case": case, "positions": positions, "window": window,
                        "evictions": max(N_BLOCKS - window, 0), "type": name,
                        "largest difference": float((out - reference).abs().max()),
                        "scale of the output": float(reference.std()), "control": "control" in case,
                    })  # fmt: skip
    return rows


def _generators() -> Iterator[tuple[str, BlockCausalGenerator]]:
    sizes: dict[str, Any] = {"block": 4, "window": 3, "width": 32, "depth": 2, "n_heads": 2}
    tokens = _random(BlockTokenTransformer(6, 5, **sizes), 0.3)
    denoiser = NetworkTokenDenoiser(tokens, Mask(5), "denoiser")
    yield "tokens, ancestral", BlockCausalGenerator(denoiser, Ancestral(), uniform_grid(4))
    frames = BlockLatentDenoiser(_random(BlockLatentTransformer(3, **sizes), 0.1), VariancePreserving(), "x0")
    for name, solver in (("ancestral", AncestralDDPM("posterior")), ("Heun", Heun())):
        grid = uniform_grid(4, start=0.99)
        yield f"frames, {name}", BlockCausalGenerator(frames, solver, grid, frame_shape=(3,))


def streaming_rows() -> list[dict[str, Any]]:
    """Compare streams, and streams restored half way, with runs made at once; bit by bit."""
    rows = []
    for name, generator in _generators():
        offline = generator.generate(2, 10, seed=1)
        blocks = list(generator.stream(2, 10, seed=1))
        streamed = torch.cat([block.values for block in blocks], dim=1)
        half = generator.generate(2, 5, seed=1)
        rest = generator.generate(2, 5, stream=generator.restore(half.stream.snapshot()))
        restored = torch.cat([half.samples[:, :-4], rest.samples], dim=1)
        for case, samples, nfe in (("streamed", streamed, blocks[-1].nfe), ("restored", restored, rest.nfe)):
            identical = torch.equal(samples, offline.samples) and nfe == offline.nfe
            rows.append({"case": f"{name}, {case}", "blocks": 10, "nfe": nfe, "identical": identical})
    return rows
