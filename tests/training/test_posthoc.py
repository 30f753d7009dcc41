"""Averages chosen after training: the linear system, scripted trajectories, and going on after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor, nn

from sciffusion.training import (
    CheckpointError,
    PostHocAverage,
    PowerProfile,
    TrainingOptions,
    combine_checkpoints,
    posthoc_coefficients,
)

STEPS = 1200


def _trajectory(step: int) -> Tensor:
    """Weights that settle while they swing."""
    t = step / STEPS
    return torch.tensor([np.exp(-4.0 * t), np.sin(40.0 * t) * (1.0 - t), t**2], dtype=torch.float32)


def _direct(relative_std: float, steps: int = STEPS) -> Tensor:
    """Average over the whole trajectory with the exact weights of the profile."""
    ends = np.arange(steps + 1) / steps
    share = np.diff(ends ** (PowerProfile.from_relative_std(relative_std).exponent + 1.0))
    values = torch.stack([_trajectory(i) for i in range(1, steps + 1)])
    return (torch.from_numpy(share)[:, None] * values.double()).sum(0)


def _followed(every: int) -> PostHocAverage:
    average = PostHocAverage(every)
    average.begin({"w": torch.zeros(3)})
    for step in range(1, STEPS + 1):
        average.update({"w": _trajectory(step)})
    return average


def test_inner_products_are_those_of_the_profiles() -> None:
    # The system of two snapshots and one wanted profile, with its integrals by quadrature.
    ends, powers, wanted = (0.6, 1.0), (4.0, 9.0), (0.9, 6.0)

    def profile(end: float, power: float) -> Callable[[float], float]:
        return lambda t: (power + 1.0) * t**power / end ** (power + 1.0) if t <= end else 0.0

    def product(a: Callable[[float], float], b: Callable[[float], float]) -> float:
        return float(integrate.quad(lambda t: a(t) * b(t), 0.0, 1.0, points=[0.6, 0.9])[0])

    kept = [profile(*pair) for pair in zip(ends, powers, strict=True)]
    gram = np.array([[product(a, b) for b in kept] for a in kept])
    solved = np.linalg.solve(gram, [product(a, profile(*wanted)) for a in kept])
    np.testing.assert_allclose(posthoc_coefficients(ends, powers, *wanted), solved / solved.sum(), rtol=1e-6)


def test_a_profile_that_was_kept_comes_back_exactly() -> None:
    average = _followed(100)
    for std in (0.05, 0.1):
        torch.testing.assert_close(average.reconstruct(std)["w"].double(), _direct(std), rtol=1e-4, atol=1e-5)
    earlier = average.reconstruct(0.1, step=600)["w"]
    stored = next(s for s in average.snapshots if s.step == 600 and s.exponent < 10.0)
    torch.testing.assert_close(earlier, stored.weights["w"], rtol=1e-5, atol=1e-6)


def test_the_combination_is_the_average_under_the_combined_profile() -> None:
    # Exact whatever the snapshots are: only the profile is approximated, never the average.
    average = _followed(300)
    steps = [s.step for s in average.snapshots]
    exponents = [s.exponent for s in average.snapshots]
    shares = posthoc_coefficients(steps, exponents, STEPS, PowerProfile.from_relative_std(0.15).exponent)
    assert shares.sum() == pytest.approx(1.0)
    combined = np.zeros(STEPS)
    for share, step, exponent in zip(shares, steps, exponents, strict=True):
        ends = np.minimum(np.arange(STEPS + 1) / step, 1.0)
        combined += share * np.diff(ends ** (exponent + 1.0))
    values = torch.stack([_trajectory(i) for i in range(1, STEPS + 1)]).double()
    expected = (torch.from_numpy(combined)[:, None] * values).sum(0)
    torch.testing.assert_close(average.reconstruct(0.15)["w"].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("std", [0.04, 0.07, 0.15, 0.22])
def test_other_widths_are_reconstructed_well_from_enough_snapshots(std: float) -> None:
    direct = _direct(std)
    errors = [float((_followed(every).reconstruct(std)["w"] - direct).abs().max()) for every in (300, 30)]
    assert errors[1] < 0.006
    assert errors[1] <= errors[0]


def test_best_combination_of_checkpoints_is_found_and_may_subtract() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    exact = np.array([-0.4, 0.3, 0.2, 0.9])
    optimum = (torch.from_numpy(exact)[:, None] * corners).sum(0)
    checkpoints = [{"w": corner.float()} for corner in corners]
    calls = []

    def loss(weights: dict[str, Tensor]) -> float:
        calls.append(1)
        return float((weights["w"] - optimum).square().sum())

    found = combine_checkpoints(checkpoints, loss, max_evaluations=400)
    np.testing.assert_allclose(found.coefficients, exact, atol=0.02)
    assert found.loss < 0.01 * found.checkpoint_losses.min()
    assert found.evaluations == len(calls) <= 404
    # Too few evaluations to move: the best checkpoint itself.
    assert combine_checkpoints(checkpoints, loss, max_evaluations=4).loss == pytest.approx(
        found.checkpoint_losses.min(), rel=1e-5
    )
    with pytest.raises(ValueError, match="2 to 12"):
        combine_checkpoints(checkpoints[:1], loss)
    with pytest.raises(ValueError, match="same names"):
        combine_checkpoints([{"w": corners[0]}, {"v": corners[1]}], loss)


def test_a_fit_keeps_snapshots_and_goes_on_with_them_after_a_stop(
    problem: Any, make_network: Callable[[], nn.Module], tmp_path: Path
) -> None:
    options = TrainingOptions(max_steps=60, batch_size=16, evaluate_every=20, patience=None)
    whole = PostHocAverage(every=10)
    problem.fit(make_network(), options, posthoc=whole)
    assert [s.step for s in whole.snapshots] == [step for step in range(10, 61, 10) for _ in range(2)]

    calls = 0

    def failing(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 46:
            raise RuntimeError("stopped")
        return problem.objective(network, batch, generator)

    checkpoint = tmp_path / "fit.ckpt"
    resumed = PostHocAverage(every=10)
    with pytest.raises(RuntimeError, match="stopped"):
        problem.fit(make_network(), options, objective=failing, checkpoint=checkpoint, posthoc=resumed)
    resumed = PostHocAverage(every=10)
    problem.fit(make_network(), options, checkpoint=checkpoint, posthoc=resumed)
    for ours, theirs in zip(whole.snapshots, resumed.snapshots, strict=True):
        assert ours.step == theirs.step
        assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)
    with pytest.raises(CheckpointError, match="another fit"):
        problem.fit(make_network(), options, checkpoint=checkpoint, posthoc=PostHocAverage(every=20))
    with pytest.raises(CheckpointError, match="another fit"):
        problem.fit(make_network(), options, checkpoint=checkpoint)


def test_last_step_is_kept_and_matches_the_running_average(problem: Any, make_network: Any) -> None:
    options = TrainingOptions(max_steps=45, batch_size=16, ema_relative_std=0.1, patience=None)
    posthoc, network = PostHocAverage(every=10), make_network()
    problem.fit(network, options, posthoc=posthoc)
    assert posthoc.snapshots[-1].step == 45
    again = posthoc.reconstruct(0.1)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), again[name], rtol=1e-4, atol=1e-5)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="every"):
        PostHocAverage(0)
    with pytest.raises(ValueError, match="relative_stds"):
        PostHocAverage(10, (0.5, 0.1))
    average = PostHocAverage(10)
    with pytest.raises(RuntimeError, match="begin"):
        average.update({})
    with pytest.raises(ValueError, match="no snapshots"):
        average.reconstruct(0.1)
    with pytest.raises(ValueError, match="step must lie"):
        _followed(600).reconstruct(0.1, step=1201)
    with pytest.raises(ValueError, match="first and last snapshot, 600 and 1200; got 599"):
        # Its trajectory is in no snapshot; the first one averages over later weights as well.
        _followed(600).reconstruct(0.1, step=599)
    for width in (-0.1, 0.0, 0.5, float("nan")):
        with pytest.raises(ValueError, match="relative_std must lie"):
            _followed(600).reconstruct(width)
    with pytest.raises(RuntimeError, match="begin"):
        PostHocAverage(600).load_state_dict(_followed(600).state_dict())


def test_losses_that_are_not_finite_are_passed_over_or_refused() -> None:
    checkpoints = [{"w": torch.zeros(1)}, {"w": torch.ones(1)}]

    def loss(weights: dict[str, Tensor]) -> float:
        place = float(weights["w"])
        return float("nan") if place < 0.5 else (place - 1.5) ** 2

    found = combine_checkpoints(checkpoints, loss)
    assert found.checkpoint_losses.tolist() == [np.inf, 0.25]
    assert found.loss < 1e-4
    with pytest.raises(ValueError, match="loss must be finite"):
        combine_checkpoints(checkpoints, lambda weights: float("nan"))
    with pytest.raises(ValueError, match="names and shapes"):
        combine_checkpoints([{"w": torch.zeros(1)}, {"w": torch.ones(2)}], loss)
