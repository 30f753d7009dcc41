"""Saved models come back whole, broken files are refused, and interrupted fits are taken up again."""

from __future__ import annotations

import gzip
import json
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file
from torch import nn

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.estimators import ModelFileError

MakeModel = Callable[..., SDPMSurvival]
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the longest observed time")

KINDS = {
    "default": {},
    "all events": {"censoring": "none"},
    "paper": {"recipe": "paper"},
    "calibrated": {"calibrate": "conformal"},
    "untrained": {"max_steps": 0},
}


@pytest.fixture
def saved(fitted: SDPMSurvival, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    return json.loads(blob[8 : 8 + length]), blob[8 + length :]


def _content(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return description and tensors; the order of the entries in a file is not fixed."""
    description = json.loads(_header(path)[0]["__metadata__"]["sciffusion"])
    return description, {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def _write(path: Path, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_predicts_the_same(
    make_model: MakeModel, study: Any, tmp_path: Path, kind: str
) -> None:
    target = study.T if kind == "all events" else study.y
    X = study.X.copy()
    X.loc[::9, "age"] = np.nan
    model = make_model(**KINDS[kind]).fit(X, target)
    model.save(tmp_path / "model")
    back = SDPMSurvival.load(tmp_path / "model")
    assert back.get_params() == model.get_params()
    assert set(vars(back)) == set(vars(model))
    assert set(back.histories_) == set(model.histories_)
    for name in back.histories_:
        assert_array_equal(back.histories_[name].best_step, model.histories_[name].best_step)
    for method in ("predict", "predict_median", "predict_interval", "predict_lower_bound"):
        assert_array_equal(getattr(back, method)(X), getattr(model, method)(X))
    for of in ("survival", "cumulative_hazard", "censoring_survival"):
        values = [getattr(m, f"predict_{of}_function")(X, return_array=True) for m in (back, model)]
        assert_array_equal(*values)
    for found, expected in zip(
        back.sample(X, 3, random_state=1), model.sample(X, 3, random_state=1), strict=True
    ):
        assert_array_equal(found, expected)
    back.save(tmp_path / "again")
    for first, second in zip(*(_content(tmp_path / name) for name in ("model", "again")), strict=True):
        assert first == second


def test_a_loaded_model_predicts_in_another_process(saved: Path, fitted: SDPMSurvival, study: Any) -> None:
    study.X.to_pickle(saved.with_suffix(".rows"))
    code = (
        "import sys, numpy, pandas, torch; torch.set_num_threads(1); from sciffusion import SDPMSurvival; "
        "model = SDPMSurvival.load(sys.argv[1]); rows = pandas.read_pickle(sys.argv[2]); "
        "numpy.save(sys.argv[3], model.predict(rows)); assert 'pytorch_lightning' not in sys.modules"
    )
    arguments = [str(saved), str(saved.with_suffix(".rows")), str(saved.with_suffix(".npy"))]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    assert_array_equal(np.load(saved.with_suffix(".npy")), fitted.predict(study.X))


@pytest.mark.parametrize("kept", [0, 5, 8, 200, 0.5, 0.999])
def test_truncated_files_are_refused(saved: Path, kept: float) -> None:
    blob = saved.read_bytes()
    saved.write_bytes(blob[: kept if isinstance(kept, int) else int(kept * len(blob))])
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        SDPMSurvival.load(saved)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_single_changed_byte_is_refused(saved: Path, place: float) -> None:
    blob = bytearray(saved.read_bytes())
    blob[int(place * len(blob))] ^= 1
    saved.write_bytes(bytes(blob))
    with pytest.raises(ModelFileError):
        SDPMSurvival.load(saved)


def test_a_file_of_a_newer_version_is_refused_and_says_so(saved: Path) -> None:
    header, body = _header(saved)
    description = json.loads(header["__metadata__"]["sciffusion"])
    description["format"] += 1
    header["__metadata__"]["sciffusion"] = json.dumps(description)
    _write(saved, header, body)
    with pytest.raises(ModelFileError, match=r"newer|version|format"):
        SDPMSurvival.load(saved)


class _Bomb:
    exploded = False

    def __reduce__(self) -> Any:
        return setattr, (_Bomb, "exploded", True)


@pytest.mark.parametrize("wrap", [pickle.dumps, lambda bomb: gzip.compress(pickle.dumps(bomb))])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, wrap: Callable[[Any], bytes]) -> None:
    (tmp_path / "model").write_bytes(wrap(_Bomb()))
    with pytest.raises(ModelFileError):
        SDPMSurvival.load(tmp_path / "model")
    torch.save(_Bomb(), tmp_path / "model")
    with pytest.raises(ModelFileError):
        SDPMSurvival.load(tmp_path / "model")
    assert not _Bomb.exploded


def test_other_files_are_refused(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SDPMSurvival.load(tmp_path / "nothing")
    save_file(load_file(saved), tmp_path / "tensors")
    (tmp_path / "text").write_text("age,time,event\n1,2,3\n")
    for name in ("tensors", "text"):
        with pytest.raises(ModelFileError, match=name):
            SDPMSurvival.load(tmp_path / name)


def test_nothing_is_saved_before_a_fit(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not fitted"):
        SDPMSurvival().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


class _InterruptAt:
    """Makes one forward pass of a fit press Ctrl-C, as a user would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module], call: int) -> None:
        self.calls, original = 0, kind.forward

        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == call:
                signal.raise_signal(signal.SIGINT)
            return original(module, *args, **kwargs)

        monkeypatch.setattr(kind, "forward", forward)


