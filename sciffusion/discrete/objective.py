r"""Objectives of discrete diffusion: losses of single sites at given times.

With keep probability :math:`a_t`, a leave-one-out prediction Q and a denoiser D (see `prediction`), a process
that is run backwards jumps from the noisy token x to y at rate r(y) per unit of :math:`\tau = -\log a_t`; the
true rates given the clean token are rho(y). The path divergence of the two is

.. math:: \frac{-\dot a_t}{a_t} \sum_{y \ne x} \Bigl[ r(y) - \rho(y) + \rho(y) \log\frac{\rho(y)}{r(y)} \Bigr]

per unit of time. Its integral over times, averaged over noise and summed over sites, is an upper bound of
:math:`-\log p(x_0)`; objectives with ``is_bound`` are that integrand, the others train the same laws with
another weight.

============================ ================================================================================
`MaskELBO`                   :math:`\frac{-\dot a}{1 - a}\,(-\log D(x_0))` at masked sites
`UniformELBO`                the sum above with :math:`r(y) = G(y) / (K G(x))`, :math:`G = a Q + (1 - a) / K`
`DenoiserCrossEntropy`       :math:`-\log D(x_0)`, no weight
`MaximalCouplingLoss`        :math:`\frac{-\dot a}{1 - a}\,[1 - D(x) - 1[x_0 \ne x]\,(1 + \log D(x_0))]`
`AbsorbingUniformLoss`       the same where the token is its noise u, with :math:`1[x_0 \ne u]`
`GenericELBO`                the sum above from the five functions of any process (`generic_objective`)
============================ ================================================================================

The minimiser of `UniformELBO` is the leave-one-out law, not the denoiser, so predictions are converted by
their kind before anything is computed. Losses are computed in the precision of the logits on their device,
and are finite, with finite gradients, at every time in [0, 1].

Sahoo et al., arXiv 2406.07524 (masks); Schiff et al., *Simple Guidance Mechanisms for Discrete Diffusion
Models*, arXiv 2412.10193 (uniform noise); Gourevitch et al., arXiv 2605.22765 (leave-one-out and absorbing
uniform noise); Shaul et al., *Flow Matching with General Discrete Paths*, arXiv 2412.03487 (the bound of
maximal coupling).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.prediction import DiscretePrediction, NoisyTokens, TokenKind
from sciffusion.discrete.process import site_times

__all__ = [
    "AbsorbingUniformLoss",
    "DenoiserCrossEntropy",
    "DiscreteObjective",
    "MaskELBO",
    "MaximalCouplingLoss",
    "UniformELBO",
    "clock",
    "log_law",
    "picked",
]

#: Stands for a vanishing a or 1 - a in a denominator; the terms that it divides vanish faster.
_TINY = 1e-12


def log_law(
    prediction: DiscretePrediction,
    kind: TokenKind,
    process: Any,
    state: NoisyTokens,
    emission: Tensor | None = None,
) -> Tensor:
    """Return log probabilities of one kind in the precision of the logits, for gradients.

    The twin of `DiscretePrediction.to`, which works in float64.

    Parameters
    ----------
    prediction : DiscretePrediction
        Of either kind.
    kind : {"loo", "denoiser"}
        The kind wanted.
    process, state : DiscreteProcess, NoisyTokens
        What made the noise, and the noisy tokens.
    emission : Tensor, optional
        The log likelihoods of the noisy tokens, where they are at hand.
    """
    logits = prediction.logits
    if prediction.kind != kind:
        own = process.emission_log_likelihood(state) if emission is None else emission
        own = own.to(logits.device, logits.dtype)
        if kind == "denoiser":
            logits = logits + own
        else:
            logits = torch.where(own == -torch.inf, -torch.inf, logits - own)
    return torch.log_softmax(logits, -1)


def picked(values: Tensor, index: Tensor) -> Tensor:
    """Return the value of one token a site."""
    return values.gather(-1, index.to(values.device)[..., None].long())[..., 0]


def clock(process: Any, state: NoisyTokens, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a, 1 - a and -da/dt, of shapes that broadcast to sites; denominators are kept from 0."""
    times = site_times(state.t, state.x)
    keep = process.schedule.keep(times)
    fall = -process.schedule.derivative(times)
    parts = (keep.clamp_min(_TINY), (1.0 - keep).clamp_min(_TINY), fall)
    found = [part.to(like.device, like.dtype) for part in parts]
    return found[0], found[1], found[2]


