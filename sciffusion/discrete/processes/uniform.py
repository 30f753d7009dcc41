r"""Uniform noise: a corrupted token becomes any token, itself included.

.. math:: q_t(y \mid k) = a_t\,1[y = k] + \frac{1 - a_t}{K}, \qquad
   q_{t|s}(x \mid y) = \frac{a_t}{a_s} 1[x = y] + \frac{1}{K}\Bigl(1 - \frac{a_t}{a_s}\Bigr)

Austin et al., *Structured Denoising Diffusion Models in Discrete State-Spaces*, arXiv 2107.03006; Schiff et
al., *Simple Guidance Mechanisms for Discrete Diffusion Models*, arXiv 2412.10193.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.discrete.prediction import NoisyTokens
from sciffusion.discrete.process import Corrupted, DiscreteProcess, site_times
from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(DiscreteProcess):
    """Uniform corruption of tokens.

    Parameters
    ----------
    vocab_size : int
        Number of tokens K, at least 2.
    schedule : KeepSchedule
        The clock; linear by default.
    """

    vocab_size: int
    schedule: KeepSchedule = LinearSchedule()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size must be at least 2, got {self.vocab_size}")

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """As many noisy tokens as clean ones."""
        return self.vocab_size

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw uniform tokens."""
        return torch.randint(self.vocab_size, shape, generator=generator, device=generator.device).to(device)

    def corrupt(
        self, x0: Tensor, t: Tensor, generator: torch.Generator, known: Tensor | None = None
    ) -> Corrupted:
        """Replace tokens by uniform ones with probability ``1 - a`` (see `DiscreteProcess.corrupt`)."""
        keep = self.schedule.keep(site_times(t, x0))
        kept = torch.rand(x0.shape, generator=generator, dtype=torch.float64, device=generator.device)
        noise = self.draw_prior(tuple(x0.shape), generator, device=x0.device)
        x = torch.where(kept.to(keep.device) < keep, x0.to(keep.device), noise.to(keep.device)).to(x0.device)
        return Corrupted(*self._with_known(x, x0, t, known))

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return ``log q_t(x_t | k)`` for every k."""
        return self._own_token(state.x, self.schedule.keep(site_times(state.t, state.x)))

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Mix a law of clean tokens with the uniform one."""
        keep = self.schedule.keep(site_times(t, probabilities[..., 0]))[..., None]
        return keep * probabilities + (1.0 - keep) / self.vocab_size * probabilities.sum(-1, keepdim=True)

    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return ``log q_{t|s}(x_t | y)`` for every y."""
        late = self.schedule.keep(site_times(state.t, state.x))
        early = self.schedule.keep(site_times(s, state.x))
        ratio = torch.where(early > 0.0, late / early.clamp_min(1e-300), 1.0)
        return self._own_token(state.x, ratio)

    def _own_token(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the log of ``keep 1[y = x] + (1 - keep) / K`` for every y."""
        keep = keep.expand(x.shape)[..., None]
        other = (1.0 - keep) / self.vocab_size
        own = torch.nn.functional.one_hot(x.long(), self.vocab_size).to(keep.device).bool()
        return torch.log(torch.where(own, keep + other, other))