@pytest.mark.parametrize("call", [5, 30, 60, 80])
def test_an_interrupted_fit_goes_on_to_the_same_model(
    make_model: MakeModel, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    from sciffusion.networks import ConditionalMLP

    _interrupt_and_resume(make_model, study, tmp_path, monkeypatch, ConditionalMLP, call, {"dropout": 0.2})


@pytest.mark.parametrize("call", [3, 7])
def test_an_interrupted_fit_of_the_paper_recipe_goes_on_to_the_same_model(
    make_model: MakeModel, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    from sciffusion.domains.survival.paper_diffusion import _PaperNetwork

    _interrupt_and_resume(make_model, study, tmp_path, monkeypatch, _PaperNetwork, call, {"recipe": "paper"})


def _interrupt_and_resume(
    make_model: MakeModel, study: Any, folder: Path, monkeypatch: pytest.MonkeyPatch,
    network: type[nn.Module], call: int, parameters: dict[str, Any],
) -> None:  # fmt: skip
    whole = make_model(**parameters).fit(study.X, study.y)
    expected = whole.predict_survival_function(study.X, return_array=True)
    resumed = make_model(checkpoint=folder / "fit.ckpt", **parameters)
    with monkeypatch.context() as patch:
        counter = _InterruptAt(patch, network, call)
        with pytest.raises(KeyboardInterrupt):
            resumed.fit(study.X, study.y)
        assert counter.calls >= call
    assert not [name for name in vars(resumed) if name.endswith("_")]
    assert (folder / "fit.ckpt").exists() or (folder / "fit.ckpt.1").exists()
    resumed.fit(study.X, study.y)
    assert_array_equal(resumed.predict_survival_function(study.X, return_array=True), expected)
    for name, history in whole.histories_.items():
        assert_array_equal(resumed.histories_[name].best_step, history.best_step)
        assert_array_equal(resumed.histories_[name].train_loss, history.train_loss)


def test_a_checkpoint_of_other_data_is_refused(make_model: MakeModel, study: Any, tmp_path: Path) -> None:
    model = make_model(checkpoint=tmp_path / "fit.ckpt", max_steps=5)
    from sciffusion.networks import ConditionalMLP

    with pytest.MonkeyPatch.context() as patch:
        _InterruptAt(patch, ConditionalMLP, 5)
        with pytest.raises(KeyboardInterrupt):
            model.fit(study.X, study.y)
    with pytest.raises(ValueError, match="another fit"):
        model.fit(study.X, study.T + 1.0, ~study.E)


def test_a_checkpoint_needs_a_fixed_random_state(make_model: MakeModel, study: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="random_state"):
        make_model(checkpoint=tmp_path / "fit.ckpt", random_state=None).fit(study.X, study.y)
