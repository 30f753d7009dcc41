r"""Does a posterior sampler have the right spread and the right modes?  A finite-sample reference.

Let N atoms :math:`x_i` stand for the prior.  Given readings y they have the weights :math:`W_i \propto
p(y|x_i)`, and the noisy values at level :math:`(\alpha, \sigma)` follow, for any forward model, exactly the
mixture

.. math:: p(x_t | y) = \sum_i W_i\, N(x_t; \alpha x_i, \sigma^2 I) .

A sampler's states at recorded times are compared with it in

- the **mean** :math:`\alpha m`, :math:`m = \sum W_i x_i`, by a :math:`\chi^2` test;
- the **spread** :math:`\operatorname{tr}\operatorname{Cov} = \alpha^2 \sum_i W_i q_i + d\sigma^2`, :math:`q_i
  = \|x_i - m\|^2`, whose estimate from n states has a variance known from the fourth moments of the mixture,

  .. math:: \tfrac1n \bigl[\operatorname{Var}_W(\alpha^2 q_i)
     + \textstyle\sum_i W_i (4\alpha^2\sigma^2 q_i + 2 d \sigma^4)\bigr] ;

- the **mode masses**: each state's posterior probability to come from mode k,
  :math:`r_k(x) \propto \sum_{i \in k} W_i N(x; \alpha x_i, \sigma^2 I)`.  Its mean over the exact law is the
  mass :math:`\sum_{i\in k} W_i` at every time (the tower rule), so nothing has to be simulated.

If the atoms are draws of a prior the reference has an error of its own, of order :math:`N^{-1/2}`, which is
added to the error bars.  A verdict needs both: a difference beyond chance, at a level shared among all tests
of the report, and beyond a tolerance, for a sampler with steps is never exact.

Cost: one sampler run and ``n_times * n * N`` distances.  The diagnostic cannot be had before sampling.  It
sees the mean, the total spread and the masses that it is told to look at, not every way to be wrong.

Burns and Fridovich-Keil, *When, Why and How Do Diffusion Posterior Samplers Fail? A Finite-Sample Lens*,
arXiv 2605.30330, for the reference; tests, error bars and the masses by the tower rule are a construction of
this library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.diagnostics.checks import as_samples
from sciffusion.diagnostics.posterior_atoms import PosteriorAtoms
from sciffusion.diagnostics.spread_report import PosteriorSpread, SpreadAtTime
from sciffusion.sampling.guidance.likelihood import Likelihood, log_likelihood

__all__ = ["PosteriorSpread", "SpreadTolerance", "posterior_spread"]


@dataclass(frozen=True)
class SpreadTolerance:
    """Differences that are small enough to pass.

    Parameters
    ----------
    spread : float
        Of the ratio of standard deviations (root of the covariance trace) from 1.
    mean : float
        Distance of the means in units of the exact standard deviation.
    mass : float
        Difference of a mode's mass.
    """

    spread: float = 0.03
    mean: float = 0.05
    mass: float = 0.02


def posterior_spread(
    prior: Any,
    path: Path,
    likelihood: Likelihood | Sequence[Likelihood] | Callable[[Tensor], Tensor],
    states: Sequence[Tensor],
    times: Sequence[Tensor | float],
    *,
    modes: Callable[[Tensor], Tensor] | Tensor | None = None,
    n_times: int = 8,
    n_atoms: int = 8192,
    generator: torch.Generator | None = None,
    are_draws: bool = True,
    level: float = 0.01,
    tolerance: SpreadTolerance | None = None,
) -> PosteriorSpread:
    """Compare the states of a posterior sampler with the exact law of noisy values given the readings.

    Parameters
    ----------
    prior : Tensor or ExactTarget
        Atoms of shape ``(count, dim)`` that stand for the prior, such as the training data; or a target from
        which ``n_atoms`` are drawn.
    path : Path
        Of the sampler.
    likelihood : Likelihood, sequence of them, or callable
        The readings; a callable maps atoms to ``log p(y | atom)``, shape ``(count,)``.
    states : sequence of Tensor
        Values of shape ``(n, dim)`` along the run, as `TraceRecorder` keeps them.
    times : sequence of Tensor or float
        Their times, one for all values each.
    modes : callable or Tensor of int, optional
        From atoms ``(count, dim)`` to the number of each one's mode, from 0; or the numbers themselves.
    n_times : int, default 8
        Number of recorded states to compare, evenly chosen, the last one among them.
    n_atoms : int, default 8192
        Draws from a target.
    generator : torch.Generator, optional
        For these draws.
    are_draws : bool, default True
        Whether atoms given as a tensor are draws of the prior, with an error of their own, or are the prior
        itself (as for a sampler that is meant for their empirical law).
    level : float, default 0.01
        Probability of any false verdict in the report, shared among its tests (Bonferroni).
    tolerance : SpreadTolerance, optional
        Differences that pass although they are beyond chance.

    Returns
    -------
    PosteriorSpread
        Verdicts, a table and a picture.

    Raises
    ------
    ValueError
        For states and times of different lengths, times outside [0, 1], states of another shape than the
        atoms, a number of times or a level outside its range, or a target without a generator.
    TypeError
        For a prior that is neither a tensor nor a target.
    """
    if len(states) != len(times) or len(states) == 0:
        raise ValueError(f"states and times must match, got {len(states)} and {len(times)}")
    if n_times < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"n_times must be at least 1 and level lie in (0, 1), got {n_times} and {level}")
    atoms = _reference(prior, likelihood, modes, n_atoms, generator, are_draws)
    picked = _evenly(len(states), n_times)
    modal = atoms.n_modes if atoms.n_modes > 1 else 0
    each = level / (len(picked) * (2 + modal))
    tolerance = SpreadTolerance() if tolerance is None else tolerance
    rows = []
    for index in picked:
        if torch.as_tensor(times[index]).numel() != 1:
            raise ValueError(f"times[{index}] must be one time for all values, got {times[index]}")
        t = float(torch.as_tensor(times[index]))
        if not 0.0 <= t <= 1.0:
            raise ValueError(f"times[{index}] must lie in [0, 1], got {t}")
        row = _compare(atoms, path, as_samples(states[index], f"states[{index}]", least=2), t)
        rows.append(_judged(row, each, tolerance))
    return PosteriorSpread(tuple(rows), atoms.effective_count)


def _reference(
    prior: Any, likelihood: Any, modes: Any, n_atoms: int, generator: torch.Generator | None, are_draws: bool
) -> PosteriorAtoms:
    if not hasattr(prior, "draw"):
        atoms = as_samples(prior, "prior")
    elif generator is None:
        raise ValueError("drawing atoms from a target needs a generator, got None")
    else:
        atoms, are_draws = prior.draw(n_atoms, generator), True
    with torch.no_grad():
        given = callable(likelihood)
        values = torch.as_tensor(likelihood(atoms)) if given else log_likelihood(likelihood, atoms)
        labels = modes(atoms) if callable(modes) else modes
        labels = None if labels is None else torch.as_tensor(labels)
    return PosteriorAtoms(atoms, values, labels, are_draws)


def _evenly(count: int, n_times: int) -> list[int]:
    """Return indices, evenly chosen, of which the last is the last and the first is not the start."""
    places = torch.linspace(0, count - 1, min(n_times, max(count - 1, 1)) + 1).round().long().tolist()
    return sorted(set(places[1:])) if count > 1 else [0]


def _compare(atoms: PosteriorAtoms, path: Path, x: Tensor, t: float) -> SpreadAtTime:
    """Compute all statistics at one time."""
    if x.shape[1] != atoms.atoms.shape[1]:
        raise ValueError(f"states have dimension {x.shape[1]} and atoms {atoms.atoms.shape[1]}")
    x, c = x.to(atoms.atoms), path.coefficients(t)
    alpha, sigma, (count, dim) = float(c.alpha), float(c.sigma), x.shape
    exact = alpha**2 * float(atoms.weights @ atoms.squares) + dim * sigma**2
    found = float(((x - x.mean(0)) ** 2).sum() / (count - 1))
    chance = _spread_variance(atoms, alpha, sigma, dim) / count
    error = math.sqrt(chance + float(atoms.reference_variance(alpha**2 * atoms.squares)))
    gap, mean_p = _mean_test(atoms, x, alpha, sigma)
    share = atoms.mode_probabilities(x, alpha, sigma)
    hits = torch.nn.functional.one_hot(atoms.labels, atoms.n_modes).to(share)
    mass_error = (share.var(0) / count + atoms.reference_variance(hits)).sqrt().clamp_min(1.0 / count)
    mass_p = torch.special.erfc((share.mean(0) - atoms.masses).abs() / mass_error / math.sqrt(2.0))
    spread_p = (
        math.erfc(abs(found - exact) / error / math.sqrt(2.0)) if error > 0.0 else float(found == exact)
    )
    return SpreadAtTime(
        t=t, exact_spread=math.sqrt(exact), spread=math.sqrt(found),
        # The ratio of roots moves half as much as the ratio of traces.
        ratio_error=0.5 * error / exact * math.sqrt(exact / found) if found > 0.0 else math.inf,
        spread_p=spread_p, mean_gap=gap / math.sqrt(exact), mean_p=mean_p,
        exact_masses=tuple(atoms.masses.tolist()), masses=tuple(share.mean(0).tolist()),
        mass_errors=tuple(mass_error.tolist()), mass_p=tuple(mass_p.tolist()),
    )  # fmt: skip


def _spread_variance(atoms: PosteriorAtoms, alpha: float, sigma: float, dim: int) -> float:
    """Return the variance of the squared distance to the mean under the exact law."""
    squares = alpha**2 * atoms.squares
    between = float(atoms.weights @ (squares - atoms.weights @ squares) ** 2)
    within = float(atoms.weights @ (4.0 * sigma**2 * squares + 2.0 * dim * sigma**4))
    return between + within


def _mean_test(atoms: PosteriorAtoms, x: Tensor, alpha: float, sigma: float) -> tuple[float, float]:
    """Return the distance of the means and the p value of its chi-squared test."""
    gap = x.mean(0) - alpha * atoms.mean
    off = alpha * (atoms.atoms - atoms.mean)
    covariance = (off.mT * atoms.weights) @ off + sigma**2 * torch.eye(x.shape[1]).to(off)
    variance = covariance / len(x)
    if atoms.are_draws:
        variance = variance + (off.mT * atoms.weights**2) @ off
    # A direction in which nothing varies gets a variance that is small against the others.
    variance = variance + 1e-9 * variance.diagonal().mean() * torch.eye(x.shape[1]).to(off)
    statistic = gap @ torch.linalg.solve(variance, gap)
    half = torch.tensor(0.5 * x.shape[1]).to(statistic)
    return float(gap.norm()), float(torch.special.gammaincc(half, 0.5 * statistic))


def _judged(row: SpreadAtTime, level: float, tolerance: SpreadTolerance) -> SpreadAtTime:
    """Return the row with its verdicts."""
    verdicts = []
    if row.spread_p < level and abs(row.ratio - 1.0) > tolerance.spread:
        verdicts.append("under-spread" if row.ratio < 1.0 else "over-spread")
    if row.mean_p < level and row.mean_gap > tolerance.mean:
        verdicts.append("wrong mean")
    triples = zip(row.masses, row.exact_masses, row.mass_p, strict=True)
    if any(p < level and abs(mass - exact) > tolerance.mass for mass, exact, p in triples):
        verdicts.append("wrong masses")
    return replace(row, verdicts=tuple(verdicts))
