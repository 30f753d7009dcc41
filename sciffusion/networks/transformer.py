r"""A transformer whose tokens are modulated one by one.

With token features x of width d, a condition c of the same shape (times, classes, whatever is known of a
token) and positions p,

.. math::
   x \leftarrow x + g_1(c) \odot \operatorname{Attention}\bigl(m_1(x, c), p\bigr), \qquad
   x \leftarrow x + g_2(c) \odot W_2\,\phi\bigl(W_1 m_2(x, c)\bigr), \qquad
   m_i(x, c) = (1 + s_i(c)) \odot \operatorname{LN}(x) + b_i(c)

in every block; shifts, scales and gates (b, s, g) are linear in :math:`\phi(c)` and start at zero, so that a
block that has learnt nothing is the identity. Positions enter by rotation of queries and keys, so attention
depends on differences of positions alone.

Peebles and Xie, *Scalable Diffusion Models with Transformers*, arXiv 2212.09748 (modulation and zero gates);
Su et al., *RoFormer*, arXiv 2104.09864 (rotary positions).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ModulatedTransformer", "rotate"]


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
    half = x.shape[-1] // 2
    rates = longest ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angles = positions.to(torch.float64)[..., None] * rates
    if positions.ndim > 1:
        angles = angles.unsqueeze(-3)  # heads share their positions
    cosine, sine = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, not rotated, of shape ``(batch, heads, tokens, features)``."""
        parts = self.project_in(x).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        return parts[0], parts[1], parts[2]

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor | None) -> Tensor:
        query, key, value = self.heads(x)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, positions), rotate(key, positions), value, attn_mask=visible
        )
        out: Tensor = self.project_out(mixed.transpose(-3, -2).flatten(-2))
        return out


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

    def forward(self, x: Tensor, condition: Tensor, positions: Tensor, visible: Tensor | None) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(functional.silu(condition)).chunk(6, -1)
        mixed = self.attention((1.0 + scale) * self.norm(x) + shift, positions, visible)
        x = x + gate * self.dropout(mixed)
        hidden = functional.gelu(self.expand((1.0 + scale2) * self.norm(x) + shift2), approximate="tanh")
        out: Tensor = x + gate2 * self.dropout(self.contract(hidden))
        return out


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
        self, x: Tensor, condition: Tensor, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor of shape ``(batch, tokens, width)``
            Token features.
        condition : Tensor of shape ``(batch, tokens, width)``, or with 1 for tokens
            What modulates them.
        positions : Tensor of shape ``(tokens,)`` or ``(batch, tokens)``, optional
            0, 1, 2, ... by default.
        visible : Tensor of bool, broadcastable to ``(batch, heads, tokens, tokens)``, optional
            Which tokens (last axis) each token attends to; all by default.
        """
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        for block in self.blocks:
            x = block(x, condition, positions, visible)
        shift, scale = self.modulation(functional.silu(condition)).chunk(2, -1)
        out: Tensor = (1.0 + scale) * self.norm(x) + shift
        return out
