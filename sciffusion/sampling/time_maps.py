r"""Time maps: times of single elements from one global time, for rolling, block-causal and pyramid sampling.

A series of frames need not be denoised all at once.  A *time map* turns a global time :math:`s \in [0, 1]`
into a local time for each of the elements :math:`k = 0, 1, \dots`:

================= ==================================================================================
map               local time
================= ==================================================================================
`SharedTime`      :math:`t_k = s`
`RollingWindow`   :math:`t_k = (k + s)/W`, a window of W frames, the later the noisier
`BoundaryPhase`   :math:`t_k = \min(k/W + s, 1)`, from pure noise into the window
`Pyramid`         :math:`t_k = s\,(1 + m(n-1)) - m(n-1-k)`, clipped: frame k a share m of a run behind
`BlockCausal`     the pyramid of whole blocks with :math:`m = 1`: one block after the other
`KnownElements`   0 at given elements, another map elsewhere
================= ==================================================================================

No local time grows when s falls, so a grid of s becomes a grid of local times (`local_grid`) that any solver
walks: each element makes the ordinary step between its own two times.

Sampling with a window that moves along an endless series is in `sciffusion.sampling.rolling`.  Ruhe et al.,
*Rolling Diffusion Models*, arXiv 2402.09470; Chen et al., *Diffusion Forcing*, arXiv 2407.01392 (pyramids).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.continuous.path import as_times

__all__ = [
    "BlockCausal",
    "BoundaryPhase",
    "KnownElements",
    "LocalTimeSample",
    "MixedTimes",
    "Pyramid",
    "RollingWindow",
    "SharedTime",
    "TimeMap",
    "local_grid",
]


class TimeMap(Protocol):
    """Local times of the elements of a series at a global time."""

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return times of shape ``(*s.shape, length)``, float64 in [0, 1], for global times s in [0, 1].

        No time falls when s grows.
        """
        ...


def _spread(s: Tensor | float, length: int) -> tuple[Tensor, Tensor]:
    """Return global times with an axis for the elements, and the numbers of the elements."""
    if length < 1:
        raise ValueError(f"length must be positive, got {length}")
    s = as_times(s)
    return s[..., None], torch.arange(length, dtype=torch.float64, device=s.device)


def _clipped(times: Tensor) -> Tensor:
    """Clip times to [0, 1], and put those at an end that rounding moved away from it back there.

    A frame a hair away from clean data or pure noise would make a step of its own.
    """
    times = torch.where(times < 1e-12, 0.0, times)
    return torch.where(times > 1.0 - 1e-12, 1.0, times)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _require_context(context: int) -> None:
    if context < 0:
        raise ValueError(f"context must not be negative, got {context}")


@dataclass(frozen=True)
class SharedTime:
    """The same time for every element: ordinary sampling."""

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return ``s`` at every element (see `TimeMap.local`)."""
        s, number = _spread(s, length)
        return s + torch.zeros_like(number)


@dataclass(frozen=True)
class RollingWindow:
    """A window whose frames are the noisier the later they are.

    Parameters
    ----------
    window : int
        Number W of frames in the window.
    context : int, default 0
        Number of clean frames before the window, at time 0.
    """

    window: int
    context: int = 0

    def __post_init__(self) -> None:
        _require_positive(window=self.window)
        _require_context(self.context)

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return ``(k + s) / window`` at frame k of the window (see `TimeMap.local`)."""
        s, number = _spread(s, length)
        place = number - self.context
        return torch.where(place < 0, 0.0, _clipped((place + s) / self.window))


@dataclass(frozen=True)
class BoundaryPhase:
    """From pure noise at every frame (s=1) into the rolling window with its first frame clean (s=0).

    Parameters
    ----------
    window : int
        Number W of frames in the window.
    context : int, default 0
        Number of clean frames before the window, at time 0.
    """

    window: int
    context: int = 0

    def __post_init__(self) -> None:
        _require_positive(window=self.window)
        _require_context(self.context)

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return ``min(k / window + s, 1)`` at frame k of the window (see `TimeMap.local`)."""
        s, number = _spread(s, length)
        place = number - self.context
        return torch.where(place < 0, 0.0, _clipped(place / self.window + s))


@dataclass(frozen=True)
class Pyramid:
    """A whole series from noise to data, every frame a fixed share of a run behind the one before.

    Parameters
    ----------
    lag : float
        The share m: 0 denoises all frames together, 1 one after the other, ``1 / W`` like a rolling window.
    """

    lag: float

    def __post_init__(self) -> None:
        if self.lag < 0.0:
            raise ValueError(f"lag must not be negative, got {self.lag}")

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return the clipped ``s (1 + m (n - 1)) - m (n - 1 - k)`` (see `TimeMap.local`)."""
        s, number = _spread(s, length)
        total = self.lag * (length - 1)
        return _clipped(s * (1.0 + total) - (total - self.lag * number))


