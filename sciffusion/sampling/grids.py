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

from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, as_times

__all__ = ["angle_grid", "check_start", "checked_grid", "log_snr_grid", "power_grid", "uniform_grid"]


def _first(mask: Tensor) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(place) for place in mask.nonzero()[0])


def _written(place: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, place))}]"


def checked_grid(grid: Tensor | Sequence[float]) -> Tensor:
    """Return a grid as float64 times after refusing whatever is none.

    Parameters
    ----------
    grid : Tensor or sequence of float
        Shape ``(n_steps + 1, ...)`` with at least one step: floating-point times in [0, 1] that do not
        increase along the first axis.

    Returns
    -------
    Tensor
        The times in float64.

    Raises
    ------
    TypeError
        For a tensor of integers, which is how other libraries count steps.
    ValueError
        For fewer than two times, times that are NaN or outside [0, 1], and times that increase; naming the
        first such place and its values.
    """
    if isinstance(grid, Tensor) and not grid.dtype.is_floating_point:
        raise TypeError(
            f"grid must hold floating-point times in [0, 1], 1 being noise and 0 data, got {grid.dtype}; "
            "step numbers of other libraries must be turned into times first"
        )
    grid = as_times(grid if isinstance(grid, Tensor) else torch.tensor(grid, dtype=torch.float64))
    if grid.ndim < 1 or grid.shape[0] < 2:
        raise ValueError(
            f"grid must hold at least two times along its first axis, got shape {tuple(grid.shape)}"
        )
    outside = ~((grid >= 0.0) & (grid <= 1.0))
    if bool(outside.any()):
        place = _first(outside)
        raise ValueError(
            f"grid must hold times in [0, 1], got grid{_written(place)} = {float(grid[place]):g}"
        )
    rising = grid[1:] > grid[:-1]
    if bool(rising.any()):
        place = _first(rising)
        after = (place[0] + 1, *place[1:])
        raise ValueError(
            "grid must decrease along its first axis, from noise (1) to data (0); got "
            f"grid{_written(place)} = {float(grid[place]):g} before grid{_written(after)} = "
            f"{float(grid[after]):g}"
        )
    return grid


def check_start(x: Tensor, t: Tensor, known: Tensor | None) -> None:
    """Refuse a start whose times do not fit its values, whose known sites are no mask, or that is not finite.

    Parameters
    ----------
    x : Tensor
        Values of the start; the first axis counts items.
    t : Tensor
        Their times.
    known : Tensor of bool, optional
        Known sites.

    Raises
    ------
    TypeError
        For a mask of another type than bool.
    ValueError
        For times or a mask whose shape is no prefix of that of the values, and for values that are not
        finite, naming the first item that holds one.
    """
    if known is not None and known.dtype != torch.bool:
        raise TypeError(f"known must be a mask of bool, got {known.dtype}")
    named = {"times": t} if known is None else {"times": t, "known": known}
    for name, tensor in named.items():
        shape = tuple(tensor.shape)
        fits = len(shape) <= x.ndim and all(n in (1, m) for n, m in zip(shape, x.shape, strict=False))
        if not fits:
            raise ValueError(
                f"{name} of shape {shape} do not fit a state of shape {tuple(x.shape)}; "
                "expected a scalar or a prefix of the state's shape"
            )
    if x.dtype.is_floating_point or x.dtype.is_complex:
        bad = ~torch.isfinite(x)
        if bool(bad.any()):
            place = _first(bad)
            raise ValueError(
                f"state.x must be finite, got {int(bad.sum())} values that are not, the first in item "
                f"{place[0] if place else 0}: x{_written(place)} = {x[place].item():g}"
            )


def _check(n_steps: int, start: float, end: float) -> None:
    if isinstance(n_steps, bool) or not isinstance(n_steps, Integral):
        raise TypeError(f"n_steps must be an integer, got {n_steps!r}")
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
