"""All streams of a server: opened within the limit, found again by their identifiers, reaped when left."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sciffusion.estimators.imports import optional_import

from .audio import Audio
from .live_stream import LiveStream
from .server_limits import ServerLimits, cores
from .server_offer import Offer
from .server_protocol import Hello
from .server_session import Session, SessionRefused

__all__ = ["Sessions"]

LOGGER = logging.getLogger(__name__)
REAPING_SECONDS = 1.0
BUSIEST = 0.9


class Sessions:
    """The streams of a server and the threads in which their blocks are made.

    Parameters
    ----------
    make_stream : callable
        Called in a thread with ``seed=`` and, where they are asked for, ``nfe=`` and ``context=`` (`Audio`).
    offer : Offer
    limits : ServerLimits
    """

    def __init__(self, make_stream: Callable[..., LiveStream], offer: Offer, limits: ServerLimits) -> None:
        self._make_stream, self.offer, self.limits = make_stream, offer, limits
        self._sessions: dict[str, Session] = {}
        self._opening = 0
        self._workers = limits.workers or cores()
        self._executor = ThreadPoolExecutor(
            self._workers, thread_name_prefix="music", initializer=_one_thread
        )

    def __len__(self) -> int:
        """Return the number of streams, those about to open included."""
        return len(self._sessions) + self._opening

    def find(self, identifier: str) -> Session | None:
        """Return the session of an identifier, or None."""
        return self._sessions.get(identifier)

    async def open(self, hello: Hello) -> Session:
        """Open a stream.

        Raises
        ------
        SessionRefused
            If there are too many, or the model does not start.
        """
        most = self.limits.max_sessions
        if len(self) >= most:
            full = "Someone else is playing, and this server takes one listener at a time."
            if most > 1:
                full = f"{most} others are playing, as many as this server takes."
            raise SessionRefused("too many sessions", full + " Try again later.")
        self._check_there_is_time()
        self._opening += 1
        try:
            asked = self._arguments(hello)
            loop = asyncio.get_running_loop()
            stream = await loop.run_in_executor(self._executor, lambda: self._make_stream(**asked))
            session = Session(secrets.token_urlsafe(16), stream, self._executor, self.limits)
        except (TypeError, ValueError) as error:
            raise SessionRefused("failed", f"the model did not start: {error}") from error
        except (RuntimeError, OSError, ImportError) as error:
            LOGGER.exception("a stream did not start")
            raise SessionRefused(
                "failed", f"the model did not start: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._opening -= 1
        self._sessions[session.identifier] = session
        session.start()
        return session

    def _check_there_is_time(self) -> None:
        """Refuse a stream with which all would stutter, even with the fewest evaluations."""
        shares = [share for session in self._sessions.values() if (share := session.needed_share) > 0]
        if shares and sum(shares) + sum(shares) / len(shares) > BUSIEST * self._workers:
            raise SessionRefused(
                "too many sessions", "The machine can only just keep up with those who play. Try again later."
            )

    def forget(self, session: Session, refusal: SessionRefused) -> None:
        """End a session."""
        self._sessions.pop(session.identifier, None)
        session.end(refusal)

    async def reap_forever(self) -> None:
        """End the sessions whose page did not come back, that were paused too long, or that failed."""
        while True:
            self.reap(time.monotonic())
            await asyncio.sleep(REAPING_SECONDS)

    def reap(self, now: float) -> None:
        """End the sessions that nobody needs at this time."""
        for session in list(self._sessions.values()):
            if session.refusal is not None:
                self.forget(session, session.refusal)
            elif not session.attached and now - session.detached_at > self.limits.resume_seconds:
                self.forget(session, SessionRefused("unknown session", "the page did not come back in time"))
            elif session.attached and now - session.touched > self.limits.idle_seconds:
                minutes = self.limits.idle_seconds / 60
                self.forget(
                    session, SessionRefused("idle", f"The stream was paused for {minutes:.0f} minutes.")
                )

    async def close(self) -> None:
        """End all sessions, and wait for the blocks that are being made."""
        sessions = list(self._sessions.values())
        for session in sessions:
            self.forget(session, SessionRefused("shutting down", "The server was stopped."))
        for session in sessions:
            await session.ended()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _arguments(self, hello: Hello) -> dict[str, Any]:
        asked: dict[str, Any] = {"seed": hello.seed}
        if hello.nfe is not None:
            if hello.nfe > self.limits.most_nfe:
                raise ValueError(f"nfe must be at most {self.limits.most_nfe}, got {hello.nfe}")
            asked["nfe"] = hello.nfe
        if hello.context is not None:
            asked["context"] = self._context(hello.context)
        return asked

    def _context(self, name: str) -> Audio:
        if name not in self.offer.contexts:
            known = ", ".join(self.offer.contexts) or "none"
            raise ValueError(f"context must be one of: {known}; got {name!r}")
        return self.offer.contexts[name]


def _one_thread() -> None:
    """Let the arithmetic of this worker stay in it: blocks of several streams share the cores."""
    optional_import("threadpoolctl", "music").threadpool_limits(limits=1, user_api="openmp")
