r"""From survival times to a scale on which diffusion is easy, and back.

`RankTransform` (the default recipe). With :math:`F` the distribution function of the observed times
(events and censorings alike), a time :math:`T` becomes

.. math::
   z = \Phi^{-1}(u), \qquad u \sim U\bigl(F(T-), F(T)\bigr),

which is exactly standard normal over the training rows, whatever ties there are: a spike, such as everybody
followed to the same last day, fills the interval of ranks that belongs to it.  Back, :math:`z` becomes the
observed time whose interval holds :math:`\Phi(z)`, so generated times are always observed times: never
negative, never beyond the follow-up, and tied where the data are tied.

`LogTransform` (the published recipe, arXiv 2605.22776): the standardised logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["LogTransform", "RankTransform"]

Floats = NDArray[np.float64]


class RankTransform:
    """Randomised normal ranks of the observed times.

    Parameters
    ----------
    support : ndarray of float64
        Distinct observed times, increasing.
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

    def atoms_of_times(self, times: Floats) -> NDArray[np.int64]:
        """Return the place of each time in the support, that of the next smaller one if it is not in it."""
        return np.maximum(np.searchsorted(self.support, times, side="right") - 1, 0)

    def atoms_of_values(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the place in the support of each transformed value, any shape."""
        places = np.searchsorted(self.upper, ndtr(np.asarray(values, dtype=np.float64)), side="left")
        return np.minimum(places, len(self.support) - 1)

    def midpoints(self) -> Floats:
        """Return the transformed value at the middle of each time's interval of ranks."""
        return np.asarray(ndtri(0.5 * (self.lower + self.upper)), dtype=np.float64)

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
