r"""Reflected diffusion: data between two bounds, noise that is thrown back at them.

Brownian motion on :math:`[0, 1]` that is reflected at both ends and has gathered the variance v is a free one
folded back into the interval.  Its transition density has two forms,

.. math::
   p_v(y | x) = \sum_{n} \bigl[N(y; 2n + x, v) + N(y; 2n - x, v)\bigr]
   = 1 + 2 \sum_{k \ge 1} e^{-k^2 \pi^2 v / 2} \cos(k \pi x) \cos(k \pi y),

images (few terms for small v) and cosines (few terms for large v).  For bounds a and b everything is scaled
by b - a, coordinate by coordinate.  The law goes to the uniform one, from which sampling starts; what is left
of the data at variance v is :math:`2 e^{-\pi^2 v/2}`, 5e-9 at a standard deviation of two widths.

With the marginal score :math:`s(x, t)`, regressed on :math:`\partial_y \log p_v(y|x_0)`, the reverse equation
is stepped by Euler's method and folded,

.. math::
   x' = \operatorname{fold}\bigl[x + (\sigma^2 - \sigma'^2)\,s + \sqrt{\sigma^2 - \sigma'^2}\,\xi\bigr],

which is ``AncestralDDPM("upper")`` on this path with `sciffusion.sampling.ReflectionHook`.  Weak order 1.

Lou and Ermon, *Reflected Diffusion Models*, arXiv 2304.04740.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import PointwiseDenoiser
from sciffusion.continuous.path import align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction
from sciffusion.continuous.schedules import VarianceExploding

__all__ = ["ReflectedAtoms", "ReflectedObjective", "ReflectedVarianceExploding", "fold"]

#: Variance, in units of the squared width, from which the cosines are used; there both forms are exact to
#: rounding with the numbers of terms below (first term left out: exp(-36) and exp(-60)).
_TURNING_VARIANCE = 0.5
_IMAGES = torch.arange(-3, 4, dtype=torch.float64)
_FREQUENCIES = torch.arange(1, 6, dtype=torch.float64) * math.pi


def fold(x: Tensor, low: Tensor | float | None = None, high: Tensor | float | None = None) -> Tensor:
    """Reflect values at bounds until they lie between them.

    Parameters
    ----------
    x : Tensor
        Finite values, any shape.
    low, high : Tensor or float, optional
        Bounds that broadcast against ``x``; at least one.  Without one of them that side is open.

    Returns
    -------
    Tensor
        Of the shape and type of ``x``; values between the bounds are returned as they are.

    Raises
    ------
    ValueError
        Without any bound, or where ``low`` is not below ``high``.
    """
    if low is None and high is None:
        raise ValueError("give at least one of low= and high=")
    lower, upper = (
        None if bound is None else torch.as_tensor(bound, dtype=x.dtype, device=x.device)
        for bound in (low, high)
    )
    if lower is None:
        assert upper is not None
        return torch.where(x > upper, 2.0 * upper - x, x)
    if upper is None:
        return torch.where(x < lower, 2.0 * lower - x, x)
    if not bool((lower < upper).all()):
        raise ValueError(f"low must be below high, got low={low} and high={high}")
    width = upper - lower
    folded = lower + width - (torch.remainder(x - lower, 2.0 * width) - width).abs()
    inside = (x >= lower) & (x <= upper)
    return torch.where(inside, x, torch.minimum(torch.maximum(folded, lower), upper))


def _images(y: Tensor, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return log density and its derivative in y on the unit interval, by images."""
    shifts = 2.0 * _IMAGES.to(y.device)
    places = torch.cat([shifts + x[..., None], shifts - x[..., None]], -1)
    gaps, wide = y[..., None] - places, variance[..., None]
    exponents = -0.5 * gaps**2 / wide
    log_sum = torch.logsumexp(exponents, -1)
    share = torch.exp(exponents - log_sum[..., None])
    return log_sum - 0.5 * torch.log(2.0 * math.pi * variance), -(share * gaps / wide).sum(-1)


