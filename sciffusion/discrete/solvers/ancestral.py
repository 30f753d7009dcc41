"""The ancestral step: every site from its exact reverse law.

Equal in law to the "analytic" or "Tweedie" step of concrete-score samplers; for masks it reveals tokens drawn
from the denoiser with the exact probability of the step. The baseline that other solvers are measured by.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sciffusion.discrete.solvers.base import SiteSolver, TokenState

__all__ = ["Ancestral"]


class Ancestral(SiteSolver):
    r"""Draws each site from :math:`p(x_s^l \mid x_t)`; one evaluation a step.

    Its total variation error falls as one over the number of steps, since all that it neglects is the
    dependence of sites that change in the same step.
    """

    nfe = 1

    def log_probabilities(self, prediction: Any, process: Any, state: TokenState, t_next: Tensor) -> Tensor:
        """Return the exact reverse law of each site (see `SiteSolver.log_probabilities`)."""
        law: Tensor = prediction.reverse_log_probabilities(process, state, t_next)
        return law
