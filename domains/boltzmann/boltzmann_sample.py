"""What a draw of weighted configurations consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import check_integer
from sciffusion.sampling import systematic_resample

__all__ = ["BoltzmannSample"]


@dataclass(frozen=True, eq=False)
class BoltzmannSample:
    r"""Weighted configurations of a law :math:`\propto p^\gamma e^r`, and how well the weights did.

    Particles of one system interact (weights, control, resampling); systems are independent of each other,
    and each has the same total weight.

    Parameters
    ----------
    configurations : ndarray of shape (n, atoms, dimensions), float32
        In the unit of length of the training data; those of a system follow each other.
    log_weights : ndarray of shape (n,), float64
        Weights of one system sum to its share of the whole, all to 1; constant for ``control="guidance"``.
    ess : ndarray of shape (steps, systems)
        Effective particles over the number of particles, in (0, 1], after each step and before resampling;
        empty without weights. Read the smallest: the last may look healthy after a collapse.
    ancestors : ndarray of shape (n,), int64
        Number of the particle of the start, within its system, from which each descends.
    resamplings : ndarray of shape (systems,), int64
    log_normaliser : ndarray of shape (systems,)
        Estimates of :math:`\log\int p^\gamma e^r` in nats, in units of length of the data.
    log_normaliser_error : float
        Standard error of the mean over systems; from the genealogy where there is one system.
    temperature : float
        Of the law drawn from, and `kT`, its thermal energy in the units of the estimator.
    kT : float
    gamma : float
        Temperature of the training data over this one.
    nfe : int
        Evaluations of the score a particle.
    reflected_share : float or None
        Share of draws that were mirror images and were reflected; None where no hand was asked for.
    variances : ndarray of shape (steps, 2, systems)
        Variance over the particles of the rate at which weights grow, without the control and with it.
    """

    configurations: NDArray[np.float32]
    log_weights: NDArray[np.float64]
    ess: NDArray[np.float64]
    ancestors: NDArray[np.int64]
    resamplings: NDArray[np.int64]
    log_normaliser: NDArray[np.float64]
    log_normaliser_error: float
    temperature: float
    kT: float  # noqa: N815 - the field's own symbol
    gamma: float
    nfe: int
    reflected_share: float | None = None
    variances: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2, 0)))

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self.configurations)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights of shape ``(n,)`` that sum to 1."""
        shifted = np.exp(self.log_weights - self.log_weights.max())
        normalised: NDArray[np.float64] = shifted / shifted.sum()
        return normalised

    @property
    def effective_sample_size(self) -> float:
        """Equally weighted draws that the final weights are worth; says nothing about shared ancestors."""
        return float(1.0 / np.square(self.weights).sum())

    @property
    def unique_ancestors(self) -> int:
        """Particles of the starts with living descendants, over all systems."""
        systems = len(self.log_normaliser)
        if systems == 0:
            return len(self)
        edges = [len(self) * number // systems for number in range(1, systems)]
        return sum(len(np.unique(part)) for part in np.split(self.ancestors, edges))

    @property
    def free_energy_difference(self) -> float:
        r"""Free energy of the law drawn from minus that of the training data, in the units of the estimator.

        :math:`F = -kT \log\int e^{-U/kT}dx` over centred configurations, U with the extra potential if there
        is one; momenta are left out. It is :math:`-kT` times the mean of `log_normaliser`. Between
        temperatures it depends on the unit of length, by :math:`(kT_0 - kT) D` times its logarithm.
        """
        return float(-self.kT * self.log_normaliser.mean()) if len(self.log_normaliser) else float("nan")

    @property
    def free_energy_error(self) -> float:
        """Standard error of `free_energy_difference`, without biases of the model or of the steps."""
        return float(self.kT * self.log_normaliser_error)

    def resampled(self, n: int | None = None, *, random_state: Any = 0) -> NDArray[np.float32]:
        """Return configurations without weights, drawn in proportion to them (with repetitions).

        Parameters
        ----------
        n : int, optional
            How many; as many as there are by default.
        random_state : int, RandomState or None
            Makes the draw reproducible.

        Raises
        ------
        TypeError, ValueError
            For numbers of draws below 1, and for another `random_state`.
        """
        n = None if n is None else check_integer("n", n, low=1)
        plain = isinstance(random_state, int | np.integer)
        generator = torch.Generator().manual_seed(int(random_state) if plain else integer_seed(random_state))
        chosen = systematic_resample(torch.from_numpy(self.log_weights), generator, n)
        drawn: NDArray[np.float32] = self.configurations[chosen.numpy()]
        return drawn
