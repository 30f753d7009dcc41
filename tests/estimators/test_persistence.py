from __future__ import annotations

import gzip
import json
import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sciffusion.estimators import DeviceWarning, DiffusionEstimator, ModelFileError
from sciffusion.estimators.json_codec import Decoder, Encoder, NotStorableError
from sciffusion.estimators.persistence import REGISTRY, ModelContent, read_model_file, write_model_file


@pytest.fixture
def saved(regressor: Any, table: Any, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    regressor(random_state=0, max_steps=5).fit(*table).save(path)
    return path


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    return json.loads(blob[8 : 8 + length]), blob[8 + length :]


def test_a_saved_estimator_comes_back_whole(regressor: Any, table: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table[0], columns=["age", "Größe", "$x"])
    model = regressor(random_state=4, width=5, max_steps=20).fit(frame, table[1])
    model.save(tmp_path / "m")
    back = regressor.load(tmp_path / "m")
    assert_array_equal(back.predict(frame), model.predict(frame))
    assert back.get_params() == model.get_params()
    assert back.n_features_in_ == 3
    assert_array_equal(back.feature_names_in_, model.feature_names_in_)
    assert back.seed_ == model.seed_
    assert_array_equal(back.history_.train_loss, model.history_.train_loss)
    assert set(vars(back)) == set(vars(model))
    with pytest.raises(ValueError, match="feature names"):
        back.predict(frame[["Größe", "age", "$x"]])
    assert_array_equal(clone(back).fit(frame, table[1]).predict(frame), model.predict(frame))
    assert type(DiffusionEstimator.load(tmp_path / "m")) is regressor


def test_the_file_is_plain_safetensors(saved: Path) -> None:
    assert any(name.startswith("fitted.") for name in load_file(saved))
    description = json.loads(_header(saved)[0]["__metadata__"]["sciffusion"])
    assert description["class"] == "MeanRegressor"
    assert description["format"] == 1


def test_nothing_to_save(regressor: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        regressor().save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_folders_are_named(regressor: Any, table: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        regressor.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="create the folder"):
        regressor(max_steps=1).fit(*table).save(tmp_path / "no" / "m")


def test_every_truncation_is_refused(saved: Path, regressor: Any) -> None:
    blob = saved.read_bytes()
    for length in [*range(0, 40, 3), *range(40, len(blob), len(blob) // 25), len(blob) - 1]:
        saved.write_bytes(blob[:length])
        with pytest.raises(ModelFileError, match=r"truncated|damaged|empty"):
            regressor.load(saved)


def test_every_changed_byte_is_refused(saved: Path, regressor: Any) -> None:
    blob = saved.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(blob), size=120, replace=False):
        changed = bytearray(blob)
        changed[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(bytes(changed))
        with pytest.raises(ModelFileError):
            regressor.load(saved)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle", "pickle.*execute code"),
        ("torch", "zip archive.*execute code"),
        ("gzip", "gzip"),
        ("text", "not a sciffusion model file"),
        ("safetensors", "not one that an estimator's"),
    ],
)
def test_other_files_are_refused_unopened(
    regressor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(_Evil()))
    elif kind == "torch":
        torch.save(_Evil(), path)
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"model" * 100))
    elif kind == "text":
        path.write_text("time,event\n1.5,1\n" * 10)
    else:
        save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match=rf"(?s){message}"):
        regressor.load(path)
    assert not (tmp_path / "executed").exists()


def test_a_newer_format_is_refused_with_the_remedy(saved: Path, regressor: Any) -> None:
    header, tensors = _header(saved)
    description = json.loads(header["__metadata__"]["sciffusion"])
    description.update(format=2, library="9.9")
    header["__metadata__"]["sciffusion"] = json.dumps(description)
    text = json.dumps(header).encode()
    saved.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
    with pytest.raises(ModelFileError, match=r"9\.9.*upgrade"):
        regressor.load(saved)


