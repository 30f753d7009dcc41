r"""Calibration of conditional samplers: whether their draws are as uncertain as they should be.

For items i with truth :math:`y_i` and draws :math:`x_{i1}, \dots, x_{iL}` from the model's law given what is
known about the item. If that law is right, truth and draws are exchangeable, so

- the *rank* of the truth among its draws is uniform on 0 to L, coordinate by coordinate (Talts, Betancourt,
  Simpson, Vehtari and Gelman, *Validating Bayesian Inference Algorithms with Simulation-Based Calibration*,
  arXiv 1804.06788).  With :math:`u = (\text{rank} + 1/2)/(L + 1)`, a histogram with a U shape, *dispersion*
  :math:`\operatorname{Var}(u) / \operatorname{Var}_0(u) > 1`, means draws that are too narrow, and below 1
  too wide; :math:`\bar u \neq 1/2` means draws that are shifted.  :math:`\operatorname{Var}_0(u) = (1 -
  (L+1)^{-2})/12`;
- the share of draws nearer than the truth to a reference point that does not know the truth is uniform,
  too, in any dimension (TARP: Lemos, Coogan, Hezaveh and Perreault-Levasseur, *Sampling-Based Accuracy
  Testing of Posterior Estimators for General Inference*, arXiv 2302.03026).  Ranks of single coordinates
  cannot see a wrong dependence between coordinates; this can.

Ties are broken at random. Both are averages over items: a model may be calibrated on average and wrong for
every single item (the prior without any condition is calibrated).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RankCalibration", "RegionCoverage", "rank_calibration", "region_coverage"]


@dataclass(frozen=True)
class RankCalibration:
    """Ranks of truths among their draws.

    Parameters
    ----------
    positions : Tensor
        ``u`` of every item and coordinate, in (0, 1), shape ``(items, dim)``.
    n_draws : int
        Draws an item.
    p_values : Tensor
        Of the hypothesis of uniform ranks, one a coordinate, by a chi-squared test on equal bins.
    dispersion, dispersion_error : Tensor
        Variance of ``u`` over that of uniform ranks, and its standard error under uniformity, one a
        coordinate: above 1 for draws that are too narrow, below 1 for draws that are too wide.
    shift, shift_error : Tensor
        Mean of ``u`` minus 1/2: positive where truths lie above the draws.
    """

    positions: Tensor
    n_draws: int
    p_values: Tensor
    dispersion: Tensor
    dispersion_error: Tensor
    shift: Tensor
    shift_error: Tensor

    def coverage(self, levels: Tensor) -> Tensor:
        """Return the share of truths inside central intervals of the draws.

        Parameters
        ----------
        levels : Tensor
            Nominal levels in (0, 1), shape ``(levels,)``.

        Returns
        -------
        Tensor
            Shape ``(levels, dim)``; equal to ``levels`` for calibrated draws.
        """
        distance = (2.0 * self.positions - 1.0).abs()
        inside: Tensor = distance <= levels.to(distance)[:, None, None]
        return inside.to(torch.float64).mean(1)


@dataclass(frozen=True)
class RegionCoverage:
    """How often regions around random points, made to hold given shares of the draws, hold the truth.

    Parameters
    ----------
    levels : Tensor
        Nominal shares, increasing.
    coverage : Tensor
        Observed shares; equal to ``levels`` for calibrated draws.
    largest_gap : float
        Largest difference of the two.
    p_value : float
        Of the hypothesis of calibration, by the Kolmogorov-Smirnov test.
    """

    levels: Tensor
    coverage: Tensor
    largest_gap: float
    p_value: float


def rank_calibration(
    draws: Tensor, truth: Tensor, *, generator: torch.Generator, n_bins: int | None = None
) -> RankCalibration:
    """Rank truths among the draws of a conditional sampler.

    Parameters
    ----------
    draws : Tensor
        Shape ``(items, n_draws, dim)``.
    truth : Tensor
        Shape ``(items, dim)``; the items are independent.
    generator : torch.Generator
        Breaks ties.
    n_bins : int, optional
        Bins of the test of uniformity, at most ``n_draws + 1``; by default as many as give ten items a bin
        or more, at most 20. The number of ranks, ``n_draws + 1``, should be a multiple of it.

    Returns
    -------
    RankCalibration
        Positions, test, dispersion and shift.

    Raises
    ------
    ValueError
        For shapes that do not match, values that are not finite, or an impossible number of bins.
    """
    draws, truth = _checked(draws, truth)
    n_items, n_draws = draws.shape[:2]
    ranks = _random_rank(draws, truth[:, None], generator)
    positions = (ranks + 0.5) / (n_draws + 1.0)
    bins = _default_bins(n_items, n_draws) if n_bins is None else n_bins
    if not 2 <= bins <= n_draws + 1:
        raise ValueError(f"n_bins must lie in 2 to n_draws + 1 = {n_draws + 1}, got {bins}")
    uniform = (1.0 - (n_draws + 1.0) ** -2) / 12.0
    # The fourth central moment of the discrete uniform law, for the error of a variance.
    fourth = uniform * (0.15 - 0.35 * (n_draws + 1.0) ** -2)
    centred = positions - 0.5
    ones = torch.ones(truth.shape[1], dtype=torch.float64)
    return RankCalibration(
        positions=positions,
        n_draws=n_draws,
        p_values=_uniformity(ranks, n_draws + 1, bins),
        dispersion=centred.square().mean(0) / uniform,
        dispersion_error=ones * ((fourth - uniform**2) / n_items) ** 0.5 / uniform,
        shift=centred.mean(0),
        shift_error=ones * (uniform / n_items) ** 0.5,
    )


def region_coverage(
    draws: Tensor, truth: Tensor, *, generator: torch.Generator, references: Tensor | None = None
) -> RegionCoverage:
    """Measure the coverage of regions around random reference points, in any dimension.

    Parameters
    ----------
    draws : Tensor
        Shape ``(items, n_draws, dim)``.
    truth : Tensor
        Shape ``(items, dim)``; the items are independent.
    generator : torch.Generator
        Pairs items with references and breaks ties.
    references : Tensor, optional
        Shape ``(items, dim)``: points that may depend on what is known about an item, not on its truth. By
        default the truths of other items. Distances are Euclidean: scale the coordinates first.

    Returns
    -------
    RegionCoverage
        The coverage curve, its largest gap and the test.

    Raises
    ------
    ValueError
        For shapes that do not match or values that are not finite.
    """
    from scipy import stats

    draws, truth = _checked(draws, truth)
    if references is None:
        # A shift of the items by a random number of places pairs each with another one.
        step = int(torch.randint(1, truth.shape[0], (), generator=generator, device=generator.device))
        points = truth.roll(step, 0)
    else:
        points = references.detach().cpu().to(torch.float64)
        if points.shape != truth.shape or not bool(points.isfinite().all()):
            raise ValueError(
                f"references must be finite and of shape {tuple(truth.shape)}, got {tuple(points.shape)}"
            )
    nearer = (draws - points[:, None]).norm(dim=-1), (truth - points).norm(dim=-1)
    rank = _random_rank(nearer[0], nearer[1][:, None], generator)
    # A uniform number within each rank makes the law continuous, so that the test is exact.
    jitter = torch.rand(rank.shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    share = ((rank + jitter) / (draws.shape[1] + 1.0)).sort().values
    levels = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    coverage = torch.searchsorted(share, levels, right=True) / share.shape[0]
    test = stats.kstest(share.numpy(), "uniform")
    return RegionCoverage(levels, coverage.to(torch.float64), float(test.statistic), float(test.pvalue))


def _checked(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if draws.ndim != 3 or truth.shape != (draws.shape[0], draws.shape[2]) or draws.shape[0] < 2:
        raise ValueError(
            "draws and truth must have shapes (items, n_draws, dim) and (items, dim), at least two items, "
            f"got {tuple(draws.shape)} and {tuple(truth.shape)}"
        )
    for name, values in (("draws", draws), ("truth", truth)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} must be finite")
    return draws.detach().cpu().to(torch.float64), truth.detach().cpu().to(torch.float64)


def _random_rank(draws: Tensor, truth: Tensor, generator: torch.Generator) -> Tensor:
    """Return the number of draws below the truth along axis 1, equal ones in random order."""
    below, equal = (draws < truth).sum(1), (draws == truth).sum(1)
    noise = torch.rand(below.shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    return below + torch.floor(noise * (equal + 1.0))


def _default_bins(n_items: int, n_draws: int) -> int:
    most = max(2, min(20, n_items // 10, n_draws + 1))
    divisors = [bins for bins in range(2, most + 1) if (n_draws + 1) % bins == 0]
    return max(divisors) if divisors and max(divisors) >= most // 2 else most


def _uniformity(ranks: Tensor, n_ranks: int, n_bins: int) -> Tensor:
    """Return the p-values of a chi-squared test of each column; bins may hold unequal numbers of ranks."""
    from scipy import stats

    bin_of_rank = torch.arange(n_ranks) * n_bins // n_ranks
    expected = torch.bincount(bin_of_rank, minlength=n_bins) / n_ranks * ranks.shape[0]
    index = bin_of_rank[ranks.long()]
    counts = torch.stack([torch.bincount(column, minlength=n_bins) for column in index.mT])
    statistic = ((counts - expected) ** 2 / expected).sum(-1)
    return torch.as_tensor(stats.chi2.sf(statistic.numpy(), n_bins - 1), dtype=torch.float64)
