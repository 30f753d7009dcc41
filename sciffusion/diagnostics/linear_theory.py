r"""What a linear generative model learns from n points in d dimensions: two thresholds in closed form.

The model that knows nothing but the sample covariance C of n points draws :math:`C^{1/2} z`.  Let the data be
:math:`x = z + \sqrt\beta\,k\,v` with white noise z, a direction v of length 1 and a standard normal latent k,
and let :math:`q = d/n`.  For large n and d:

- two models trained on disjoint halves, of n points each, turn the *same* noise into samples whose cosine is

  .. math:: \Bigl(\frac2\pi\int_0^\pi \frac{\sin^2\theta\,d\theta}{\sqrt{1 + q + 2\sqrt q\cos\theta}}\Bigr)^2,

  the squared mean of :math:`\sqrt\lambda` under the Marchenko-Pastur law; it grows smoothly with n;
- the squared overlap of the first principal direction with v is

  .. math:: \frac{1 - q/\beta^2}{1 + q/\beta} \text{ for } q < \beta^2, \qquad 0 \text{ otherwise},

  a sharp transition at :math:`n/d = 1/\beta^2`.

So agreement of two models (*convergence*) does not tell that they found what the data hide (*recovery*):
for :math:`\beta = 1` they agree with a cosine of .72 at n = d, where the overlap is still 0.  Strong latents
(:math:`\beta > 1`) are recovered before the models agree.

The setting is that of Maillard and Goldt, *Memorisation, Convergence and Generalisation in Generative
Models*, arXiv 2605.21402; the overlap is due to Paul, *Asymptotics of Sample Eigenstructure for a Large
Dimensional Spiked Covariance Model*, Statistica Sinica 17, 2007; the cosine follows from the freeness of two
independent sample covariances.
"""

from __future__ import annotations

import math

import torch

__all__ = ["same_noise_cosine", "spike_overlap"]

_NODES = 4096


def spike_overlap(samples_per_dim: float, strength: float) -> float:
    """Return the limit of the squared overlap of the first principal direction with a planted one.

    Parameters
    ----------
    samples_per_dim : float
        Number of points over number of dimensions, n / d.
    strength : float
        Variance that the latent adds along its direction, in units of the noise variance (beta).

    Returns
    -------
    float
        Between 0 (not recovered) and 1.

    Raises
    ------
    ValueError
        For arguments that are not positive.
    """
    _check(samples_per_dim=samples_per_dim, strength=strength)
    q = 1.0 / samples_per_dim
    return max(0.0, 1.0 - q / strength**2) / (1.0 + q / strength)


def same_noise_cosine(samples_per_dim: float) -> float:
    """Return the limit of the cosine of samples that two linear models make of the same noise.

    Parameters
    ----------
    samples_per_dim : float
        Number of points over number of dimensions, n / d, for each of the two disjoint training sets.

    Returns
    -------
    float
        Between 0 and 1, for white data; a few strong directions change it by O(1/d).

    Raises
    ------
    ValueError
        For an argument that is not positive.
    """
    _check(samples_per_dim=samples_per_dim)
    q = 1.0 / samples_per_dim
    # The midpoint rule; for q = 1 the integrand has a corner at pi, where it is 0.
    angle = (torch.arange(_NODES, dtype=torch.float64) + 0.5) * (math.pi / _NODES)
    root = torch.sqrt(1.0 + q + 2.0 * math.sqrt(q) * torch.cos(angle))
    mean_root = 2.0 * float((torch.sin(angle).square() / root).mean())
    return mean_root**2


def _check(**arguments: float) -> None:
    for name, value in arguments.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be positive, got {value}")