class DiscreteObjective(ABC):
    """The loss of every site of a batch at given times.

    Attributes
    ----------
    is_bound : bool
        Whether the loss, averaged over times uniform in [0, 1] and over noise and summed over sites, bounds
        the negative log likelihood from above (in nats).
    """

    is_bound: bool = False

    @abstractmethod
    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site for a prediction that is already made.

        Parameters
        ----------
        prediction : DiscretePrediction
            Of either kind, for ``state``.
        process : DiscreteProcess
            What made the noise.
        state : NoisyTokens
            The noisy tokens, of shape ``(items, sites)``.
        x0 : Tensor of int64, shape ``(items, sites)``
            The clean ones.

        Returns
        -------
        Tensor of shape ``(items, sites)``
            On the device and in the precision of the logits.
        """

    def __call__(
        self,
        denoiser: DiscreteDenoiser,
        x0: Tensor,
        t: Tensor,
        generator: torch.Generator,
        condition: Any = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Corrupt clean tokens, predict them, and return the loss of every site.

        Parameters
        ----------
        denoiser : DiscreteDenoiser
            Called once; its ``path`` is the process.
        x0 : Tensor of int64, shape ``(items, sites)``
            Clean tokens.
        t : Tensor
            Times in [0, 1], of a shape that is a prefix of that of ``x0``.
        generator : torch.Generator
            Source of the noise.
        condition : object, optional
            Passed to the denoiser.
        known : Tensor of bool, optional
            Sites that stay clean; they carry no loss.

        Returns
        -------
        Tensor of shape ``(items, sites)``
            Losses; multiply and sum them as the fit requires.
        """
        process = denoiser.path
        state = process.corrupt(x0, t, generator, known)
        loss = self.site_loss(denoiser(state, condition), process, state, x0)
        if known is None:
            return loss
        known = known.reshape(known.shape + (1,) * (x0.ndim - known.ndim)).to(loss.device)
        return torch.where(known, 0.0, loss)


class MaskELBO(DiscreteObjective):
    r"""The bound for masks: cross-entropy of masked sites, weighted by :math:`-\dot a / (1 - a)`.

    The weight is 1/t for the linear schedule. With the exact denoiser its integral is the entropy.
    """

    is_bound = True

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        if process.mask_token is None:
            raise TypeError(f"MaskELBO needs a process that masks, got {process}")
        log_clean = picked(torch.log_softmax(prediction.logits, -1), x0)
        _, lost, fall = clock(process, state, log_clean)
        masked = (state.x == process.mask_token).to(log_clean.device)
        return torch.where(masked, -log_clean, 0.0) * (fall / lost)


