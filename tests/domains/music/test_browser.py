"""The page of the player in headless Chromium, on streams that are exact."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest

from sciffusion.domains.music.server import RunningServer, running_server
from sciffusion.domains.music.server_offer import Offer

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("starlette", reason="needs the extra music")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

OFFER = Offer(
    title="Sines", controls=("chroma", "loudness", "style"), styles=("organ", "piano"), hears_audio=True
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Sockets of the page, so that a test can break them.
KEEP_SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) { super(...given); window.sockets.push(this); }
};
"""
BLOCK = 12_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens pages; errors of a page fail the test."""
    contexts, errors = [], []

    def open_page(url: str, width: int = 1280, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.add_init_script(KEEP_SOCKETS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


@contextmanager
def sines(sine_stream: Callable[..., Any], **options: Any) -> Iterator[RunningServer]:
    """Run a server of sines."""
    with running_server(partial(sine_stream, block_samples=BLOCK), offer=OFFER, **options) as server:
        yield server


def state(page: Any, name: str) -> None:
    """Wait for a state of the page."""
    page.wait_for_selector(f'body[data-state="{name}"]')


def text(page: Any, name: str) -> str:
    return str(page.text_content(f"#{name}"))


def play_until(page: Any, seconds: int) -> None:
    """Wait until the page has played and proven some seconds."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        page.wait_for_timeout(100)
        minutes, _, rest = text(page, "proof").removeprefix("✓ ").partition(":")
        if rest and 60 * int(minutes) + int(rest) >= seconds:
            return
    raise AssertionError(f"after 30 s the page shows {text(page, 'proof')!r}, {text(page, 'clock')!r}")


def answer(server: RunningServer, path: str) -> dict[str, Any]:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{server.port}{path}") as reply:
        return dict(json.load(reply))


def recording(sine_stream: Callable[..., Any], said: list[Any]) -> Callable[..., Any]:
    """Return streams that note what they are told."""

    class Recording(sine_stream):  # type: ignore[misc, valid-type]
        def set(self, **given: Any) -> None:
            said.append(given)
            super().set(**given)

        def push_midi(self, message: bytes) -> None:
            said.append(message)
            super().push_midi(message)

        def push_audio(self, samples: Any, sample_rate: int) -> None:
            said.append((samples, sample_rate))

    return Recording


