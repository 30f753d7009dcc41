"""The ablation: each variant leaves out what it says, development windows stay clear of the comparison's."""

from __future__ import annotations

import forecast_variants
import measuring
import numpy as np
import pandas as pd
import pytest
from forecast_ablation import development_set, reading, run_variant, summary
from forecast_cost import simulated
from forecast_data import RollingSet, load
from forecast_variants import DEFAULT, VARIANTS, OneScale, RawTarget, RidgeOnly, Variant, WhiteLaw

from sciffusion.domains.forecasting import base_forecast, fitting

TINY = {"n_members": 1, "max_steps": 5, "width": 16, "batch_size": 32}
CHANGED = ["network off", "raw target", "ridge only", "one scale a series", "white noise"]


@pytest.fixture(scope="module")
def rolling() -> RollingSet:
    """Two simulated series, two windows."""
    return RollingSet("made up", simulated(2, 300, 6), 2)


def fitted(name: str, rolling: RollingSet) -> object:
    """Return the fitted model of a variant with a tiny network."""
    variant = VARIANTS[name]
    tiny = Variant(variant.question, {**TINY, **variant.parameters}, variant.part)
    return tiny.fit(rolling.history(0)).estimator_.model_


def test_development_windows_end_before_those_of_the_comparison() -> None:
    whole, cut = load("m4_monthly"), development_set("m4_monthly")
    for before, after in zip(whole.whole.values, cut.whole.values, strict=True):
        assert len(before) - len(after) == whole.n_windows * whole.whole.horizon
        np.testing.assert_array_equal(before[: len(after)], after)
    np.testing.assert_array_equal(cut.history(cut.n_windows - 1).values[0][-5:], _before(whole, cut))


def _before(whole: RollingSet, cut: RollingSet) -> np.ndarray:
    left_out = (whole.n_windows + 1) * whole.whole.horizon
    return whole.whole.values[0][:-left_out][-5:]


@pytest.mark.parametrize("name", CHANGED)
def test_a_variant_leaves_out_its_part_and_nothing_stays_exchanged(name: str, rolling: RollingSet) -> None:
    model = fitted(name, rolling)
    base = model.base
    series = base.series(_panel(rolling))
    forecast = base.forecast(series, series.last_windows())
    if name == "network off":
        assert model.network is None
    elif name == "raw target":
        assert isinstance(base, RawTarget)
        assert np.ptp(forecast.location, axis=1).max() == 0.0
    elif name == "ridge only":
        assert isinstance(base.stack, RidgeOnly)
        np.testing.assert_array_equal(base.stack.weights.sum(axis=0), 1.0)
        assert (base.stack.weights[base.stack.names.index("ridge")] == 1.0).all()
    elif name == "one scale a series":
        assert isinstance(base, OneScale)
        np.testing.assert_array_equal(forecast.scale, np.repeat(series.units[:, None], 6, axis=1))
    else:
        np.testing.assert_array_equal(model.law.factor, np.eye(6))
    assert base_forecast.Stack is not RidgeOnly
    assert fitting.BaseForecaster is base_forecast.BaseForecaster
    assert fitting.ResidualLaw is not WhiteLaw


def _panel(rolling: RollingSet) -> object:
    from sciffusion.domains.forecasting import panel_of_frame

    return panel_of_frame(rolling.history(0).frame())


def test_every_solver_is_scored_on_the_default(rolling: RollingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_reset_high_water_mark", lambda: False)  # collecting garbage takes long
    monkeypatch.setitem(forecast_variants.VARIANTS, DEFAULT, Variant("all as it is", dict(TINY)))
    rows = pd.DataFrame(run_variant(rolling, DEFAULT, (8,)))
    assert rows["variant"].tolist() == [DEFAULT, "Heun, 8 nfe", "Euler, 8 nfe", "multistep 2, 8 nfe"]
    same = rows.set_index("variant").loc[[DEFAULT, "Heun, 8 nfe"]]
    assert same["energy"].iloc[1] == pytest.approx(same["energy"].iloc[0], rel=1e-4)
    assert np.isfinite(rows[["scrps", "energy", "variogram"]].to_numpy()).all()


def planted() -> pd.DataFrame:
    """Rows of two sets: raw is twice and four times as bad, the network off a tenth better."""
    factors = {DEFAULT: (1.0, 1.0), "raw target": (2.0, 4.0), "network off": (0.9, 0.9)}
    return pd.DataFrame(
        [
            {"dataset": name, "variant": variant, "scrps": factor, "energy": factor, "variogram": factor}
            | {"coverage80": 0.8, "coverage95": 0.9 + place * 0.05, "targets": 10 + 20 * place}
            | {"fit_cpu": 1.0, "draw_cpu": 1.0}
            for variant, pair in factors.items()
            for place, (name, factor) in enumerate(zip(("first", "second"), pair, strict=True))
        ]
    )


def test_the_table_and_its_words_say_what_the_rows_say() -> None:
    table = summary(planted())
    assert table.loc["raw target", "scrps"] == pytest.approx(np.sqrt(8.0))
    assert table.loc["raw target", "sets worse"] == "2 of 2"
    assert table.loc[DEFAULT, "cover 95"] == pytest.approx(100 * (0.9 * 10 + 0.95 * 30) / 40)
    words = reading(table)
    assert "raw target (the base): sCRPS +182.8 %" in words
    assert "network off (the network): sCRPS -10.0 %, energy score -10.0 %" in words
