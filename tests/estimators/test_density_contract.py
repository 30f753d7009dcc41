"""What scikit-learn and this library ask of `DensityDiffusion`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sciffusion
from sciffusion.estimators import DiffusionEstimator
from sciffusion.estimators.density import DensityDiffusion

TINY: dict[str, Any] = {"n_members": 2, "width": 8, "depth": 2, "density_nfe": 8, "nfe": 4}


def make(**changed: Any) -> DensityDiffusion:
    return DensityDiffusion(**{**TINY, "max_steps": 30, "random_state": 0, **changed})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.normal(size=120)
    return pd.DataFrame(
        {"a": 5.0 + 2.0 * a, "b": 100.0 * (a + rng.normal(size=120)), "c": rng.normal(size=120)}
    )


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> DensityDiffusion:
    return make().fit(frame)


@parametrize_with_checks([make(max_steps=5)])
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
@pytest.mark.filterwarnings("ignore:most values of the columns")
def test_scikit_learns_checks(estimator: DensityDiffusion, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_it_is_a_public_name_and_parameters_go_round() -> None:
    assert sciffusion.DensityDiffusion is DensityDiffusion
    model = make(condition_columns=["a"])
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(nfe=9).nfe == 9


@pytest.mark.parametrize("call", ["score_samples", "score", "impute"])
def test_nothing_is_predicted_before_a_fit(call: str, frame: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError):
        getattr(DensityDiffusion(), call)(frame)
    with pytest.raises(NotFittedError):
        DensityDiffusion().sample()


def test_a_seed_gives_the_same_model_and_draws(fitted: DensityDiffusion, frame: pd.DataFrame) -> None:
    again = make().fit(frame)
    assert_array_equal(again.score_samples(frame), fitted.score_samples(frame))
    assert_array_equal(again.sample(5, random_state=1), fitted.sample(5, random_state=1))
    assert not np.array_equal(fitted.sample(5, random_state=1), fitted.sample(5, random_state=2))
    assert not np.array_equal(
        make(random_state=1).fit(frame).score_samples(frame), fitted.score_samples(frame)
    )


def test_torchs_global_state_is_left_alone(frame: pd.DataFrame) -> None:
    state = torch.get_rng_state()
    make().fit(frame).sample(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_rows_density_does_not_depend_on_its_company(fitted: DensityDiffusion, frame: pd.DataFrame) -> None:
    for probes in (None, 2):
        whole = fitted.score_samples(frame, n_probes=probes)
        assert_allclose(fitted.score_samples(frame.iloc[40:43], n_probes=probes), whole[40:43], rtol=1e-10)


def test_results_have_the_type_of_the_training_table(fitted: DensityDiffusion, frame: pd.DataFrame) -> None:
    drawn = fitted.sample(4, random_state=0)
    assert list(drawn.columns) == ["a", "b", "c"]
    by_array = make().fit(frame.to_numpy())
    assert_array_equal(by_array.sample(4, random_state=0), drawn.to_numpy())
    assert not hasattr(by_array, "feature_names_in_")
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.score_samples(frame[["b", "a", "c"]])


def test_draws_of_different_chunks_differ(fitted: DensityDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks_of_ten(draw: Callable[[slice], Any], n_rows: int, bytes_per_row: int) -> list[Any]:
        return [draw(slice(start, min(start + 10, n_rows))) for start in range(0, n_rows, 10)]

    monkeypatch.setattr("sciffusion.estimators.vectors.draws.map_chunks", chunks_of_ten)
    drawn = fitted.sample(35, nfe=4, random_state=0)
    assert len(drawn.drop_duplicates()) == 35


def test_given_values_are_kept_exactly(fitted: DensityDiffusion) -> None:
    drawn = fitted.sample(3, given={"b": 123.456}, random_state=0)
    assert (drawn["b"] == 123.456).all()
    assert drawn["a"].nunique() == 3
    cases = pd.DataFrame({"a": [1.0, 9.0]}, index=pd.Index(["x", "y"], name="who"))
    drawn = fitted.sample(2, given=cases, random_state=0)
    assert drawn.index.tolist() == [("x", 0), ("x", 1), ("y", 0), ("y", 1)]
    assert drawn.index.names == ["who", "draw"]
    assert drawn["a"].tolist() == [1.0, 1.0, 9.0, 9.0]


def test_imputed_tables_keep_what_was_observed(fitted: DensityDiffusion, frame: pd.DataFrame) -> None:
    holes = frame.iloc[:6].copy()
    holes.iloc[0, 1] = holes.iloc[2, 0] = np.nan
    holes.iloc[3] = np.nan
    missing = holes.isna().to_numpy()
    one = fitted.impute(holes, random_state=0)
    assert one.index.equals(holes.index)
    assert not one.isna().any().any()
    assert_array_equal(one.to_numpy()[~missing], holes.to_numpy()[~missing])
    several = fitted.impute(holes, 3, random_state=0)
    assert len(several) == 3
    assert (several[0].to_numpy() != several[1].to_numpy())[missing].all()
    assert_array_equal(fitted.impute(frame), frame)
    as_array = make().fit(frame.to_numpy()).impute(holes.to_numpy(), 3, random_state=0)
    assert as_array.shape == (3, 6, 3)


def test_pickle_joblib_and_threads(fitted: DensityDiffusion, frame: pd.DataFrame, tmp_path: Path) -> None:
    expected = fitted.score_samples(frame)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(frame), expected)
    joblib.dump(fitted, tmp_path / "m")
    assert_array_equal(joblib.load(tmp_path / "m").score_samples(frame), expected)
    for found in Parallel(n_jobs=2, prefer="threads")(delayed(fitted.score_samples)(frame) for _ in range(2)):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("changed", [{}, {"mask_share": 0.0}, {"condition_columns": "b"}])
def test_a_saved_model_is_the_same(changed: dict[str, Any], frame: pd.DataFrame, tmp_path: Path) -> None:
    model = make(**changed).fit(frame.assign(k=3.0))
    model.save(tmp_path / "m.safetensors")
    back = DiffusionEstimator.load(tmp_path / "m.safetensors")
    assert isinstance(back, DensityDiffusion)
    table = frame.assign(k=3.0)
    assert_array_equal(back.score_samples(table), model.score_samples(table))
    given = {"b": 1.0} if "condition_columns" in changed else None
    assert_array_equal(
        back.sample(3, given=given, random_state=0), model.sample(3, given=given, random_state=0)
    )
    assert back.constant_columns_ == ["k"]
    assert_array_equal(back.history_.best_step, model.history_.best_step)


def test_it_can_be_searched_over_and_ends_a_pipeline(frame: pd.DataFrame) -> None:
    search = GridSearchCV(make(), {"max_steps": [1, 150]}, cv=2).fit(frame)
    assert search.best_params_ == {"max_steps": 150}
    pipeline = make_pipeline(StandardScaler(), make()).fit(frame)
    assert np.isfinite(pipeline.score(frame))
    assert np.isfinite(cross_val_score(make(), frame.to_numpy(), cv=2)).all()


def test_an_interrupted_fit_goes_on_where_it_was(frame: pd.DataFrame, tmp_path: Path) -> None:
    import pytorch_lightning as lightning

    class Stop(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    whole = make(max_steps=100).fit(frame)
    half = make(max_steps=100, checkpoint=tmp_path / "c")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        half.set_params(trainer_options={"callbacks": [Stop()]}).fit(frame)
    assert not hasattr(half, "seed_")
    resumed = half.set_params(trainer_options=None).fit(frame)
    assert_array_equal(resumed.score_samples(frame), whole.score_samples(frame))


def test_weights_of_zero_leave_rows_out(frame: pd.DataFrame) -> None:
    weight = np.r_[np.ones(80), np.zeros(40)]
    weighted = make().fit(frame, sample_weight=weight)
    assert_allclose(weighted.score_samples(frame), make().fit(frame[:80]).score_samples(frame), rtol=1e-6)


def test_weights_shift_the_draws_to_the_rows_that_weigh_more() -> None:
    rng = np.random.default_rng(0)
    right = np.arange(400) % 2 == 0
    X = np.where(right, 3.0, -3.0)[:, None] + rng.normal(size=(400, 1))
    # Without rows held back, whose weights alone would pick a fitting step.
    model = make(max_steps=400, width=32, depth=2, learning_rate=0.01, validation_fraction=0.0)
    model.fit(X, sample_weight=np.where(right, 4.0, 1.0))
    assert 0.7 < float((model.sample(2000, random_state=0) > 0.0).mean()) < 0.9


def test_constant_and_discrete_columns_are_named(frame: pd.DataFrame) -> None:
    table = frame.assign(k=3.0, n=np.arange(120) % 4)
    with pytest.warns(UserWarning, match=r"\['n'\] repeat.*blurred"):
        model = make().fit(table)
    assert model.constant_columns_ == ["k"]
    assert model.discrete_columns_ == ["n"]
    drawn = model.sample(5, random_state=0)
    assert (drawn["k"] == 3.0).all()
    holes = table[:2].copy()
    holes["k"] = np.nan
    assert (model.impute(holes)["k"] == 3.0).all()


def test_the_density_is_in_the_units_of_the_table(frame: pd.DataFrame) -> None:
    metres, millimetres = make().fit(frame), make().fit(frame.assign(b=1000.0 * frame["b"]))
    found = millimetres.score_samples(frame.assign(b=1000.0 * frame["b"]))
    assert_allclose(found, metres.score_samples(frame) - np.log(1000.0), rtol=1e-4)


def test_the_units_of_given_columns_do_not_count(frame: pd.DataFrame) -> None:
    one, other = frame, frame.assign(a=1000.0 * frame["a"])
    found = [make(condition_columns="a").fit(table).score_samples(table) for table in (one, other)]
    assert_allclose(found[1], found[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"mask_share": 1.5}, ValueError, "mask_share"),
        ({"min_noise": 0.0}, ValueError, "min_noise"),
        ({"n_members": 0}, ValueError, "n_members"),
        ({"width": 2.5}, TypeError, "width"),
        ({"density_nfe": 4}, ValueError, "density_nfe"),
        ({"condition_columns": "z"}, ValueError, "'z'"),
        ({"condition_columns": ["a", "a"]}, ValueError, "twice"),
        ({"condition_columns": ["a", "b", "c"]}, ValueError, "names all"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"device": "tpu"}, ValueError, "device"),
    ],
)
def test_wrong_parameters_are_refused(
    changed: dict[str, Any], error: type[Exception], words: str, frame: pd.DataFrame
) -> None:
    with pytest.raises(error, match=words):
        make(**changed).fit(frame)


def test_wrong_tables_and_arguments_are_refused(fitted: DensityDiffusion, frame: pd.DataFrame) -> None:
    with pytest.raises(TypeError, match=r"\['s'\].*numbers"):
        make().fit(frame.assign(s=pd.Categorical(["x"] * 120)))
    with pytest.raises(ValueError, match="every column is constant"):
        make().fit(np.ones((20, 2)))
    with pytest.raises(ValueError, match="NaN"):
        make().fit(frame.where(frame["a"] > frame["a"].min()))
    with pytest.raises(ValueError, match="NaN"):
        fitted.score_samples(frame.where(frame["a"] > 5.0))
    for call in (
        lambda: fitted.sample(0),
        lambda: fitted.sample(nfe=1),
        lambda: fitted.score_samples(frame, nfe=4),
        lambda: fitted.score_samples(frame, n_probes=0),
        lambda: fitted.sample(given={"nobody": 1.0}),
    ):
        with pytest.raises(ValueError, match=r"n_samples|nfe|n_probes|nobody"):
            call()
    joint = make(mask_share=0.0).fit(frame)
    with pytest.raises(ValueError, match="mask_share"):
        joint.sample(given={"a": 1.0})
    conditional = make(condition_columns="a").fit(frame)
    with pytest.raises(ValueError, match=r"\['a'\]"):
        conditional.sample(2)
    with pytest.raises(ValueError, match=r"\['a'\] hold missing"):
        conditional.impute(frame.where(frame["a"] > 5.0))
