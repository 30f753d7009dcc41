r"""Distances between two laws of which only samples are known: energy, sliced Wasserstein, kernel mean.

For samples :math:`x_i` with weights :math:`w_i` and :math:`y_j` with weights :math:`v_j` (each of sum 1):

- energy distance, with Euclidean norms,

  .. math:: 2\sum_{ij} w_i v_j |x_i - y_j| - \sum_{ij} w_i w_j |x_i - x_j| - \sum_{ij} v_i v_j |y_i - y_j|
     \ge 0

  (Szekely and Rizzo, *Energy Statistics: A Class of Statistics Based on Distances*, Journal of Statistical
  Planning and Inference 143, 2013; without the root that some authors take);
- sliced Wasserstein distance, with :math:`F_\theta^{-1}` the quantile function along a direction,

  .. math:: \Bigl(\operatorname{mean}_\theta \int_0^1 |F_\theta^{-1}(q) - G_\theta^{-1}(q)|^p\,dq\Bigr)^{1/p}

  (Bonneel, Rabin, Peyre and Pfister, *Sliced and Radon Wasserstein Barycenters of Measures*, Journal of
  Mathematical Imaging and Vision 51, 2015);
- maximum mean discrepancy, :math:`(w^\top K w - 2 w^\top K v + v^\top K v)^{1/2}` for a kernel that is the
  mean of Gaussians :math:`\exp(-|x-y|^2 / 2h^2)` with bandwidths h around the median distance (Gretton,
  Borgwardt, Rasch, Schoelkopf and Smola, *A Kernel Two-Sample Test*, JMLR 13, 2012).

All three are 0 only for equal laws, but between finite samples of one law they are positive: a value means
nothing without the *floor*, the distance between two independent samples of the reference of the same sizes.
Everything is computed in float64; pairs are visited in blocks, so memory grows with one sample and not with
the product of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sciffusion.diagnostics.checks import as_samples, as_weights, check_same_dim

__all__ = [
    "distance_floor",
    "energy_distance",
    "maximum_mean_discrepancy",
    "median_distance",
    "sliced_wasserstein",
]

#: Largest number of pairs that are held at once.
_BLOCK = 4_000_000
#: Samples from which a median distance is taken at most.
_MEDIAN_ROWS = 2000


def energy_distance(
    first: Tensor,
    second: Tensor,
    *,
    first_weights: Tensor | None = None,
    second_weights: Tensor | None = None,
    unbiased: bool = False,
) -> Tensor:
    """Return the energy distance between two weighted samples.

    Parameters
    ----------
    first, second : Tensor
        Shape ``(..., count, dim)``, of equal leading axes and dimension; the counts may differ.
    first_weights, second_weights : Tensor, optional
        Importance weights, shape ``(..., count)``, normalised here; equal by default.
    unbiased : bool, default False
        Leave out the pairs of a sample with itself. The mean over repetitions is then the distance of the
        laws, 0 for equal ones, but a single value may be negative.

    Returns
    -------
    Tensor
        Float64, of the shape of the leading axes, in the unit of the values.

    Raises
    ------
    ValueError
        For samples or weights of wrong shapes or with values that are not finite.
    """
    x, y, w, v = _pair(first, second, first_weights, second_weights, least=2 if unbiased else 1)
    within = [_mean_over_pairs(z, z, u, u, _identity) for z, u in ((x, w), (y, v))]
    if unbiased:
        within = [s / (1.0 - u.square().sum(-1)) for s, u in zip(within, (w, v), strict=True)]
    return 2.0 * _mean_over_pairs(x, y, w, v, _identity) - within[0] - within[1]


def maximum_mean_discrepancy(
    first: Tensor,
    second: Tensor,
    *,
    first_weights: Tensor | None = None,
    second_weights: Tensor | None = None,
    median: float | None = None,
    multiples: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
) -> Tensor:
    """Return the maximum mean discrepancy, the root of the biased statistic.

    Parameters
    ----------
    first, second : Tensor
        Shape ``(..., count, dim)``; the second one is the reference.
    first_weights, second_weights : Tensor, optional
        Importance weights, shape ``(..., count)``, normalised here; equal by default.
    median : float, optional
        Distance around which the bandwidths lie; the `median_distance` of ``second`` by default, so that
        values for different samples against one reference can be compared.
    multiples : sequence of float
        Bandwidths in units of ``median``; the kernel is the mean of these Gaussians and 1 at distance 0.

    Returns
    -------
    Tensor
        Float64, of the shape of the leading axes, between 0 and the root of 2.

    Raises
    ------
    ValueError
        For samples or weights of wrong shapes or values, or bandwidths that are not positive.
    """
    x, y, w, v = _pair(first, second, first_weights, second_weights)
    centre = median_distance(y) if median is None else median
    bandwidths = [centre * multiple for multiple in multiples]
    if not bandwidths or not all(h > 0.0 for h in bandwidths):
        raise ValueError(f"median and multiples must be positive, got {centre} and {tuple(multiples)}")

    def kernel(distance: Tensor) -> Tensor:
        squared = distance.square()
        total = torch.zeros_like(squared)
        for h in bandwidths:
            total += torch.exp(-0.5 * squared / h**2)
        return total / len(bandwidths)

    within = _mean_over_pairs(x, x, w, w, kernel) + _mean_over_pairs(y, y, v, v, kernel)
    return (within - 2.0 * _mean_over_pairs(x, y, w, v, kernel)).clamp_min(0.0).sqrt()


def sliced_wasserstein(
    first: Tensor,
    second: Tensor,
    *,
    first_weights: Tensor | None = None,
    second_weights: Tensor | None = None,
    n_projections: int = 256,
    power: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the sliced Wasserstein distance between two weighted samples.

    Parameters
    ----------
    first, second : Tensor
        Shape ``(..., count, dim)``; counts may differ.
    first_weights, second_weights : Tensor, optional
        Importance weights, shape ``(..., count)``, normalised here; equal by default.
    n_projections : int, default 256
        Number of random directions, the same for all leading axes.
    power : float >= 1, default 2
        The p of the distance.
    generator : torch.Generator, optional
        Draws the directions; by default a fixed seed, so that values can be compared.

    Returns
    -------
    Tensor
        Float64, of the shape of the leading axes, in the unit of the values.

    Raises
    ------
    ValueError
        For samples or weights of wrong shapes or values, no direction, or a power below 1.
    """
    x, y, w, v = _pair(first, second, first_weights, second_weights)
    if n_projections < 1 or not power >= 1.0:
        raise ValueError(
            f"n_projections and power must be at least 1, got n_projections={n_projections} and power={power}"
        )
    source = torch.Generator().manual_seed(0) if generator is None else generator
    shape = (x.shape[-1], n_projections)
    directions = torch.randn(shape, generator=source, dtype=torch.float64, device=source.device).to(x.device)
    directions = directions / directions.norm(dim=0)
    total = torch.zeros(x.shape[:-2], dtype=torch.float64, device=x.device)
    # Blocks of directions, in each of which the points of both samples are sorted side by side.
    per_block = max(1, _BLOCK // max(1, 8 * (w.numel() + v.numel())))
    for block in directions.split(per_block, dim=1):
        total += _line_cost((x @ block).mT, (y @ block).mT, w, v, power).sum(-1)
    return (total / n_projections) ** (1.0 / power)


def distance_floor(
    distance: Callable[[Tensor, Tensor], Tensor],
    reference: Tensor,
    *,
    generator: torch.Generator,
    count: int | None = None,
    n_repeats: int = 20,
) -> tuple[float, float]:
    """Return the distance between two disjoint samples of the reference: what a perfect sampler would reach.

    Parameters
    ----------
    distance : callable
        From two samples to a scalar, such as `energy_distance`; bind its options, a common ``median`` say,
        beforehand.
    reference : Tensor
        Shape ``(n, dim)``.
    generator : torch.Generator
        Draws the samples.
    count : int, optional
        Size of each sample, at most ``n / 2``, which is the default. The floor falls with it: take the size
        at which samples are compared.
    n_repeats : int, default 20
        Number of pairs.

    Returns
    -------
    mean, std : float
        Over the pairs, which share rows: the standard deviation is a little too small.

    Raises
    ------
    ValueError
        For a count outside 1 to ``n / 2`` or fewer than two pairs.
    """
    rows = as_samples(reference, "reference", least=2)
    size = rows.shape[0] // 2 if count is None else count
    if not 1 <= size <= rows.shape[0] // 2 or n_repeats < 2:
        raise ValueError(
            f"count must lie in 1 to {rows.shape[0] // 2} (half the reference) and n_repeats be at least 2, "
            f"got {size} and {n_repeats}"
        )
    found = []
    for _ in range(n_repeats):
        order = torch.randperm(rows.shape[0], generator=generator, device=generator.device).to(rows.device)
        found.append(float(distance(rows[order[:size]], rows[order[size : 2 * size]])))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std())


