r"""Linear combinations of checkpoints, found on a held-out loss.

A combination :math:`\theta = \sum_i c_i \theta_i` with :math:`\sum_i c_i = 1` may do better than any of the
checkpoints of one fit and than any running average of them, with coefficients that are often negative: those
of an early checkpoint are subtracted.  The search is over the m - 1 free coefficients, by the Nelder-Mead
method whose first simplex has the checkpoints themselves as corners (and therefore never ends worse than the
best of them); it uses values of the loss alone.

The idea is that of Liu et al., *Linear Combination of Saved Checkpoints Makes Consistency and Diffusion
Models Better*, arXiv 2404.02241, who search by an evolutionary method on a sample-quality score; the simplex
search is a choice of this library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .posthoc import _combined

__all__ = ["CheckpointCombination", "combine_checkpoints"]

_MOST_CHECKPOINTS = 12  # beyond this a simplex search is hopeless


@dataclass(frozen=True, eq=False)
class CheckpointCombination:
    """The best combination that was found.

    Attributes
    ----------
    weights : dict of str to Tensor
        The combined weights, float32 on the CPU.
    coefficients : ndarray
        One a checkpoint, of sum 1.
    loss : float
        Their loss.
    checkpoint_losses : ndarray
        Losses of the checkpoints themselves.
    evaluations : int
        How often the loss was evaluated.
    """

    weights: dict[str, Tensor]
    coefficients: NDArray[np.float64]
    loss: float
    checkpoint_losses: NDArray[np.float64]
    evaluations: int


def combine_checkpoints(
    checkpoints: Sequence[Mapping[str, Tensor]],
    loss: Callable[[Mapping[str, Tensor]], float],
    *,
    max_evaluations: int = 200,
) -> CheckpointCombination:
    """Search the combination of checkpoints with the smallest loss.

    Parameters
    ----------
    checkpoints : sequence of mappings
        Two to twelve sets of named weights of one network, for instance snapshots of different steps or
        `PostHocAverage.reconstruct` of different widths.
    loss : callable
        From weights to a held-out loss; the same weights must give the same value, so fix its noise.  It is
        optimised on, so judge the result on other data.
    max_evaluations : int, default 200
        Evaluations of the loss at most, those of the checkpoints included.

    Returns
    -------
    CheckpointCombination

    Raises
    ------
    ValueError
        For fewer than two or more than twelve checkpoints, checkpoints of different networks, or a loss that
        is finite at none of the combinations tried.
    """
    from scipy.optimize import minimize

    count = len(checkpoints)
    if not 2 <= count <= _MOST_CHECKPOINTS:
        raise ValueError(f"give 2 to {_MOST_CHECKPOINTS} checkpoints, got {count}")
    shapes = [{name: value.shape for name, value in checkpoint.items()} for checkpoint in checkpoints]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("checkpoints must hold weights of the same names and shapes")
    seen: dict[tuple[float, ...], float] = {}

    def value(free: NDArray[np.float64]) -> float:
        key = tuple(free.tolist())
        if key not in seen:
            found = float(loss(_combined(checkpoints, _full(free))))
            seen[key] = found if np.isfinite(found) else np.inf
        return seen[key]

    corners = np.vstack([np.eye(count - 1), np.zeros(count - 1)])
    single = np.array([value(corner) for corner in corners])
    options = {"initial_simplex": corners, "maxfev": max_evaluations, "adaptive": True, "xatol": 1e-4}
    with np.errstate(invalid="ignore"):  # differences of infinite losses
        minimize(value, corners[-1], method="Nelder-Mead", options=options)
    best = min(seen, key=lambda key: seen[key])
    if not np.isfinite(seen[best]):
        raise ValueError("loss must be finite at some checkpoint, got none")
    coefficients = _full(np.array(best))
    return CheckpointCombination(
        _combined(checkpoints, coefficients), coefficients, seen[best], single, len(seen)
    )


def _full(free: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all coefficients; the last makes their sum 1."""
    return np.append(free, 1.0 - free.sum())
