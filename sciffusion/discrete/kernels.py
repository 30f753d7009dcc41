r"""Rate matrices: which tokens noise turns into which, and how fast.

A rate matrix R has non-negative entries :math:`R_{ky}` off its diagonal, the rate at which token k becomes y,
and rows that sum to 0. All of these are reversible: with the stationary law :math:`\pi`,
:math:`\pi_k R_{ky} = \pi_y R_{yk}`.

- `uniform_rates`: :math:`R = 1 1^\top / K - I`, every token into every one.
- `ordinal_rates`: neighbours on a line into each other, for levels, grades and bins.
- `kimura_rates`: nucleotides; transitions (A-G, C-T) faster than transversions.
- `log_odds_rates`: :math:`R_{ky} = \pi_y\,e^{\lambda S_{ky}}` for a symmetric matrix S of log-odds scores;
  `blosum62_rates` is that of amino acids.

All are scaled such that the slowest contrast between tokens decays at rate 1, so that the keep probability
:math:`a_t = e^{-\tau}` of a schedule is what is left of that contrast.

Kimura, *A simple method for estimating evolutionary rates of base substitutions*, J. Mol. Evol. 16 (1980);
Henikoff and Henikoff, *Amino acid substitution matrices from protein blocks*, PNAS 89 (1992); Yu, Wootton
and Altschul, *The compositional adjustment of amino acid substitution matrices*, PNAS 100 (2003), for the
law that scores imply. Rates from scores are a construction of this library.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "AMINO_ACIDS",
    "NUCLEOTIDES",
    "blosum62_rates",
    "implied_law",
    "kimura_rates",
    "log_odds_rates",
    "ordinal_rates",
    "scaled_to_gap",
    "stationary_law",
    "uniform_rates",
]

#: The order of tokens in `kimura_rates`.
NUCLEOTIDES = "ACGT"
#: The order of tokens in `blosum62_rates`.
AMINO_ACIDS = "ARNDCQEGHILKMFPSTWYV"

#: BLOSUM62 of the NCBI, lower triangle in the order of `AMINO_ACIDS`, half bits.
_BLOSUM62 = """
4
-1 5
-2 0 6
-2 -2 1 6
0 -3 -3 -3 9
-1 1 0 0 -3 5
-1 0 0 2 -4 2 5
0 -2 0 -1 -3 -2 -2 6
-2 0 1 -1 -3 0 0 -2 8
-1 -3 -3 -3 -1 -3 -3 -4 -3 4
-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4
-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5
-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5
-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7
1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4
0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7
0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4
"""


def stationary_law(rates: Tensor) -> Tensor:
    """Return the law that a rate matrix leaves as it is, float64 of shape ``(size,)``.

    Raises
    ------
    ValueError
        If there are several, for tokens in groups that noise cannot leave.
    """
    rates = rates.double()
    if int((torch.linalg.svdvals(rates) < 1e-12 * rates.abs().max()).sum()) != 1:
        raise ValueError("rates must connect all tokens; these leave several laws as they are")
    size = len(rates)
    system = torch.cat([rates.T, torch.ones(1, size, dtype=torch.float64)])
    right = torch.zeros(size + 1, 1, dtype=torch.float64)
    right[-1] = 1.0
    law: Tensor = torch.linalg.lstsq(system, right, driver="gelsd").solution[:, 0].clamp_min(0.0)
    return law / law.sum()


def scaled_to_gap(rates: Tensor) -> Tensor:
    """Return rates times the number that makes their slowest contrast decay at rate 1."""
    parts = torch.linalg.eigvals(rates.double()).real.sort(descending=True).values
    return rates / -float(parts[1])


def _from_exchanges(exchanges: Tensor) -> Tensor:
    """Return the scaled rate matrix with these rates off the diagonal."""
    rates = exchanges.double().clone()
    rates.fill_diagonal_(0.0)
    return scaled_to_gap(rates - torch.diag(rates.sum(-1)))


def _checked_size(size: int) -> int:
    if size < 2:
        raise ValueError(f"vocab_size must be at least 2, got {size}")
    return size


def uniform_rates(vocab_size: int) -> Tensor:
    """Return the rates of `Uniform` noise, of shape ``(vocab_size, vocab_size)``."""
    return _from_exchanges(torch.ones(_checked_size(vocab_size), vocab_size))


def ordinal_rates(vocab_size: int) -> Tensor:
    """Return equal rates between neighbours 0-1, 1-2, ...; the stationary law is uniform.

    Parameters
    ----------
    vocab_size : int
        Number of levels, at least 2.
    """
    step = torch.ones(_checked_size(vocab_size) - 1)
    return _from_exchanges(torch.diag(step, 1) + torch.diag(step, -1))


def kimura_rates(transition_ratio: float = 2.0) -> Tensor:
    """Return rates between nucleotides in the order `NUCLEOTIDES`; the stationary law is uniform.

    Parameters
    ----------
    transition_ratio : float > 0, default 2
        Rate of the transitions (A-G, C-T) over that of each transversion.
    """
    if not (transition_ratio > 0.0 and math.isfinite(transition_ratio)):
        raise ValueError(f"transition_ratio must be positive and finite, got {transition_ratio}")
    exchanges = torch.ones(4, 4, dtype=torch.float64)
    for one, other in ("AG", "CT"):
        place = NUCLEOTIDES.index(one), NUCLEOTIDES.index(other)
        exchanges[place] = exchanges[place[::-1]] = transition_ratio
    return _from_exchanges(exchanges)


def implied_law(scores: Tensor, unit: float) -> Tensor:
    r"""Return the law of single tokens that log-odds scores imply.

    Scores :math:`S_{ky} = \lambda^{-1} \log \frac{q_{ky}}{\pi_k \pi_y}` of pairs whose margins are
    :math:`\pi` satisfy :math:`\sum_y e^{\lambda S_{ky}} \pi_y = 1` for every k.

    Parameters
    ----------
    scores : Tensor of shape ``(size, size)``
        Symmetric.
    unit : float
        Nats in a score of 1.

    Raises
    ------
    ValueError
        If no positive law does that.
    """
    odds = torch.exp(unit * scores.double())
    law: Tensor = torch.linalg.solve(odds, torch.ones(len(odds), 1, dtype=torch.float64))[:, 0]
    if not bool((law > 0.0).all()):
        raise ValueError("the scores imply no law with positive frequencies; pass frequencies")
    return law / law.sum()


def log_odds_rates(scores: Tensor, unit: float, frequencies: Tensor | None = None) -> Tensor:
    """Return rates between tokens from log-odds scores of their exchange.

    Parameters
    ----------
    scores : Tensor of shape ``(size, size)``
        Symmetric; the higher, the faster two tokens turn into each other.
    unit : float > 0
        Nats in a score of 1.
    frequencies : Tensor of shape ``(size,)``, optional
        The stationary law, that of noise; the one that the scores imply by default (`implied_law`).
    """
    scores = scores.double()
    if scores.ndim != 2 or not torch.equal(scores, scores.T):
        raise ValueError(f"scores must be a symmetric matrix, got shape {tuple(scores.shape)}")
    law = implied_law(scores, unit) if frequencies is None else frequencies.double()
    if law.shape != scores.shape[:1] or not bool((law > 0.0).all()):
        raise ValueError("frequencies must be one positive number a token")
    return _from_exchanges(torch.exp(unit * scores) * (law / law.sum()))


def blosum62_rates() -> Tensor:
    """Return rates between amino acids in the order `AMINO_ACIDS`, from BLOSUM62."""
    rows = [[float(score) for score in line.split()] for line in _BLOSUM62.strip().splitlines()]
    scores = torch.zeros(20, 20, dtype=torch.float64)
    for place, row in enumerate(rows):
        scores[place, : place + 1] = scores[: place + 1, place] = torch.tensor(row, dtype=torch.float64)
    return log_odds_rates(scores, math.log(2.0) / 2.0)
