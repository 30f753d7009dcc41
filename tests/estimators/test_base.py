from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sciffusion.estimators import all_or_nothing

# Batches are drawn by row, so a repeated row and a row of weight two meet different batches and noise.
EXPECTED_FAILURES = {"check_sample_weight_equivalence_on_dense_data": "stochastic training"}


def test_scikit_learn_accepts_the_estimator(regressor: Any) -> None:
    results = check_estimator(
        regressor(random_state=0), expected_failed_checks=EXPECTED_FAILURES, on_skip=None
    )
    statuses = {result["check_name"]: result["status"] for result in results}
    assert set(statuses.values()) <= {"passed", "xfail", "skipped"}
    assert [name for name, status in statuses.items() if status == "skipped"] in (
        [],
        ["check_array_api_input"],
    )
    assert len(results) > 40


def test_an_integer_gives_the_same_model_each_time(regressor: Any, table: Any) -> None:
    X, y = table
    model = regressor(random_state=3)
    first = model.fit(X, y).predict(X)
    assert_array_equal(model.fit(X, y).predict(X), first)
    assert_array_equal(model.predict(X), first)
    assert_array_equal(clone(model).fit(X, y).predict(X), first)
    assert not np.array_equal(regressor(random_state=4).fit(X, y).predict(X), first)


def test_a_random_state_object_is_drawn_from_once_a_fit(regressor: Any, table: Any) -> None:
    X, y = table
    stream = np.random.RandomState(0)
    model = regressor(random_state=stream)
    first, second = model.fit(X, y).seed_, model.fit(X, y).seed_
    state = stream.get_state()[2]
    model.predict(X)
    assert stream.get_state()[2] == state
    reference = np.random.RandomState(0)
    assert [first, second] == [reference.randint(2**31 - 1) for _ in range(2)]


def test_no_random_state_differs_and_leaves_numpys_stream_alone(regressor: Any, table: Any) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    seeds = {regressor(max_steps=1).fit(*table).seed_ for _ in range(3)}
    assert len(seeds) == 3
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_pickle_and_joblib(regressor: Any, table: Any, tmp_path: Path) -> None:
    X, y = table
    model = regressor(random_state=0).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    joblib.dump(model, tmp_path / "m")
    assert_array_equal(joblib.load(tmp_path / "m").predict(X), model.predict(X))


def test_pipelines_and_searches(regressor: Any, table: Any) -> None:
    X, y = table
    pipeline = make_pipeline(StandardScaler(), regressor(random_state=0, max_steps=150))
    search = GridSearchCV(pipeline, {"meanregressor__width": [1, 32]}, cv=3).fit(X, y)
    assert search.best_params_ == {"meanregressor__width": 32}


# Python's warning filters belong to the process, and scikit-learn's other threads set them during a fit; what
# Lightning says about torch then reaches the caller.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_threads_score_like_one(regressor: Any, table: Any) -> None:
    X, y = table
    serial = cross_val_score(regressor(random_state=0), X, y, cv=3)
    with joblib.parallel_config("threading", n_jobs=2):
        assert_array_equal(cross_val_score(regressor(random_state=0), X, y, cv=3), serial)


def test_sample_weights_reach_the_objective(regressor: Any, table: Any) -> None:
    X, y = table
    wrong = y.copy()
    wrong[::2] += 100.0
    weight = np.ones(len(y))
    weight[::2] = 0.0
    model = regressor(random_state=0, max_steps=200).fit(X, wrong, sample_weight=weight)
    assert abs(np.mean(model.predict(X)[1::2] - y[1::2])) < 2.0
    assert np.mean(regressor(random_state=0, max_steps=200).fit(X, wrong).predict(X)) > 30.0
    with pytest.raises(ValueError, match=r"sample_weight.*rows \[2\]"):
        regressor().fit(X[:3], y[:3], sample_weight=[1, 1, -1])


def test_a_failed_fit_leaves_nothing(regressor: Any, table: Any) -> None:
    X, y = table
    model = regressor(random_state=0, trainer_options={"accelerator": "no such thing"})
    before = dict(vars(model))
    with pytest.raises(ValueError, match="no such thing"):
        model.fit(X, y)
    assert vars(model) == before


def test_a_failed_refit_leaves_the_earlier_fit(regressor: Any, table: Any) -> None:
    X, y = table
    model = regressor(random_state=0).fit(X, y)
    expected = model.predict(X)
    with pytest.raises(ValueError, match="width"):
        model.set_params(width=-1).fit(X[:, :2], y)
    assert_array_equal(model.predict(X), expected)
    assert model.n_features_in_ == 3


class _Counter:
    def __init__(self) -> None:
        self.parameter = 1

    @all_or_nothing
    def fit(self, name: str) -> _Counter:
        setattr(self, name, 1)
        return self

    @all_or_nothing(fresh=False)
    def partial_fit(self, name: str, fail: bool = False) -> _Counter:
        setattr(self, name, 2)
        if fail:
            raise KeyboardInterrupt
        return self


def test_a_fit_starts_without_attributes_of_an_earlier_one() -> None:
    model = _Counter().fit("a_").fit("_b_")
    assert vars(model) == {"parameter": 1, "_b_": 1}
    model.partial_fit("c_")
    assert vars(model) == {"parameter": 1, "_b_": 1, "c_": 2}
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit("_b_", fail=True)
    assert vars(model) == {"parameter": 1, "_b_": 1, "c_": 2}


def test_an_estimator_resumes_from_its_checkpoint(regressor: Any, table: Any, tmp_path: Path) -> None:
    import pytorch_lightning

    class Stop(pytorch_lightning.Callback):
        def on_before_optimizer_step(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 25:
                raise KeyboardInterrupt

    X, y = table
    path = str(tmp_path / "fit.ckpt")
    stopped = regressor(random_state=0, checkpoint=path, trainer_options={"callbacks": [Stop()]})
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, y)
    assert not hasattr(stopped, "seed_")
    resumed = regressor(random_state=0, checkpoint=path).fit(X, y)
    assert_array_equal(resumed.predict(X), regressor(random_state=0).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="another fit"):
        regressor(random_state=1, checkpoint=path).fit(X, y)
    with pytest.raises(ValueError, match="random_state"):
        regressor(checkpoint=path).fit(X, y)


def test_global_state_of_torch_is_left_alone(regressor: Any, table: Any, tmp_path: Path) -> None:
    X, y = table
    regressor(random_state=0, max_steps=1).fit(X, y)  # the first fit imports Lightning
    before = torch.get_rng_state()
    # Building layers draws from torch's global stream, in fit as well as in load.
    model = regressor(random_state=0, max_steps=5).fit(X, y)
    model.predict(X)
    model.save(tmp_path / "m")
    regressor.load(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_models_move_between_gpu_and_cpu(regressor: Any, table: Any, tmp_path: Path) -> None:
    X, y = table
    model = regressor(random_state=0, device="cuda").fit(X, y)
    on_gpu = model.predict(X)
    model.save(tmp_path / "m")
    loaded, unpickled = regressor.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))
    for back in (loaded, unpickled):
        assert next(back._network_.parameters()).device.type == "cpu"
        np.testing.assert_allclose(back.set_params(device="cpu").predict(X), on_gpu, rtol=1e-4, atol=1e-5)
