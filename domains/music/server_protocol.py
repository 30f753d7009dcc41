r"""What the player's page and the server say to each other over one WebSocket.

Text messages are JSON objects with a ``type``; binary messages are audio with a header of 16 bytes, little
endian, so that the samples behind it are aligned:

======  ========  =====================================================================================
offset  type      meaning
======  ========  =====================================================================================
0       uint16    0x4D53, the letters ``SM``
2       uint8     version of the protocol, 1
3       uint8     1: float32 samples, full scale [-1, 1], one channel
4       uint32    number of the frame on this connection
8       uint64    downward: index of the first sample in the stream; upward: the sample rate
======  ========  =====================================================================================

=========  ===============================================================================================
from page  fields
=========  ===============================================================================================
hello      ``version``, and optionally ``token``; of a new stream ``seed``, ``nfe``, ``context``; to go on
           with one ``session`` and ``next``, the index of the first sample that is missing
report     ``played`` (index of the sample that is played next), ``fill`` (samples waiting), ``underruns``
set        ``nfe`` and ``controls`` (None releases one), ``id`` that is answered when it is heard
midi       ``data``, one to three bytes, ``id``
bye        the session can be forgotten
=========  ===============================================================================================

The server answers ``welcome``, ``applied`` (``ids`` and the first ``sample`` that follows them), ``pace``,
``error`` (the connection stays) and ``refused`` (it is then closed with one of `CLOSE_CODES`).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLOSE_CODES",
    "VERSION",
    "HeardAudio",
    "Hello",
    "Midi",
    "ProtocolError",
    "Report",
    "Settings",
    "audio_frame",
    "parse_audio",
    "parse_message",
]

VERSION = 1
MAGIC, FLOAT32 = 0x4D53, 1
HEADER = struct.Struct("<HBBIQ")
LARGEST_INTEGER = 2**53
LONGEST_CONTROL, LONGEST_NAME = 1024, 100
LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000

#: Why a connection is closed; the numbers follow those of HTTP.
CLOSE_CODES: Mapping[str, int] = {
    "malformed": 4400,
    "token": 4401,
    "unknown session": 4404,
    "silent": 4408,
    "elsewhere": 4409,
    "idle": 4410,
    "too large": 4413,
    "too many sessions": 4429,
    "too fast": 4430,
    "failed": 4500,
    "shutting down": 4503,
}


class ProtocolError(ValueError):
    """A message cannot be used; the text says what was found and what is expected."""


class Hello(NamedTuple):
    """The first message of a connection (see the module's text)."""

    token: str | None
    session: str | None
    next_sample: int
    seed: int
    nfe: int | None
    context: str | None


class Report(NamedTuple):
    """How far a page has played."""

    played: int
    fill: int
    underruns: int


@dataclass(frozen=True)
class Settings:
    """Evaluations a block, and controls by name; None releases one."""

    nfe: int | None
    controls: Mapping[str, Any]
    identifier: int | None = None


class Midi(NamedTuple):
    """A MIDI message of one to three bytes."""

    data: bytes
    identifier: int | None = None


class HeardAudio(NamedTuple):
    """Samples of another player, float32 in [-1, 1], and their rate."""

    samples: NDArray[np.float32]
    sample_rate: int


#: What `parse_message` gives; None is the page's good-bye.
Message: TypeAlias = Hello | Report | Settings | Midi | None


def audio_frame(counter: int, first_sample: int, samples: NDArray[np.float32]) -> bytes:
    """Return a binary message with samples that start at ``first_sample`` of the stream."""
    header = HEADER.pack(MAGIC, VERSION, FLOAT32, counter % 2**32, first_sample)
    return header + samples.astype("<f4", copy=False).tobytes()


def parse_audio(message: bytes, most_samples: int) -> HeardAudio:
    """Return the audio of a binary message; louder than full scale is clipped.

    Raises
    ------
    ProtocolError
        For anything but a header and 1 to ``most_samples`` finite samples behind it.
    """
    if len(message) < HEADER.size:
        raise ProtocolError(f"audio needs a header of {HEADER.size} bytes, got {len(message)} bytes in all")
    magic, version, kind, _, rate = HEADER.unpack_from(message)
    if (magic, version, kind) != (MAGIC, VERSION, FLOAT32):
        raise ProtocolError("a binary message must be audio: its header is another")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ProtocolError(f"audio: the sample rate must lie in {LOWEST_RATE}..{HIGHEST_RATE}, got {rate}")
    size = len(message) - HEADER.size
    if size % 4 or not 1 <= size // 4 <= most_samples:
        raise ProtocolError(f"audio must be 1 to {most_samples} float32 samples, got {size} bytes")
    samples = np.frombuffer(message, "<f4", offset=HEADER.size)
    if not np.isfinite(samples).all():
        raise ProtocolError("audio holds samples that are NaN or infinite; full scale is [-1, 1]")
    return HeardAudio(np.clip(samples, -1.0, 1.0).astype(np.float32), int(rate))


def parse_message(text: str) -> Message:
    """Return what a text message says.

    Raises
    ------
    ProtocolError
        If it is no JSON object of a known type, or a field is missing or has no sensible value.
    """
    try:
        fields = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a text message must be JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"a message must be a JSON object, got {type(fields).__name__}")
    kind = fields.get("type")
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parser is None:
        raise ProtocolError(f"type must be one of {', '.join(_PARSERS)}, got {_shown(kind)}")
    message: Message = parser(fields)
    return message


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "..."