def median_distance(samples: Tensor) -> float:
    """Return the median Euclidean distance between different samples.

    Parameters
    ----------
    samples : Tensor
        Shape ``(..., count, dim)``; of more than 2000 samples an even selection of as many is used.

    Returns
    -------
    float
        The median over all pairs (and all leading axes).

    Raises
    ------
    ValueError
        For fewer than two samples.
    """
    values = as_samples(samples, "samples", least=2, batched=True)
    stride = -(-values.shape[-2] // _MEDIAN_ROWS)
    few = values[..., ::stride, :] if values.shape[-2] > stride else values
    upper = torch.triu_indices(few.shape[-2], few.shape[-2], offset=1, device=few.device)
    distances = _distances(few, few)[..., upper[0], upper[1]]
    return float(distances.flatten().median())


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # By matrix products equal points would come out 1e-8 apart.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _identity(distance: Tensor) -> Tensor:
    return distance


def _pair(
    first: Tensor, second: Tensor, first_weights: Tensor | None, second_weights: Tensor | None, least: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = as_samples(first, "first", least=least, batched=True)
    y = as_samples(second, "second", least=least, batched=True).to(x.device)
    check_same_dim(first=x, second=y)
    if x.shape[:-2] != y.shape[:-2]:
        raise ValueError(
            f"first and second must have equal leading axes, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return (
        x,
        y,
        as_weights(first_weights, x, "first_weights"),
        as_weights(second_weights, y, "second_weights"),
    )


def _blocks(x: Tensor, y: Tensor) -> Iterator[slice]:
    """Yield slices of the rows of ``x`` such that a block against all of ``y`` stays small."""
    per_row = max(1, x.shape[:-2].numel() * y.shape[-2])
    rows = max(1, _BLOCK // per_row)
    for start in range(0, x.shape[-2], rows):
        yield slice(start, start + rows)


def _mean_over_pairs(
    x: Tensor, y: Tensor, w: Tensor, v: Tensor, function: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ``sum_ij w_i v_j function(|x_i - y_j|)``."""
    total = torch.zeros(x.shape[:-2], dtype=torch.float64, device=x.device)
    for rows in _blocks(x, y):
        values = function(_distances(x[..., rows, :], y))
        total += (w[..., rows] * (values @ v[..., None])[..., 0]).sum(-1)
    return total


def _line_cost(x: Tensor, y: Tensor, w: Tensor, v: Tensor, power: float) -> Tensor:
    """Return the transport cost on the line for values ``(..., directions, count)``."""
    sorted_x, order_x = x.sort(-1)
    sorted_y, order_y = y.sort(-1)
    if x.shape[-1] == y.shape[-1] and _equal_weights(w) and _equal_weights(v):
        return (sorted_x - sorted_y).abs().pow(power).mean(-1)
    # Both quantile functions are constant between the places where either cumulative weight steps.
    steps_x = w[..., None, :].expand(x.shape).gather(-1, order_x).cumsum(-1)
    steps_y = v[..., None, :].expand(y.shape).gather(-1, order_y).cumsum(-1)
    places, _ = torch.cat([steps_x, steps_y], -1).clamp_max(1.0).sort(-1)
    widths = places.diff(dim=-1, prepend=torch.zeros_like(places[..., :1]))
    middles = places - 0.5 * widths
    at_x = torch.searchsorted(steps_x, middles).clamp_max(x.shape[-1] - 1)
    at_y = torch.searchsorted(steps_y, middles).clamp_max(y.shape[-1] - 1)
    gaps = sorted_x.gather(-1, at_x) - sorted_y.gather(-1, at_y)
    return (widths * gaps.abs().pow(power)).sum(-1)


def _equal_weights(weights: Tensor) -> bool:
    return bool((weights == weights[..., :1]).all())
