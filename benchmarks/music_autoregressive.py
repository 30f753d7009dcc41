r"""The autoregressive peer: a transformer over codes of audio, one forward a frame, as fast as it gets here.

A frame has four codes of 1024 values, of four codebooks. By the delay pattern code k of frame n is made at
step n + k, so that one forward a frame makes four codes, each knowing those before it of its own frame. The
transformer has the width, depth and heads of the diffusion model, no modulation, and a cache of keys and
values that is allocated once: a step writes one slot, over the oldest one when all are taken, and attends to
all slots without a mask and without a copy. Copet et al., *Simple and Controllable Music Generation*, arXiv
2306.05284 (the delay pattern).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AutoregressivePeer", "PeerCache"]

CODEBOOKS, CODES = 4, 1024


class PeerCache:
    """Keys and values of the last frames, ``(heads, capacity, features)`` a layer, and where the next go.

    Parameters
    ----------
    depth, heads, capacity, features : int
    """

    def __init__(self, depth: int, heads: int, capacity: int, features: int) -> None:
        self.capacity = capacity
        self.layers = [torch.zeros(2, heads, capacity, features) for _ in range(depth)]
        self.count = 0


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        kept: Tensor | None,
        slots: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Evaluate ``(frames, width)``; keys and values go to ``slots`` of those kept, which are seen."""
        parts = self.project_in(self.norms[0](x)).view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)
        cosine, sine = rotation
        turned = torch.addcmul(parts[:2] * cosine, parts[:2].roll(parts.shape[-1] // 2, -1), sine)
        keys, values = turned[1], parts[2]
        if kept is not None:
            kept[0].index_copy_(1, slots, keys)
            kept[1].index_copy_(1, slots, values)
            keys, values = kept[0], kept[1]
        mixed = functional.scaled_dot_product_attention(turned[:1], keys[None], values[None], attn_mask=mask)
        x = x + self.project_out(mixed[0].transpose(0, 1).reshape(len(x), -1))
        hidden = functional.gelu(self.expand(self.norms[1](x)), approximate="tanh")
        return x + self.contract(hidden)


class AutoregressivePeer(nn.Module):
    """A transformer over frames of codes.

    Parameters
    ----------
    width, depth, heads : int
        As those of the diffusion model.
    """

    def __init__(self, width: int = 256, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.width, self.depth, self.heads = width, depth, heads
        self.embedding = nn.Embedding(CODEBOOKS * CODES, width)
        self.layers = nn.ModuleList([_Layer(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CODEBOOKS * CODES)
        self.register_buffer("shift", CODES * torch.arange(CODEBOOKS), persistent=False)

    def rotations(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines of positions, made once for all steps of a run."""
        half = self.width // self.heads // 2
        rates = 1e4 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = positions.double()[:, None] * rates
        cosine, sine = angles.cos().float(), angles.sin().float()
        return torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1)

    def forward(self, codes: Tensor, window: int) -> Tensor:
        """Return logits of the frames after each of ``(frames, codebooks)``, which see ``window`` frames."""
        places = torch.arange(len(codes))
        age = places[:, None] - places
        return self._read(codes, self.rotations(places), None, places, (age >= 0) & (age < window))

    def fill(self, codes: Tensor) -> PeerCache:
        """Return the cache that known frames ``(frames, codebooks)`` fill, in one evaluation."""
        cache = PeerCache(self.depth, self.heads, len(codes), self.width // self.heads)
        places = torch.arange(len(codes))
        self._read(codes, self.rotations(places), cache.layers, places, places[:, None] >= places)
        cache.count = len(codes)
        return cache

    def next(self, codes: Tensor, cosine: Tensor, sine: Tensor, kept: list[Tensor], slot: Tensor) -> Tensor:
        """Return logits after one frame ``(1, codebooks)``, written to a slot of a full cache."""
        return self._read(codes, (cosine, sine), kept, slot, None)

    def generate(
        self, codes: Tensor, frames: int, cache: PeerCache, generator: torch.Generator, step: Any = None
    ) -> Tensor:
        """Sample frames after ``codes``, the last one, ``(1, codebooks)``, which a full cache lacks as yet.

        A stand-in for `next`, such as a compiled one, may be given as ``step``.
        """
        forward = self.next if step is None else step
        places = torch.arange(cache.count, cache.count + frames)
        (cosine, sine), slots = self.rotations(places), places % cache.capacity
        made = []
        for n in range(frames):
            part = slice(n, n + 1)
            logits = forward(codes, cosine[part], sine[part], cache.layers, slots[part])
            # The largest of probabilities over exponential draws is a draw by these probabilities.
            races = torch.empty(CODEBOOKS, CODES).exponential_(generator=generator)
            codes = (torch.softmax(logits[0], -1) / races).argmax(-1)[None]
            made.append(codes)
        cache.count += frames
        return torch.cat(made)

    def _read(
        self, codes: Tensor, rotation: tuple[Tensor, Tensor], kept: list[Tensor] | None, slots: Tensor,
        mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        x = self.embedding(codes + self.shift).sum(1) / math.sqrt(CODEBOOKS)
        for place, layer in enumerate(self.layers):
            x = layer(x, rotation, None if kept is None else kept[place], slots, mask)
        logits: Tensor = self.head(self.norm(x))
        return logits.view(-1, CODEBOOKS, CODES)
