"""The server of live streams: what is sent is the stream, whatever the connection goes through."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.music.audio import Audio
from sciffusion.domains.music.server import create_app, running_server, serve
from sciffusion.domains.music.server_limits import ServerLimits
from sciffusion.domains.music.server_offer import Offer

OFFER = Offer(controls=("chroma", "loudness", "style"), styles=("organ", "broken", "nan"), hears_audio=True)
TOKEN = "a token of some length"


def expected(stream: Any, blocks: int) -> bytes:
    return b"".join(stream.step().samples.tobytes() for _ in range(blocks))


def test_what_is_sent_is_the_stream_in_frames_of_40_ms(
    serving: Callable[..., Any], sine_stream: type
) -> None:
    with serving() as server, server.listen(seed=5) as page:
        heard = page.play(3 * 4_800)
        assert heard == expected(sine_stream(seed=5), 3)
        assert page.firsts == [960 * number for number in range(len(page.firsts))]
        assert page.counters == list(range(len(page.counters)))
        assert page.greeting["sample_rate"] == 24_000
        assert page.greeting["block_samples"] == 4_800


def test_statistics_hold_the_digest_at_any_sample(serving: Callable[..., Any]) -> None:
    with serving() as server, server.listen() as page:
        heard = page.play(9_600)
        address = f"/api/sessions/{page.greeting['session']}"
        for sample in (0, 1, 959, 960, 5_000, 9_600):
            answer = server.get(f"{address}?at={sample}").json()
            assert answer["sha256"] == hashlib.sha256(heard[: 4 * sample]).hexdigest()
        assert answer["samples"] >= 9_600
        assert answer["blocks"] == answer["samples"] / 4_800
        for bad in ("-1", "100000000", "abc", "1.5", ""):
            assert server.get(f"{address}?at={bad}").status_code == 400
        assert server.get("/api/sessions/unknown").status_code == 404


def test_a_page_that_comes_back_goes_on_where_it_was(serving: Callable[..., Any], sine_stream: type) -> None:
    whole = expected(sine_stream(seed=2), 12)
    with serving() as server:
        with server.listen(seed=2) as page:
            first = page.play(9_600)
            identifier = page.greeting["session"]
            page.socket.close(1006)
        # Something was on its way when the connection broke: the page has less than was sent.
        missing = 5_000
        with server.listen(session=identifier, next=missing) as page:
            assert page.greeting["resume_from"] == missing
            assert page.greeting["session"] == identifier
            second = page.play(48_000 - missing)
            assert page.firsts[0] == missing
            answer = server.get(f"/api/sessions/{identifier}?at=48000").json()
        joined = first[: 4 * missing] + second
        assert joined == whole[: len(joined)]
        assert answer["sha256"] == hashlib.sha256(joined[: 4 * 48_000]).hexdigest()


def test_a_second_connection_takes_the_stream_over(serving: Callable[..., Any]) -> None:
    with serving() as server, server.listen() as old:
        before = old.play(4_800)
        with server.listen(session=old.greeting["session"], next=4_800) as new:
            assert old.close_code() == 4409
            after = new.play(9_600)
            assert before + after == expected_from(server, new, 14_400, before + after)
            # The end of the old connection is not that of the new one.
            assert server.get(f"/api/sessions/{old.greeting['session']}").json()["attached"]


def expected_from(server: Any, page: Any, sample: int, heard: bytes) -> bytes:
    """Return what was heard if the server's digest agrees."""
    answer = server.get(f"/api/sessions/{page.greeting['session']}?at={sample}").json()
    return heard if answer["sha256"] == hashlib.sha256(heard).hexdigest() else b""


def test_streams_of_two_pages_do_not_touch(serving: Callable[..., Any], sine_stream: type) -> None:
    with serving() as server, server.listen(seed=1) as one, server.listen(seed=7) as other:
        for blocks in (2, 4, 6):
            assert one.play(4_800 * blocks) == expected(sine_stream(seed=1), blocks)
            assert other.play(4_800 * blocks) == expected(sine_stream(seed=7), blocks)


def test_a_slow_stream_does_not_hold_up_another(serving: Callable[..., Any], sine_stream: type) -> None:
    def make(*, seed: int) -> Any:
        return sine_stream(seed=seed, seconds=0.25 if seed == 1 else 0.0)

    with serving(make, limits=ServerLimits(workers=2)) as server, server.listen(seed=1) as slow:
        with server.listen(seed=2) as quick:
            began = time.monotonic()
            quick.play(48_000)
            assert time.monotonic() - began < 1.5
        assert len(slow.pcm) <= 4 * 4_800  # whose first block takes two seconds


def test_changes_are_heard_from_a_sample_that_is_told(serving: Callable[..., Any], sine_stream: type) -> None:
    with serving(offer=OFFER) as server, server.listen() as page:
        page.play(9_600)
        page.send(type="midi", data=[0x90, 60, 100], id=41)
        page.send(type="set", controls={"loudness": -3.0}, id=42)
        applied = page.play_until("applied")
        assert applied["ids"] == [41, 42]
        sample = applied["sample"]
        heard = np.frombuffer(page.play(sample + 4_800), dtype="<f4")
        plain, struck = sine_stream(), sine_stream()
        struck.push_midi(b"\x90\x3c\x64")
        number = sample // 4_800
        np.testing.assert_array_equal(heard[sample : sample + 4_800], struck.samples(number))
        np.testing.assert_array_equal(heard[sample - 4_800 : sample], plain.samples(number - 1))


