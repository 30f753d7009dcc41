"""`sciffusion music`: what the commands write is what Python would make, and errors name the remedy."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sciffusion import cli as face
from sciffusion.domains.music.audio import Audio, read_audio, write_audio

testing = pytest.importorskip("typer.testing")
pytest.importorskip("rich")
pytest.importorskip("soundfile")
pytest.importorskip("soxr")
pytest.importorskip("mido")

RATE, HOP, BLOCK = 8_000, 320, 4
TINY = (
    "--block", BLOCK, "--window", 2, "--width", 16, "--depth", 1, "--heads", 1, "--max-steps", 3,
    "--batch-size", 2, "--device", "cpu",
)  # fmt: skip


def invoke(*arguments: Any) -> Any:
    from sciffusion.domains.music.cli import app

    return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: Any) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        face.main(["music", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


def music(seed: int, seconds: float = 3.0) -> Audio:
    generator = np.random.default_rng(seed)
    times = np.arange(round(0.5 * RATE)) / RATE
    notes = 220 * 2 ** (generator.integers(0, 12, round(2 * seconds)) / 12)
    return Audio(
        np.concatenate([0.3 * np.sin(2 * np.pi * note * times) for note in notes]).astype("f4"), RATE
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings of two players, and a codec that needs no training."""
    from sciffusion.domains.music.codec_storage import save_codec
    from sciffusion.domains.music.spectral_codec import SpectralCodec

    path = tmp_path_factory.mktemp("music")
    for place in range(4):
        player = path / "recordings" / ("anna" if place % 2 else "ben")
        player.mkdir(parents=True, exist_ok=True)
        write_audio(player / f"{place}.wav", music(place))
    (path / "recordings" / "notes.txt").write_text("no sound")
    save_codec(SpectralCodec(RATE, HOP, 16), path / "codec.safetensors")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    out = folder / "model.safetensors"
    said = succeed(
        "fit", folder / "recordings", "--out", out, "--codec", folder / "codec.safetensors", *TINY,
        "--controls", "chroma,loudness,style", "--picture", folder / "training.png",
    )  # fmt: skip
    assert "Fitted on 4 recordings, controls chroma, loudness, style" in said
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG")
    return out


# -------------------------------------------------------------------- fit


def test_fit_saves_a_model_of_the_players_and_leaves_no_checkpoint(model: Path, folder: Path) -> None:
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion

    loaded = LiveMusicDiffusion.load(model)
    assert loaded.layout_.styles == ("anna", "ben")
    assert (loaded.block, loaded.window, loaded.width, loaded.checkpoint) == (BLOCK, 2, 16, None)
    assert not list(folder.glob("*.checkpoint*"))


def test_an_interrupted_fit_goes_on_from_its_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion

    seen: list[Any] = []

    def stopped(self: LiveMusicDiffusion, *arguments: Any, **named: Any) -> None:
        seen.append((Path(self.checkpoint), self.random_state))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveMusicDiffusion, "fit", stopped)
    out = tmp_path / "mine.safetensors"
    result = invoke("fit", folder / "recordings", "--out", out, "--seed", 5)
    assert result.exit_code == 130
    assert seen == [(tmp_path / "mine.safetensors.checkpoint", 5)]
    assert f"The same command goes on from {seen[0][0]}" in result.stderr
    assert not out.exists()


def test_of_a_corpus_the_parts_of_the_split_are_used(tmp_path: Path) -> None:
    from sciffusion.domains.music.cli_recordings import find_recordings
    from sciffusion.domains.music.cli_train import _default_controls, _training_data
    from sciffusion.domains.music.corpus_table import CorpusEntry, write_table

    entries = []
    for piece, split in (("a", "train"), ("b", "validation"), ("c", "test")):
        for style in ("organ", "piano"):
            wav = tmp_path / f"{piece}.{style}.wav"
            write_audio(wav, music(1, 1.0))
            entries.append(
                CorpusEntry(piece, style, wav, tmp_path / f"{piece}.mid", 1.0, 96.0, "C major", split)
            )
    write_table(tmp_path, entries)
    training, watched = _training_data([tmp_path], [])
    assert [path.name for path in training.files] == ["a.organ.wav", "a.piano.wav"]
    assert training.known(["style", "tempo"]) == [
        {"style": "organ", "tempo": 96.0}, {"style": "piano", "tempo": 96.0},
    ]  # fmt: skip
    assert watched is not None
    assert [path.name for path in watched.files] == ["b.organ.wav", "b.piano.wav"]
    assert _default_controls(training) == ["chroma", "loudness", "style"]
    (test,) = find_recordings([tmp_path], split="test", styles=["organ"]).files
    assert test.name == "c.organ.wav"
    plain, nothing = _training_data([tmp_path / "a.organ.wav"], [])
    assert (plain.files, nothing) == ([tmp_path / "a.organ.wav"], None)
    assert _default_controls(plain) == ["chroma", "loudness"]


