r"""Pure death: the individuals of a count vanish one by one, until none is left.

Each of the :math:`n_0` individuals survives until t with probability :math:`a_t`:

.. math:: q_t(n \mid n_0) = \binom{n_0}{n} a_t^n (1 - a_t)^{n_0 - n}, \qquad
   q_{t|s}(n \mid m) = \binom{m}{n} \Bigl(\frac{a_t}{a_s}\Bigr)^n \Bigl(1 - \frac{a_t}{a_s}\Bigr)^{m - n}.

Noise is the empty state, and the reverse process is one of births: given :math:`n_0`, each of the
:math:`n_0 - n_t` that are missing returns until s with probability :math:`(a_s - a_t) / (1 - a_t)`, and
births occur at the rate :math:`(n_0 - n)\,a / (1 - a)` per unit of :math:`\tau = -\log a`. A network
therefore needs to know how many are missing: their law (a `DiscretePrediction` over clean counts) or their
mean (`MissingMean`).

Santos et al., *Blackout Diffusion: Generative Diffusion Models in Discrete-State Spaces*, arXiv 2305.11089,
whose clock is :math:`p_t = e^{-t}` on :math:`[0, \infty)`; here it is any schedule's :math:`a_t` on [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens
from sciffusion.discrete.process import Corrupted, DiscreteProcess, site_times
from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule, wide

__all__ = ["MissingMean", "PureDeath", "draw_binomial", "missing_mean"]


@dataclass(frozen=True, eq=False)
class MissingMean:
    """The prediction of a mean alone.

    Parameters
    ----------
    mean : Tensor
        Expected number that is missing from every count given the noisy counts, positive.
    """

    mean: Tensor


def missing_mean(prediction: Any, process: Any, state: NoisyTokens) -> Tensor:
    """Return how many individuals of every count are expected to be missing.

    Parameters
    ----------
    prediction : DiscretePrediction or MissingMean
        A law of clean counts or the mean itself; differentiable in the precision of its tensor.
    process, state : PureDeath, NoisyTokens
        What made the noise, and the noisy counts.
    """
    if isinstance(prediction, MissingMean):
        return prediction.mean
    logits = prediction.logits
    if prediction.kind == "loo":
        logits = logits + process.emission_log_likelihood(state).to(logits.device, logits.dtype)
    missing = torch.arange(logits.shape[-1], device=logits.device) - state.x.to(logits.device)[..., None]
    law = torch.softmax(torch.where(missing < 0, -torch.inf, logits), -1)
    return (law * missing.clamp_min(0)).sum(-1)


def draw_binomial(count: Tensor, probability: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how many of ``count`` succeed, int64 on the device of ``count``."""
    probability = probability.to(generator.device).double().clamp(0.0, 1.0)
    trials = count.to(generator.device).double() + torch.zeros_like(probability)
    drawn = torch.binomial(trials, probability + torch.zeros_like(trials), generator=generator)
    return drawn.round().long()


@dataclass(frozen=True)
class PureDeath(DiscreteProcess):
    """Binomial thinning of counts.

    Parameters
    ----------
    largest : int
        Largest clean count, at least 1; "tokens" are the counts 0 .. ``largest``.
    schedule : KeepSchedule
        The clock; linear by default, for which t is the share of individuals that have vanished.
    """

    largest: int
    schedule: KeepSchedule = LinearSchedule()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.largest < 1:
            raise ValueError(f"largest must be at least 1, got {self.largest}")

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """Number of possible clean counts."""
        return self.largest + 1

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """As many noisy counts as clean ones."""
        return self.largest + 1

    @property
    def rates(self) -> Tensor:
        """Rates per unit of ``-log a`` of counts (rows) becoming others: n to n - 1 at rate n."""
        return torch.diag(torch.arange(1, self.vocab_size, dtype=torch.float64), -1)

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return zeros."""
        return torch.zeros(shape, dtype=torch.int64, device=device)

    def corrupt(
        self, x0: Tensor, t: Tensor, generator: torch.Generator, known: Tensor | None = None
    ) -> Corrupted:
        """Let every individual survive with probability ``a`` (see `DiscreteProcess.corrupt`)."""
        keep = self.schedule.keep(site_times(t, x0))
        return Corrupted(*self._with_known(draw_binomial(x0, keep, generator).to(x0), x0, t, known))

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return ``log q_t(n_t | k)`` for every k."""
        keep = self.schedule.keep(site_times(state.t, state.x)).expand(state.x.shape)
        return self._survival(state.x.to(keep.device), keep)

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Return the law of noisy counts for a law of clean ones."""
        law = wide(probabilities)
        keep = self.schedule.keep(site_times(t, law[..., 0])).to(law.device)
        counts = torch.arange(self.state_size, device=keep.device)
        if keep.numel() == 1:
            return law @ torch.exp(self._survival(counts, keep.reshape(1))).T
        # A table is large and times are few where some counts are given: one table for each distinct time.
        distinct, which = torch.unique(keep.expand(law.shape[:-1]), return_inverse=True)
        result = torch.empty_like(law)
        for place, value in enumerate(distinct):
            result[which == place] = law[which == place] @ torch.exp(self._survival(counts, value[None])).T
        return result

    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return ``log q_{t|s}(n_t | m)`` for every m."""
        late = self.schedule.keep(site_times(state.t, state.x))
        early = self.schedule.keep(site_times(s, state.x))
        ratio = torch.where(early > 0.0, late / early.clamp_min(1e-300), 1.0).expand(state.x.shape)
        return self._survival(state.x.to(ratio.device), ratio)

    def birth_probability(self, t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        """Return the probability that an individual missing at ``t`` is back at ``s``.

        Parameters
        ----------
        t, s : Tensor
            Times, s not after t, of shapes that are prefixes of that of ``x``.
        x : Tensor
            Counts, for their shape.
        """
        late, early = (self.schedule.keep(site_times(time, x)) for time in (t, s))
        return ((early - late) / (1.0 - late).clamp_min(1e-300)).clamp(0.0, 1.0)

    def reverse_log_probabilities(
        self, prediction: DiscretePrediction, state: NoisyTokens, s: Tensor
    ) -> Tensor:
        """Return the law of each site's count at time ``s``; a mean says too little (see `Births`)."""
        if isinstance(prediction, MissingMean):
            raise TypeError("a mean gives no law of counts; use the solver Births with a step by the mean")
        return super().reverse_log_probabilities(prediction, state, s)

    def _survival(self, survivors: Tensor, keep: Tensor) -> Tensor:
        """Return the log probability of ``survivors`` out of every count, of shape ``(..., vocab_size)``."""
        n, keep = survivors.long()[..., None], keep[..., None]
        k = torch.arange(self.vocab_size, device=keep.device)
        lost = (k - n).clamp_min(0)
        log_factorial = torch.lgamma(k.double() + 1.0)  # looked up, which is several times faster
        ways = log_factorial - log_factorial[n] - log_factorial[lost]
        # 0 log 0 is 0; the logarithm is one a site, not one a count.
        gone = torch.where(lost > 0, lost * torch.log(1.0 - keep), 0.0)
        log = ways + torch.xlogy(n, keep) + gone
        return torch.where(k >= n, log, -torch.inf)
