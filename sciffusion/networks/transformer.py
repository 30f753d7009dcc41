r"""A transformer whose tokens are modulated one by one.

With token features x of width d, a condition c of the same shape (times, classes, whatever is known of a
token) and positions p,

.. math::
   x \leftarrow x + g_1(c) \odot \operatorname{Attention}\bigl(m_1(x, c), p\bigr), \qquad
   x \leftarrow x + g_2(c) \odot W_2\,\phi\bigl(W_1 m_2(x, c)\bigr), \qquad
   m_i(x, c) = (1 + s_i(c)) \odot \operatorname{LN}(x) + b_i(c)

in every block; shifts, scales and gates (b, s, g) are linear in :math:`\phi(c)` and start at zero, so that a
block that has learnt nothing is the identity. Positions enter by rotation of queries and keys, so attention
depends on differences of positions alone. Keys and values of other tokens, kept from an earlier evaluation,
may be given to every layer; keys are kept as they are attended to, rotated, and since rotations compose,
:math:`R(p) R(q) = R(p + q)`, `rotate` moves them to other positions.

Peebles and Xie, *Scalable Diffusion Models with Transformers*, arXiv 2212.09748 (modulation and zero gates);
Su et al., *RoFormer*, arXiv 2104.09864 (rotary positions).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["KeyValues", "ModulatedTransformer", "rotate"]


class KeyValues(NamedTuple):
    """Keys, rotated to their positions, and values of tokens in every layer.

    Parameters
    ----------
    keys, values : Tensor of shape ``(layers, batch, heads, tokens, features)``
    """

    keys: Tensor
    values: Tensor


class _Rotation(NamedTuple):
    """Cosines and signed sines of the angles of a sequence, which all layers share."""

    cosine: Tensor
    sine: Tensor

    def turn(self, x: Tensor) -> Tensor:
        # (a, b) becomes (a cos - b sin, b cos + a sin): the other half is half a turn of the features away.
        return torch.addcmul(x * self.cosine, x.roll(x.shape[-1] // 2, -1), self.sine)


def _rotation(x: Tensor, features: int, positions: Tensor, longest: float = 1e4) -> _Rotation:
    """Return the rotation of ``features`` features, with angles in float64: positions may be large."""
    half = features // 2
    rates = longest ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angles = positions.to(x.device, torch.float64)[..., None] * rates
    if positions.ndim > 1:
        angles = angles.unsqueeze(-3)  # heads share their positions
    cosine, sine = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    return _Rotation(torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1))


def rotate(x: Tensor, positions: Tensor, longest: float = 1e4) -> Tensor:
    """Turn pairs of features by angles proportional to the position.

    Parameters
    ----------
    x : Tensor of shape ``(..., heads, tokens, features)``
        Features is even; the first half is paired with the second.
    positions : Tensor of shape ``(tokens,)`` or ``(..., tokens)``
        Positions, any real numbers.
    longest : float
        Wavelength of the slowest pair, over 2 pi.
    """
    return _rotation(x, x.shape[-1], positions, longest).turn(x)


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, rotation: _Rotation, visible: Tensor | None, past: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        # Queries and keys, (2, batch, heads, tokens, features), are turned together.
        parts = self.project_in(x).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        turned = rotation.turn(parts[:2])
        own = KeyValues(turned[1], parts[2])
        seen = own if past is None else _joined(past, own)
        mixed = functional.scaled_dot_product_attention(turned[0], seen.keys, seen.values, attn_mask=visible)
        return self.project_out(mixed.transpose(-3, -2).flatten(-2)), own

    def key_values(self, x: Tensor, rotation: _Rotation) -> KeyValues:
        """Return keys and values alone, which need neither queries nor what is attended to."""
        width = x.shape[-1]
        weight, bias = self.project_in.weight[width:], self.project_in.bias[width:]
        parts = functional.linear(x, weight, bias).reshape(*x.shape[:-1], 2, self.n_heads, -1)
        key, value = parts.movedim(-3, 0).transpose(-3, -2)
        return KeyValues(rotation.turn(key), value)


def _joined(past: KeyValues, own: KeyValues) -> KeyValues:
    """Put kept keys and values, of every item or of one for all, before those of the present tokens."""
    parts = ((kept.expand(len(new), -1, -1, -1), new) for kept, new in zip(past, own, strict=True))
    return KeyValues(*(torch.cat(pair, dim=-2) for pair in parts))


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = _Attention(width, n_heads)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        active: Tensor,
        rotation: _Rotation,
        visible: Tensor | None,
        past: KeyValues | None,
    ) -> tuple[Tensor, KeyValues]:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(active).chunk(6, -1)
        modulated = torch.addcmul(shift, self.norm(x), 1.0 + scale)
        mixed, own = self.attention(modulated, rotation, visible, past)
        x = torch.addcmul(x, gate, self.dropout(mixed))
        modulated = torch.addcmul(shift2, self.norm(x), 1.0 + scale2)
        hidden = functional.gelu(self.expand(modulated), approximate="tanh")
        return torch.addcmul(x, gate2, self.dropout(self.contract(hidden))), own

    def key_values(self, x: Tensor, active: Tensor, rotation: _Rotation) -> KeyValues:
        """Return the keys and values of the tokens and leave the rest of the layer out."""
        width = x.shape[-1]
        weight, bias = self.modulation.weight[: 2 * width], self.modulation.bias[: 2 * width]
        shift, scale = functional.linear(active, weight, bias).chunk(2, -1)
        return self.attention.key_values(torch.addcmul(shift, self.norm(x), 1.0 + scale), rotation)


class ModulatedTransformer(nn.Module):
    """Blocks of attention and perceptron, modulated token by token, with a modulated norm at the end.

    Parameters
    ----------
    width : int
        Features of a token, a multiple of twice ``n_heads``.
    depth : int
        Blocks.
    n_heads : int
        Attention heads.
    expansion : int, default 4
        Hidden units of a block's perceptron over ``width``.
    dropout : float, default 0
        Share of the residual branches' features set to zero in training.
    """

    def __init__(
        self, width: int, depth: int, n_heads: int, *, expansion: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.head_features = width // n_heads
        if width % (2 * n_heads):
            raise ValueError(f"width must be a multiple of 2 * n_heads = {2 * n_heads}, got {width}")
        blocks = [_Block(width, n_heads, expansion, dropout) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        for block in blocks:
            # Keeps the residual stream's growth bounded with depth.
            for layer in (block.attention.project_out, block.contract):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        positions: Tensor | None = None,
        visible: Tensor | None = None,
        past: KeyValues | None = None,
    ) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Token features.
        condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for axes
            What modulates them; where all tokens have the same, 1 for their axis saves work.
        positions : Tensor of shape ``(tokens,)`` or ``(batch, tokens)``, optional
            0, 1, 2, ... by default.
        visible : Tensor of bool, broadcastable to ``(batch, heads, tokens, past + tokens)``, optional
            Which tokens (last axis, those of ``past`` first) each token attends to; all by default.
        past : KeyValues, optional
            Keys and values of further tokens, which are attended to; their batch axis may be 1.

        Returns
        -------
        Tensor of shape ``(batch, tokens, width)``
        """
        return self._run(x, condition, positions, visible, past, None)

    def key_values(
        self,
        x: Tensor,
        condition: Tensor,
        positions: Tensor | None = None,
        visible: Tensor | None = None,
        past: KeyValues | None = None,
    ) -> KeyValues:
        """Return the keys and values of ``x`` (not of ``past``) in every layer; see `forward`.

        What the last layer makes of them is left out.
        """
        kept: list[KeyValues] = []
        self._run(x, condition, positions, visible, past, kept, whole=False)
        return _stacked(kept)

    def with_keys(
        self,
        x: Tensor,
        condition: Tensor,
        positions: Tensor | None = None,
        visible: Tensor | None = None,
        past: KeyValues | None = None,
    ) -> tuple[Tensor, KeyValues]:
        """Evaluate, and return the keys and values of ``x`` (not of ``past``) as well (see `forward`)."""
        kept: list[KeyValues] = []
        out = self._run(x, condition, positions, visible, past, kept)
        return out, _stacked(kept)

    def _run(
        self,
        x: Tensor,
        condition: Tensor,
        positions: Tensor | None,
        visible: Tensor | None,
        past: KeyValues | None,
        kept: list[KeyValues] | None,
        whole: bool = True,
    ) -> Tensor:
        """Evaluate, and add the keys and values of every layer to ``kept`` where it is given.

        Where it is not ``whole`` it ends with those of the last layer.
        """
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        rotation, active = _rotation(x, self.head_features, positions), functional.silu(condition)
        additive = _additive(visible, x.dtype)
        for layer, block in enumerate(self.blocks):
            if not whole and kept is not None and layer == len(self.blocks) - 1:
                assert isinstance(block, _Block)
                kept.append(block.key_values(x, active, rotation))
                return x
            layer_past = None if past is None else KeyValues(past.keys[layer], past.values[layer])
            x, own = block(x, active, rotation, additive, layer_past)
            if kept is not None:
                kept.append(own)
        shift, scale = self.modulation(active).chunk(2, -1)
        return torch.addcmul(shift, self.norm(x), 1.0 + scale)


def _additive(visible: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return 0 for what is seen and minus infinity for the rest, once for all layers."""
    if visible is None:
        return None
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)


def _stacked(kept: list[KeyValues]) -> KeyValues:
    keys, values = (torch.stack(parts) for parts in zip(*kept, strict=True))
    return KeyValues(keys, values)
