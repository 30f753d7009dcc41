"""What scikit-learn asks of an estimator, of one whose rows are recordings."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from sciffusion import LiveMusicDiffusion
from sciffusion.domains.music import Audio, SpectralCodec, list_pretrained, pretrained_card

_TABLES = "recordings are files, Audio or arrays of samples; a table of numbers is none"
_CHECKS_ON_TABLES = (
    "check_fit_score_takes_y", "check_estimators_overwrite_params", "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self", "check_readonly_memmap_input",
    "check_n_features_in_after_fitting", "check_positive_only_tag_during_fit", "check_estimators_dtypes",
    "check_complex_data", "check_dtype_object", "check_estimators_empty_data_messages",
    "check_pipeline_consistency", "check_estimators_nan_inf", "check_estimator_sparse_tag",
    "check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_estimators_pickle",
    "check_f_contiguous_array_estimator", "check_methods_sample_order_invariance",
    "check_methods_subset_invariance", "check_fit2d_1sample", "check_fit2d_1feature",
    "check_dict_unchanged", "check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in",
    "check_fit1d", "check_fit2d_predict1d",
)  # fmt: skip


def small(**parameters: Any) -> LiveMusicDiffusion:
    given: dict[str, Any] = {
        "codec": SpectralCodec(8_000, 320, 16), "controls": ("loudness",), "block": 2, "window": 2,
        "width": 8, "depth": 1, "n_heads": 1, "max_steps": 1, "batch_size": 2, "nfe": 1, "device": "cpu",
        "random_state": 0,
    }  # fmt: skip
    return LiveMusicDiffusion(**{**given, **parameters})


def _expected_failures(estimator: LiveMusicDiffusion) -> dict[str, str]:
    return dict.fromkeys(_CHECKS_ON_TABLES, _TABLES)


@parametrize_with_checks([small()], expected_failed_checks=_expected_failures)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: LiveMusicDiffusion, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_what_those_checks_ask_holds_of_recordings(chords: Callable[..., Audio]) -> None:
    """Parameters stay, a fit returns itself, may be repeated, and what is asked of it changes nothing."""
    recordings, model = [chords(seed, 0.5) for seed in range(2)], small()
    before, copies = model.get_params(), [one.samples.copy() for one in recordings]
    assert model.fit(recordings) is model
    assert model.get_params() == before
    added = vars(model).keys() - before.keys()
    assert all(name.endswith("_") for name in added)
    assert {"codec_", "layout_", "seed_", "history_"} <= added
    held, stream = pickle.dumps(model), torch.get_rng_state()
    piece = model.sample(0.2)[0].samples
    model.stream().step()
    model.continue_audio(recordings[0], 0.1)
    score = model.score(recordings)
    assert pickle.dumps(model) == held
    assert torch.equal(torch.get_rng_state(), stream)
    model.fit(recordings)
    assert (model.sample(0.2)[0].samples == piece).all()
    assert model.score(recordings) == score
    assert all((one.samples == copy).all() for one, copy in zip(recordings, copies, strict=True))
    with pytest.raises(ValueError, match="NaN"):
        model.fit([Audio(recordings[0].samples * torch.nan, 8_000)])


def test_published_models_have_cards_and_play() -> None:
    for name in list_pretrained():
        assert pretrained_card(name)
        model = LiveMusicDiffusion.from_pretrained(name)
        assert len(model.sample(0.5)[0].samples) == model.codec_.sample_rate // 2


def test_the_name_at_the_top_is_the_estimator() -> None:
    from sciffusion.domains.music.diffusion import LiveMusicDiffusion as Own

    assert LiveMusicDiffusion is Own
