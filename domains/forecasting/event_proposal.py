r"""Where an event lies in the space of white noise: Gaussian laws to draw from, mixed.

At a point w the values of the events are linearised, :math:`r(w') \approx r + J (w' - w)` with r the
functions minus their right-hand sides. For standard normal w' they are normal with mean :math:`m = r - J w`
and covariance :math:`K = J J^\top`, and given the events the law of w' is approximated by the Gaussian that
expectation propagation finds, whose factors have precisions T and shifts :math:`\nu`:

.. math:: \bar w = J^\top (I + T K)^{-1} (\nu - T m), \qquad \Sigma = (I + J^\top T J)^{-1} .

An equality with noise of deviation :math:`\eta` is the factor :math:`T = \eta^{-2}, \nu = 0`, so linear
equalities are met exactly; a single inequality gets the moments of a truncated normal law. Linearising again
at :math:`\bar w` finds where nonlinear events lie, from several starts where they lie apart.

The draws come from the mixture of such Gaussians, each twice, with the precisions T of inequalities divided
by 3 and by 20 (tails must be covered; equalities need less), and of the plain law :math:`N(0, I)` with a
share of a tenth, which bounds the weights :math:`N(w; 0, I) / q(w)` by 10.

Minka, *Expectation Propagation for Approximate Bayesian Inference*, UAI 2001; Owen and Zhou, *Safe and
Effective Importance Sampling*, JASA 95, 2000. Their use in the space of a flow's noise is a construction of
this library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Linearised", "Mixture", "matched_factors"]

_SWEEPS = 25
_DAMPING = 0.6
_LOOSENED = (3.0, 20.0)  # what the precisions of inequalities are divided by in the proposals
_LOOSENED_EQUAL = (1.2, 6.0)  # and those of equalities, whose factors are exact
_LONGEST = 15.0  # no proposal is centred farther out: there the probability is below 1e-50


@dataclass(frozen=True, eq=False)
class Linearised:
    """Values of events, linearised.

    Attributes
    ----------
    mean : Tensor of shape (..., k)
        At w = 0.
    jacobian : Tensor of shape (..., k, dim)
    """

    mean: Tensor
    jacobian: Tensor

    @classmethod
    def at(cls, point: Tensor, gaps: Tensor, jacobian: Tensor) -> Linearised:
        """Linearise at points of shape (..., dim) where the values are `gaps`."""
        return cls(gaps - (jacobian @ point[..., None])[..., 0], jacobian)

    @property
    def covariance(self) -> Tensor:
        """Of the values, for standard normal noise."""
        return self.jacobian @ self.jacobian.mT


def matched_factors(linear: Linearised, signs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return centre and precisions of the Gaussian that stands for the law of the noise given the events.

    Parameters
    ----------
    linear : Linearised
    signs, noise : Tensor of shape (k,)
        1, -1 and 0 for ``>``, ``<`` and ``==``; deviation of the noise of each.

    Returns
    -------
    centre : Tensor of shape (..., dim)
    precisions : Tensor of shape (..., k)
    """
    mean, kernel = linear.mean, linear.covariance
    usual = kernel.diagonal(dim1=-2, dim2=-1)
    floor = 1e-12 + 1e-8 * (usual + mean**2)  # where an event does not depend on the noise
    kernel = kernel + torch.diag_embed(floor)
    equal = (signs == 0.0).expand(mean.shape)
    precision = torch.where(equal, 1.0 / noise.clamp_min(1e-150) ** 2, 0.0)
    shift = torch.zeros_like(mean)
    for sweep in range(_SWEEPS if mean.shape[-1] > 1 else 1):
        centre, covariance = _posterior(mean, kernel, precision, shift)
        new_precision, new_shift = _factor(centre, covariance, precision, shift, signs, noise, floor)
        step = 1.0 if mean.shape[-1] == 1 or sweep == 0 else _DAMPING
        precision = torch.where(equal, precision, precision + step * (new_precision - precision))
        shift = torch.where(equal, shift, shift + step * (new_shift - shift))
    gain = _gain(kernel, precision)
    pull = shift - precision * mean
    pull = pull - (gain @ (kernel @ pull[..., None]))[..., 0]
    centre = (linear.jacobian.mT @ pull[..., None])[..., 0]
    length = centre.norm(dim=-1, keepdim=True)
    return centre * (_LONGEST / length.clamp_min(_LONGEST)), precision


