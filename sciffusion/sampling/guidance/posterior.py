r"""Sampling a posterior: guidance by likelihoods with moment-matched clean data.

For readings :math:`y = A(x_0) + \sigma_y\eta` the score of :math:`p_t(x | y)` is that of :math:`p_t(x)` plus
:math:`q = \nabla_x\log p(y|x)`.  With :math:`x_0 | x \approx N(D, C)` and A linearised at D,

.. math:: q = \Bigl(\frac{\partial D}{\partial x}\Bigr)^{\!\top} A^\top S^{-1} (y - A(D)),
   \qquad S = \Sigma_y + A\,C A^\top ,

(the gradient through S is not taken) and the methods differ in C:

======= ============================================================ ==================== ==================
method  C                                                            exact for            backward passes
======= ============================================================ ==================== ==================
dps     0                                                            none                 1
pigdm   :math:`r_t^2 I`, :math:`r_t^2 = \frac{\sigma^2 c^2}          N(., c^2 I)          1
        {\sigma^2 + \alpha^2 c^2}`
tmpd    :math:`\frac{\sigma^2}{\alpha}\frac{\partial D}{\partial x}` Gaussian data        m, or 2 (row sums)
mmps    the same, S solved by conjugate gradients                    Gaussian data        iterations + 1
======= ============================================================ ==================== ==================

Passes are those through the denoiser; all methods take one evaluation.  For a variance-preserving path and
unit variance :math:`r_t^2 = 1 - \alpha^2`.  The clean estimate changes by :math:`C A^\top S^{-1} (y - A(D))`
with the exact C, which the backward passes give.

The *zeta form* of dps puts :math:`q = \zeta\,(\partial D/\partial x)^\top A^\top\Sigma_y^{-1/2}\,\rho /
\|\rho\|` with the residuals :math:`\rho = \Sigma_y^{-1/2}(y - A(D))` in units of their noise: a score of
fixed strength.  The paper subtracts a step of fixed size from the state instead, whose strength as a score
depends on the number of steps.

Row sums (``covariance="row_sums"``) replace :math:`A C A^\top` by the diagonal matrix of its row sums
:math:`A C A^\top 1`: exact if it is diagonal, and independent of the number of readings in cost.

What is exact and what is not: except for the cases above all methods are biased at any number of steps, since
:math:`x_0 | x` is not Gaussian.  dps takes the likelihood as too sharp and its samples have too little
spread; tmpd linearises across modes and puts too much weight between and on the wrong ones.
`sciffusion.diagnostics.posterior_spread` measures it.

Chung et al., *Diffusion Posterior Sampling for General Noisy Inverse Problems*, arXiv 2209.14687; Song et
al., *Pseudoinverse-Guided Diffusion Models for Inverse Problems*, ICLR 2023; Boys et al., *Tweedie Moment
Projected Diffusions for Inverse Problems*, arXiv 2310.06721; Rozet et al., *Learning Diffusion Priors from
Observations by Expectation Maximization*, arXiv 2405.13712 (mmps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.estimate import DifferentiableEstimate, gradients
from sciffusion.sampling.guidance.likelihood import Likelihood, StackedLikelihood
from sciffusion.sampling.guidance.linearisation import Linearisation, Moments, in_double

__all__ = ["PosteriorGuidance"]

Method = Literal["dps", "pigdm", "tmpd", "mmps"]


class PosteriorGuidance(Guidance):
    """Guidance towards the posterior given the readings of one or several instruments.

    Parameters
    ----------
    likelihoods : Likelihood or sequence of Likelihood
        Independent instruments; a list means the stacked operator.
    method : {"tmpd", "dps", "pigdm", "mmps"}, default "tmpd"
        See the table of the module.
    zeta : float, optional
        Strength of the zeta form of dps; None for its sigma form.
    data_std : float, default 1
        Standard deviation c of the clean data, for pigdm.
    covariance : {"full", "row_sums"}, default "full"
        How tmpd treats ``A C A^T``.
    iterations : int, default 5
        Of the conjugate gradients of mmps; as many as readings are exact.

    Raises
    ------
    TypeError
        For likelihoods of another type.
    ValueError
        For an unknown method or covariance, options of another method, or numbers that are not positive; in a
        run, for readings that are NaN or observations of another shape.
    """

    differentiates = True

    def __init__(
        self,
        likelihoods: Likelihood | Sequence[Likelihood],
        method: Method = "tmpd",
        *,
        zeta: float | None = None,
        data_std: float = 1.0,
        covariance: Literal["full", "row_sums"] = "full",
        iterations: int = 5,
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
        if covariance not in ("full", "row_sums"):
            raise ValueError(f"covariance must be 'full' or 'row_sums', got {covariance!r}")
        if zeta is not None and (method != "dps" or not (math.isfinite(zeta) and zeta > 0.0)):
            raise ValueError(
                f"zeta is a positive and finite strength of method 'dps', got {zeta} with {method!r}"
            )
        if covariance == "row_sums" and method != "tmpd":
            raise ValueError(f"covariance='row_sums' belongs to method 'tmpd', got {method!r}")
        if not data_std > 0.0 or iterations < 1:
            raise ValueError(f"data_std and iterations must be positive, got {data_std} and {iterations}")
        self.likelihood = StackedLikelihood(likelihoods)
        self.method = method
        self.zeta = zeta
        self.data_std = data_std
        self.covariance = covariance
        self.iterations = iterations

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`)."""
        with gradients():
            estimate = DifferentiableEstimate.of(denoiser, state, condition, cache)
            observed, noise = self.likelihood.observed(estimate.value.detach())
            methods: dict[str, Callable[[DifferentiableEstimate, Tensor, Tensor], Tensor]] = {
                "dps": self._point_mass,
                "pigdm": self._isotropic,
                "tmpd": self._moments if self.covariance == "full" else self._row_sums,
                "mmps": self._conjugate_gradients,
            }
            return estimate.moved(methods[self.method](estimate, observed, noise))

    def _point_mass(self, estimate: DifferentiableEstimate, observed: Tensor, noise: Tensor) -> Tensor:
        linear = Linearisation(self.likelihood.readings, estimate.value)
        white = (observed - linear.values) / noise
        if self.zeta is not None:
            length = white.norm(dim=-1, keepdim=True)
            white = self.zeta * white / length.clamp_min(torch.finfo(white.dtype).tiny)
        return estimate.covariance_times(linear.pull_back(white / noise))

    def _isotropic(self, estimate: DifferentiableEstimate, observed: Tensor, noise: Tensor) -> Tensor:
        linear = Linearisation(self.likelihood.readings, estimate.value)
        rows = linear.rows()
        wide = in_double((rows * estimate.gaussian_variance(self.data_std)[:, None]).flatten(2))
        spread = wide @ in_double(rows.flatten(2)).mT
        weights = _solve(spread, observed - linear.values, noise)
        return estimate.covariance_times(linear.pull_back(weights))

    def _moments(self, estimate: DifferentiableEstimate, observed: Tensor, noise: Tensor) -> Tensor:
        moments = Moments.of(self.likelihood.readings, estimate)
        return moments.correction(_solve(moments.covariance, observed - moments.mean, noise))

    def _row_sums(self, estimate: DifferentiableEstimate, observed: Tensor, noise: Tensor) -> Tensor:
        linear = Linearisation(self.likelihood.readings, estimate.value)
        column = estimate.covariance_times(linear.pull_back(torch.ones_like(observed)))
        spread = noise**2 + linear.push_forward(column).clamp_min(0.0)
        return estimate.covariance_times(linear.pull_back((observed - linear.values) / spread))

    def _conjugate_gradients(
        self, estimate: DifferentiableEstimate, observed: Tensor, noise: Tensor
    ) -> Tensor:
        linear = Linearisation(self.likelihood.readings, estimate.value)

        def whitened(weights: Tensor) -> Tensor:
            pushed = linear.push_forward(estimate.covariance_times(linear.pull_back(weights / noise)))
            return weights + pushed / noise

        weights = _conjugate_gradient(whitened, (observed - linear.values) / noise, self.iterations)
        return estimate.covariance_times(linear.pull_back(weights / noise))


