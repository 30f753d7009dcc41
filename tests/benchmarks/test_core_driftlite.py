"""The DriftLite benchmark: its models against the exact denoiser, a miniature run, and the bars."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from core_driftlite import (
    COUNT,
    LEFT_RULE,
    NARROW,
    SETTINGS,
    STEPS,
    WIDE,
    Experiment,
    driftlite_bars,
    summarise,
)
from driftlite_models import DIM, MixtureBatch, Setting, time_grid

from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling.driftlite import DifferentiableReward, Subspace


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("exploding", [False, True])
def test_scores_of_the_batch_are_those_of_the_exact_denoisers(exploding: bool) -> None:
    setting = Setting("any", spread=0.3, exploding=exploding)
    batch, seeds = MixtureBatch(setting, (0, 1)), 2
    x, t = (
        torch.randn(seeds * 4, DIM, generator=_generator(), dtype=torch.float64),
        torch.tensor(0.2).double(),
    )
    values = batch.evaluate(x, t, with_divergence=True, with_log_density=True, generator=_generator())
    for place in range(seeds):
        stds = batch.variances[place].sqrt()[:, None].expand(-1, DIM)
        target = GaussianMixtureTarget.from_stds(batch.weights[place].tolist(), batch.means[place], stds)
        exact, rows = ExactDenoiser(target, setting.path), slice(4 * place, 4 * place + 4)
        torch.testing.assert_close(values.score[rows], exact.score(x[rows], t))
        torch.testing.assert_close(values.log_density[rows], exact.log_density(x[rows], t))
        torch.testing.assert_close(values.divergence[rows], exact.score_divergence(x[rows], t))


def test_the_tilt_has_the_derivatives_of_its_value() -> None:
    batch = MixtureBatch(Setting("any", tilt=0.5), (0, 1))
    reward = batch.reward(Setting("any", tilt=0.5))
    x = torch.randn(6, DIM, generator=_generator(), dtype=torch.float64)
    given = reward.evaluate(x, Subspace(), _generator())
    found = DifferentiableReward(reward.value).evaluate(x, Subspace(), _generator())
    torch.testing.assert_close(given.gradient, found.gradient)
    torch.testing.assert_close(given.laplacian, found.laplacian)


@pytest.mark.parametrize("setting", list(SETTINGS.values()), ids=lambda setting: setting.name)
def test_grids_fall_and_keep_some_noise(setting: Setting) -> None:
    grid = time_grid(setting, 20)
    assert bool((grid[1:] < grid[:-1]).all())
    ends = setting.path.coefficients(grid[[0, -1]]).noise_to_signal
    assert float(ends[0]) == pytest.approx(40.0 if setting.exploding else math.sqrt(math.expm1(10.0)))
    assert float(ends[1]) == pytest.approx(0.01 if setting.exploding else math.sqrt(math.expm1(2e-3)))


def test_a_miniature_run_measures_what_it_says() -> None:
    experiment = Experiment(Setting("mini"), (0, 1), draws=300)
    rows = pd.DataFrame(experiment.run("VCG-SMC", 80, 30) + experiment.run("PG", 80, 30))
    table = summarise(rows)
    ours, guided = table.loc[("mini", "VCG-SMC", 80, 30)], table.loc[("mini", "PG", 80, 30)]
    assert ours["log_z_absolute"] < 1.0
    assert ours["variance_ratio"] > 10.0
    assert ours["mmd_floor"] < ours["mmd"] < 0.7 * guided["mmd"]
    assert math.isnan(guided["log_z_error"])
    assert (ours["nfe"], guided["nfe"]) == (31, 30)
    assert 0.0 < ours["mode_tv"] < guided["mode_tv"] < 1.0


def _planted(**changes: float) -> pd.DataFrame:
    base = {"mmd": 0.03, "mmd_floor": 0.029, "variance_guidance": 100.0, "variance": 4.0, "log_z_error": 0.1}
    runs = [
        ("VCG-SMC", COUNT, STEPS, base | changes),
        ("VCG-SMC", COUNT, 25, base | {"log_z_error": -0.3}),
        ("VCG-SMC", 100, STEPS, base | {"mmd": 0.08}),
        ("G-SMC", COUNT, STEPS, base | {"mmd": 0.4}),
        *((LEFT_RULE, COUNT, n, base | {"log_z_error": -80.0 / n}) for n in (100, STEPS, 1000)),
    ]
    return pd.DataFrame(
        {"setting": setting, "method": method, "count": count, "steps": steps, "seed": 0} | values
        for setting in (NARROW, WIDE)
        for method, count, steps, values in runs
    )


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, 0),
        ({"mmd": 0.035}, 1),
        ({"variance": 8.0}, 1),
        ({"log_z_error": 0.5}, 2),
        ({"log_z_error": math.nan}, 2),
    ],
)
def test_each_bar_can_be_missed(changes: dict[str, float], missed: int) -> None:
    bars = driftlite_bars(_planted(**changes), reduced=False)
    assert len(bars) == 12
    assert sum(bar.reached is False for bar in bars) == 2 * missed


def test_a_reduced_run_decides_nothing() -> None:
    assert {bar.reached for bar in driftlite_bars(_planted(), reduced=True)} == {None}
