r"""Heavy-tailed noise: the multivariate Student-t law.

With :math:`z \sim N(0, I_N)` and :math:`c \sim \chi^2_\nu`, one for all N values of an item,

.. math:: n = z \sqrt{\nu / c}

has density proportional to :math:`(1 + |n|^2/\nu)^{-(N+\nu)/2}`.  PFGM++ (Xu et al., *PFGM++: Unlocking the
Potential of Physics-Inspired Generative Models*, arXiv 2302.04265) perturbs data by :math:`\sigma n` with its
number of extra dimensions in the place of :math:`\nu`; it draws the radius as :math:`R = \sigma\sqrt\nu
\sqrt{B/(1-B)}` with :math:`B \sim \mathrm{Beta}(N/2, \nu/2)`, which is the same law up to the clip of B that
cuts its tail.  For :math:`\nu \to \infty` the noise is Gaussian.

A network trained on :math:`x = \alpha x_0 + \sigma n` by any squared error learns :math:`D = E[x_0|x]` under
this noise, and :math:`dx/dl = (x/\alpha - D)\,\alpha/l` with :math:`l = \sigma/\alpha`, the probability flow
in the same form as for Gaussian noise, transports these marginals: deterministic solvers work unchanged from
a start of the same law.  **Stochastic solvers do not**: the sum of two Student-t values is not Student-t, so
no noise put back in a step restores the marginals, and -eps/sigma is not the score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sciffusion.continuous.path import Path, align

__all__ = ["StudentNoise"]


class StudentNoise:
    """Multivariate Student-t noise of scale 1 for training and for the start of deterministic sampling.

    Parameters
    ----------
    degrees_of_freedom : float
        Positive; the variance of an element is ``nu / (nu - 2)`` above 2 and infinite below.  ``math.inf``
        gives Gaussian noise.
    item_axes : int, default 1
        Number of trailing axes that form one item and share one factor; the others are batch axes.
    """

    def __init__(self, degrees_of_freedom: float, item_axes: int = 1) -> None:
        if not degrees_of_freedom > 0.0:
            raise ValueError(f"degrees_of_freedom must be positive, got {degrees_of_freedom}")
        if item_axes < 0:
            raise ValueError(f"item_axes must not be negative, got {item_axes}")
        self.degrees_of_freedom = float(degrees_of_freedom)
        self.item_axes = item_axes

    def sample(
        self,
        shape: Sequence[int],
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw noise, for instance as the ``noise`` of `DenoisingObjective`.

        Parameters
        ----------
        shape : sequence of int
            Shape of the result, the last ``item_axes`` of them one item.
        generator : torch.Generator
            May live on another device than the result.
        dtype, device
            Of the result.

        Returns
        -------
        Tensor
            The noise.

        Raises
        ------
        ValueError
            If there are fewer axes than an item has.
        """
        shape = tuple(shape)
        if len(shape) < self.item_axes:
            raise ValueError(f"shape {shape} has fewer axes than an item, which has {self.item_axes}")
        normal = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
        if math.isinf(self.degrees_of_freedom):
            return normal.to(device)
        outer = shape[: len(shape) - self.item_axes]
        half = torch.full(outer, 0.5 * self.degrees_of_freedom, dtype=torch.float32, device=generator.device)
        # chi^2 / nu is a gamma variable over its shape; there is no public gamma draw with a generator.
        gamma: Tensor = torch._standard_gamma(half, generator=generator)
        factor = torch.sqrt(half / gamma.clamp_min(torch.finfo(torch.float32).tiny))
        return (normal * factor.to(dtype).reshape(outer + (1,) * self.item_axes)).to(device)

    def draw_prior(
        self,
        path: Path,
        shape: Sequence[int],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw the start of a deterministic sampler run: this noise at the scale of the path's prior.

        Parameters
        ----------
        path : Path
            Its `Path.prior_std` is the scale.
        shape, generator, dtype, device
            As for `sample`.
        t : Tensor or float, default 1
            Time of the start.

        Returns
        -------
        Tensor
            The starting states, to be passed as ``state=State(x=...)``.
        """
        noise = self.sample(shape, generator, dtype, device)
        return align(path.prior_std(t), noise) * noise

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Refuse: a stochastic solver with this noise would not sample the data.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "Student-t noise is not closed under addition, so no stochastic solver has the right marginals "
            "with it; use a deterministic solver from StudentNoise.draw_prior"
        )