def test_audio_of_a_player_reaches_the_stream_whole(serving: Callable[..., Any], sine_stream: type) -> None:
    heard: list[Any] = []

    class Hearing(sine_stream):  # type: ignore[misc]
        def push_audio(self, samples: Any, sample_rate: int) -> None:
            heard.append((samples, sample_rate))

    pieces = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 100)).astype(np.float32)
    with serving(Hearing, offer=OFFER) as server, server.listen() as page:
        page.play(4_800)
        for piece in pieces:
            page.socket.send_bytes(
                b"\x53\x4d\x01\x01" + bytes(4) + (48_000).to_bytes(8, "little") + piece.tobytes()
            )
        page.play(48_000)
    assert {rate for _, rate in heard} == {48_000}
    np.testing.assert_array_equal(np.concatenate([samples for samples, _ in heard]), pieces.ravel())


def test_streams_can_go_on_from_named_music(serving: Callable[..., Any], sine_stream: type) -> None:
    prompt = Audio(np.full(100, 0.25, dtype=np.float32), 24_000)
    with serving(offer=Offer(contexts={"drone": prompt})) as server:
        with server.listen(context="drone") as page:
            assert page.greeting["offer"]["contexts"] == ["drone"]
            assert page.play(4_800) == expected(sine_stream(context=prompt), 1)
        with server.socket() as socket:
            socket.send_json({"type": "hello", "version": 1, "context": "other"})
            assert "context must be one of: drone" in socket.receive_json()["message"]


def test_blocks_are_made_only_as_they_are_heard(serving: Callable[..., Any]) -> None:
    with serving() as server, server.listen() as page:
        page.until("pace")
        time.sleep(0.5)  # without a report nothing has been heard
        address = f"/api/sessions/{page.greeting['session']}"
        made = server.get(address).json()["samples"]
        assert made <= 24_000 * 3
        page.send(type="report", played=10**9)  # heard more than was made: believed up to what was made
        page.play(made + 4_800)
        assert server.get(address).json()["played"] <= len(page.pcm) // 4


def test_the_page_is_whole_and_comes_from_here_alone(serving: Callable[..., Any]) -> None:
    with serving() as server:
        page = server.get("/")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert "http" not in page.text.replace("http-equiv", "")
        for name in ("player.js", "worklet.js", "style.css", "connection.js", "sha256.js", "icon.svg"):
            part = server.get(f"/static/{name}")
            assert part.status_code == 200
            assert part.headers["X-Content-Type-Options"] == "nosniff"
        for name in ("server.py", "../server.py", "..%2fserver.py", "%2e%2e/server.py", ""):
            assert server.get(f"/static/{name}").status_code == 404


def test_a_real_server_answers_by_address_and_leaves(sine_stream: type) -> None:
    import httpx

    with running_server(sine_stream) as server:
        assert httpx.get(f"{server.url}api/status", trust_env=False).json()["sessions"] == 0
        with pytest.raises(OSError, match="cannot listen"), running_server(sine_stream, port=server.port):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


def test_a_server_for_others_makes_a_token(sine_stream: type) -> None:
    import httpx

    with running_server(sine_stream, host="0.0.0.0") as server:
        assert server.token is not None
        assert server.url == f"http://localhost:{server.port}/#token={server.token}"
        address = f"http://127.0.0.1:{server.port}/api/status"
        assert httpx.get(address, trust_env=False).status_code == 401
        bearer = {"Authorization": f"Bearer {server.token}"}
        assert httpx.get(address, headers=bearer, trust_env=False).status_code == 200


def test_arguments_are_checked_before_anything_listens(sine_stream: type) -> None:
    with pytest.raises(ValueError, match="port must be"):
        serve(sine_stream, port=70_000)
    with pytest.raises(ValueError, match="token must have at least 16"):
        serve(sine_stream, host="0.0.0.0", token="short")
    with pytest.raises(ValueError, match="max_sessions must be positive"):
        create_app(sine_stream, max_sessions=0)
    with pytest.raises(TypeError, match=r"contexts\['a'\] must be Audio, got list"):
        Offer(contexts={"a": [1.0]})


def test_a_token_opens_streams_and_statistics(serving: Callable[..., Any]) -> None:
    with serving(token=TOKEN) as server, server.listen(token=TOKEN) as page:
        page.play(4_800)
        address = f"/api/sessions/{page.greeting['session']}"
        assert server.get(address).status_code == 401
        assert server.get(address, Authorization="Bearer wrong").status_code == 401
        assert server.get(address, Authorization=f"Bearer {TOKEN}").status_code == 200


def test_fewer_evaluations_before_a_gap(serving: Callable[..., Any], sine_stream: type) -> None:
    # A block of .2 s takes .32 s with 8 evaluations: 4 or fewer can last.
    with serving(partial(sine_stream, seconds=0.04)) as server, server.listen() as page:
        while page.play_until("pace")["blocks"] < 8:
            pass
        assert page.said[-1]["wished_nfe"] == 8
        assert page.said[-1]["nfe"] <= 4
        assert page.said[-1]["nfe_falls"] >= 1
