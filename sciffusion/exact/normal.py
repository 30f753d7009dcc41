r"""Normal laws under a Gaussian path, one or a batch of them (the components of a mixture).

For :math:`x_0 \sim N(m, C)` with eigenvalues :math:`v_j`, the noisy values have mean :math:`\alpha m` and
eigenvalues :math:`V_j = \alpha^2 v_j + \sigma^2`.  In the eigenspaces, with :math:`z = x - \alpha m`,

.. math::
   E[x_0|x] = m + \frac{\alpha v}{V} z, \qquad
   \operatorname{Var}(x_0|x) = \frac{v\sigma^2}{V}, \qquad
   \nabla\log p(x) = -\frac{z}{V}, \qquad
   z' = \sqrt{V'/V}\, z

(the last along the probability flow).  With levels that differ between correlated coordinates the matrix form
:math:`E[x_0|x] = m + C A (A C A + S^2)^{-1}(x - A m)` takes over; at coordinates without noise it conditions
on their values exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.exact.eigenspaces import DiagonalSpaces, Eigenspaces, IsotropicSpaces

__all__ = ["NormalLaws"]


@dataclass(frozen=True, eq=False)
class NormalLaws:
    """Normal laws of data vectors, seen through a Gaussian path.

    Values and levels have shapes that broadcast against the batch axes: ``(..., dim)`` for one law and
    ``(..., 1, dim)`` for a batch of them.

    Parameters
    ----------
    mean : Tensor
        Shape ``(*batch, dim)``, float64.
    spaces : Eigenspaces
        Of the covariances, with the same batch axes.
    """

    mean: Tensor
    spaces: Eigenspaces

    @property
    def covariance(self) -> Tensor:
        """Covariance matrices, shape ``(*batch, dim, dim)``."""
        return self.spaces.matrix(self.spaces.variances)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``E[x0 | x]``, shape ``(..., *batch, dim)``."""
        centred = x - alpha * self.mean
        spaces = self._spaces(alpha, sigma)
        if spaces is None:
            factor = torch.linalg.cholesky(self._noisy_covariance(alpha, sigma))
            solved = torch.cholesky_solve(centred[..., None], factor)
            return self.mean + ((self.covariance * alpha[..., None, :]) @ solved)[..., 0]
        return self.mean + spaces.apply(_gain(spaces, alpha, sigma), centred)

    def averaged_mean(self, share: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the average of `posterior_mean` over a batch axis, weighted by shares ``(..., batch)``."""
        spaces = self._spaces(alpha, sigma)
        if isinstance(spaces, IsotropicSpaces):
            # One product of matrices, and nothing of size items x batch x dim.
            gain = _gain(spaces, alpha, sigma)[..., 0]
            lead = share * (1.0 - alpha[..., 0] * gain)
            return lead @ self.mean + (share * gain).sum(-1, keepdim=True) * x[..., 0, :]
        return (share[..., None] * self.posterior_mean(x, alpha, sigma)).sum(-2)

    def mean_spread(self, share: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the average over a batch axis of ``|D_k - D|^2``, the spread of the posterior means.

        Parameters
        ----------
        share : Tensor
            Shape ``(..., batch)``, of sum 1.
        x, alpha, sigma : Tensor
            As for `posterior_mean`.

        Returns
        -------
        Tensor
            Shape ``(...)``.
        """
        spaces = self._spaces(alpha, sigma)
        gain = _gain(spaces, alpha, sigma) if isinstance(spaces, IsotropicSpaces) else None
        if gain is None or gain.numel() > self.mean.shape[0]:
            means = self.posterior_mean(x, alpha, sigma)
            off = means - (share[..., None] * means).sum(-2, keepdim=True)
            distances: Tensor = torch.linalg.vecdot(off, off)
            return (share * distances).sum(-1)
        # D_k = a_k + g_k x, and the spread is half the sum over pairs of r_k r_l |D_k - D_l|^2: products of
        # small matrices, and only differences of the a_k and of the g_k, so that nothing cancels.
        gain = gain.reshape(-1)
        lead = self.mean * (1.0 - alpha.reshape(()) * gain)[:, None]
        gaps = ((lead[:, None] - lead) ** 2).sum(-1)
        point = x[..., 0, :]
        off_gain = share * (gain - (share * gain).sum(-1, keepdim=True))
        cross = ((off_gain @ lead) * point).sum(-1)
        bend = (off_gain * gain).sum(-1) * (point**2).sum(-1)
        return 0.5 * ((share @ gaps) * share).sum(-1) + 2.0 * cross + bend

    def posterior_variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the diagonal of ``Cov(x0 | x)``; it does not depend on ``x``, and broadcasts against it."""
        spaces = self._spaces(alpha, sigma)
        if spaces is None:
            return self.posterior_covariance(x, alpha, sigma).diagonal(dim1=-2, dim2=-1)
        return spaces.diagonal(_left(spaces, alpha, sigma))

    def posterior_covariance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``Cov(x0 | x)``, which broadcasts against ``(..., *batch, dim, dim)``."""
        spaces = self._spaces(alpha, sigma)
        if spaces is None:
            gain = self.covariance * alpha[..., None, :]
            factor = torch.linalg.cholesky(self._noisy_covariance(alpha, sigma))
            return self.covariance - gain @ torch.cholesky_solve(gain.mT, factor)
        return spaces.matrix(_left(spaces, alpha, sigma))

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the log density of noisy values, shape ``(..., *batch)``."""
        constant = 0.5 * self.mean.shape[-1] * math.log(2.0 * math.pi)
        spaces = self._spaces(alpha, sigma)
        exponent: Tensor | None
        if spaces is None:
            factor = torch.linalg.cholesky(self._noisy_covariance(alpha, sigma))
            centred = (x - alpha * self.mean)[..., None]
            solved: Tensor = torch.linalg.solve_triangular(factor, centred, upper=False)
            log_std = factor.diagonal(dim1=-2, dim2=-1).log()
            exponent = (solved[..., 0] ** 2).sum(-1)
            log_volume: Tensor = log_std.sum(-1)
        else:
            total = alpha**2 * spaces.variances + sigma**2
            exponent = self._round_exponent(x, alpha, total)
            if exponent is None:
                exponent = spaces.squared_norm(1.0 / total, x - alpha * self.mean)
            log_volume = 0.5 * (spaces.multiplicity * total.log()).sum(-1)
        return -(0.5 * exponent + log_volume + constant)

    def _round_exponent(self, x: Tensor, alpha: Tensor, total: Tensor) -> Tensor | None:
        """Return ``|x - alpha m_k|^2 / V_k`` of round components by one product of matrices.

        None where the laws are no batch of round ones, or where the terms of the expanded square would cancel
        by more than 1e-11 of the exponent's unit.
        """
        if self.mean.ndim != 2 or x.shape[-2:-1] != (1,) or alpha.ndim == 0:
            return None
        if not isinstance(self.spaces, IsotropicSpaces) or total.shape[-1] > 1:
            return None
        middle = self.mean.mean(0)
        off, level = self.mean - middle, alpha[..., 0, :]
        point = x[..., 0, :] - level * middle
        near, far = (point * point).sum(-1, keepdim=True), (off * off).sum(-1)
        rounding = torch.finfo(x.dtype).eps * (near.max() + level.max() ** 2 * far.max())
        if not bool(rounding <= 1e-11 * total.min()):
            return None
        return (near - 2.0 * level * (point @ off.mT) + level**2 * far) / total[..., 0]

    def score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the gradient of the log density of noisy values, shape ``(..., *batch, dim)``."""
        centred = x - alpha * self.mean
        spaces = self._spaces(alpha, sigma)
        if spaces is None:
            factor = torch.linalg.cholesky(self._noisy_covariance(alpha, sigma))
            return -torch.cholesky_solve(centred[..., None], factor)[..., 0]
        return -spaces.apply(1.0 / (alpha**2 * spaces.variances + sigma**2), centred)

    def averaged_score(self, share: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the average of `score` over a batch axis, weighted by shares ``(..., batch)``."""
        spaces = self._spaces(alpha, sigma)
        if isinstance(spaces, IsotropicSpaces):
            precise = share / (alpha**2 * spaces.variances + sigma**2)[..., 0]
            pull = (alpha[..., 0] * precise if alpha.ndim else alpha * precise) @ self.mean
            return pull - precise.sum(-1, keepdim=True) * x[..., 0, :]
        return (share[..., None] * self.score(x, alpha, sigma)).sum(-2)

    def score_divergence(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the Laplacian of the log density, shape ``(..., *batch)``; it does not depend on ``x``."""
        spaces = self._spaces(alpha, sigma)
        if spaces is None:
            factor = torch.linalg.cholesky(self._noisy_covariance(alpha, sigma))
            return -torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1).sum(-1)
        return -(spaces.multiplicity / (alpha**2 * spaces.variances + sigma**2)).sum(-1)

    def flow(self, x: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
        """Return where the probability flow takes ``x`` from levels ``(alpha, sigma)`` to other ones."""
        spaces = self._spaces(*old, *new)
        if spaces is None:
            raise ValueError("the flow of correlated coordinates is known for one level an item only")
        before, after = (alpha**2 * spaces.variances + sigma**2 for alpha, sigma in (old, new))
        return new[0] * self.mean + spaces.apply(torch.sqrt(after / before), x - old[0] * self.mean)

    def mean_posterior_variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ``tr Cov(x0 | x) / dim`` at scalar levels, shape ``batch``."""
        left = _left(self.spaces, alpha, sigma)
        return (self.spaces.multiplicity * left).sum(-1) / self.mean.shape[-1]

    def _spaces(self, *levels: Tensor) -> Eigenspaces | None:
        """Return spaces on which the levels act as numbers, or None where only matrices do."""
        one_level = all(level.ndim == 0 or level.shape[-1] == 1 for level in levels)
        if one_level or isinstance(self.spaces, DiagonalSpaces):
            return self.spaces
        if isinstance(self.spaces, IsotropicSpaces):
            dim = self.mean.shape[-1]
            return DiagonalSpaces(dim, self.spaces.diagonal(self.spaces.variances))
        return None

    def _noisy_covariance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        scaled = alpha[..., :, None] * self.covariance * alpha[..., None, :]
        return scaled + torch.diag_embed(sigma**2)


def _gain(spaces: Eigenspaces, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return ``alpha v / V``, and 0 for a coordinate that is constant and without noise."""
    total = alpha**2 * spaces.variances + sigma**2
    return torch.where(total > 0.0, alpha * spaces.variances / total, 0.0)


def _left(spaces: Eigenspaces, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return ``v sigma^2 / V``, what is left of the eigenvalues once the noisy value is known."""
    total = alpha**2 * spaces.variances + sigma**2
    return torch.where(total > 0.0, spaces.variances * sigma**2 / total, 0.0)