# -------------------------------------------------------------------- generate, stream


def test_generate_writes_what_sample_makes(model: Path, tmp_path: Path) -> None:
    from sciffusion.domains.music.chords import parse_chords
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion

    out, picture = tmp_path / "new.wav", tmp_path / "new.png"
    said = succeed(
        "generate", model, "--out", out, "--seconds", 1, "-n", 2, "--seed", 3, "--nfe", 2, "--chords",
        "C*0.3 Am*0.3", "--style", "anna=1,ben=3", "--loudness", -20, "--spectrogram", picture,
    )  # fmt: skip
    assert "new-1.wav" in said
    controls = {
        "chroma": parse_chords("C*0.3 Am*0.3", 1.0, RATE / HOP), "style": {"anna": 1.0, "ben": 3.0},
        "loudness": -20.0,
    }  # fmt: skip
    expected = LiveMusicDiffusion.load(model).sample(1.0, n=2, seed=3, nfe=2, controls=controls)
    for place, audio in enumerate(expected, 1):
        written = read_audio(tmp_path / f"new-{place}.wav")
        assert written.sample_rate == RATE
        np.testing.assert_allclose(written.samples, np.clip(audio.samples, -1, 1), atol=1e-4)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_prompt_is_gone_on_from(model: Path, folder: Path, tmp_path: Path) -> None:
    prompt, out = folder / "recordings" / "ben" / "0.wav", tmp_path / "on.wav"
    succeed("generate", model, "--out", out, "--seconds", 1, "--prompt", prompt, "--joined", "--nfe", 1)
    joined, before = read_audio(out), read_audio(prompt)
    assert joined.seconds == pytest.approx(before.seconds + 1.0)
    kept = len(before.samples) - HOP  # the last moment is faded over
    np.testing.assert_allclose(joined.samples[:kept], before.samples[:kept], atol=1e-4)


