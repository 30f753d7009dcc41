"""The simulators integrate the equations they state, to the order they claim, with their symmetries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from sciffusion.datasets import (
    SimulatedDynamics,
    make_fitzhugh_nagumo,
    make_kuramoto_sivashinsky,
    make_lorenz63,
)

Floats = NDArray[np.float64]
MAKERS = (make_lorenz63, make_fitzhugh_nagumo, make_kuramoto_sivashinsky)


def _lorenz(_: float, state: Floats) -> Floats:
    x, y, z = state
    return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def _fitzhugh_nagumo(_: float, state: Floats) -> Floats:
    x1, x2, y1, y2 = state
    a, k = -0.025794, 0.128
    return np.array(
        [
            x1 * (a - x1) * (x1 - 1.0) - y1 + k * (x2 - x1),
            x2 * (a - x2) * (x2 - 1.0) - y2 + k * (x1 - x2),
            0.0065 * x1 - 0.02 * y1,
            0.0135 * x2 - 0.02 * y2,
        ]
    )


def _fields(count: int, n_points: int = 64) -> Floats:
    return make_kuramoto_sivashinsky(count, 2, n_points=n_points, random_state=3).values[:, 0]


@pytest.mark.parametrize(
    ("make", "equation", "start", "step"),
    [
        (make_lorenz63, _lorenz, [[1.0, 3.0, 20.0], [-5.0, -8.0, 18.0]], 0.1),
        (make_fitzhugh_nagumo, _fitzhugh_nagumo, [[0.5, 0.4, 0.02, 0.05], [0.0, 0.1, 0.0, 0.0]], 10.0),
    ],
)
def test_trajectories_solve_the_equations_to_order_four(
    make: Callable[..., SimulatedDynamics], equation: Any, start: list[list[float]], step: float
) -> None:
    times = step * np.arange(5)

    def exact(one: list[float]) -> Floats:
        return solve_ivp(equation, (0.0, times[-1]), one, "DOP853", times, rtol=1e-13, atol=1e-14).y.T

    expected = np.stack([exact(one) for one in start])
    errors = [
        np.abs(make(n_steps=5, step=step, substeps=substeps, initial=start).values - expected).max()
        for substeps in (40, 80, 160)
    ]
    assert errors[0] / errors[1] == pytest.approx(16.0, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(16.0, rel=0.1)


def test_fields_solve_the_equation_to_order_four() -> None:
    points = 24  # waves that decay within a step lower the order
    x = 2.0 * np.pi * np.arange(points) / points
    start = 0.3 * np.stack([np.cos(x) + 0.7 * np.sin(2.0 * x), np.cos(3.0 * x) - np.sin(x)])

    def final(substeps: int) -> Floats:
        return make_kuramoto_sivashinsky(
            n_steps=2, n_points=points, step=2.0, substeps=substeps, initial=start
        ).values[:, 1]

    wave = 2.0 * np.pi / 22.0 * np.fft.fftfreq(points, 1.0 / points)
    slope = np.where(np.arange(points) == points // 2, 0.0, 1j * wave)

    def equation(_: float, u: Floats) -> Floats:
        linear = np.fft.ifft((wave**2 - wave**4) * np.fft.fft(u)).real
        return linear - 0.5 * np.fft.ifft(slope * np.fft.fft(u**2)).real

    exact = np.stack(
        [solve_ivp(equation, (0.0, 2.0), u, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1] for u in start]
    )
    errors = [np.abs(final(substeps) - exact).max() for substeps in (80, 160, 320)]
    assert errors[0] / errors[1] == pytest.approx(16.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(16.0, rel=0.05)
    assert errors[2] < 1e-10


def test_fixed_points_of_lorenz_stay() -> None:
    root = np.sqrt(8.0 / 3.0 * 27.0)
    points = np.array([[0.0, 0.0, 0.0], [root, root, 27.0], [-root, -root, 27.0]])
    values = make_lorenz63(n_steps=5, initial=points).values
    np.testing.assert_allclose(values, np.repeat(points[:, None], 5, 1), atol=1e-11)


def test_lorenz_is_symmetric_under_a_half_turn() -> None:
    start = np.array([[1.0, 3.0, 20.0], [4.0, -2.0, 30.0]])
    turn = np.array([-1.0, -1.0, 1.0])
    values = make_lorenz63(n_steps=20, initial=start).values
    np.testing.assert_array_equal(make_lorenz63(n_steps=20, initial=start * turn).values, values * turn)


def test_equal_units_of_fitzhugh_and_nagumo_can_be_exchanged() -> None:
    start = np.array([[0.3, -0.1, 0.02, 0.01]])
    values = make_fitzhugh_nagumo(n_steps=10, b1=0.01, b2=0.01, initial=start).values
    swapped = [1, 0, 3, 2]
    again = make_fitzhugh_nagumo(n_steps=10, b1=0.01, b2=0.01, initial=start[:, swapped]).values
    np.testing.assert_array_equal(again, values[..., swapped])
    other = make_fitzhugh_nagumo(n_steps=10, initial=start[:, swapped]).values
    assert np.abs(other - values[..., swapped]).max() > 1e-3


def test_fields_commute_with_shifts_and_reflection_and_keep_their_mean() -> None:
    start = _fields(3) + np.array([[0.0], [0.1], [-0.2]])
    values = make_kuramoto_sivashinsky(n_steps=12, initial=start).values
    shifted = make_kuramoto_sivashinsky(n_steps=12, initial=np.roll(start, 5, 1)).values
    np.testing.assert_allclose(shifted, np.roll(values, 5, 2), atol=1e-10)
    mirrored = make_kuramoto_sivashinsky(n_steps=12, initial=-start[:, ::-1]).values
    np.testing.assert_allclose(mirrored, -values[..., ::-1], atol=1e-10)
    np.testing.assert_allclose(values.mean(-1), np.repeat(start.mean(1)[:, None], 12, 1), atol=1e-13)
    # A field on a moving background is the field, moving: u(x - ct, t) + c.
    speed = 22.0 / 64.0
    fine = {"n_steps": 2, "step": 4.0, "substeps": 400}
    rest = make_kuramoto_sivashinsky(**fine, initial=start).values[:, 1]
    moved = make_kuramoto_sivashinsky(**fine, initial=start + speed).values[:, 1]
    np.testing.assert_allclose(moved, np.roll(rest, 4, 1) + speed, atol=1e-7)


def test_small_circles_are_quiet_and_waves_grow_at_their_linear_rate() -> None:
    x = 2.0 * np.pi * np.arange(64) / 64
    tiny = 1e-7 * np.stack([np.cos(2 * x), np.sin(3 * x)])
    values = make_kuramoto_sivashinsky(n_steps=3, initial=tiny).values
    wave = 2.0 * np.pi / 22.0 * np.array([2.0, 3.0])
    growth = np.exp(2.0 * (wave**2 - wave**4))
    np.testing.assert_allclose(values[:, -1], tiny * growth[:, None], rtol=1e-5, atol=1e-12)
    quiet = make_kuramoto_sivashinsky(
        n_steps=2, length=6.0, step=200.0, substeps=800, initial=_fields(2)
    ).values
    assert np.abs(quiet[:, -1]).max() < 1e-6 < np.abs(quiet[:, 0]).max()


def test_lorenz_has_its_known_statistics() -> None:
    simulated = make_lorenz63(2000, 60, random_state=0)
    mean, std = simulated.values.mean((0, 1)), simulated.values.std((0, 1))
    error = 4.0 * simulated.values.mean(1).std(0) / np.sqrt(2000.0)
    assert mean[2] == pytest.approx(23.55, abs=error[2] + 0.005)
    assert mean[0] == pytest.approx(0.0, abs=error[0])
    # On the attractor the means of d(x^2)/dt and dz/dt vanish: E xy = E x^2 = beta E z.
    x, y, _ = simulated.values.reshape(-1, 3).T
    assert (x * y).mean() == pytest.approx(8.0 / 3.0 * mean[2], rel=0.01)
    assert (x * x).mean() == pytest.approx((x * y).mean(), rel=0.01)
    assert std[2] == pytest.approx(8.63, abs=0.1)


def test_fields_balance_the_energy_that_enters_and_leaves() -> None:
    fields = make_kuramoto_sivashinsky(60, 200, random_state=0).values
    wave = 2.0 * np.pi / 22.0 * np.arange(33)
    power = np.abs(np.fft.rfft(fields)) ** 2
    # d/dt of the mean of u^2 / 2 is that of u_x^2 - u_xx^2, and vanishes in the long run.
    produced, lost = (power * wave**2).sum(-1).mean(), (power * wave**4).sum(-1).mean()
    assert produced == pytest.approx(lost, rel=0.01)
    assert (fields**2).mean() == pytest.approx(1.40, abs=0.05)


def test_spikes_of_fitzhugh_and_nagumo_are_rare_and_joint() -> None:
    simulated = make_fitzhugh_nagumo(200, 200, substeps=10, random_state=0)
    x1, x2 = simulated.values[..., 0], simulated.values[..., 1]
    spike = (x1 + x2) / 2.0 > 0.6
    for width, low, high in ((10, 0.005, 0.02), (40, 0.02, 0.06)):
        windows = spike[:, : 200 // width * width].reshape(200, -1, width).any(-1)
        assert low < windows.mean() < high
    assert x2[x1 > 0.7].min() > 0.3  # both units take part
    quiet = x1[(x1 + x2).max(1) < 0.6]
    assert np.abs(quiet).max() < 0.45


@pytest.mark.parametrize(
    ("make", "span", "rounds", "rtol"),
    [(make_lorenz63, 0.5, 60, 0.05), (make_fitzhugh_nagumo, 50.0, 60, 0.05)],
)
def test_nearby_trajectories_part_at_the_stated_rate(
    make: Callable[..., SimulatedDynamics], span: float, rounds: int, rtol: float
) -> None:
    known = make(200, 2, random_state=0)
    state, distance = known.values[:, 0], 1e-7
    gap = np.random.default_rng(0).standard_normal(state.shape)
    gap *= distance / np.linalg.norm(gap, axis=1, keepdims=True)
    rates = []
    for _ in range(rounds):
        both = make(n_steps=2, step=span, substeps=25, initial=np.concatenate([state, state + gap])).values[
            :, 1
        ]
        state, gap = both[:200], both[200:] - both[:200]
        length = np.linalg.norm(gap, axis=1, keepdims=True)
        rates.append(np.log(length / distance).mean() / span)
        gap *= distance / length
    assert known.lyapunov_time is not None
    assert 1.0 / np.mean(rates[rounds // 4 :]) == pytest.approx(known.lyapunov_time, rel=rtol)


@pytest.mark.parametrize("make", MAKERS)
def test_one_seed_gives_one_simulation(make: Callable[..., SimulatedDynamics]) -> None:
    first, again, other = (make(3, 4, burn_in=5.0, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.allclose(first.values, other.values)
    assert first.values.shape == (3, 4, len(first.channels))
    np.testing.assert_allclose(first.times, first.step * np.arange(4))
    resumed = make(n_steps=3, initial=first.values[:, 1]).values
    np.testing.assert_allclose(resumed, first.values[:, 1:], atol=1e-10)


def test_other_parameters_have_no_stated_lyapunov_time() -> None:
    assert make_lorenz63(1, 2, burn_in=0.0, rho=20.0, random_state=0).lyapunov_time is None
    assert make_fitzhugh_nagumo(1, 2, burn_in=0.0, k=0.1, random_state=0).lyapunov_time is None
    assert make_kuramoto_sivashinsky(1, 2, burn_in=0.0, length=30.0, random_state=0).lyapunov_time is None
    wide = make_kuramoto_sivashinsky(1, 2, burn_in=0.0, length=32 * np.pi, n_points=128, random_state=0)
    assert wide.lyapunov_time == 11.0
    assert wide.periodic


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (make_lorenz63, {"n_trajectories": 0}, "n_trajectories is 0"),
        (make_lorenz63, {"n_steps": 1}, "n_steps is 1"),
        (make_lorenz63, {"step": 0.0}, "step is 0"),
        (make_lorenz63, {"burn_in": -1.0}, "burn_in is -1"),
        (make_lorenz63, {"rho": np.nan}, "rho is nan"),
        (make_lorenz63, {"initial": [[0.0, np.inf, 1.0]]}, "initial has shape"),
        (make_fitzhugh_nagumo, {"substeps": 0}, "substeps is 0"),
        (make_fitzhugh_nagumo, {"initial": [[0.0, 1.0, 1.0]]}, r"expected \(n, 4\)"),
        (make_kuramoto_sivashinsky, {"length": -22.0}, "length is -22"),
        (make_kuramoto_sivashinsky, {"n_points": 63}, "n_points is 63"),
        (make_kuramoto_sivashinsky, {"length": 100.0}, "n_points is 64"),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[..., SimulatedDynamics], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_counts_must_be_integers() -> None:
    with pytest.raises(TypeError, match=r"n_steps is 10\.0 of type float"):
        make_lorenz63(2, 10.0)  # type: ignore[arg-type]
