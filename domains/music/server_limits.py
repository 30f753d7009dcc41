"""What a server allows: how many sessions, how large and how many messages, how long it remembers."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

__all__ = ["Allowance", "ServerLimits", "cores"]


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class ServerLimits:
    """What a server allows.

    Parameters
    ----------
    max_sessions : int
        Streams at once, those included that wait for their page to come back.
    workers : int, optional
        Blocks that are made at once; the number of cores by default.
    resume_seconds : float
        How long a stream waits for its page after a connection broke.
    idle_seconds : float
        How long a stream may be paused.
    kept_seconds : float
        Audio kept for pages that come back and for digests.
    hello_seconds : float
        How long a connection may stay silent at first.
    message_bytes : int
        Largest message.
    messages_a_second : float
        Messages that a page may send on average, and twice as many at once.
    patience : int
        Messages that cannot be used, or come too fast, before a connection is closed.
    most_nfe : int
        Evaluations a block that a page may ask for.

    Raises
    ------
    ValueError
        For a limit that is not positive.
    """

    max_sessions: int = 4
    workers: int | None = None
    resume_seconds: float = 30.0
    idle_seconds: float = 600.0
    kept_seconds: float = 60.0
    hello_seconds: float = 10.0
    message_bytes: int = 65_536
    messages_a_second: float = 150.0
    patience: int = 20
    most_nfe: int = 32

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and (isinstance(value, bool) or not value > 0):
                raise ValueError(f"{entry.name} must be positive, got {value!r}")


class Allowance:
    """An amount that grows with time up to a most: a token bucket.

    Parameters
    ----------
    rate : float
        Growth a second.
    most : float
        The most, with which it begins.
    now : float
        The time, in seconds.
    """

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate, self._most = rate, most
        self._amount, self._at = most, now

    def take(self, amount: float, now: float) -> float:
        """Take up to an amount; return what there was of it."""
        self._amount = min(self._amount + self._rate * (now - self._at), self._most)
        self._at = now
        taken = min(amount, self._amount)
        self._amount -= taken
        return taken
