r"""Masking: a corrupted token becomes the mask token M, which is no clean token.

.. math:: q_t(y \mid k) = a_t\,1[y = k] + (1 - a_t)\,1[y = M], \qquad
   q_{t|s}(x \mid y) = \frac{a_t}{a_s} 1[x = y] + \Bigl(1 - \frac{a_t}{a_s}\Bigr) 1[x = M]

with :math:`q_{t|s}(M \mid M) = 1`. A revealed token is certainly clean, and a masked one says nothing: the
leave-one-out law and the denoiser agree there, and neither depends on time. A step from t to s reveals each
masked site with probability :math:`(a_s - a_t) / (1 - a_t)`.

Austin et al., arXiv 2107.03006; Sahoo et al., *Simple and Effective Masked Diffusion Language Models*, arXiv
2406.07524.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.discrete.prediction import NoisyTokens
from sciffusion.discrete.process import Corrupted, DiscreteProcess, site_times
from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule

__all__ = ["Mask"]


@dataclass(frozen=True)
class Mask(DiscreteProcess):
    """Masking of tokens; the mask token is ``vocab_size``.

    Parameters
    ----------
    vocab_size : int
        Number of clean tokens, at least 1.
    schedule : KeepSchedule
        The clock; linear by default.
    """

    vocab_size: int
    schedule: KeepSchedule = LinearSchedule()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.vocab_size < 1:
            raise ValueError(f"vocab_size must be at least 1, got {self.vocab_size}")

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """The clean tokens and the mask."""
        return self.vocab_size + 1

    @property
    def mask_token(self) -> int:  # type: ignore[override]
        """The last noisy token."""
        return self.vocab_size

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return masks only."""
        return torch.full(shape, self.mask_token, dtype=torch.int64, device=device)

    def corrupt(
        self, x0: Tensor, t: Tensor, generator: torch.Generator, known: Tensor | None = None
    ) -> Corrupted:
        """Mask tokens with probability ``1 - a`` (see `DiscreteProcess.corrupt`)."""
        keep = self.schedule.keep(site_times(t, x0))
        kept = torch.rand(x0.shape, generator=generator, dtype=torch.float64, device=generator.device)
        x = torch.where((kept.to(keep.device) < keep).to(x0.device), x0, self.mask_token)
        return Corrupted(*self._with_known(x, x0, t, known))

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return ``log q_t(x_t | k)`` for every k."""
        keep = self.schedule.keep(site_times(state.t, state.x)).expand(state.x.shape)[..., None]
        own = torch.nn.functional.one_hot(state.x.long(), self.state_size).to(keep.device).bool()
        masked = own[..., -1:]
        return torch.log(torch.where(masked, 1.0 - keep, keep * own[..., :-1]))

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Move the share ``1 - a`` of a law of clean tokens to the mask."""
        keep = self.schedule.keep(site_times(t, probabilities[..., 0]))[..., None]
        masked = (1.0 - keep) * probabilities.sum(-1, keepdim=True)
        return torch.cat([keep * probabilities, masked], dim=-1)

    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return ``log q_{t|s}(x_t | y)`` for every y, the mask last."""
        late = self.schedule.keep(site_times(state.t, state.x))
        early = self.schedule.keep(site_times(s, state.x))
        ratio = torch.where(early > 0.0, late / early.clamp_min(1e-300), 1.0).expand(state.x.shape)[..., None]
        own = torch.nn.functional.one_hot(state.x.long(), self.state_size).to(ratio.device).bool()
        masked = own[..., -1:]
        clean = torch.where(masked, 1.0 - ratio, ratio * own[..., :-1])
        return torch.log(torch.cat([clean, masked.to(ratio.dtype)], dim=-1))
