r"""Units of energies, and the thermal energy :math:`k_B T` in them.

In reduced units :math:`k_B = 1`. Otherwise temperatures are in kelvin and :math:`k_B` is the exact value of
the International System of Units, 1.380649e-23 J/K, times Avogadro's number, in kJ/mol or kcal/mol
(thermochemical, 4.184 J).
"""

from __future__ import annotations

import math

__all__ = ["BOLTZMANN_CONSTANT", "thermal_energy"]

_KILOJOULE = 0.00831446261815324

#: By the name of the unit of energy.
BOLTZMANN_CONSTANT = {"reduced": 1.0, "kJ/mol": _KILOJOULE, "kcal/mol": _KILOJOULE / 4.184}


def thermal_energy(temperature: float, units: str) -> float:
    """Return Boltzmann's constant times the temperature.

    Parameters
    ----------
    temperature : float > 0
        In reduced units, or in kelvin.
    units : {"reduced", "kJ/mol", "kcal/mol"}
        Unit of energy.

    Returns
    -------
    float
        In `units`.

    Raises
    ------
    ValueError
        For other units, or a temperature that is not positive and finite.
    """
    if units not in BOLTZMANN_CONSTANT:
        raise ValueError(f"units must be one of {', '.join(BOLTZMANN_CONSTANT)}, got {units!r}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return BOLTZMANN_CONSTANT[units] * temperature
