"""Fit, predict and save on a GPU; load and predict on the CPU."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.estimators import DeviceWarning

MakeModel = Callable[..., SDPMSurvival]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
    pytest.mark.filterwarnings("ignore:.*beyond the longest observed time"),
]
RECIPES = pytest.mark.parametrize("recipe", ["default", "paper"])


@pytest.fixture(params=["default", "paper"])
def on_gpu(request: pytest.FixtureRequest, make_model: MakeModel, study: Any) -> SDPMSurvival:
    return make_model(recipe=request.param, device="cuda").fit(study.X, study.y)


def _share_apart(found: np.ndarray, expected: np.ndarray) -> float:
    # The last bits of float32 differ between devices, and then a draw falls on the next time.
    return float((np.abs(found - expected) > 0.04).mean())


def test_a_gpu_model_predicts_on_the_cpu(on_gpu: SDPMSurvival, study: Any, tmp_path: Path) -> None:
    expected = on_gpu.predict_survival_function(study.X, return_array=True)
    on_gpu.save(tmp_path / "model")
    loaded = SDPMSurvival.load(tmp_path / "model").set_params(device="cpu")
    found = loaded.predict_survival_function(study.X, return_array=True)
    assert _share_apart(found, expected) < 0.01
    assert np.abs(found - expected).mean() < 0.005
    back = pickle.loads(pickle.dumps(on_gpu)).set_params(device="cpu")
    assert_array_equal(back.predict_survival_function(study.X, return_array=True), found)


def test_a_cpu_model_predicts_on_the_gpu(make_model: MakeModel, study: Any) -> None:
    model = make_model(device="cpu").fit(study.X, study.y)
    expected = model.predict_survival_function(study.X, return_array=True)
    found = model.set_params(device="cuda").predict_survival_function(study.X, return_array=True)
    assert _share_apart(found, expected) < 0.01


@RECIPES
def test_fits_on_both_devices_learn_the_same(make_model: MakeModel, study: Any, recipe: str) -> None:
    extra = {"max_epochs": 60, "learning_rate": 5e-3} if recipe == "paper" else {"max_steps": 200}
    models = [
        make_model(recipe=recipe, device=device, **extra).fit(study.X, study.y) for device in ("cpu", "cuda")
    ]
    scores = [model.score(study.X, study.y) for model in models]
    assert min(scores) > 0.6
    assert abs(scores[0] - scores[1]) < 0.05


def test_a_fit_on_the_gpu_can_be_repeated(on_gpu: SDPMSurvival, make_model: MakeModel, study: Any) -> None:
    again = make_model(recipe=on_gpu.recipe, device="cuda").fit(study.X, study.y)
    expected = on_gpu.predict_survival_function(study.X, return_array=True)
    assert _share_apart(again.predict_survival_function(study.X, return_array=True), expected) < 0.05
    assert_array_equal(on_gpu.predict_survival_function(study.X, return_array=True), expected)


def test_samples_on_the_gpu_can_be_repeated(on_gpu: SDPMSurvival, study: Any) -> None:
    first, second = (on_gpu.sample(study.X, 5, random_state=3) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_array_equal(one, other)


def test_the_gpu_is_taken_when_it_is_there(make_model: MakeModel, study: Any) -> None:
    model = make_model(device="auto").fit(study.X, study.y)
    model.predict(study.X)
    assert next(model._model_.networks()["time"].parameters()).device.type == "cuda"


def test_torchs_random_streams_stay(make_model: MakeModel, study: Any) -> None:
    state = torch.cuda.get_rng_state()
    make_model(device="cuda").fit(study.X, study.y).sample(study.X, 2)
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_a_model_for_a_missing_gpu_predicts_on_the_cpu(
    on_gpu: SDPMSurvival, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu.save(tmp_path / "model")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(DeviceWarning, match="predicts on the CPU"):
        model = SDPMSurvival.load(tmp_path / "model")
    assert np.isfinite(model.predict(study.X)).all()
