r"""Latent recovery: whether a model generates the directions along which the data vary most.

With :math:`U_k` the first k principal directions of a sample as columns, the overlap of two samples is

.. math:: o = \frac1k \lVert U_k^\top V_k \rVert_F^2 \in [0, 1],

the mean squared cosine of the principal angles: k/d on average for unrelated subspaces, 1 for equal ones.
Finite samples of one law do not reach 1 either.  The *split-half ceiling* is the overlap of two halves of
the held-out data; the *ratio* puts as many generated samples in the place of one half, so that a perfect
sampler has the ratio 1 whatever the size of the held-out set (this pairing of sizes is a construction of this
library).

Whether two models agree is another question, see `sciffusion.diagnostics.convergence`: recovery can come
later or earlier (`sciffusion.diagnostics.linear_theory`).  Maillard and Goldt, *Memorisation, Convergence and
Generalisation in Generative Models*, arXiv 2605.21402.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.diagnostics.checks import as_samples, check_same_dim

__all__ = ["LatentRecovery", "latent_recovery", "principal_directions", "subspace_overlap"]


@dataclass(frozen=True)
class LatentRecovery:
    """Overlap of principal subspaces, with what it is to be read against.

    Parameters
    ----------
    overlap : float
        Of all generated with all held-out samples, in [0, 1].
    matched_overlap : float
        Of generated samples with one half of the held-out ones, at equal sizes; mean over random halves.
    ceiling : float
        Of the two halves with each other: the split-half ceiling.
    ratio : float
        ``matched_overlap / ceiling``; 1 for a perfect sampler.
    chance : float
        Mean overlap of unrelated subspaces, k / dim. A ceiling near it means that the held-out data are too
        few to tell.
    overlap_error, ratio_error : float
        Standard errors by the jackknife over groups of rows.
    """

    overlap: float
    matched_overlap: float
    ceiling: float
    ratio: float
    chance: float
    overlap_error: float
    ratio_error: float


def principal_directions(samples: Tensor, n_components: int, weights: Tensor | None = None) -> Tensor:
    """Return the directions of largest variance.

    Parameters
    ----------
    samples : Tensor
        Shape ``(..., count, dim)``.
    n_components : int
        Number of directions, from 1 to ``dim``.
    weights : Tensor, optional
        Not negative, shape ``(..., count)``; leading axes broadcast against those of the samples.

    Returns
    -------
    Tensor
        Orthonormal columns by falling variance, shape ``(..., dim, n_components)``.

    Raises
    ------
    ValueError
        For a number of components outside 1 to ``dim``.
    """
    if not 1 <= n_components <= samples.shape[-1]:
        raise ValueError(f"n_components must lie in 1 to {samples.shape[-1]}, got {n_components}")
    share = torch.ones(samples.shape[:-1], dtype=samples.dtype, device=samples.device)
    share = share if weights is None else weights.to(samples)
    share = share / share.sum(-1, keepdim=True)
    mean = (share[..., None, :] @ samples)[..., 0, :]
    second = samples.mT @ (share[..., None] * samples)
    _, vectors = torch.linalg.eigh(second - mean[..., :, None] * mean[..., None, :])
    leading: Tensor = vectors[..., -n_components:].flip(-1)
    return leading


def subspace_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared cosine of the principal angles of two subspaces.

    Parameters
    ----------
    first, second : Tensor
        Orthonormal columns, shapes ``(..., dim, k)``.

    Returns
    -------
    Tensor
        Shape ``(...)``, in [0, 1].
    """
    overlap: Tensor = (first.mT @ second).square().sum((-2, -1)) / first.shape[-1]
    return overlap


