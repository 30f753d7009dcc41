"""`MusicSession`: one endless piece, played block by block, steered by controls, keys and another player."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.estimators.validation import check_integer

from .audio import as_audio
from .control_input import encode_control
from .jamming import PartnerTrack
from .live_stream import MusicBlock
from .midi_input import HeldKeys, check_message
from .session_blocks import BlockMaker, BlockRun
from .session_controls import ControlTrack, held_key_rows
from .session_state import pack_state, plain_value, unpack_state
from .session_stats import SessionStats, StatsRecord

__all__ = ["MusicSession"]

_MOST_WAITING = 60.0  # seconds of a partner's sound that may wait for the next block


class _Event(NamedTuple):
    """Something that was asked for, when, and which block was then under way or the next one."""

    kind: str
    content: Any
    at: float
    number: int


class MusicSession:
    """A stream of blocks of audio; made by `LiveMusicDiffusion.stream`.

    Iterating gives blocks without end. `set`, `push_midi` and `push_audio` may be called from other threads
    than the one that calls `step`; what they say holds from the next block that is begun.

    Parameters
    ----------
    maker : BlockMaker
        Makes blocks.
    seed : int
        Of all noise: two sessions with one seed that are told the same at the same blocks are equal.
    nfe : int
        Network evaluations a block.
    controls : mapping of str to Tensor, optional
        What is asked for from the start, as `encode_control` gives it.
    shown : mapping, optional
        The same as the user gave it.
    context : Tensor, optional
        Normalised latents that come before (see `BlockRun`).
    ahead : float
        Seconds by which the stream is ahead of what a partner hears while he plays.
    delay : float
        Seconds by which a partner's sound is moved towards the future.
    model : str
        What states of this model are known by.
    """

    def __init__(
        self,
        maker: BlockMaker,
        *,
        seed: int,
        nfe: int,
        controls: Mapping[str, Tensor] | None = None,
        shown: Mapping[str, Any] | None = None,
        context: Tensor | None = None,
        ahead: float = 0.0,
        delay: float = 0.0,
        model: str = "",
    ) -> None:
        self._maker, self._nfe, self._model = maker, nfe, model
        self._run = BlockRun(maker, 1, seed, context)
        self._track = ControlTrack(maker.layout, maker.block, controls)
        self._shown: dict[str, Any] = {name: plain_value(value) for name, value in (shown or {}).items()}
        self._keys = HeldKeys()
        self._shift = round((delay - ahead) * self.sample_rate)
        self._partner = self._new_partner()
        self._lock, self._events = Lock(), list[_Event]()
        self._waiting = 0.0
        self._stats = StatsRecord(self.block_samples / self.sample_rate)

    # ---------------------------------------------------------------- what it is

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._maker.codec.sample_rate

    @property
    def block_samples(self) -> int:
        """Samples in a block."""
        return self._maker.block_samples

    @property
    def lead_in(self) -> int:
        """Samples at the start of the stream that lie before the music: the lag of the codec."""
        return self._maker.codec.delay

    @property
    def number(self) -> int:
        """Number of the next block."""
        return self._run.number

    @property
    def nfe(self) -> int:
        """Network evaluations a block, from the next one on."""
        return self._nfe

    @property
    def controls(self) -> Mapping[str, Any]:
        """What is set, by name, as numbers, strings and lists; keys and partners do not stand here."""
        with self._lock:
            return dict(self._shown)

    @property
    def held_pitches(self) -> tuple[int, ...]:
        """MIDI pitches of the keys that the last block heard."""
        return self._keys.pitches

    @property
    def stats(self) -> SessionStats:
        """How the stream keeps up."""
        return self._stats.report()

    # ---------------------------------------------------------------- playing

    def step(self) -> MusicBlock:
        """Make the next block.

        Returns
        -------
        MusicBlock
            `nfe` counts all evaluations, that which keeps the block before included.
        """
        begin = time.perf_counter()
        heard = self._take_events()
        number = self._run.number
        condition = self._condition(number)
        samples, nfe = self._run.advance(condition, self._nfe)
        self._keys.next_block()
        seconds = time.perf_counter() - begin
        self._stats.block(seconds, nfe)
        if heard:
            self._stats.reacted(number - heard[-1].number, heard[-1].at)
        return MusicBlock(number, samples[0], nfe, seconds)

    def __iter__(self) -> Iterator[MusicBlock]:
        return self

    def __next__(self) -> MusicBlock:
        return self.step()

    # ---------------------------------------------------------------- steering

    def set(self, *, nfe: int | None = None, **controls: Any) -> None:
        """Change evaluations a block, or controls.

        Parameters
        ----------
        nfe : int >= 1, optional
            Network evaluations a block; may change at any block, and costs nothing.
        **controls : object
            By name, as in `LiveMusicDiffusion.sample`; rows begin with the next block. None releases one.

        Raises
        ------
        ValueError, TypeError
            For a control that the model does not have or a value that is none; nothing is changed then.
        """
        if nfe is not None:
            check_integer("nfe", nfe, low=1)
        if controls.get("partner") is not None:
            raise ValueError("a partner is heard by push_audio, not set")
        rate = self.sample_rate / self._maker.codec.hop
        rows: dict[str, Tensor | None] = {}
        for name, value in controls.items():
            self._maker.layout.place(name)
            rows[name] = None if value is None else encode_control(self._maker.layout, name, value, rate)
        with self._lock:
            if nfe is not None:
                self._nfe = nfe
            for name, value in controls.items():
                self._shown.pop(name, None)
                if value is not None:
                    self._shown[name] = plain_value(value)
            if rows or nfe is not None:
                self._add("set", rows)

    def push_midi(self, message: bytes) -> None:
        """Hear a MIDI message.

        Keys that are down, or held by the sustain pedal, set the controls "chroma" and "roll", of those that
        the model has, until the last one is let go. Other messages than notes, pedal and notes off mean
        nothing.

        Raises
        ------
        TypeError, ValueError
            If it is no MIDI message.
        """
        message = check_message(message)
        with self._lock:
            self._add("midi", message)

    def push_audio(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Hear another player, from where the stream now is (see `sciffusion.domains.music.jamming`).

        Parameters
        ----------
        samples : ndarray of shape ``(samples,)`` or ``(samples, channels)``
            The next piece of his sound, of any length up to a minute.
        sample_rate : int

        Raises
        ------
        ValueError
            If the model has no control "partner", for what is no audio, and if more than a minute of sound
            waits for the next blocks.
        """
        self._maker.layout.place("partner")
        audio = as_audio(samples, sample_rate, name="samples")
        mono = audio.mono_at(audio.sample_rate)
        with self._lock:
            if self._waiting + self._early() + audio.seconds > _MOST_WAITING:
                raise ValueError(
                    f"more than {_MOST_WAITING:g} s of a partner's sound wait for the next blocks; make some"
                )
            self._waiting += audio.seconds
            self._add("audio", (mono, audio.sample_rate))

    # ---------------------------------------------------------------- stopping and going on

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next blocks depend on.

        Returns
        -------
        dict
            Tensors by name, and under "description" a string of JSON: safetensors can hold it, as tensors and
            metadata.
        """
        self._take_events()
        tensors = {f"run.{name}": part for name, part in self._run.state().items()}
        rows, starts = self._track.state()
        tensors |= {f"control.{name}": part for name, part in rows.items()}
        values = {"nfe": self._nfe, "shown": dict(self._shown), "starts": starts, "keys": self._keys.state()}
        if self._partner is not None:
            heard, values["partner"] = self._partner.state()
            tensors |= {f"partner.{name}": part for name, part in heard.items()}
        return pack_state(tensors, values, self._model)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, of a session of the same model, in this process or another.

        Raises
        ------
        ValueError
            If it is no state, or that of another model; the session is then left as it was.
        """
        tensors, values = unpack_state(state, self._model)
        try:
            run = BlockRun.restored(self._maker, tensors["run"])
            track, keys = ControlTrack(self._maker.layout, self._maker.block), HeldKeys()
            track.restore(tensors["control"], values["starts"])
            keys.restore(values["keys"])
            nfe, shown, partner = int(values["nfe"]), dict(values["shown"]), self._new_partner()
            if partner is not None:
                partner.restore(tensors["partner"], values["partner"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"the state of a session is damaged: {error}") from error
        with self._lock:
            self._run, self._track, self._keys = run, track, keys
            self._nfe, self._shown, self._partner = nfe, shown, partner
            self._events, self._waiting = [], 0.0

    # ---------------------------------------------------------------- inside

    def _add(self, kind: str, content: Any) -> None:
        self._events.append(_Event(kind, content, time.perf_counter(), self._run.number))

    def _early(self) -> float:
        """Return the seconds of a partner's sound that belong to blocks to come, beyond where he now is."""
        if self._partner is None:
            return 0.0
        return self._partner.early(self._run.number * self.block_samples) / self.sample_rate

    def _new_partner(self) -> PartnerTrack | None:
        if "partner" not in self._maker.layout.names:
            return None
        return PartnerTrack(self._maker.codec, gap=2 * self.block_samples, shift=self._shift)

    def _take_events(self) -> list[_Event]:
        """Take in what has been asked for, and return it."""
        with self._lock:
            events, self._events = self._events, []
            self._waiting = 0.0
        number = self._run.number
        for event in events:
            if event.kind == "midi":
                self._keys.hear(event.content)
            elif event.kind == "audio" and self._partner is not None:
                sound, rate = event.content
                self._partner.hear(sound, rate, event.number * self.block_samples)
            elif event.kind == "set":
                for name, rows in event.content.items():
                    self._track.set(name, rows, number)
        return events

    def _condition(self, number: int) -> Tensor | None:
        """Return the controls of a block, and tell pending blocks what has been heard since."""
        layout, block = self._maker.layout, self._maker.block
        if not layout.width:
            return None
        condition = self._track.of_block(number)
        for name, row in held_key_rows(layout, self._keys).items():
            condition[:, layout.place(name)] = row
        if self._partner is not None:
            place = layout.place("partner")
            for pending in self._run.pending:
                rows = self._partner.frames(pending * block, (pending + 1) * block)
                self._run.revise(pending, place, rows)
            heard = self._partner.frames(number * block, (number + 1) * block)
            condition[:, place] = torch.where(heard.isnan(), condition[:, place], heard)
            self._partner.forget((number - 1) * block)
        return condition[None]
