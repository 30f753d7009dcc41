"""EnCodec: pieces equal the whole, and the whole equals the package's own networks after silence."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.domains.music.audio import AudioError
from sciffusion.domains.music.codec import Codec, reconstruct
from sciffusion.domains.music.encodec_codec import SILENT_FRAMES, EncodecCodec

missing = [name for name in ("encodec", "torchaudio", "einops") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")

CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-6}


def _audio(samples: int, batch: int = 2) -> Tensor:
    return 0.3 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def package() -> Any:
    """Return the package's own model, with random weights and the norms of its files."""
    from sciffusion.domains.music.torchaudio_import import import_torchaudio

    import_torchaudio()
    from encodec.modules import SEANetDecoder, SEANetEncoder

    model = torch.nn.Module()
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)  # the package uses torch's old weight norm
        torch.manual_seed(3)
        model.encoder = SEANetEncoder(norm="weight_norm", causal=True)
        model.decoder = SEANetDecoder(norm="weight_norm", causal=True)
        for name, parameter in model.named_parameters():
            if name.endswith("weight_g"):  # lengths that differ from those of the directions
                parameter.data *= 1.0 + torch.rand_like(parameter)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights as the package has them, quantiser included."""
    path = tmp_path_factory.mktemp("encodec") / "encodec_24khz.th"
    torch.save(package.state_dict() | {"quantizer.vq.layers.0._codebook.embed": torch.zeros(4, 2)}, path)
    return path


@pytest.fixture(scope="module")
def codec(weights: Path) -> EncodecCodec:
    """Return the codec with the weights of the file."""
    return EncodecCodec.from_file(weights)


def test_it_is_a_codec(codec: EncodecCodec) -> None:
    assert isinstance(codec, Codec)
    assert (codec.sample_rate, codec.hop, codec.channels, codec.delay) == (24_000, 320, 128, 0)


def test_the_whole_is_the_package_after_silence(codec: EncodecCodec, package: Any) -> None:
    audio, start = _audio(20 * 320), SILENT_FRAMES * 320
    silent = torch.zeros(2, 1, start)
    expected = package.encoder(torch.cat([silent, audio[:, None]], -1))[..., SILENT_FRAMES:]
    latents = codec.encode(audio)
    torch.testing.assert_close(latents, expected.transpose(1, 2), **CLOSE)
    # The package alone takes another past for the clip: the definition matters.
    assert float((latents[:, :6] - package.encoder(audio[:, None]).mT[:, :6]).abs().amax()) > 1e-3

    before = package.encoder(silent)
    sound = package.decoder(torch.cat([before, latents.mT], -1))[:, 0, start:]
    torch.testing.assert_close(codec.decode(latents), sound, **CLOSE)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 9), (5, 0, 7), (12,)])
def test_pieces_equal_the_whole(codec: EncodecCodec, pieces: tuple[int, ...]) -> None:
    audio = _audio(12 * 320)
    encoding, decoding, latents, sound = codec.start_encoding(2), codec.start_decoding(2), [], []
    for part in audio.split([320 * count for count in pieces], dim=1):
        before = {name: value.clone() for name, value in encoding.items()}
        new, following = codec.encode_next(part, encoding)
        assert all(torch.equal(encoding[name], value) for name, value in before.items())
        out, decoding = codec.decode_next(new, decoding)
        encoding = following
        latents.append(new)
        sound.append(out)
    whole = codec.encode(audio)
    torch.testing.assert_close(torch.cat(latents, 1), whole, **CLOSE)
    torch.testing.assert_close(torch.cat(sound, 1), codec.decode(whole), **CLOSE)
    assert all(isinstance(value, Tensor) for value in (*encoding.values(), *decoding.values()))


def test_without_its_state_a_piece_is_something_else(codec: EncodecCodec) -> None:
    audio = _audio(12 * 320)
    whole, apart = codec.encode(audio)[:, 6:], codec.encode(audio[:, 6 * 320 :])
    assert float((whole - apart).abs().amax()) > 1e-3


def test_frames_see_no_later_sample_and_sound_no_later_frame(codec: EncodecCodec) -> None:
    audio = _audio(8 * 320, 1)
    changed = audio.clone()
    changed[:, 4 * 320] += 1.0
    differs = (codec.encode(audio) - codec.encode(changed)).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [False] * 4 + [True] * 4
    latents = codec.encode(audio)
    moved = latents.clone()
    moved[:, 4] += 1.0
    difference = (codec.decode(latents) - codec.decode(moved))[0].abs()
    assert float(difference[: 4 * 320].amax()) < 1e-6 < float(difference[4 * 320 : 5 * 320].amax())


def test_odd_lengths_are_filled_with_silence(codec: EncodecCodec) -> None:
    audio = _audio(1000)
    filled = torch.nn.functional.pad(audio, (0, 280))
    assert codec.encode(audio).shape == (2, 4, 128)
    torch.testing.assert_close(codec.encode(audio), codec.encode(filled))
    assert reconstruct(codec, audio).shape == audio.shape


def test_statistics_normalise_what_they_were_taken_from(weights: Path) -> None:
    clips = [_audio(6400, 1)[0].numpy(), np.zeros((3200, 2), dtype=np.float32)]
    codec = EncodecCodec.from_file(weights).fit_statistics(clips, 24_000)
    latents = torch.cat([codec.encode(_audio(6400, 1)), codec.encode(torch.zeros(1, 3200))], 1)
    normal = codec.statistics.normalise(latents)
    torch.testing.assert_close(normal.mean((0, 1)), torch.zeros(128), rtol=0, atol=1e-3)
    spread = normal.std((0, 1), correction=0)[codec.statistics.std > 2e-3]
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="no clips"):
        codec.fit_statistics([])
    with pytest.raises(AudioError, match=r"audio\[0\] is an array"):
        codec.fit_statistics(clips)


def test_descriptions_leave_the_weights_out_unless_asked(
    codec: EncodecCodec, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCIFFUSION_ENCODEC_WEIGHTS", raising=False)
    tensors, values = codec.description()
    assert set(tensors) == {"mean", "std"}
    assert values["kind"] == "encodec"
    with pytest.raises(ValueError, match="SCIFFUSION_ENCODEC_WEIGHTS"):
        EncodecCodec.from_description(tensors, values)
    with pytest.raises(ValueError, match="are not those"):
        EncodecCodec.from_description(tensors, values | {"fingerprint": "0" * 64}, weights=weights)
    monkeypatch.setenv("SCIFFUSION_ENCODEC_WEIGHTS", str(weights))
    audio = _audio(960)
    kept = EncodecCodec.from_file(weights, keep_weights=True).description()
    assert len(kept[0]) > 2
    for description in ((tensors, values), kept):
        again = EncodecCodec.from_description(*description)
        assert torch.equal(again.encode(audio), codec.encode(audio))


def test_random_weights_hang_on_their_seed_alone() -> None:
    state = torch.random.get_rng_state()
    one, other = EncodecCodec.from_random(1), EncodecCodec.from_random(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.fingerprint != other.fingerprint
    again = EncodecCodec.from_description(*one.description())
    assert torch.equal(again.encode(_audio(640)), one.encode(_audio(640)))


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.th"):
        EncodecCodec.from_file(tmp_path / "nothing.th")
    (tmp_path / "text.th").write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.th.*no weights that can be read"):
        EncodecCodec.from_file(tmp_path / "text.th")
    torch.save({"encoder.model.0.conv.conv.bias": torch.zeros(3)}, tmp_path / "other.th")
    with pytest.raises(ValueError, match=r"other\.th' does not hold the weights of EnCodec"):
        EncodecCodec.from_file(tmp_path / "other.th")


def test_code_in_a_file_is_not_executed(tmp_path: Path) -> None:
    torch.save({"encoder": Path}, tmp_path / "code.th")
    with pytest.raises(ValueError, match="no weights that can be read"):
        EncodecCodec.from_file(tmp_path / "code.th")


def test_wrong_shapes_are_named(codec: EncodecCodec) -> None:
    with pytest.raises(ValueError, match="multiple of 320"):
        codec.encode_next(torch.zeros(1, 100), codec.start_encoding())
    with pytest.raises(ValueError, match=r"\(batch, frames, 128\)"):
        codec.decode_next(torch.zeros(1, 100, 3), codec.start_decoding())
