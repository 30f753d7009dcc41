"""Trajectories as training data: checks, standardisation, and the windows that a network learns from."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["StateScale", "Windows", "read_initial", "read_trajectories", "split_windows"]

Floats = NDArray[np.float64]


def read_trajectories(X: Any, *, name: str = "X", fewest_steps: int = 2, dim: int | None = None) -> Floats:
    """Return trajectories as a float64 array (n_trajectories, n_steps, dim).

    Raises
    ------
    ValueError
        For another number of axes or of variables, too few steps, or values that are not finite.
    """
    values = _as_numbers(X, name)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"{name} must have shape (n_trajectories, n_steps, dim), got {values.shape}")
    if values.shape[1] < fewest_steps:
        raise ValueError(
            f"{name} must have at least {fewest_steps} steps a trajectory, got {values.shape[1]}: a window "
            "holds context + window of them"
        )
    _check_states(values, name, dim)
    return values


def read_initial(initial: Any, context: int, dim: int) -> Floats:
    """Return the last `context` states of every case, float64 of shape (n, context, dim).

    Raises
    ------
    ValueError
        For a shape other than (n, dim) or (n, n_steps, dim), too few states, or values that are not finite.
    """
    values = _as_numbers(initial, "initial")
    if values.ndim == 2:
        values = values[:, None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            f"initial must have shape (n, {dim}) or (n, n_steps, {dim}), got {np.shape(initial)}"
        )
    if values.shape[1] < context:
        raise ValueError(f"initial must hold at least context={context} states a case, got {values.shape[1]}")
    _check_states(values, "initial", dim)
    return values[:, -context:]


def _as_numbers(X: Any, name: str) -> Floats:
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of numbers with equal trajectories, got {type(X).__name__}: {error}"
        ) from error


def _check_states(values: Floats, name: str, dim: int | None) -> None:
    if dim is not None and values.shape[2] != dim:
        raise ValueError(f"{name} has {values.shape[2]} variables, expected the {dim} of the fit")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise ValueError(
            f"{name} must be finite: {len(wrong)} values are not, the first at {place} (trajectory, step, "
            "variable); dynamics are learnt from complete states"
        )


@dataclass(frozen=True)
class StateScale:
    """Mean and spread of the variables, one for all points of a periodic field.

    Attributes
    ----------
    mean, scale : ndarray of shape (dim,)
        The spread is 1 where a variable is constant.
    varies : ndarray of bool, shape (dim,)
        Constant variables are restored to their constant.
    low, high : ndarray of shape (dim,)
        Ends of what was seen, in units of the spread from the mean, half the range added on either side.
    """

    mean: Floats
    scale: Floats
    varies: NDArray[np.bool_]
    low: Floats
    high: Floats

    @classmethod
    def learn(cls, values: Floats, periodic: bool) -> Self:
        """Learn them from trajectories."""
        axes = (0, 1, 2) if periodic else (0, 1)
        mean = np.broadcast_to(values.mean(axes), values.shape[2:]).copy()
        spread = np.broadcast_to(values.std(axes), values.shape[2:]).copy()
        varies = spread > 1e-12 * np.abs(mean)
        scale = np.where(varies, spread, 1.0)
        low = (np.broadcast_to(values.min(axes), mean.shape) - mean) / scale
        high = (np.broadcast_to(values.max(axes), mean.shape) - mean) / scale
        return cls(mean, scale, varies, low - 0.5 * (high - low), high + 0.5 * (high - low))

    def standardise(self, values: Floats) -> Tensor:
        """Return the values as a float32 tensor of mean 0 and spread 1."""
        return torch.from_numpy((values - self.mean) / self.scale).float()

    def held(self, values: Tensor) -> Tensor:
        """Return standardised values, held at the ends."""
        ends = (torch.from_numpy(end).to(torch.float32).to(values.device) for end in (self.low, self.high))
        return torch.clamp(values, *ends)

    def restore(self, values: Tensor) -> Floats:
        """Return standardised values in their own units."""
        return np.asarray(values.cpu().to(torch.float64).numpy() * (self.scale * self.varies) + self.mean)


class Windows:
    """All stretches of a fixed number of steps in a set of trajectories.

    Parameters
    ----------
    values : Tensor
        Standardised trajectories, shape (n_trajectories, n_steps, dim).
    length : int
        Steps of a window.

    Attributes
    ----------
    starts : Tensor of int64, shape (n_windows,)
        Where windows begin: the rows of the training loop, so that no window is copied before its batch.
    """

    def __init__(self, values: Tensor, length: int) -> None:
        n_trajectories, n_steps, dim = values.shape
        self._flat = values.reshape(-1, dim)
        first = n_steps * torch.arange(n_trajectories)
        self.starts = (first[:, None] + torch.arange(n_steps - length + 1)).reshape(-1)
        self.length = length

    def take(self, starts: Tensor) -> Tensor:
        """Return windows, shape (batch, length, dim), on the device of the starts."""
        if self._flat.device != starts.device:
            self._flat = self._flat.to(starts.device)
        return self._flat[starts[:, None] + torch.arange(self.length, device=starts.device)]

    def fingerprint(self) -> str:
        """Return a short word that changes with the values, to tie a checkpoint to them."""
        return f"{zlib.crc32(self._flat.cpu().numpy().tobytes()):08x}"


def split_windows(
    values: Tensor, length: int, share: float, generator: torch.Generator
) -> tuple[Windows, Windows | None]:
    """Keep back a share of the trajectories, or the end of each where that would be none.

    Parameters
    ----------
    values : Tensor
        Standardised trajectories.
    length : int
        Steps of a window.
    share : float in [0, 1)
        Share to keep back.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Windows and Windows or None
        To learn from and kept back; None where there is too little of either.
    """
    n_trajectories, n_steps, _ = values.shape
    count = round(share * n_trajectories)
    if 1 <= count < n_trajectories:
        order = torch.randperm(n_trajectories, generator=generator)
        return Windows(values[order[count:]], length), Windows(values[order[:count]], length)
    last = round(share * n_steps)
    if last >= length and n_steps - last >= length:
        return Windows(values[:, : n_steps - last], length), Windows(values[:, n_steps - last :], length)
    return Windows(values, length), None
