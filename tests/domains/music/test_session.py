"""Sessions: equal to pieces made at once, steered from any thread, stopped and gone on with anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.torch import save_file

from sciffusion.domains.music import MusicSession, SpectralCodec
from sciffusion.domains.music.codec import LatentStatistics
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork

ALL = ("chroma", "loudness", "roll", "tempo", "partner")
NOTE_ON, NOTE_OFF = bytes([0x90, 64, 90]), bytes([0x80, 64, 0])


def light_codec() -> LightCodec:
    """Return a codec of the true window and hop with random weights."""
    sizes = CodecSizes(channels=5, fine=24, coarse=32, fine_blocks=1, coarse_blocks=1, head=40)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LightCodecNetwork(sizes)
        network.unit.mean.normal_()
        network.typical.normal_(-4.0, 1.0)
    return LightCodec(network, LatentStatistics(torch.zeros(5), torch.ones(5)))


def play(session: MusicSession, blocks: int) -> Any:
    return np.concatenate([session.step().samples for _ in range(blocks)])


@pytest.fixture(scope="module")
def model(random_model: Callable[..., Any]) -> Any:
    return random_model(controls=ALL, styles=("organ", "piano"))


# ---------------------------------------------------------------- equal to pieces made at once


@pytest.mark.parametrize("codec", ["spectral", "light"])
@pytest.mark.parametrize("asked", [{}, {"style": "organ", "tempo": 100, "chroma": np.eye(12)[:7]}])
@pytest.mark.parametrize(("prompted", "variant"), [(False, "block_causal"), (True, "encoder_decoder")])
def test_a_stream_equals_a_piece(
    random_model: Callable[..., Any],
    chords: Callable[..., Any],
    codec: str,
    asked: Any,
    prompted: bool,
    variant: str,
) -> None:
    made = light_codec() if codec == "light" else SpectralCodec(8_000, 320, 16)
    model = random_model(
        made, controls=("chroma", "tempo"), styles=("organ", "piano"), block=2, variant=variant
    )
    prompt = chords(0, 1.1) if prompted else None
    seconds = 3.5 * 2 * made.hop / made.sample_rate
    piece = model.sample(seconds, seed=5, controls=asked, prompt=prompt)[0]
    stream = play(model.stream(seed=5, controls=asked, context=prompt), 4)
    assert len(piece.samples) == round(seconds * made.sample_rate)
    assert piece.sample_rate == made.sample_rate
    assert_array_equal(piece.samples, stream[: len(piece.samples)])
    assert float(np.abs(piece.samples).std()) > 1e-3
    assert not np.array_equal(model.sample(seconds, seed=6, controls=asked)[0].samples, piece.samples)


def test_blocks_are_decoded_as_the_whole(random_model: Callable[..., Any]) -> None:
    """The sound of a stream is that of all its latents decoded at once."""
    model = random_model(light_codec(), controls=())
    maker = model._maker()
    values = maker.generator(2).generate(1, 4, seed=3).samples
    whole = model.codec_.decode(model.codec_.statistics.denormalise(values))[0]
    found = play(model.stream(seed=3), 4)
    assert_allclose(found, whole.clamp(-1, 1), atol=2e-5 * float(whole.abs().max()))


def test_a_context_is_what_came_before(model: Any, chords: Callable[..., Any]) -> None:
    """A stream after a context equals the generator's stream after the latents of its end."""
    maker, heard = model._maker(), chords(1, 1.33)
    latents = maker.context_latents(heard.mono_at(8_000))
    assert latents.shape[1] == 2 * 3 * 3  # twice the window, in whole blocks
    # Frames are counted from the end, which belongs to the last one whole.
    cut = heard.samples[len(heard.samples) % 320 :]
    whole = model.codec_.statistics.normalise(model.codec_.encode(torch.from_numpy(cut)[None]))
    assert_allclose(latents, whole[:, -18:], atol=1e-5)
    unknown = lambda number: model.layout_.empty(3)[None]  # noqa: E731
    expected = maker.generator(2).generate(1, 2, seed=4, prompt=latents, condition=unknown).samples
    raw = model.codec_.statistics.denormalise(expected)
    assert_allclose(
        play(model.stream(seed=4, context=heard), 2), model.codec_.decode(raw)[0, -6 * 320 :], atol=1e-5
    )
    with pytest.raises(ValueError, match=r"context lasts 0\.119 s; a block, and so the shortest clip"):
        model.stream(context=heard.samples[:950], sample_rate=8_000)


