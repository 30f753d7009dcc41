from __future__ import annotations

import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sciffusion.training import CheckpointError, TrainingHistory, TrainingOptions
from sciffusion.training.checkpoints import write_atomically

OPTIONS = TrainingOptions(
    max_steps=47,
    batch_size=32,
    learning_rate=0.03,
    evaluate_every=10,
    patience=None,
    ema_half_life=5.0,
    warmup_steps=5,
    learning_rate_schedule="cosine",
    weight_decay=0.01,
)


class _StopError(Exception):
    pass


def _stop_at(problem: Any, call: int, stop: Callable[[], None]) -> Callable[..., Tensor]:
    """Return the problem's objective, which calls `stop` in its `call`-th evaluation."""
    calls = 0

    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            stop()
        return problem.objective(network, batch, generator)  # type: ignore[no-any-return]

    return objective


def _raise(error: BaseException) -> Callable[[], None]:
    def stop() -> None:
        raise error

    return stop


def _assert_equal(first: TrainingHistory, second: TrainingHistory) -> None:
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), value, err_msg=name)


def _assert_same_network(first: nn.Module, second: nn.Module) -> None:
    other = second.state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, other[name]), name


CASES = {
    "ensemble, early stopping": ("make_ensemble", {"patience": 2, "learning_rate": 0.3}, True),
    "ensemble, no held-out loss": ("make_ensemble", {}, False),
    "power average": ("make_ensemble", {"ema_half_life": None, "ema_relative_std": 0.1}, True),
    "dropout": ("make_dropout_network", {}, True),
    "no average": ("make_dropout_network", {"ema_half_life": None}, False),
}


@pytest.fixture
def make_dropout_network(make_network: Any) -> Callable[[], nn.Module]:
    return lambda: make_network(0.4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stop", [_StopError(), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("call", [1, 10, 11, 27])
def test_a_fit_that_was_stopped_ends_like_one_that_was_not(
    problem: Any, request: Any, tmp_path: Path, case: str, stop: BaseException, call: int
) -> None:
    fixture, changes, watched = CASES[case]
    make = request.getfixturevalue(fixture)
    options = TrainingOptions(**{**OPTIONS.to_dict(), **changes})
    settings = {"held_out": problem.held_out if watched else None}
    whole = make()
    expected = problem.fit(whole, options, **settings)

    path = tmp_path / "fit.ckpt"
    stopped = make()
    with pytest.raises(type(stop)):
        problem.fit(
            stopped, options, objective=_stop_at(problem, call, _raise(stop)), checkpoint=path, **settings
        )
    resumed = make()
    _assert_equal(problem.fit(resumed, options, checkpoint=path, **settings), expected)
    _assert_same_network(resumed, whole)


@pytest.mark.parametrize("call", [3, 20, 47])
def test_ctrl_c_saves_the_step_under_way(problem: Any, make_network: Any, tmp_path: Path, call: int) -> None:
    settings = {"held_out": problem.held_out, "checkpoint": tmp_path / "fit.ckpt"}
    whole = make_network(0.4)
    expected = problem.fit(whole, OPTIONS, held_out=problem.held_out)
    press = _stop_at(problem, call, lambda: signal.raise_signal(signal.SIGINT))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        problem.fit(make_network(0.4), OPTIONS, objective=press, **settings)
    assert signal.getsignal(signal.SIGINT) is handler

    calls = 0

    def counting(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        return problem.objective(network, batch, generator)  # type: ignore[no-any-return]

    resumed = make_network(0.4)
    _assert_equal(problem.fit(resumed, OPTIONS, objective=counting, **settings), expected)
    _assert_same_network(resumed, whole)
    assert calls == OPTIONS.max_steps - call  # not one step was made twice


def test_ctrl_c_without_a_checkpoint_is_a_keyboard_interrupt(problem: Any, make_network: Any) -> None:
    handler = signal.getsignal(signal.SIGINT)
    press = _stop_at(problem, 5, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        problem.fit(make_network(), OPTIONS, objective=press)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_finished_fit_is_not_repeated(problem: Any, make_ensemble: Any, tmp_path: Path) -> None:
    settings = {"held_out": problem.held_out, "checkpoint": tmp_path / "fit.ckpt"}
    first, second = make_ensemble(), make_ensemble()
    expected = problem.fit(first, OPTIONS, **settings)
    again = problem.fit(second, OPTIONS, objective=_stop_at(problem, 1, _raise(_StopError())), **settings)
    _assert_equal(again, expected)
    _assert_same_network(second, first)


@pytest.mark.parametrize(
    "change",
    [
        {"options": TrainingOptions(**{**OPTIONS.to_dict(), "learning_rate": 0.02})},
        {"seed": 2},
        {"description": "another objective"},
        {"data": (torch.zeros(4, 3), torch.zeros(4))},
        {"network": 4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_another_fit_is_refused(
    problem: Any, make_ensemble: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "fit.ckpt"
    problem.fit(make_ensemble(), OPTIONS, checkpoint=path)
    settings = {"options": OPTIONS, "checkpoint": path, **change}
    network = make_ensemble(settings.pop("network", 3))
    with pytest.raises(CheckpointError, match=r"another fit.*delete the file"):
        problem.fit(network, **settings)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("kind", ["pickle", "torch", "garbage", "empty", "other tensors", "truncated"])
def test_files_that_are_no_checkpoints_are_refused(
    problem: Any, make_ensemble: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(_Evil()))
    elif kind == "torch":
        torch.save(_Evil(), path)
    elif kind == "garbage":
        path.write_bytes(bytes(range(256)) * 5)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other tensors":
        torch.save({"a": torch.zeros(3)}, path)
    else:
        problem.fit(make_ensemble(), OPTIONS, checkpoint=path)
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="checkpoint"):
        problem.fit(make_ensemble(), OPTIONS, checkpoint=path)
    assert not (tmp_path / "executed").exists()


def test_a_missing_folder_is_named(problem: Any, make_ensemble: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        problem.fit(make_ensemble(), OPTIONS, checkpoint=tmp_path / "missing" / "fit.ckpt")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fails(file: Any) -> None:
        file.write(b"half of the n")
        raise _StopError

    with pytest.raises(_StopError):
        write_atomically(path, fails)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
