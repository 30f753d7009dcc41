"""Steps of second order: stiff directions, convergence, and particles that are resampled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Trigonometric
from sciffusion.sampling import SampleResult, log_snr_grid
from sciffusion.sampling.driftlite import DriftLiteSampler
from sciffusion.sampling.driftlite.fields import FunctionField, Subspace
from sciffusion.sampling.driftlite.run import Plan, Run, RunSettings

PATH = Trigonometric()
VARIANCES = torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64) ** 2


def _score(x: Tensor, t: Tensor) -> Tensor:
    c = PATH.coefficients(t)
    return -x / (c.alpha**2 * VARIANCES + c.sigma**2).to(x)


def _draw(order: int, n_steps: int, gamma: float, count: int = 6000, **settings: Any) -> SampleResult:
    start, end = (float(PATH.time_of_log_snr(-math.log(level))) for level in (20.0, 0.002))
    sampler = DriftLiteSampler.from_score(_score, PATH, order=order, divergence=_divergence, **settings)
    return sampler.sample(
        log_snr_grid(PATH, n_steps, start=start, end=end), count=count, shape=(3,), gamma=gamma,
        generator=torch.Generator().manual_seed(0), dtype=torch.float64,
    )  # fmt: skip


def _divergence(x: Tensor, t: Tensor) -> Tensor:
    c = PATH.coefficients(t)
    return -(1.0 / (c.alpha**2 * VARIANCES + c.sigma**2)).sum().expand(len(x)).to(x)


def _excess(result: SampleResult, gamma: float) -> Tensor:
    assert result.particles is not None
    weights = result.particles.log_weights.exp().reshape(-1, 1)
    c = PATH.coefficients(PATH.time_of_log_snr(torch.tensor(-math.log(0.002), dtype=torch.float64)))
    truth = (c.alpha**2 * VARIANCES + c.sigma**2) / gamma
    return (weights * result.samples**2).sum(0) / truth - 1.0


@pytest.mark.parametrize("control", ["none", "vcg"])
def test_variances_of_stiff_directions_are_nearly_right(control: str) -> None:
    first = _excess(_draw(1, 60, 1.0, control=control), 1.0)
    second = _excess(_draw(2, 60, 1.0, control=control), 1.0)
    step = math.log(20.0 / 0.002) / 60
    assert bool((first[1:] > 0.7 * step).all())  # first order: too large by about the step
    assert bool((second.abs() < 0.25 * step + 4.0 * math.sqrt(2.0 / 6000)).all())
    assert bool((second[1:].abs() < 0.4 * first[1:]).all())


def test_annealed_variances_and_the_normaliser_converge() -> None:
    gamma = 2.0
    truth = 0.5 * (1.0 - gamma) * (3 * math.log(2 * math.pi) + float(VARIANCES.log().sum()))
    truth -= 1.5 * math.log(gamma)
    errors = []
    for n_steps in (40, 160):
        result = _draw(2, n_steps, gamma, count=2000)
        assert result.particles is not None
        errors.append(abs(float(result.particles.log_normaliser) - truth))
        if n_steps == 160:
            assert float(_excess(result, gamma).abs().max()) < 0.05 + 4.0 * math.sqrt(2.0 / 2000)
    assert errors[1] < max(0.25 * errors[0], 0.03)


def _run(count: int) -> tuple[Run, Plan]:
    settings = RunSettings("none", "trapezoid", 1.0, 0.0, 1e-6, 10.0, False, 2, Subspace())
    grid = log_snr_grid(PATH, 4, start=0.9, end=0.3)
    plan = Plan.make(PATH, grid, 1.0, None)
    field = FunctionField(_score, _divergence)
    return Run(settings, field, plan, None, count, torch.Generator().manual_seed(0)), plan


def test_resampling_takes_the_last_drift_along() -> None:
    # Two particles; after the first step all weight lies on the second. Its copies must move by its own
    # drift of before, as it does alone: without noise all end where it does.
    x = torch.tensor([[1.0, 0.5, 0.2], [-0.7, 0.3, 0.9]], dtype=torch.float64)
    run, _ = _run(2)
    moved = run.step(x, 0)
    assert run._systems is not None
    run._systems.update(torch.tensor([-50.0, 0.0], dtype=torch.float64))
    together = run.step(moved, 1)
    alone, _ = _run(2)
    pair = x[[1, 1]]
    expected = alone.step(alone.step(pair, 0), 1)
    torch.testing.assert_close(together, expected)
    assert run._systems.report().resamplings.tolist() == [1]


def test_the_drift_is_extrapolated_to_the_middle_of_the_step() -> None:
    run, _ = _run(2)
    first = torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(run._ahead(first, 0.2), first)
    torch.testing.assert_close(run._ahead(2.0 * first, 0.4), 2.0 * first + 0.5 * (0.4 / 0.2) * first)


@pytest.mark.parametrize("order", [0, 3, "2"])
def test_other_orders_are_refused(order: Any) -> None:
    with pytest.raises(ValueError, match="order must be 1 or 2"):
        DriftLiteSampler.from_score(_score, PATH, order=order)
