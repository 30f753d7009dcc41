"""The comparison on chaotic systems: its scores, its models of one step, its bars, and a miniature run."""

from __future__ import annotations

from pathlib import Path

import forecast_dynamics
import numpy as np
import pandas as pd
import pytest
import torch
from forecast_dynamics import (
    CHEAP,
    DYFFUSION,
    ROLLING,
    SYSTEMS,
    Plan,
    System,
    dynamics_bars,
    long_run_scores,
    path_scores,
)
from forecast_dynamics_models import Climatology, LinearMap, NoisyEnsemble, OneStepEnsemble, Persistence

from sciffusion.datasets import make_lorenz63


def _walks(count: int, steps: int, seed: int = 0) -> np.ndarray:
    """Simulate x' = .9 x + noise, of unit variance."""
    generator = np.random.default_rng(seed)
    states = [generator.standard_normal((count, 2))]
    for _ in range(steps - 1):
        states.append(0.9 * states[-1] + np.sqrt(0.19) * generator.standard_normal((count, 2)))
    return np.stack(states, 1)


def test_exchangeable_draws_have_a_spread_of_their_error() -> None:
    generator = np.random.default_rng(0)
    truth, draws = generator.standard_normal((3000, 4, 2)), generator.standard_normal((3000, 10, 4, 2))
    scores = path_scores(truth, draws)
    assert scores["spread_skill"].to_numpy() == pytest.approx(1.0, abs=0.04)
    assert scores["crps"].to_numpy() == pytest.approx(1.0 / np.sqrt(np.pi), abs=0.03)
    # In the plane E|x - y| - E|x - x'| / 2 of standard normals is sqrt(pi) / 2, here over sqrt(2).
    assert scores["energy"].to_numpy() == pytest.approx(np.sqrt(np.pi) / 2.0 / np.sqrt(2.0), abs=0.03)
    narrow = path_scores(truth, 0.5 * draws)["spread_skill"]
    assert (narrow < 0.6).all()


def test_linear_map_finds_the_law_of_a_linear_system() -> None:
    model = LinearMap().fit(_walks(2000, 10))
    paths = model.sample(np.array([[[2.0, -1.0]]]), 5, 20_000, 0)[0]
    lead = np.arange(1, 6)
    np.testing.assert_allclose(paths.mean(0)[:, 0], 2.0 * 0.9**lead, atol=0.06)
    np.testing.assert_allclose(paths.var(0)[:, 1], 1.0 - 0.81**lead, rtol=0.06)
    assert abs(np.corrcoef(paths[:, 0, 0], paths[:, 0, 1])[0, 1]) < 0.05


def test_cheap_models_are_what_their_names_say() -> None:
    values = _walks(500, 12)
    known = np.full((3, 1, 2), 7.0)
    climate = Climatology().fit(values).sample(known, 30, 400, 0)
    assert climate.shape == (3, 400, 30, 2)
    assert np.abs(climate.mean((0, 1))).max() < 0.2
    near = Persistence().fit(values).sample(known, 3, 2000, 0)
    np.testing.assert_allclose(near[:, :, 0].mean(1), 7.0, atol=0.1)
    np.testing.assert_allclose(near[:, :, 0].std(1), np.sqrt(2.0 * 0.1), rtol=0.1)


def test_networks_of_one_step_learn_the_step_and_its_residuals() -> None:
    values = _walks(400, 12)
    ensemble = OneStepEnsemble(n_members=2, width=16, depth=2, max_steps=150)
    noisy = NoisyEnsemble(ensemble)
    ensemble.fit(values)
    noisy.fit(values)
    known = np.array([[[2.0, -1.0]]])
    paths = ensemble.sample(known, 2, 6, 0)[0]
    assert len(np.unique(paths[:, 0, 0].round(6))) == 2  # one path a member
    np.testing.assert_allclose(paths[:, 0].mean(0), [1.8, -0.9], atol=0.25)
    assert noisy.sample(known, 1, 3000, 0)[0].std(0) == pytest.approx(np.sqrt(0.19), rel=0.12)


def test_long_runs_of_the_truth_score_well_and_others_do_not() -> None:
    truth = _walks(400, 60)
    same = long_run_scores(truth, _walks(400, 60, 1), 10)
    other = long_run_scores(truth, np.random.default_rng(0).normal(1.0, 1.0, (400, 60, 2)), 10)
    assert same["marginal_distance"] < 0.1 < 0.8 < other["marginal_distance"]
    assert same["autocorrelation_error"] < 0.06 < 0.3 < other["autocorrelation_error"]
    away = _walks(400, 60, 1)
    away[:100, -1] = 10.0
    assert long_run_scores(truth, away, 10)["ran_away"] == 0.25


def _planted(ours: float) -> pd.DataFrame:
    rows = []
    for system in SYSTEMS:
        for model in (*CHEAP, ROLLING, DYFFUSION):
            value = ours if model == ROLLING else 0.5
            rows.append({"system": system, "model": model, "lead": 1.0, "crps": value, "ran_away": 0.0})
    return pd.DataFrame(rows)


def test_bars_see_a_model_that_is_no_better_than_the_cheap_ones() -> None:
    good = [bar for bar in dynamics_bars(_planted(0.3), False) if "rolling" in bar.name]
    assert all(bar.reached for bar in good)
    bad = [bar for bar in dynamics_bars(_planted(0.6), False) if "CRPS of rolling" in bar.name]
    assert len(bad) == len(SYSTEMS)
    assert not any(bar.reached for bar in bad)
    assert all(bar.reached is None for bar in dynamics_bars(_planted(0.3), True))


def test_a_miniature_run_writes_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = System(
        make_lorenz63, 30, 20, seen=(0, 2), context=2,
        sizes=(("width", 8), ("depth", 1), ("batch_size", 32), ("max_steps", 5)),
    )  # fmt: skip
    monkeypatch.setattr(forecast_dynamics, "SYSTEMS", {"Lorenz-63": tiny})
    monkeypatch.setattr(forecast_dynamics, "Plan", lambda *_: Plan(4, 3, 6.0))
    monkeypatch.setattr(forecast_dynamics, "SAMPLES", 4)
    threads = torch.get_num_threads()
    assert forecast_dynamics.main(["--quick", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked: Lorenz-63" in report
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["model"].nunique() == 7
    assert np.isfinite(rows["crps"]).all()
    assert (tmp_path / "forecast_dynamics.png").stat().st_size > 10_000
    assert torch.get_num_threads() <= threads