def test_another_class_is_refused(saved: Path, regressor: Any) -> None:
    class OtherRegressor(regressor):  # type: ignore[misc]
        pass

    with pytest.raises(ModelFileError, match="holds a MeanRegressor, not a OtherRegressor"):
        OtherRegressor.load(saved)


def test_a_namesake_does_not_take_over(saved: Path, regressor: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(REGISTRY, "MeanRegressor", regressor)  # puts it back afterwards
    namesake = type("MeanRegressor", (DiffusionEstimator,), {})
    assert type(regressor.load(saved)) is regressor
    with pytest.raises(ModelFileError, match="does not fit"):
        namesake.load(saved)


@pytest.mark.parametrize("name", ["Popen", "os.system", "BaseEstimator"])
def test_class_names_are_looked_up_not_imported(tmp_path: Path, name: str) -> None:
    write_model_file(tmp_path / "m", ModelContent(name, {"args": "ls"}, {}, {"own": {}, "common": {}}))
    with pytest.raises(ModelFileError, match="not known"):
        DiffusionEstimator.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {"no_such": 1}}, "no_such"),
        ({"tensors": {}}, "Missing key"),
        ({"fitted": {"common": {}}}, "own"),
        ({"fitted": {"common": {"__class__": 1}, "own": {}}}, "unknown fitted value"),
    ],
)
def test_contents_that_do_not_fit_are_refused(saved: Path, regressor: Any, change: Any, message: str) -> None:
    write_model_file(saved, ModelContent(**{**vars(read_model_file(saved)), **change}))
    with pytest.raises(ModelFileError, match=rf"(?s){message}"):
        regressor.load(saved)


def test_objects_among_the_parameters_are_replaced_with_a_warning(
    regressor: Any, table: Any, tmp_path: Path
) -> None:
    model = regressor(random_state=np.random.RandomState(0), max_steps=2).fit(*table)
    with pytest.warns(UserWarning, match=r"random_state.*cannot be stored"):
        model.save(tmp_path / "m")
    back = regressor.load(tmp_path / "m")
    assert back.random_state is None
    assert_array_equal(back.predict(table[0]), model.predict(table[0]))


def test_a_missing_device_is_said_and_replaced(regressor: Any, table: Any, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    model = regressor(random_state=0, max_steps=2).fit(*table)
    expected = model.predict(table[0])
    model.device = "cuda"
    model.save(tmp_path / "m")
    with pytest.warns(DeviceWarning, match="predicts on the CPU"):
        loaded = regressor.load(tmp_path / "m")
    with pytest.warns(DeviceWarning, match="predicts on the CPU"):
        unpickled = pickle.loads(pickle.dumps(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for back in (loaded, unpickled):
            assert back.device == "cuda"
            assert_array_equal(back.predict(table[0]), expected)
    with pytest.raises(ValueError, match="device='cpu'"):
        clone(loaded).fit(*table)


VALUES: list[Any] = [
    None,
    True,
    -3,
    2**60,
    0.1,
    float("inf"),
    "ü$",
    [1, [2.5, None]],
    (1, ("a",), []),
    {"a": 1, "$b": (2,)},
    {1: "x", (2, "y"): None},
    {"$tuple": [1]},
    np.float32(1.5),
    np.int64(7),
    np.bool_(True),
    np.datetime64("2026-01-02"),
    np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
    np.array([1.5, np.nan, -np.inf]),
    np.array([], dtype=np.float64).reshape(0, 4),
    np.array(["a", "bc"]),
    np.array(["a", None, 3], dtype=object),
    np.array(["2026-01-02", "NaT"], dtype="datetime64[ns]"),
    np.array(3.0),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive_json(value: Any) -> None:
    encoder = Encoder()
    text = json.dumps(encoder.encode(value), allow_nan=False)
    back = Decoder(encoder.tensors).decode(json.loads(text))
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.flags.writeable


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, lambda: 0, np.array([object()]), 1j, b"x"],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_not_stored(value: Any) -> None:
    with pytest.raises(NotStorableError, match="cannot store"):
        Encoder().encode(value)
