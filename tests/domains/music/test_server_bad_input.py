"""What goes wrong at one page is said to it, and the server and other pages go on."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.music.server import running_server
from sciffusion.domains.music.server_limits import ServerLimits
from sciffusion.domains.music.server_offer import Offer

WebSocketDisconnect = pytest.importorskip("starlette.websockets").WebSocketDisconnect

OFFER = Offer(controls=("chroma", "loudness", "style"), styles=("organ", "broken", "nan"), hears_audio=True)
TOKEN = "a token of some length"
HELLO = {"type": "hello", "version": 1}


def refusal(server: Any, first: Any, headers: dict[str, str] | None = None) -> tuple[str, int]:
    """Say something first; return how and with which code that was refused."""
    with server.socket(headers) as socket:
        if isinstance(first, bytes):
            socket.send_bytes(first)
        elif isinstance(first, str):
            socket.send_text(first)
        else:
            socket.send_json(first)
        said = socket.receive_json()
        assert said["type"] == "refused"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.reason
        return said["message"], closed.value.code


def plays(server: Any, samples: int = 9_600) -> bool:
    """Whether a page that comes now hears music."""
    with server.listen() as page:
        return len(page.play(samples)) == 4 * samples


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_pages_of_others_do_not_connect(serving: Callable[..., Any], origin: str) -> None:
    with serving() as server:
        with pytest.raises(WebSocketDisconnect), server.socket({"Origin": origin}):
            pass
        with server.listen({"Origin": "http://127.0.0.1"}) as page:
            assert page.play(4_800)


def test_foreign_names_of_this_server_are_refused(serving: Callable[..., Any]) -> None:
    with serving() as server:
        host = {"Host": "music.evil.example"}
        with pytest.raises(WebSocketDisconnect), server.socket(host):
            pass
        for path in ("/", "/static/player.js", "/api/status", "/api/sessions/x"):
            assert server.get(path, Host="music.evil.example").status_code == 421
        assert plays(server)


def test_wrong_tokens_are_refused(serving: Callable[..., Any]) -> None:
    with serving(token=TOKEN) as server:
        for token in (None, "", TOKEN + "x"):
            message, code = refusal(server, {**HELLO, "token": token})
            assert "token is missing or wrong" in message
            assert code == 4401
        assert server.get("/api/status").status_code == 401


def test_one_page_too_many_is_told_so(serving: Callable[..., Any]) -> None:
    with serving(max_sessions=1) as server:
        with server.listen() as page:
            page.play(4_800)
            message, code = refusal(server, HELLO)
            assert "one listener at a time" in message
            assert code == 4429
            before = len(page.pcm)
            page.play(before // 4 + 9_600)  # the first one hears nothing of it
            page.send(type="bye")
            assert page.close_code() >= 1000
        assert plays(server)


def test_a_machine_that_just_keeps_up_takes_no_more(
    serving: Callable[..., Any], sine_stream: Callable[..., Any]
) -> None:
    # With two evaluations a block of .2 s takes .12 s: one stream can last on one worker, two cannot.
    slow = partial(sine_stream, seconds=0.06, nfe=2)
    with serving(lambda **asked: slow(**asked), limits=ServerLimits(workers=1)) as server:
        with server.listen() as page:
            page.play(4 * 4_800)
            message, code = refusal(server, HELLO)
            assert "can only just keep up" in message
            assert code == 4429
            page.play(6 * 4_800)
        assert plays(server)


@pytest.mark.parametrize(
    "first",
    [
        "{",
        "[]",
        "5",
        '{"type": "set"}',
        '{"type": "hello", "version": 99}',
        b"\x00\x01\x02",
        '{"type": "bye"}',
    ],
)
def test_a_first_message_that_is_no_greeting(serving: Callable[..., Any], first: str | bytes) -> None:
    with serving() as server:
        assert refusal(server, first)[1] == 4400
        assert plays(server)


def test_silence_is_not_waited_for(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(hello_seconds=0.05)) as server, server.socket() as socket:
        assert socket.receive_json()["code"] == "silent"


def test_unknown_sessions_are_refused(serving: Callable[..., Any]) -> None:
    with serving() as server:
        message, code = refusal(server, {**HELLO, "session": "nobody", "next": 5})
        assert (message, code) == ("The stream is no longer there.", 4404)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "must be JSON"),
        ('{"type": "set", "controls": {"loudness": NaN}}', "must be JSON"),
        ('{"type": "set", "controls": {"roll": "/etc/passwd"}}', "no control 'roll'"),
        ('{"type": "set", "controls": {"chroma": "/etc/passwd"}}', "chroma cannot be '/etc/passwd'"),
        ('{"type": "set", "controls": {"style": "jazz"}}', "style cannot be 'jazz'"),
        ('{"type": "set", "nfe": 999}', "nfe must be at most 32, got 999"),
        ('{"type": "midi", "data": [1]}', "status byte"),
        ('{"type": "hello", "version": 1}', "said already"),
        (b"garbage", "header of 16 bytes"),
        (bytes(400), "must be audio"),
        (b"\x53\x4d\x01\x01" + bytes(4) + (48_000).to_bytes(8, "little") + b"\x00\x00\xc0\x7f" * 9, "NaN"),
    ],
)
def test_messages_that_cannot_be_used_are_answered(
    serving: Callable[..., Any], message: str | bytes, words: str
) -> None:
    with serving(offer=OFFER) as server, server.listen() as page:
        page.play(4_800)
        if isinstance(message, bytes):
            page.socket.send_bytes(message)
        else:
            page.socket.send_text(message)
        assert words in page.until("error")["message"]
        before = len(page.pcm) // 4
        assert page.play(before + 9_600)  # the music goes on


def test_what_is_not_offered_is_not_heard(serving: Callable[..., Any]) -> None:
    with serving(offer=Offer(hears_midi=False)) as server, server.listen() as page:
        page.send(type="midi", data=[0x90, 60, 1])
        assert "hears no keyboard" in page.until("error")["message"]
        page.socket.send_bytes(bytes(40))
        assert "hears no audio" in page.until("error")["message"]


def test_endless_nonsense_ends_the_connection(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(patience=5)) as server:
        with server.listen() as page:
            for _ in range(9):
                page.socket.send_text("{")
            assert page.until("refused")["code"] == "malformed"
            assert page.close_code() == 4400
        assert plays(server)


def test_a_flood_of_messages_is_dropped_and_then_ended(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(messages_a_second=10.0, patience=5)) as server:
        with server.listen() as page:
            for _ in range(200):
                page.send(type="report", played=0)
            assert page.until("refused")["code"] == "too fast"
            assert page.close_code() == 4430
        assert server.get("/api/status").json()["sessions"] <= 1


def test_large_messages_end_the_connection(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(message_bytes=1_000)) as server:
        for large in ("x" * 2_000, bytes(2_000)):
            with server.listen() as page:
                (page.socket.send_text if isinstance(large, str) else page.socket.send_bytes)(large)
                assert page.close_code() == 4413


def test_more_audio_than_can_wait_is_dropped(serving: Callable[..., Any], sine_stream: type) -> None:
    longest: list[float] = [0.0]

    class Hearing(sine_stream):  # type: ignore[misc]
        def push_audio(self, samples: Any, sample_rate: int) -> None:
            longest[0] = max(longest[0], len(samples) / sample_rate)

    header = b"\x53\x4d\x01\x01" + bytes(4) + (8_000).to_bytes(8, "little")
    with serving(Hearing, offer=OFFER) as server, server.listen() as page:
        page.until("pace")
        time.sleep(0.2)  # blocks are made ahead; then nothing moves, as nothing is reported
        for _ in range(8):
            page.socket.send_bytes(header + np.zeros(8_000, dtype="<f4").tobytes())
        assert "more than 4 s of audio wait" in page.until("error")["message"]
        page.play(72_000)
    assert 3.0 <= longest[0] <= 4.0


def test_a_stream_that_does_not_start(serving: Callable[..., Any]) -> None:
    with serving() as server:
        message, code = refusal(server, {**HELLO, "seed": 13})
        assert (message, code) == ("the model did not start: seed must not be 13", 4500)
        message, code = refusal(server, {**HELLO, "nfe": 1000})
        assert "nfe must be at most 32" in message
        assert server.get("/api/status").json()["sessions"] == 0
        assert plays(server)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stream_that_fails_is_ended_and_others_play(serving: Callable[..., Any]) -> None:
    with serving(offer=OFFER) as server, server.listen(seed=1) as good:
        with server.listen(seed=2) as bad:
            bad.play(4_800)
            bad.send(type="set", controls={"style": "broken"})
            assert "the network exploded" in bad.play_until("refused")["message"]
            assert bad.close_code() == 4500
        before = len(good.pcm) // 4
        assert good.play(before + 48_000)


def test_a_block_that_is_no_sound_is_silence(serving: Callable[..., Any]) -> None:
    with serving(offer=OFFER) as server, server.listen() as page:
        page.play(4_800)
        page.send(type="set", controls={"style": "nan"}, id=1)
        assert "no sound; it is silence" in page.play_until("error")["message"]
        sample = page.play_until("applied")["sample"]
        heard = np.frombuffer(page.play(sample + 4_800), dtype="<f4")
        assert not heard[sample : sample + 4_800].any()
        assert heard[:sample].any()


def test_lost_pages_are_waited_for_and_then_forgotten(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(resume_seconds=0.2)) as server:
        with server.listen() as page:
            page.play(4_800)
            page.socket.close(1006)
        assert server.get("/api/status").json()["sessions"] == 1
        until = time.monotonic() + 5
        while server.get("/api/status").json()["sessions"] and time.monotonic() < until:
            time.sleep(0.05)
        assert refusal(server, {**HELLO, "session": page.greeting["session"]})[1] == 4404


def test_closed_pages_are_forgotten_at_once(serving: Callable[..., Any]) -> None:
    with serving(max_sessions=1) as server:
        for code in (1000, 1001):
            with server.listen() as page:
                page.play(4_800)
                page.socket.close(code)
            assert plays(server)


def test_pauses_end_after_a_while(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(idle_seconds=0.2)) as server, server.listen() as page:
        assert page.until("refused")["code"] == "idle"
        assert page.close_code() == 4410


def test_pages_that_leave_while_the_model_starts_hold_no_place(sine_stream: type) -> None:
    websockets = pytest.importorskip("websockets.sync.client")

    def make_stream(**asked: Any) -> Any:
        time.sleep(0.3)
        return sine_stream(**asked)

    with running_server(make_stream, max_sessions=1) as server:
        address = f"ws://127.0.0.1:{server.port}/api/stream"
        with websockets.connect(address, proxy=None) as page:
            page.send(json.dumps(HELLO))
            page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            page.socket.close()  # as by a process that was killed
        time.sleep(0.4)
        until = time.monotonic() + 5
        while True:
            with websockets.connect(address, proxy=None) as page:
                page.send(json.dumps(HELLO))
                answer = json.loads(page.recv(timeout=5))["type"]
            if answer == "welcome" or time.monotonic() > until:
                break
        assert answer == "welcome"


def test_pages_that_stay_are_not_waited_for(serving: Callable[..., Any]) -> None:
    with serving(limits=ServerLimits(resume_seconds=0.05)) as server, server.listen() as page:
        page.play(4_800)
        time.sleep(1.2)  # longer than the reaper sleeps
        page.play(24_000)
        assert server.get(f"/api/sessions/{page.greeting['session']}").json()["attached"]
