r"""Brownian paths that do not depend on how they are divided into steps.

With white noise two runs of a stochastic sampler on different grids follow unrelated paths, and so the result
of one start does not converge as the steps get shorter.  Here every element has one Brownian path
:math:`W_t`, :math:`t \in [0, 1]`, fixed by the seed, and a step from t to t' gets the standardised increment
:math:`(W_t - W_{t'}) / \sqrt{t - t'}`.  Increments of neighbouring steps add up to that of both together, in
whatever order they are asked for.

The path is built by halving (Lévy's construction): in the middle of an interval of length h with known ends,

.. math:: W_m = \tfrac12 (W_a + W_b) + \tfrac12\sqrt h\,\xi_{\text{node}} .

After ``depth`` halvings, with cells of length :math:`\delta = 2^{-\text{depth}}`, a time at the fraction u of
its cell gets :math:`(1-u) W_a + u W_b + \sqrt{\delta u(1-u)}\,\xi_{\text{cell}}`: the law of the path at any
set of times of which no two lie in one cell is exact (construction of this library).  The numbers
:math:`\xi` are a hash of seed, item, element and node (Steele, Lea and Flood, *Fast Splittable Pseudorandom
Number Generators*, OOPSLA 2014), turned normal by the quantile function; so an item's path depends neither
on the batch that it is in nor on the device.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import Tensor

from sciffusion.continuous.path import as_times

__all__ = ["BrownianTree"]

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed integers, which wrap around in torch
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_END, _CELL = 0, 2**40  # numbers of W_1 and of the first cell; nodes are numbered from 1 as in a heap


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros, where torch would fill with the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _mixed(bits: Tensor) -> Tensor:
    """Return 64 well-mixed bits (the finaliser of SplitMix64)."""
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _hashed(key: Tensor, number: Tensor | int) -> Tensor:
    """Return the key of a numbered part of something that has a key."""
    number = torch.as_tensor(number, dtype=torch.int64, device=key.device)
    return _mixed(key + _mixed((number + 1) * _GOLDEN))


def _normal(bits: Tensor) -> Tensor:
    """Return standard normal values, float64, from the first 53 bits."""
    uniform = (_shifted(bits, 11).to(torch.float64) + 0.5) * 2.0**-53
    normal: Tensor = torch.special.ndtri(uniform)
    return normal


class BrownianTree:
    """Noise source whose increments fit together however the time is divided.

    Parameters
    ----------
    seed : int or Tensor of int
        One seed for all, from which each item of the first axis gets a path by its place; or a seed an item,
        shape ``(batch,)``, so that an item keeps its path in any batch.
    depth : int, default 16
        Halvings of the time.  Steps should be longer than ``2**-depth``; a draw costs about ``depth`` random
        values an element.

    Notes
    -----
    The generator of the run is not used by steps (it still draws a start).  Every stochastic solver of this
    library takes it; `ColoredNoise` takes it as ``white``.
    """

    def __init__(self, seed: int | Tensor, depth: int = 16) -> None:
        if isinstance(seed, Tensor) and (seed.ndim != 1 or seed.is_floating_point()):
            raise ValueError(
                f"seed must be an integer or a vector of integers, got {seed.dtype} of shape "
                f"{tuple(seed.shape)}"
            )
        if not isinstance(seed, Tensor | Integral):
            raise TypeError(f"seed must be an integer or a vector of integers, got {seed!r}")
        if isinstance(seed, Integral) and not -(2**63) <= seed < 2**63:
            raise ValueError(f"seed must be a signed integer of 64 bits, got {seed}")
        if not 1 <= depth <= 38:
            raise ValueError(f"depth must lie between 1 and 38, got {depth}")
        self.seed = seed if isinstance(seed, Tensor) else int(seed)
        self.depth = depth
        self._latest: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Return the standardised increments between two times; 0 where they are equal.

        Parameters
        ----------
        like : Tensor
            State, the first axis being that of items.
        generator : torch.Generator, optional
            Not used.
        t, t_next : Tensor
            Times in [0, 1] of a shape that is a prefix of that of ``like``.

        Returns
        -------
        Tensor
            Of the shape, type and device of ``like``.
        """
        t, t_next = as_times(t), as_times(t_next)
        # This step starts where the one before ended: remembering that value saves half of the work.
        start = self._remembered(like, t)
        if start is None:
            start = self.path(like, t)
        end = self.path(like, t_next)
        self._latest = (tuple(like.shape), t_next, end)
        length = self._wide(t - t_next, like)
        # Not torch.rsqrt, which rounds differently in tensors of different size.
        scale = torch.where(length == 0.0, 0.0, 1.0 / length.abs().sqrt())
        return (scale * (start - end)).to(like.dtype).to(like.device)

    def path(self, like: Tensor, t: Tensor | float) -> Tensor:
        """Return the Brownian path ``W_t``, 0 at ``t=0`` and of variance t, in float64.

        Parameters
        ----------
        like : Tensor
            State whose shape the result has.
        t : Tensor or float
            Times in [0, 1] of a shape that is a prefix of that of ``like``.

        Returns
        -------
        Tensor
            On the device of ``like`` if that knows float64, else on the CPU.

        Raises
        ------
        ValueError
            For times outside [0, 1].
        """
        t = self._wide(as_times(t), like)
        if not bool(((t >= 0.0) & (t <= 1.0)).all()):
            raise ValueError(f"times must lie in [0, 1], got {float(t.min())} to {float(t.max())}")
        key = self._keys(like)
        low, node = torch.zeros_like(t), torch.ones_like(t, dtype=torch.int64)
        at_low = torch.zeros(like.shape, dtype=torch.float64, device=key.device)
        at_high = _normal(_hashed(key, _END))
        length = 1.0
        for _ in range(self.depth):
            middle = 0.5 * (at_low + at_high) + 0.5 * math.sqrt(length) * _normal(_hashed(key, node))
            length *= 0.5
            right = t >= low + length
            at_low, at_high = torch.where(right, middle, at_low), torch.where(right, at_high, middle)
            low, node = torch.where(right, low + length, low), 2 * node + right
            if bool((t == low).all()):  # on the nodes: nothing below matters
                return at_low
        share = (t - low) / length
        inside = torch.sqrt(length * share * (1.0 - share)) * _normal(_hashed(key, _CELL + node))
        return (1.0 - share) * at_low + share * at_high + inside

    def _remembered(self, like: Tensor, t: Tensor) -> Tensor | None:
        if self._latest is None:
            return None
        shape, time, value = self._latest
        same = shape == tuple(like.shape) and time.shape == t.shape and value.device == self._device(like)
        return value if same and torch.equal(time, t) else None

    @staticmethod
    def _device(like: Tensor) -> torch.device:
        return torch.device("cpu") if like.device.type == "mps" else like.device

    def _wide(self, t: Tensor, like: Tensor) -> Tensor:
        """Return times with as many axes as the state, on the device of the computation."""
        return t.to(self._device(like)).reshape(t.shape + (1,) * (like.ndim - t.ndim))

    def _keys(self, like: Tensor) -> Tensor:
        """Return the key of every element."""
        device = self._device(like)
        items = like.shape[0] if like.ndim else 1
        if isinstance(self.seed, Tensor):
            if len(self.seed) != items:
                raise ValueError(f"there are {len(self.seed)} seeds for {items} items of the first axis")
            item = _hashed(self.seed.to(device, torch.int64), 0)
        else:
            start = _hashed(torch.tensor(self.seed, dtype=torch.int64, device=device), 1)
            item = _hashed(start, torch.arange(items, device=device))
        elements = torch.arange(like[0].numel() if like.ndim else 1, device=device)
        return _hashed(item[:, None], elements).reshape(like.shape)
