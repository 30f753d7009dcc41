"""The light codec is trained on recordings of any kind and refuses what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sciffusion.domains.music import Audio, AudioError, reconstruct
from sciffusion.domains.music.codec_training import (
    CodecObjective,
    codec_rows,
    fit_light_codec,
    training_rows,
)
from sciffusion.domains.music.light_codec import LightCodec
from sciffusion.domains.music.light_codec_network import CodecSizes, LightCodecNetwork
from sciffusion.domains.music.spectrogram import CausalSpectrogram

RATE = 8000
SPECTROGRAM = CausalSpectrogram(window=256, hop=64)
SIZES = CodecSizes(fine=24, coarse=32, fine_blocks=1, coarse_blocks=1, head=32)


def _tones(seconds: float = 4.0, rate: int = RATE, seed: int = 0) -> Audio:
    """Return a melody of one of four tones every quarter of a second."""
    chosen = np.random.default_rng(seed).integers(0, 4, int(4 * seconds))
    frequencies = np.repeat(np.array([300.0, 500.0, 800.0, 1300.0])[chosen], rate // 4)
    samples = 0.4 * np.sin(2.0 * np.pi * np.cumsum(frequencies) / rate)
    return Audio(samples.astype(np.float32), rate)


def _fit(recordings: list[Audio], **options: object) -> LightCodec:
    settings = {"channels": 4, "max_steps": 250, "batch_size": 4, "learning_rate": 5e-3, **options}
    return fit_light_codec(recordings, sample_rate=RATE, sizes=SIZES, spectrogram=SPECTROGRAM, **settings)


@pytest.fixture(scope="module")
def codec() -> LightCodec:
    """Return a codec trained for seconds on melodies of four tones."""
    return _fit([_tones(seed=number) for number in range(4)])


def _mean_spectrum(samples: torch.Tensor) -> torch.Tensor:
    spectra, _ = SPECTROGRAM.analyse(samples, SPECTROGRAM.start_analysis(1))
    return spectra.abs()[:, 8:]


def test_a_trained_codec_brings_back_which_tone_sounds_when(codec: LightCodec) -> None:
    audio = torch.from_numpy(_tones(seed=9).samples)[None]
    again = reconstruct(codec, audio)
    assert again.shape == audio.shape
    original, found = _mean_spectrum(audio), _mean_spectrum(again)
    same = (original.argmax(-1) - found.argmax(-1)).abs() <= 1
    assert float(same.float().mean()) > 0.85
    assert float((original - found).norm() / original.norm()) < 0.5


def test_its_statistics_are_those_of_its_latents(codec: LightCodec) -> None:
    latents = torch.cat([codec.encode(torch.from_numpy(_tones(seed=n).samples)[None]) for n in range(4)], 1)
    normalised = codec.statistics.normalise(latents)
    assert float(normalised.mean((0, 1)).abs().max()) < 0.2
    assert float((normalised.std((0, 1)) - 1.0).abs().max()) < 0.2


def test_noise_on_latents_changes_little(codec: LightCodec) -> None:
    latents = codec.encode(torch.from_numpy(_tones(seed=9).samples)[None])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    clean = _mean_spectrum(codec.decode(latents))
    little = _mean_spectrum(codec.decode(latents + 0.1 * codec.statistics.std * noise))
    much = _mean_spectrum(codec.decode(latents + 3.0 * codec.statistics.std * noise))
    change = float((clean - little).norm() / clean.norm())
    assert change < 0.35
    assert change < 0.5 * float((clean - much).norm() / clean.norm())


def test_the_seed_decides_and_nothing_else() -> None:
    recordings = [_tones()]
    before = torch.random.get_rng_state()
    first, second = (_fit(recordings, max_steps=3, seed=5) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    other = _fit(recordings, max_steps=3, seed=6)
    weights = [codec.description()[0]["network.split.weight"] for codec in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])


def test_a_fit_is_taken_up_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "codec.ckpt"
    first = _fit([_tones()], max_steps=3, checkpoint=path)
    assert path.is_file()
    again = _fit([_tones()], max_steps=3, checkpoint=path)
    audio = torch.from_numpy(_tones(1.0).samples)[None]
    assert torch.equal(first.encode(audio), again.encode(audio))


def test_recordings_of_any_rate_and_length_become_rows() -> None:
    stereo = Audio(np.stack([_tones(1.0, 2 * RATE).samples, np.zeros(2 * RATE, np.float32)], 1), 2 * RATE)
    short = Audio(np.full(10, 0.25, np.float32), RATE)
    rows = codec_rows([stereo, short], RATE, 5000)
    assert rows.shape == (3, 5000)
    assert rows.dtype == np.int16
    assert abs(int(np.abs(rows[0]).max()) - 0.2 * 32767) < 400
    assert rows[2, :10].tolist() == [round(0.25 * 32767)] * 10
    assert not rows[2, 10:].any()


def test_a_clip_shorter_than_a_crop_is_enough() -> None:
    codec = _fit([Audio(np.full(100, 0.1, np.float32), RATE)], max_steps=2)
    assert torch.isfinite(codec.encode(torch.zeros(1, 500))).all()


def test_crops_are_at_random_places_and_gains() -> None:
    objective = CodecObjective(SPECTROGRAM, RATE, 0.1)
    rows = training_rows([_tones()], RATE, SPECTROGRAM)
    generator = torch.Generator().manual_seed(0)
    first, second = (objective.levels(rows, generator) for _ in range(2))
    assert first.shape == (len(rows), objective.frames, 129)
    assert float((first - second).abs().max()) > 0.1
    repeated = objective.levels(rows, torch.Generator().manual_seed(0))
    assert torch.equal(first, repeated)


def test_the_loss_is_zero_for_the_truth_alone() -> None:
    objective = CodecObjective(SPECTROGRAM, RATE, 0.1)
    levels = torch.randn(2, 20, 129, generator=torch.Generator().manual_seed(0)) - 4.0
    assert float(objective.distance(levels, levels)) == 0.0
    assert float(objective.distance(levels + 0.1, levels)) > 0.1


@pytest.mark.parametrize(
    ("recordings", "error", "message"),
    [
        ([], AudioError, "empty"),
        ([np.zeros(100)], TypeError, r"recordings\[0\] must be Audio"),
        (Audio(np.zeros(100, np.float32), RATE), TypeError, "list of Audio"),
        (None, TypeError, "list of Audio"),
        ([Audio(np.zeros(100, np.float32), 0)], AudioError, r"recordings\[0\]: the sample rate"),
        ([Audio(np.full(100, np.nan, np.float32), RATE)], AudioError, "NaN"),
        ([Audio(np.zeros(0, np.float32), RATE)], AudioError, "no samples"),
    ],
)
def test_what_is_no_recording_is_refused(recordings: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit_light_codec(recordings, sample_rate=RATE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -1.0}, "noise"),
        ({"max_steps": 0}, "max_steps"),
        ({"channels": 0}, "channels"),
        ({"channels": 2.5}, "channels"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        _fit([_tones()], **options)


def test_noise_reaches_the_decoder() -> None:
    network = LightCodecNetwork(CodecSizes(bins=129, channels=4, fine=8, coarse=8, head=8))
    levels = torch.zeros(1, 8, 129)
    noise = torch.ones(1, 4, 4)
    network.eval()
    assert not torch.allclose(network(levels), network(levels, noise))
