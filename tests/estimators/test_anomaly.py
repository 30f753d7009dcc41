"""What scikit-learn and this library ask of `DiffusionAnomalyDetector`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sciffusion
from sciffusion.datasets import load_wine_anomalies
from sciffusion.estimators import DiffusionEstimator
from sciffusion.estimators.anomaly import DiffusionAnomalyDetector

MEASURES = ("denoising", "time", "neighbours", "density")


def make(measure: str = "denoising", **changed: Any) -> DiffusionAnomalyDetector:
    small = {"width": 16, "depth": 2, "n_draws": 2, "max_steps": 60, "random_state": 0}
    return DiffusionAnomalyDetector(measure=measure, **{**small, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def normal() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.0, 2 * np.pi, 300)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(300, 2))
    return pd.DataFrame(ring, columns=["x", "y"])


@pytest.fixture(scope="module")
def fitted(normal: pd.DataFrame) -> dict[str, DiffusionAnomalyDetector]:
    return {measure: make(measure).fit(normal) for measure in MEASURES}


def _expected_failures(estimator: DiffusionAnomalyDetector) -> dict[str, str]:
    reason = "stochastic training: batches are drawn by row, so a repeated row is not a weight"
    if estimator.measure == "neighbours":
        reason = "a repeated row is a neighbour more, a weight is none"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(
    [
        make(n_members=1, max_steps=20, n_draws=1),
        make("time", n_members=1, max_steps=60),
        make("neighbours"),
    ],
    expected_failed_checks=_expected_failures,
)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: DiffusionAnomalyDetector, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_it_is_a_public_name_and_its_default_is_learned() -> None:
    assert sciffusion.DiffusionAnomalyDetector is DiffusionAnomalyDetector
    assert DiffusionAnomalyDetector().measure == "denoising"
    model = make("time", contamination=0.2)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize("measure", MEASURES)
def test_far_rows_are_anomalies_at_any_distance(
    measure: str, fitted: dict[str, DiffusionAnomalyDetector]
) -> None:
    far = pd.DataFrame({"x": [4.0, -10.0, 100.0, -1e4], "y": [-4.0, 0.0, 100.0, 1e4]})
    assert (fitted[measure].predict(far) == -1).all()


def test_a_hole_inside_the_data_is_seen(normal: pd.DataFrame) -> None:
    # The centre of the ring is the mean of the data: only the shape of the law says that it is strange.
    centre = pd.DataFrame({"x": [0.0], "y": [0.0]})
    for measure in ("denoising", "neighbours"):
        model = make(measure, width=32, max_steps=250).fit(normal)
        assert model.predict(centre) == -1, measure
    assert make("denoising", max_steps=1).fit(normal).predict(centre) == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_contamination_is_the_share_of_flagged_training_rows(
    measure: str, fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame
) -> None:
    model = fitted[measure]
    assert (model.predict(normal) == -1).mean() == pytest.approx(0.1, abs=0.004)
    difference = model.score_samples(normal) - model.decision_function(normal)
    assert_allclose(difference, model.offset_, rtol=1e-12)
    assert_array_equal(make(measure).fit_predict(normal), model.predict(normal))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_saved_or_pickled_detector_is_the_same(
    measure: str, fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame, tmp_path: Path
) -> None:
    model, rows = fitted[measure], normal[:20]
    expected = model.decision_function(rows)
    model.save(tmp_path / "m.safetensors")
    back = DiffusionEstimator.load(tmp_path / "m.safetensors")
    assert isinstance(back, DiffusionAnomalyDetector)
    assert_array_equal(back.decision_function(rows), expected)
    assert_array_equal(pickle.loads(pickle.dumps(model)).decision_function(rows), expected)
    joblib.dump(model, tmp_path / "j")
    assert_array_equal(joblib.load(tmp_path / "j").decision_function(rows), expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_rows_score_does_not_depend_on_its_company_or_the_call(
    measure: str, fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame
) -> None:
    model = fitted[measure]
    whole = model.score_samples(normal)
    assert_array_equal(model.score_samples(normal), whole)
    assert_allclose(model.score_samples(normal[50:52]), whole[50:52], rtol=1e-9)
    assert_allclose(make(measure).fit(normal).score_samples(normal), whole, rtol=1e-9)


def test_the_score_is_the_mean_over_the_noise_levels(
    fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame
) -> None:
    model = fitted["denoising"]
    errors = model.log_errors(normal)
    assert errors.shape == (300, 8)
    assert_allclose(errors.mean(axis=0), 0.0, atol=1e-9)
    assert_allclose(errors.std(axis=0), 1.0, atol=1e-9)
    assert_allclose(-errors.mean(axis=1), model.score_samples(normal), rtol=1e-12)
    with pytest.raises(ValueError, match="measure"):
        fitted["time"].log_errors(normal)


def test_units_of_the_columns_do_not_matter(
    fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame
) -> None:
    scaled = make().fit(normal * [1e6, 1e-6])
    expected = fitted["denoising"].score_samples(normal)
    assert_allclose(scaled.score_samples(normal * [1e6, 1e-6]), expected, rtol=1e-2, atol=1e-2)


def test_a_constant_column_that_varies_is_strange(normal: pd.DataFrame) -> None:
    model = make().fit(normal.assign(k=1.0))
    scores = model.score_samples(normal.assign(k=9.0)[:20])
    assert (scores < model.score_samples(normal.assign(k=1.0)[:20])).all()


def test_feature_names_are_kept(fitted: dict[str, DiffusionAnomalyDetector], normal: pd.DataFrame) -> None:
    assert list(fitted["time"].feature_names_in_) == ["x", "y"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted["time"].predict(normal[["y", "x"]])
    pipeline = make_pipeline(StandardScaler(), make("time")).fit(normal)
    assert set(pipeline.predict(normal)) == {1, -1}


def test_an_interrupted_fit_goes_on_where_it_was(normal: pd.DataFrame, tmp_path: Path) -> None:
    import pytorch_lightning as lightning

    class Stop(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    whole = make(max_steps=100).fit(normal)
    half = make(max_steps=100, checkpoint=tmp_path / "c", trainer_options={"callbacks": [Stop()]})
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        half.fit(normal)
    resumed = half.set_params(trainer_options=None).fit(normal)
    assert_array_equal(resumed.score_samples(normal), whole.score_samples(normal))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"measure": "distance"}, ValueError, "measure"),
        ({"contamination": 0.6}, ValueError, "contamination"),
        ({"contamination": "auto"}, TypeError, "contamination"),
        ({"n_draws": 0}, ValueError, "n_draws"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors"),
        ({"max_steps": 0}, ValueError, "max_steps"),
    ],
)
def test_wrong_parameters_are_refused(
    changed: dict[str, Any], error: type[Exception], words: str, normal: pd.DataFrame
) -> None:
    with pytest.raises(error, match=words):
        make(**changed).fit(normal)


def test_wrong_tables_are_refused(normal: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError):
        make().predict(normal)
    with pytest.raises(TypeError, match=r"\['s'\]"):
        make().fit(normal.assign(s=pd.Categorical(["a"] * 300)))
    with pytest.raises(ValueError, match="NaN"):
        make().fit(normal.where(normal["x"] > 0.0))


def test_foreign_wines_are_found_as_well_as_by_neighbours() -> None:
    data = load_wine_anomalies()
    X, anomaly = data.X.to_numpy(), data.anomaly
    inliers = np.flatnonzero(~anomaly)
    train, test = inliers[::2], np.r_[inliers[1::2], np.flatnonzero(anomaly)]
    model = DiffusionAnomalyDetector(random_state=0, width=64, max_steps=300).fit(X[train])
    area = roc_auc_score(anomaly[test], -model.score_samples(X[test]))
    scaler = StandardScaler().fit(X[train])
    search = NearestNeighbors(n_neighbors=5).fit(scaler.transform(X[train]))
    by_distance = search.kneighbors(scaler.transform(X[test]))[0][:, -1]
    assert area > 0.9
    assert area > roc_auc_score(anomaly[test], by_distance) - 0.03
