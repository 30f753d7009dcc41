r"""Mixtures of Gaussians of any dimension.

With weights :math:`w_k` and components :math:`N(m_k, C_k)`, responsibilities
:math:`r_k \propto w_k N(x; \alpha m_k, \alpha^2 C_k + \sigma^2 I)` and component posteriors
:math:`N(D_k, P_k)`,

.. math::
   E[x_0|x] = \sum_k r_k D_k, \qquad
   \operatorname{Cov}(x_0|x) = \sum_k r_k \left[P_k + (D_k - D)(D_k - D)^\top\right] .

In one dimension the probability flow keeps quantiles: :math:`x' = F_{t'}^{-1}(F_t(x))`, solved by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.target import ExactTarget

__all__ = ["GaussianMixtureTarget"]


class GaussianMixtureTarget(ExactTarget):
    """Mixture of normal laws.

    Parameters
    ----------
    weights : Tensor
        Shape ``(components,)``, positive; normalised to sum 1.
    components : sequence of GaussianTarget
        Of one dimension, as many as weights.
    """

    def __init__(self, weights: Tensor, components: Sequence[GaussianTarget]) -> None:
        if weights.ndim != 1 or len(components) != weights.shape[0]:
            raise ValueError(
                f"weights must be a vector with one entry a component, got shape {tuple(weights.shape)} "
                f"for {len(components)} components"
            )
        if not bool((weights > 0.0).all()):
            raise ValueError("weights must be positive")
        if len({component.dim for component in components}) != 1:
            raise ValueError("components must have one dimension")
        self.weights = weights.to(torch.float64) / weights.to(torch.float64).sum()
        self.components = tuple(components)
        self.dim = components[0].dim

    @classmethod
    def from_stds(cls, weights: Sequence[float], means: Tensor, stds: Tensor) -> GaussianMixtureTarget:
        """Return a mixture with diagonal components.

        Parameters
        ----------
        weights : sequence of float
            One a component.
        means : Tensor
            Shape ``(components, dim)``, or ``(components,)`` for one dimension.
        stds : Tensor
            Standard deviations of the shape of ``means``.

        Returns
        -------
        GaussianMixtureTarget
            The mixture.
        """
        if means.shape != stds.shape:
            raise ValueError(f"means and stds must match, got {tuple(means.shape)} and {tuple(stds.shape)}")
        columns = (means.reshape(means.shape[0], -1), stds.reshape(stds.shape[0], -1))
        parts = [GaussianTarget.diagonal(std, mean) for mean, std in zip(*columns, strict=True)]
        return cls(torch.as_tensor(weights, dtype=torch.float64), parts)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors (see `ExactTarget.draw`)."""
        label = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        every = torch.stack([component.draw(count, generator) for component in self.components])
        return every[label, torch.arange(count)]

    def responsibilities(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the posterior probability of each component, shape ``(..., components)``."""
        joint = self._joint_log_density(x, alpha, sigma)
        # Not torch.softmax, which starts threads however small its input and then waits for them.
        return torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True))

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        share = self.responsibilities(x, alpha, sigma)
        return (share[..., None, :] * self._means(x, alpha, sigma)).sum(-1)

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        share = self.responsibilities(x, alpha, sigma)
        means = self._means(x, alpha, sigma)
        off = means - (share[..., None, :] * means).sum(-1, keepdim=True)
        between = (share[..., None, :] * off) @ off.mT
        within = [component.posterior_covariance(x, alpha, sigma) for component in self.components]
        return between + (share[..., None, None, :] * torch.stack(within, -1)).sum(-1)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`)."""
        return torch.logsumexp(self._joint_log_density(x, alpha, sigma), -1)

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow in one dimension, to about 1e-13 (see `ExactTarget.flow`)."""
        if self.dim != 1:
            raise ValueError(f"the flow of a mixture is known in one dimension only, this one has {self.dim}")
        below, above = self._tails(x, *old)
        reach = 40.0 * max(float(component.variances.sqrt().max()) + 1.0 for component in self.components)
        reach += max(float(component.mean.abs().max()) for component in self.components)
        low = torch.full_like(x, -reach) * (1.0 + new[1])
        high = -low
        for _ in range(100):
            middle = 0.5 * (low + high)
            lower, upper = self._tails(middle, *new)
            # The smaller of the two tails is the one without cancellation.
            rise = torch.where(below < above, lower < below, upper > above)
            low, high = torch.where(rise, middle, low), torch.where(rise, high, middle)
        return 0.5 * (low + high)

    def _tails(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above scalar values."""
        below, above = torch.zeros_like(x), torch.zeros_like(x)
        for weight, component in zip(self.weights, self.components, strict=True):
            white = (x - alpha * component.mean) / torch.sqrt(alpha**2 * component.variances + sigma**2)
            # torch.special.ndtr loses all digits beyond eight standard deviations.
            below = below + 0.5 * weight * torch.erfc(-white / math.sqrt(2.0))
            above = above + 0.5 * weight * torch.erfc(white / math.sqrt(2.0))
        return below, above

    def _joint_log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        logs = [component.log_density(x, alpha, sigma) for component in self.components]
        return torch.stack(logs, -1) + self.weights.log()

    def _means(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the component posterior means, shape ``(..., dim, components)``."""
        return torch.stack([part.posterior_mean(x, alpha, sigma) for part in self.components], -1)
