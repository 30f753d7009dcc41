r"""The loss of a denoiser over the log signal-to-noise ratio, and how much of it could be avoided.

The mean denoising loss mixes noise levels at which nothing can be learned with those that matter, and most of
it is the variance of the clean data given the noisy ones, which no network removes.  Per noise level, with
the perfect denoiser :math:`D^*` and any denoiser D,

.. math:: E\|D - x_0\|^2 = E\|D - D^*\|^2 + E \operatorname{tr}\operatorname{Cov}(x_0 | x_t) ,

and the first term is the *excess loss*.  On targets whose denoiser is known it is computed directly, without
the noise of the second term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import DenoisingObjective, PointwiseDenoiser, align, as_times

__all__ = ["LossProfile", "loss_profile"]


@dataclass(frozen=True, eq=False)
class LossProfile:
    """Losses at some noise levels, float64 vectors of one length.

    Attributes
    ----------
    log_snr : Tensor
        Log ratio of the amplitudes of signal and noise, decreasing with time.
    loss : Tensor
        Mean loss an element.
    standard_error : Tensor
        Of ``loss``, over items.
    excess : Tensor or None
        Mean loss beyond that of the perfect denoiser, where one was given.
    """

    log_snr: Tensor
    loss: Tensor
    standard_error: Tensor
    excess: Tensor | None = None


@torch.no_grad()
def loss_profile(
    denoiser: PointwiseDenoiser,
    objective: DenoisingObjective,
    x0: Tensor,
    times: Tensor,
    generator: torch.Generator,
    *,
    perfect: PointwiseDenoiser | None = None,
    condition: Any = None,
) -> LossProfile:
    """Measure the loss at each of some times on the same data and the same noise.

    Parameters
    ----------
    denoiser : PointwiseDenoiser
        Evaluated once at each time, on all data.
    objective : DenoisingObjective
        Its weighting is the unit of the losses.
    x0 : Tensor
        Clean data, shape ``(count, ...)``.
    times : Tensor
        Times in (0, 1), shape ``(n_times,)``.
    generator : torch.Generator
        Source of the one panel of noise that is used at every time.
    perfect : PointwiseDenoiser, optional
        The perfect denoiser of the data (`sciffusion.exact.ExactDenoiser`), for the excess loss.
    condition : object, optional
        Passed to both denoisers.

    Returns
    -------
    LossProfile
        In the order of ``times``.
    """
    times, path = as_times(times), objective.path
    if times.ndim != 1 or not bool(((times > 0.0) & (times < 1.0)).all()):
        raise ValueError("times must be a vector of times in (0, 1)")
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device).to(x0.device)
    losses, excesses = [], []
    for t in times:
        c, x = path.coefficients(t), path.marginal(x0, t, noise)
        prediction = denoiser.predict(x, t, condition)
        losses.append(_by_item(objective.loss(prediction, x0, t, noise)))
        if perfect is not None:
            best = perfect.predict(x, t, condition).to("x0", c, x).value
            rest = (x - align(c.alpha, x) * best) / align(c.sigma, x)
            # The target of the loss replaced by the best prediction: what is left is avoidable.
            excesses.append(_by_item(objective.loss(prediction, best, t, rest)).mean())
    every = torch.stack(losses).cpu()
    return LossProfile(
        path.log_snr(times),
        every.mean(1),
        every.std(1) / every.shape[1] ** 0.5,
        torch.stack(excesses).cpu() if excesses else None,
    )


def _by_item(loss: Tensor) -> Tensor:
    return loss.to(torch.float64).reshape(len(loss), -1).mean(1)
