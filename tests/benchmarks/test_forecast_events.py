"""Event probabilities against brute force: the brute force itself, the bars, and a miniature run."""

from __future__ import annotations

from pathlib import Path

import forecast_events
import numpy as np
import pandas as pd
import pytest
from forecast_events import (
    GIVEN,
    OFF,
    PROBABILITIES,
    RANDOM,
    TRAINED,
    event_bars,
    fitted,
    law_rows,
    saving_rows,
)
from forecast_events_truth import EVENTS, Study, System, make_study

NOISE = 0.5


def constants(count: int, steps: int, seed: int) -> np.ndarray:
    """Give trajectories that stay at a standard normal number: Bayes' rule is known."""
    values = np.random.default_rng(seed).normal(size=(count, 1))
    return np.repeat(values, steps, axis=1)


@pytest.fixture(scope="module")
def study() -> Study:
    system = System(constants, NOISE, "constants")
    return make_study(
        system, n_train=30, n_histories=3, n_moments=5, n_pool=8000, n_states=4000, length=60,
        context=4, horizon=3,
    )  # fmt: skip


def test_futures_follow_bayes_rule(study: Study) -> None:
    seen = study.histories[:, -4:].mean(1)
    precision = 1.0 + 4 / NOISE**2
    states = study.futures[..., 0]
    assert states.mean(1) == pytest.approx(seen * 4 / NOISE**2 / precision, abs=0.05)
    assert states.std(1) == pytest.approx(precision**-0.5, rel=0.1)
    assert (study.futures == study.futures[..., :1]).all()
    assert (study.sizes > 500).all()


@pytest.mark.parametrize("name", list(EVENTS))
def test_chances_are_those_of_simulated_errors_and_thresholds_invert_them(study: Study, name: str) -> None:
    event = EVENTS[name]
    thresholds = study.thresholds(event, 0.1)
    assert study.chances(event, thresholds) == pytest.approx(0.1, rel=1e-3)
    observed = study.futures + NOISE * np.random.default_rng(0).normal(size=study.futures.shape)
    reduced = observed.max(-1) if name == "highest above" else observed.mean(-1)
    assert (reduced > thresholds[:, None]).mean(1) == pytest.approx(0.1, abs=0.015)
    anywhere = study.at_random_times()
    if name == "mean above":
        spread = (1.0 + NOISE**2 / 3) ** 0.5
        assert anywhere.thresholds(event, 0.1)[0] == pytest.approx(1.2816 * spread, rel=0.05)


def planted(ratio: float) -> pd.DataFrame:
    """Rows whose trained model is right but for one probability; the model without a network is not."""
    return pd.DataFrame(
        [
            {
                "system": "A",
                "model": model,
                "question": question,
                "event": event,
                "probability": probability,
                "ratio": (ratio if probability == 0.01 and event == "mean above" else 1.1)
                if model == TRAINED and question == RANDOM
                else 9.0,
            }
            for model in (TRAINED, OFF)
            for question in (RANDOM, GIVEN)
            for event in EVENTS
            for probability in PROBABILITIES
        ]
    )


@pytest.mark.parametrize(("ratio", "reached"), [(1.4, True), (1.6, False), (0.6, False), (0.0, False)])
def test_bars_are_missed_by_the_worst_probability(ratio: float, reached: bool) -> None:
    bars = event_bars(planted(ratio), reduced=False)
    assert [bar.reached for bar in bars] == [True, reached]
    assert {bar.reached for bar in event_bars(planted(ratio), reduced=True)} == {None}


def test_rows_of_a_model_that_has_the_right_law(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants seen with errors are Gaussian: without a network the forecaster is nearly right."""
    monkeypatch.setattr(forecast_events, "HORIZON", 3)
    model = fitted(study, OFF)
    rows = pd.DataFrame(law_rows(study, model, 2000, GIVEN))
    assert len(rows) == len(EVENTS) * len(PROBABILITIES)
    assert rows[rows["probability"] == 0.1]["ratio"].between(0.5, 2.0).all()
    savings = pd.DataFrame(saving_rows(study, model, 2, 2000))
    assert (savings["worst in errors"] < 5.0).all()
    assert savings["times fewer evaluations"].iloc[-1] > 10 * savings["times fewer evaluations"].iloc[0]


def test_a_run_writes_its_tables(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_events, "HORIZON", 3)
    monkeypatch.setattr(forecast_events, "study_of", lambda system, quick: study)
    monkeypatch.setitem(forecast_events.SETTINGS, "width", 8)
    monkeypatch.setitem(forecast_events.SETTINGS, "batch_size", 16)
    options = ["--quick", "--check", "--systems", "Lorenz-63", "--out", str(tmp_path)]
    assert forecast_events.main(options) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked: Lorenz-63, highest above" in report
    assert (tmp_path / "forecast_events.png").stat().st_size > 1000
    assert forecast_events.main([*options, "--resume"]) == 0
    assert len(pd.read_csv(tmp_path / "law.csv")) == 4 * len(EVENTS) * len(PROBABILITIES)
