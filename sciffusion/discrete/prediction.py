r"""Typed predictions of clean tokens.

At a site l with noisy token :math:`x_t^l` a network may speak of two different laws of the clean token:

- ``"loo"`` (leave one out): :math:`Q_l(k) = p(x_0^l = k \mid x_t^{-l})`, which does not look at the site's
  own noisy token;
- ``"denoiser"``: :math:`D_l(k) = p(x_0^l = k \mid x_t) \propto Q_l(k)\, q_t(x_t^l \mid k)`.

Each has its place in the formulas, and putting one where the other belongs gives samplers whose error does
not vanish however many steps they make. So the kind is part of the value, and conversions need the process
and the noisy state.

The law that a reverse step draws from follows from the first kind,

.. math:: p(x_s^l = y \mid x_t) \propto q_{t|s}(x_t^l \mid y) \sum_k Q_l(k)\, q_s(y \mid k), \qquad s < t,

which is the exact law of one site; solvers ask a prediction for it, so guidance may answer with another.

Gourevitch et al., *Uniform Diffusion Models Revisited: Leave-One-Out Denoiser and Absorbing State
Reformulation*, arXiv 2605.22765 (the distinction for uniform noise; the formulas above hold for every
process that corrupts sites independently).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from sciffusion.discrete.schedules import wide

__all__ = ["DiscretePrediction", "NoisyTokens", "TokenKind"]

TokenKind = Literal["loo", "denoiser"]


class NoisyTokens(Protocol):
    """The part of a sampling state that a discrete process reads."""

    @property
    def x(self) -> Tensor:
        """Noisy tokens or counts, integers."""
        ...

    @property
    def t(self) -> Tensor:
        """Times, of a shape that is a prefix of that of ``x``."""
        ...

    @property
    def aux(self) -> Mapping[str, Tensor] | None:
        """What a process remembers of its noise beside the tokens, by name."""
        ...


class _Process(Protocol):
    """The part of a `DiscreteProcess` that predictions need."""

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor: ...

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor: ...

    def reverse_log_probabilities(
        self, prediction: DiscretePrediction, state: NoisyTokens, s: Tensor
    ) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class DiscretePrediction:
    """Laws of the clean token of every site, with the knowledge of what they are conditioned on.

    Parameters
    ----------
    logits : Tensor of shape ``(..., vocab_size)``
        Log probabilities up to a constant a site.
    kind : {"loo", "denoiser"}
        See the module's equations.
    """

    logits: Tensor
    kind: TokenKind

    def __post_init__(self) -> None:
        if self.kind not in get_args(TokenKind):
            raise ValueError(f"kind must be one of {get_args(TokenKind)}, got {self.kind!r}")

    @property
    def log_probabilities(self) -> Tensor:
        """Normalised log probabilities, float64."""
        return torch.log_softmax(wide(self.logits), -1)

    @property
    def probabilities(self) -> Tensor:
        """Probabilities, float64."""
        return torch.softmax(wide(self.logits), -1)

    def to(self, kind: TokenKind, process: _Process, state: NoisyTokens) -> DiscretePrediction:
        """Return the same prediction as the other kind of law.

        Parameters
        ----------
        kind : {"loo", "denoiser"}
            The kind wanted.
        process : DiscreteProcess
            What made the noise.
        state : NoisyTokens
            The noisy tokens for which the prediction was made.

        Returns
        -------
        DiscretePrediction
            Normalised, in float64; itself if it is of that kind already. Where the noisy token rules a clean
            one out, the denoiser cannot tell how likely the others alone make it, and the leave-one-out law
            is given without it: every formula multiplies it by that zero again.
        """
        if kind == self.kind:
            return self
        own = process.emission_log_likelihood(state)
        if kind == "denoiser":
            logits = self.log_probabilities + own
        else:
            logits = torch.where(own == -torch.inf, -torch.inf, self.log_probabilities - own)
        return DiscretePrediction(torch.log_softmax(logits, -1), kind)

    def reverse_log_probabilities(self, process: _Process, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return the log law of each site's token at an earlier time, given the noisy tokens.

        Parameters
        ----------
        process : DiscreteProcess
            What made the noise.
        state : NoisyTokens
            The noisy tokens at times ``state.t``.
        s : Tensor
            Times not after ``state.t``.

        Returns
        -------
        Tensor of shape ``(..., state_size)``
            Normalised, float64.
        """
        return process.reverse_log_probabilities(self, state, s)

    def noisy_conditional(self, process: _Process, state: NoisyTokens) -> Tensor:
        r"""Return :math:`\log p_t(x_t^l = y \mid x_t^{-l})`, what a Gibbs move draws from.

        Returns
        -------
        Tensor of shape ``(..., state_size)``
            Normalised, float64.
        """
        clean = self.to("loo", process, state).probabilities
        return torch.log(process.push(clean, state.t))

    def log_score(self, process: _Process, state: NoisyTokens) -> Tensor:
        """Return the log concrete score: the noisy conditional of every token over the present one's."""
        conditional = self.noisy_conditional(process, state)
        return conditional - conditional.gather(-1, state.x[..., None].long())
