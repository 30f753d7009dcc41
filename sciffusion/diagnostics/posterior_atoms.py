r"""Atoms that stand for a prior, and the exact law of their noisy values given readings.

Equations: `sciffusion.diagnostics.posterior_spread`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciffusion.diagnostics.checks import as_samples

__all__ = ["PosteriorAtoms"]

#: Atoms below this share of the largest weight have no say.
NEGLIGIBLE = 1e-12
#: Distances held at a time.
CHUNK = 4_000_000


class PosteriorAtoms:
    """Atoms with their posterior weights: the exact law of noisy values given readings.

    Parameters
    ----------
    atoms : Tensor
        Shape ``(count, dim)``.
    log_likelihoods : Tensor
        ``log p(y | atom)`` up to a constant, shape ``(count,)``.
    labels : Tensor of int, optional
        The mode of each atom, from 0.
    are_draws : bool, default True
        Whether they are draws of the prior, with an error of their own, or the prior itself.

    Raises
    ------
    ValueError
        For likelihoods of another shape, NaN or all impossible, or labels of another shape.
    """

    def __init__(
        self, atoms: Tensor, log_likelihoods: Tensor, labels: Tensor | None = None, are_draws: bool = True
    ) -> None:
        atoms = as_samples(atoms, "atoms")
        log_weights = log_likelihoods.detach().to(atoms)
        if log_weights.shape != atoms.shape[:1] or bool(log_weights.isnan().any()):
            raise ValueError(
                f"the likelihood must give one number an atom, shape ({len(atoms)},), and no NaN; "
                f"got shape {tuple(log_weights.shape)}"
            )
        if not bool(log_weights.max().isfinite()):
            raise ValueError("the readings are impossible for every atom; use more atoms or check the noise")
        if labels is None:
            labels = torch.zeros(len(atoms), dtype=torch.long)
        if labels.shape != atoms.shape[:1] or labels.is_floating_point() or int(labels.min()) < 0:
            raise ValueError(f"labels must be integers from 0 of shape ({len(atoms)},), got {labels.dtype}")
        self.n_modes = int(labels.max()) + 1
        kept = log_weights > log_weights.max() + math.log(NEGLIGIBLE)
        self.atoms, self.labels = atoms[kept], labels.to(atoms.device)[kept]
        self.weights = torch.exp(log_weights[kept] - torch.logsumexp(log_weights[kept], 0))
        self.are_draws = are_draws
        self.mean = self.weights @ self.atoms
        self.squares = ((self.atoms - self.mean) ** 2).sum(-1)
        self.masses = torch.zeros(self.n_modes).to(atoms).index_add(0, self.labels, self.weights)

    @property
    def effective_count(self) -> float:
        """``1 / sum W^2``: equally weighted atoms that tell as much."""
        return float(1.0 / (self.weights**2).sum())

    def reference_variance(self, values: Tensor) -> Tensor:
        """Return the variance of the weighted mean of values ``(count, ...)`` due to finitely many atoms."""
        off = values - torch.tensordot(self.weights, values, 1)
        total: Tensor = torch.tensordot(self.weights**2, off**2, 1)
        return total if self.are_draws else torch.zeros_like(total)

    def mode_probabilities(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Return each state's probabilities of the modes, shape ``(n, n_modes)``; see the module."""
        if self.n_modes == 1:
            return x.new_ones(len(x), 1)
        width = max(sigma, 1e-6 * float(self.squares.max().sqrt()), torch.finfo(x.dtype).tiny)
        parts = []
        for part in torch.split(x, max(1, CHUNK // len(self.atoms))):
            logits = -0.5 * (torch.cdist(part, alpha * self.atoms) / width) ** 2 + self.weights.log()
            share = torch.exp(logits - torch.logsumexp(logits, -1, keepdim=True))
            parts.append(share.new_zeros(len(part), self.n_modes).index_add(1, self.labels, share))
        return torch.cat(parts)

    def draw(self, count: int, alpha: float, sigma: float, generator: torch.Generator) -> Tensor:
        """Draw noisy values from the exact law, float64 of shape ``(count, dim)``."""
        index = torch.multinomial(
            self.weights.to(generator.device), count, replacement=True, generator=generator
        )
        noise = torch.randn(
            count, self.atoms.shape[1], generator=generator, dtype=torch.float64, device=generator.device
        )
        return alpha * self.atoms[index.to(self.atoms.device)] + sigma * noise.to(self.atoms)
