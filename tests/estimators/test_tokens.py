"""What scikit-learn and this library ask of `TokenDiffusion`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

import sciffusion
from sciffusion import TokenDiffusion
from sciffusion.estimators import DiffusionEstimator

TINY: dict[str, Any] = {"width": 8, "depth": 1, "n_heads": 2, "nfe": 4, "draws": 4}

#: Checks of scikit-learn that ask what sequences of tokens cannot be.
SKIPPED = {
    "check_sample_weight_equivalence_on_dense_data": "gives fractions, which are no tokens",
}


def make(**changed: Any) -> TokenDiffusion:
    return TokenDiffusion(**{**TINY, "max_steps": 12, "random_state": 0, **changed})


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("ACGT"), rng.integers(3, 8))) for _ in range(60)]


@pytest.fixture(scope="module")
def share(sequences: list[str]) -> pd.Series:
    return pd.Series([one.count("G") / len(one) for one in sequences], name="gc")


@pytest.fixture(scope="module")
def fitted(sequences: list[str], share: pd.Series) -> TokenDiffusion:
    return make().fit(sequences, share)


@parametrize_with_checks([make(max_steps=1, nfe=2, draws=1)], expected_failed_checks=lambda _: SKIPPED)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: TokenDiffusion, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_it_is_a_public_name_and_parameters_go_round() -> None:
    assert sciffusion.TokenDiffusion is TokenDiffusion
    model = make(alphabet="ACGT", process="uniform")
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(nfe=9).nfe == 9
    for call in (TokenDiffusion().sample, lambda: TokenDiffusion().score_samples(["A"])):
        with pytest.raises(NotFittedError):
            call()


def test_a_seed_gives_the_same_model_and_draws(
    fitted: TokenDiffusion, sequences: list[str], share: pd.Series
) -> None:
    state = torch.get_rng_state()
    again = make().fit(sequences, share)
    assert_array_equal(again.score_samples(sequences), fitted.score_samples(sequences))
    assert again.sample(9, random_state=1) == fitted.sample(9, random_state=1)
    assert fitted.sample(9, random_state=1) != fitted.sample(9, random_state=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_forms_of_sequences_agree(sequences: list[str]) -> None:
    by_text = make(max_steps=2).fit(sequences)
    expected, drawn = by_text.score_samples(sequences), by_text.sample(5, random_state=0)
    for X in (np.array(sequences), pd.Series(sequences), pd.DataFrame({"dna": sequences})):
        assert_array_equal(by_text.score_samples(X), expected)
    lists = make(max_steps=2).fit([list(one) for one in sequences])
    assert ["".join(one) for one in lists.sample(5, random_state=0)] == drawn
    width = max(map(len, sequences))
    padded = np.array([["-ACGT".index(one) for one in each.ljust(width, "-")] for each in sequences])
    by_number = make(max_steps=2, padding=0).fit(padded)
    assert_array_equal(by_number.score_samples(padded), expected)
    numbers = by_number.sample(5, random_state=0)
    assert ["".join("-ACGT"[one] for one in row).rstrip("-") for row in numbers] == drawn
    assert by_text.alphabet_ == list("ACGT")
    assert by_text.variable_length_
    assert not make(max_steps=1).fit([one[:3] for one in sequences]).variable_length_


def test_a_frame_of_places_keeps_its_names() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).integers(0, 3, (30, 4)), columns=list("abcd"))
    model = make(max_steps=2).fit(frame)
    assert list(model.sample(3).columns) == list("abcd")
    holes = frame[:5].set_axis(list("vwxyz"), axis=0)
    holes["b"] = -1
    filled = model.infill(holes)
    assert filled.index.tolist() == list("vwxyz")
    assert_array_equal(filled[["a", "c", "d"]], holes[["a", "c", "d"]])
    assert (filled["b"] >= 0).all()
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame[["b", "a", "c", "d"]])


def test_templates_keep_what_is_given_and_their_length(fitted: TokenDiffusion) -> None:
    templates = pd.Series(["A?G", "?????", "AC", "G?"], index=list("wxyz"), name="dna")
    drawn = fitted.infill(templates, random_state=0)
    assert drawn.index.equals(templates.index)
    assert drawn.str.len().tolist() == [3, 5, 2, 2]
    assert drawn["w"][0] + drawn["w"][2] == "AG"
    assert drawn["y"] == "AC"
    several = fitted.infill(list(templates) * 5, 3, random_state=0)
    assert len(several) == 3
    assert several[0] != several[1]
    grown = fitted.infill(["AC"] * 40, grow=True, random_state=0)
    assert all(one.startswith("AC") for one in grown)
    assert len(set(map(len, grown))) > 1
    assert all(one[0] == "A" and one[2] == "G" for one in fitted.sample(20, known="A?G", grow=True))
    lists = make(max_steps=2).fit([["do", "re"], ["mi"], ["re"]] * 4)
    assert lists.infill([["do", None]])[0][0] == "do"
    assert len(lists.infill([["do", None]])[0]) == 2


@pytest.mark.parametrize("process", ["mask", "uniform", "uniform_absorbing", "matrix"])
def test_a_saved_model_is_the_same(process: str, sequences: list[str], tmp_path: Path) -> None:
    rates = "nucleotides" if process == "matrix" else None
    kinds = ["even" if len(one) % 2 else "odd" for one in sequences]
    model = make(process=process, rates=rates, max_steps=2, schedule="cosine").fit(sequences, kinds)
    model.save(tmp_path / "m.safetensors")
    back = DiffusionEstimator.load(tmp_path / "m.safetensors")
    assert isinstance(back, TokenDiffusion)
    drawn = model.sample(3, condition="odd", guidance_scale=2.0, random_state=0)
    for other in (back, pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.score_samples(sequences[:9]), model.score_samples(sequences[:9]))
        assert other.sample(3, condition="odd", guidance_scale=2.0, random_state=0) == drawn
        assert other.infill(["A??"], random_state=0) == model.infill(["A??"], random_state=0)
        assert other.classes_ == ["even", "odd"]


def test_it_can_be_searched_over_and_ends_a_pipeline(sequences: list[str]) -> None:
    search = GridSearchCV(make(learning_rate=0.02), {"max_steps": [1, 40]}, cv=2).fit(sequences)
    assert search.best_params_ == {"max_steps": 40}
    letters = np.array([list(one[:3]) for one in sequences])
    pipeline = make_pipeline(OrdinalEncoder(), make(max_steps=2)).fit(letters)
    assert np.isfinite(pipeline.score(letters))
    assert np.isfinite(cross_val_score(make(max_steps=2), sequences, cv=2)).all()


def test_an_interrupted_fit_goes_on_where_it_was(sequences: list[str], tmp_path: Path) -> None:
    import pytorch_lightning as lightning

    class Stop(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    whole = make(max_steps=60).fit(sequences)
    half = make(max_steps=60, checkpoint=tmp_path / "c")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        half.set_params(trainer_options={"callbacks": [Stop()]}).fit(sequences)
    resumed = half.set_params(trainer_options=None).fit(sequences)
    assert_array_equal(resumed.score_samples(sequences), whole.score_samples(sequences))


def test_weights_of_zero_leave_sequences_out(sequences: list[str]) -> None:
    more = [*sequences[:40], *["TTA"] * 5]
    weighted = make(max_steps=5, alphabet="ACGT").fit(more, sample_weight=np.r_[np.ones(40), np.zeros(5)])
    plain = make(max_steps=5, alphabet="ACGT").fit(sequences[:40])
    assert_allclose(weighted.score_samples(sequences[:40]), plain.score_samples(sequences[:40]))


def test_perplexity_counts_tokens_and_the_ends_of_shorter_sequences(
    fitted: TokenDiffusion, sequences: list[str]
) -> None:
    places = sum(min(len(one) + 1, fitted.max_length_) for one in sequences)
    expected = np.exp(-fitted.score_samples(sequences).sum() / places)
    assert_allclose(fitted.perplexity(sequences), expected)


def test_fine_tuning_moves_a_model_towards_other_sequences(sequences: list[str]) -> None:
    model = make(max_steps=60, learning_rate=0.02).fit(sequences)
    untouched = pickle.loads(pickle.dumps(model))
    others = ["GGG", "GGGG"] * 30
    before = model.score(others)
    assert model.fine_tune(others, max_steps=60, learning_rate=0.02) is model
    assert model.score(others) > before + 0.5
    after = model.score(others)
    assert_allclose(
        model.fine_tune(sequences, max_steps=5, learning_rate=1e-9).score(others), after, atol=1e-4
    )
    scores = untouched.score_samples(sequences)
    with pytest.raises(ValueError, match="unknown token"):
        untouched.fine_tune(["AXA"])
    assert_array_equal(untouched.score_samples(sequences), scores)


def test_draws_with_a_reward_follow_the_tilted_law(fitted: TokenDiffusion) -> None:
    def lengths(drawn: list[str]) -> list[int]:
        return [len(one) for one in drawn]

    plain = np.array(lengths(fitted.sample(2000, random_state=0, solver="ancestral")))
    tilt = np.exp(0.5 * plain)
    expected = (tilt * plain).sum() / tilt.sum()
    assert expected > plain.mean() + 0.5
    drawn, log_weights = fitted.sample(
        600, reward=lengths, reward_scale=0.5, return_weights=True, random_state=1
    )
    weights = np.exp(log_weights)
    assert_allclose(weights.sum(), 1.0)
    assert_allclose(weights @ np.array(lengths(drawn)), expected, atol=0.4)
    again = fitted.sample(600, reward=lengths, reward_scale=0.5, random_state=1)
    assert_allclose(np.mean(lengths(again)), expected, atol=0.5)


def test_rewards_that_raise_name_the_sequence(fitted: TokenDiffusion) -> None:
    def picky(drawn: list[str]) -> list[float]:
        if any("A" in one for one in drawn):
            raise ArithmeticError("no A")
        return [0.0] * len(drawn)

    with pytest.raises(ValueError, match=r"ArithmeticError.*A"):
        fitted.sample(40, reward=picky, random_state=0)
    with pytest.warns(UserWarning, match="sequences raised"):
        drawn = fitted.sample(40, reward=picky, steering_options={"on_error": "zero"}, random_state=0)
    assert not any("A" in one for one in drawn)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"process": "gaussian"}, ValueError, "process"),
        ({"process": "matrix"}, ValueError, "rates"),
        ({"rates": "nucleotides"}, ValueError, "rates"),
        ({"process": "uniform_absorbing", "objective": "maximal_coupling"}, ValueError, "objective"),
        ({"schedule": "quadratic"}, ValueError, "schedule"),
        ({"alphabet": "ACG"}, ValueError, r"unknown token.*'T' in row"),
        ({"alphabet": "AAC"}, ValueError, "once"),
        ({"alphabet": ["A", 1]}, TypeError, "one kind"),
        ({"alphabet": 3}, TypeError, "alphabet must be a string or a sequence"),
        ({"max_length": 3}, ValueError, "max_length=3 is too short: row"),
        ({"padding": -1}, ValueError, "padding"),
        ({"width": 10}, ValueError, "multiple"),
        ({"known_share": 2.0}, ValueError, "known_share"),
        ({"solver": "euler"}, ValueError, "solver"),
        ({"nfe": 0}, ValueError, "nfe"),
        ({"device": "tpu"}, ValueError, "device"),
    ],
)
def test_wrong_parameters_are_refused(
    changed: dict[str, Any], error: type[Exception], words: str, sequences: list[str]
) -> None:
    with pytest.raises(error, match=words):
        make(**changed).fit(sequences)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        ([], ValueError, "at least one sequence"),
        ("ACGT", TypeError, "single string"),
        (["AC", ""], ValueError, "row 1 is empty"),
        (["AC", 3], TypeError, "row 1 holds 3"),
        ([["A", 1], ["A"]], TypeError, "all strings or all integers"),
        ([["A", 1.5], ["A"]], TypeError, "1.5 of type float in row 0"),
        ([[0.5, 1.0]], ValueError, "fractions, first row 0"),
        ([[1, np.nan]], ValueError, "NaN"),
        ([[1, 2], [0, 1e300]], ValueError, r"2\*\*53 in size; row 1"),
        ([b"AC", b"GT"], TypeError, "bytes"),
    ],
)
def test_wrong_sequences_are_refused(X: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make().fit(X)


WRONG: list[tuple[str, Callable[[TokenDiffusion, list[str]], Any]]] = [
    ("n_samples", lambda model, X: model.sample(0)),
    ("nfe must be at least 2", lambda model, X: model.sample(nfe=1, solver="trapezoid")),
    ("needs a condition", lambda model, X: model.sample(guidance_scale=2.0)),
    ("condition", lambda model, X: model.sample(2, condition=[0.1, 0.2, 0.3])),
    (r"names \['qed'\]", lambda model, X: model.sample(condition={"qed": 1.0})),
    ("finite", lambda model, X: model.sample(condition=np.inf)),
    ("known must hold sequences of at most 7 tokens", lambda model, X: model.sample(known="A" * 8)),
    ("templates holds 1 unknown token in 1 row: 'N' in row 1", lambda model, X: model.infill(["A?", "NA"])),
    ("wildcard", lambda model, X: model.infill(["A?"], wildcard="A")),
    (r"row 1 has \[9\]", lambda model, X: model.score_samples(["ACG", "A" * 9])),
    ("draws", lambda model, X: model.score_samples(X, draws=0)),
    ("one row a sequence", lambda model, X: make().fit(X, [1.0, 2.0])),
    ("infinity", lambda model, X: make().fit(X, [np.inf] * 60)),
    ("-1 is a token", lambda model, X: make(max_steps=1).fit([[1, 2], [0, -1]]).infill([[0, -1]])),
    ("classes of one kind, got int and str", lambda model, X: make().fit(X, np.array(["a", 1] * 30, object))),
    (r"shape \(60,\)", lambda model, X: make().fit(X, sample_weight=np.ones(59))),
    ("process='uniform'", lambda model, X: make(process="uniform").fit(["AA"] * 9)),
    (
        "got a mapping",
        lambda model, X: make(max_steps=1).fit(X, list("ab") * 30).sample(condition={"y": "a"}),
    ),
    ("at least one known", lambda model, X: make().fit(X, [np.nan] * 60)),
    ("before a token, first in row 1", lambda model, X: make(padding=0).fit([[1, 2, 0], [1, 0, 2]])),
]


@pytest.mark.parametrize(("words", "call"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_arguments_are_refused(
    words: str,
    call: Callable[[TokenDiffusion, list[str]], Any],
    fitted: TokenDiffusion,
    sequences: list[str],
) -> None:
    with pytest.raises(ValueError, match=words):
        call(fitted, sequences)


def test_a_model_without_properties_takes_no_condition(sequences: list[str]) -> None:
    with pytest.raises(ValueError, match="without properties"):
        make(max_steps=1).fit(sequences).sample(condition=1.0)


def test_a_reward_is_a_function(fitted: TokenDiffusion) -> None:
    with pytest.raises(TypeError, match="reward must be a function"):
        fitted.sample(3, reward=1.0)  # type: ignore[arg-type]


def test_conditions_reach_the_network_and_can_be_left_out() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 200)
    X = ["".join(rng.choice(list("AC" if kind else "GT"), 4)) for kind in kinds]
    y = pd.DataFrame({"kind": kinds.astype(float), "noise": rng.normal(size=200)})
    y.iloc[::5, 0] = np.nan
    model = TokenDiffusion(
        width=16, depth=1, n_heads=2, max_steps=250, learning_rate=0.01, random_state=0, nfe=8, draws=8
    ).fit(X, y)
    for kind, letters in ((1.0, "AC"), (0.0, "GT")):
        drawn = "".join(model.sample(100, condition={"kind": kind}, random_state=0))
        assert np.mean([one in letters for one in drawn]) > 0.9
    guided = "".join(model.sample(100, condition=[1.0, np.nan], guidance_scale=2.0, random_state=0))
    assert np.mean([one in "AC" for one in guided]) > 0.95
    ignored = "".join(model.sample(200, condition=[1.0, np.nan], guidance_scale=0.0, random_state=0))
    assert 0.35 < np.mean([one in "AC" for one in ignored]) < 0.65
    several = model.infill(["????"] * 2, 40, condition=[[1.0, np.nan], [0.0, np.nan]], random_state=0)
    for place, letters in enumerate(("AC", "GT")):  # each template keeps its own condition
        assert np.mean([one in letters for pair in several for one in pair[place]]) > 0.9
    free = "".join(model.sample(200, random_state=0))
    assert 0.35 < np.mean([one in "AC" for one in free]) < 0.65
    told = model.score_samples(X, y)
    assert told.mean() > model.score_samples(X).mean() + 0.3
    assert model.score(X, y) == told.mean()
    assert 1.9 < model.perplexity(X, y) < model.perplexity(X) < 2.6
