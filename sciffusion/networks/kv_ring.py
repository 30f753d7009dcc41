r"""Keys and values of earlier tokens in a ring of fixed size.

A ring of capacity C holds, for every layer, the keys and values of the last tokens that were appended, each
with its position p. Token number n is written to slot :math:`n \bmod C`, so that an append to a full ring
overwrites the oldest tokens; a mask says which slots hold a token that is still to be seen. All shapes are
constant from the start, and slots are computed on the device, so a compiled or captured evaluation sees one
shape however long the sequence gets.

Keys are kept as attention reads them, rotated to their positions. Rotations compose, so moving all tokens by
the same number of positions is one more rotation of the keys and changes no attention among them:

.. math:: \langle R(p) q, R(p') k \rangle = \langle R(p + s) q, R(p' + s) k \rangle .

A ring is a value: its methods return another one and leave it as it is, except where ``in_place=True`` asks
to reuse its memory.

Su et al., *RoFormer*, arXiv 2104.09864 (rotary positions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sciffusion.networks.transformer import KeyValues, rotate

__all__ = ["KVRing"]


@dataclass(frozen=True, eq=False)
class KVRing:
    """Keys and values of earlier tokens; made by `empty`.

    Parameters
    ----------
    keys, values : Tensor of shape ``(layers, batch, heads, capacity, features)``
        Keys are rotated to ``positions``. A batch of 1 serves any number of items that share their past.
    positions : Tensor of int64, shape ``(capacity,)``
        Position of the token in each slot.
    valid : Tensor of bool, shape ``(capacity,)``
        Slots that hold a token.
    cursor : Tensor of int64, shape ``()``
        Slot that is written next.
    next_position : Tensor of int64, shape ``()``
        Position of the token that is appended next.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    valid: Tensor
    cursor: Tensor
    next_position: Tensor

    @classmethod
    def empty(
        cls,
        layers: int,
        batch: int,
        heads: int,
        capacity: int,
        features: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> KVRing:
        """Return a ring without tokens, all of its memory allocated.

        Raises
        ------
        ValueError
            For a size below 1.
        """
        shape = (layers, batch, heads, capacity, features)
        if min(shape) < 1:
            raise ValueError(
                f"(layers, batch, heads, capacity, features) must all be at least 1, got {shape}"
            )
        keys, values = torch.zeros(2, *shape, dtype=dtype, device=device).unbind(0)
        positions = torch.zeros(capacity, dtype=torch.int64, device=device)
        cursor, following = torch.zeros(2, dtype=torch.int64, device=device).unbind(0)
        valid = torch.zeros(capacity, dtype=torch.bool, device=device)
        return cls(keys.clone(), values.clone(), positions, valid, cursor.clone(), following.clone())

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.keys.shape[-2]

    @property
    def batch(self) -> int:
        """Number of items."""
        return self.keys.shape[1]

    @property
    def key_values(self) -> KeyValues:
        """Keys and values of all slots; what `valid` rules out must not be attended to."""
        return KeyValues(self.keys, self.values)

    def append(self, new: KeyValues, *, in_place: bool = False) -> KVRing:
        """Return the ring with the tokens that follow, over the oldest ones where it is full.

        Parameters
        ----------
        new : KeyValues
            Shape ``(layers, batch, heads, tokens, features)``, keys rotated to the positions from
            `next_position` on. Of more tokens than fit, the last ones are kept.
        in_place : bool, default False
            Write into this ring's own memory and return it.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        tokens = new.keys.shape[-2]
        expected = (*self.keys.shape[:-2], tokens, self.keys.shape[-1])
        if new.keys.shape != expected or new.values.shape != expected:
            raise ValueError(
                f"keys and values must have shape {expected}, got {tuple(new.keys.shape)} and "
                f"{tuple(new.values.shape)}"
            )
        ring = self if in_place else self._copy()
        count = min(tokens, self.capacity)
        order = torch.arange(tokens - count, tokens, device=self.keys.device)
        slots = (self.cursor + order) % self.capacity
        ring.keys.index_copy_(3, slots, new.keys[..., tokens - count :, :].to(self.keys.dtype))
        ring.values.index_copy_(3, slots, new.values[..., tokens - count :, :].to(self.values.dtype))
        ring.positions.index_copy_(0, slots, self.next_position + order)
        ring.valid.index_fill_(0, slots, True)
        ring.cursor.copy_((self.cursor + tokens) % self.capacity)
        ring.next_position.add_(tokens)
        return ring

    def evict(self, before: Tensor | int) -> KVRing:
        """Return the ring without the tokens at positions before ``before``; shares memory with this one."""
        return replace(self, valid=self.valid & (self.positions >= before))

    def rotate(self, shift: Tensor | int, *, in_place: bool = False) -> KVRing:
        """Return the ring with all positions, those of keys included, moved by ``shift``.

        Parameters
        ----------
        shift : int or Tensor of int64, shape ``()``
            Added to every position.
        in_place : bool, default False
            Write into this ring's own memory and return it.
        """
        moved = torch.zeros_like(self.positions) + shift
        keys = rotate(self.keys, moved)
        if not in_place:
            following = self.next_position + shift
            return replace(self, keys=keys, positions=self.positions + shift, next_position=following)
        self.keys.copy_(keys)
        self.positions.add_(shift)
        self.next_position.add_(shift)
        return self

    def take_items(self, indices: Tensor) -> KVRing:
        """Return the ring of the items at ``indices``; one that all items share stays as it is."""
        if self.batch == 1:
            return self
        keys, values = (part.index_select(1, indices.to(part.device)) for part in self.key_values)
        return replace(self, keys=keys, values=values)

    def snapshot(self) -> dict[str, Tensor]:
        """Return all there is to know as plain tensors by name, independent of this ring's memory."""
        return {f.name: getattr(self, f.name).detach().clone() for f in fields(self)}

    @classmethod
    def restore(cls, snapshot: Mapping[str, Tensor]) -> KVRing:
        """Return the ring of a snapshot, in memory of its own.

        Raises
        ------
        ValueError
            If a tensor is missing, or there is one that is no part of a ring.
        """
        names = {f.name for f in fields(cls)}
        if set(snapshot) != names:
            raise ValueError(f"a snapshot of a ring holds {sorted(names)}, got {sorted(snapshot)}")
        return cls(**{name: part.clone() for name, part in snapshot.items()})

    def _copy(self) -> KVRing:
        return KVRing(*(getattr(self, f.name).clone() for f in fields(self)))