def _solve(spread: Tensor, residual: Tensor, noise: Tensor) -> Tensor:
    """Return ``(Sigma_y + spread)^-1 residual``, with negative eigenvalues of the spread put to 0.

    In units of the noise the matrix is at least the identity, so it can be inverted for every denoiser.
    """
    noise = in_double(noise)
    white = spread / noise[..., None] / noise[..., None, :]
    values, vectors = torch.linalg.eigh(white)
    turned = (vectors.mT @ (in_double(residual) / noise)[..., None])[..., 0]
    solved = turned / (1.0 + values.clamp_min(0.0))
    weights: Tensor = (vectors @ solved[..., None])[..., 0] / noise
    return weights


def _conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, iterations: int) -> Tensor:
    """Solve ``product(w) = target`` item by item; items that are solved stay as they are.

    Every residual is made orthogonal to all before it: rounding would otherwise undo that and with it the end
    after as many iterations as readings, when their noise levels are far apart.
    """
    left = in_double(target)
    solution, direction = torch.zeros_like(left), left
    size = (left**2).sum(-1, keepdim=True)
    enough = size * torch.finfo(left.dtype).eps ** 2
    earlier: list[Tensor] = []
    for _ in range(iterations):
        image = in_double(product(direction.to(target)))
        curvature = (direction * image).sum(-1, keepdim=True)
        # A negative curvature shows a denoiser whose Jacobian is no covariance: stop before it.
        going = (size > enough) & (curvature > 0.0)
        step = torch.where(going, size / torch.where(going, curvature, 1.0), 0.0)
        earlier.append(left / torch.where(size > 0.0, size, 1.0).sqrt())
        solution, left = solution + step * direction, left - step * image
        for one in earlier:
            left = left - (one * left).sum(-1, keepdim=True) * one
        new = (left**2).sum(-1, keepdim=True)
        direction = left + torch.where(going, new / torch.where(going, size, 1.0), 0.0) * direction
        size = new
    return solution
