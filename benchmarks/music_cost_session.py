"""What a block of the default model costs with everything around the network: sampler, codec, session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from music_cost_rows import Size
from music_cost_schemes import Marks, interleaved

from sciffusion.continuous import RectifiedFlow
from sciffusion.domains.music.codec import LatentStatistics
from sciffusion.domains.music.controls import Control, ControlLayout
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork
from sciffusion.domains.music.session import MusicSession
from sciffusion.domains.music.session_blocks import BlockMaker
from sciffusion.networks import BlockLatentTransformer, packed

__all__ = ["latency_rows", "session_rows"]

BLOCK, WINDOW, CHANNELS, NFE = 24, 8, 32, 8


def _maker(size: Size, setting: str) -> BlockMaker:
    """Give the default model with random weights: network, controls, codec."""
    layout = ControlLayout((Control("chroma", 12), Control("loudness", 1)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BlockLatentTransformer(
            CHANNELS, block=BLOCK, window=WINDOW, width=size.width, depth=size.depth,
            n_heads=max(size.width // 64, 1), n_conditions=layout.width,
        )  # fmt: skip
        decoder = LightCodecNetwork(CodecSizes())
    statistics = LatentStatistics(torch.zeros(CHANNELS), torch.ones(CHANNELS))
    network = network.eval().requires_grad_(False)
    network = packed(network, tokens=BLOCK) if setting == "packed" else network
    codec = LightCodec(decoder, statistics)
    return BlockMaker(network, codec, layout, path=RectifiedFlow(), prediction="flow")


def _session(maker: BlockMaker, controls: bool) -> MusicSession:
    session = MusicSession(maker, seed=0, nfe=NFE)
    if controls:
        session.set(loudness=0.0, chroma=[1.0] + [0.0] * 11)
    for _ in range(WINDOW + 1):
        session.step()
    return session


def _network_alone(maker: BlockMaker, condition: Any) -> Any:
    """Return the evaluations of one block and nothing else: the first with the newest block, seven after."""
    network, generator = maker.network, torch.Generator().manual_seed(0)
    blocks = torch.randn(WINDOW + 1, 1, BLOCK, CHANNELS, generator=generator)
    with torch.inference_mode():
        ring = network.commit(torch.cat(list(blocks[: WINDOW - 1]), dim=1), condition, network.start_cache(1))
    newest, x, half = blocks[-2], blocks[-1], torch.tensor(0.5)

    def evaluate() -> None:
        with torch.inference_mode():
            read = network.extend(
                newest, condition, ring, settled=BLOCK, x=x, times=half, condition=condition
            )
            for _ in range(NFE - 1):
                network(x, half, condition, cache=read.cache)

    return evaluate


def _decoding(maker: BlockMaker) -> Any:
    codec, latents = maker.codec, torch.randn(1, BLOCK, CHANNELS, generator=torch.Generator().manual_seed(0))
    state = codec.start_decoding()

    def decode() -> None:
        with torch.inference_mode():
            codec.decode_next(latents, state)

    return decode


def _advancing(maker: BlockMaker) -> Any:
    generator = maker.generator(NFE)
    stream = generator.generate(1, WINDOW + 1).stream
    return lambda: generator.advance(stream)


def session_rows(size: Size) -> Iterator[dict[str, Any]]:
    """Split a step of the session into network, sampler, codec and the rest."""
    for setting in ("packed", "torch"):
        maker = _maker(size, setting)
        free, led = _session(maker, False), _session(maker, True)
        calls = {"network": _network_alone(maker, None), "advance": _advancing(maker),
                 "decode": _decoding(maker), "step": free.step, "controlled": led.step}  # fmt: skip
        timed = interleaved(_marked(maker, calls), size.session_blocks)
        cost = {name: float(parts.sum()) for name, parts in timed.items()}
        seconds = maker.block_samples / maker.codec.sample_rate
        yield {
            "linear layers": setting, "network ms": cost["network"],
            "sampler ms": cost["advance"] - cost["network"], "codec ms": cost["decode"],
            "session ms": cost["step"] - cost["advance"] - cost["decode"], "whole step ms": cost["step"],
            "step with controls ms": cost["controlled"],
            "real-time factor": cost["step"] / 1e3 / seconds,
            "real-time factor with controls": cost["controlled"] / 1e3 / seconds,
            "ring MB": _megabytes(maker),
        }  # fmt: skip


def _marked(maker: BlockMaker, calls: dict[str, Any]) -> dict[str, tuple[Any, Marks]]:
    """Split calls where the network is evaluated; the first time in a block that goes unseen."""
    marks = Marks()
    maker.network.register_forward_pre_hook(lambda *_: marks.mark())

    def begun(call: Any) -> Any:
        return lambda: (marks.mark(), call())

    return {name: (begun(call), marks) for name, call in calls.items()}


def _megabytes(maker: BlockMaker) -> float:
    parts = maker.network.start_cache(1).snapshot().values()
    return float(sum(part.numel() * part.element_size() for part in parts) / 2**20)


def latency_rows(size: Size) -> Iterator[dict[str, Any]]:
    """Give the distribution of the time of a step, by CPU and by the clock on the wall."""
    session = _session(_maker(size, "packed"), True)
    cpu, wall = [], []
    for _ in range(size.session_blocks):
        began = time.process_time()
        wall.append(1e3 * session.step().seconds)
        cpu.append(1e3 * (time.process_time() - began))
    for clock, found in (("CPU", cpu), ("wall", wall)):
        shares = dict(zip(("p50 ms", "p95 ms", "p99 ms"), np.percentile(found, (50, 95, 99)), strict=True))
        yield {"clock": clock, "blocks": len(found), "least ms": min(found), **shares, "most ms": max(found)}
