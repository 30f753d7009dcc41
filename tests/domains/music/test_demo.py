"""The demonstration in miniature, and the sound it falls back to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sciffusion.domains.music import demo, demo_model
from sciffusion.domains.music.audio import read_audio
from sciffusion.domains.music.control_features import chroma
from sciffusion.domains.music.demo_sound import simulated_music
from sciffusion.domains.music.demo_stream import asked_chroma, planned_chords

pytest.importorskip("matplotlib")
pytest.importorskip("soundfile")


def test_the_demonstration_plays_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    page = demo.main(["--quick", "--seconds", "1", "--out", str(tmp_path / "new" / "music")])
    assert torch.get_num_threads() == threads
    shown = capsys.readouterr().out
    assert "simulating recordings" in shown
    assert str(page.resolve()) in shown
    folder = page.parent
    audio = read_audio(folder / "stream.wav")
    assert audio.seconds == pytest.approx(1.0)
    assert np.abs(audio.samples).max() > 1e-3
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["source"] == "simulated"
    assert stats["largest_difference_from_sample"] < 1e-5
    assert list(stats["chords_from_second"].values()) == ["", "F:maj", "D:min"]
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 4
    assert "A reduced run" in text
    assert 'src="stream.wav"' in text
    assert "{" not in text.split("<body>")[1]


def test_a_source_that_is_not_there_ends_it_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: Any, **named: Any) -> None:
        raise FileNotFoundError("install fluidsynth")

    monkeypatch.setattr(demo_model, "render_corpus", missing)
    monkeypatch.setattr(demo_model, "list_pretrained", list)
    for source, expected in (("scores", "install fluidsynth"), ("published", "without trained weights")):
        with pytest.raises(SystemExit) as ended:
            demo.main(["--out", str(tmp_path / "page"), "--source", source])
        assert ended.value.code == 2
        assert expected in capsys.readouterr().err


def test_without_scores_it_simulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fitted: list[int] = []

    def missing(*arguments: Any, **named: Any) -> None:
        raise FileNotFoundError("install fluidsynth")

    def fit(recordings: Any, *arguments: Any) -> Any:
        fitted.append(len(recordings))

    monkeypatch.setattr(demo_model, "render_corpus", missing)
    monkeypatch.setattr(demo_model, "list_pretrained", list)
    monkeypatch.setattr(demo_model, "_fitted", fit)
    monkeypatch.setattr(
        demo_model, "simulated_music", lambda count, *_, **named: simulated_music(count, 0.5, 8_000)
    )
    found = demo_model.find_model(tmp_path, 0, said.append)
    assert found.source == "simulated"
    assert fitted == [14]
    assert "  no scores: install fluidsynth" in said
    assert "simulated chords" in found.told


def test_simulated_music_is_chords_of_one_key() -> None:
    first, second = simulated_music(2, 8.0, 8_000, seed=3)
    (again, _) = simulated_music(2, 8.0, 8_000, seed=3)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.seconds == 8.0
    assert np.abs(first.samples).max() == pytest.approx(0.5)
    for audio in (first, second):
        heard = chroma(torch.from_numpy(audio.samples)[None], 8_000, 800)[0].numpy()
        # The five pitch classes outside of a key are heard as overtones only.
        total = np.sort(heard.mean(0))
        assert total[:5].sum() < 0.25 * total.sum()


def test_chords_are_asked_for_in_thirds() -> None:
    plan = planned_chords(9)
    assert plan == {0: "", 3: "F:maj", 6: "D:min"}
    rows = asked_chroma(plan, 9, 2)
    assert rows.shape == (18, 12)
    assert np.isnan(rows[:6]).all()
    assert set(np.flatnonzero(rows[6])) == {5, 9, 0}
    assert set(np.flatnonzero(rows[12])) == {2, 5, 9}
