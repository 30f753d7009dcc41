"""Who may talk to the server."""

from __future__ import annotations

import pytest

from sciffusion.domains.music.server_limits import Allowance, ServerLimits
from sciffusion.domains.music.server_security import (
    PAGE_HEADERS,
    AccessRules,
    checked_token,
    is_loopback,
    new_token,
)

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "::1"])
def test_addresses_of_this_machine_need_no_token(host: str) -> None:
    assert is_loopback(host)
    assert checked_token(None, host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_any_other_address_gets_a_token(host: str) -> None:
    assert not is_loopback(host)
    first, second = checked_token(None, host), checked_token(None, host)
    assert first is not None
    assert len(first) >= 32
    assert first != second


def test_short_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 characters, got 3"):
        checked_token("abc", "127.0.0.1")
    with pytest.raises(ValueError, match="at least 16 characters, got 0"):
        checked_token("", "0.0.0.0")
    assert checked_token(TOKEN, "127.0.0.1") == TOKEN
    assert new_token() != new_token()


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8765", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("LOCALHOST:1", True),
        ("music.evil.example:8765", False),  # a name that was made to point here
        ("localhost.evil.example", False),
        ("", False),
        (None, False),
        ("[::1", False),
    ],
)
def test_without_a_token_only_names_of_this_machine_are_answered(host: str | None, allowed: bool) -> None:
    assert AccessRules().host_allowed(host) is allowed


def test_with_a_token_or_by_name_other_hosts_are_answered() -> None:
    assert AccessRules(TOKEN).host_allowed("192.168.1.5:80")
    assert AccessRules(allowed_hosts=["studio"]).host_allowed("studio:80")
    assert not AccessRules(TOKEN, allowed_hosts=["studio"]).host_allowed("192.168.1.5")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://127.0.0.1:8765", True),
        ("https://127.0.0.1:8765", True),
        ("http://127.0.0.1:8766", False),
        ("http://evil.example", False),
        ("http://evil.example/127.0.0.1:8765", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("http://[", False),
        ("https://friend.example", True),
        ("http://friend.example", False),
    ],
)
def test_only_pages_of_the_server_and_of_friends_may_connect(origin: str | None, allowed: bool) -> None:
    rules = AccessRules(allowed_origins=["https://friend.example/"])
    assert rules.origin_allowed(origin, "127.0.0.1:8765") is allowed


def test_tokens_are_compared_whole() -> None:
    rules = AccessRules(TOKEN)
    assert rules.token_allowed(TOKEN)
    for wrong in (None, "", TOKEN[:-1], TOKEN + "0", "é" * 16, "\ud800" * 16):
        assert not rules.token_allowed(wrong)
    assert AccessRules().token_allowed(None)


def test_the_page_may_load_nothing_from_elsewhere() -> None:
    policy = dict(part.split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_sessions must be positive, got 0"):
        ServerLimits(max_sessions=0)
    with pytest.raises(ValueError, match="resume_seconds must be positive, got nan"):
        ServerLimits(resume_seconds=float("nan"))


def test_an_allowance_grows_with_time_up_to_its_most() -> None:
    allowance = Allowance(rate=2.0, most=4.0, now=0.0)
    assert allowance.take(3.0, 0.0) == 3.0
    assert allowance.take(3.0, 0.0) == 1.0
    assert allowance.take(3.0, 1.0) == 2.0
    assert allowance.take(9.0, 100.0) == 4.0
