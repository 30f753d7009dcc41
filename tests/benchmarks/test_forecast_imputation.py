"""The comparison of imputations: references, scores and bars on cases with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecast_imputation import (
    KINDS,
    LINEAR,
    METHODS,
    OURS,
    SEASONAL,
    imputation_bars,
    linear,
    scored,
    seasonal,
)


def test_references_fill_what_they_say() -> None:
    values = np.array([[np.nan, 1.0, np.nan, np.nan, 4.0, 7.0, np.nan]])
    np.testing.assert_allclose(linear(values), [[1, 1, 2, 3, 4, 7, 7]])
    np.testing.assert_allclose(seasonal(values, 3), [[1, 1, 7, 3, 4, 7, 7]])
    wave = np.tile([1.0, 5.0, 2.0], 6)[None]
    holes = wave.copy()
    holes[0, [4, 8, 9]] = np.nan
    np.testing.assert_allclose(seasonal(holes, 3), wave)


def test_crps_of_a_point_is_its_error_and_of_draws_their_energy_score() -> None:
    truth, scale = np.array([1.0, 4.0]), np.array([2.0, 1.0])
    assert scored(np.array([[2.0], [3.0]]), truth, scale)["crps"] == pytest.approx((0.5 + 1.0) / 2)
    draws = np.random.default_rng(0).normal(size=(2, 40)) + truth[:, None]
    found = scored(draws, truth, scale)
    pairs = np.abs(draws[:, :, None] - draws[:, None]).mean(axis=(1, 2))
    expected = (np.abs(draws - truth[:, None]).mean(axis=1) - 0.5 * pairs) / scale
    assert found["crps"] == pytest.approx(expected.mean())
    assert found["coverage80"] == 1.0


def planted(ours: float) -> pd.DataFrame:
    """Return rows in which ours scores as told and all others .5."""
    return pd.DataFrame(
        [
            {"dataset": name, "kind": kind, "method": method, "fit_cpu": 5.0,
             "crps": ours if method == OURS else 0.5}
            for name in "ab" for kind in KINDS for method in METHODS
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "reached"), [(0.4, True), (0.6, False)])
def test_bars_ask_for_a_smaller_crps_than_both_references(ours: float, reached: bool) -> None:
    bars = [bar for bar in imputation_bars(planted(ours), reduced=False) if "CRPS" in bar.name]
    assert len(bars) == 2 * len(KINDS)
    assert all(bar.reached is reached for bar in bars)
    assert {other for bar in bars for other in (LINEAR, SEASONAL) if other in bar.name} == {LINEAR, SEASONAL}


def test_a_reduced_run_decides_only_the_cost() -> None:
    bars = imputation_bars(planted(0.6), reduced=True)
    assert [bar.reached for bar in bars] == [None] * (2 * len(KINDS)) + [True]
