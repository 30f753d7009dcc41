"""The benchmark of the light codec, on a few seconds of tones and a codec that knows nothing."""

from __future__ import annotations

from pathlib import Path

import music_codec
import numpy as np
import pandas as pd
import pytest
import torch
from music_codec_rows import left_of

from sciffusion.domains.music import Audio, LatentStatistics, write_audio
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork

pytest.importorskip("mido")
pytest.importorskip("soundfile")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a corpus of ten pieces of one note each; the tenth is for testing."""
    import mido

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    time = np.arange(24_000 * 2) / 24_000
    for number in range(10):
        track = mido.MidiTrack(
            [
                mido.Message("note_on", note=60 + number, velocity=80, time=0),
                mido.Message("note_off", note=60 + number, time=960),
            ]
        )
        mido.MidiFile(tracks=[track]).save(corpus / f"p{number}.mid")
        tone = 0.3 * np.sin(2.0 * np.pi * 440.0 * 2.0 ** ((number - 9) / 12.0) * time)
        write_audio(corpus / f"p{number}.piano.wav", Audio(tone.astype(np.float32), 24_000))
    return corpus


@pytest.fixture
def codec() -> LightCodec:
    """Return a codec with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LightCodecNetwork(CodecSizes(channels=4, fine=8, coarse=8, head=8))
    return LightCodec(network, LatentStatistics(torch.zeros(4), torch.ones(4)))


def test_a_miniature_run_writes_its_report_and_misses_its_bars(
    folder: Path, codec: LightCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(music_codec, "why_no_notes", lambda: "left out here")
    path, out = tmp_path / "codec.safetensors", tmp_path / "out"
    codec.save(path)
    arguments = ["--corpus", str(folder), "--codec", str(path), "--count", "1", "--seconds", "1.5"]
    music_codec.main([*arguments, "--out", str(out), "--quick", "--check"])
    report = (out / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked: a round trip of piano" in report
    assert str(tmp_path) not in report
    names = {file.name for file in out.iterdir()}
    assert {"round_trips.csv", "pieces.csv", "cost.csv", "music_codec.png", "spectrograms.png"} <= names
    table = pd.read_csv(out / "round_trips.csv").set_index("version")
    # Phases alone lose next to nothing of a tone, a codec that knows nothing all but everything.
    assert table.loc["phases alone", "spectral convergence"] < 0.1
    assert table.loc["round trip", "spectral convergence"] > 0.5
    assert table.loc["original", "log-mel dB"] == 0.0


def test_bars_see_notes_lost_and_pieces_that_differ() -> None:
    rows = pd.DataFrame(
        [
            {"version": "original", "style": "organ", "note F1": 0.5, "log-mel dB": 0.0},
            {"version": "round trip", "style": "organ", "note F1": 0.4, "log-mel dB": 2.0},
        ]
    )
    table = music_codec.summary(rows)
    assert table["share of original F1"].tolist() == pytest.approx([1.0, 0.8])
    equality = pd.DataFrame([{"latents": 1e-6, "audio over peak": 1e-2}])
    cost = {"encode": 0.01, "decode": 0.01, "decode in blocks": 0.05}
    bars = {bar.name: bar.reached for bar in music_codec.codec_bars(table, equality, cost)}
    assert list(bars.values()) == [False, True, False, True, False]


def test_sounds_half_as_loud_are_six_decibels_apart() -> None:
    audio = 0.1 * torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    assert left_of(audio, audio) == (0.0, 0.0)
    difference, convergence = left_of(audio, 0.5 * audio)
    assert difference == pytest.approx(20.0 * np.log10(2.0), rel=1e-3)
    assert convergence == pytest.approx(0.5, rel=1e-4)
