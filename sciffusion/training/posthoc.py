r"""Averages of weights whose width is chosen after training.

`PowerProfile` weights step t of n in proportion to :math:`t^\gamma`.  Two such averages with different
:math:`\gamma` are kept, and snapshots of both are stored now and then.  Any other profile is reconstructed as
a linear combination :math:`\sum_i c_i\,\bar\theta_i` of the snapshots, whose profile
:math:`\sum_i c_i p_i(t)` is the one closest to the wanted profile in the mean square over training time,

.. math:: A c = b, \qquad A_{ij} = \langle p_i, p_j \rangle, \quad b_i = \langle p_i, p \rangle,

then scaled to :math:`\sum_i c_i = 1`.  For profiles of exponents :math:`\gamma_a, \gamma_b` that end at
:math:`t_a, t_b`,

.. math::
   \langle p_a, p_b\rangle = \frac{(\gamma_a + 1)(\gamma_b + 1)\,(t_a/t_b)^e}
   {(\gamma_a + \gamma_b + 1)\,\max(t_a, t_b)}, \qquad
   e = \gamma_b \text{ if } t_a < t_b \text{ else } -\gamma_a .

The discrete averages weigh step i by the integral of the profile over :math:`[i - 1, i]`, so a combination of
snapshots is exactly the average under the combined profile.

T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila, S. Laine, "Analyzing and Improving the Training
Dynamics of Diffusion Models", arXiv:2312.02696.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .ema import PowerProfile, WeightAverage

__all__ = ["PostHocAverage", "Snapshot", "posthoc_coefficients"]


def _products(
    steps: NDArray[np.float64],
    exponents: NDArray[np.float64],
    other_steps: NDArray[np.float64],
    other_exponents: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the inner products of every profile of the first group with every one of the second."""
    ta, ga = steps[:, None], exponents[:, None]
    tb, gb = other_steps[None], other_exponents[None]
    power = np.where(ta < tb, gb, -ga)
    overlap = (ta / tb) ** power / ((ga + gb + 1.0) * np.maximum(ta, tb))
    return np.asarray((ga + 1.0) * (gb + 1.0) * overlap, dtype=np.float64)