# ---------------------------------------------------------------- steering


def test_controls_hold_from_the_next_block_on(model: Any) -> None:
    """Set in the middle, a control equals one that was given for those frames from the start."""
    rows = np.full((12, 1), np.nan)
    rows[6:] = 140.0
    stream = model.stream(seed=1)
    first = play(stream, 2)
    stream.set(tempo=140.0)
    found = np.concatenate([first, play(stream, 2)])
    assert_array_equal(found, play(model.stream(seed=1, controls={"tempo": rows[:, 0]}), 4))
    assert stream.controls == {"tempo": 140.0}
    stream.set(tempo=None, style="piano")
    assert stream.controls == {"style": "piano"}
    free, held = model.stream(seed=1), model.stream(seed=1, controls={"tempo": 140.0})
    held.set(tempo=None)
    assert_array_equal(play(free, 3), play(held, 3))


def test_rows_begin_with_the_next_block_and_end(model: Any) -> None:
    stream = model.stream(seed=1)
    first = play(stream, 1)
    stream.set(roll=np.ones((4, 60)))
    rows = np.full((9, 60), np.nan)
    rows[3:7] = 1.0
    found = np.concatenate([first, play(stream, 2)])
    assert_array_equal(found, play(model.stream(seed=1, controls={"roll": rows}), 3))


def test_keys_set_chroma_and_roll_while_they_are_down(model: Any) -> None:
    stream, told = model.stream(seed=2), model.stream(seed=2, controls={"chroma": "C"})
    stream.set(chroma="C")
    stream.push_midi(NOTE_ON)
    told.set(chroma="E", roll=np.eye(60)[64 - 36])
    assert_array_equal(stream.step().samples, told.step().samples)
    assert stream.held_pitches == (64,)
    stream.push_midi(NOTE_OFF)
    told.set(chroma="C", roll=None)
    assert_array_equal(play(stream, 2), play(told, 2))
    assert stream.held_pitches == ()
    assert stream.controls == {"chroma": [1.0, *[0.0] * 11]} or stream.controls == {"chroma": "C"}


def test_evaluations_may_change_at_any_block(model: Any) -> None:
    stream = model.stream(seed=3, nfe=2)
    assert stream.step().nfe == 2
    stream.set(nfe=5)
    assert stream.nfe == 5
    block = stream.step()
    assert (block.number, block.nfe) == (1, 5)
    assert not np.array_equal(block.samples, play(model.stream(seed=3, nfe=2), 2)[len(block.samples) :])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"tempo": 5}, ValueError, "beats a minute"), ({"speed": 3}, ValueError, "no control 'speed'"),
        ({"nfe": 0}, ValueError, "nfe"), ({"nfe": 2.5}, TypeError, "nfe"),
        ({"partner": np.zeros(10)}, ValueError, "push_audio"), ({"style": "jazz"}, ValueError, "'organ'"),
    ],
)  # fmt: skip
def test_wrong_settings_change_nothing(model: Any, asked: Any, error: type[Exception], message: str) -> None:
    stream = model.stream(seed=1, controls={"tempo": 90})
    with pytest.raises(error, match=message):
        stream.set(**{"loudness": -30.0, **asked})
    assert (stream.controls, stream.nfe) == ({"tempo": 90}, 2)
    assert_array_equal(play(stream, 1), play(model.stream(seed=1, controls={"tempo": 90}), 1))


