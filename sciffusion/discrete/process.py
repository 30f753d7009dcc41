r"""Discrete processes: how tokens or counts turn into noise, site by site.

A process corrupts every site independently of the others, by a kernel :math:`q_t(y \mid k)` from a clean
token k to a noisy one y that depends on time through the schedule's :math:`a_t` (see `schedules`). It is
given by five functions:

- `draw_prior`: noise at time 1, which knows nothing of the data;
- `corrupt`: noisy tokens for clean ones;
- `emission_log_likelihood`: :math:`\log q_t(x_t \mid k)` of the noisy token, for every clean token k;
- `push`: :math:`\sum_k p(k)\, q_t(y \mid k)` for every noisy token y;
- `transition_log_likelihood`: :math:`\log q_{t|s}(x_t \mid y)` of the noisy token, for every earlier one y.

Every predictor, corrector, score and bound follows from these (`prediction`, `objective`, `solvers`).
Clean tokens are 0 .. ``vocab_size`` - 1; noisy ones 0 .. ``state_size`` - 1, which may be more.

Times may be a scalar, one value an item, or one a site; a site at time 0 holds its clean token and stays as
it is, which is how given tokens are kept in infilling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens
from sciffusion.discrete.schedules import KeepSchedule, wide

__all__ = ["Corrupted", "DiscreteProcess", "site_times"]


class Corrupted(NamedTuple):
    """Noisy tokens with their times; a state as far as processes and denoisers read it."""

    x: Tensor
    t: Tensor
    aux: Mapping[str, Tensor] | None = None


def site_times(t: Tensor | float, x: Tensor) -> Tensor:
    """Return times in float64 with axes appended until they broadcast against the sites of ``x``.

    On the device of ``x``, whose laws they meet, wherever the times of a grid lie; on the CPU where that
    device does not know float64.

    Parameters
    ----------
    t : Tensor or float
        Times, of a shape that is a prefix of that of ``x``.
    x : Tensor
        Values of the sites.
    """
    t = wide(t)
    if t.ndim > x.ndim:
        raise ValueError(f"times of shape {tuple(t.shape)} do not fit sites of shape {tuple(x.shape)}")
    device = torch.device("cpu") if x.device.type == "mps" else x.device
    return t.to(device).reshape(t.shape + (1,) * (x.ndim - t.ndim))


class DiscreteProcess(ABC):
    """Markov corruption of single sites.

    Attributes
    ----------
    vocab_size : int
        Number of clean tokens.
    state_size : int
        Number of noisy tokens.
    schedule : KeepSchedule
        The clock.
    mask_token : int or None
        The noisy token that is no clean one, where there is one.
    """

    vocab_size: int
    state_size: int
    schedule: KeepSchedule
    mask_token: int | None = None

    @property
    def name(self) -> str:
        """What messages call the process, also where a run has wrapped it."""
        return type(self).__name__

    @abstractmethod
    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw noise, int64 of shape ``shape``; ``t`` must be 1 and ``dtype`` is not used."""

    @abstractmethod
    def corrupt(
        self,
        x0: Tensor,
        t: Tensor,
        generator: torch.Generator,
        known: Tensor | None = None,
    ) -> Corrupted:
        """Draw noisy tokens for clean ones.

        Parameters
        ----------
        x0 : Tensor of int64
            Clean tokens.
        t : Tensor
            Times, of a shape that is a prefix of that of ``x0``.
        generator : torch.Generator
            Source of randomness.
        known : Tensor of bool, optional
            Sites that stay clean, at time 0.

        Returns
        -------
        Corrupted
            Its times have one value a site where sites are known, and are ``t`` otherwise.
        """

    @abstractmethod
    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return the log likelihood of each noisy token under every clean one, ``(..., vocab_size)``."""

    @abstractmethod
    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Return the law of noisy tokens, ``(..., state_size)``, for a law of clean ones."""

    @abstractmethod
    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return the log likelihood of each noisy token under those at time ``s``, ``(..., state_size)``."""

    def reverse_log_probabilities(
        self, prediction: DiscretePrediction, state: NoisyTokens, s: Tensor
    ) -> Tensor:
        """Return the law of each site at time ``s`` (see `DiscretePrediction.reverse_log_probabilities`)."""
        clean = prediction.to("loo", self, state).probabilities
        logits = self.transition_log_likelihood(state, s) + torch.log(self.push(clean, s))
        return torch.log_softmax(logits, -1)

    def starting_aux(self, x: Tensor, generator: torch.Generator) -> Mapping[str, Tensor] | None:
        """Return what a state that starts from prior tokens ``x`` carries along; None for most processes."""
        return None

    def _with_known(self, x: Tensor, x0: Tensor, t: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
        """Put clean tokens back at known sites and set their times to 0."""
        if known is None:
            return x, t
        known = known.reshape(known.shape + (1,) * (x0.ndim - known.ndim)).expand(x0.shape)
        times = site_times(t, x0).expand(x0.shape)
        return torch.where(known, x0, x), torch.where(known, 0.0, times.to(known.device))
