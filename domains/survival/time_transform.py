r"""From survival times to a scale on which diffusion is easy, and back.

`RankTransform` (the default recipe). With :math:`F` the distribution function of the training times, a time
:math:`T` becomes

.. math::
   z = \Phi^{-1}(u), \qquad u \sim U\bigl(F(T-), F(T)\bigr),

which is exactly standard normal over these times, whatever ties there are: a spike, such as everybody
followed to the same last day, fills the interval of ranks that belongs to it.  Back, :math:`z` becomes the
observed time whose interval holds :math:`\Phi(z)`, so generated times are always observed times: never
negative, never beyond the follow-up, and tied where the data are tied.

`LogTransform` (the published recipe, arXiv 2605.22776): the standardised logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["LogTransform", "RankTransform"]

Floats = NDArray[np.float64]


class RankTransform:
    """Randomised normal ranks of times.

    Parameters
    ----------
    support : ndarray of float64
        Distinct training times, increasing.
    upper : ndarray of float64
        Their distribution function, increasing to 1.
    """

    def __init__(self, support: Floats, upper: Floats) -> None:
        self.support = support
        self.upper = upper
        self.lower = np.concatenate([[0.0], upper[:-1]])

    @classmethod
    def learn(cls, times: Floats, weights: Floats) -> RankTransform:
        """Learn the distribution function from times and positive weights, each of shape ``(n,)``."""
        support, place = np.unique(times, return_inverse=True)
        mass = np.bincount(place, weights=weights, minlength=len(support))
        upper = np.cumsum(mass) / mass.sum()
        upper[-1] = 1.0
        return cls(support, upper)

    def intervals(self, times: Floats) -> tuple[Floats, Floats]:
        """Return both ends of the interval of ranks of each time, which must be in the support."""
        places = np.searchsorted(self.support, times)
        return self.lower[places], self.upper[places]

    def inverse(self, values: NDArray[Any]) -> Floats:
        """Return the time of each transformed value, any shape."""
        places = np.searchsorted(self.upper, ndtr(np.asarray(values, dtype=np.float64)), side="left")
        times: Floats = self.support[np.minimum(places, len(self.support) - 1)]
        return times

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as JSON-able values."""
        return {"support": self.support.tolist(), "upper": self.upper.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RankTransform:
        """Rebuild a transform from `to_dict`."""
        return cls(np.asarray(values["support"]), np.asarray(values["upper"]))


class LogTransform:
    """Standardised log times.

    Parameters
    ----------
    mean, std : float
        Of the log times.
    smallest : float
        Time put in place of zeros, in the unit of the times.
    """

    def __init__(self, mean: float, std: float, smallest: float) -> None:
        self.mean, self.std, self.smallest = mean, std, smallest

    @classmethod
    def learn(cls, times: Floats, weights: Floats) -> LogTransform:
        """Learn from non-negative times of which at least one is positive."""
        positive = times[times > 0.0]
        smallest = 0.5 * float(positive.min()) if len(positive) else 1.0
        logs = np.log(np.maximum(times, smallest))
        mean = float(np.average(logs, weights=weights))
        std = float(np.sqrt(np.average((logs - mean) ** 2, weights=weights)))
        return cls(mean, std if std > 1e-8 else 1.0, smallest)

    def forward(self, times: Floats) -> Floats:
        """Return the standardised log times."""
        return np.asarray((np.log(np.maximum(times, self.smallest)) - self.mean) / self.std)

    def inverse(self, values: NDArray[Any]) -> Floats:
        """Return the times of standardised logs, any shape; overflow is cut at the largest float."""
        logs = np.asarray(values, dtype=np.float64) * self.std + self.mean
        return np.exp(np.minimum(logs, 700.0))

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as JSON-able values."""
        return {"mean": self.mean, "std": self.std, "smallest": self.smallest}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LogTransform:
        """Rebuild a transform from `to_dict`."""
        return cls(**values)
