"""An exact denoiser of tokens made imperfect in a known way."""

from __future__ import annotations

from typing import Any

import torch

from sciffusion.discrete import DiscreteDenoiser, DiscretePrediction, DiscreteProcess

__all__ = ["ImperfectTokenDenoiser"]


class ImperfectTokenDenoiser:
    r"""A denoiser with a fixed error, as a network has one, which can be followed exactly.

    The leave-one-out law of every site is multiplied by :math:`e^{\varepsilon g_l(y)}` with
    :math:`g_l(y) = \sin \sum_{i \ne l} w_{i, x_i, l, y}` and standard normal w, so the error depends on the
    other sites, not on the own one, and no joint law has these conditionals.

    Parameters
    ----------
    denoiser : DiscreteDenoiser
        What is made worse.
    strength : float
        :math:`\varepsilon`; 0 changes nothing.
    length : int
        Number of sites.
    generator : torch.Generator
        Draws w once.
    """

    def __init__(
        self, denoiser: DiscreteDenoiser, strength: float, length: int, generator: torch.Generator
    ) -> None:
        process = denoiser.path
        self.denoiser, self.strength, self.length = denoiser, strength, length
        shape = (length, process.state_size, length, process.vocab_size)
        weights = torch.randn(shape, generator=generator, dtype=torch.float64)
        weights[torch.arange(length), :, torch.arange(length)] = 0.0
        self._weights = weights

    @property
    def path(self) -> DiscreteProcess:
        """The process."""
        return self.denoiser.path

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        """Predict with the error."""
        exact = self.denoiser(state, condition, cache).to("loo", self.path, state)
        angle = torch.stack([self._weights[k][state.x[..., k]] for k in range(self.length)]).sum(0)
        return DiscretePrediction(exact.log_probabilities + self.strength * torch.sin(angle), "loo")
