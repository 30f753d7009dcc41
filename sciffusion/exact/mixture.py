r"""Mixtures of Gaussians of any dimension.

With weights :math:`w_k` and components :math:`N(m_k, C_k)`, responsibilities
:math:`r_k \propto w_k N(x; \alpha m_k, \alpha^2 C_k + \sigma^2 I)` and component posteriors
:math:`N(D_k, P_k)`,

.. math::
   E[x_0|x] = \sum_k r_k D_k, \qquad
   \operatorname{Cov}(x_0|x) = \sum_k r_k \left[P_k + (D_k - D)(D_k - D)^\top\right] .

In one dimension the probability flow keeps quantiles: :math:`x' = F_{t'}^{-1}(F_t(x))`, solved by bisection.
So it does in more dimensions along the one coordinate in which independent coordinates of the components
differ, while all others follow their common normal law.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciffusion.exact.eigenspaces import DiagonalSpaces, IsotropicSpaces, stack_spaces
from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.line import LineMixture
from sciffusion.exact.normal import NormalLaws
from sciffusion.exact.observation import LinearObservation
from sciffusion.exact.target import ExactTarget

__all__ = ["GaussianMixtureTarget"]

#: Level of the noise below which the Laplacian by the posterior covariance loses digits.
_LITTLE_NOISE = 1e-2


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
        self.components = tuple(components)
        self.dim = components[0].dim
        self.laws = NormalLaws(
            torch.stack([component.mean for component in components]),
            stack_spaces([component.laws.spaces for component in components]),
        )
        wide = weights.to(self.laws.mean)
        self.weights = wide / wide.sum()

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
            Standard deviations of the shape of ``means``; equal ones within every row give round components.

        Returns
        -------
        GaussianMixtureTarget
            The mixture.
        """
        if means.shape != stds.shape:
            raise ValueError(f"means and stds must match, got {tuple(means.shape)} and {tuple(stds.shape)}")
        columns = (means.reshape(means.shape[0], -1), stds.reshape(stds.shape[0], -1))
        if bool((columns[1] == columns[1][:, :1]).all()):
            return cls.isotropic(weights, columns[0], columns[1][:, 0])
        parts = [GaussianTarget.diagonal(std, mean) for mean, std in zip(*columns, strict=True)]
        return cls(torch.as_tensor(weights, dtype=torch.float64), parts)

    @classmethod
    def isotropic(
        cls, weights: Sequence[float] | Tensor, means: Tensor, stds: Sequence[float] | Tensor
    ) -> GaussianMixtureTarget:
        """Return a mixture of round components (the cheapest form).

        Parameters
        ----------
        weights : sequence of float
            One a component.
        means : Tensor
            Shape ``(components, dim)``.
        stds : sequence of float
            Standard deviation of each component, the same in every direction.

        Returns
        -------
        GaussianMixtureTarget
            The mixture.
        """
        dim = means.shape[-1]
        parts = [
            GaussianTarget.isotropic(dim, float(std), mean) for std, mean in zip(stds, means, strict=True)
        ]
        return cls(torch.as_tensor(weights, dtype=torch.float64), parts)

    @property
    def device(self) -> torch.device:
        """Where the target computes: where the means of its components lie."""
        return self.laws.mean.device

    def observed(
        self, operator: Tensor, observation: Tensor, noise_std: Tensor | float
    ) -> GaussianMixtureTarget:
        """Return the exact law of the data given a noisy linear observation (see `GaussianTarget.observed`).

        Components whose posterior probability rounds to 0 are left out.
        """
        seen = LinearObservation(self.dim, operator, observation, noise_std)
        joint = self.weights.log() + seen.log_evidence(self.laws)
        share = torch.exp(joint - torch.logsumexp(joint, -1))
        left = [
            (weight, GaussianTarget.full(covariance, mean))
            for weight, mean, covariance in zip(share, *seen.posterior(self.laws), strict=True)
            if float(weight) > 0.0
        ]
        weights, components = zip(*left, strict=True)
        return GaussianMixtureTarget(torch.stack(weights), components)

    def log_evidence(self, operator: Tensor, observation: Tensor, noise_std: Tensor | float) -> Tensor:
        """Return the log density of an observation (arguments as for `observed`), a scalar."""
        seen = LinearObservation(self.dim, operator, observation, noise_std)
        return torch.logsumexp(self.weights.log() + seen.log_evidence(self.laws), -1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw data vectors (see `ExactTarget.draw`)."""
        weights = self.weights.to(generator.device)
        label = torch.multinomial(weights, count, replacement=True, generator=generator).to(self.device)
        white = self.white_noise(count, generator)
        every = self.laws.spaces.sample(white[:, None, :])
        return self.laws.mean[label] + every[torch.arange(count, device=self.device), label]

    def responsibilities(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the posterior probability of each component, shape ``(..., components)``."""
        joint = self._joint_log_density(x, alpha, sigma)
        # Not torch.softmax, which starts threads however small its input and then waits for them.
        return torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True))

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]`` (see `ExactTarget.posterior_mean`)."""
        share = self.responsibilities(x, alpha, sigma)
        return self.laws.averaged_mean(share, *_each(x, alpha, sigma))

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)`` (see `ExactTarget.posterior_variance`)."""
        share, off = self._shares_and_deviations(x, alpha, sigma)
        within = self.laws.posterior_variance(*_each(x, alpha, sigma))
        return (share[..., None] * (off**2 + within)).sum(-2)

    def posterior_trace(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the trace of ``Cov(x0 | x)`` (see `ExactTarget.posterior_trace`)."""
        share = self.responsibilities(x, alpha, sigma)
        within = self.laws.posterior_variance(*_each(x, alpha, sigma)).sum(-1)
        return (share * within).sum(-1) + self.laws.mean_spread(share, *_each(x, alpha, sigma))

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)`` (see `ExactTarget.posterior_covariance`)."""
        share, off = self._shares_and_deviations(x, alpha, sigma)
        between = (share[..., None] * off).mT @ off
        within = self.laws.posterior_covariance(*_each(x, alpha, sigma))
        return between + (share[..., None, None] * within).sum(-3)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values (see `ExactTarget.log_density`)."""
        return torch.logsumexp(self._joint_log_density(x, alpha, sigma), -1)

    def score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the gradient of the log density, also without noise (see `ExactTarget.score`)."""
        share = self.responsibilities(x, alpha, sigma)
        return self.laws.averaged_score(share, *_each(x, alpha, sigma))

    def score_divergence(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the Laplacian of the log density (see `ExactTarget.score_divergence`)."""
        if bool((sigma > _LITTLE_NOISE).all()):
            return super().score_divergence(x, alpha, sigma)
        # The average of what the components' own Laplacians are, and the spread of their scores.
        share = self.responsibilities(x, alpha, sigma)
        scores = self.laws.score(*_each(x, alpha, sigma))
        off = scores - (share[..., None] * scores).sum(-2, keepdim=True)
        own = self.laws.score_divergence(_component_axis(alpha), _component_axis(sigma))
        return (share * (own + (off**2).sum(-1))).sum(-1)

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return the probability flow to about 1e-13 (see `ExactTarget.flow`).

        Raises
        ------
        ValueError
            If components differ in more than one coordinate, or their coordinates are correlated.
        """
        if not isinstance(self.laws.spaces, IsotropicSpaces | DiagonalSpaces):
            raise ValueError("the flow of a mixture is not known where its components are correlated")
        spread = self.laws.spaces.diagonal(self.laws.spaces.variances)
        differs = ((self.laws.mean != self.laws.mean[0]) | (spread != spread[0])).any(0)
        if int(differs.sum()) > 1:
            raise ValueError(
                "the flow of a mixture is known where its components differ in one coordinate only; "
                f"these differ in {int(differs.sum())}"
            )
        moved = NormalLaws(self.laws.mean[0], DiagonalSpaces(self.dim, spread[0])).flow(x, old, new)
        if not bool(differs.any()):
            return moved
        line = LineMixture(self.weights, self.laws.mean[:, differs][:, 0], spread[:, differs][:, 0])
        levels = [level.expand(x.shape)[..., differs] for level in (*old, *new)]
        along = line.flow(x[..., differs], (levels[0], levels[1]), (levels[2], levels[3]))
        moved[..., differs] = along
        return moved

    def _joint_log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.laws.log_density(*_each(x, alpha, sigma)) + self.weights.log()

    def _shares_and_deviations(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the responsibilities, and what the components' means differ by from their average."""
        share = self.responsibilities(x, alpha, sigma)
        means = self.laws.posterior_mean(*_each(x, alpha, sigma))
        return share, means - (share[..., None] * means).sum(-2, keepdim=True)


def _each(x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give values and levels an axis for the components."""
    return x[..., None, :], _component_axis(alpha), _component_axis(sigma)


def _component_axis(level: Tensor) -> Tensor:
    return level if level.ndim == 0 else level[..., None, :]
