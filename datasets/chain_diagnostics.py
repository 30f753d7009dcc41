r"""What chains of a simulation say about their own convergence.

*R-hat.* Each chain is split in halves; with their means and variances

.. math:: \hat R = \sqrt{1 + \operatorname{Var}(\text{means}) / \text{mean variance}}.

It tends to 1; values above 1.02 to 1.05 say that chains have not forgotten where they began.

*Integrated autocorrelation time.* With the autocorrelation :math:`\rho_k` at lag k, the mean of N successive
states has the variance of :math:`N / \tau` independent ones,

.. math:: \tau = 1 + 2 \sum_{k=1}^{K} \rho_k .

The sum ends at the first K that is at least 5 tau (Sokal's window). Autocovariances are taken about the mean
of *all* chains, so that chains which disagree count as correlated.

Sources: Vehtari, Gelman, Simpson, Carpenter and Bürkner, *Rank-normalization, folding, and localization: an
improved R-hat for assessing convergence of MCMC*, arXiv 1903.08008; Sokal, *Monte Carlo methods in
statistical mechanics: foundations and new algorithms*, in Functional Integration, Springer, 1997.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["autocorrelation_time", "effective_rows", "split_r_hat"]


def split_r_hat(series: NDArray[np.floating]) -> float:
    """Return R-hat of chains (frames, chains), each split in halves (a middle frame is left out).

    Raises
    ------
    ValueError
        If `series` is not a matrix with at least four frames, or holds NaN or infinite values.
    """
    _check(series)
    half = len(series) // 2
    halves = np.concatenate([series[:half], series[-half:]], axis=1).astype(np.float64)
    between, within = halves.mean(axis=0).var(ddof=1), halves.var(axis=0, ddof=1).mean()
    if within == 0.0:
        return 1.0 if between == 0.0 else math.inf
    return math.sqrt(1.0 + between / within)


def autocorrelation_time(series: NDArray[np.floating], window: float = 5.0) -> float:
    """Return tau of chains (frames, chains), in frames and at least 1.

    Parameters
    ----------
    series : ndarray of shape (frames, chains)
        An observable of independent chains of one law.
    window : float
        The sum ends at the first lag of at least `window` times tau.

    Returns
    -------
    float
        ``frames * chains / tau`` is the effective number of independent states. Where no lag is long enough
        the sum over all lags up to half the frames is returned, a lower bound.

    Raises
    ------
    ValueError
        If `series` is not a matrix with at least four frames, or holds NaN or infinite values.
    """
    _check(series)
    centred = series.astype(np.float64) - series.mean(dtype=np.float64)
    frames = len(centred)
    spectrum = np.fft.rfft(centred, 2 * frames, axis=0)
    sums = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[: frames // 2].sum(axis=1)
    covariances = sums / (frames - np.arange(frames // 2))
    if covariances[0] <= 0.0:
        return 1.0
    times = 2.0 * np.cumsum(covariances / covariances[0]) - 1.0
    enough = np.flatnonzero(np.arange(frames // 2) >= window * times)
    return max(1.0, float(times[enough[0] if len(enough) else -1]))


def effective_rows(series: NDArray[np.floating], n: int) -> float:
    r"""Return what `n` rows drawn at random from the states of chains are worth for the mean of `series`.

    The mean of the rows has the variance of all N states, :math:`\tau / N`, and that of choosing n of them,
    :math:`1/n - 1/N`, both in units of the variance of one state; their sum is one over what is returned.

    Parameters
    ----------
    series : ndarray of shape (frames, chains)
        An observable of independent chains of one law; N is its size.
    n : int
        Rows drawn without repetition, at most N.

    Raises
    ------
    ValueError
        As of `autocorrelation_time`.
    """
    states = series.size
    independent = states / autocorrelation_time(series)
    return 1.0 / (1.0 / independent + 1.0 / n - 1.0 / states)


def _check(series: NDArray[np.floating]) -> None:
    if series.ndim != 2 or len(series) < 4:
        raise ValueError(f"series has shape {series.shape}, expected (frames >= 4, chains)")
    if not np.isfinite(series).all():
        raise ValueError("series holds NaN or infinite values, expected finite numbers")
