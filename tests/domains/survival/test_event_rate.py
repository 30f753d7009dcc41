from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.special import expit

from sciffusion.domains.survival.event_rate import marginal_event_logits

Floats = NDArray[np.float64]


def _rates(mass: Floats, events: Floats) -> Floats:
    return expit(marginal_event_logits(np.cumsum(mass) / mass.sum(), mass, events))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_constant_rate_is_found_everywhere(rate: float) -> None:
    mass = np.full(500, 4.0)
    assert_allclose(_rates(mass, rate * mass), rate, rtol=1e-6)


def test_a_rate_that_changes_with_time_is_followed() -> None:
    rng = np.random.default_rng(0)
    truth = np.linspace(0.9, 0.1, 4000)
    rates = _rates(np.ones(4000), (rng.random(4000) < truth).astype(float))
    inner = slice(400, -400)  # a kernel mean leans inwards at the ends
    assert np.abs(rates - truth)[inner].max() < 0.06
    assert np.abs(rates - truth).max() < 0.15


@pytest.mark.parametrize("ties", [1, 2, 4])
def test_a_row_cannot_read_its_own_flag_from_the_rate(ties: int) -> None:
    # Flags are coins, so a rate that tells events from censorings can only know them from the rows themselves.
    rng = np.random.default_rng(0)
    mass = np.full(1200 // ties, float(ties))
    events = rng.binomial(ties, 0.5, len(mass)).astype(float)
    rates = _rates(mass, events)
    assert abs(np.corrcoef(rates, events)[0, 1]) < 0.25
    assert (np.average(rates, weights=events) - np.average(rates, weights=mass - events)) < 0.01


def test_a_spike_keeps_its_own_rate() -> None:
    mass = np.append(np.ones(100), 300.0)
    events = np.append(np.ones(100), 0.0)
    rates = _rates(mass, events)
    assert rates[-1] < 0.02
    assert rates[50] > 0.95


def test_the_overall_share_of_events_is_kept() -> None:
    rng = np.random.default_rng(1)
    events = (rng.random(600) < np.linspace(0.8, 0.2, 600)).astype(float)
    assert _rates(np.ones(600), events).mean() == pytest.approx(events.mean(), abs=0.02)


@pytest.mark.parametrize("flag", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_rates_stay_half_a_row_away_from_certainty(flag: float, count: int) -> None:
    rates = _rates(np.ones(count), np.full(count, flag))
    assert np.isfinite(rates).all()
    assert (np.abs(rates - flag) >= 0.5 / max(count, 2) - 1e-9).all()


def test_a_neighbourhood_without_rows_is_no_division_by_zero() -> None:
    # One row holds nearly all ranks, so its neighbours lie many kernel widths away.
    rates = _rates(np.array([1.0, 1000.0, 1.0]), np.array([1.0, 500.0, 0.0]))
    assert rates[1] == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(rates).all()


def test_a_time_speaks_for_itself_the_more_the_more_rows_it_has() -> None:
    # Every second time is an event, so all neighbourhoods have the rate .5.
    events = np.arange(200) % 2.0
    spread = [np.ptp(_rates(np.full(200, mass), mass * events)[90:110]) for mass in (1.0, 10.0, 100.0)]
    assert spread[0] < 0.05
    assert 0.4 < spread[1] < 0.6
    assert spread[2] > 0.9
