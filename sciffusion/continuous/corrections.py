r"""Corrections of the output of a trained denoiser, as wrappers that are denoisers themselves.

**Calibration.**  At every time the exact denoiser has :math:`E[\hat\varepsilon(x_t, t)] = E[\varepsilon] = 0`
and :math:`E[D(x_t, t)] = E[x_0]`.  A trained one misses this by an offset :math:`\eta_t`, constant over the
values.  Subtracting it lowers the mean squared error by exactly :math:`\|\eta_t\|^2`,

.. math::
   E\|e - \eta_t\|^2 = E\|e\|^2 - \|\eta_t\|^2, \qquad
   e = \hat\varepsilon - \varepsilon, \quad \eta_t = E[e] .

The offset is the mean of the *error*, not of the output: its expectation is the same and its Monte-Carlo
noise is that of what the network gets wrong.  It is measured on a grid of times and interpolated in the log
signal-to-noise ratio.  Pang et al., *On Calibrating Diffusion Probabilistic Models*, arXiv 2302.10688.

**Epsilon scaling.**  In sampling, a network sees states of slightly too much noise, made by its own errors,
and predicts too large an :math:`\hat\varepsilon`.  Dividing by :math:`\lambda_t = b + k t` slightly above 1
compensates this drift; it is a heuristic without a guarantee, tuned on samples.  Ning et al., *Elucidating
the Exposure Bias in Diffusion Models*, arXiv 2308.15321.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser, NoisyState, PointwiseDenoiser
from sciffusion.continuous.path import align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction

__all__ = ["Calibrated", "EpsScaled", "calibrate"]


@dataclass(frozen=True, eq=False)
class _Noisy:
    x: Tensor
    t: Tensor


class _Corrected(PointwiseDenoiser):
    """A denoiser around another one, which is called once."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.path = denoiser.path

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Return the corrected prediction (see `PointwiseDenoiser.predict`)."""
        return self(_Noisy(x, as_times(t)), condition)

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        """Return the corrected prediction for a state."""
        return self._corrected(self.denoiser(state, condition, cache), state.x, as_times(state.t))

    @abstractmethod
    def _corrected(self, prediction: ContinuousPrediction, x: Tensor, t: Tensor) -> ContinuousPrediction:
        """Return the prediction for noisy values with the correction applied."""


class Calibrated(_Corrected):
    """A denoiser with a known mean error subtracted; `calibrate` makes one.

    Parameters
    ----------
    denoiser : Denoiser
        What is corrected.
    log_snr : Tensor
        Log ratios of the amplitudes of signal and noise at which offsets are known, increasing, shape
        ``(n_times,)``.  Beyond both ends the last offset holds.
    offsets : Tensor
        Mean errors, shape ``(n_times, ...)`` with the shape of one item.
    kind : {"x0", "eps"}
        What the offsets are errors of.
    """

    def __init__(
        self, denoiser: Denoiser, log_snr: Tensor, offsets: Tensor, kind: Literal["x0", "eps"] = "x0"
    ) -> None:
        super().__init__(denoiser)
        if log_snr.ndim != 1 or len(log_snr) != len(offsets) or bool((log_snr.diff() <= 0.0).any()):
            raise ValueError(
                f"log_snr must increase and have one entry an offset, got shape {tuple(log_snr.shape)} "
                f"for offsets of shape {tuple(offsets.shape)}"
            )
        if kind not in ("x0", "eps"):
            raise ValueError(f"kind must be 'x0' or 'eps', got {kind!r}")
        self.log_snr = log_snr.to(torch.float64)
        self.offsets = offsets
        self.kind = kind

    def offset(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the offsets for values ``x`` at times ``t``, of the shape of ``x``."""
        place = self.path.log_snr(t).to(self.log_snr.device).clamp(self.log_snr[0], self.log_snr[-1])
        if len(self.log_snr) == 1:
            return self.offsets[0].to(x).expand(x.shape)
        right = torch.searchsorted(self.log_snr, place.contiguous()).clamp(1, len(self.log_snr) - 1)
        left = right - 1
        share = (place - self.log_snr[left]) / (self.log_snr[right] - self.log_snr[left])
        # Nothing lies between pure noise, infinitely far away, and the next place: there the latter holds.
        share = torch.where(share.isnan(), (place > self.log_snr[left]).to(share), share)
        known = self.offsets.to(x)
        item = known.shape[1:]
        known = known.reshape((len(known), *(1,) * (x.ndim - len(item)), *item)).expand(-1, *x.shape)
        return torch.lerp(_picked(known, left), _picked(known, right), align(share, x).expand(x.shape))

    def _corrected(self, prediction: ContinuousPrediction, x: Tensor, t: Tensor) -> ContinuousPrediction:
        given = prediction.to(self.kind, self.path.coefficients(t), x)
        return ContinuousPrediction(given.value - self.offset(x, t), self.kind)


