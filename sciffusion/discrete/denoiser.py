"""Denoisers of tokens: from noisy tokens to a typed prediction of the clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens, TokenKind
from sciffusion.discrete.process import DiscreteProcess, site_times

__all__ = ["DiscreteDenoiser", "NetworkTokenDenoiser", "revealed"]


class DiscreteDenoiser(Protocol):
    """Anything that predicts the clean tokens of a noisy state of a known process."""

    @property
    def path(self) -> DiscreteProcess:
        """The process whose states it denoises; the driver calls both kinds of them `path`."""
        ...

    def __call__(self, state: NoisyTokens, condition: Any = None, cache: Any = None) -> Any:
        """Predict for ``state.x`` at times ``state.t``, given a condition of the denoiser's own form."""
        ...


def revealed(logits: Tensor, state: NoisyTokens, process: DiscreteProcess) -> Tensor:
    """Return denoiser logits with certainty at the sites whose noisy token rules out every other one.

    Parameters
    ----------
    logits : Tensor of shape ``(..., vocab_size)``
    state : NoisyTokens
    process : DiscreteProcess
    """
    own = process.emission_log_likelihood(state).to(logits.device)
    certain = (own > -torch.inf).sum(-1, keepdim=True) == 1
    return torch.where(certain, torch.where(own > -torch.inf, 0.0, -torch.inf).to(logits.dtype), logits)


class NetworkTokenDenoiser:
    """A network as the denoiser of a process.

    Parameters
    ----------
    network : Module
        Called as ``network(tokens, times, condition)``, and with ``aux=`` and ``cache=`` where there are any:
        tokens are int64 of shape ``(items, sites)``, times float32 of the same shape; returns logits of shape
        ``(items, sites, vocab_size)``.
    process : DiscreteProcess
        What makes the noise.
    kind : {"loo", "denoiser"}
        What the logits mean. With "denoiser", sites that are certainly clean are answered without the
        network (carried over).
    """

    def __init__(self, network: nn.Module, process: DiscreteProcess, kind: TokenKind) -> None:
        self.network, self.process, self.kind = network, process, kind

    @property
    def path(self) -> DiscreteProcess:
        """The process."""
        return self.process

    def __call__(self, state: NoisyTokens, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        """Predict the clean tokens."""
        times = site_times(state.t, state.x).expand(state.x.shape)
        given: dict[str, Any] = {}
        if isinstance(state.aux, Mapping):
            given["aux"] = state.aux
        if cache is not None:
            given["cache"] = cache
        times = times.to(state.x.device, torch.float32)
        logits: Tensor = self.network(state.x, times, condition, **given)
        if self.kind == "denoiser":
            logits = revealed(logits, state, self.process)
        return DiscretePrediction(logits, self.kind)
