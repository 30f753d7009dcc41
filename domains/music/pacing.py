r"""When to make the next block, and with how many evaluations.

Two rules, both about the audio that is buffered, in seconds, when a block is begun (the *fill* f). A block of
K evaluations is expected to take at most

.. math:: H(K) = u (K + 1) + \text{stall}

(`BlockTimes`: u seconds an evaluation, and the largest stall seen that is no accident).

**How far ahead.** A block is begun when the fill has fallen to

.. math:: S = \text{reserve} + \max\big(H(K_\text{aim}), u (K_\text{aim} + 1) + \text{margin}\big)
    + \text{read} + \text{slack},

no earlier, so that what is heard soon has not been made yet and controls can still change it, and no later,
so that a block that takes long still comes in time; the margin is for stalls of which none was seen yet. The
reserve, a fade and one read of the player, is what the player needs in order not to starve; by one more read
the fill may be below S before that is noticed; the slack is a tenth of a block. The aim is the largest K
allowed whose typical time :math:`u (K + 1)` is at most .95 of a block, as the fill would only shrink with
more.

As a block adds its length B, the fill stays below *prebuffer* = S + B: one block, and the longest that one
takes, with a margin. A control is heard S seconds after the block that first knows it is begun, which is at
most B later: reaction times lie between S and S + B = prebuffer, whatever the capacity of the ring.

**How many evaluations.** With :math:`f < \text{reserve} + H(K)` the block might come too late. Then K falls
to the first of :math:`K_\text{wanted}, K_\text{wanted}/2, K_\text{wanted}/4, \ldots` down to the lowest
allowed that fits, or to the lowest if none does. It rises by one of these steps, not above the aim, when for
some blocks in a row the fill would have done for more, half the slack to spare. Between falling and rising
lies the slack, so that K does not swing.

Both rules are constructions of this library.
"""

from __future__ import annotations

import math

from .stream_stats import BlockTimes

__all__ = ["Pacer"]

SUSTAINED = 0.95  # the largest typical time over block length that can last
SLACK_BLOCKS = 0.1
MARGIN_BLOCKS = 0.5