@dataclass(frozen=True)
class BlockCausal:
    """Blocks of elements one after the other, each from noise to data given the clean ones before it.

    Parameters
    ----------
    block : int
        Number of elements in a block.
    """

    block: int

    def __post_init__(self) -> None:
        _require_positive(block=self.block)

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return the time of each element's block (see `TimeMap.local`)."""
        blocks = -(-length // self.block)
        return Pyramid(1.0).local(s, blocks).repeat_interleave(self.block, -1)[..., :length]


@dataclass(frozen=True, eq=False)
class KnownElements:
    """Time 0 at known elements and the times of another map elsewhere.

    Parameters
    ----------
    known : Tensor of bool
        Shape ``(length,)``.
    inner : TimeMap
        For the unknown elements.
    """

    known: Tensor
    inner: TimeMap = field(default_factory=SharedTime)

    def local(self, s: Tensor | float, length: int) -> Tensor:
        """Return the inner times, and 0 at known elements (see `TimeMap.local`)."""
        if self.known.shape != (length,) or self.known.dtype != torch.bool:
            raise ValueError(
                f"known must be a mask of bool of shape ({length},), got {self.known.dtype} of shape "
                f"{tuple(self.known.shape)}"
            )
        times = self.inner.local(s, length)
        return torch.where(self.known.to(times.device), 0.0, times)


def local_grid(time_map: TimeMap, grid: Tensor, length: int) -> Tensor:
    """Return a grid of local times for values of shape ``(batch, length, ...)``.

    Parameters
    ----------
    time_map : TimeMap
        From global to local times.
    grid : Tensor
        Decreasing global times, shape ``(n_steps + 1,)``.
    length : int
        Number of elements along the second axis of the values.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1, 1, length)``, for `sample`.
    """
    return time_map.local(grid, length)[:, None]


class LocalTimeSample(NamedTuple):
    """Times and their importance ratios (all 1), two float64 tensors of one shape."""

    times: Tensor
    importance_ratio: Tensor


@dataclass(frozen=True)
class MixedTimes:
    """Training times for a network that is to work under several time maps.

    Every item of a batch takes a map at random and a global time from U(0, 1), stratified over the batch.

    Parameters
    ----------
    maps : sequence of TimeMap
        The maps.
    probabilities : sequence of float
        Of the maps, positive; normalised to sum 1.
    """

    maps: Sequence[TimeMap]
    probabilities: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.probabilities) or not self.maps:
            raise ValueError(
                f"probabilities must hold one entry a map, got {len(self.probabilities)} for "
                f"{len(self.maps)} maps"
            )
        if not all(probability > 0.0 for probability in self.probabilities):
            raise ValueError(f"probabilities must be positive, got {list(self.probabilities)}")

    @classmethod
    def rolling(cls, window: int, context: int = 0, boundary_probability: float = 0.1) -> MixedTimes:
        """Return the mix for `rolling_sample`: the rolling window and, now and then, its boundary phase."""
        if not 0.0 < boundary_probability < 1.0:
            raise ValueError(f"boundary_probability must lie in (0, 1), got {boundary_probability}")
        maps = (RollingWindow(window, context), BoundaryPhase(window, context))
        return cls(maps, (1.0 - boundary_probability, boundary_probability))

    def sample(
        self, shape: Sequence[int], generator: torch.Generator, device: torch.device | str | None = None
    ) -> LocalTimeSample:
        """Draw times.

        Parameters
        ----------
        shape : sequence of int
            ``(..., batch, length)``.
        generator : torch.Generator
            Source of the randomness.
        device : torch.device or str, optional
            Where the result goes; the generator's device by default.

        Returns
        -------
        LocalTimeSample
            Times of the given shape, and ratios of 1.
        """
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(f"shape must end in (batch, length), got {shape}")
        items, place = shape[:-1], generator.device
        order, within = torch.rand((2, *items), generator=generator, device=place, dtype=torch.float64)
        s = (order.argsort(-1) + within) / items[-1]
        weights = torch.tensor(self.probabilities, dtype=torch.float64, device=place)
        count = s.numel()
        choice = torch.multinomial(weights, count, replacement=True, generator=generator).reshape(items)
        every = torch.stack([time_map.local(s, shape[-1]) for time_map in self.maps])
        times = every.gather(0, choice[None, ..., None].expand(1, *shape))[0]
        times = times.to(place if device is None else device)
        return LocalTimeSample(times, torch.ones_like(times))
