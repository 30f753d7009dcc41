r"""Objectives of counts under `PureDeath`.

With y the predicted and d the true number of missing individuals, the divergence of the two birth processes
per unit of time is

.. math:: \frac{-\dot a}{1 - a} \Bigl[ y - d + d \log\frac{d}{y} \Bigr],

which is `DeathELBO`. `BlackoutLoss` is the same without :math:`1/(1 - a)`, the weight that its authors train
with: it has the same minimiser, the posterior mean, and is no bound. A law of counts can be trained by
`DenoiserCrossEntropy` instead, and `DeathELBO` of its mean is its bound.

Santos et al., *Blackout Diffusion: Generative Diffusion Models in Discrete-State Spaces*, arXiv 2305.11089;
the strict weight is derived for this library.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.objective import DiscreteObjective, clock
from sciffusion.discrete.prediction import NoisyTokens
from sciffusion.discrete.processes.pure_death import missing_mean

__all__ = ["BlackoutLoss", "DeathELBO"]


def _divergence(prediction: Any, process: Any, state: NoisyTokens, x0: Tensor) -> Tensor:
    """Return ``y - d + d log(d / y)``."""
    if not hasattr(process, "birth_probability"):
        raise TypeError(f"this objective needs counts under PureDeath, got {process}")
    mean = missing_mean(prediction, process, state)
    true = (x0 - state.x).to(mean.device, mean.dtype)
    positive = torch.finfo(mean.dtype).tiny
    return mean - true + torch.xlogy(true, true) - true * torch.log(mean.clamp_min(positive))


class DeathELBO(DiscreteObjective):
    """The bound for counts; with the exact posterior its integral is the entropy."""

    is_bound = True

    def site_loss(self, prediction: Any, process: Any, state: NoisyTokens, x0: Tensor) -> Tensor:
        """Return the loss of every site, for a law of counts or a `MissingMean`."""
        loss = _divergence(prediction, process, state, x0)
        _, lost, fall = clock(process, state, loss)
        return loss * (fall / lost)


class BlackoutLoss(DiscreteObjective):
    """The published training loss of means, weighted by ``-da/dt``; not a bound."""

    def site_loss(self, prediction: Any, process: Any, state: NoisyTokens, x0: Tensor) -> Tensor:
        """Return the loss of every site, for a law of counts or a `MissingMean`."""
        loss = _divergence(prediction, process, state, x0)
        _, _, fall = clock(process, state, loss)
        return loss * fall
