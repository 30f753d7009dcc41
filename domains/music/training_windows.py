r"""Windows of latent frames cut from recordings at any frame, on the fly.

All frames of all recordings lie one after the other in one table; a window is known by the number of its
first frame. An epoch of windows is then a list of integers, and a batch is a single gather: nothing overlaps
in memory, however long the windows are.

A window that reaches beyond the end of its recording goes on at the beginning of another one (*joined*), so
that a model which plays without end knows what may come after an ending; or it is cut short. Only whole
blocks of a window count (`Windows.blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MusicWindows", "Windows"]


class Windows(NamedTuple):
    """A batch of windows.

    Parameters
    ----------
    latents : Tensor of shape ``(batch, tokens, channels)``
        0 beyond the end.
    conditions : Tensor of shape ``(batch, tokens, width)`` or None
        NaN beyond the end.
    blocks : Tensor of bool, shape ``(batch, blocks)``
        Blocks that consist of recorded frames alone; those of a window come first.
    """

    latents: Tensor
    conditions: Tensor | None
    blocks: Tensor


class MusicWindows:
    """Recordings from which windows of whole blocks are cut.

    Parameters
    ----------
    recordings : sequence of Tensor, each of shape ``(frames, channels)``
        Normalised latents, at least one block each.
    conditions : sequence of Tensor, each of shape ``(frames, width)``, optional
        What is known of every frame; NaN where nothing is.
    block : int
        Frames in a block.
    n_blocks : int
        Blocks in a window.
    joined : bool, default True
        Whether a window may go on in another recording.

    Raises
    ------
    ValueError
        For recordings that are none, too short, not finite, or do not fit each other or their conditions.
    """

    def __init__(
        self,
        recordings: Sequence[Tensor],
        conditions: Sequence[Tensor] | None = None,
        *,
        block: int,
        n_blocks: int,
        joined: bool = True,
    ) -> None:
        _check(recordings, conditions, block)
        self.block, self.n_blocks, self.joined = block, n_blocks, joined
        self.latents = torch.cat([latents.detach().float() for latents in recordings])
        self.conditions = None if conditions is None else torch.cat([given.detach() for given in conditions])
        self.lengths = torch.tensor([len(latents) for latents in recordings], device=self.latents.device)
        self.offsets = self.lengths.cumsum(0) - self.lengths

    @property
    def tokens(self) -> int:
        """Frames in a window."""
        return self.block * self.n_blocks

    def starts(self) -> Tensor:
        """Return every frame at which a window may begin, int64."""
        frames = torch.arange(len(self.latents), device=self.latents.device)
        if self.joined:
            return frames
        recording = self._recording(frames)
        length, place = self.lengths[recording], frames - self.offsets[recording]
        # A recording shorter than a window gives its whole blocks, at every offset that loses none of them.
        latest = torch.where(length < self.tokens, length % self.block, length - self.tokens)
        return frames[place <= latest]

    def spread(self, count: int) -> Tensor:
        """Return at most ``count`` starts, evenly spread over all of them."""
        starts = self.starts()
        count = min(count, len(starts))
        middles = (2 * torch.arange(count, device=starts.device) + 1) * len(starts) // (2 * count)
        return starts[middles]

    def cut(self, starts: Tensor, generator: torch.Generator) -> Windows:
        """Return windows.

        Parameters
        ----------
        starts : Tensor of int64, shape ``(batch,)``
            Their first frames (see `starts`), on the device of the windows.
        generator : torch.Generator
            Draws the recordings that follow where windows are joined.
        """
        order = torch.arange(self.tokens, device=starts.device)
        recording = self._recording(starts)
        beyond = order - (self.offsets + self.lengths)[recording, None] + starts[:, None]
        index, recorded = starts[:, None] + order, beyond < 0
        if self.joined:
            drawn = torch.randint(
                len(self.lengths), (len(starts),), generator=generator, device=generator.device
            )
            following = drawn.to(starts.device)[:, None]
            index = torch.where(recorded, index, self.offsets[following] + beyond)
            recorded = beyond < self.lengths[following]
        index = torch.where(recorded, index, 0)
        latents = torch.where(recorded[..., None], self.latents[index], 0.0)
        conditions = None
        if self.conditions is not None:
            conditions = torch.where(recorded[..., None], self.conditions[index].float(), torch.nan)
        return Windows(latents, conditions, recorded.reshape(-1, self.n_blocks, self.block).all(-1))

    def to(self, device: torch.device | str) -> MusicWindows:
        """Return the windows of the same recordings on a device; themselves where they are on it."""
        if self.latents.device == torch.device(device):
            return self
        moved = object.__new__(MusicWindows)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if isinstance(value, Tensor) else value)
        return moved

    def _recording(self, frames: Tensor) -> Tensor:
        return torch.searchsorted(self.offsets, frames, right=True) - 1


def _check(recordings: Sequence[Tensor], conditions: Sequence[Tensor] | None, block: int) -> None:
    if not recordings:
        raise ValueError("recordings must hold at least one recording, got none")
    channels = recordings[0].shape[-1]
    for number, latents in enumerate(recordings):
        if latents.ndim != 2 or latents.shape[1] != channels or len(latents) < block:
            raise ValueError(
                f"recording {number} must have shape (frames, {channels}) with at least one block of {block} "
                f"frames, got {tuple(latents.shape)}"
            )
        if not bool(torch.isfinite(latents).all()):
            raise ValueError(f"recording {number} holds values that are not finite")
    if conditions is None:
        return
    if len(conditions) != len(recordings):
        raise ValueError(f"expected conditions for {len(recordings)} recordings, got {len(conditions)}")
    width = conditions[0].shape[-1]
    for number, (given, latents) in enumerate(zip(conditions, recordings, strict=True)):
        if given.shape != (len(latents), width):
            raise ValueError(
                f"conditions of recording {number} must have shape ({len(latents)}, {width}), got "
                f"{tuple(given.shape)}"
            )
