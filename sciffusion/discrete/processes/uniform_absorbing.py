r"""Uniform noise in absorbing form: the noise of every site is drawn once, and remembered.

Each site has a token u, uniform, and keeps its clean token with probability :math:`a_t`:
:math:`x_t = x_0` or :math:`x_t = u`. Noisy tokens by themselves have the law of `Uniform`; with u beside
them, in ``aux={"noise": u}``, the process is one of masking whose mask is u:

.. math:: q_t(x_t \mid k, u) = a_t\,1[x_t = k] + (1 - a_t)\,1[x_t = u].

A token that differs from its noise is certainly clean. One that equals it is noise, or is clean and equals u
by coincidence: the clean token u makes it certain and every other one has probability :math:`1 - a_t`.

Given clean and noisy tokens, the noise has the law

.. math:: p(u \mid x_0, x_t) = 1[u = x_t] \text{ for } x_t \ne x_0, \qquad
   p(u = x_t \mid x_0, x_t) = \frac{1}{1 + (K - 1)\,a_t} \text{ for } x_t = x_0,

and is uniform over the other tokens else; solvers that draw it anew may so change a token they have
revealed (`RenewedNoise`).

Gourevitch et al., *Uniform Diffusion Models Revisited: Leave-One-Out Denoiser and Absorbing State
Reformulation*, arXiv 2605.22765.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens
from sciffusion.discrete.process import Corrupted, DiscreteProcess, site_times
from sciffusion.discrete.processes.uniform import Uniform
from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule

__all__ = ["UniformAbsorbing"]


@dataclass(frozen=True)
class UniformAbsorbing(DiscreteProcess):
    """Uniform corruption that remembers its noise.

    States carry ``aux={"noise": u}``; one at time 1 may come without it, since there u is the token.

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

    @property
    def marginal(self) -> Uniform:
        """The process of the noisy tokens alone, their noise forgotten."""
        return Uniform(self.vocab_size, self.schedule)

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw uniform tokens; they are their own noise."""
        return self.marginal.draw_prior(shape, generator, t, dtype, device)

    def starting_aux(self, x: Tensor, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the prior's tokens as the noise."""
        return {"noise": x}

    def corrupt(
        self, x0: Tensor, t: Tensor, generator: torch.Generator, known: Tensor | None = None
    ) -> Corrupted:
        """Replace tokens by their noise with probability ``1 - a`` (see `DiscreteProcess.corrupt`)."""
        keep = self.schedule.keep(site_times(t, x0))
        kept = torch.rand(x0.shape, generator=generator, dtype=torch.float64, device=generator.device)
        noise = self.draw_prior(tuple(x0.shape), generator, device=x0.device)
        x = torch.where((kept.to(keep.device) < keep).to(x0.device), x0, noise)
        return Corrupted(*self._with_known(x, x0, t, known), {"noise": noise})

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return ``log q_t(x_t | k, u)`` for every k."""
        return self._likelihood(state, self.schedule.keep(site_times(state.t, state.x)))

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Return the law of noisy tokens whose noise is not known, that of `Uniform`."""
        return self.marginal.push(probabilities, t)

    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return ``log q_{t|s}(x_t | y, u)`` for every y."""
        late = self.schedule.keep(site_times(state.t, state.x))
        early = self.schedule.keep(site_times(s, state.x))
        return self._likelihood(state, torch.where(early > 0.0, late / early.clamp_min(1e-300), 1.0))

    def reverse_log_probabilities(
        self, prediction: DiscretePrediction, state: NoisyTokens, s: Tensor
    ) -> Tensor:
        """Return the law of each site at time ``s`` with its noise as it is."""
        noise = self.noise_of(state)
        clean = prediction.to("loo", self, state).probabilities
        keep = self.schedule.keep(site_times(s, state.x))[..., None].to(clean.device)
        earlier = keep * clean + (1.0 - keep) * self._one_hot(noise, clean)
        return torch.log_softmax(self.transition_log_likelihood(state, s) + torch.log(earlier), -1)

    def noise_log_probabilities(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the log law of the noise given clean and noisy tokens.

        Parameters
        ----------
        x0, x : Tensor of int64
            Clean tokens and the noisy ones at times ``t``.
        t : Tensor
            Times, of a shape that is a prefix of theirs.

        Returns
        -------
        Tensor of shape ``(..., vocab_size)``
            Normalised, float64.
        """
        keep = self.schedule.keep(site_times(t, x)).expand(x.shape)[..., None]
        own = self._one_hot(x, keep).bool()
        coincidence = torch.where((x == x0)[..., None].to(keep.device), keep, 0.0)
        return torch.log(torch.where(own, 1.0, coincidence) / (1.0 + (self.vocab_size - 1) * coincidence))

    def noise_of(self, state: NoisyTokens) -> Tensor:
        """Return the noise of a state.

        Raises
        ------
        ValueError
            If the state lies between data and noise and does not carry it.
        """
        if state.aux is not None and "noise" in state.aux:
            return state.aux["noise"]
        times = state.t
        if bool(((times > 0.0) & (times < 1.0)).any()):
            raise ValueError(
                'between times 0 and 1 states of UniformAbsorbing carry aux={"noise": u}, and this one does '
                "not; start with State(x, aux=process.starting_aux(x, generator)), or use the solver "
                "RenewedNoise, which keeps it"
            )
        return state.x

    def _one_hot(self, tokens: Tensor, like: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(tokens.long(), self.vocab_size).to(like)

    def _likelihood(self, state: NoisyTokens, keep: Tensor) -> Tensor:
        """Return the log of ``keep 1[x = y] + (1 - keep) 1[x = u]`` for every y."""
        keep = keep.expand(state.x.shape)[..., None]
        noisy = (state.x == self.noise_of(state)).to(keep.device)[..., None]
        return torch.log(keep * self._one_hot(state.x, keep) + torch.where(noisy, 1.0 - keep, 0.0))