class Pacer:
    """Decides when blocks are made and with how many evaluations; knows no audio and no clock.

    Parameters
    ----------
    block_seconds : float
        Audio of a block, B.
    nfe : int >= 1
        Evaluations a block that are wanted.
    most_seconds : float
        The most audio that may be buffered; the prebuffer never grows beyond it.
    lowest_nfe : int, default 2
        The fewest evaluations that it may fall to; no limit is felt where fewer are wanted.
    prebuffer_seconds : float, optional
        Fixes the prebuffer, at least a block; measured by default (see the module's text).
    margin_seconds : float, optional
        Stall that is allowed for before such a one was seen; half a block by default.
    fade_seconds : float, default 0
        Audio that must be left when a block comes, beside that of one read.
    patience : int, default 4
        Blocks in a row that must allow more evaluations before they rise.
    adapt : bool, default True
        Whether the evaluations may fall.

    Attributes
    ----------
    read_seconds : float
        Audio that is read at once; whoever reads sets it.

    Raises
    ------
    ValueError
        For a number that is out of range.
    """

    def __init__(
        self,
        block_seconds: float,
        nfe: int,
        *,
        most_seconds: float,
        lowest_nfe: int = 2,
        prebuffer_seconds: float | None = None,
        margin_seconds: float | None = None,
        fade_seconds: float = 0.0,
        patience: int = 4,
        adapt: bool = True,
    ) -> None:
        margin = MARGIN_BLOCKS * block_seconds if margin_seconds is None else margin_seconds
        _check("capacity_seconds", most_seconds, 2 * block_seconds, math.inf, "two blocks")
        _check("margin_seconds", margin, 0.0, math.inf, "0")
        _check("lowest_nfe", lowest_nfe, 1, math.inf, "1")
        if prebuffer_seconds is not None:
            _check("prebuffer_seconds", prebuffer_seconds, block_seconds, most_seconds, "a block")
        self.block_seconds, self.most_seconds, self.lowest_nfe = block_seconds, most_seconds, lowest_nfe
        self.margin_seconds, self.fade_seconds, self.read_seconds = margin, fade_seconds, 0.0
        self.patience, self.adapt = patience, adapt
        self.times = BlockTimes()
        self.falls = 0
        self._fixed = prebuffer_seconds
        self._allowing = self._level = 0
        self.want(nfe)
        self._levels = self._levels_from(self._wanted)

    @property
    def wanted_nfe(self) -> int:
        """Evaluations a block when there is time for them."""
        return self._wanted

    @property
    def nfe(self) -> int:
        """Evaluations of the next block, as things stand."""
        return self._levels[self._level]

    def want(self, nfe: int) -> None:
        """Ask for another number of evaluations from the next block on; any thread may."""
        _check("nfe", nfe, 1, math.inf, "1")
        self._wanted = int(nfe)

    def expected_seconds(self, nfe: int) -> float:
        """Return the seconds that a block is expected not to exceed, H; NaN before the second block."""
        return self.times.typical(nfe) + self.times.stall_seconds

    @property
    def start_seconds(self) -> float:
        """The fill at which a block is begun, S; as much as may be before the second block was made."""
        most = self.most_seconds - self.block_seconds
        if self._fixed is not None:
            return self._fixed - self.block_seconds
        if self.times.is_empty:
            return most
        typical, stall = self.times.typical(self._levels[self._aim]), self.times.stall_seconds
        spare = self.read_seconds + SLACK_BLOCKS * self.block_seconds
        return min(most, self._reserve + typical + max(self.margin_seconds, stall) + spare)

    @property
    def _reserve(self) -> float:
        return self.fade_seconds + self.read_seconds

    @property
    def prebuffer_seconds(self) -> float:
        """The most audio that is buffered, S + B."""
        return self.start_seconds + self.block_seconds

    def choose(self, fill_seconds: float) -> int:
        """Return the evaluations of a block that is begun with this much audio before it is needed.

        Parameters
        ----------
        fill_seconds : float
            Audio that is buffered and being played; infinite when nothing is being played.
        """
        if self._wanted != self._levels[0]:
            self._level = self._allowing = 0
            self._levels = self._levels_from(self._wanted)
        if not self.adapt or self.times.is_empty or math.isinf(fill_seconds):
            return self.nfe
        fitting = [level for level, nfe in enumerate(self._levels) if self._fits(nfe, fill_seconds)]
        lowest = min(fitting, default=len(self._levels) - 1)
        if lowest > self._level:
            self._level, self._allowing = lowest, 0
            self.falls += 1
        elif self._level > self._aim and self._could_rise(fill_seconds):
            self._allowing += 1
            if self._allowing >= self.patience:
                self._level, self._allowing = self._level - 1, 0
        else:
            self._allowing = 0
        return self.nfe

    def _levels_from(self, nfe: int) -> list[int]:
        levels = [nfe]
        while levels[-1] > 1 and math.ceil(levels[-1] / 2) >= self.lowest_nfe:
            levels.append(math.ceil(levels[-1] / 2))
        return levels

    @property
    def _aim(self) -> int:
        """The first level that can last: fewer seconds than are heard meanwhile."""
        if not self.adapt:
            return 0
        longest = SUSTAINED * self.block_seconds
        lasting = (level for level, nfe in enumerate(self._levels) if self.times.typical(nfe) <= longest)
        return next(lasting, len(self._levels) - 1)

    def _fits(self, nfe: int, fill_seconds: float) -> bool:
        return fill_seconds >= self._reserve + self.expected_seconds(nfe)

    def _could_rise(self, fill_seconds: float) -> bool:
        nfe = self._levels[self._level - 1]
        spare = 0.5 * SLACK_BLOCKS * self.block_seconds
        return self._fits(nfe, fill_seconds - spare)


def _check(name: str, value: float, least: float, most: float, meaning: str) -> None:
    if not least <= value <= most:
        limit = f"at least {meaning}" + (f" and at most {most:g}" if most < math.inf else "")
        raise ValueError(f"{name} must be {limit}, got {value}")
