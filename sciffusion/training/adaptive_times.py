r"""Training times that follow the measured loss.

The variance of an importance-sampled mean of :math:`\ell(t)` under a density q is smallest for
:math:`q^*(t) \propto p(t)\sqrt{E[\ell^2 | t]}`.  `AdaptiveTimes` keeps a running mean of :math:`\ell^2` in
each of n equal intervals of time and draws from

.. math:: q(t) = f + (1 - f)\, \frac{\sqrt{m_{b(t)}}}{\frac1n \sum_b \sqrt{m_b}}, \qquad 0 < f \le 1,

with importance ratio :math:`1/q`, so that the objective stays the one of uniform times whatever was measured;
the floor f bounds the ratio by :math:`1/f`.

A. Nichol and P. Dhariwal, "Improved Denoising Diffusion Probabilistic Models", arXiv:2102.09672 (the rule);
the floor and the running means are choices of this library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .time_samplers import TimeSample, WeightedTimes

__all__ = ["AdaptiveTimes"]


class AdaptiveTimes:
    """Time sampler that learns where the loss is large.

    Parameters
    ----------
    n_bins : int >= 1, default 50
        Intervals in which the loss is followed.
    decay : float in [0, 1), default 0.99
        How much of the running mean of an interval an update with losses in it keeps.
    floor : float in (0, 1], default 0.1
        Share of uniform times.
    stratified : bool, default True
        As in `UniformTimes`.

    Notes
    -----
    The sampler has memory, which a checkpoint of `fit_network` does not hold: a fit that uses it goes on
    after an interruption with an unbiased but different stream of times.  `state_dict` gives the memory to
    whoever keeps it.
    """

    def __init__(
        self, n_bins: int = 50, decay: float = 0.99, floor: float = 0.1, stratified: bool = True
    ) -> None:
        if n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, got {n_bins}")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        if not 0.0 < floor <= 1.0:
            raise ValueError(f"floor must lie in (0, 1], got {floor}")
        self.n_bins = n_bins
        self.decay = decay
        self.floor = floor
        self.stratified = stratified
        self._square = torch.zeros(n_bins, dtype=torch.float64)
        self._seen = torch.zeros(n_bins, dtype=torch.bool)

    @property
    def density(self) -> Tensor:
        """The density q in each interval, float64 of shape ``(n_bins,)``; uniform until all were seen."""
        size = self._square.sqrt()
        if not bool(self._seen.all()) or not bool(size.sum() > 0.0):
            return torch.ones(self.n_bins, dtype=torch.float64)
        return self.floor + (1.0 - self.floor) * size / size.mean()

    def sample(
        self, shape: int | Sequence[int], generator: torch.Generator, device: torch.device | str | None = None
    ) -> TimeSample:
        """Draw times; the parameters are those of `UniformTimes.sample`."""
        density = self.density
        sampler = WeightedTimes(
            weight=lambda middles: density, n_bins=self.n_bins, stratified=self.stratified
        )
        return sampler.sample(shape, generator, device)

    @torch.no_grad()
    def update(self, times: Tensor, losses: Tensor) -> None:
        """Take in the losses of some times.

        Parameters
        ----------
        times : Tensor
            In [0, 1].
        losses : Tensor
            Of the shape of ``times``, **without** the importance ratio.
        """
        if times.shape != losses.shape:
            raise ValueError(
                f"times and losses must match, got shapes {tuple(times.shape)} and {tuple(losses.shape)}"
            )
        bins = (times.detach().cpu().reshape(-1) * self.n_bins).long().clamp(0, self.n_bins - 1)
        square = losses.detach().cpu().to(torch.float64).reshape(-1).square()
        count = torch.bincount(bins, minlength=self.n_bins)
        mean = torch.zeros_like(self._square).index_add_(0, bins, square) / count.clamp_min(1)
        kept = torch.where(self._seen, self.decay, 0.0)
        self._square = torch.where(count > 0, kept * self._square + (1.0 - kept) * mean, self._square)
        self._seen = self._seen | (count > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory."""
        return {"square": self._square, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a memory."""
        if len(state["square"]) != self.n_bins:
            raise ValueError(f"the state has {len(state['square'])} intervals, this sampler {self.n_bins}")
        self._square, self._seen = state["square"].clone(), state["seen"].clone()
