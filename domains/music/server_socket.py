"""The conversation with one page over its WebSocket, from the first message to the last."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .server_limits import Allowance
from .server_protocol import (
    CLOSE_CODES,
    VERSION,
    Hello,
    ProtocolError,
    Report,
    Settings,
    audio_frame,
    parse_audio,
    parse_message,
)
from .server_security import AccessRules
from .server_session import Session, SessionRefused
from .server_sessions import Sessions

__all__ = ["converse"]

LOGGER = logging.getLogger(__name__)
STUCK_SECONDS = 20.0
LONGEST_REASON = 120
CLEAN_CLOSES = (1000, 1001)
POLICY_VIOLATION = 1008


class _Gone(Exception):  # noqa: N818 - how a conversation ends, not an error
    """The page closed the connection; `clean` if on purpose."""

    def __init__(self, clean: bool) -> None:
        super().__init__()
        self.clean = clean


async def converse(socket: Any, sessions: Sessions, rules: AccessRules) -> None:
    """Talk to a page until it or the server ends the connection.

    Parameters
    ----------
    socket : starlette.websockets.WebSocket
        Not accepted yet.
    sessions : Sessions
    rules : AccessRules
    """
    host, origin = socket.headers.get("host"), socket.headers.get("origin")
    if not rules.host_allowed(host) or not rules.origin_allowed(origin, host):
        await socket.close(POLICY_VIOLATION)
        return
    await socket.accept()
    try:
        await _Conversation(socket, sessions, rules).run()
    except SessionRefused as refusal:
        await _refuse(socket, refusal)
    except _Gone:
        with contextlib.suppress(Exception):  # the page closed it, or the connection is lost
            await socket.close()


async def _refuse(socket: Any, refusal: SessionRefused) -> None:
    answer = {"type": "refused", "code": refusal.code, "message": refusal.message}
    reason = refusal.message.encode()[:LONGEST_REASON].decode(errors="ignore")
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            await socket.send_text(json.dumps(answer))
            await socket.close(CLOSE_CODES[refusal.code], reason)
    except Exception as error:  # the page may be gone already, which every layer says in its own way
        LOGGER.debug("a refusal did not arrive: %r", error)


class _Conversation:
    """One connection."""

    def __init__(self, socket: Any, sessions: Sessions, rules: AccessRules) -> None:
        self._socket, self._sessions, self._rules = socket, sessions, rules
        limits = sessions.limits
        self._messages = Allowance(limits.messages_a_second, 2 * limits.messages_a_second, time.monotonic())
        self._trust = Allowance(limits.patience / 60, limits.patience, time.monotonic())
        self._errors: list[str] = []
        self._wake = asyncio.Event()
        self._taken_over = False
        self._next = self._counter = 0

    async def run(self) -> None:
        """Greet, then listen and send until either ends."""
        session = await self._greeted()
        listening = asyncio.create_task(self._listen(session))
        sending = asyncio.create_task(self._send(session))
        try:
            done, _ = await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except _Gone as gone:
            if gone.clean:
                self._sessions.forget(session, SessionRefused("unknown session", "the page was closed"))
            raise
        finally:
            listening.cancel()
            sending.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)
            if not self._taken_over:
                session.detach()

    async def _greeted(self) -> Session:
        try:
            async with asyncio.timeout(self._sessions.limits.hello_seconds):
                hello = parse_message(_text(await self._receive()))
        except TimeoutError:
            raise SessionRefused("silent", "The page said nothing.") from None
        except ProtocolError as error:
            raise SessionRefused("malformed", str(error)) from None
        if not isinstance(hello, Hello):
            raise SessionRefused("malformed", "the first message must be hello")
        if not self._rules.token_allowed(hello.token):
            raise SessionRefused(
                "token", "The token is missing or wrong: use the address that the server printed."
            )
        session = await self._session(hello)
        self._next = session.attach(hello.next_sample, self._take_over)
        try:
            await self._transmit(json.dumps(self._welcome(session)))
        except BaseException:
            if hello.session is None:  # nobody knows that it is there
                self._sessions.forget(session, SessionRefused("unknown session", "the page was closed"))
            elif not self._taken_over:
                session.detach()
            raise
        return session

    async def _session(self, hello: Hello) -> Session:
        if hello.session is None:
            return await self._sessions.open(hello)
        session = self._sessions.find(hello.session)
        if session is None or session.refusal is not None:
            raise SessionRefused("unknown session", "The stream is no longer there.")
        session.take_over()
        return session

    def _welcome(self, session: Session) -> dict[str, Any]:
        return {
            "type": "welcome", "version": VERSION, "session": session.identifier,
            "sample_rate": session.sample_rate, "block_samples": session.block_samples,
            "frame_samples": session.frame_samples, "resume_from": self._next,
            "prebuffer": session.prebuffer, "nfe": session.pacer.wanted_nfe,
            "most_nfe": self._sessions.limits.most_nfe, "controls": plain(session.controls),
            "offer": self._sessions.offer.described(),
        }  # fmt: skip

    def _take_over(self, elsewhere: bool) -> None:
        """Wake the sender; with ``elsewhere``, end the connection for another one."""
        self._taken_over = self._taken_over or elsewhere
        self._wake.set()

    async def _send(self, session: Session) -> None:
        """Send what there is to send, whenever there is."""
        while True:
            self._wake.clear()
            if self._taken_over:
                raise SessionRefused("elsewhere", "The stream went on in another window.")
            await self._send_pending(session)
            if session.refusal is not None:
                raise session.refusal
            await self._wake.wait()

    async def _send_pending(self, session: Session) -> None:
        while self._errors:
            await self._transmit(json.dumps({"type": "error", "message": self._errors.pop(0)}))
        while session.outbox and not self._taken_over:
            await self._transmit(json.dumps(session.outbox.popleft()))
        while self._next < session.history.end and not self._taken_over:
            for frame in session.frames(self._next):
                await self._transmit(audio_frame(self._counter, frame.first, frame.samples))
                self._counter, self._next = self._counter + 1, frame.end

    async def _transmit(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # servers and clients name a lost connection in different ways
            LOGGER.debug("a connection was lost: %r", error)
            raise _Gone(clean=False) from None

    async def _receive(self) -> Mapping[str, Any]:
        try:
            message: Mapping[str, Any] = await self._socket.receive()
        except RuntimeError:
            raise _Gone(clean=False) from None
        if message["type"] == "websocket.disconnect":
            raise _Gone(clean=message.get("code") in CLEAN_CLOSES)
        size = len(message.get("bytes") or message.get("text") or b"")
        if size > self._sessions.limits.message_bytes:
            raise SessionRefused("too large", f"A message of {size} bytes is too large.")
        return message

    async def _listen(self, session: Session) -> None:
        """Hear the page; what cannot be used is answered, and too much of it ends the connection."""
        while True:
            message = await self._receive()
            if self._messages.take(1.0, time.monotonic()) < 1.0:
                self._complain("too fast", "Messages come too fast; some are dropped.")
                continue
            try:
                problem = self._hear(session, message)
            except ProtocolError as error:
                problem = str(error)
                self._complain("malformed", problem)
            else:
                if problem is not None:
                    self._complain("too fast", problem)

    def _hear(self, session: Session, message: Mapping[str, Any]) -> str | None:
        content = message.get("bytes")
        if content is not None:
            if not self._sessions.offer.hears_audio:
                raise ProtocolError("this model hears no audio")
            return session.hear(parse_audio(content, session.sample_rate * 2))
        said = parse_message(_text(message))
        if said is None:
            raise _Gone(clean=True)
        if isinstance(said, Hello):
            raise ProtocolError("hello was said already")
        if isinstance(said, Report):
            session.report(said)
            return None
        if isinstance(said, Settings):
            self._sessions.offer.check_controls(said.controls)
        elif not self._sessions.offer.hears_midi:
            raise ProtocolError("this model hears no keyboard")
        return session.hear(said)

    def _complain(self, code: str, problem: str) -> None:
        if self._trust.take(1.0, time.monotonic()) < 1.0:
            raise SessionRefused(code, f"Too many messages could not be used, the last because: {problem}")
        if problem not in self._errors:
            self._errors.append(problem)
        self._wake.set()


def _text(message: Mapping[str, Any]) -> str:
    text = message.get("text")
    if not isinstance(text, str):
        raise ProtocolError("the message must be text")
    return text


def plain(controls: Mapping[str, Any]) -> dict[str, Any]:
    """Return controls as values of JSON; not-a-number, which asks for nothing, becomes None."""
    return {name: _plain_value(value) for name, value in controls.items()}


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    numbers = np.asarray(value, dtype=np.float64)
    listed = [float(number) if np.isfinite(number) else None for number in numbers.ravel()]
    return listed if numbers.ndim else listed[0]
