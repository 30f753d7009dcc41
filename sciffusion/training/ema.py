r"""Running averages of network weights.

After update :math:`n = 1, 2, \dots` gave the weights :math:`\theta_n`, the average becomes

.. math:: \bar\theta_n = \beta_n \bar\theta_{n-1} + (1 - \beta_n) \theta_n .

* **Exponential** profile: :math:`\beta_n = \min(\beta, n / (n + 9))`. The warm-up lets the first averages
  follow the weights, so that the random start does not linger. A half-life of :math:`h` steps is
  :math:`\beta = 2^{-1/h}`.
* **Power** profile: :math:`\beta_n = (1 - 1/n)^{\gamma + 1}`. Telescoping gives :math:`\theta_i` the weight
  :math:`(i^{\gamma+1} - (i-1)^{\gamma+1}) / n^{\gamma+1} \propto i^\gamma`, at every :math:`n`: the width of
  the average grows with the length of training. Its standard deviation relative to :math:`n` is
  :math:`\sqrt{(\gamma + 1) / ((\gamma + 2)^2 (\gamma + 3))}`.

Averages are kept in float32, whatever the dtype of the network, on the device of its weights.

References
----------
T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila, S. Laine, "Analyzing and Improving the Training
Dynamics of Diffusion Models", arXiv:2312.02696 (power profile).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .options import TrainingOptions

__all__ = ["AverageProfile", "ExponentialProfile", "PowerProfile", "WeightAverage", "profile_of"]


class AverageProfile(Protocol):
    """How much of the old average update `n` keeps."""

    def decay(self, n_updates: int) -> float:
        """Return beta_n in [0, 1) for update `n_updates` >= 1."""
        ...


@dataclass(frozen=True)
class ExponentialProfile:
    """Exponential forgetting with a warm-up of the decay.

    Parameters
    ----------
    rate : float in [0, 1)
        The decay beta a step once the warm-up is over.
    """

    rate: float

    @classmethod
    def from_half_life(cls, steps: float) -> ExponentialProfile:
        """Return the profile in which a weight counts half after `steps` > 0 further steps."""
        return cls(2.0 ** (-1.0 / steps))

    def decay(self, n_updates: int) -> float:
        """Return min(rate, n / (n + 9))."""
        return min(self.rate, n_updates / (n_updates + 9.0))


@dataclass(frozen=True)
class PowerProfile:
    """Average in which step `i` counts in proportion to `i ** exponent` (arXiv:2312.02696).

    Parameters
    ----------
    exponent : float > -1
        The exponent gamma; 0 is the plain mean of all steps.
    """

    exponent: float

    @classmethod
    def from_relative_std(cls, relative_std: float) -> PowerProfile:
        """Return the profile whose width is `relative_std` (in (0, 0.2887)) times the number of steps.

        The exponent is the largest real root of
        g^3 + 7 g^2 + (16 - std^-2) g + (12 - std^-2) = 0.
        """
        precision = relative_std**-2
        roots = np.roots([1.0, 7.0, 16.0 - precision, 12.0 - precision])
        return cls(float(roots[np.isreal(roots)].real.max()))

    @property
    def relative_std(self) -> float:
        """Standard deviation of the profile, relative to the number of steps."""
        g = self.exponent
        return float(np.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3))))

    def decay(self, n_updates: int) -> float:
        """Return (1 - 1/n)^(exponent + 1)."""
        return float((1.0 - 1.0 / n_updates) ** (self.exponent + 1.0))


def profile_of(options: TrainingOptions) -> AverageProfile | None:
    """Return the profile that the options ask for, None where weights are not averaged."""
    if options.ema_decay is not None:
        return ExponentialProfile(options.ema_decay)
    if options.ema_half_life is not None:
        return ExponentialProfile.from_half_life(options.ema_half_life)
    if options.ema_relative_std is not None:
        return PowerProfile.from_relative_std(options.ema_relative_std)
    return None


class WeightAverage:
    """A running average of named tensors.

    Parameters
    ----------
    weights : mapping of str to Tensor
        The first value of the average, for example ``dict(network.named_parameters())``; copied.
    profile : AverageProfile
        The decays.
    """

    def __init__(self, weights: Mapping[str, Tensor], profile: AverageProfile) -> None:
        self.profile = profile
        self.n_updates = 0
        self.average = {name: _as_float32(value) for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Move the average towards `weights`, which must have the names and shapes of the first ones."""
        self.n_updates += 1
        share = 1.0 - self.profile.decay(self.n_updates)
        old = list(self.average.values())
        new = [weights[name].detach().to(torch.float32) for name in self.average]
        torch._foreach_lerp_(old, new, share)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs (the tensors are not copied)."""
        return {"n_updates": self.n_updates, "average": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; tensors keep the device they have here."""
        if state["average"].keys() != self.average.keys():
            raise ValueError("the state of the weight average belongs to a network with other parameters")
        self.n_updates = int(state["n_updates"])
        for name, value in self.average.items():
            value.copy_(state["average"][name])


def _as_float32(value: Tensor) -> Tensor:
    return value.detach().to(torch.float32, copy=True)
