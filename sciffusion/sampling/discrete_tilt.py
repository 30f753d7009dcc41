r"""Feynman-Kac tilts of discrete processes, with weights (experimental).

Let :math:`w_t(x) > 0` be a weight of noisy tokens, and the target at every time the noisy law of the model
times it, :math:`\pi_t \propto p_t w_t`; at time 0 that is the model tilted by :math:`w_0`. In reverse time
:math:`\tau = -t` with the model's rates R, particles that jump by

.. math:: R'(x \to y) = R(x \to y)\,\frac{w(y)}{w(x)}

follow the targets exactly when they gather the log weight

.. math:: \frac{d \log W}{d\tau} = \frac{d}{d\tau} \log w_t(x)
   + \sum_{y \ne x} R(x \to y) \Bigl(\frac{w(y)}{w(x)} - 1\Bigr),

which is constant exactly if w is the model's own expectation of its last value (Doob's transform). Steps of
finite size draw from laws q that are the model's laws p tilted site by site, and the weight

.. math:: \log W \mathrel{+}= \log w_s(x_s) - \log w_t(x_t) + \log p(x_s \mid x_t) - \log q(x_s \mid x_t)

makes up for everything that q neglects: weighted samples follow *the sampler's law times* :math:`w_0`, on any
grid and for any w on the way. The weights' increment of a small step is the formula above times its length.

The derivation for discrete processes is a construction of this library, after the Feynman-Kac correctors of
continuous ones (Skreta et al., arXiv 2503.02819); neighbours for masks: Hasan et al., *Discrete Feynman-Kac
Correctors*, arXiv 2601.10403.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciffusion.sampling.discrete_steering import transition_log_probability
from sciffusion.sampling.guidance.discrete_classifier import (
    ClassifierMode,
    DiscreteClassifier,
    LogClassifier,
    checked_log_weights,
    times_of_sites,
)
from sciffusion.sampling.guidance.transition import TiltedTransition
from sciffusion.sampling.smc import ParticleRun, Particles, ParticleStep
from sciffusion.sampling.state import State

__all__ = ["DiscreteTilt", "log_weight_rate", "tilted_rates"]


def tilted_rates(rates: Tensor, log_weights: Tensor) -> Tensor:
    """Return the rates of the tilted jumps.

    Parameters
    ----------
    rates : Tensor of shape ``(..., states, states)``
        Rates from the row's state to the column's; the diagonal is not read.
    log_weights : Tensor of shape ``(..., states)``
        Log weights of the states at the present time.

    Returns
    -------
    Tensor
        With a diagonal that makes every row add up to 0.
    """
    ratio = torch.exp(log_weights[..., None, :] - log_weights[..., :, None])
    jumps = rates * ratio * (1.0 - torch.eye(rates.shape[-1], dtype=rates.dtype, device=rates.device))
    return jumps - torch.diag_embed(jumps.sum(-1))


def log_weight_rate(rates: Tensor, log_weights: Tensor, log_weight_slopes: Tensor) -> Tensor:
    """Return the rate at which the log weight of a particle grows in each state.

    Parameters
    ----------
    rates, log_weights
        See `tilted_rates`.
    log_weight_slopes : Tensor of shape ``(..., states)``
        Derivatives of the log weights in reverse time.

    Returns
    -------
    Tensor of shape ``(..., states)``
        The module's second equation.
    """
    ratio = torch.exp(log_weights[..., None, :] - log_weights[..., :, None]) - 1.0
    return log_weight_slopes + (rates * ratio).sum(-1)


class DiscreteTilt(Particles):
    r"""Particles whose weighted samples follow the sampler's law times a weight (experimental).

    Parameters
    ----------
    log_tilt : callable
        :math:`\log w_t(x)` from noisy tokens, int64 of shape ``(items, sites)``, and times, float64 of the
        same shape, to log weights ``(items,)``, ``-inf`` for what is refused. At time 0 it is the tilt of the
        samples; elsewhere any guess of what will become of the noisy tokens, the better the more even the
        weights. There it must be finite wherever samples of weight can come from: what it refuses on the way
        is not reached any more.
    count : int
        Particles a system.
    threshold : float, default 0.5
        Resample below this fraction of effective particles.

    Raises
    ------
    TypeError
        If the tilt is no function, or returns no tensor.
    ValueError
        For settings outside their range; in a run for tilts of a wrong shape, NaN or +inf, and for solvers
        that do not draw every site from one prediction.

    Notes
    -----
    Give `proposal` as the outermost guidance of the run. Other guidance beneath it belongs to the law that is
    tilted; without any, particles move as the sampler does and only the weights know of the tilt. The
    proposal and the weights cost no evaluations of the denoiser beyond those of the run.
    """

    def __init__(self, log_tilt: LogClassifier, count: int, *, threshold: float = 0.5) -> None:
        super().__init__(count, threshold)
        if not callable(log_tilt):
            raise TypeError(f"log_tilt must be a function, got {type(log_tilt).__name__}")
        self.log_tilt = log_tilt

    def proposal(
        self,
        mode: ClassifierMode = "exact",
        chunk: int = 8192,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> DiscreteClassifier:
        """Return the guidance that proposes steps (see `DiscreteClassifier` for the parameters)."""
        return DiscreteClassifier(self.log_tilt, mode, scale, chunk, dtype)

    def begin(self, state: State) -> ParticleRun:
        """Return the particles of a run (see `Particles.begin`), weighed by the tilt of the start."""
        return _TiltRun(self, state)


class _TiltRun(ParticleRun):
    """Remembers the tilt that each particle has been paid for."""

    def __init__(self, settings: DiscreteTilt, state: State) -> None:
        super().__init__(state, settings.count, settings.threshold)
        self._settings = settings
        self._tilt = self._log_tilt(state)
        self.systems.update(self._tilt)

    def reorder(self, indices: Tensor) -> None:
        self._tilt = self._tilt[indices.to(self._tilt.device)]

    def log_increments(self, step: ParticleStep) -> Tensor:
        tilt = self._log_tilt(step.after)
        # A particle of weight zero stays so, even if its tilt rises again.
        lost = self._tilt == -math.inf
        increment = torch.where(lost, -math.inf, tilt - torch.where(lost, 0.0, self._tilt))
        self._tilt = tilt
        if isinstance(step.prediction, TiltedTransition):
            increment = increment + self._proposal_log_ratio(step).to(increment.device)
        return increment

    def _proposal_log_ratio(self, step: ParticleStep) -> Tensor:
        model, proposal = (
            transition_log_probability(step, prediction)
            for prediction in (step.prediction.base, step.prediction)
        )
        return model - proposal

    def _log_tilt(self, state: State) -> Tensor:
        x = state.x.long()
        return checked_log_weights(self._settings.log_tilt(x, times_of_sites(state)), x, "log_tilt")