class UniformELBO(DiscreteObjective):
    r"""The bound for uniform noise, as a sum of terms that are not negative.

    With :math:`c = K a / (1 - a)` and

    .. math:: d_y = \log\frac{r(y)}{\rho(y)}
       = \log\frac{(1 + c\,Q(y))\,(1 + c\,1[x = x_0])}{(1 + c\,Q(x))\,(1 + c\,1[y = x_0])}

    the loss is :math:`\frac{-\dot a}{a} \sum_{y \ne x} \rho(y)\,(e^{d_y} - 1 - d_y)`, which loses no digits
    where a vanishes and rates agree. It is the same number as the closed form of arXiv 2412.10193. Its
    minimiser is the leave-one-out law.
    """

    is_bound = True

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        if process.mask_token is not None or process.state_size != process.vocab_size:
            raise TypeError(f"UniformELBO needs a process with uniform noise, got {process}")
        clean = torch.exp(log_law(prediction, "loo", process, state))
        keep, lost, fall = (part[..., None] for part in clock(process, state, clean))
        x, x0 = state.x.to(clean.device)[..., None].long(), x0.to(clean.device)[..., None].long()
        tokens = torch.arange(clean.shape[-1], device=clean.device)
        odds = process.vocab_size * keep / lost
        model, true = torch.log1p(odds * clean), torch.log1p(odds) * (tokens == x0)
        true = true - torch.log1p(odds) * (x == x0)
        difference = model - model.gather(-1, x) - true
        rates = torch.exp(true) / process.vocab_size
        terms = torch.where(tokens == x, 0.0, rates * _excess(difference))
        return (fall / keep)[..., 0] * terms.sum(-1)


def _excess(d: Tensor) -> Tensor:
    """Return ``exp(d) - 1 - d``, never negative, exact near 0 by its series."""
    series = d**2 * (1.0 / 2.0 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d / 720.0))))
    # Arguments of the branch that is not taken must not overflow: their gradient is multiplied by 0.
    return torch.where(d.abs() < 1e-2, series, torch.expm1(d) - d)


class DenoiserCrossEntropy(DiscreteObjective):
    """Cross-entropy of the denoiser, without weights; leave-one-out logits are converted first.

    Stable, and not a bound. Sites whose noisy token leaves one clean token only carry no loss, so for masks
    this is the cross-entropy of masked sites.
    """

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        emission = process.emission_log_likelihood(state)
        log_clean = picked(log_law(prediction, "denoiser", process, state, emission), x0)
        possible = (emission > -torch.inf).sum(-1) > 1
        return torch.where(possible.to(log_clean.device), -log_clean, 0.0)


class MaximalCouplingLoss(DiscreteObjective):
    """The bound for the dynamics that keep a token or replace it by a draw of the denoiser.

    These have the same law of noisy tokens at every time as the reversed process, and other paths. It bounds
    the likelihood of that sampler; even with the exact denoiser it lies above the entropy, except for masks.
    """

    is_bound = True

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        if process.mask_token is not None:
            return MaskELBO().site_loss(prediction, process, state, x0)
        law = log_law(prediction, "denoiser", process, state)
        return _coupling_loss(law, state.x, process, state, x0)


def _coupling_loss(law: Tensor, kept: Tensor, process: Any, state: NoisyTokens, x0: Tensor) -> Tensor:
    """Return the divergence of jumps away from ``kept`` to draws of a law from jumps to the clean token."""
    _, lost, fall = clock(process, state, law)
    kept, x0 = kept.to(law.device), x0.to(law.device)
    jump = torch.where(kept == x0, 0.0, 1.0 + picked(law, x0))
    return (fall / lost) * (-torch.expm1(picked(law, kept)) - jump)


class AbsorbingUniformLoss(DiscreteObjective):
    """The bound for uniform noise in absorbing form: only tokens that equal their noise carry a loss.

    For states with ``aux={"noise": u}``; tight for the exact denoiser, which sees both x and u.
    """

    is_bound = True

    def site_loss(
        self, prediction: DiscretePrediction, process: Any, state: NoisyTokens, x0: Tensor
    ) -> Tensor:
        """Return the loss of every site (see `DiscreteObjective.site_loss`)."""
        if state.aux is None or "noise" not in state.aux:
            raise TypeError(f'AbsorbingUniformLoss needs states with aux["noise"], got none from {process}')
        noise = state.aux["noise"]
        law = log_law(prediction, "denoiser", process, state)
        noisy = (state.x == noise).to(law.device)
        return torch.where(noisy, _coupling_loss(law, noise, process, state, x0), 0.0)
