"""The player in the browser: streams of a model over WebSockets, and the page that plays them.

`create_app` gives the application (any ASGI server runs it), `serve` runs it until it is interrupted, and
`running_server` runs it beside the caller. Everything comes from this server; the page works offline.

======================  ======================================================================================
``/``                   the page, and its parts under ``/static/``
``/api/stream``         WebSocket: the stream (see `server_protocol`)
``/api/status``         how many sessions there are and may be, and what is offered
``/api/sessions/<id>``  how a session goes, with ``sha256`` of its first ``at`` samples (as float32, little
                        endian); ``?at=`` is all of them by default
======================  ======================================================================================

With a token, requests under ``/api/`` carry it as ``Authorization: Bearer <token>``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from importlib.util import find_spec
from typing import Any, NamedTuple

from sciffusion.estimators.imports import optional_import

from .live_stream import LiveStream
from .server_limits import ServerLimits
from .server_offer import Offer
from .server_security import PAGE_HEADERS, AccessRules, checked_token
from .server_sessions import Sessions
from .server_socket import converse

__all__ = ["RunningServer", "create_app", "running_server", "serve"]

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
STARTING_SECONDS = 20.0


def create_app(
    make_stream: Callable[..., LiveStream],
    *,
    offer: Offer | None = None,
    limits: ServerLimits | None = None,
    max_sessions: int | None = None,
    token: str | None = None,
    allowed_origins: Iterable[str] = (),
    allowed_hosts: Iterable[str] | None = None,
) -> Any:
    """Return the application of the player.

    Parameters
    ----------
    make_stream : callable
        Returns a new stream (`LiveStream`). Called in a worker thread with ``seed=`` and, where a page asks
        for them, ``nfe=`` and ``context=`` (`Audio` to go on from).
    offer : Offer, optional
        What pages are told that they can ask for.
    limits : ServerLimits, optional
    max_sessions : int, optional
        Streams at once; short for ``limits=ServerLimits(max_sessions=...)``.
    token : str, optional
        What pages have to know; without one, the server answers to the names of this machine only.
    allowed_origins : iterable of str
        Other servers whose pages may connect, such as ``"https://example.org"``.
    allowed_hosts : iterable of str, optional
        Names under which the server may be called.

    Returns
    -------
    starlette.applications.Starlette

    Raises
    ------
    ImportError
        Without starlette, with the command that installs it.
    ValueError
        For a limit that is not positive, or a token that is too short.
    """
    applications = optional_import("starlette.applications", "music")
    routing = optional_import("starlette.routing", "music")
    limits = ServerLimits() if limits is None else limits
    if max_sessions is not None:
        limits = replace(limits, max_sessions=max_sessions)
    rules = AccessRules(checked_token(token, "localhost"), allowed_origins, allowed_hosts)
    sessions = Sessions(make_stream, Offer() if offer is None else offer, limits)
    answers = _Answers(sessions, rules)

    async def stream(socket: Any) -> None:
        await converse(socket, sessions, rules)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        reaper = asyncio.create_task(sessions.reap_forever())
        try:
            yield
        finally:
            reaper.cancel()
            await asyncio.gather(reaper, return_exceptions=True)
            await sessions.close()

    return applications.Starlette(
        routes=[
            routing.Route("/", answers.page),
            routing.Route("/static/{name}", answers.page),
            routing.Route("/api/status", answers.status),
            routing.Route("/api/sessions/{identifier}", answers.session),
            routing.WebSocketRoute("/api/stream", stream),
        ],
        lifespan=lifespan,
    )


class _Answers:
    """Answers to plain requests."""

    def __init__(self, sessions: Sessions, rules: AccessRules) -> None:
        self._sessions, self._rules = sessions, rules
        self._responses = optional_import("starlette.responses", "music")
        self._files = _page_files()

    async def page(self, request: Any) -> Any:
        """Return the page or one of its parts."""
        name = request.path_params.get("name", "index.html")
        if not self._rules.host_allowed(request.headers.get("host")):
            return self._refused(421, "this server is not called by that name")
        if name not in self._files:
            return self._refused(404, "there is no such file")
        kind = CONTENT_TYPES["." + name.rpartition(".")[2]]
        return self._responses.Response(self._files[name], headers={**PAGE_HEADERS, "Content-Type": kind})

    async def status(self, request: Any) -> Any:
        """Return how many sessions there are."""
        found = self._no_access(request)
        if found is not None:
            return found
        most, offer = self._sessions.limits.max_sessions, self._sessions.offer.described()
        return self._json({"sessions": len(self._sessions), "max_sessions": most, "offer": offer})

    async def session(self, request: Any) -> Any:
        """Return how a session goes, and a digest of its samples."""
        found = self._no_access(request)
        if found is not None:
            return found
        session = self._sessions.find(request.path_params["identifier"])
        if session is None:
            return self._refused(404, "there is no such session")
        at = request.query_params.get("at", str(session.history.end))
        try:
            sample = int(at)
            digest = session.history.digest_at(sample)
        except ValueError as error:
            return self._refused(400, f"at: {error}")
        return self._json({**session.statistics(), "at": sample, "sha256": digest})

    def _no_access(self, request: Any) -> Any:
        if not self._rules.host_allowed(request.headers.get("host")):
            return self._refused(421, "this server is not called by that name")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not self._rules.token_allowed(token if scheme.lower() == "bearer" else None):
            return self._refused(401, "the token is missing or wrong")
        return None

    def _refused(self, status: int, message: str) -> Any:
        return self._json({"error": message}, status)

    def _json(self, content: Mapping[str, Any], status: int = 200) -> Any:
        headers = {**PAGE_HEADERS, "Cache-Control": "no-store"}
        return self._responses.JSONResponse(dict(content), status, headers)


def _page_files() -> dict[str, bytes]:
    """Return the files of the page by name; nothing else can be asked for."""
    folder = resources.files(__package__) / "static"
    kinds = tuple(CONTENT_TYPES)
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(kinds)}


class RunningServer(NamedTuple):
    """A server that runs.

    Parameters
    ----------
    url : str
        Address of the page, the token included where there is one.
    port : int
    token : str or None
    """

    url: str
    port: int
    token: str | None


def _server(app: Any, host: str, port: int, limits: ServerLimits) -> Any:
    uvicorn = optional_import("uvicorn", "music")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        ws=_web_socket_kind(),
        ws_ping_interval=10.0,
        ws_ping_timeout=20.0,
        ws_max_size=limits.message_bytes + 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def _web_socket_kind() -> str:
    """Return uvicorn's newer WebSockets where it has them: the older ones use what websockets deprecates."""
    newer = "uvicorn.protocols.websockets.websockets_sansio_impl"
    return "websockets-sansio" if find_spec(newer) is not None else "auto"