def _cosines(y: Tensor, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return log density and its derivative in y on the unit interval, by cosines."""
    rates = _FREQUENCIES.to(y.device)
    # Below the turning variance, where the series is not used, its sum could be negative.
    decay = torch.exp(-0.5 * rates**2 * variance.clamp_min(_TURNING_VARIANCE)[..., None])
    weight = 2.0 * decay * torch.cos(rates * x[..., None])
    density = 1.0 + (weight * torch.cos(rates * y[..., None])).sum(-1)
    slope = -(weight * rates * torch.sin(rates * y[..., None])).sum(-1)
    return torch.log(density), slope / density


@dataclass(frozen=True)
class ReflectedVarianceExploding(VarianceExploding):
    r"""Variance-exploding path that is reflected at two bounds: ``x_t = fold(x_0 + sigma_t eps)``.

    Its coefficients are those of `VarianceExploding` (with the variance as clock the reverse step is the
    same); its marginals, start law and denoising target are the reflected ones, and the Gaussian formulas
    between ``x0`` and ``score`` predictions hold as definitions only: a denoiser on this path predicts
    ``"score"``.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise levels at ``t=0`` and ``t=1`` in units of the data; ``sigma_max`` should be two widths or more.
    low, high : float
        The bounds.
    """

    sigma_min: float = 0.01
    sigma_max: float = 2.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low={self.low} and high={self.high}")

    def marginal(self, x0: Tensor, t: Tensor | float, noise: Tensor) -> Tensor:
        """Return the reflected state at times ``t`` (see `Path.marginal`)."""
        return fold(super().marginal(x0, t, noise), self.low, self.high)

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw starting states, uniform between the bounds (see `Path.draw_prior`)."""
        unit = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device).to(device)
        return self.low + (self.high - self.low) * unit

    def log_kernel(self, x: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of each value of a noisy state given its clean value.

        Parameters
        ----------
        x, x0 : Tensor
            Noisy and clean values between the bounds, of one shape.
        t : Tensor or float
            Times of a shape that is a prefix of theirs.

        Returns
        -------
        Tensor
            Of the shape of ``x``; sum over coordinates for vectors.
        """
        return self.kernel(x, x0, t)[0]

    def kernel_score(self, x: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
        """Return the derivative of `log_kernel` in ``x``, the target of a denoiser of kind "score"."""
        return self.kernel(x, x0, t)[1]

    def kernel(self, x: Tensor, x0: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return `log_kernel` and `kernel_score`, in one pass."""
        width = self.high - self.low
        y, clean = (((values - self.low) / width).to(torch.float64) for values in (x, x0))
        shape = (y + clean).shape
        y, clean = y.expand(shape), clean.expand(shape)
        variance = align((self.coefficients(t).sigma / width) ** 2, y)
        small = variance < _TURNING_VARIANCE
        if bool(small.all()):
            log_density, score = _images(y, clean, variance)
        elif not bool(small.any()):
            log_density, score = _cosines(y, clean, variance)
        else:
            both = zip(_images(y, clean, variance), _cosines(y, clean, variance), strict=True)
            log_density, score = (torch.where(small, near, far) for near, far in both)
        return (log_density - math.log(width)).to(x.dtype), (score / width).to(x.dtype)


class ReflectedAtoms(PointwiseDenoiser):
    """The exact score of weighted points on a reflected path.

    Parameters
    ----------
    atoms : Tensor
        Shape ``(n, dim)``, between the bounds of the path.
    path : ReflectedVarianceExploding
        The path.
    weights : Tensor, optional
        Shape ``(n,)``, positive; equal by default.
    """

    path: ReflectedVarianceExploding

    def __init__(
        self, atoms: Tensor, path: ReflectedVarianceExploding, weights: Tensor | None = None
    ) -> None:
        if atoms.ndim != 2:
            raise ValueError(f"atoms must have shape (n, dim), got {tuple(atoms.shape)}")
        if not bool(((atoms >= path.low) & (atoms <= path.high)).all()):
            raise ValueError(
                f"atoms must lie in [{path.low}, {path.high}], got values from {float(atoms.min()):g} to "
                f"{float(atoms.max()):g}"
            )
        if weights is not None and not (weights.shape == atoms.shape[:1] and bool((weights > 0.0).all())):
            raise ValueError(
                f"weights must be {len(atoms)} positive numbers, got {weights.tolist()[:5]} of shape "
                f"{tuple(weights.shape)}"
            )
        self.atoms = atoms.to(torch.float64)
        self.path = path
        equal = torch.ones(atoms.shape[0], dtype=torch.float64)
        weights = equal if weights is None else weights.to(torch.float64)
        self.weights = weights / weights.sum()

    def _joint(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return log weight times density of each atom, and each atom's score."""
        t = as_times(t)
        wide, atoms = x.to(torch.float64)[..., None, :], self.atoms.to(x.device)
        # Times of elements get an axis for the atoms before the last one.
        times = t[..., None, :] if t.ndim == x.ndim else t
        log_density, scores = self.path.kernel(wide, atoms, times)
        return log_density.sum(-1) + self.weights.to(x.device).log(), scores

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of noisy values ``(..., dim)`` at times ``t``, of shape ``x.shape[:-1]``."""
        return torch.logsumexp(self._joint(x, t)[0], -1).to(x.dtype)

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Return the exact score (see `PointwiseDenoiser.predict`)."""
        joint, scores = self._joint(x, t)
        share = torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True))
        return ContinuousPrediction((share[..., None] * scores).sum(-2).to(x.dtype), "score")

    def draw_marginal(self, count: int, t: Tensor | float, generator: torch.Generator) -> Tensor:
        """Draw ``count`` noisy vectors at one time, exactly; float64 of shape ``(count, dim)``."""
        label = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        clean = self.atoms[label]
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        return self.path.marginal(clean, t, noise)


@dataclass(frozen=True)
class ReflectedObjective:
    r"""Denoising score matching on a reflected path: elementwise :math:`\sigma^2 (s - \partial\log p)^2`.

    Parameters
    ----------
    path : ReflectedVarianceExploding
        Corrupts the data and gives the target.
    """

    path: ReflectedVarianceExploding

    def __call__(
        self,
        denoiser: PointwiseDenoiser,
        x0: Tensor,
        times: Tensor | float,
        noise: Tensor,
        condition: Any = None,
    ) -> Tensor:
        """Corrupt, predict and return the loss of every element (see `DenoisingObjective`)."""
        times = as_times(times)
        state = self.path.marginal(x0, times, noise)
        c = self.path.coefficients(times)
        score = denoiser.predict(state, times, condition).to("score", c, state).value
        error = score - self.path.kernel_score(state, x0, times)
        return align(c.sigma**2, error) * error.square()
