"""Clusters of particles in harmonic wells, of which everything is known in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Trigonometric
from sciffusion.domains.boltzmann import BoltzmannDiffusion
from sciffusion.networks.egnn import centre

ATOMS = 3
PATH = Trigonometric()


class Harmonic:
    """The law N(0, v) on centred positions, v by dimension."""

    def __init__(self, *variances: float) -> None:
        self.variances = torch.tensor(variances, dtype=torch.float64)

    def _noisy(self, t: Tensor) -> Tensor:
        c = PATH.coefficients(t)
        return c.alpha**2 * self.variances + c.sigma**2

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        return -x / self._noisy(t).to(x)

    def divergence(self, x: Tensor, t: Tensor) -> Tensor:
        return (-(ATOMS - 1) / self._noisy(t).to(x)).sum().expand(len(x))

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        noisy = self._noisy(t).to(x)
        logs = (2.0 * math.pi * noisy).log().sum() * (ATOMS - 1)
        return -0.5 * (centre(x).square() / noisy).flatten(1).sum(1) - 0.5 * logs

    def model(self, **settings: Any) -> BoltzmannDiffusion:
        given: dict[str, Any] = {
            "path": PATH, "atoms": ATOMS, "dimensions": len(self.variances), "temperature": 2.0,
            "divergence": self.divergence, "log_density": self.log_density, "nfe": 60, "particles": 200,
            "device": "cpu",
        }  # fmt: skip
        return BoltzmannDiffusion.from_score(self.score, **{**given, **settings})

    def log_normaliser(self, gamma: float, stiffness: float = 0.0) -> float:
        """Return the log of the integral of p^gamma exp(-stiffness |x|^2 / 2)."""
        precision = gamma / self.variances + stiffness
        logs = -gamma * (2.0 * math.pi * self.variances).log() + (2.0 * math.pi / precision).log()
        return 0.5 * (ATOMS - 1) * float(logs.sum())


@pytest.fixture(scope="session")
def harmonic() -> type[Harmonic]:
    """Return the class of harmonic laws of three particles."""
    return Harmonic
