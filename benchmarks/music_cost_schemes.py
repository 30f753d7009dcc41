"""Four ways to go on with a piece by one block, ready to be timed, and whether the cached ones are exact.

- *plain*: every step evaluates context and target together, all frames seeing all. In its cheapest form: one
  time for all frames, no mask.
- *encoder-decoder*: the context is read once a block, the target attends to its keys in every step.
- *block-causal*: only the newest block is read, with the first step; older ones stay in the ring.
- *autoregressive*: one forward a frame (see `music_autoregressive`).

The three diffusions share one set of random weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from music_autoregressive import CODEBOOKS, CODES, AutoregressivePeer
from torch import Tensor

from sciffusion.continuous import Euler, NetworkDenoiser, RectifiedFlow
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer, packed
from sciffusion.sampling import BlockCausalGenerator, State, sample, uniform_grid

__all__ = ["CACHED", "SCHEMES", "Marks", "Place", "Schemes", "interleaved"]

SCHEMES = ("plain", "encoder-decoder", "block-causal", "autoregressive")
CACHED = SCHEMES[1:]


@dataclass(frozen=True)
class Place:
    """Where costs are measured.

    Parameters
    ----------
    rate : int
        Frames a second.
    context : float
        Seconds before the block, rounded to blocks.
    block_seconds : float
    width, depth, channels : int
        Of the networks; heads have 64 features.
    """

    rate: int
    context: float
    block_seconds: float = 0.96
    width: int = 256
    depth: int = 6
    channels: int = 32

    @property
    def block(self) -> int:
        """Frames of a block."""
        return round(self.rate * self.block_seconds)

    @property
    def window(self) -> int:
        """Blocks that are seen, the target included."""
        return max(round(self.context / self.block_seconds), 1) + 1

    @property
    def frames(self) -> int:
        """Frames of the context."""
        return (self.window - 1) * self.block

    @property
    def heads(self) -> int:
        """Attention heads."""
        return max(self.width // 64, 1)


class Marks:
    """The CPU time at which each evaluation of a call began."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def mark(self) -> None:
        """Say that an evaluation begins."""
        self.times.append(time.process_time())

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, each call of which is marked."""

        def marked(*arguments: Any, **keywords: Any) -> Any:
            self.mark()
            return function(*arguments, **keywords)

        return marked

    def parts(self, call: Callable[[], Any]) -> np.ndarray:
        """Give the CPU milliseconds of a call in as many parts as it makes evaluations."""
        self.times = []
        began = time.process_time()
        call()
        ends = [*self.times[1:], time.process_time()]
        return 1e3 * np.diff([began, *ends])


def interleaved(calls: Mapping[str, tuple[Callable[[], Any], Marks]], repeats: int) -> dict[str, np.ndarray]:
    """Give the smallest CPU milliseconds of every part of every call.

    Calls are made in turns, so that what else the machine does hits all alike; parts are a few milliseconds
    long, so that some of the repeats of each are not hit.
    """
    for call, _ in calls.values():
        call()
    names, found = list(calls), {name: [] for name in calls}
    for repeat in range(repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            call, marks = calls[name]
            found[name].append(marks.parts(call))
    return {name: np.min(rows, axis=0) for name, rows in found.items()}


class _Marked(BlockLatentDenoiser):
    """A denoiser each evaluation of which is marked."""

    def __init__(self, network: BlockLatentTransformer, marks: Marks) -> None:
        super().__init__(network, RectifiedFlow(), "flow")
        self._marks = marks

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        return self._marks.around(super().__call__)(state, condition, cache)


class Schemes:
    """The networks of a place, with random weights, and the states from which blocks are made.

    Parameters
    ----------
    place : Place
    setting : {"packed", "torch", "compiled"}
        Linear layers packed for inference, as torch has them, or whole layers compiled; for all alike.
    """

    def __init__(self, place: Place, setting: str = "packed") -> None:
        self.place, self.setting = place, setting
        self._random = torch.Generator().manual_seed(0)
        causal = self._network("block_causal")
        decoder = self._network("encoder_decoder")
        decoder.load_state_dict(causal.state_dict())
        self._peer = self._initialised(AutoregressivePeer(place.width, place.depth, place.heads))
        self.latents = self._draw(place.frames + 4 * place.block)
        self.codes = torch.randint(CODES, (place.frames + 12, CODEBOOKS), generator=self._random)
        #: Networks of the three diffusions.
        self.networks = {name: self._set(network, place.block) for name, network in (
            ("plain", causal), ("encoder-decoder", decoder), ("block-causal", causal))}  # fmt: skip
        self._peer = self._set(self._peer, 1)
        self._next = torch.compile(self._peer.next) if setting == "compiled" else None
        self._streams: dict[str, Any] = {}
        with torch.inference_mode():
            self._cache = self._peer.fill(self.codes[: place.frames])

    def _network(self, variant: Any) -> BlockLatentTransformer:
        place = self.place
        return self._initialised(BlockLatentTransformer(
            place.channels, block=place.block, window=place.window, width=place.width, depth=place.depth,
            n_heads=place.heads, positions="offset", variant=variant,
        ))  # fmt: skip

    def _initialised(self, network: Any) -> Any:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0.0, parameter.shape[-1] ** -0.5, generator=self._random)
        return network.eval().requires_grad_(False)

    def _set(self, network: Any, tokens: int) -> Any:
        if self.setting == "packed":
            return packed(network, tokens=tokens)
        if self.setting == "compiled" and isinstance(network, BlockLatentTransformer):
            network.transformer.transformer.compile()
        return network

    def _draw(self, frames: int) -> Tensor:
        return torch.randn(1, frames, self.place.channels, generator=self._random)

    def ring_megabytes(self) -> float:
        """Give the memory of a full ring of keys and values."""
        parts = self.networks["block-causal"].start_cache(1).snapshot().values()
        return sum(part.numel() * part.element_size() for part in parts) / 2**20

    def call(self, scheme: str, nfe: int, *, fused: bool = True) -> tuple[Callable[[], Tensor], Marks]:
        """Return what makes one block, and the marks of its evaluations; of codes, ``nfe`` frames."""
        marks = Marks()
        if scheme == "autoregressive":
            step = marks.around(self._peer.next if self._next is None else self._next)
            return (lambda: self._frames(step, nfe)), marks
        if scheme == "plain":
            step = marks.around(self._whole)
            return (lambda: self._plain(step, nfe)), marks
        generator = BlockCausalGenerator(
            _Marked(self.networks[scheme], marks), Euler(), uniform_grid(nfe),
            frame_shape=(self.place.channels,), fused=fused,
        )  # fmt: skip
        if scheme not in self._streams:
            start = generator.start(1, prompt=self.latents[:, : self.place.frames + self.place.block])
            self._streams[scheme] = generator.advance(start)[0]
        stream = self._streams[scheme]  # ring full, one block to be read; stays as it is
        return (lambda: generator.advance(stream)[1].values), marks

    def _whole(self, x: Tensor, times: Tensor, condition: Any = None) -> Tensor:
        """Evaluate context and target together."""
        network, context = self.networks["plain"], self.latents[:, : self.place.frames]
        features = network.features(torch.cat([context, x], dim=1), None)
        out = network.transformer.transformer(features, network._modulation(times, None, features))
        read: Tensor = network.read(out[:, -x.shape[1] :])
        return read

    def _plain(self, step: Any, nfe: int) -> Tensor:
        start = State(x=self.latents[:, -self.place.block :])
        denoiser = NetworkDenoiser(step, RectifiedFlow(), "flow")
        return sample(denoiser, Euler(), uniform_grid(nfe), state=start).samples

    def _frames(self, step: Any, count: int) -> Tensor:
        last = self.codes[self.place.frames :][:1]
        with torch.inference_mode():
            return self._peer.generate(last, count, self._cache, self._random, step)

    def differences(self) -> dict[str, float]:
        """Give the largest difference of each cached evaluation from one masked evaluation of everything.

        Of block-causal blocks everything is the whole history, three blocks longer than the ring.
        """
        place, time_now = self.place, torch.tensor(0.5)
        size, found = place.block, {}
        with torch.inference_mode():
            for scheme in ("encoder-decoder", "block-causal"):
                network, history = self.networks[scheme], self.latents[:, :-size]
                cache = network.start_cache(1)
                for start in range(0, history.shape[1], size):
                    cache = network.commit(history[:, start : start + size], None, cache)
                times = torch.zeros(1, self.latents.shape[1])
                times[:, -size:] = time_now
                whole = network(self.latents, times)[:, -size:]
                step = network(self.latents[:, -size:], time_now, cache=cache)
                found[scheme] = float((step - whole).abs().max())
            cache = self._peer.fill(self.codes[: place.frames])
            for n in range(place.frames, len(self.codes)):
                rotation = self._peer.rotations(torch.tensor([n]))
                slot = torch.tensor([n % place.frames])
                logits = self._peer.next(self.codes[n : n + 1], *rotation, cache.layers, slot)
            whole = self._peer(self.codes, place.frames)[-1]
            found["autoregressive"] = float((logits - whole).abs().max())
        return found
