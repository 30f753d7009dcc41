r"""Time grids: the decreasing times between which a solver steps.

Every function returns ``n_steps + 1`` float64 times from ``start`` down to ``end``.  Grids that are spaced in
the noise cannot reach a point without any noise; where the path has none at ``end=0`` they place their last
interior time at ``last_log_snr`` and make the final step from there.

- uniform in time: :math:`t_i = t_0 + (t_n - t_0) i / n`;
- uniform in the log signal-to-noise ratio :math:`\lambda`, equivalently geometric in the relative noise
  :math:`l = \sigma/\alpha`;
- the power spacing :math:`l_i^{1/\rho}` linear in i (Karras et al., arXiv 2206.00364, with :math:`\rho = 7`);
- equal angles :math:`\arctan(l_i / c)`, which for Gaussian data of standard deviation c minimise the error of
  the first-order step: the final standard deviation is the exact one times :math:`\cos(\Theta/n)^n`, with
  :math:`\Theta` the angle between the two ends.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sciffusion.continuous.path import Path

__all__ = ["angle_grid", "log_snr_grid", "power_grid", "uniform_grid"]


def _check(n_steps: int, start: float, end: float) -> None:
    if n_steps < 1:
        raise ValueError(f"n_steps must be positive, got {n_steps}")
    if not 0.0 <= end < start <= 1.0:
        raise ValueError(f"expected 0 <= end < start <= 1, got start={start}, end={end}")


def uniform_grid(n_steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Return equally spaced times.

    Parameters
    ----------
    n_steps : int
        Number of steps.
    start, end : float
        First and last time, ``0 <= end < start <= 1``.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1,)``, float64, decreasing.
    """
    _check(n_steps, start, end)
    return torch.linspace(start, end, n_steps + 1, dtype=torch.float64)


def _noise_grid(
    path: Path,
    n_steps: int,
    start: float,
    end: float,
    last_log_snr: float,
    to_scale: Callable[[Tensor], Tensor],
    from_scale: Callable[[Tensor], Tensor],
) -> Tensor:
    """Space the log signal-to-noise ratio evenly on a transformed scale, with the two ends exact."""
    _check(n_steps, start, end)
    ends = path.log_snr(torch.tensor([start, end], dtype=torch.float64))
    if not bool(ends[0].isfinite()):
        raise ValueError(
            f"start={start} has no signal on this path; start a grid spaced in the noise below it"
        )
    interior = n_steps if bool(ends[1].isfinite()) else n_steps - 1
    if interior == n_steps - 1:
        ends = torch.stack([ends[0], torch.tensor(last_log_snr, dtype=torch.float64)])
    if bool(ends[1] <= ends[0]):
        raise ValueError(f"last_log_snr={last_log_snr} is not above that of the start, {float(ends[0]):.4g}")
    first, last = to_scale(ends)
    fractions = torch.linspace(0.0, 1.0, max(interior, 1) + 1, dtype=torch.float64)
    times = path.time_of_log_snr(from_scale(first + fractions * (last - first)))
    times = torch.cat([times[: interior + 1], times.new_full((n_steps - interior,), end)])
    times[0], times[-1] = start, end
    return times


def log_snr_grid(
    path: Path, n_steps: int, start: float = 1.0, end: float = 0.0, last_log_snr: float = 6.0
) -> Tensor:
    """Return times equally spaced in the log signal-to-noise ratio (geometric in the relative noise).

    Parameters
    ----------
    path : Path
        Whose log signal-to-noise ratio is meant; it must be finite at ``start``.
    n_steps : int
        Number of steps.
    start, end : float
        First and last time, ``0 <= end < start <= 1``.
    last_log_snr : float, default 6
        Log ratio of amplitudes before the final step, used if that of ``end`` is infinite.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1,)``, float64, decreasing.
    """
    return _noise_grid(path, n_steps, start, end, last_log_snr, lambda value: value, lambda value: value)


def power_grid(
    path: Path,
    n_steps: int,
    start: float = 1.0,
    end: float = 0.0,
    rho: float = 7.0,
    last_log_snr: float = 6.0,
) -> Tensor:
    """Return times at which the ``1 / rho`` power of the relative noise is equally spaced.

    Parameters
    ----------
    path, n_steps, start, end, last_log_snr
        As for `log_snr_grid`.
    rho : float, default 7
        Larger values place more steps near the data.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1,)``, float64, decreasing.
    """
    if not rho > 0.0:
        raise ValueError(f"rho must be positive, got {rho}")
    return _noise_grid(
        path, n_steps, start, end, last_log_snr,
        lambda log_snr: torch.exp(-log_snr / rho), lambda root: -rho * torch.log(root),
    )  # fmt: skip


def angle_grid(
    path: Path,
    n_steps: int,
    start: float = 1.0,
    end: float = 0.0,
    data_std: float = 1.0,
    last_log_snr: float = 6.0,
) -> Tensor:
    """Return times at which ``arctan(sigma / (alpha data_std))`` is equally spaced.

    Parameters
    ----------
    path, n_steps, start, end, last_log_snr
        As for `log_snr_grid`.
    data_std : float, default 1
        Standard deviation of the data.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1,)``, float64, decreasing.
    """
    if not data_std > 0.0:
        raise ValueError(f"data_std must be positive, got {data_std}")
    return _noise_grid(
        path, n_steps, start, end, last_log_snr,
        lambda log_snr: torch.atan(torch.exp(-log_snr) / data_std),
        lambda angle: -torch.log(data_std * torch.tan(angle)),
    )  # fmt: skip
