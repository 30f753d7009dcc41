from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sciffusion.training import ExponentialProfile, TrainingOptions, WeightAverage
from sciffusion.training.global_state import preserved_torch_state

OPTIONS = TrainingOptions(max_steps=60, batch_size=32, learning_rate=0.05, evaluate_every=5, patience=None)


def _with(**changes: Any) -> TrainingOptions:
    return TrainingOptions(**{**OPTIONS.to_dict(), **changes})


def _plain_objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    x, y = batch
    losses: Tensor = (network(x) - y).square().mean(-1)
    return losses


def test_full_batches_reach_the_least_squares_solution(problem: Any, make_ensemble: Any) -> None:
    network = make_ensemble()
    options = _with(max_steps=600, batch_size=1000, learning_rate_schedule="cosine", evaluate_every=200)
    problem.fit(network, options, objective=_plain_objective)
    design = torch.cat([problem.x, torch.ones(len(problem.x), 1)], 1)
    exact = torch.linalg.lstsq(design, problem.y[:, None]).solution[:, 0]
    found = torch.cat([network.weight, network.bias], 1)
    torch.testing.assert_close(found.detach(), exact.expand(3, 4), atol=2e-4, rtol=0)


@pytest.mark.parametrize("patience", [2, None])
def test_members_train_as_if_each_were_alone(problem: Any, make_ensemble: Any, patience: int | None) -> None:
    # The held-out loss of member m is smallest when its first weight is near the m-th of these values, so
    # members stop at different steps; the clip binds for the members that start far away.
    goals = torch.tensor([-0.9, 0.2, 0.9])
    options = _with(patience=patience, ema_half_life=3.0, gradient_clip=0.5, weight_decay=0.1)

    def held_out_of(wanted: Tensor) -> Callable[[nn.Module], Tensor]:
        return lambda network: (network.weight[:, 0] - wanted).square()  # type: ignore[operator, union-attr]

    together = make_ensemble(3, scale=2.0)
    history = problem.fit(together, options, held_out=held_out_of(goals))
    best_steps = []
    for m in range(3):
        alone = make_ensemble(3, scale=2.0)
        alone.weight = nn.Parameter(alone.weight[m : m + 1].detach().clone())
        alone.bias = nn.Parameter(alone.bias[m : m + 1].detach().clone())
        single = problem.fit(alone, options, held_out=held_out_of(goals[m : m + 1]))
        torch.testing.assert_close(alone.weight[0], together.weight[m], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(alone.bias[0], together.bias[m], atol=1e-6, rtol=1e-5)
        best_steps.append(int(single.best_step[0]))
    assert history.best_step.tolist() == best_steps
    assert len(set(best_steps)) > 1


def test_the_network_holds_the_weights_of_the_best_evaluation(problem: Any, make_ensemble: Any) -> None:
    network = make_ensemble()
    options = _with(learning_rate=0.5, ema_decay=0.5, patience=3)
    history = problem.fit(network, options, held_out=problem.held_out)
    found = problem.held_out(network).detach().double().numpy()
    np.testing.assert_allclose(found, history.best_loss, rtol=1e-6)
    np.testing.assert_array_equal(history.best_loss, np.nanmin(history.held_out_loss, axis=0))
    rows = [history.steps.tolist().index(step) for step in history.best_step]
    np.testing.assert_array_equal(history.held_out_loss[rows, range(3)], history.best_loss)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_training_that_only_harms_keeps_the_first_weights(problem: Any, make_ensemble: Any) -> None:
    network = make_ensemble()
    start = network.weight.detach().clone()
    options = _with(patience=2)
    history = problem.fit(network, options, held_out=lambda net: (net.weight - start).square().sum(-1))
    assert history.best_step.tolist() == [0, 0, 0]
    assert history.stopped_step == 10
    assert torch.equal(network.weight, start)


def test_without_held_out_all_steps_run_and_the_average_is_kept(problem: Any, make_ensemble: Any) -> None:
    seen: list[Tensor] = []

    def watching(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        seen.append(network.weight.detach().clone())  # type: ignore[operator, union-attr]
        return problem.objective(network, batch, generator)  # type: ignore[no-any-return]

    raw = make_ensemble()
    problem.fit(raw, OPTIONS)
    averaged = make_ensemble()
    history = problem.fit(averaged, _with(ema_decay=0.8), objective=watching)
    expected = WeightAverage({"w": seen[0]}, ExponentialProfile(0.8))
    for weight in [*seen[1:], raw.weight]:
        expected.update({"w": weight})
    assert len(seen) == history.stopped_step == 60
    assert torch.equal(averaged.weight, expected.average["w"])
    assert history.best_step.tolist() == [60, 60, 60]
    assert np.isnan(history.best_loss).all()


def test_train_loss_is_the_mean_over_the_steps_between(problem: Any, make_ensemble: Any) -> None:
    losses: list[Tensor] = []

    def watching(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        losses.append(problem.objective(network, batch, generator))
        return losses[-1]

    history = problem.fit(make_ensemble(), _with(max_steps=12), objective=watching, held_out=problem.held_out)
    values = torch.stack(losses).detach().numpy()
    assert history.steps.tolist() == [0, 5, 10, 12]
    for row, (start, stop) in zip(history.train_loss[1:], [(0, 5), (5, 10), (10, 12)], strict=True):
        np.testing.assert_allclose(row, values[start:stop].mean(0), rtol=1e-5)


def test_sample_weights_in_the_objective_equal_repeated_rows(make_ensemble: Any, problem: Any) -> None:
    def weighted(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        x, y, w = batch
        losses: Tensor = (w * (network(x) - y).square()).sum(-1) / w.sum()
        return losses

    weights = torch.arange(len(problem.x)) % 3
    rows = torch.repeat_interleave(torch.arange(len(problem.x)), weights)
    options = _with(batch_size=10_000)
    first, second = make_ensemble(), make_ensemble()
    problem.fit(first, options, objective=weighted, data=(*problem.data, weights.float()))
    ones = torch.ones(len(rows))
    problem.fit(second, options, objective=weighted, data=(problem.x[rows], problem.y[rows], ones))
    torch.testing.assert_close(first.weight, second.weight, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_seed_fixes_the_fit(problem: Any, make_network: Any, dropout: float) -> None:
    networks = [make_network(dropout) for _ in range(3)]
    for network, seed in zip(networks, [1, 1, 2], strict=True):
        torch.rand(3)  # the caller's stream must not matter
        problem.fit(network, OPTIONS, seed=seed)
    first, second, third = (network.layers[0].weight for network in networks)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def _settings() -> dict[str, Any]:
    return {
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "gradients": torch.is_grad_enabled(),
        "filters": list(warnings.filters),
        "levels": [logging.getLogger(n).level for n in ("pytorch_lightning", "lightning_fabric", "")],
    }


def test_nothing_of_the_callers_is_touched(
    problem: Any, make_network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = make_network(0.2), make_network()
    before = _settings()
    problem.fit(first, OPTIONS, held_out=problem.held_out, trainer_options={"deterministic": True})
    with pytest.raises(ZeroDivisionError):
        problem.fit(second, OPTIONS, objective=lambda *_: 1 / 0)
    assert _settings() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_warnings_of_the_objective_reach_the_caller(problem: Any, make_network: Any) -> None:
    def warning(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        warnings.warn("look here", UserWarning, stacklevel=1)
        return problem.objective(network, batch, generator)  # type: ignore[no-any-return]

    with pytest.warns(UserWarning, match="look here"):
        problem.fit(make_network(), _with(max_steps=1), objective=warning)


def test_global_streams_are_restored_after_an_error() -> None:
    before = torch.get_rng_state()

    def fails() -> None:
        with preserved_torch_state(torch.device("cpu"), 3):
            firsts.append(torch.rand(2))
            raise KeyError

    firsts: list[Tensor] = []
    with pytest.raises(KeyError):
        fails()
    assert torch.equal(torch.get_rng_state(), before)
    with preserved_torch_state(torch.device("cpu"), 3):
        assert torch.equal(torch.rand(2), firsts[0])


def test_verbose_shows_progress(problem: Any, make_network: Any, capfd: Any) -> None:
    problem.fit(make_network(), OPTIONS, held_out=problem.held_out, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "60/60" in err
    assert "held_out_loss" in err


def test_divergence_says_what_to_do(problem: Any, make_network: Any) -> None:
    def exploding(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return problem.objective(network, batch, generator) * float("inf")  # type: ignore[no-any-return]

    with pytest.raises(RuntimeError, match="learning rate"):
        problem.fit(make_network(), OPTIONS, objective=exploding)


def test_running_statistics_are_those_of_the_best_step(problem: Any) -> None:
    torch.manual_seed(0)  # the loss jumps at the end, so the best step lies well inside
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Flatten(0))
    history = problem.fit(network, _with(learning_rate=0.3, ema_decay=0.5), held_out=problem.held_out)
    assert 0 < history.best_step[0] < 60
    assert problem.held_out(network).item() == pytest.approx(history.best_loss[0], rel=1e-5)


def test_trainer_options_pass_through(problem: Any, make_ensemble: Any, tmp_path: Path) -> None:
    import pytorch_lightning
    from pytorch_lightning.loggers import CSVLogger

    class Counter(pytorch_lightning.Callback):
        calls = 0

        def on_before_optimizer_step(self, *_: Any) -> None:
            self.calls += 1

    counter = Counter()
    options = {
        "callbacks": [counter],
        "logger": CSVLogger(tmp_path),
        "precision": "bf16-mixed",
        "log_every_n_steps": 1,
    }
    network = make_ensemble()
    problem.fit(network, OPTIONS, held_out=problem.held_out, trainer_options=options)
    assert counter.calls == 60
    assert network.weight.dtype == torch.float32
    (table,) = tmp_path.rglob("metrics.csv")
    assert "held_out_loss" in table.read_text()


@pytest.mark.parametrize("name", ["max_steps", "max_epochs", "gradient_clip_val", "accumulate_grad_batches"])
def test_trainer_options_that_clash_are_refused(problem: Any, make_network: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*training options"):
        problem.fit(make_network(), OPTIONS, trainer_options={name: 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ()}, "non-empty"),
        ({"data": (torch.zeros(3), torch.zeros(4))}, r"\[3, 4\]"),
        ({"data": (torch.zeros(0, 2),)}, "positive number of rows"),
        ({"objective": lambda n, b, g: n.weight}, "scalar or one loss a member"),
        ({"objective": lambda n, b, g: n.weight.sum(0)}, "leading axis of length 3"),
        ({"held_out": lambda n: n.weight.sum()}, "must agree"),
    ],
)
def test_unusable_fits_are_explained(problem: Any, make_ensemble: Any, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem.fit(make_ensemble(2), OPTIONS, **change)


def test_a_network_without_parameters_is_refused(problem: Any) -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        problem.fit(nn.Flatten(0), OPTIONS)


def test_lightning_is_not_imported_with_the_package() -> None:
    code = (
        "import sys, sciffusion.training, sciffusion.estimators; "
        "sys.exit(any(m.split('.')[0] in ('pytorch_lightning', 'matplotlib') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _bare_loop(problem: Any, network: nn.Module, options: TrainingOptions) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), options.learning_rate, fused=True)
    for _ in range(options.max_steps):
        rows = torch.randperm(len(problem.x), generator=generator)[: options.batch_size]
        loss = problem.objective(network, tuple(t[rows] for t in problem.data), generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def test_a_short_fit_pays_little_for_lightning(problem: Any, make_network: Any) -> None:
    options = _with(max_steps=150, evaluate_every=50)
    seconds: dict[str, list[float]] = {"bare": [], "fit": []}
    for _ in range(3):
        for name, run in (("bare", _bare_loop), ("fit", type(problem).fit)):
            start = time.process_time()  # of one thread: other processes must not count
            run(problem, make_network(), options)
            seconds[name].append(time.process_time() - start)
    assert min(seconds["fit"]) - min(seconds["bare"]) < 0.4


_TWO_PROCESSES = """
import torch
from torch import nn
from sciffusion.training import TrainingOptions, fit_network

torch.set_num_threads(1)
x = torch.randn(128, 3, generator=torch.Generator().manual_seed(0))
y = x @ torch.tensor([1.0, -2.0, 0.5])

def losses(network, x, y):
    return (x @ network.weight.T - y[:, None]).square().mean(0)

class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))

options = TrainingOptions(max_steps=40, batch_size=32, learning_rate=0.05, evaluate_every=15, ema_decay=0.5)
fits = []
for trainer_options in ({}, {"devices": 2, "strategy": "ddp_fork"}):
    network = Linear()
    history = fit_network(
        network, lambda n, batch, generator: losses(n, *batch), (x, y), options=options, seed=1,
        held_out=lambda n: losses(n, x, y), trainer_options=trainer_options,
    )
    fits.append((network.weight.detach(), history))
torch.testing.assert_close(fits[0][0], fits[1][0], atol=1e-5, rtol=0)
assert fits[0][1].best_step.tolist() == fits[1][1].best_step.tolist() == [40, 40]
assert fits[0][1].held_out_loss[-1].max() < 0.7 * fits[0][1].held_out_loss[0].max()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the strategy ddp_fork needs os.fork")
def test_two_processes_train_the_same_network_as_one(tmp_path: Path) -> None:
    # In a process of its own, because forking one with other tests' threads is unsafe.
    run = subprocess.run(
        [sys.executable, "-c", _TWO_PROCESSES],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_fit_on_a_gpu_agrees_with_one_on_the_cpu(problem: Any, make_ensemble: Any, tmp_path: Path) -> None:
    options = _with(ema_decay=0.8, patience=3)
    networks = {device: make_ensemble() for device in ("cpu", "cuda")}
    settings = {"objective": _plain_objective, "held_out": problem.held_out}
    before = torch.cuda.get_rng_state()
    histories = {d: problem.fit(network, options, device=d, **settings) for d, network in networks.items()}
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert networks["cuda"].weight.device.type == "cpu"
    torch.testing.assert_close(networks["cuda"].weight, networks["cpu"].weight, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(histories["cuda"].train_loss, histories["cpu"].train_loss, rtol=1e-3)

    path = tmp_path / "fit.ckpt"
    calls = 0

    def stopping(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 23:
            raise KeyboardInterrupt
        return problem.objective(network, batch, generator)  # type: ignore[no-any-return]

    with pytest.raises(KeyboardInterrupt):
        problem.fit(make_ensemble(), options, device="cuda", objective=stopping, checkpoint=path)
    whole, resumed = make_ensemble(), make_ensemble()
    problem.fit(whole, options, device="cuda")
    problem.fit(resumed, options, device="cuda", checkpoint=path)
    torch.testing.assert_close(resumed.weight, whole.weight, atol=1e-5, rtol=0)


def test_fits_in_several_threads_are_those_of_one(problem: Any, make_network: Any) -> None:
    alone = [make_network(0.3) for _ in range(4)]
    together = [make_network(0.3) for _ in range(4)]
    before = torch.get_rng_state()
    for seed, network in enumerate(alone):
        problem.fit(network, OPTIONS, seed=seed)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: problem.fit(together[seed], OPTIONS, seed=seed), range(4)))
    assert torch.equal(torch.get_rng_state(), before)
    for first, second in zip(alone, together, strict=True):
        assert torch.equal(first.layers[0].weight, second.layers[0].weight)
