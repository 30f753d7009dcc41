"""The zero-shot benchmark: nothing of the set left out is trained on, and what the words and bars say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forecast_zero_shot
import numpy as np
import pandas as pd
import pytest
from forecast_cost import simulated
from forecast_data import HISTORY, RollingSet
from forecast_protocol import N_DRAWS
from forecast_zero_shot import FITTED, HORIZON, MODELS, ZERO, ZeroShot, relative, zero_shot_bars

TINY: dict[str, Any] = {"n_members": 1, "max_steps": 5, "width": 16, "batch_size": 32}


def test_the_model_is_trained_on_the_others_and_prompted_with_any_horizon() -> None:
    rolling = RollingSet("made up", simulated(2, 300, 30, seed=1), 2)
    model = ZeroShot({"other": simulated(3, 200, 6)}, **TINY).fit(rolling.history(0))
    assert model.estimator_.set_names_ == ["other"]
    assert model.estimator_.model_.horizon == HORIZON
    draws = model.draws(rolling.history(1), 20, 0)
    assert draws.shape == (2, 20, 30)
    assert np.isfinite(draws).all()


def test_every_set_is_forecast_by_a_model_that_has_not_seen_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = {}

    def row(rolling: RollingSet, name: str, others: dict[str, Any]) -> dict[str, Any]:
        seen[rolling.name] = set(others)
        raise KeyboardInterrupt

    monkeypatch.setattr(forecast_zero_shot, "run_row", row)
    with pytest.raises(KeyboardInterrupt):
        forecast_zero_shot.main(["--quick", "--datasets", "m4_weekly", "--out", str(tmp_path)])
    assert seen == {"m4_weekly": set(forecast_zero_shot.QUICK_TRAINING) - {"m4_weekly"}}


def planted(zero: float) -> pd.DataFrame:
    """Rows of two sets: the fitted model scores 1, all others but zero-shot 1.2."""
    return pd.DataFrame(
        [
            {"dataset": name, "model": model, "scrps": score, "energy": score}
            | {"fit_cpu": 3.0, "predict_cpu": 0.5, "coverage80": 0.8, "coverage95": 0.95}
            for name in ("walmart_sales", "m4_monthly")
            for model in MODELS
            for score in [{ZERO: zero, FITTED: 1.0}.get(model, 1.2)]
        ]
    )


@pytest.mark.parametrize(("zero", "reached"), [(1.1, True), (1.3, False)])
def test_bars_ask_for_more_than_forecasts_that_learn_nothing(zero: float, reached: bool) -> None:
    assert [bar.reached for bar in zero_shot_bars(planted(zero), reduced=False)] == [reached] * 4
    assert [bar.reached for bar in zero_shot_bars(planted(zero), reduced=True)] == [None] * 4
    assert relative(planted(zero), "scrps").loc["mean over fitted", ZERO] == pytest.approx(zero)


def test_the_report_says_where_zero_shot_loses(tmp_path: Path) -> None:
    planted(1.1).to_csv(tmp_path / "rows.csv", index=False)
    settings = {"draws": N_DRAWS, "history": HISTORY, "horizon": HORIZON}
    (tmp_path / "rows.json").write_text(json.dumps(settings))
    given = ["--resume", "--quick", "--out", str(tmp_path), "--datasets", "walmart_sales", "m4_monthly"]
    assert forecast_zero_shot.main(given) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "zero-shot +10.0 % against fitted; worse on walmart_sales, m4_monthly." in report
    assert "against SeasonalNaive; worse on none." in report
