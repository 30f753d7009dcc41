r"""Hallucinations by interpolation between modes: samples that are nowhere in the data.

A network is smoother than the score of well separated modes and leaves a bridge between neighbours.  A sample
that ends on a bridge is undecided to the end: its clean estimate keeps moving.  The metric is the variance of
the clean estimates :math:`D(x_t, t)` along the run,

.. math:: h = \frac1d \sum_{j=1}^d \operatorname{Var}_{t \in W}\bigl[D_j(x_t, t)\bigr] ,

over the evaluations whose times lie in a window W.  Samples above a quantile of h are suspects.  The metric
costs nothing beyond the run.  (Aithal, Maini, Lipton and Kolter, *Understanding Hallucinations in Diffusion
Models through Mode Interpolation*, arXiv 2406.09358.)

The window matters.  Early, every trajectory is undecided; at the very end the clean estimate follows the
state and even a bridge has settled.  It should begin where the noise is a few times the spread of a single
mode: on the variance-preserving path and data of unit scale with modes of standard deviation .05 the last
twentieth of the time.  The metric finds rare interpolations of a model that has learned most of its modes;
one that smears them all over has steady estimates on the bridges, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import Denoiser, Path, Solver
from sciffusion.sampling import Hook, State, sample

__all__ = ["CleanEstimateVariance", "HallucinationVariance", "hallucination_variance"]


class CleanEstimateVariance(Hook):
    """Accumulates the variance of clean estimates along a sampler run.

    Parameters
    ----------
    path : Path
        That of the denoiser.
    window : tuple of float, default (0, .05)
        Smallest and largest time of the evaluations that count.

    Notes
    -----
    The trace holds ``"clean_estimate_variance"``, of shape ``(count,)``: the mean over elements of the
    variance over evaluations, zero for a single one. Nothing but two sums is kept, whatever the number of
    steps.
    """

    def __init__(self, path: Path, window: tuple[float, float] = (0.0, 0.05)) -> None:
        if not 0.0 <= window[0] < window[1] <= 1.0:
            raise ValueError(f"window must be two times 0 <= low < high <= 1, got {window}")
        self.path = path
        self.window = window
        self._count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def before_run(self, state: State) -> State:
        """Forget an earlier run."""
        self._count, self._mean, self._squares = 0, None, None
        return state

    def after_eval(self, state: State, prediction: Any) -> Any:
        """Take the clean estimate into the sums; the prediction stays as it is."""
        low, high = self.window
        if not bool(((state.t >= low) & (state.t <= high)).all()):
            return prediction
        clean = prediction.to("x0", self.path.coefficients(state.t), state.x).value
        if clean.element_size() < 4:
            clean = clean.to(torch.float32)
        self._count += 1
        if self._mean is None or self._squares is None:
            self._mean, self._squares = clean.clone(), torch.zeros_like(clean)
            return prediction
        # Welford's update: no difference of large sums.
        gap = clean - self._mean
        self._mean = self._mean + gap / self._count
        self._squares = self._squares + gap * (clean - self._mean)
        return prediction

    def trace(self) -> Mapping[str, Any]:
        """Return the variance of every item.

        Raises
        ------
        RuntimeError
            If fewer than two evaluations fell into the window.
        """
        if self._squares is None or self._count < 2:
            raise RuntimeError(
                f"window {self.window} holds {self._count} evaluations of the run and needs two; widen it or "
                "take more steps"
            )
        variance = self._squares / (self._count - 1.0)
        return {"clean_estimate_variance": variance.reshape(variance.shape[0], -1).mean(-1)}


@dataclass(frozen=True)
class HallucinationVariance:
    """Samples with the variance of their clean estimates.

    Parameters
    ----------
    samples : Tensor
        Shape ``(count, ...)``.
    variance : Tensor
        Of every sample, shape ``(count,)``.
    threshold : float
        The quantile asked for.
    suspect : Tensor of bool
        Samples above the threshold.
    """

    samples: Tensor
    variance: Tensor
    threshold: float
    suspect: Tensor


def hallucination_variance(
    denoiser: Denoiser,
    solver: Solver,
    grid: Tensor,
    *,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    state: State | None = None,
    window: tuple[float, float] = (0.0, 0.05),
    quantile: float = 0.95,
    condition: Any = None,
) -> HallucinationVariance:
    """Sample, and mark the samples whose clean estimates kept moving.

    Parameters
    ----------
    denoiser : Denoiser
        Of any kind.
    solver : Solver
        Of any kind; with stochastic ones the noise adds to the variance of all samples alike.
    grid : Tensor
        Scalar times.
    generator : torch.Generator
        Of the run.
    shape, state
        Where to start, as for `sciffusion.sampling.sample`.
    window : tuple of float, default (0, .05)
        Times of the evaluations that count.
    quantile : float, default .95
        Share of samples that are not marked. The metric orders samples; how many are wrong it does not tell.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    HallucinationVariance
        Samples, variances and marks.

    Raises
    ------
    ValueError
        For an impossible window or quantile.
    RuntimeError
        If fewer than two evaluations fall into the window.
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie in (0, 1), got {quantile}")
    hook = CleanEstimateVariance(denoiser.path, window)
    result = sample(
        denoiser, solver, grid, shape=shape, state=state, condition=condition, hooks=(hook,),
        generator=generator,
    )  # fmt: skip
    variance = result.trace["clean_estimate_variance"]
    threshold = float(torch.quantile(variance, quantile))
    return HallucinationVariance(result.samples, variance, threshold, variance > threshold)
