r"""The Kuramoto-Sivashinsky equation: a chaotic field on a circle.

.. math:: u_t = -u\,u_x - u_{xx} - u_{xxxx}, \qquad u(x + L, t) = u(x, t).

In Fourier space, with wave numbers :math:`q = 2\pi n / L`, the linear part is diagonal,

.. math:: \dot{\hat u}_q = (q^2 - q^4)\,\hat u_q + N_q, \qquad N = -\tfrac{iq}{2}\,\widehat{u^2},

and stiff. Exponential time differencing of order 4 (ETDRK4: Cox and Matthews, Journal of Computational
Physics 176:430-455, 2002) integrates it exactly and the rest by Runge-Kutta stages. With
:math:`c = q^2 - q^4` and the step :math:`\delta`,

.. math::

    A &= e^{c\delta/2} \hat u + Q\,N(\hat u), \quad B = e^{c\delta/2} \hat u + Q\,N(A), \quad
    C = e^{c\delta/2} A + Q\,(2 N(B) - N(\hat u)), \\
    \hat u' &= e^{c\delta} \hat u + f_1 N(\hat u) + 2 f_2 (N(A) + N(B)) + f_3 N(C),

where :math:`Q, f_1, f_2, f_3` are functions of :math:`c\delta` with removable singularities at 0. They are
evaluated as means over a circle in the complex plane around each :math:`c\delta` (Kassam and Trefethen, SIAM
Journal on Scientific Computing 26:1214-1233, 2005). Waves that decay within a step lower the order to about
3; the default step of .25 makes an error of 1e-4 in 4 units of time.

The mean of u never changes, and it is 0 here. The larger L, the more chaotic the field: below
:math:`2\pi` it dies out, at 22 it has a few active modes and the Lyapunov time 20.7, at :math:`32\pi`
many modes and the Lyapunov time 11.0 (measured with this scheme).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from .forecasting_simulated import (
    FloatArray,
    RandomState,
    SimulatedDynamics,
    check_simulation,
    given_states,
    times_of,
)

__all__ = ["make_kuramoto_sivashinsky"]

ComplexArray = NDArray[np.complex128]

_CONTOUR_POINTS = 32
_LYAPUNOV_TIMES = {22.0: 20.7, 32.0 * np.pi: 11.0}


def make_kuramoto_sivashinsky(
    n_trajectories: int = 200,
    n_steps: int = 500,
    *,
    length: float = 22.0,
    n_points: int = 64,
    step: float = 1.0,
    substeps: int = 4,
    burn_in: float = 200.0,
    initial: ArrayLike | None = None,
    random_state: RandomState = None,
) -> SimulatedDynamics:
    """Simulate the Kuramoto-Sivashinsky equation on a circle.

    Parameters
    ----------
    n_trajectories, n_steps : int >= 1, >= 2
        Number of trajectories and of fields in each.
    length : float > 0
        Circumference L of the circle.
    n_points : int >= 8
        Even number of equally spaced points; the spacing must be below 1 for the field to be resolved.
    step : float > 0
        Time between two fields.
    substeps : int >= 1
        Integration steps between two fields.
    burn_in : float >= 0
        Time integrated before the first field.
    initial : array-like of shape (n, n_points), optional
        First fields, used as they are: no draws, no burn-in, and `n_trajectories` is n.
    random_state : int, RandomState or None
        Seed of the starting fields.

    Returns
    -------
    SimulatedDynamics
        With the variables u0, u1, ..., the field at the points ``j * length / n_points``; `periodic` is True.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.
    """
    parameters = {"length": float(length)}
    check_simulation(n_trajectories, n_steps, step, substeps, burn_in, parameters)
    if length <= 0.0:
        raise ValueError(f"length is {length}, expected a number above 0")
    if n_points < 8 or n_points % 2 or length / n_points >= 1.0:
        raise ValueError(
            f"n_points is {n_points}, expected an even number of at least 8 and above length={length:g}"
        )
    scheme = _ExponentialScheme.of(length, n_points, step / substeps)
    start = given_states(initial, n_points)
    if start is None:
        spectrum = _smooth_start(n_trajectories, n_points, check_random_state(random_state))
        for _ in range(round(burn_in * substeps / step)):
            spectrum = scheme.advance(spectrum)
        start = np.fft.irfft(spectrum, n_points)
    values = np.empty((len(start), n_steps, n_points))
    values[:, 0] = start
    spectrum = np.fft.rfft(start)
    for number in range(1, n_steps):
        for _ in range(substeps):
            spectrum = scheme.advance(spectrum)
        values[:, number] = np.fft.irfft(spectrum, n_points)
    names = tuple(f"u{point}" for point in range(n_points))
    known = _LYAPUNOV_TIMES.get(parameters["length"])
    return SimulatedDynamics(values, times_of(n_steps, step), names, parameters, True, known)


class _ExponentialScheme(NamedTuple):
    """Coefficients of ETDRK4, one a wave number, and of the nonlinear term."""

    n_points: int
    full: FloatArray
    half: FloatArray
    stage: FloatArray
    first: FloatArray
    middle: FloatArray
    last: FloatArray
    derivative: ComplexArray

    @classmethod
    def of(cls, length: float, n_points: int, delta: float) -> _ExponentialScheme:
        wave = 2.0 * np.pi / length * np.arange(n_points // 2 + 1)
        linear = delta * (wave**2 - wave**4)
        circle = np.exp(1j * np.pi * (np.arange(_CONTOUR_POINTS) + 0.5) / _CONTOUR_POINTS)
        z = linear[:, None] + circle  # the upper half is enough: the lower gives the complex conjugates
        power = np.exp(z)

        def mean(values: ComplexArray) -> FloatArray:
            result: FloatArray = delta * values.mean(1).real
            return result

        derivative: ComplexArray = (-0.5j * wave).astype(np.complex128)
        derivative[-1] = 0.0  # the highest wave has no derivative that is real at the points
        return cls(
            n_points,
            np.exp(linear),
            np.exp(0.5 * linear),
            mean((np.exp(0.5 * z) - 1.0) / z),
            mean((-4.0 - z + power * (4.0 - 3.0 * z + z**2)) / z**3),
            mean((2.0 + z + power * (z - 2.0)) / z**3),
            mean((-4.0 - 3.0 * z - z**2 + power * (4.0 - z)) / z**3),
            derivative,
        )

    def nonlinear(self, spectrum: ComplexArray) -> ComplexArray:
        result: ComplexArray = self.derivative * np.fft.rfft(np.fft.irfft(spectrum, self.n_points) ** 2)
        return result

    def advance(self, spectrum: ComplexArray) -> ComplexArray:
        """Make one step, for spectra of shape (n, n_points / 2 + 1)."""
        start = self.nonlinear(spectrum)
        decayed = self.half * spectrum
        first = decayed + self.stage * start
        of_first = self.nonlinear(first)
        of_second = self.nonlinear(decayed + self.stage * of_first)
        of_third = self.nonlinear(self.half * first + self.stage * (2.0 * of_second - start))
        total = self.first * start + 2.0 * self.middle * (of_first + of_second) + self.last * of_third
        return self.full * spectrum + total


def _smooth_start(n_trajectories: int, n_points: int, generator: np.random.RandomState) -> ComplexArray:
    """Draw fields of the first few waves, of standard deviation about 1 and mean 0."""
    waves = 4
    parts = generator.standard_normal((2, n_trajectories, waves))
    spectrum = np.zeros((n_trajectories, n_points // 2 + 1), dtype=np.complex128)
    spectrum[:, 1 : waves + 1] = 0.5 * n_points / np.sqrt(2.0 * waves) * (parts[0] + 1j * parts[1])
    return spectrum
