r"""A finite data set as the law of the data: what a perfectly trained network memorises.

For atoms :math:`a_n` of weights :math:`w_n`

.. math::
   r_n \propto w_n \exp\left(-\tfrac12 \left|\frac{x - \alpha a_n}{\sigma}\right|^2\right), \qquad
   E[x_0|x] = \sum_n r_n a_n, \qquad \operatorname{Cov}(x_0|x) = \sum_n r_n (a_n - D)(a_n - D)^\top .

Without noise a value belongs to its nearest atom.  Items and atoms are worked through in blocks, so that data
sets of millions of atoms fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from sciffusion.exact.line import LineMixture
from sciffusion.exact.target import ExactTarget

__all__ = ["EmpiricalTarget"]

#: Stands for a level of 0: its squared inverse is finite, and overwhelms every weight.
_NO_NOISE = 1e-100


class EmpiricalTarget(ExactTarget):
    """Finite set of data vectors.

    Parameters
    ----------
    atoms : Tensor
        Shape ``(count, dim)``.
    weights : Tensor, optional
        Shape ``(count,)``, positive; normalised to sum 1.  Equal by default.
    block : int, default 4_194_304
        Largest number of values in one temporary array.
    """

    def __init__(self, atoms: Tensor, weights: Tensor | None = None, block: int = 1 << 22) -> None:
        if atoms.ndim != 2 or atoms.shape[0] < 1:
            raise ValueError(f"atoms must have shape (count, dim), got {tuple(atoms.shape)}")
        self.atoms = atoms.to(torch.float64)
        self.dim = atoms.shape[1]
        given = torch.ones_like(self.atoms[:, 0]) if weights is None else weights.to(self.atoms)
        if given.shape != atoms.shape[:1] or not bool((given > 0.0).all()):
            raise ValueError(f"weights must be positive and of shape ({atoms.shape[0]},)")
        self.weights = given / given.sum()
        self.block = block

    @property
    def device(self) -> torch.device:
        """Where the target computes: where its atoms lie."""
        return self.atoms.device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors with replacement (see `ExactTarget.draw`)."""
        # By quantiles: torch.multinomial takes at most 2^24 categories.
        place = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
        index = torch.searchsorted(self.weights.cumsum(0), place.to(self.device))
        return self.atoms[index.clamp_max(self.atoms.shape[0] - 1)]

    def posterior_weights(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the posterior probability of each atom, shape ``(..., count)`` (not in blocks)."""
        joint = self._log_joint(*_rows(x, alpha, sigma))
        return torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True)).reshape(*x.shape[:-1], -1)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        return torch.cat([share @ self.atoms for share in self._shares(x, alpha, sigma)]).reshape(x.shape)

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)`` (see `ExactTarget.posterior_variance`)."""
        # Around a point near the posterior, where the two moments do not cancel.
        centre = self.posterior_mean(x, alpha, sigma).reshape(-1, self.dim)
        parts, start = [], 0
        for share in self._shares(x, alpha, sigma):
            middle = centre[start : start + share.shape[0]]
            start += share.shape[0]
            parts.append(self._second_moment(share, middle))
        return torch.cat(parts).reshape(x.shape)

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        parts = []
        for share in self._shares(x, alpha, sigma):
            off = self.atoms - (share @ self.atoms)[:, None]
            parts.append((share[..., None] * off).mT @ off)
        return torch.cat(parts).reshape(*x.shape, self.dim)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`).

        Raises
        ------
        ValueError
            Where there is no noise, and hence no density.
        """
        if not bool((sigma > 0.0).all()):
            raise ValueError("a finite data set has no density without noise; ask for it at sigma > 0")
        rows = _rows(x, alpha, sigma)
        parts = [torch.logsumexp(self._log_joint(*block), -1) for block in self._item_blocks(*rows)]
        constant = (0.5 * math.log(2.0 * math.pi) + rows[2].log()).sum(-1)
        return (torch.cat(parts) - constant).reshape(x.shape[:-1])

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow, known in one dimension only (see `ExactTarget.flow`)."""
        if self.dim != 1:
            raise ValueError(f"the flow of atoms is known in one dimension only, these have {self.dim}")
        line = LineMixture(self.weights, self.atoms[:, 0], torch.zeros_like(self.weights))
        old_alpha, old_sigma = (level.expand(x.shape) for level in old)
        new_alpha, new_sigma = (level.expand(x.shape).clamp_min(_NO_NOISE) for level in new)
        return line.flow(x, (old_alpha, old_sigma), (new_alpha, new_sigma))

    def _shares(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Iterator[Tensor]:
        """Yield the posterior probabilities of the atoms, a block of items at a time."""
        for block in self._item_blocks(*_rows(x, alpha, sigma)):
            joint = self._log_joint(*block)
            yield torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True))

    def _item_blocks(self, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        size = max(1, self.block // self.atoms.shape[0])
        for start in range(0, rows[0].shape[0], size):
            yield tuple(row[start : start + size] for row in rows)

    def _log_joint(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log weights plus the log likelihoods up to a constant, shape ``(items, count)``."""
        inverse = 1.0 / sigma.clamp_min(_NO_NOISE)
        size = max(1, self.block // x.numel())
        parts = []
        for start in range(0, self.atoms.shape[0], size):
            white = (x[:, None] - alpha[:, None] * self.atoms[start : start + size]) * inverse[:, None]
            parts.append(-0.5 * torch.linalg.vecdot(white, white))
        return torch.cat(parts, -1) + self.weights.log()

    def _second_moment(self, share: Tensor, centre: Tensor) -> Tensor:
        size = max(1, self.block // centre.numel())
        total = torch.zeros_like(centre)
        for start in range(0, self.atoms.shape[0], size):
            off = self.atoms[start : start + size] - centre[:, None]
            total = total + (share[:, start : start + size, None] * off**2).sum(-2)
        return total


def _rows(x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and levels as rows of equal shape ``(items, dim)``."""
    dim = x.shape[-1]
    return x.reshape(-1, dim), alpha.expand(x.shape).reshape(-1, dim), sigma.expand(x.shape).reshape(-1, dim)