def posthoc_coefficients(
    steps: Sequence[float], exponents: Sequence[float], step: float, exponent: float
) -> NDArray[np.float64]:
    """Return the combination of snapshots whose profile is closest to a wanted power profile.

    Parameters
    ----------
    steps, exponents : sequence of float
        Last step (> 0) and exponent (> -1/2) of the profile of each snapshot.
    step, exponent : float
        Those of the wanted profile.

    Returns
    -------
    ndarray
        One coefficient a snapshot, of sum 1; some are negative.
    """
    ends, powers = np.asarray(steps, dtype=np.float64), np.asarray(exponents, dtype=np.float64)
    wanted = np.array([step], dtype=np.float64), np.array([exponent], dtype=np.float64)
    if len(ends) == 0 or ends.min() <= 0.0 or step <= 0.0:
        raise ValueError("there must be a snapshot, and steps must be positive")
    if min(powers.min(), exponent) <= -0.5:
        raise ValueError("exponents must exceed -1/2, below which profiles have no mean square")
    gram = _products(ends, powers, ends, powers)
    right = _products(ends, powers, *wanted)[:, 0]
    # Neighbouring snapshots are nearly parallel: scaled to unit length, and solved by least squares.
    length = np.sqrt(np.diag(gram))
    solved = np.linalg.lstsq(gram / np.outer(length, length), right / length, rcond=1e-13)[0] / length
    return np.asarray(solved / solved.sum(), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An average at some step: the step, the exponent of its profile, and the weights on the CPU."""

    step: int
    exponent: float
    weights: Mapping[str, Tensor]


class PostHocAverage:
    """Keeps what is needed to average the weights of a fit with any width afterwards.

    Pass one to ``fit_network(..., posthoc=...)``, or call `begin` and `update` in a loop of your own.

    Parameters
    ----------
    every : int
        Updates between two snapshots.  Each takes twice the memory of the weights; some 20 to 60 in a fit
        reconstruct widths well.
    relative_stds : pair of float, default (0.05, 0.1)
        Relative widths of the averages that are kept; see `PowerProfile`.
    """

    def __init__(self, every: int, relative_stds: Sequence[float] = (0.05, 0.1)) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if len(relative_stds) < 1 or not all(0.0 < std < 0.28 for std in relative_stds):
            raise ValueError(f"relative_stds must lie in (0, 0.28), got {tuple(relative_stds)}")
        self.every = every
        self.relative_stds = tuple(float(std) for std in relative_stds)
        self.snapshots: list[Snapshot] = []
        self._averages: list[WeightAverage] = []

    @property
    def n_updates(self) -> int:
        """Updates seen so far."""
        return self._averages[0].n_updates if self._averages else 0

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Forget an earlier fit and start from these weights, before the first update."""
        profiles = [PowerProfile.from_relative_std(std) for std in self.relative_stds]
        self._averages = [WeightAverage(weights, profile) for profile in profiles]
        self.snapshots = []

    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after an update of the optimiser.

        Raises
        ------
        RuntimeError
            If `begin` was not called.
        """
        if not self._averages:
            raise RuntimeError("call begin(weights) before the first update")
        for average in self._averages:
            average.update(weights)
        if self.n_updates % self.every == 0:
            self.snapshot()

    def snapshot(self) -> None:
        """Store both averages as they are now, once a step."""
        if self.snapshots and self.snapshots[-1].step == self.n_updates:
            return
        for average in self._averages:
            assert isinstance(average.profile, PowerProfile)
            kept = {name: value.detach().cpu().clone() for name, value in average.average.items()}
            self.snapshots.append(Snapshot(self.n_updates, average.profile.exponent, kept))

    def reconstruct(self, relative_std: float, step: int | None = None) -> dict[str, Tensor]:
        """Return the average of a given width.

        Parameters
        ----------
        relative_std : float in (0, 0.28)
            Standard deviation of the profile relative to the number of steps.  Widths between and above those
            kept are reconstructed well; much narrower ones are not in the snapshots.
        step : int, optional
            As if training had ended there; the last snapshot by default.  Best at the step of a snapshot:
            later ones are not used.

        Returns
        -------
        dict of str to Tensor
            Float32 on the CPU.

        Raises
        ------
        ValueError
            Without a snapshot, for a step before the first or after the last one, or another width.
        """
        if not self.snapshots:
            raise ValueError("there are no snapshots; train for at least `every` updates or call snapshot()")
        if not 0.0 < relative_std < 0.28:
            raise ValueError(f"relative_std must lie in (0, 0.28), got {relative_std}")
        first, last = self.snapshots[0].step, self.snapshots[-1].step
        step = last if step is None else step
        if not first <= step <= last:
            raise ValueError(
                f"step must lie between those of the first and last snapshot, {first} and {last}; got {step}"
            )
        used = [snapshot for snapshot in self.snapshots if snapshot.step <= step]
        exponent = PowerProfile.from_relative_std(relative_std).exponent
        shares = posthoc_coefficients(
            [snapshot.step for snapshot in used], [snapshot.exponent for snapshot in used], step, exponent
        )
        return _combined([snapshot.weights for snapshot in used], shares)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs."""
        stored = [
            {"step": snapshot.step, "exponent": snapshot.exponent, "weights": dict(snapshot.weights)}
            for snapshot in self.snapshots
        ]
        return {"averages": [average.state_dict() for average in self._averages], "snapshots": stored}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state after `begin`; averages keep the device they have here.

        Raises
        ------
        RuntimeError
            If `begin` was not called.
        """
        if not self._averages:
            raise RuntimeError("call begin(weights) before load_state_dict: it says where averages live")
        for average, stored in zip(self._averages, state["averages"], strict=True):
            average.load_state_dict(stored)
        self.snapshots = [
            Snapshot(int(kept["step"]), float(kept["exponent"]), kept["weights"])
            for kept in state["snapshots"]
        ]


def _combined(weights: Sequence[Mapping[str, Tensor]], shares: NDArray[np.float64]) -> dict[str, Tensor]:
    """Return the linear combination of named tensors, summed in float64."""
    combined = {}
    for name, first in weights[0].items():
        total = torch.zeros(first.shape, dtype=torch.float64)
        for share, named in zip(shares, weights, strict=True):
            total += float(share) * named[name].to("cpu", torch.float64)
        combined[name] = total.to(torch.float32)
    return combined
