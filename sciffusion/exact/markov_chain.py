r"""Markov chains of tokens: sequences whose posteriors under noise are known exactly.

A chain has an initial law :math:`\pi` and transition rows A. For any process that corrupts sites by
themselves, noisy tokens make a hidden Markov model with emissions :math:`e_l(k) = q_t(x_t^l \mid k)`, and the
forward-backward recursions give both laws of the clean token of a site: with forward messages
:math:`f_l(k) = \sum_j f_{l-1}(j) e_{l-1}(j) A_{jk}` and backward messages b likewise,

.. math:: Q_l(k) \propto f_l(k)\, b_l(k), \qquad D_l(k) \propto f_l(k)\, e_l(k)\, b_l(k).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete import DiscretePrediction, DiscreteProcess, NoisyTokens, TokenKind, draw_categorical

__all__ = ["ExactTokenDenoiser", "MarkovChainOracle"]


class MarkovChainOracle:
    """A Markov chain of tokens with exact posteriors under any process.

    Parameters
    ----------
    initial : Tensor of shape ``(vocab_size,)``
        Law of the first token; normalised here.
    transition : Tensor of shape ``(vocab_size, vocab_size)``
        Law of the next token for each token, rows normalised here.
    length : int
        Number of sites.

    Raises
    ------
    ValueError
        For shapes that do not fit, negative or vanishing rows, or a length below 1.
    """

    def __init__(self, initial: Tensor, transition: Tensor, length: int) -> None:
        initial, transition = initial.double(), transition.double()
        vocab_size = initial.shape[0]
        if initial.ndim != 1 or transition.shape != (vocab_size, vocab_size):
            raise ValueError(
                "expected an initial law of shape (k,) and transitions of shape (k, k), got "
                f"{tuple(initial.shape)} and {tuple(transition.shape)}"
            )
        rows = torch.cat([initial[None], transition])
        if not bool((rows >= 0.0).all()) or not bool((rows.sum(-1) > 0.0).all()):
            raise ValueError("initial and transition must hold non-negative rows that do not vanish")
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.initial = initial / initial.sum()
        self.transition = transition / transition.sum(-1, keepdim=True)
        self.vocab_size, self.length = vocab_size, length

    @classmethod
    def bench_a(cls) -> MarkovChainOracle:
        """Return the small chain of the benchmarks: 3 tokens, 4 sites, entropy 3.2814 nats."""
        initial = torch.tensor([0.482398, 0.080105, 0.437497], dtype=torch.float64)
        rows = [
            [0.782831, 0.125573, 0.091596],
            [0.283068, 0.232929, 0.484003],
            [0.614413, 0.180657, 0.204931],
        ]
        return cls(initial, torch.tensor(rows, dtype=torch.float64), 4)

    @classmethod
    def random(cls, vocab_size: int, length: int, generator: torch.Generator) -> MarkovChainOracle:
        """Return a chain with rows of Gamma(0.3) draws plus .02, normalised; initial Gamma(1) plus .05."""
        shape = torch.full((vocab_size, vocab_size), 0.3, dtype=torch.float64)
        rows = torch._standard_gamma(shape, generator=generator) + 0.02
        first = torch._standard_gamma(torch.ones(vocab_size, dtype=torch.float64), generator=generator)
        return cls(first + 0.05, rows, length)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw sequences, int64 of shape ``(count, length)``."""
        tokens = [draw_categorical(torch.log(self.initial).expand(count, -1), generator)]
        for _ in range(self.length - 1):
            tokens.append(draw_categorical(torch.log(self.transition)[tokens[-1]], generator))
        return torch.stack(tokens, dim=1)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return the log probability of sequences of shape ``(..., length)``."""
        steps = torch.log(self.transition)[tokens[..., :-1], tokens[..., 1:]].sum(-1)
        return torch.log(self.initial)[tokens[..., 0]] + steps

    def entropy(self) -> float:
        """Return the entropy of a sequence in nats."""
        law, total = self.initial, -torch.xlogy(self.initial, self.initial).sum()
        row = -torch.xlogy(self.transition, self.transition).sum(-1)
        for _ in range(self.length - 1):
            total = total + law @ row
            law = law @ self.transition
        return float(total)

    def messages(self, emission: Tensor) -> tuple[Tensor, Tensor]:
        """Return forward and backward messages, normalised, that leave a site's own emission out.

        Parameters
        ----------
        emission : Tensor of shape ``(..., length, vocab_size)``
            Likelihood of what is seen at each site under every clean token.
        """
        forward = [self.initial.expand((*emission.shape[:-2], self.vocab_size))]
        backward = [torch.ones_like(forward[0])]
        for site in range(self.length - 1):
            message = (forward[-1] * emission[..., site, :]) @ self.transition
            forward.append(message / message.sum(-1, keepdim=True))
            message = (backward[-1] * emission[..., self.length - 1 - site, :]) @ self.transition.T
            backward.append(message / message.sum(-1, keepdim=True))
        return torch.stack(forward, dim=-2), torch.stack(backward[::-1], dim=-2)

    def predict(self, process: DiscreteProcess, state: NoisyTokens, kind: TokenKind) -> DiscretePrediction:
        """Return the exact law of every clean token given the noisy ones."""
        own = process.emission_log_likelihood(state)
        emission = torch.exp(own - own.amax(-1, keepdim=True))
        forward, backward = self.messages(emission)
        clean = forward * backward
        if kind == "denoiser":
            clean = clean * emission
        return DiscretePrediction(torch.log(clean / clean.sum(-1, keepdim=True)), kind)

    def denoiser(self, process: DiscreteProcess, kind: TokenKind = "loo") -> ExactTokenDenoiser:
        """Return the exact denoiser for a process."""
        return ExactTokenDenoiser(self, process, kind)


class ExactTokenDenoiser:
    """The denoiser of a law of tokens that is known exactly.

    Parameters
    ----------
    oracle : MarkovChainOracle
        The law.
    process : DiscreteProcess
        What makes the noise.
    kind : {"loo", "denoiser"}
        Which of its laws it answers with.
    """

    def __init__(self, oracle: MarkovChainOracle, process: DiscreteProcess, kind: TokenKind) -> None:
        if process.vocab_size != oracle.vocab_size:
            raise ValueError(
                f"the process has {process.vocab_size} clean tokens and the chain {oracle.vocab_size}"
            )
        self.oracle, self.process, self.kind = oracle, process, kind

    @property
    def path(self) -> DiscreteProcess:
        """The process."""
        return self.process

    def __call__(self, state: NoisyTokens, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        """Predict exactly; there is no condition to give."""
        return self.oracle.predict(self.process, state, self.kind)
