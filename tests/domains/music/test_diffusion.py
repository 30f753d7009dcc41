"""The estimator of music: fits, draws, scores and files; and one end-to-end test on simulated chords."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from sciffusion import LiveMusicDiffusion
from sciffusion.domains.music import Audio, SpectralCodec, read_audio, write_audio
from sciffusion.domains.music.codec_storage import save_codec
from sciffusion.domains.music.control_features import chroma
from sciffusion.domains.music.session_blocks import sigmoid_grid
from sciffusion.estimators.persistence import ModelFileError

RATE = 8_000


def small(**parameters: Any) -> LiveMusicDiffusion:
    given: dict[str, Any] = {
        "codec": SpectralCodec(RATE, 320, 16), "controls": ("chroma", "loudness"), "block": 3, "window": 3,
        "width": 16, "depth": 1, "n_heads": 2, "max_steps": 3, "batch_size": 4, "nfe": 2, "random_state": 0,
        "device": "cpu",
    }  # fmt: skip
    return LiveMusicDiffusion(**{**given, **parameters})


@pytest.fixture(scope="module")
def recordings(chords: Callable[..., Audio]) -> list[Audio]:
    return [chords(seed, 1.5) for seed in range(6)]


@pytest.fixture(scope="module")
def fitted(recordings: list[Audio]) -> LiveMusicDiffusion:
    model: LiveMusicDiffusion = small(controls=("chroma", "tempo"), styles=("a", "b")).fit(
        recordings, [{"style": "ab"[number % 2], "tempo": 90 + number} for number in range(6)]
    )
    return model


def weights(model: Any) -> Any:
    return torch.cat([value.flatten() for value in model._network_.state_dict().values()])


# ---------------------------------------------------------------- parameters


def test_parameters_go_round() -> None:
    model = small(codec="light", styles=("a",), trainer_options={"precision": 32})
    assert clone(model).get_params() == model.get_params()
    assert LiveMusicDiffusion(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(nfe=6).nfe == 6
    with pytest.raises(ValueError, match="no_such"):
        model.set_params(no_such=1)


def test_a_clone_is_not_fitted(fitted: LiveMusicDiffusion, recordings: list[Audio]) -> None:
    other = clone(fitted)
    assert not [name for name in vars(other) if name.endswith("_")]
    for call in (
        lambda: other.sample(1.0), lambda: other.stream(), lambda: other.score(recordings),
        lambda: other.continue_audio(recordings[0], 1.0), lambda: other.save("nowhere"),
    ):  # fmt: skip
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"block": 0}, ValueError), ({"window": 1}, ValueError), ({"width": 30}, ValueError),
        ({"variant": "causal"}, ValueError), ({"nfe": 0}, ValueError), ({"solver": "rk4"}, ValueError),
        ({"grid": "cosine"}, ValueError), ({"guidance": -1.0}, ValueError), ({"dropout": 1.0}, ValueError),
        ({"control_dropout": -0.1}, ValueError), ({"learning_rate": 0.0}, ValueError),
        ({"train_blocks": 1}, ValueError), ({"max_steps": 2.5}, TypeError), ({"codec": 3}, TypeError),
        ({"controls": ("loud",)}, ValueError), ({"controls": "chroma"}, TypeError),
        ({"controls": None}, TypeError), ({"styles": None}, TypeError),
        ({"styles": "ab"}, TypeError), ({"codec_steps": 0, "codec": "light"}, ValueError),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_refused_by_name_and_leave_the_fit(
    wrong: dict[str, Any], error: type[Exception], fitted: LiveMusicDiffusion, recordings: list[Audio]
) -> None:
    model = pickle.loads(pickle.dumps(fitted))
    before = model.sample(0.2)[0].samples
    with pytest.raises(error, match=next(iter(wrong))):
        model.set_params(**wrong).fit(recordings, [{"style": "a", "tempo": 90}] * 6)
    model.set_params(**{name: fitted.get_params()[name] for name in wrong})
    assert_array_equal(model.sample(0.2)[0].samples, before)


# ---------------------------------------------------------------- recordings


def test_files_and_arrays_are_learnt_alike(tmp_path: Path, recordings: list[Audio]) -> None:
    files = [tmp_path / f"{number}.flac" for number in range(2)]
    for path, audio in zip(files, recordings, strict=False):
        write_audio(path, audio)
    from_files = small().fit(files)
    arrays = [read_audio(path).samples for path in files]
    assert_array_equal(weights(from_files), weights(small().fit(arrays, sample_rate=RATE)))
    assert from_files.score(files) == pytest.approx(from_files.score(arrays, sample_rate=RATE))


def test_wrong_recordings_and_controls_are_refused(recordings: list[Audio], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    model = small(controls=("chroma", "tempo"), styles=("a", "b"))
    known: list[Any] = [{"style": "a", "tempo": 90}] * 2
    two = recordings[:2]
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        ([], None, ValueError, "at least one"),
        ([tmp_path / "a.wav"], known[:1], ValueError, r"a\.wav.*no sound file"),
        ([two[0], Audio(np.zeros(9000, np.float32), RATE)], known, ValueError, r"recordings\[1\] is silent"),
        ([two[0], Audio(two[0].samples[:900], RATE)], known, ValueError, r"recordings\[1\] lasts 0\.113 s"),
        (two, known[:1], ValueError, "one mapping a recording, got 1 for 2"),
        (two, {"style": "a"}, TypeError, "list with one mapping"),
        (two, [{"style": "a"}, 3], TypeError, r"controls\[1\] must be a mapping"),
        (two, [{"style": "c", "tempo": 90}] * 2, ValueError, "no style 'c'; it has 'a', 'b'"),
        (two, [{"roll": np.zeros(60)}] * 2, ValueError, "no control 'roll'; it has chroma, tempo, style"),
        (two, [{"style": "a"}] * 2, ValueError, "control 'tempo', but no recording comes with it"),
        (two, None, ValueError, "control 'tempo', but no recording"),
    ]
    for given, controls, error, message in wrong:
        with pytest.raises(error, match=message):
            model.fit(given, controls)
    assert not hasattr(model, "codec_")


def test_styles_are_found_in_the_recordings(recordings: list[Audio]) -> None:
    tags = [{"style": tag} for tag in ("piano", "organ", "piano")]
    model = small(controls=("style",)).fit(recordings[:3], tags)
    assert model.layout_.styles == ("organ", "piano")
    with pytest.raises(ValueError, match="no style 'harp'; it has 'organ', 'piano'"):
        model.sample(0.3, controls={"style": "harp"})


# ---------------------------------------------------------------- training


def test_fits_are_reproducible_and_leave_torch_alone(recordings: list[Audio]) -> None:
    stream = torch.get_rng_state()
    one, same, other = (small(random_state=seed).fit(recordings) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), stream)
    assert_array_equal(weights(one), weights(same))
    encoding = small(random_state=1, variant="encoder_decoder").fit(recordings)
    assert np.isfinite(encoding.score(recordings))
    assert encoding.score(recordings) != one.score(recordings)
    assert not torch.equal(weights(one), weights(other))
    assert one.score(recordings) == same.score(recordings)


def test_a_stopped_fit_goes_on(recordings: list[Audio], tmp_path: Path) -> None:
    class StopError(Exception):
        """Stops a fit."""

    from pytorch_lightning import Callback

    class Stopper(Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            if module._step >= 250:
                raise StopError

    options: dict[str, Any] = {"max_steps": 252, "batch_size": 1, "width": 8, "validation_fraction": 0.0}
    expected = small(**options).fit(recordings[:1])
    stopping = {"checkpoint": tmp_path / "fit", "trainer_options": {"callbacks": [Stopper()]}}
    with pytest.raises(StopError):
        small(**options, **stopping).fit(recordings[:1])
    assert (tmp_path / "fit").exists()
    resumed = small(**options, checkpoint=tmp_path / "fit").fit(recordings[:1])
    assert_array_equal(weights(resumed), weights(expected))


def test_validation_recordings_may_be_given(recordings: list[Audio]) -> None:
    watched = small().fit(recordings[:3], validation=recordings[3:])
    assert np.isfinite(watched.history_.held_out_loss).all()
    unwatched = small().fit(recordings[:3])
    assert not np.isfinite(unwatched.history_.held_out_loss).any()


# ---------------------------------------------------------------- draws


def test_pieces_have_the_length_that_was_asked_for(fitted: LiveMusicDiffusion) -> None:
    for seconds in (0.1, 0.36, 0.50012):
        found = fitted.sample(seconds, n=2)
        assert [len(piece.samples) for piece in found] == [round(seconds * RATE)] * 2
        assert found[0].sample_rate == RATE
    longer = fitted.sample(0.6, seed=4)[0].samples
    assert_array_equal(fitted.sample(0.3, seed=4)[0].samples, longer[: round(0.3 * RATE)])


def test_pieces_of_a_batch_differ_and_have_their_own_controls(random_model: Callable[..., Any]) -> None:
    model = random_model(controls=("tempo",), styles=("a", "b"), block=4)
    asked: list[Any] = [{"style": "a"}, {"style": "b", "tempo": 90}, {}]
    first, second, third = (piece.samples for piece in model.sample(0.8, n=3, seed=2, controls=asked))
    assert np.abs(first - third).max() > 1e-3
    # The first of a batch draws the noise of a single piece.
    assert_allclose(first, model.sample(0.8, seed=2, controls={"style": "a"})[0].samples, atol=1e-5)
    plain = model.sample(0.8, n=3, seed=2)
    assert_allclose(third, plain[2].samples, atol=1e-5)
    assert np.abs(second - plain[1].samples).max() > 1e-3


def test_a_continuation_begins_where_the_sound_ends(
    random_model: Callable[..., Any], recordings: list[Audio]
) -> None:
    model, lag = random_model(controls=()), 320
    alone = model.continue_audio(recordings[0], 0.5, seed=3)
    after = model.sample(0.5 + lag / RATE, seed=3, prompt=recordings[0])[0]
    assert_array_equal(alone.samples, after.samples[lag:])
    joined = model.continue_audio(recordings[0], 0.5, seed=3, joined=True)
    count = len(recordings[0].samples)
    assert len(joined.samples) == count + round(0.5 * RATE)
    assert_array_equal(joined.samples[: count - lag], recordings[0].samples[: count - lag])
    assert_array_equal(joined.samples[count:], alone.samples)


class _LateCodec(SpectralCodec):
    """Loses nothing: latents are the samples of a frame, which come out one frame late."""

    def to(self, device: Any) -> Any:
        return self

    def encode_next(self, audio: Any, state: Any) -> Any:
        return audio.reshape(len(audio), -1, self.hop), state

    def start_decoding(self, batch: int) -> Any:
        return {"last": torch.zeros(batch, 1, self.hop)}

    def decode_next(self, latents: Any, state: Any) -> Any:
        frames = torch.cat([state["last"], latents], dim=1)
        return frames[:, :-1].flatten(1), {"last": frames[:, -1:]}


def test_a_seam_with_what_a_codec_keeps_cannot_be_heard(
    random_model: Callable[..., Any], recordings: list[Audio]
) -> None:
    """A codec that loses nothing renders the end of a sound as it was, so fading to it changes nothing."""
    codec = _LateCodec(RATE, 320)
    joined = random_model(controls=(), codec=codec).continue_audio(recordings[0], 0.5, joined=True).samples
    given = recordings[0].samples
    assert np.abs(given[-320:]).max() > 0.02
    assert_allclose(joined[: len(given)], given, atol=1e-5)


def test_encoder_decoders_are_scored_on_recordings_shorter_than_their_window(
    random_model: Callable[..., Any], chords: Callable[..., Audio], recordings: list[Audio]
) -> None:
    model = random_model(variant="encoder_decoder", controls=("chroma",))
    short = Audio(chords(3).samples[: 2 * 960 + 100], RATE)
    alone = model.score([short])
    assert np.isfinite(alone)
    assert model.score([recordings[0], short]) == model.score([recordings[0]])
    fitted = small(variant="encoder_decoder", max_steps=1, learning_rate=0.01, warmup_steps=0, ema_decay=0.0)
    before = weights(fitted.fit([short]))
    after = weights(fitted.set_params(max_steps=4).fit([short]))
    assert not torch.equal(before, after)


def test_controls_of_one_frame_do_not_hold_for_all_time(
    random_model: Callable[..., Any], chords: Callable[..., Audio]
) -> None:
    model = random_model(controls=("roll", "partner"))
    partner = Audio(chords(3).samples[1000:1200], RATE)
    rows = model._control_rows({"roll": [[0.0, 0.03, 60]], "partner": partner}, 1, None)[0]
    for part in rows.values():
        assert part[0].isfinite().all()
        assert part[1:].isnan().all()
        assert len(part) == 2


def test_guidance_of_one_is_the_model_and_more_is_more(random_model: Callable[..., Any]) -> None:
    """The guided flow is linear in the strength: blocks made in one step lie on a line."""
    made = {}
    for strength in (0.0, 1.0, 2.0):
        model = random_model(controls=("tempo",), guidance=strength, nfe=1)
        made[strength] = model._maker().generator(1).generate(
            1, 1, seed=1, condition=lambda number: torch.ones(1, 3, 1)
        ).samples  # fmt: skip
    assert_allclose(made[2.0] - made[1.0], made[1.0] - made[0.0], atol=1e-5)
    assert float((made[1.0] - made[0.0]).abs().max()) > 1e-2
    model = random_model(controls=("tempo",), guidance=0.0, nfe=1)
    assert_allclose(
        model.sample(0.3, controls={"tempo": 200})[0].samples, model.sample(0.3)[0].samples, atol=1e-6
    )


def test_the_sigmoid_grid_has_the_published_times() -> None:
    expected = [1.0, 0.9933, 0.9820, 0.9526, 0.8808, 0.7311, 0.5, 0.2689, 0.0]
    assert_allclose(sigmoid_grid(8), expected, atol=5e-5)
    assert_allclose(sigmoid_grid(6), [1.0, 0.9907, 0.9656, 0.8808, 0.6608, 0.3392, 0.0], atol=5e-5)


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep"])
@pytest.mark.parametrize("grid", ["sigmoid", "uniform"])
def test_solvers_keep_to_their_evaluations_and_agree_in_the_limit(
    random_model: Callable[..., Any], solver: str, grid: str
) -> None:
    model = random_model(controls=(), solver=solver, grid=grid, nfe=8)
    stream = model.stream()
    # The last step of Heun's method has nothing to correct.
    assert [stream.step().nfe for _ in range(2)] == ([7, 7] if solver == "heun" else [8, 8])
    if grid == "sigmoid":
        return  # for few steps: its last one has a length of its own, however many there are
    exact = random_model(controls=(), solver="heun", grid="uniform").sample(0.1, nfe=128)[0].samples
    far, near = (np.abs(model.sample(0.1, nfe=nfe)[0].samples - exact).max() for nfe in (4, 64))
    assert near < 0.1 * far


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"seconds": 0.0}, ValueError, "seconds"), ({"seconds": float("inf")}, ValueError, "seconds"),
        ({"seconds": "long"}, TypeError, "seconds"), ({"n": 0}, ValueError, "n must"),
        ({"seed": -1}, ValueError, "seed"), ({"nfe": 0}, ValueError, "nfe"),
        ({"controls": {"loud": 1}}, ValueError, "no control 'loud'"),
        ({"controls": [{}, {}]}, ValueError, "a list of 1"), ({"seed": 2**63}, ValueError, "seed"),
        ({"controls": {"chroma": " "}}, ValueError, "name notes"),
        ({"controls": "C"}, ValueError, "one mapping"),
        ({"prompt": np.zeros(9000)}, ValueError, "sample_rate="), ({"prompt": "no.wav"}, OSError, r"no\.wav"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_questions_are_refused(
    fitted: LiveMusicDiffusion, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fitted.sample(**{"seconds": 0.2, **asked})


# ---------------------------------------------------------------- scores and searches


def test_the_score_is_minus_the_error_of_the_flow(random_model: Callable[..., Any]) -> None:
    """A network that says 0 errs by the flow itself, whose mean square is 1 + that of the latents."""
    model, noise = random_model(), np.random.default_rng(0).normal(0.0, 0.3, (2, 30_000)).astype(np.float32)
    recordings = [Audio(one, RATE) for one in noise]
    assert model.score(recordings) == model.score(recordings)
    with torch.no_grad():
        model._network_.output.weight.zero_()
        model._network_.output.bias.zero_()
    latents = model.codec_.statistics.normalise(model.codec_.encode(torch.from_numpy(noise)))
    assert model.score(recordings) == pytest.approx(-1.0 - float(latents.square().mean()), rel=0.03)


def test_models_can_be_searched_over_folds_of_recordings(recordings: list[Audio]) -> None:
    folds = KFold(3)
    found = cross_val_score(small(), recordings, cv=folds)
    by_hand = [
        small().fit([recordings[i] for i in train]).score([recordings[i] for i in test])
        for train, test in folds.split(recordings)
    ]
    assert_allclose(found, by_hand, rtol=1e-12)
    tags = [{"style": "ab"[number % 2]} for number in range(6)]
    search = GridSearchCV(small(controls=("style",)), {"learning_rate": [1e-4, 1e-2]}, cv=KFold(2))
    search.fit(recordings, tags)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.sample(0.2, controls={"style": "b"})[0].samples) == 1600


# ---------------------------------------------------------------- files and pickles


def test_files_and_pickles_play_the_same(
    fitted: LiveMusicDiffusion, recordings: list[Audio], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    asked: dict[str, Any] = {"seed": 3, "controls": {"style": "a", "chroma": "C E"}, "prompt": recordings[1]}
    expected = fitted.sample(0.5, **asked)[0].samples
    state = fitted.stream(seed=1).state_dict()
    for back in (pickle.loads(pickle.dumps(fitted)), LiveMusicDiffusion.load(tmp_path / "model")):
        assert_array_equal(back.sample(0.5, **asked)[0].samples, expected)
        assert back.score(recordings) == fitted.score(recordings)
        assert back.layout_ == fitted.layout_
        back.stream().load_state_dict(state)
        assert isinstance(back.codec, SpectralCodec)
        assert_array_equal(back.history_.train_loss, fitted.history_.train_loss)


def test_codecs_are_read_from_files(recordings: list[Audio], tmp_path: Path) -> None:
    save_codec(SpectralCodec(RATE, 320, 16), tmp_path / "codec")
    model = small(codec=tmp_path / "codec").fit(recordings)
    assert_array_equal(weights(model), weights(small().fit(recordings)))
    model.save(tmp_path / "model")
    assert LiveMusicDiffusion.load(tmp_path / "model").codec == str(tmp_path / "codec")
    with pytest.raises(ModelFileError, match="not a codec"):
        small(codec=tmp_path / "model").fit(recordings)


@pytest.mark.slow
def test_a_codec_is_trained_where_none_is_given(recordings: list[Audio], tmp_path: Path) -> None:
    model = small(codec="light", codec_steps=2).fit(recordings[:2])
    assert (model.codec_.sample_rate, model.codec_.hop, model.codec_.channels) == (24_000, 960, 32)
    piece = model.sample(0.5, prompt=recordings[0])[0]
    assert (piece.sample_rate, len(piece.samples)) == (24_000, 12_000)
    model.save(tmp_path / "model")
    back = LiveMusicDiffusion.load(tmp_path / "model")
    assert back.codec == "light"
    assert_array_equal(back.sample(0.5, prompt=recordings[0])[0].samples, piece.samples)


# ---------------------------------------------------------------- end to end


def test_a_model_learns_simulated_music_and_follows_its_controls() -> None:
    """Two sines, one at a time: what is asked for is what sounds, as loud as in the recordings."""
    rate, generator, recordings = 4_000, np.random.default_rng(0), []
    for _ in range(12):
        hertz = np.where(np.repeat(generator.integers(0, 2, 8), rate // 4) == 0, 261.63, 369.99)
        phase = 2.0 * np.pi * (np.cumsum(hertz) / rate + generator.random())
        recordings.append(Audio((0.2 * np.sin(phase)).astype(np.float32), rate))
    model = LiveMusicDiffusion(
        codec=SpectralCodec(rate, 160, 40), controls=("chroma",), block=4, window=3, width=32, depth=2,
        n_heads=2, max_steps=300, batch_size=16, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98,
        control_dropout=0.05, validation_fraction=0.0, nfe=12, random_state=0, device="cpu",
    ).fit(recordings)  # fmt: skip
    for asked, wanted, other in (("C", 0, 6), ("F#", 6, 0)):
        pieces = model.sample(1.5, n=6, seed=1, controls={"chroma": asked})
        sound = torch.from_numpy(np.stack([piece.samples for piece in pieces]))
        heard = chroma(sound, rate, 160)[:, 6:-6].mean((0, 1))
        assert float(heard[wanted]) > 0.75
        assert float(heard[wanted]) > 2.0 * float(heard[other])
        assert float(sound.square().mean().sqrt()) == pytest.approx(0.2 / 2**0.5, rel=0.15)