def _root_and_inverse(kernel: Tensor, precision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the roots of T, the inverse of B = I + T^(1/2) K T^(1/2), and the log determinant of B."""
    root = precision.clamp_min(0.0).sqrt()
    inner = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    inner = inner + root[..., :, None] * kernel * root[..., None, :]
    factor = torch.linalg.cholesky(inner)
    log_determinant = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return root, torch.cholesky_inverse(factor), log_determinant


def _gain(kernel: Tensor, precision: Tensor) -> Tensor:
    """Return (K + T^-1)^-1, also where T is 0."""
    root, inverse, _ = _root_and_inverse(kernel, precision)
    return root[..., :, None] * inverse * root[..., None, :]


def _posterior(mean: Tensor, kernel: Tensor, precision: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variances of the values given the factors."""
    gain = _gain(kernel, precision)
    covariance = kernel - kernel @ gain @ kernel
    centre = mean + (covariance @ (shift - precision * mean)[..., None])[..., 0]
    return centre, covariance.diagonal(dim1=-2, dim2=-1)


def _factor(
    centre: Tensor, variance: Tensor, precision: Tensor, shift: Tensor, signs: Tensor, noise: Tensor,
    floor: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the factors that give each value the moments of its own truncated normal law."""
    variance = torch.maximum(variance, floor * 1e-3)
    rest = 1.0 / torch.maximum(1.0 / variance - precision, 1e-9 / variance)
    cavity = rest * (centre / variance - shift)
    total = rest + noise**2
    z = signs * cavity / total.sqrt()
    hazard = math.sqrt(2.0 / math.pi) / torch.special.erfcx(-z / math.sqrt(2.0))
    first = signs * hazard / total.sqrt()
    second = -hazard * (z + hazard) / total
    left = (1.0 + rest * second).clamp_min(1e-9)
    return (-second / left).clamp_min(0.0), (first - cavity * second) / left


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of the plain law, first, and of Gaussians, for each series.

    Attributes
    ----------
    centre : Tensor of shape (series, parts, dim)
    jacobian : Tensor of shape (series, parts, k, dim)
    precision : Tensor of shape (series, parts, k)
        Of the directions in `jacobian`; 0 for the plain law.
    """

    centre: Tensor
    jacobian: Tensor
    precision: Tensor

    @classmethod
    def around(cls, centre: Tensor, jacobian: Tensor, precision: Tensor, signs: Tensor) -> Mixture:
        """Return the mixture of the module's text: parts 1 and 2 around the first centre, and so on."""
        times = len(_LOOSENED)
        divisor = torch.where(
            signs == 0.0,
            precision.new_tensor(_LOOSENED_EQUAL)[:, None],
            precision.new_tensor(_LOOSENED)[:, None],
        )
        loosened = precision[:, :, None] / divisor
        loosened = loosened.flatten(1, 2)
        plain = [torch.zeros_like(part[:, :1]) for part in (centre, jacobian, loosened)]
        return cls(
            torch.cat([plain[0], centre.repeat_interleave(times, 1)], 1),
            torch.cat([plain[1], jacobian.repeat_interleave(times, 1)], 1),
            torch.cat([plain[2], loosened], 1),
        )

    def draw(self, part: Tensor, white: Tensor, more: Tensor) -> Tensor:
        """Return draws from given parts.

        Parameters
        ----------
        part : Tensor of int64, shape (series, draws)
        white, more : Tensor of shape (series, draws, dim) and (series, draws, k)
            Independent standard normal numbers.
        """
        root, inverse, _ = _root_and_inverse(self.jacobian @ self.jacobian.mT, self.precision)
        series = torch.arange(len(part), device=part.device)[:, None]
        jacobian = self.jacobian[series, part]
        seen = root[series, part] * (jacobian @ white[..., None])[..., 0] + more
        pull = root[series, part] * (inverse[series, part] @ seen[..., None])[..., 0]
        return self.centre[series, part] + white - (jacobian.mT @ pull[..., None])[..., 0]

    def log_ratios(self, points: Tensor) -> Tensor:
        """Return the log densities of all parts over that of the plain law.

        Parameters
        ----------
        points : Tensor of shape (series, draws, dim)

        Returns
        -------
        Tensor of shape (series, draws, parts)
        """
        _, _, log_determinant = _root_and_inverse(self.jacobian @ self.jacobian.mT, self.precision)
        along = torch.einsum("snd,smkd->snmk", points, self.jacobian)
        along = along - (self.jacobian @ self.centre[..., None])[:, None, :, :, 0]
        inner = torch.einsum("snd,smd->snm", points, self.centre) - 0.5 * (self.centre**2).sum(-1)[:, None]
        bent = 0.5 * (self.precision[:, None] * along**2).sum(-1)
        return inner - bent + 0.5 * log_determinant[:, None]
