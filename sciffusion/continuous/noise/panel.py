r"""Quasi-random panels of starting noise.

A quasi-random panel replaces independent draws :math:`z_i \sim N(0, I)` by :math:`\Phi^{-1}(u_i)` with a
scrambled Sobol sequence :math:`u_i`: averages over the panel of a smooth function have an error that falls
almost as 1/n (Owen, *Scrambled Net Variance for Integrals of Smooth Functions*, Annals of Statistics 25,
1997).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gaussian_panel"]


def gaussian_panel(
    count: int,
    dim: int,
    generator: torch.Generator,
    *,
    quasi_random: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a panel of standard normal points.

    Parameters
    ----------
    count : int
        Number of points; powers of two give the best balanced Sobol panels.
    dim : int
        Dimension of each point.
    generator : torch.Generator
        Seeds the scrambling (or draws the points); the same state gives the same panel.
    quasi_random : bool, default True
        Scrambled Sobol points mapped by the normal quantile function; False gives independent points.
    dtype : torch.dtype, default float32
        Of the result.

    Returns
    -------
    Tensor
        Shape ``(count, dim)``, on the CPU for a quasi-random panel, else on the generator's device.
    """
    if count < 1 or dim < 1:
        raise ValueError(f"count and dim must be positive, got {count} and {dim}")
    if not quasi_random:
        return torch.randn(count, dim, generator=generator, dtype=dtype, device=generator.device)
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.draw(count, dtype=torch.float64)
    # Sobol points are multiples of 2^-30; the middle of their cells has finite quantiles.
    normal: Tensor = torch.special.ndtri(points + 2.0**-31)
    return normal.to(dtype)
