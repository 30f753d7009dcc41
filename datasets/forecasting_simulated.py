r"""Simulated chaotic systems of few variables: Lorenz-63 and coupled FitzHugh-Nagumo units.

All trajectories are integrated at once by the classical Runge-Kutta method of order 4: with the step
:math:`\delta` and the right-hand side :math:`f`,

.. math::

    z' = z + \tfrac\delta6 (k_1 + 2 k_2 + 2 k_3 + k_4), \quad
    k_1 = f(z),\; k_2 = f(z + \tfrac\delta2 k_1),\; k_3 = f(z + \tfrac\delta2 k_2),\; k_4 = f(z + \delta k_3).

Starting states are drawn at random and integrated for a *burn-in* that is thrown away, so that trajectories
begin on the attractor. There is no noise: all spread between forecasts comes from what the forecaster does
not know.

A *Lyapunov time* is the time in which two nearby trajectories part by a factor e. For the default parameters
it was measured with this integrator (by the growth of a small difference that is rescaled every few steps,
Benettin et al., Meccanica 15:9-20, 1980).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

__all__ = ["SimulatedDynamics", "make_fitzhugh_nagumo", "make_lorenz63"]

FloatArray = NDArray[np.float64]
RandomState = int | np.random.RandomState | None

_LORENZ = {"sigma": 10.0, "rho": 28.0, "beta": 8.0 / 3.0}
_FITZHUGH_NAGUMO = {"a": -0.025794, "b1": 0.0065, "b2": 0.0135, "c": 0.02, "k": 0.128}


@dataclass(frozen=True, eq=False)
class SimulatedDynamics:
    """Trajectories of a dynamical system.

    Parameters
    ----------
    values : ndarray of shape (n_trajectories, n_steps, dim)
        States, equally spaced in time; float64.
    times : ndarray of shape (n_steps,)
        From 0, in the units of the equations.
    channels : tuple of str
        Names of the dim variables.
    parameters : mapping of str to float
        Parameters of the equations.
    periodic : bool
        Whether the variables are the values of a field at equally spaced points of a circle.
    lyapunov_time : float or None
        In the units of `times`; None where it is not known for these parameters.
    """

    values: FloatArray
    times: FloatArray
    channels: tuple[str, ...]
    parameters: Mapping[str, float]
    periodic: bool = False
    lyapunov_time: float | None = None

    @property
    def step(self) -> float:
        """Time between two states."""
        return float(self.times[1] - self.times[0])


def make_lorenz63(
    n_trajectories: int = 4000,
    n_steps: int = 60,
    *,
    step: float = 0.1,
    substeps: int = 10,
    burn_in: float = 25.0,
    sigma: float = _LORENZ["sigma"],
    rho: float = _LORENZ["rho"],
    beta: float = _LORENZ["beta"],
    initial: ArrayLike | None = None,
    random_state: RandomState = None,
) -> SimulatedDynamics:
    r"""Simulate the system of Lorenz.

    .. math:: \dot x = \sigma (y - x), \qquad \dot y = x (\rho - z) - y, \qquad \dot z = x y - \beta z .

    Parameters
    ----------
    n_trajectories, n_steps : int >= 1, >= 2
        Number of trajectories and of states in each.
    step : float > 0
        Time between two states. One turn around a wing takes about 0.75.
    substeps : int >= 1
        Integration steps between two states.
    burn_in : float >= 0
        Time integrated before the first state.
    sigma, rho, beta : float
        Parameters; chaotic at the defaults, with the Lyapunov time 1.104.
    initial : array-like of shape (n, 3), optional
        First states, used as they are: no draws, no burn-in, and `n_trajectories` is n.
    random_state : int, RandomState or None
        Seed of the starting states.

    Returns
    -------
    SimulatedDynamics
        With the variables x, y, z.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.

    References
    ----------
    Lorenz, *Deterministic Nonperiodic Flow*, Journal of the Atmospheric Sciences 20:130-141, 1963.
    """
    parameters = {"sigma": float(sigma), "rho": float(rho), "beta": float(beta)}

    def field(state: FloatArray) -> FloatArray:
        x, y, z = state
        return np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    check_simulation(n_trajectories, n_steps, step, substeps, burn_in, parameters)
    start = given_states(initial, 3)
    if start is None:
        draws = check_random_state(random_state).standard_normal((n_trajectories, 3))
        start = np.array([0.0, 0.0, 25.0]) + 5.0 * draws
        start = _advance(field, start.T, step / substeps, burn_in).T
    values = _trajectories(field, start, n_steps, step, substeps)
    known = 1.104 if parameters == _LORENZ else None
    return SimulatedDynamics(values, times_of(n_steps, step), ("x", "y", "z"), parameters, False, known)


def make_fitzhugh_nagumo(
    n_trajectories: int = 500,
    n_steps: int = 400,
    *,
    step: float = 10.0,
    substeps: int = 20,
    burn_in: float = 4000.0,
    a: float = _FITZHUGH_NAGUMO["a"],
    b1: float = _FITZHUGH_NAGUMO["b1"],
    b2: float = _FITZHUGH_NAGUMO["b2"],
    c: float = _FITZHUGH_NAGUMO["c"],
    k: float = _FITZHUGH_NAGUMO["k"],
    initial: ArrayLike | None = None,
    random_state: RandomState = None,
) -> SimulatedDynamics:
    r"""Simulate two coupled excitable units of FitzHugh and Nagumo, which rarely spike together.

    .. math:: \dot x_i = x_i (a - x_i)(x_i - 1) - y_i + k (x_j - x_i), \qquad \dot y_i = b_i x_i - c y_i,
       \qquad (i, j) = (1, 2), (2, 1).

    Small chaotic oscillations are interrupted now and then by a spike of both units, in which the mean of
    x1 and x2 rises above 0.6: about once in 10000 units of time, so in 1 to 4 % of windows of 100 to 400.

    Parameters
    ----------
    n_trajectories, n_steps : int >= 1, >= 2
        Number of trajectories and of states in each.
    step : float > 0
        Time between two states. A small oscillation takes about 60.
    substeps : int >= 1
        Integration steps between two states; with steps of 2 units of time the spikes never come.
    burn_in : float >= 0
        Time integrated before the first state.
    a, b1, b2, c, k : float
        Parameters; chaotic at the defaults, with the Lyapunov time 138.
    initial : array-like of shape (n, 4), optional
        First states, used as they are: no draws, no burn-in, and `n_trajectories` is n.
    random_state : int, RandomState or None
        Seed of the starting states.

    Returns
    -------
    SimulatedDynamics
        With the variables x1, x2, y1, y2.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.

    References
    ----------
    Ansmann, Karnatak, Lehnertz and Feudel, *Extreme events in excitable systems and mechanisms of their
    generation*, Physical Review E 88:052911, 2013; the parameters as in Finzi et al., arXiv 2306.07526.
    """
    parameters = {"a": float(a), "b1": float(b1), "b2": float(b2), "c": float(c), "k": float(k)}
    rates = np.array([[b1], [b2]])

    def field(state: FloatArray) -> FloatArray:
        x, y = state[:2], state[2:]
        return np.concatenate([x * (a - x) * (x - 1.0) - y + k * (x[::-1] - x), rates * x - c * y])

    check_simulation(n_trajectories, n_steps, step, substeps, burn_in, parameters)
    start = given_states(initial, 4)
    if start is None:
        draws = check_random_state(random_state).standard_normal((n_trajectories, 4))
        start = np.array([0.1, 0.1, 0.01, 0.01]) * draws
        start = _advance(field, start.T, step / substeps, burn_in).T
    values = _trajectories(field, start, n_steps, step, substeps)
    names = ("x1", "x2", "y1", "y2")
    known = 138.0 if parameters == _FITZHUGH_NAGUMO else None
    return SimulatedDynamics(values, times_of(n_steps, step), names, parameters, False, known)


def _runge_kutta(field: Callable[[FloatArray], FloatArray], state: FloatArray, delta: float) -> FloatArray:
    first = field(state)
    second = field(state + 0.5 * delta * first)
    third = field(state + 0.5 * delta * second)
    fourth = field(state + delta * third)
    return state + delta / 6.0 * (first + 2.0 * (second + third) + fourth)


def _advance(
    field: Callable[[FloatArray], FloatArray], state: FloatArray, delta: float, duration: float
) -> FloatArray:
    for _ in range(round(duration / delta)):
        state = _runge_kutta(field, state, delta)
    return state


def _trajectories(
    field: Callable[[FloatArray], FloatArray], start: FloatArray, n_steps: int, step: float, substeps: int
) -> FloatArray:
    """Return the states (n, n_steps, dim) from starting states (n, dim)."""
    values = np.empty((len(start), n_steps, start.shape[1]))
    values[:, 0] = start
    state = np.ascontiguousarray(start.T)
    for number in range(1, n_steps):
        for _ in range(substeps):
            state = _runge_kutta(field, state, step / substeps)
        values[:, number] = state.T
    return values


def check_simulation(
    n_trajectories: int,
    n_steps: int,
    step: float,
    substeps: int,
    burn_in: float,
    parameters: Mapping[str, float],
) -> None:
    """Refuse sizes and parameters that cannot be used (see `make_lorenz63`)."""
    counts = {"n_trajectories": (n_trajectories, 1), "n_steps": (n_steps, 2), "substeps": (substeps, 1)}
    for name, (count, low) in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise TypeError(f"{name} is {count!r} of type {type(count).__name__}, expected an integer")
        if count < low:
            raise ValueError(f"{name} is {count}, expected an integer >= {low}")
    if not (np.isfinite(step) and step > 0.0):
        raise ValueError(f"step is {step}, expected a finite number above 0")
    if not (np.isfinite(burn_in) and burn_in >= 0.0):
        raise ValueError(f"burn_in is {burn_in}, expected a finite number of at least 0")
    for name, value in parameters.items():
        if not np.isfinite(value):
            raise ValueError(f"{name} is {value}, expected a finite number")


def times_of(n_steps: int, step: float) -> FloatArray:
    """Return the times of equally spaced states, from 0."""
    return np.float64(step) * np.arange(n_steps, dtype=np.float64)


def given_states(initial: ArrayLike | None, dim: int) -> FloatArray | None:
    """Return the given starting states as an array (n, dim), or None if there are none."""
    if initial is None:
        return None
    states = np.array(initial, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] != dim or not len(states) or not np.isfinite(states).all():
        raise ValueError(f"initial has shape {states.shape}, expected (n, {dim}) finite numbers, n >= 1")
    return states
