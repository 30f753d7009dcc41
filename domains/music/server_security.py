"""Who may talk to the server: hosts, origins, tokens, and the headers that keep a page to itself.

A server on this machine only is still reached by every page that the user's browser shows, so that two
things are checked at each request: the name under which the server was called (a foreign name that was made
to point here is refused) and, for WebSockets, the page that called it. On any other address a token is
needed as well; the page reads it from the part of its address behind ``#``, which browsers send nowhere.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["PAGE_HEADERS", "AccessRules", "checked_token", "is_loopback", "new_token"]

SHORTEST_TOKEN = 16
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

#: Nothing from elsewhere, nothing inline: the page and its scripts come from this server or not at all.
PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), midi=(self), camera=(), geolocation=()",
    "Cache-Control": "no-cache",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # some other name: what it points to is not ours to trust


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def checked_token(token: str | None, host: str) -> str | None:
    """Return the token that a server on ``host`` asks for: a new one where it needs one and has none.

    Raises
    ------
    ValueError
        For a token that is too short to keep anyone out.
    """
    if token is None:
        return None if is_loopback(host) else new_token()
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"token must have at least {SHORTEST_TOKEN} characters, got {len(token)}; leave it out to have "
            "one made"
        )
    return token


@dataclass(frozen=True)
class AccessRules:
    """Who may talk to the server.

    Parameters
    ----------
    token : str, optional
        What every session has to know; none on this machine only.
    allowed_origins : iterable of str
        Pages of other servers that may connect, such as ``"https://example.org"``.
    allowed_hosts : iterable of str, optional
        Names under which the server may be called, without a port; None is any, where a token keeps others
        out, and the names of this machine without one.
    """

    token: str | None = None
    allowed_origins: Iterable[str] = ()
    allowed_hosts: Iterable[str] | None = None
    _origins: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_origins", frozenset(origin.rstrip("/") for origin in self.allowed_origins))

    def host_allowed(self, host: str | None) -> bool:
        """Whether the server may be called by this name (the header ``Host``)."""
        name = _host_name(host)
        if name is None:
            return False
        if self.allowed_hosts is not None:
            return name in set(self.allowed_hosts)
        return self.token is not None or name in LOOPBACK_NAMES

    def origin_allowed(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of this origin may connect: the server's own, one named, or no page at all."""
        if origin is None:
            return True  # not a browser, which could say anything; hosts and tokens are checked all the same
        if origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.netloc == host

    def token_allowed(self, token: str | None) -> bool:
        """Whether this is the token, or none is needed."""
        if self.token is None:
            return True
        # JSON can hold halves of surrogate pairs, which are no text.
        return token is not None and secrets.compare_digest(
            token.encode(errors="surrogatepass"), self.token.encode(errors="surrogatepass")
        )


def _host_name(host: str | None) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return None
