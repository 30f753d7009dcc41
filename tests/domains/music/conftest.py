"""A stream that is exact by construction, for what plays streams; tiny models and simulated music."""

from __future__ import annotations

import json
import struct
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciffusion.domains.music.audio import Audio
from sciffusion.domains.music.live_stream import MusicBlock
from sciffusion.domains.music.spectral_codec import SpectralCodec

HEADER = struct.Struct("<HBBIQ")


class SineStream:
    """Blocks of a sine whose samples follow from the seed, their index, the note held and what was heard.

    Parameters
    ----------
    seed : int
        Of the frequency at which no note is held.
    nfe : int
        Evaluations that are claimed, each taking ``seconds``.
    context : Audio, optional
        Its mean is added to every sample.
    block_samples : int
    seconds : float
        Slept an evaluation.
    """

    sample_rate = 24_000
    known_controls = ("chroma", "loudness", "style")

    def __init__(
        self, *, seed: int = 0, nfe: int = 8, context: Audio | None = None, block_samples: int = 4_800,
        seconds: float = 0.0,
    ) -> None:  # fmt: skip
        if seed == 13:
            raise ValueError("seed must not be 13")
        self.block_samples, self.nfe, self.seconds = block_samples, nfe, seconds
        self.controls: dict[str, Any] = {}
        self.offset = 0.0 if context is None else float(context.samples.mean())
        self.number, self.seed, self.note, self.heard = 0, seed, None, 0.0

    def samples(self, number: int) -> NDArray[np.float32]:
        """Return block ``number`` as it sounds with the present note."""
        frequency = 440.0 * 2 ** ((self.note - 69) / 12) if self.note is not None else 200.0 + self.seed
        index = np.arange(number * self.block_samples, (number + 1) * self.block_samples)
        wave = 0.2 * np.sin(2 * np.pi * frequency * index / self.sample_rate) + self.offset + self.heard
        return wave.astype(np.float32)

    def step(self) -> MusicBlock:
        """Make the next block; the style "broken" fails, "nan" makes no sound."""
        time.sleep(self.seconds * self.nfe)
        if self.controls.get("style") == "broken":
            raise RuntimeError("the network exploded")
        samples = self.samples(self.number)
        if self.controls.get("style") == "nan":
            samples = np.full_like(samples, np.nan)
        self.number += 1
        return MusicBlock(self.number - 1, samples, self.nfe, self.seconds * self.nfe)

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change what is asked for."""
        for name, value in controls.items():
            if name not in self.known_controls:
                raise ValueError(f"this model has no control {name!r}")
            self.controls[name] = value
        self.nfe = self.nfe if nfe is None else nfe

    def push_midi(self, message: bytes) -> None:
        """Hold the note of a note on, let go of it at a note off."""
        kind, pitch, velocity = message[0] & 0xF0, message[1], message[2]
        self.note = pitch if kind == 0x90 and velocity > 0 else None

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Add the mean of what is heard to what follows."""
        self.heard = float(samples.mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the next block."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a number."""
        self.number = int(state["number"])


@pytest.fixture(scope="session")
def sine_stream() -> type[SineStream]:
    """Return the class of exact streams."""
    return SineStream


class Listener:
    """A page of the player without a browser: it greets, collects what it is sent and says what it played.

    Parameters
    ----------
    socket : WebSocketTestSession
    hello
        Fields of the first message.
    """

    def __init__(self, socket: Any, **hello: Any) -> None:
        self.socket, self.said = socket, []
        self.pcm, self.firsts, self.counters = bytearray(), [], []
        self.send(type="hello", version=1, **hello)
        self.greeting = self.until("welcome")

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.socket.send_text(json.dumps(message))

    def receive(self) -> dict[str, Any]:
        """Receive one message; audio is collected, and its header given."""
        message = self.socket.receive()
        if message["type"] == "websocket.close":
            raise ConnectionError(message["code"], message["reason"])
        if "text" in message:
            self.said.append(json.loads(message["text"]))
            return self.said[-1]
        magic, version, kind, counter, first = HEADER.unpack_from(message["bytes"])
        assert (magic, version, kind) == (0x4D53, 1, 1)
        self.pcm += message["bytes"][HEADER.size :]
        self.firsts.append(first)
        self.counters.append(counter)
        return {"type": "audio", "first": first}

    def until(self, kind: str) -> dict[str, Any]:
        """Receive until a message of a type."""
        while (message := self.receive())["type"] != kind:
            pass
        return message

    def play_until(self, kind: str) -> dict[str, Any]:
        """Play what comes until a message of a type."""
        self.report()
        while (message := self.receive())["type"] != kind:
            self.report()
        return message

    def play(self, samples: int) -> bytes:
        """Play until this many samples came, and return all of them."""
        while len(self.pcm) < 4 * samples:
            self.receive()
            self.report()
        return bytes(self.pcm[: 4 * samples])

    def report(self) -> None:
        """Say that all that came was played."""
        self.send(
            type="report", played=self.greeting["resume_from"] + len(self.pcm) // 4, fill=0, underruns=0
        )

    def close_code(self) -> int:
        """Receive until the connection is closed."""
        while True:
            try:
                self.receive()
            except ConnectionError as error:
                return int(error.args[0])


class ServerClient:
    """A server in this process; its pages call it by the name of this machine."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @contextmanager
    def listen(self, headers: dict[str, str] | None = None, **hello: Any) -> Iterator[Listener]:
        """Connect a listener."""
        with self.socket(headers) as socket:
            yield Listener(socket, **hello)

    def socket(self, headers: dict[str, str] | None = None) -> Any:
        """Return a bare WebSocket."""
        return self.client.websocket_connect("ws://127.0.0.1/api/stream", headers=headers or {})

    def get(self, path: str, **headers: str) -> Any:
        """Ask for a page."""
        return self.client.get(path, headers=headers or {})


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Return a context manager that runs the application of the player."""
    pytest.importorskip("httpx", reason="the client of starlette needs httpx")
    with warnings.catch_warnings():
        # starlette announces another client than the one that most people have.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        testclient = pytest.importorskip("starlette.testclient", reason="needs starlette")

    @contextmanager
    def run(make_stream: Callable[..., Any] = SineStream, **options: Any) -> Iterator[ServerClient]:
        from sciffusion.domains.music.server import create_app

        with testclient.TestClient(create_app(make_stream, **options), "http://127.0.0.1") as client:
            yield ServerClient(client)

    return run


def simulated_chords(seed: int, seconds: float = 3.0, rate: int = 8_000) -> Audio:
    """Return a simulated recording: struck major triads, two a second, from sines."""
    generator, time_ = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    sound = np.zeros_like(time_)
    for number in range(int(2 * seconds)):
        since = time_ - number / 2
        struck = np.where((since >= 0.0) & (since < 0.5), np.exp(-3.0 * since.clip(0.0)), 0.0)
        root = int(generator.integers(48, 60))
        for pitch in (root, root + 4, root + 7):
            hertz = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
            sound += 0.15 * struck * np.sin(2.0 * np.pi * hertz * time_)
    return Audio(sound.astype(np.float32), rate)


@pytest.fixture(scope="session")
def chords() -> Callable[..., Audio]:
    """Return `simulated_chords`."""
    return simulated_chords


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Any]:
    """Return a function that makes tiny music models with random weights, as if they had been fitted."""
    from sciffusion.domains.music.control_input import build_layout
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion
    from sciffusion.domains.music.music_model import MusicSettings

    def make(codec: Any = None, **parameters: Any) -> Any:
        sizes = {"block": 3, "window": 3, "width": 16, "depth": 2, "n_heads": 2, "nfe": 2, "device": "cpu"}
        codec = SpectralCodec(8_000, 320, 16) if codec is None else codec
        model: Any = LiveMusicDiffusion(codec=codec, **{**sizes, **parameters})
        model.seed_, model.codec_ = 0, codec
        model.layout_ = build_layout(model.controls, model.styles, codec.channels)
        model._settings_ = MusicSettings.of(model)
        generator = torch.Generator().manual_seed(1)
        model._network_ = model._settings_.network(codec.channels, model.layout_.width).eval()
        with torch.no_grad():
            for parameter in model._network_.parameters():
                parameter.normal_(0.0, 0.2, generator=generator)
        return model

    return make
