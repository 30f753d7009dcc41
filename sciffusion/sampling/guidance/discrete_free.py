r"""Classifier-free guidance of tokens.

With a conditional and an unconditional prediction and a scale w, the law that a reverse step draws each site
from is

.. math:: \log p^w(x_s^l \mid x_t) = w \log p(x_s^l \mid x_t, c) + (1 - w) \log p(x_s^l \mid x_t)
   + \text{const}.

For masks the same blend is made of the laws of the *clean* tokens, so that the probability to stay masked is
that of the process and guidance decides only what is revealed. For other processes a blend of clean tokens is
another law (also of use: every solver can work with it), which ``blend="clean"`` asks for.

What is exact and what is not: scales 0 and 1 are the two models. In between and beyond, samples do not follow
:math:`p(x_0 | c)^w p(x_0)^{1-w}`, however many steps are made: the noisy versions of that law are not the
blends of the noisy laws. Weighted particles correct for it.

Cost: two evaluations inside the interval of times, one outside; one at scales of 0 and 1.

Schiff et al., *Simple Guidance Mechanisms for Discrete Diffusion Models*, arXiv 2412.10193.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sciffusion.discrete.prediction import TokenKind
from sciffusion.discrete.process import site_times
from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.transition import GuidedTokens, TransitionPrediction, mixed_laws

__all__ = ["Blend", "BlendedTransition", "DiscreteClassifierFree"]

Blend = Literal["auto", "clean", "step"]


@dataclass(frozen=True, eq=False)
class BlendedTransition(TransitionPrediction):
    """The blend of the reverse laws of two predictions.

    Parameters
    ----------
    base : prediction
        With the condition.
    unconditional : prediction
        Without it.
    scale : Tensor
        Of a shape that broadcasts against the sites.
    """

    base: Any
    unconditional: Any
    scale: Tensor

    def reverse_log_probabilities(self, process: Any, state: Any, s: Tensor) -> Tensor:
        """Return the blended law, normalised, float64."""
        with_it, without = (
            prediction.reverse_log_probabilities(process, state, s)
            for prediction in (self.base, self.unconditional)
        )
        return mixed_laws(with_it, without, self.scale[..., None].to(with_it))


class DiscreteClassifierFree(Guidance):
    """Classifier-free guidance of tokens, for every process.

    Parameters
    ----------
    scale : float
        w of the module's equation: 0 is the unconditional model, 1 the conditional one, more is stronger.
    unconditional : object, optional
        What the denoiser gets as its condition for the unconditional prediction; None by default.
    interval : (float, float), default (0, 1)
        Times at which guidance acts, both ends included; elsewhere the conditional prediction is used. With
        times of single sites each site follows its own.
    blend : {"auto", "clean", "step"}, default "auto"
        What is blended: laws of the reverse step, of clean tokens, or clean tokens where the process has a
        mask and steps elsewhere. Blended steps need a solver that draws from reverse laws (`Ancestral`).

    Raises
    ------
    ValueError
        For a scale that is not finite, an interval outside [0, 1] or an unknown blend.
    """

    def __init__(
        self,
        scale: float,
        unconditional: Any = None,
        interval: tuple[float, float] = (0.0, 1.0),
        blend: Blend = "auto",
    ) -> None:
        low, high = interval
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"interval must be (lo, hi) with 0 <= lo <= hi <= 1, got {interval}")
        if blend not in get_args(Blend):
            raise ValueError(f"blend must be one of {get_args(Blend)}, got {blend!r}")
        self.scale = float(scale)
        self.unconditional = unconditional
        self.interval = (float(low), float(high))
        self.blend = blend
        always = self.interval == (0.0, 1.0)
        self.nfe = 1 if scale == 1.0 or (scale == 0.0 and always) else 2

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`)."""
        scale = self._scale(site_times(state.t, state.x))
        if bool((scale == 0.0).all()):
            return denoiser(state, self.unconditional, cache)
        with_it = denoiser(state, condition, cache)
        if bool((scale == 1.0).all()):
            return with_it
        without = denoiser(state, self.unconditional, cache)
        process = denoiser.path
        masked = getattr(process, "mask_token", None) is not None
        if self.blend == "step" or (self.blend == "auto" and not masked):
            return BlendedTransition(with_it, without, scale)
        kind: TokenKind = "denoiser" if masked else "loo"
        laws = (part.to(kind, process, state).log_probabilities for part in (with_it, without))
        first, second = laws
        return GuidedTokens(mixed_laws(first, second, scale[..., None].to(first)), kind, with_it)

    def _scale(self, t: Tensor) -> Tensor:
        """Return the scale at times inside the interval and 1 elsewhere."""
        inside = (t >= self.interval[0]) & (t <= self.interval[1])
        return torch.where(inside, self.scale, 1.0).to(t.dtype)