def latent_recovery(
    generated: Tensor,
    held_out: Tensor,
    n_components: int,
    *,
    generator: torch.Generator,
    n_splits: int = 10,
    n_groups: int = 10,
) -> LatentRecovery:
    """Compare the principal subspaces of generated and held-out data.

    Parameters
    ----------
    generated : Tensor
        Shape ``(count, dim)``.
    held_out : Tensor
        Real data that the model was not trained on, shape ``(count, dim)``.
    n_components : int
        Dimension of the subspaces.
    generator : torch.Generator
        Draws halves and groups.
    n_splits : int, default 10
        Random halves over which ceiling and ratio are averaged.
    n_groups : int, default 10
        Groups of the jackknife for the standard errors: everything is computed anew with one tenth of both
        samples left out, ten times. (The bootstrap repeats rows, which turns the directions: on spiked
        Gaussian data its errors were found to be twice too large for the overlap and useless for the ratio.)

    Returns
    -------
    LatentRecovery
        Overlap, split-half ceiling, ratio and their errors.

    Raises
    ------
    ValueError
        For samples of wrong shape or too few of them, too many components, no split or fewer than two groups.
    """
    ours, real = as_samples(generated, "generated", least=4), as_samples(held_out, "held_out", least=4)
    real = real.to(ours.device)
    check_same_dim(generated=ours, held_out=real)
    smaller = min(ours.shape[0], real.shape[0])
    if n_splits < 1 or not 2 <= n_groups <= smaller // 2:
        raise ValueError(
            f"n_splits must be at least 1 and n_groups lie in 2 to {smaller // 2} (half the smaller sample), "
            f"got {n_splits} and {n_groups}"
        )
    ours, real = _shuffled(ours, generator), _shuffled(real, generator)
    orders = torch.stack([_order(real.shape[0], generator, real.device) for _ in range(n_splits)])
    overlap, matched, ceiling = _statistics(ours, real, orders, n_components)
    left_out = torch.tensor(
        [
            _statistics(*_without(group, n_groups, ours, real, orders), n_components)
            for group in range(n_groups)
        ],
        dtype=torch.float64,
    )
    return LatentRecovery(
        overlap=overlap,
        matched_overlap=matched,
        ceiling=ceiling,
        ratio=matched / ceiling,
        chance=n_components / ours.shape[-1],
        overlap_error=_jackknife_error(left_out[:, 0]),
        ratio_error=_jackknife_error(left_out[:, 1] / left_out[:, 2]),
    )


def _order(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randperm(count, generator=generator, device=generator.device).to(device)


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[_order(rows.shape[0], generator, rows.device)]


def _statistics(ours: Tensor, real: Tensor, orders: Tensor, n_components: int) -> tuple[float, float, float]:
    """Return the overlap of all, and the mean overlaps generated-half and half-half at equal sizes."""
    overlap = subspace_overlap(
        principal_directions(ours, n_components), principal_directions(real, n_components)
    )
    size = min(real.shape[0] // 2, ours.shape[0])
    matched = ceiling = 0.0
    for split, order in enumerate(orders):
        # The generated samples come in random order; each split starts at another place of it.
        model = ours.roll(split * size, 0)[:size]
        parts = torch.stack([real[order[:size]], real[order[size : 2 * size]], model])
        half, other, third = principal_directions(parts, n_components)
        # Both halves serve as the yardstick.
        matched += 0.5 * float(subspace_overlap(third, half) + subspace_overlap(third, other))
        ceiling += float(subspace_overlap(half, other))
    return float(overlap), matched / len(orders), ceiling / len(orders)


def _without(
    group: int, n_groups: int, ours: Tensor, real: Tensor, orders: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return samples without one group of rows, and the same random halves of what is left."""
    kept = torch.arange(real.shape[0], device=real.device) % n_groups != group
    place = kept.cumsum(0) - 1
    rest = torch.stack([place[order[kept[order]]] for order in orders])
    return ours[torch.arange(ours.shape[0], device=ours.device) % n_groups != group], real[kept], rest


def _jackknife_error(values: Tensor) -> float:
    """Return the standard error from values with one group left out each."""
    count = values.shape[0]
    return float(((count - 1) / count * (values - values.mean()).square().sum()).sqrt())
