r"""Which controls a model is shown in training: all of them, some, or for some of the time.

A player sets what he likes and leaves the rest open, may let go at any time, and another player is heard only
up to now. So that one network knows all of this, every clip of a batch has its controls hidden (NaN)

- all together, with one probability,
- each by itself, with another,
- each for a piece of time, with a third: its two ends are uniform over the clip.

A *late* control is one of which the future is unknown, such as another player's sound. A clip draws a lag
and an age k, and in block j the control is hidden from frame :math:`j O - \text{lag}` on where the block is
noisy, and from frame :math:`(j + k) O - \text{lag}` on where it stands, clean, before later ones: the first
is what is known when a block is made, the second what was known when it was written into the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .controls import ControlLayout

__all__ = ["ControlDropout"]


@dataclass(frozen=True)
class ControlDropout:
    """Probabilities with which the controls of a clip are hidden.

    Parameters
    ----------
    all : float, default 0.1
        Of hiding all.
    each : float, default 0.15
        Of hiding one, for each.
    piece : float, default 0.15
        Of hiding one for a piece of time, for each.
    late : mapping of str to (int, int), optional
        Least and largest lag in frames of the controls whose future is unknown; negative lags let a block see
        ahead.
    """

    all: float = 0.1
    each: float = 0.15
    piece: float = 0.15
    late: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("all", "each", "piece"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a probability, got {getattr(self, name)!r}")
        for name, (low, high) in self.late.items():
            if low > high:
                raise ValueError(f"the lags of {name!r} must be (least, largest), got {(low, high)}")

    def hide(
        self, conditions: Tensor, layout: ControlLayout, block: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the conditions of the noisy blocks and those of the clean ones.

        Parameters
        ----------
        conditions : Tensor of shape ``(batch, tokens, width)``
            All that is known.
        layout : ControlLayout
            Which numbers belong together.
        block : int
            Frames in a block.
        generator : torch.Generator
            On the device of the conditions.
        """
        hidden = self._hidden(conditions, layout, generator)
        shown = torch.where(hidden, torch.nan, conditions)
        clean = shown
        for name in self.late:
            noisy_known, clean_known = self._heard(name, conditions, block, generator)
            own = torch.zeros(conditions.shape[-1], dtype=torch.bool, device=conditions.device)
            own[layout.place(name)] = True
            shown = torch.where(own & ~noisy_known[..., None], torch.nan, shown)
            clean = torch.where(own & ~clean_known[..., None], torch.nan, clean)
        return shown, clean

    def _hidden(self, conditions: Tensor, layout: ControlLayout, generator: torch.Generator) -> Tensor:
        batch, tokens, _ = conditions.shape
        count, device = len(layout.controls), generator.device
        chance = torch.rand(batch, 2 * count + 1, generator=generator, device=device)
        ends = torch.rand(2, batch, count, generator=generator, device=device) * tokens
        frames = torch.arange(tokens, device=device)[:, None]
        piece = (frames >= ends.amin(0)[:, None]) & (frames < ends.amax(0)[:, None])
        gone = (chance[:, :1] < self.all) | (chance[:, 1 : count + 1] < self.each)
        by_control = gone[:, None] | (piece & (chance[:, None, count + 1 :] < self.piece))
        widths = torch.tensor([control.width for control in layout.controls], device=device)
        return by_control.repeat_interleave(widths, dim=-1).to(conditions.device)

    def _heard(
        self, name: str, conditions: Tensor, block: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return which frames of a late control are known to the noisy blocks and to the clean ones."""
        (low, high), (batch, tokens, _) = self.late[name], conditions.shape
        draw = {"generator": generator, "device": generator.device}
        lag = torch.randint(low, high + 1, (batch, 1), **draw)  # type: ignore[call-overload]
        oldest = max(-(-high // block), 0) + 1
        age = torch.randint(1, oldest + 1, (batch, 1), **draw)  # type: ignore[call-overload]
        frames = torch.arange(tokens, device=generator.device)
        known_until = frames // block * block - lag
        noisy, clean = frames < known_until, frames < known_until + age * block
        return noisy.to(conditions.device), clean.to(conditions.device)