def _integer(
    fields: dict[str, Any], name: str, default: int | None = None, largest: int = LARGEST_INTEGER
) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise ProtocolError(f"{name} must be a whole number from 0 to {largest}, got {_shown(value)}")
    return value


def _evaluations(fields: dict[str, Any]) -> int | None:
    if fields.get("nfe") is None:
        return None
    nfe = _integer(fields, "nfe", largest=1000)
    if nfe == 0:
        raise ProtocolError("nfe must be at least 1, got 0")
    return nfe


def _identifier(fields: dict[str, Any]) -> int | None:
    return None if fields.get("id") is None else _integer(fields, "id")


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > LONGEST_NAME):
        raise ProtocolError(f"{name} must be at most {LONGEST_NAME} characters, got {_shown(value)}")
    return value


def _hello(fields: dict[str, Any]) -> Hello:
    if fields.get("version") != VERSION:
        raise ProtocolError(
            f"version must be {VERSION}, got {_shown(fields.get('version'))}: reload the page"
        )
    return Hello(
        _text(fields, "token"), _text(fields, "session"), _integer(fields, "next", 0),
        _integer(fields, "seed", 0, 2**31 - 1), _evaluations(fields), _text(fields, "context"),
    )  # fmt: skip


def _report(fields: dict[str, Any]) -> Report:
    return Report(_integer(fields, "played"), _integer(fields, "fill", 0), _integer(fields, "underruns", 0))


def _settings(fields: dict[str, Any]) -> Settings:
    controls = fields.get("controls", {})
    if not isinstance(controls, dict) or len(controls) > LONGEST_NAME:
        raise ProtocolError(f"controls must be an object of values by name, got {_shown(controls)}")
    values = {name: _control(name, value) for name, value in controls.items()}
    return Settings(_evaluations(fields), values, _identifier(fields))


def _control(name: str, value: Any) -> Any:
    """Return a number, a name, None, or an array of a list of numbers."""
    if value is None or (isinstance(value, str) and len(value) <= LONGEST_NAME):
        return value
    many = isinstance(value, list)
    numbers = value if many else [value]
    real = all(isinstance(part, int | float) and not isinstance(part, bool) for part in numbers)
    if not real or not 1 <= len(numbers) <= LONGEST_CONTROL or not all(map(_is_moderate, numbers)):
        raise ProtocolError(
            f"control {_shown(name)} must be a number, a short name, null, or up to {LONGEST_CONTROL} "
            f"numbers, got {_shown(value)}"
        )
    return np.asarray(numbers, dtype=np.float32) if many else float(value)


def _is_moderate(number: float) -> bool:
    return abs(number) <= 1e6 and math.isfinite(number)


def _midi(fields: dict[str, Any]) -> Midi:
    data = fields.get("data")
    whole = isinstance(data, list) and all(type(byte) is int and 0 <= byte <= 255 for byte in data)
    if not isinstance(data, list) or not whole or not 1 <= len(data) <= 3:
        raise ProtocolError(f"data must be one to three MIDI bytes from 0 to 255, got {_shown(data)}")
    if data[0] < 128 or any(byte > 127 for byte in data[1:]):
        raise ProtocolError(f"data must be a MIDI status byte and data bytes below 128, got {data}")
    return Midi(bytes(data), _identifier(fields))


def _bye(fields: dict[str, Any]) -> None:
    return None


_PARSERS: Mapping[str, Any] = {
    "hello": _hello,
    "report": _report,
    "set": _settings,
    "midi": _midi,
    "bye": _bye,
}