def test_a_stream_without_changes_is_the_piece_that_generate_makes(model: Path, tmp_path: Path) -> None:
    out, stats, picture = (tmp_path / f"live.{ending}" for ending in ("wav", "json", "png"))
    said = succeed(
        "stream", model, "--seconds", 1, "--out", out, "--stats", stats, "--picture", picture, "--nfe", 1,
        "--seed", 7,
    )  # fmt: skip
    assert "real-time factor" in said
    succeed("generate", model, "--seconds", 1, "--out", tmp_path / "whole.wav", "--nfe", 1, "--seed", 7)
    live, whole = read_audio(out), read_audio(tmp_path / "whole.wav")
    np.testing.assert_array_equal(live.samples, whole.samples)
    found = json.loads(stats.read_text())
    assert (found["seed"], found["nfe_wanted"], found["block_seconds"]) == (7, 1, BLOCK * HOP / RATE)
    assert found["blocks"] * found["block_seconds"] >= 0.5
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_changes_on_the_way_are_read_in_the_order_of_time(model: Path) -> None:
    from sciffusion.domains.music.cli_streaming import prepare_changes
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion

    loaded = LiveMusicDiffusion.load(model)
    changes = prepare_changes(loaded, ["5:style=off", "2:nfe=4", "3.5:chords=G:7", "4:loudness=-12"])
    assert [change.seconds for change in changes] == [2.0, 3.5, 4.0, 5.0]
    assert changes[0].settings == {"nfe": 4}
    assert changes[1].settings["chroma"].shape == (1, 12)
    assert changes[3].settings == {"style": None}
    for text, message in (
        ("x:style=anna", "SECONDS:NAME=VALUE"), ("1:speed=3", "a name of chords, loudness"),
        ("1:nfe=x", "nfe must be a number"), ("1:tempo=90", "no control 'tempo'"),
        ("1:style=carl", "no style 'carl'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            prepare_changes(loaded, [text])


def test_the_sound_card_plays_the_same_stream(model: Path, sine_stream: Any) -> None:
    from sciffusion.domains.music.cli_streaming import Change, Tap, play_stream

    class Output:
        """A sound card that reads whenever it is looked at."""

        def __init__(self, *, callback: Any, blocksize: int, **_: Any) -> None:
            self._callback, self._size = callback, blocksize

        def __enter__(self) -> Any:
            import threading

            self._stop = threading.Event()

            def run() -> None:
                while not self._stop.wait(0.001):
                    self._callback(np.zeros((self._size, 1), np.float32), self._size, None, None)

            self._thread = threading.Thread(target=run)
            self._thread.start()
            return self

        def __exit__(self, *_: Any) -> None:
            self._stop.set()
            self._thread.join()

    class Sound:
        OutputStream = Output

    told: list[Any] = []
    tap = Tap(sine_stream(block_samples=2_400), True)
    result = play_stream(
        tap, 0.2, [Change(0.0, {"style": "loud"})], lowest_nfe=1, sound=Sound,
        progress=lambda *told_now: told.append(told_now),
    )  # fmt: skip
    assert result.trace is None
    assert tap.controls == {"style": "loud"}
    assert told
    expected = sine_stream(block_samples=2_400)
    np.testing.assert_array_equal(
        tap.audio(0.15).samples, np.concatenate([expected.samples(0), expected.samples(1)])[:3_600]
    )
    # A listener who missed something gets all of it in the end.
    late = Tap(expected, True)
    late.step()
    assert late.audio(1.0).seconds == 1.0
    np.testing.assert_array_equal(late.audio(1.0).samples[-2_400:], expected.samples(9))


# -------------------------------------------------------------------- serve


def test_serve_offers_what_the_model_can(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sciffusion.domains.music import cli_play

    seen: dict[str, Any] = {}

    def serve(make_stream: Any, **options: Any) -> None:
        seen.update(options, stream=make_stream(seed=3))
        options["announce"]("http://localhost:1/")

    monkeypatch.setattr(cli_play, "serve", serve)
    context = folder / "recordings" / "ben" / "0.wav"
    said = succeed("serve", model, "--port", 0, "--max-sessions", 2, "--nfe", 3, "--context", context)
    assert "Playing at http://localhost:1/" in said
    assert (seen["port"], seen["max_sessions"], seen["token"]) == (0, 2, None)
    assert seen["offer"].controls == ("chroma", "loudness", "style")
    assert seen["offer"].styles == ("anna", "ben")
    assert list(seen["offer"].contexts) == ["0"]
    assert (seen["offer"].hears_midi, seen["offer"].hears_audio) == (True, False)
    assert seen["stream"].nfe == 3
    assert seen["stream"].step().samples.shape == (BLOCK * HOP,)


# -------------------------------------------------------------------- evaluate, bench, models


def test_evaluate_stands_beside_codec_recordings_and_noise(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    recordings = folder / "recordings"
    said = succeed(
        "evaluate", model, recordings, "--training", recordings, "--pieces", 2, "--seconds", 4, "--nfe", 1,
        "--out", out,
    )  # fmt: skip
    assert "pitch classes" in said
    table = pd.read_csv(out, index_col="measure")
    assert list(table.columns) == ["model", "codec", "recordings", "noise"]
    assert table.loc["log-mel", "recordings"] < table.loc["log-mel", "noise"]
    assert 0.0 <= table.loc["pitch classes", "model"] <= 1.0
    assert np.isfinite(table.loc["flow loss", "model"])
    assert np.isnan(table.loc["flow loss", "noise"])


def test_bench_times_more_evaluations_longer(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.csv"
    said = succeed("bench", model, "--nfe", "16,1", "--blocks", 3, "--out", out)
    assert "This machine" in said
    table = pd.read_csv(out)
    assert list(table["nfe"]) == [1, 16]
    assert table["cpu_factor"][1] > table["cpu_factor"][0]
    np.testing.assert_allclose(table["real_time_factor"], table["seconds"] / (BLOCK * HOP / RATE), rtol=1e-4)


def test_models_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from sciffusion.domains.music import cli_judge

    monkeypatch.setattr(cli_judge, "list_pretrained", list)
    assert "comes without trained weights" in succeed("models")
    monkeypatch.setattr(cli_judge, "list_pretrained", lambda: ["chorales"])
    monkeypatch.setattr(cli_judge, "pretrained_card", lambda name: f"# {name}\n")
    assert succeed("models") == "chorales\n"
    assert succeed("models", "chorales") == "# chorales\n"


# -------------------------------------------------------------------- help and errors


@pytest.mark.parametrize(
    "command",
    ["render-corpus", "fit", "generate", "stream", "serve", "evaluate", "bench", "models"],
)
def test_every_command_has_an_example(command: str) -> None:
    assert f"Example: sciffusion music {command}" in succeed(command, "--help")


def test_without_weights_the_way_to_a_model_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sciffusion.domains.music import cli_options

    monkeypatch.setattr(cli_options, "list_pretrained", list)
    for arguments in (("serve",), ("stream", "--out", tmp_path / "x.wav"), ("generate", "chorales")):
        message = error_of(capsys, *arguments)
        assert "sciffusion music render-corpus corpus" in message
        assert "sciffusion music fit corpus --out model.safetensors" in message


def test_errors_name_the_remedy(
    capsys: pytest.CaptureFixture[str], model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.wav"
    (tmp_path / "empty").mkdir()
    for arguments, expected in (
        (("fit", tmp_path / "none", "--out", out), "there is no file or folder"),
        (("fit", tmp_path / "empty", "--out", out), "holds no sound files (.wav, .flac"),
        (("fit", folder / "recordings", "--out", model), "overwrite it with --force"),
        (("fit", folder / "recordings", "--out", out, "--codec", "no.file"), "no.file"),
        (("render-corpus", tmp_path / "c", "--collection", "abba"), "there are bach_chorales"),
        (("render-corpus", tmp_path / "c", "--transpose", "up"), "--transpose must be whole semitones"),
        (("generate", model, "--out", out, "--tempo", 90), "no control 'tempo'"),
        (("generate", model, "--out", out, "--chords", "H"), "'H' is no chord"),
        (("generate", model, "--out", out, "--style", "anna=x"), "--style must be TAG"),
        (("generate", model, "--out", out, "--joined"), "--joined needs one piece and a --prompt"),
        (
            ("generate", model, "--out", out, "--spectrogram", tmp_path / "x.doc"),
            "--spectrogram must name a file ending in",
        ),
        (("generate", tmp_path / "no.safetensors", "--out", out), "no.safetensors"),
        (("stream", model), "give --out FILE to write the stream, or --play"),
        (("stream", model, "--out", out, "--at", "soon"), "--at must be SECONDS:NAME=VALUE"),
        (("bench", model, "--nfe", "0"), "--nfe must be whole numbers"),
    ):
        assert expected in error_of(capsys, *arguments), arguments
    assert not out.exists()


def test_the_guide_names_commands_and_options_that_exist(repository_root: Path) -> None:
    guide = (repository_root / "docs" / "how-to" / "music.rst").read_text(encoding="utf-8")
    calls = re.findall(r"\$ sciffusion music ([a-z-]+)((?:[^\n]*\\\n)*[^\n]*)", guide)
    assert len(calls) >= 9
    for command, rest in calls:
        known = succeed(command, "--help")
        for option in re.findall(r"(--[a-z-]+)", rest.partition("#")[0]):
            assert re.search(rf"{option}\b", known), (command, option)


def test_the_guide_is_valid_python_with_names_that_exist(repository_root: Path) -> None:
    import importlib

    guide = (repository_root / "docs" / "how-to" / "music.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:(?:   .*)?\n)+)", guide, flags=re.MULTILINE)
    assert len(blocks) >= 8
    for block in blocks:
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sciffusion"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
