r"""What a draw is asked for: a function, a property to be large, or values of properties.

========================================  ============================================================
``reward=``                               reward r of a molecule
========================================  ============================================================
a function of a list of molecules         what it returns
``"qed"``                                 the property itself
``{"qed": 0.9, "logp": (2.0, 0.5)}``      :math:`-\frac12\sum_i (p_i - v_i)^2 / w_i^2`, with values
                                          :math:`v_i` and tolerances :math:`w_i`
``("qed", 0.9)``                          the same for one property
========================================  ============================================================

Without a tolerance it is a quarter of the standard deviation over the training set for a property that the
model has learned (`y` of the fit), and otherwise that of `DEFAULT_TOLERANCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sciffusion.estimators.validation import check_choice, check_number

from .properties import PROPERTY_NAMES, property_values

__all__ = ["DEFAULT_TOLERANCES", "Method", "Target", "choose_method", "read_target"]

Method = Literal["auto", "cfg", "cbg", "fk"]
Floats = NDArray[np.float64]

#: A quarter of the spread among drug-like molecules, in the units of the properties.
DEFAULT_TOLERANCES = {"qed": 0.03, "logp": 0.25, "weight": 10.0, "tpsa": 5.0, "sa": 0.2}
_SPREADS = 0.25


@dataclass(frozen=True)
class Target:
    """What a draw is asked for.

    Parameters
    ----------
    function : callable, optional
        A reward of lists of molecules; the other fields are then empty.
    maximised : str, optional
        A property that is to be large.
    values, tolerances : mapping of str to float
        Values of properties, and how near they are wanted.
    """

    function: Callable[[list[Any]], Any] | None
    maximised: str | None
    values: Mapping[str, float]
    tolerances: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the properties."""
        return tuple(self.values) if self.maximised is None else (self.maximised,)

    def reward(self) -> Callable[[list[Any]], Any]:
        """Return the reward as a function of lists of RDKit molecules, or of what the function takes.

        Raises
        ------
        ValueError
            If a property is none that can be computed from the molecule.
        """
        if self.function is not None:
            return self.function
        unknown = [name for name in self.names if name not in PROPERTY_NAMES]
        if unknown:
            raise ValueError(
                f"the property {unknown[0]!r} cannot be computed from a molecule, so it cannot be steered "
                f"towards by method='fk'; known are {', '.join(PROPERTY_NAMES)}. Give a function as reward, "
                "or fit with this property as y and use method='cfg'"
            )
        return self._of_properties

    def _of_properties(self, molecules: Sequence[Any]) -> Floats:
        table = property_values(molecules, self.names)
        if self.maximised is not None:
            return np.asarray(table[:, 0])
        values = np.array([self.values[name] for name in self.names])
        tolerances = np.array([self.tolerances[name] for name in self.names])
        rewards: Floats = -0.5 * np.sum(((table - values) / tolerances) ** 2, axis=1)
        return rewards


def read_target(reward: Any, spreads: Mapping[str, float]) -> Target | None:
    """Read what ``reward=`` was given (see the module); None for None.

    Parameters
    ----------
    reward : object
        Function, name, pair or mapping.
    spreads : mapping of str to float
        Standard deviations of the properties that the model has learned.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, a value is no number, or a tolerance is missing or not positive.
    """
    if reward is None:
        return None
    if callable(reward):
        return Target(reward, None, {}, {})
    if isinstance(reward, str):
        return Target(None, reward, {}, {})
    if isinstance(reward, tuple) and len(reward) == 2 and isinstance(reward[0], str):
        reward = {reward[0]: reward[1]}
    if not isinstance(reward, Mapping) or not reward:
        raise TypeError(
            "reward must be a function of a list of molecules, the name of a property, or a mapping from "
            f"names of properties to values, got {reward!r:.80}"
        )
    values, tolerances = {}, {}
    for name, given in reward.items():
        value, tolerance = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
        values[str(name)] = check_number(f"the target of {name!r}", value)
        if tolerance is None:
            tolerance = _SPREADS * spreads[name] if name in spreads else DEFAULT_TOLERANCES.get(name)
        if tolerance is None:
            raise ValueError(f"the target of {name!r} needs a tolerance: {{{name!r}: (value, tolerance)}}")
        tolerances[str(name)] = check_number(f"the tolerance of {name!r}", tolerance, low=0.0, open_low=True)
    return Target(None, None, values, tolerances)


def choose_method(method: str, target: Target, learned: Sequence[str], can_guide: bool) -> str:
    """Return the method of a draw, "cfg", "cbg" or "fk".

    Parameters
    ----------
    method : {"auto", "cfg", "cbg", "fk"}
        "auto" conditions on values of properties that the model has learned, and steers otherwise.
    target : Target
        What is asked for.
    learned : sequence of str
        Properties that the model has learned.
    can_guide : bool
        Whether the model has a network of noisy molecules' properties.

    Raises
    ------
    ValueError
        If the method cannot do it, with the reason.
    """
    check_choice("method", method, get_args(Method))
    missing = [name for name in target.names if name not in learned]
    if method == "auto":
        return "cfg" if target.values and not missing else "fk"
    if method == "fk":
        return method
    if target.function is not None:
        raise ValueError(
            f"method={method!r} needs properties that the model has learned; use 'fk' for a function"
        )
    if missing:
        raise ValueError(
            f"method={method!r} needs {missing[0]!r} among the properties y of the fit, which were "
            f"{', '.join(learned) or 'none'}; method='fk' needs no such fit"
        )
    if method == "cfg" and target.maximised is not None:
        raise ValueError(
            f"method='cfg' needs a value: reward={{{target.maximised!r}: value}}; 'fk' and 'cbg' tilt"
        )
    if method == "cbg" and not can_guide:
        raise ValueError("method='cbg' needs a model fitted with property_network=True")
    return method
