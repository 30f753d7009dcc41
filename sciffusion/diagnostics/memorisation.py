r"""Memorisation: whether a model repeats its training data.

Two questions are asked of every generated sample g, both by Euclidean distances.

*Copies.*  With :math:`d_1 \le d_2` the distances to the nearest and second nearest training sample,
:math:`r = d_1 / d_2` is near 1 for a sample between the training data and near 0 for a copy of one.  What is
small depends on dimension and data, so the threshold is the ``level`` quantile of the same ratio for samples
that are known not to be copies: held-out data, or, without any, every training sample against the others.
Training samples that are there more than once count once here: beside two equal ones
:math:`r` would be 1, though what a data set repeats is what a model copies first.
The *share of copies* beyond ``level`` is the finding.  (A fixed threshold of 1/3 is in use: Yoon, Choi, Kwon
and Ryu, *Diffusion Probabilistic Models Generalize when They Fail to Memorize*, ICML workshop 2023.)

*Pull.*  For a model that learned the law, training and held-out data are alike: the nearest of all n + m real
samples is a training one with probability n / (n + m).  The observed share has, when the labels "training"
and "held-out" are exchanged at random, exactly this mean and the variance

.. math:: \frac{n m}{N^2 (n+m)(n+m-1)} \sum_i (c_i - \bar c)^2 ,

with :math:`c_i` the number of the N generated samples whose nearest neighbour is i, which gives a z-score
that takes into account how few real samples there are (construction of this library; the comparison of
distances to both sets follows Meehan, Chaudhuri and Dasgupta, *A Non-Parametric Test to Detect Data-Copying
in Generative Models*, arXiv 2004.05675).

Distances count every coordinate alike: standardise the columns first where their units differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.diagnostics.checks import as_samples, check_same_dim

__all__ = ["Memorisation", "memorisation", "nearest_neighbours"]

#: Largest number of pairs that are held at once.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Memorisation:
    """Copies among generated samples, and their pull towards the training data.

    Parameters
    ----------
    copies : float
        Share of generated samples whose ratio lies below ``threshold``.
    copies_error : float
        Its standard error, that of the threshold included.
    expected_copies : float
        Share among samples that are no copies: the level.
    threshold : float
        Of the ratio of nearest to second nearest distance.
    ratios, null_ratios : Tensor
        The ratio of every generated sample, and of those that are no copies.
    training_share : float or None
        Share of generated samples whose nearest real sample is a training one; None without held-out data.
    expected_training_share : float or None
        For a model that treats both alike: n / (n + m).
    training_share_z : float or None
        Difference of the two in standard errors; above 3 the model prefers its training data.
    """

    copies: float
    copies_error: float
    expected_copies: float
    threshold: float
    ratios: Tensor
    null_ratios: Tensor
    training_share: float | None = None
    expected_training_share: float | None = None
    training_share_z: float | None = None


def memorisation(
    generated: Tensor, training: Tensor, held_out: Tensor | None = None, *, level: float = 0.05
) -> Memorisation:
    """Look for generated samples that repeat training data.

    Parameters
    ----------
    generated : Tensor
        Shape ``(count, dim)``.
    training : Tensor
        What the model was trained on, shape ``(n, dim)``, with at least three different rows.
    held_out : Tensor, optional
        Data of the same source that it was not trained on, shape ``(m, dim)``, ``m >= 2``.
    level : float, default 0.05
        Share of samples that are no copies and still fall below the threshold.

    Returns
    -------
    Memorisation
        Share of copies with its reference, and the pull where held-out data are given.

    Raises
    ------
    ValueError
        For samples of wrong shapes or too few of them, or a level outside (0, 1).
    """
    ours = as_samples(generated, "generated")
    train = as_samples(training, "training", least=3).to(ours.device)
    check_same_dim(generated=ours, training=train)
    real = None if held_out is None else as_samples(held_out, "held_out", least=2).to(ours.device)
    if real is not None:
        check_same_dim(generated=ours, held_out=real)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    distinct = torch.unique(train, dim=0)
    if len(distinct) < 3:
        raise ValueError(f"training must hold at least 3 different samples, got {len(distinct)}")
    ratios = _ratio(nearest_neighbours(ours, distinct, 2)[0])
    if real is None:
        # The nearest training sample of a training sample is itself.
        return _copies(ratios, _ratio(nearest_neighbours(distinct, distinct, 3)[0][:, 1:]), level, {})
    null = _ratio(nearest_neighbours(real, distinct, 2)[0])
    return _copies(ratios, null, level, _pull(ours, train, real))


def nearest_neighbours(queries: Tensor, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the nearest points of every query.

    Parameters
    ----------
    queries, points : Tensor
        Shapes ``(n, dim)`` and ``(m, dim)``.
    count : int
        Number of neighbours, at most ``m``.

    Returns
    -------
    distances, index : Tensor
        Shape ``(n, count)``, nearest first.

    Raises
    ------
    ValueError
        For a count below 1 or above ``m``.
    """
    if not 1 <= count <= points.shape[0]:
        raise ValueError(f"count must lie in 1 to {points.shape[0]}, got {count}")
    found = []
    for block in torch.split(queries, max(1, _BLOCK // points.shape[0])):
        # Without matrix products, by which a copy would come out 1e-8 away.
        distances = torch.cdist(block, points, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distances.topk(count, dim=-1, largest=False))
    return torch.cat([part[0] for part in found]), torch.cat([part[1] for part in found])


def _ratio(distances: Tensor) -> Tensor:
    """Return nearest over second nearest; 0 for an exact copy."""
    nearest, second = distances[:, 0], distances[:, 1]
    return torch.where(nearest > 0.0, nearest / second, 0.0)


def _copies(ratios: Tensor, null: Tensor, level: float, pull: dict[str, float]) -> Memorisation:
    threshold = torch.quantile(null, level)
    share = float((ratios <= threshold).to(torch.float64).mean())
    variance = share * (1.0 - share) / ratios.shape[0] + level * (1.0 - level) / null.shape[0]
    return Memorisation(share, variance**0.5, level, float(threshold), ratios, null, **pull)


def _pull(ours: Tensor, train: Tensor, real: Tensor) -> dict[str, float]:
    nearest = nearest_neighbours(ours, torch.cat([train, real]), 1)[1][:, 0]
    n, m, total = train.shape[0], real.shape[0], ours.shape[0]
    times_chosen = torch.bincount(nearest, minlength=n + m).to(torch.float64)
    share, expected = float((nearest < n).to(torch.float64).mean()), n / (n + m)
    spread = float((times_chosen - times_chosen.mean()).square().sum())
    error = (n * m * spread / ((n + m) * (n + m - 1.0))) ** 0.5 / total
    return {
        "training_share": share,
        "expected_training_share": expected,
        "training_share_z": (share - expected) / error,
    }