def heard(page: Any, said: list[Any], wanted: Callable[[Any], bool]) -> Any:
    """Wait until the stream was told something."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        page.wait_for_timeout(50)
        for part in list(said):
            if wanted(part):
                return part
    raise AssertionError(f"the stream was told only {said}")


def test_the_page_plays_what_the_server_made(opened: Callable[..., Any], sine_stream: Any) -> None:
    received = bytearray()

    def listen(socket: Any) -> None:
        socket.on(
            "framereceived", lambda data: received.extend(data[16:]) if isinstance(data, bytes) else None
        )

    with sines(sine_stream) as server:
        page = opened(server.url)
        page.on("websocket", listen)
        assert text(page, "title") == "Sines"
        page.click("#play")
        state(page, "playing")
        play_until(page, 3)
        assert text(page, "underruns") == "0"
        session = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        identifier = next(name for name in session if "/api/sessions/" in name).split("/")[-1].split("?")[0]
        samples = len(received) // 4
        digest = answer(server, f"/api/sessions/{identifier}?at={samples}")["sha256"]
        assert digest == hashlib.sha256(bytes(received)).hexdigest()
        stream = sine_stream(block_samples=BLOCK)
        whole = b"".join(stream.step().samples.tobytes() for _ in range(samples // BLOCK))
        assert bytes(received[: len(whole)]) == whole
        page.click("#play")
        state(page, "paused")
        played = answer(server, f"/api/sessions/{identifier}")["played"]
        page.wait_for_timeout(500)
        assert answer(server, f"/api/sessions/{identifier}")["played"] - played < 12_000
        page.keyboard.press("Tab")
        page.click("#play")
        state(page, "playing")


def test_keys_and_controls_reach_the_stream(opened: Callable[..., Any], sine_stream: Any) -> None:
    said: list[Any] = []
    with sines(recording(sine_stream, said)) as server:
        page = opened(server.url)
        page.click("#play")
        state(page, "playing")
        page.keyboard.down("d")
        heard(page, said, lambda part: part == bytes([0x90, 52, 96]))
        page.keyboard.up("d")
        heard(page, said, lambda part: part == bytes([0x80, 52, 0]))
        page.locator('.key[data-pitch="60"]').click(position={"x": 10, "y": 100})
        heard(page, said, lambda part: part == bytes([0x90, 60, 96]))
        heard(page, said, lambda part: part == bytes([0x80, 60, 0]))
        page.click('.note[aria-label="A"]')
        chroma = heard(page, said, lambda part: isinstance(part, dict) and part.get("chroma") is not None)
        np.testing.assert_array_equal(chroma["chroma"], np.eye(12, dtype=np.float32)[9])
        page.click("#harmony-free")
        heard(page, said, lambda part: isinstance(part, dict) and part.get("chroma", 0) is None)
        page.fill("#loudness", "-30")
        heard(page, said, lambda part: repr(part) == repr({"loudness": -30.0}))
        page.click('[data-style="organ"]')
        heard(page, said, lambda part: repr(part) == repr({"style": "organ"}))
        page.fill("#nfe", "1")
        heard(page, said, lambda part: repr(part) == repr({"nfe": 2}))
        until = time.monotonic() + 10
        while not text(page, "reaction").endswith("s") and time.monotonic() < until:
            page.wait_for_timeout(100)
        assert 0.0 < float(text(page, "reaction").removesuffix(" s")) < 10.0


def test_a_broken_connection_resumes_without_a_gap(opened: Callable[..., Any], sine_stream: Any) -> None:
    with sines(sine_stream) as server:
        page = opened(server.url)
        page.click("#play")
        state(page, "playing")
        page.wait_for_timeout(800)
        page.evaluate("window.sockets.at(-1).close(4999)")
        state(page, "reconnecting")
        state(page, "playing")
        played = int(text(page, "clock").split(":")[1])
        play_until(page, played + 2)
        assert page.evaluate("window.sockets.length") == 2
        assert answer(server, "/api/status")["sessions"] == 1


def test_refusals_are_shown_and_can_be_tried_again(opened: Callable[..., Any], sine_stream: Any) -> None:
    with sines(sine_stream, max_sessions=1) as server:
        first = opened(server.url)
        first.click("#play")
        state(first, "playing")
        second = opened(server.url)
        second.click("#play")
        state(second, "refused")
        assert second.is_visible("#notice")
        assert text(second, "notice-title") == "The room is full"
        assert "one listener at a time" in text(second, "notice-text")
        first.close()
        until = time.monotonic() + 10
        while answer(server, "/api/status")["sessions"] and time.monotonic() < until:
            time.sleep(0.05)
        second.click("#notice-button")
        state(second, "playing")
        assert second.is_hidden("#notice")


def test_a_microphone_is_heard(opened: Callable[..., Any], sine_stream: Any) -> None:
    said: list[Any] = []
    with sines(recording(sine_stream, said)) as server:
        page = opened(server.url, permissions=["microphone"])
        page.click("#play")
        state(page, "playing")
        page.click("#microphone")
        samples, rate = heard(page, said, lambda part: isinstance(part, tuple) and np.ptp(part[0]) > 0.01)
        assert rate in (16_000, 44_100, 48_000)
        assert len(samples) >= 0.04 * rate - 1


def test_a_page_with_the_token_plays_and_one_without_is_told(
    opened: Callable[..., Any], sine_stream: Any
) -> None:
    with sines(sine_stream, token="a token of some length") as server:
        stranger = opened(f"http://127.0.0.1:{server.port}/")
        stranger.click("#play")
        state(stranger, "refused")
        assert "token is missing or wrong" in text(stranger, "notice-text")
        friend = opened(server.url)
        friend.click("#play")
        state(friend, "playing")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_names_everything(opened: Callable[..., Any], sine_stream: Any, width: int) -> None:
    with sines(sine_stream) as server:
        page = opened(server.url, width)
        page.wait_for_selector('[data-style="organ"]')
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        nameless = """() => [...document.querySelectorAll("button, input, select")].filter((element) =>
            !(element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.length)
        ).map((element) => element.outerHTML)"""
        assert page.evaluate(nameless) == []
        outside = """(width) => [...document.querySelectorAll("button, input, output")].filter((element) => {
            const box = element.getBoundingClientRect();
            return box.width > 0 && (box.left < 0 || box.right > width);
        }).map((element) => element.outerHTML)"""
        assert page.evaluate(outside, width) == []


def test_other_sample_rates_are_resampled_without_a_gap(opened: Callable[..., Any], sine_stream: Any) -> None:
    class Slower(sine_stream):  # type: ignore[misc, valid-type]
        sample_rate = 16_000

    with sines(Slower) as server:
        page = opened(server.url)
        page.click("#play")
        state(page, "playing")
        began = time.monotonic(), int(text(page, "clock").split(":")[1])
        play_until(page, 4)
        played = int(text(page, "clock").split(":")[1]) - began[1]
        assert abs(played - (time.monotonic() - began[0])) < 2.0  # at its own speed


@pytest.mark.slow
def test_a_stall_is_a_dropout_but_no_gap(opened: Callable[..., Any], sine_stream: Any) -> None:
    class Stalling(sine_stream):  # type: ignore[misc, valid-type]
        def step(self) -> Any:
            time.sleep(4.0 if self.number == 8 else 0.0)
            return super().step()

    with sines(Stalling) as server:
        page = opened(server.url)
        page.click("#play")
        state(page, "playing")
        state(page, "waiting")
        state(page, "playing")
        assert text(page, "underruns") == "1"
        play_until(page, 7)
        assert text(page, "underruns") == "1"


@pytest.mark.slow
def test_a_server_that_stops_is_said_and_one_that_returns_is_used(
    opened: Callable[..., Any], sine_stream: Any
) -> None:
    with sines(sine_stream) as server:
        port = server.port
        page = opened(server.url)
        page.click("#play")
        state(page, "playing")
    state(page, "reconnecting")
    with sines(sine_stream, port=port):
        state(page, "refused")
        assert text(page, "notice-title") == "The stream has ended"
        page.click("#notice-button")
        state(page, "playing")


def test_what_a_model_cannot_hear_is_not_offered(
    opened: Callable[..., Any], sine_stream: Callable[..., Any]
) -> None:
    deaf = Offer(controls=(), hears_midi=False)
    with running_server(partial(sine_stream, block_samples=BLOCK), offer=deaf) as server:
        page = opened(server.url)
        page.wait_for_selector("#along-head", state="hidden")
        for name in ("along-hint", "midi-field", "microphone-field", "style-field", "harmony", "keys"):
            assert page.is_hidden(f"#{name}")
