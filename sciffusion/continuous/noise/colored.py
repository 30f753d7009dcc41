r"""Coloured noise in stochastic sampling, with the drift matched to it.

For any symmetric positive semi-definite operator :math:`C_t` the reverse process

.. math:: dx = (u - w\,C s)\,dt + \sqrt{2w}\,C^{1/2}\,d\bar W

(time running down, u the probability-flow velocity, s the score) has the same marginals as the probability
flow, because :math:`-\nabla\cdot(p\,w C\nabla\log p) + \nabla\cdot(w C\nabla p) = 0`.  The operator stands in
**both** places.  With different strengths for different elements, as with times of their own, the step uses
:math:`\operatorname{diag}(\sqrt w)\,C\operatorname{diag}(\sqrt w)` in both, which is positive semi-definite,
too.

`ColoredNoise` does this by default.  ``match_drift=False`` colours the noise alone and leaves the drift as it
is for white noise, which is the rule of Davidson, Issachar and Benaim, *Colored Noise Sampling*, arXiv
2605.30332.  That rule is **biased**: with the exact score it converges, as the steps get shorter, to another
spectrum than that of the data (`benchmarks/core_noise.py` measures by how much).

Operators are scaled to mean eigenvalue 1, a deterministic number; dividing by the empirical standard
deviation of a batch, as published, would make an item's noise depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sciffusion.continuous.noise.operators import LinearOperator
from sciffusion.continuous.noise.source import NoiseSource, WhiteNoise
from sciffusion.continuous.path import as_times

__all__ = ["ColoredNoise", "noise_of_fixed_drift"]


class ColoredNoise:
    """Noise of a given covariance, to which `EulerMaruyama` and `StochasticHeun` match their drift.

    Other stochastic solvers do not look at the covariance and would be biased with it.

    Parameters
    ----------
    covariance : LinearOperator or callable
        The covariance, or a function that gives it from a time (a float64 scalar).  Where elements have
        different times it is asked for at the largest.
    match_drift : bool, default True
        Multiply the score in the drift by the covariance as well, which leaves the law of the samples
        unbiased.  False gives the published, biased rule.
    normalise : bool, default True
        Scale the covariance to mean eigenvalue 1, so that it changes where noise goes and not how much there
        is.
    white : NoiseSource, optional
        Where the white noise comes from that is then coloured; `WhiteNoise` by default, `BrownianTree` for
        noise that does not depend on the steps.
    """

    def __init__(
        self,
        covariance: LinearOperator | Callable[[Tensor], LinearOperator],
        match_drift: bool = True,
        normalise: bool = True,
        white: NoiseSource | None = None,
    ) -> None:
        if not (isinstance(covariance, LinearOperator) or callable(covariance)):
            raise TypeError(
                "covariance must be a LinearOperator or a function from a time to one, got "
                f"{type(covariance).__name__}"
            )
        self.covariance = covariance
        self.match_drift = match_drift
        self.normalise = normalise
        self.white = WhiteNoise() if white is None else white

    def operator(self, t: Tensor | float) -> LinearOperator:
        """Return the covariance of the noise of a step that starts at times ``t``."""
        given = self.covariance
        covariance = given if isinstance(given, LinearOperator) else given(as_times(t).max())
        return covariance.normalised() if self.normalise else covariance

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Return noise of the covariance at the start of the step (see `NoiseSource.draw`)."""
        return self.operator(t).apply(self.white.draw(like, generator, t, t_next), 0.5)


def noise_of_fixed_drift(noise: NoiseSource | None, solver: str) -> NoiseSource:
    """Return the noise of a solver whose drift belongs to white noise; None gives white noise.

    Raises
    ------
    ValueError
        For coloured noise that asks for a drift matched to it, which the named solver does not have.
    """
    if isinstance(noise, ColoredNoise) and noise.match_drift:
        raise ValueError(
            f"{solver} cannot match its drift to coloured noise, so its samples would be biased; use "
            "EulerMaruyama or StochasticHeun, or ColoredNoise(match_drift=False) if the bias is wanted"
        )
    return WhiteNoise() if noise is None else noise
