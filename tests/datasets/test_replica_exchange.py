"""Replica exchange: detailed balance, exact laws of a harmonic well, and what the record says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sciffusion.datasets import DoubleWell, LennardJones
from sciffusion.datasets.replica_exchange import ExchangeSettings, _Simulation, run_replica_exchange
from sciffusion.datasets.replica_swaps import SwapCount, acceptance, exchange


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("parity", [0, 1])
def test_exchange_on_two_levels_keeps_the_product_of_boltzmann_laws(parity: int) -> None:
    ladder, levels = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64), (0.0, 1.3)
    states = torch.tensor(list(itertools.product(levels, repeat=3)), dtype=torch.float64)
    law = torch.exp(-(states / ladder).sum(dim=1))
    rates = acceptance(states.T, ladder)
    flow = torch.zeros(len(states), len(states), dtype=torch.float64)
    for number, state in enumerate(states):
        swapped = state.clone()
        swapped[parity], swapped[parity + 1] = state[parity + 1], state[parity]
        other = int((states == swapped).all(dim=1).nonzero())
        flow[number, other] = law[number] * rates[parity, number]
    torch.testing.assert_close(flow, flow.T)
    assert float(rates.min()) < 0.5
    assert float(rates.max()) == 1.0


@pytest.mark.parametrize("parity", [0, 1])
def test_drawn_exchanges_have_the_stated_probability_and_are_permutations(parity: int) -> None:
    columns, ladder = 40_000, torch.tensor([0.5, 1.0, 3.0, 4.0], dtype=torch.float64)
    energies = torch.tensor([-1.0, -0.4, 0.3, 0.1], dtype=torch.float64)[:, None].repeat(1, columns)
    sources, accepted = exchange(energies, ladder, parity, _generator())
    assert bool((sources.sort(dim=0).values == torch.arange(4)[:, None]).all())
    expected = acceptance(energies[:, :1], ladder)[:, 0]
    for pair in range(3):
        share = float(accepted[pair].double().mean())
        if pair % 2 != parity:
            assert share == 0.0
            continue
        error = float((expected[pair] * (1 - expected[pair]) / columns).sqrt())
        assert abs(share - float(expected[pair])) <= 4.0 * error
        assert torch.equal(sources[pair] == pair + 1, accepted[pair])


def test_rates_count_only_what_was_proposed() -> None:
    count = SwapCount(4)
    count.add(0, torch.tensor([[True, False], [False, False], [True, True]]))
    count.add(0, torch.ones(3, 2, dtype=torch.bool), counted=False)
    np.testing.assert_array_equal(count.rates(), [0.5, np.nan, 1.0])
    count.add(1, torch.tensor([[False, False], [True, False], [False, False]]))
    np.testing.assert_array_equal(count.rates(), [0.5, 0.5, 1.0])


def test_a_harmonic_well_has_the_exact_variance_at_every_temperature() -> None:
    system, ladder, columns = LennardJones(n=3, epsilon=0.0, oscillator=2.0), (0.3, 0.6, 1.2), 400
    settings = ExchangeSettings(ladder, columns=columns, frames=8, thinning=10, burn_in=80, step=0.4)
    found = run_replica_exchange(system, settings, generator=_generator())
    for place, temperature in enumerate(ladder):
        x = found.configurations[place].astype(np.float64)
        of_columns = (x**2).mean(axis=(0, 2, 3))  # independent columns give the standard error
        exact = temperature / system.oscillator * (1.0 - 1.0 / 3.0)
        error = of_columns.std(ddof=1) / np.sqrt(columns)
        assert abs(of_columns.mean() - exact) < 4.0 * error
        assert error < 0.05 * exact
        energies = found.energies[place].astype(np.float64)
        assert energies.mean() == pytest.approx(3.0 * temperature, rel=0.03)  # kT/2 for each of six
    assert (found.swap_rates > 0.3).all()


def test_replicas_that_change_places_keep_their_velocities_in_units_of_the_thermal_one() -> None:
    # A wrong scale is forgotten within a friction time and biases the law by little: only this shows it.
    settings = ExchangeSettings((0.5, 0.6, 0.7), columns=50)
    simulation = _Simulation(LennardJones(n=3, epsilon=0.0), settings, _generator())
    simulation.energies = 5.0 * torch.randn(150, generator=_generator(1))
    names = ("positions", "forces", "energies")
    before = {name: getattr(simulation, name).clone() for name in names}
    thermal = simulation.velocities / simulation.spread
    accepted = simulation.swap(1)
    assert not bool(accepted[0].any())
    assert 0 < int(accepted[1].sum()) < 50
    sources = torch.arange(3)[:, None].repeat(1, 50)
    sources[1] += accepted[1].long()
    sources[2] -= accepted[1].long()
    order = (50 * sources + torch.arange(50)).reshape(-1)
    torch.testing.assert_close(simulation.velocities / simulation.spread, thermal[..., order])
    for name in names:
        torch.testing.assert_close(getattr(simulation, name), before[name][..., order])


def test_exchanges_of_the_burn_in_are_not_counted() -> None:
    settings = ExchangeSettings((1.0, 2.0), columns=3, frames=4, thinning=1, burn_in=20, swap_every=10)
    found = run_replica_exchange(DoubleWell(), settings, generator=_generator())
    assert np.isnan(found.swap_rates).all()  # the only proposals were made at steps 10 and 20


def test_forces_energies_and_centres_are_those_of_the_positions() -> None:
    system = LennardJones(n=5)
    settings = ExchangeSettings((0.5, 1.0, 2.0), columns=6, frames=5, thinning=7, burn_in=30, swap_every=5)
    found = run_replica_exchange(system, settings, keep=[2, 0], generator=_generator())
    assert found.configurations.shape == found.forces.shape == (2, 5, 6, 5, 3)
    assert found.energies.shape == (3, 5, 6)
    for row, place in enumerate((2, 0)):
        x = torch.from_numpy(found.configurations[row].reshape(-1, 5, 3))
        energies, forces = system.energy_and_forces(x)
        np.testing.assert_allclose(energies, found.energies[place].reshape(-1), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(forces, found.forces[row].reshape(-1, 5, 3), rtol=1e-3, atol=1e-3)
    assert np.abs(found.configurations.mean(axis=3)).max() < 1e-6
    assert (np.diff(found.energies.mean(axis=(1, 2))) > 0.0).all()


def test_one_temperature_needs_no_exchange() -> None:
    settings = ExchangeSettings([1.0], columns=3, frames=4, thinning=2, burn_in=0)
    found = run_replica_exchange(DoubleWell(), settings, generator=_generator())
    assert found.swap_rates.shape == (0,)
    assert found.r_hat.shape == (1,)


def test_the_generator_decides_everything() -> None:
    settings = ExchangeSettings((1.0, 2.0), columns=3, frames=4, thinning=3, burn_in=12)
    first, again, other = (
        run_replica_exchange(DoubleWell(), settings, generator=_generator(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.configurations, again.configurations)
    assert not np.array_equal(first.configurations, other.configurations)


def test_an_exploding_simulation_is_reported() -> None:
    settings = ExchangeSettings([1.0], columns=2, frames=4, thinning=40, burn_in=0, step=5.0)
    with pytest.raises(FloatingPointError, match="step 5"):
        run_replica_exchange(DoubleWell(), settings, generator=_generator())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": []}, "temperatures"),
        ({"temperatures": [0.0, 1.0]}, "temperatures"),
        ({"temperatures": [2.0, 1.0]}, "rising"),
        ({"temperatures": [1.0, float("inf")]}, "temperatures"),
        ({"columns": 0}, "columns is 0"),
        ({"frames": 3}, "frames is 3"),
        ({"thinning": 1.5}, "thinning is 1.5"),
        ({"step": -0.1}, "step"),
        ({"friction": float("nan")}, "friction"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExchangeSettings(**({"temperatures": [1.0]} | changes))  # type: ignore[arg-type]