def _address(host: str, port: int, token: str | None) -> str:
    shown = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={token}" if token else "")


def _prepared(
    make_stream: Callable[..., LiveStream], host: str, port: int, options: dict[str, Any]
) -> tuple[Any, str | None]:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port must be a whole number from 0 to 65535, got {port!r}")
    token = checked_token(options.pop("token", None), host)
    limits = options.get("limits") or ServerLimits()
    return _server(create_app(make_stream, token=token, **options), host, port, limits), token


def serve(
    make_stream: Callable[..., LiveStream],
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    open_browser: bool = False,
    announce: Callable[[str], None] = print,
    **options: Any,
) -> None:
    """Run the player until it is interrupted.

    Parameters
    ----------
    make_stream : callable
        See `create_app`.
    host : str
        Address to listen on; from any but this machine's own a token is asked for, and made and announced
        where none is given.
    port : int
        0 takes a free one.
    open_browser : bool
        Show the page in the user's browser.
    announce : callable
        Told the address.
    **options
        Of `create_app`.

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """
    server, token = _prepared(make_stream, host, port, options)
    listening = threading.Thread(
        target=_announce, args=(server, host, token, announce, open_browser), daemon=True
    )
    listening.start()
    _run_quietly(server)
    if not server.started:
        raise OSError(f"the server cannot listen on {host}:{port}: is another one there?")


def _announce(server: Any, host: str, token: str | None, announce: Callable[[str], None], show: bool) -> None:
    if not _wait_for(server):
        return
    url = _address(host, _port(server), token)
    announce(url)
    if show:
        webbrowser.open(url)


def _wait_for(server: Any) -> bool:
    until = time.monotonic() + STARTING_SECONDS
    while not server.started and not server.should_exit and time.monotonic() < until:
        time.sleep(0.02)
    return bool(server.started)


def _port(server: Any) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


@contextlib.contextmanager
def running_server(
    make_stream: Callable[..., LiveStream], *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[RunningServer]:
    """Run the player in a thread beside the caller (see `serve`).

    Yields
    ------
    RunningServer

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """
    server, token = _prepared(make_stream, host, port, options)
    thread = threading.Thread(target=_run_quietly, args=(server,), name="music-server", daemon=True)
    thread.start()
    try:
        if not _wait_for(server):
            raise OSError(f"the server cannot listen on {host}:{port}")
        yield RunningServer(_address(host, _port(server), token), _port(server), token)
    finally:
        server.should_exit = True
        thread.join(STARTING_SECONDS)


def _run_quietly(server: Any) -> None:
    # uvicorn leaves by SystemExit where it cannot listen; the caller is told by OSError.
    with contextlib.suppress(SystemExit):
        server.run()
    server.should_exit = True