def test_wrong_messages_and_sounds_are_refused(model: Any, random_model: Callable[..., Any]) -> None:
    stream = model.stream()
    with pytest.raises(ValueError, match="MIDI"):
        stream.push_midi(b"\x90\x40")
    for samples, rate, message in (
        (np.zeros(10), 100, "sample rate"), (np.array([np.nan]), 8000, "NaN"),
        (np.zeros(0), 8000, "no samples"), (np.zeros(70 * 8000), 8000, "more than 60 s"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            stream.push_audio(samples, rate)
    with pytest.raises(ValueError, match="no control 'partner'; it has none"):
        random_model(controls=()).stream().push_audio(np.zeros(10), 8000)
    assert_array_equal(play(stream, 2), play(model.stream(), 2))


# ---------------------------------------------------------------- partners


def test_a_delayed_partner_is_one_that_was_known_before(model: Any, chords: Callable[..., Any]) -> None:
    """With a delay of a block every frame of a block is known when it is made."""
    sound, size = chords(4, 2.0).samples, 3 * 320
    live = model.stream(seed=6, delay=size / 8_000)
    parts = []
    for number in range(6):
        parts.append(live.step().samples)
        live.push_audio(sound[number * size : (number + 1) * size], 8_000)
    # The first piece was heard when one block had been made, and belongs a block later.
    shifted = np.concatenate([np.zeros(2 * size, np.float32), sound])
    known = model.codec_.statistics.normalise(model.codec_.encode(torch.from_numpy(shifted)[None]))[0]
    rows = known.clone()
    rows[:6] = model.codec_.statistics.normalise(torch.zeros(16))
    expected = model.stream(seed=6)
    expected._track.set("partner", torch.cat([torch.full((6, 16), torch.nan), known[6:]]), 0)
    assert_allclose(np.concatenate(parts), play(expected, 6), atol=1e-5)


def test_a_partner_who_is_heard_late_still_counts_in_memory(model: Any, chords: Callable[..., Any]) -> None:
    """Sound of a block that came while it was made changes the blocks after it, not itself."""
    sound, size = chords(4, 2.0).samples, 3 * 320
    live, alone = model.stream(seed=6), model.stream(seed=6)
    first = live.step().samples
    live.push_audio(sound[:size], 8_000)  # belongs to block 1, all of it
    second = live.step().samples
    live.push_audio(sound[size : 2 * size - 640], 8_000)
    assert_array_equal(first, alone.step().samples)
    assert not np.array_equal(second, alone.step().samples)
    # What of block 2 was not known when it was made is known when it is kept.
    live.step()
    kept = live._run._conditions[2][0, :, model.layout_.place("partner")]
    assert kept[:1].isfinite().all()
    assert kept[1:].isnan().all()
    live.push_audio(sound[2 * size - 640 : 2 * size], 8_000)
    live.step()
    assert live._run._conditions[2][0, :, model.layout_.place("partner")].isfinite().all()


# ---------------------------------------------------------------- stopping and going on


def busy(model: Any, chords: Callable[..., Any]) -> MusicSession:
    """Return a session in the middle of everything."""
    sound = chords(7, 2.0).samples
    stream: MusicSession = model.stream(
        seed=8, context=chords(2, 1.0), controls={"style": {"organ": 1, "piano": 2}}, delay=0.1
    )
    stream.set(roll=np.eye(60)[:8], nfe=3)
    stream.push_midi(bytes([0xB0, 64, 127]))
    stream.push_midi(NOTE_ON)
    stream.push_midi(NOTE_OFF)
    stream.push_audio(sound[:1234], 11_025)
    stream.step()
    stream.step()
    stream.set(loudness=-30.0)
    stream.push_audio(sound[1234:3000], 11_025)
    stream.push_midi(bytes([0x90, 70, 1]))
    return stream


def go_on(stream: MusicSession, chords: Callable[..., Any]) -> Any:
    parts = [play(stream, 1)]
    stream.push_midi(bytes([0xB0, 64, 0]))
    stream.push_audio(chords(7, 2.0).samples[3000:5000], 11_025)
    return np.concatenate([*parts, play(stream, 4)])


@pytest.mark.parametrize(("codec", "variant"), [("spectral", "block_causal"), ("light", "encoder_decoder")])
def test_a_state_goes_on_where_it_was(
    random_model: Callable[..., Any], chords: Callable[..., Any], codec: str, variant: str
) -> None:
    model = random_model(
        light_codec() if codec == "light" else None, controls=ALL, styles=("organ", "piano"),
        variant=variant, block=2,
    )  # fmt: skip
    stream = busy(model, chords)
    state = stream.state_dict()
    expected = go_on(stream, chords)
    other = model.stream(seed=1)
    play(other, 1)
    other.load_state_dict(state)
    assert (other.nfe, other.number) == (3, 2)
    assert other.controls["loudness"] == -30.0
    assert_array_equal(go_on(other, chords), expected)
    # The state is not touched by going on from it.
    again = model.stream()
    again.load_state_dict(state)
    assert_array_equal(go_on(again, chords), expected)


_CHILD = """
import sys
import numpy as np, torch
from safetensors import safe_open
from sciffusion import LiveMusicDiffusion
model = LiveMusicDiffusion.load(sys.argv[1])
stream = model.stream(seed=99)
with safe_open(sys.argv[2], "pt") as file:
    state = {name: file.get_tensor(name) for name in file.keys()}
    state["description"] = file.metadata()["description"]
stream.load_state_dict(state)
np.save(sys.argv[3], np.concatenate([stream.step().samples for _ in range(3)]))
"""


def test_a_state_goes_on_in_another_process(model: Any, chords: Callable[..., Any], tmp_path: Path) -> None:
    stream = busy(model, chords)
    state = stream.state_dict()
    assert all(isinstance(value, torch.Tensor | str) for value in state.values())
    json.loads(state["description"])
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    save_file(tensors, tmp_path / "state", {"description": state["description"]})
    model.save(tmp_path / "model")
    subprocess.run(
        [sys.executable, "-c", _CHILD, *(str(tmp_path / name) for name in ("model", "state", "out.npy"))],
        check=True, timeout=120,
    )  # fmt: skip
    assert_array_equal(np.load(tmp_path / "out.npy"), play(stream, 3))
    with safe_open(tmp_path / "state", "pt") as file:
        assert "description" in file.metadata()


def test_states_of_others_are_refused(model: Any, random_model: Callable[..., Any]) -> None:
    stream, other = model.stream(), random_model(controls=())
    begun = model.stream(seed=2)
    begun.step()
    whole = begun.state_dict()
    before = play(model.stream(), 2)
    damaged = {name: value for name, value in stream.state_dict().items() if "decoder" not in name}
    wrong = (
        (other.stream().state_dict(), "another model"), ({}, "no state"), ({"description": "x"}, "no state"),
        ({"description": '{"format": 9}'}, "format 9"), ("state", "no state"), (damaged, "damaged"),
        *(({**whole, name: part[..., :1]}, "damaged.*shape") for name, part in whole.items()
          if name.startswith(("run.stream.pending", "run.stream.cache0.keys", "run.condition"))),
    )  # fmt: skip
    for state, message in wrong:
        with pytest.raises(ValueError, match=message):
            stream.load_state_dict(state)
    assert_array_equal(play(stream, 2), before)


# ---------------------------------------------------------------- threads and numbers


def test_other_threads_may_steer(model: Any) -> None:
    stream = model.stream(seed=1)

    def steer(number: int) -> None:
        for turn in range(50):
            stream.set(tempo=60 + number + turn)
            stream.push_midi(bytes([0x90, 40 + turn, turn % 2]))
            stream.push_audio(np.zeros(40, np.float32), 8_000)

    threads = [Thread(target=steer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    played = play(stream, 6)
    for thread in threads:
        thread.join()
    assert np.isfinite(played).all()
    assert stream.step().number == 6
    assert stream.held_pitches == tuple(range(41, 90, 2))


def test_stats_count_what_happened(model: Any) -> None:
    stream = model.stream(nfe=2)
    assert stream.stats.blocks == 0
    assert np.isnan(stream.stats.p50)
    seconds = [next(stream).seconds for _ in range(5)]
    found = stream.stats
    assert found.blocks == 5
    assert (found.p50, found.p99) == tuple(np.percentile(seconds, [50, 99]))
    assert found.real_time_factor == pytest.approx(np.mean(seconds) / (3 * 320 / 8_000))
    assert found.nfe == 2.0
    assert (found.reaction_blocks, found.reaction_seconds) == (None, None)
    stream.set(tempo=100)
    block = stream.step()
    assert stream.stats.reaction_blocks == 0
    assert stream.stats.reaction_seconds > block.seconds
    assert (stream.sample_rate, stream.block_samples, stream.lead_in) == (8_000, 960, 320)


def test_a_change_while_a_block_is_made_holds_for_the_one_after(model: Any, monkeypatch: Any) -> None:
    stream, plain = model.stream(seed=1), model.stream(seed=1)
    advance = stream._run.advance

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(stream._run, "advance", advance)
        stream.set(tempo=300)
        return advance(*arguments)

    monkeypatch.setattr(stream._run, "advance", interrupted)
    assert_array_equal(stream.step().samples, plain.step().samples)
    assert stream.stats.reaction_blocks is None
    plain.set(tempo=300)
    assert_array_equal(stream.step().samples, plain.step().samples)
    assert stream.stats.reaction_blocks == 1


def test_a_partner_who_begins_while_a_block_is_made_belongs_to_it(
    model: Any, chords: Callable[..., Any], monkeypatch: Any
) -> None:
    """His first sound stands where the stream was when it came, not where it is when it is heard."""
    sound, stream = chords(4, 2.0).samples[:960], model.stream()
    advance = stream._run.advance

    def interrupted(*arguments: Any) -> Any:
        stream.push_audio(sound, 8_000)
        monkeypatch.setattr(stream._run, "advance", advance)
        return advance(*arguments)

    stream.step()
    monkeypatch.setattr(stream._run, "advance", interrupted)
    stream.step()
    stream.step()
    kept = {
        number: bool(rows[..., model.layout_.place("partner")].isfinite().all())
        for number, rows in stream._run._conditions.items()
    }
    assert kept == {1: True, 2: False}


def test_a_stream_that_is_ahead_of_a_partner_hears_him_in_its_past(
    model: Any, chords: Callable[..., Any]
) -> None:
    sound, size = chords(4, 2.0).samples, 3 * 320
    stream, early = model.stream(ahead=2 * size / 8_000), model.stream()
    early.push_audio(sound[: 6 * size], 8_000)
    for _ in range(2):
        stream.step()
    stream.push_audio(sound[: 6 * size], 8_000)
    place = model.layout_.place("partner")
    for _ in range(3):
        early.step()
        stream.step()
        assert stream._run.number == early._run.number + 2
    found = [one._partner.frames(4 * 3, 6 * 3) for one in (stream, early)]
    assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0].isfinite().all()
    kept = stream._run._conditions[4][0, :, place]
    assert_allclose(kept, found[0][:3], atol=1e-6)


def test_a_state_of_other_guidance_is_refused(random_model: Callable[..., Any]) -> None:
    for other in ({"guidance": 2.0}, {"grid": "sigmoid"}, {"solver": "euler"}):
        state = random_model(**other).stream().state_dict()
        with pytest.raises(ValueError, match="another model"):
            random_model().stream().load_state_dict(state)


def test_sound_that_comes_too_fast_is_refused_and_not_lost(model: Any) -> None:
    stream, minute = model.stream(), np.full(30 * 8_000, 0.1, np.float32)
    for _ in range(2):
        stream.push_audio(minute, 8_000)
        stream.step()
    with pytest.raises(ValueError, match="more than 60 s of a partner's sound wait"):
        stream.push_audio(minute, 8_000)
    assert stream._partner._end == 60 * 8_000


def test_what_waits_when_a_state_is_loaded_belongs_to_the_old_stream(model: Any) -> None:
    stream, other = model.stream(seed=3), model.stream(seed=3)
    state = stream.state_dict()
    stream.set(loudness=-5.0)
    stream.push_midi(NOTE_ON)
    stream.load_state_dict(state)
    assert_array_equal(play(stream, 2), play(other, 2))