def _picked(known: Tensor, index: Tensor) -> Tensor:
    """Return ``known[index]`` where the index depends on the element, for ``known`` of a leading axis."""
    shape = known.shape[1:]
    wide = index.reshape(index.shape + (1,) * (len(shape) - index.ndim)).to(known.device)
    return torch.gather(known, 0, wide.expand(shape)[None])[0]


def calibrate(
    denoiser: PointwiseDenoiser,
    x0: Tensor,
    generator: torch.Generator,
    *,
    times: Tensor,
    condition: Any = None,
) -> Calibrated:
    """Measure a denoiser's mean error at some times and return the denoiser without it.

    Parameters
    ----------
    denoiser : PointwiseDenoiser
        Trained.
    x0 : Tensor
        Clean data, shape ``(count, ...)``; data kept back from training show what it gets wrong on new data.
    generator : torch.Generator
        Source of the noise.
    times : Tensor
        Times in (0, 1], all different, shape ``(n_times,)``: one evaluation of the whole of ``x0`` at each.
    condition : object, optional
        Passed to the denoiser; the offset is the mean over the conditions, too.

    Returns
    -------
    Calibrated
        With offsets of eps for a denoiser that predicts eps or score, else of x0.  The standard error of an
        offset is the root-mean-square error of the denoiser over the square root of ``count``.
    """
    times = as_times(times)
    path = denoiser.path
    if times.ndim != 1 or len(times) < 1 or not bool(((times > 0.0) & (times <= 1.0)).all()):
        raise ValueError("times must be a vector of times in (0, 1]")
    log_snr, order = path.log_snr(times).sort()
    offsets, kind = [], "x0"
    with torch.no_grad():
        for t in times[order.to(times.device)]:
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device)
            noise = noise.to(x0.device)
            x = path.marginal(x0, t, noise)
            prediction = denoiser.predict(x, t, condition)
            kind = "eps" if prediction.kind in ("eps", "score") else "x0"
            value = prediction.to(kind, path.coefficients(t), x).value  # type: ignore[arg-type]
            offsets.append((value - (noise if kind == "eps" else x0)).mean(0))
    return Calibrated(denoiser, log_snr, torch.stack(offsets), kind)  # type: ignore[arg-type]


class EpsScaled(_Corrected):
    """A denoiser whose predicted noise is divided by a number near 1.

    Parameters
    ----------
    denoiser : Denoiser
        What is corrected.
    scale : float, default 1.005
        The divisor b at ``t=0``; 1 changes nothing.  The authors' values for few-step samplers of images lie
        between 1.0005 and 1.005.
    slope : float, default 0
        Growth k of the divisor per unit of time.

    Notes
    -----
    Elements in pure noise (``alpha = 0``), where the noise says nothing about the data, are left alone.
    """

    def __init__(self, denoiser: Denoiser, scale: float = 1.005, slope: float = 0.0) -> None:
        super().__init__(denoiser)
        if not min(scale, scale + slope) > 0.0:
            raise ValueError(f"scale + slope * t must be positive on [0, 1], got {scale} and {slope}")
        self.scale = scale
        self.slope = slope

    def _corrected(self, prediction: ContinuousPrediction, x: Tensor, t: Tensor) -> ContinuousPrediction:
        c = self.path.coefficients(t)
        x0 = prediction.to("x0", c, x).value
        # D' - D = (1 - 1/lambda)(x - alpha D) / alpha, which needs no division by sigma.
        excess = 1.0 - 1.0 / (self.scale + self.slope * t)
        gain = torch.where(c.alpha > 0.0, excess / c.alpha, 0.0)
        return ContinuousPrediction(x0 + align(gain, x) * (x - align(c.alpha, x) * x0), "x0")
