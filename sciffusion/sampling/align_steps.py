r"""Align Your Steps: the times at which a first-order stochastic solver loses least.

In the relative noise :math:`\tau = \sigma/\alpha` (on which nothing else about the path matters) a solver
that keeps the clean estimate of :math:`\tau_i` while it steps down to :math:`\tau_{i-1}` follows another law
of paths than the exact reverse equation.  Girsanov's theorem bounds the divergence of the two,

.. math::
   \mathrm{KLUB} = \sum_i \int_{\tau_{i-1}}^{\tau_i} \tau^{-3}\;
   E\lVert D(x_\tau, \tau) - D(x_{\tau_i}, \tau_i) \rVert^2 \, d\tau , \qquad
   x_{\tau_i} = x_\tau + \sqrt{\tau_i^2 - \tau^2}\,\varepsilon ,

and the aligned steps minimise it.  For Gaussian data the bound is the divergence itself, that of the law of
the whole run; what a grid does to the law of its *last* state is another question, and the best grid for the
one need not be the best for the other.  For the exact denoiser :math:`D(x_\tau, \tau)` is a martingale, so
the expectation is the difference of two mean squared norms; for Gaussian data of standard deviation c it is
:math:`c^4 [1/(c^2 + \tau^2) - 1/(c^2 + \tau_i^2)]` a dimension and KLUB has a closed form (`gaussian_klub`).

**How it is estimated** (construction of this library).  The integrand times :math:`\tau` varies slowly in
:math:`\log \tau`, so times are importance-sampled there.  `klub` draws them independently in each step.
`align_steps` evaluates the denoiser once along chains of growing noise through K levels, spaced evenly in
:math:`\log \tau`: the Gram matrix of the estimates gives the expectation for *every* pair of levels, hence
the cost of every possible step.  The best grid on these levels then comes by dynamic programming, which
cannot stop in a local minimum, and is refined between the levels, with the differences of :math:`\log \tau`
as a softmax, so that it stays monotone.  More steps come from fewer by log-linear interpolation
(`refine_grid`).

Sabour, Fidler and Kreis, *Align Your Steps: Optimizing Sampling Schedules in Diffusion Models*, arXiv
2404.14507.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import Path, as_times
from sciffusion.sampling.state import State

__all__ = ["AlignedSteps", "align_steps", "gaussian_klub", "klub", "refine_grid"]


def gaussian_klub(noise_levels: Tensor, data_std: float = 1.0) -> Tensor:
    """Return KLUB for Gaussian data of one dimension, in closed form.

    Parameters
    ----------
    noise_levels : Tensor
        Relative noise levels sigma / alpha, positive and strictly monotone; any order.
    data_std : float, default 1
        Standard deviation of the data.

    Returns
    -------
    Tensor
        Scalar, float64, differentiable in the levels.
    """
    levels = noise_levels.to(torch.float64)
    if levels.ndim == 1 and len(levels) > 1 and bool(levels[0] > levels[-1]):
        levels = levels.flip(0)
    if not (
        levels.ndim == 1 and len(levels) > 1 and bool((levels > 0.0).all() & (levels.diff() > 0.0).all())
    ):
        raise ValueError("noise_levels must be a vector of at least two positive, strictly monotone values")
    if not data_std > 0.0:
        raise ValueError(f"data_std must be positive, got {data_std}")
    low, high, variance = levels[:-1], levels[1:], data_std**2

    def integral(tau: Tensor) -> Tensor:
        # Of tau^-3 c^4 / (c^2 + tau^2), by partial fractions.
        return -0.5 * variance / tau**2 - torch.log(tau) + 0.5 * torch.log(variance + tau**2)

    held = 0.5 * variance**2 / (variance + high**2) * (low**-2 - high**-2)
    return (integral(high) - integral(low) - held).sum()


def refine_grid(path: Path, grid: Tensor, factor: int = 2) -> Tensor:
    """Return a grid with each step cut into equal parts in the log signal-to-noise ratio.

    Parameters
    ----------
    path : Path
        Whose log signal-to-noise ratio is meant.
    grid : Tensor
        Shape ``(n_steps + 1,)``, decreasing.
    factor : int, default 2
        Parts of every step.

    Returns
    -------
    Tensor
        Shape ``(factor * n_steps + 1,)``.  A step to clean data has no middle in the log ratio: it is cut in
        equal parts of time.
    """
    if factor < 1:
        raise ValueError(f"factor must be positive, got {factor}")
    grid = as_times(grid)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0.0).all()):
        raise ValueError("grid must be a vector of at least two decreasing times")
    share = torch.arange(factor, dtype=torch.float64) / factor
    old, new = grid[:-1, None], grid[1:, None]
    log_snr = path.log_snr(grid)
    between = path.time_of_log_snr(log_snr[:-1, None] + share * log_snr.diff()[:, None])
    finite = (log_snr[:-1].isfinite() & log_snr[1:].isfinite())[:, None] & (share > 0.0)
    between = torch.where(finite, between, old + share * (new - old))
    return torch.cat([between.reshape(-1), grid[-1:]])


def _estimate(denoiser: Denoiser, over_alpha: Tensor, t: Tensor, condition: Any) -> Tensor:
    """Return the clean estimate for states given as ``x / alpha`` at times of their first axis."""
    c = denoiser.path.coefficients(t)
    x = c.alpha.reshape(c.alpha.shape + (1,) * (over_alpha.ndim - c.alpha.ndim)).to(over_alpha) * over_alpha
    return denoiser(State(x=x, t=t), condition).to("x0", c, x).value


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.to(like.device)


def klub(
    denoiser: Denoiser,
    grid: Tensor,
    data: Tensor,
    generator: torch.Generator,
    *,
    condition: Any = None,
) -> tuple[Tensor, Tensor]:
    """Estimate KLUB of a grid, without bias, for any denoiser.

    Parameters
    ----------
    denoiser : Denoiser
        Evaluated twice on ``n_steps * rows`` states.
    grid : Tensor
        Shape ``(n_steps + 1,)``: decreasing times with noise at every one of them.
    data : Tensor
        Clean data, shape ``(rows, ...)``; every row has a time of its own in every step.
    generator : torch.Generator
        For times and noise.
    condition : object, optional
        Passed to the denoiser for ``(n_steps, rows, ...)`` states.

    Returns
    -------
    estimate, standard_error : Tensor
        Scalars, float64: the sum over the elements of an item, as in the closed form.
    """
    levels = _levels(denoiser.path, grid)
    if data.shape[0] < 2:
        raise ValueError(f"data must hold at least two rows, got shape {tuple(data.shape)}")
    rows, n_steps = data.shape[0], len(levels) - 1
    high, low = levels[:-1, None], levels[1:, None]
    draws = torch.rand(n_steps, rows, generator=generator, dtype=torch.float32, device=generator.device)
    tau = high * (low / high) ** draws.to(torch.float64).cpu()
    wide = data.expand(n_steps, *data.shape)

    def scaled(level: Tensor, noise: Tensor) -> Tensor:
        return level.to(noise).reshape(level.shape + (1,) * (noise.ndim - level.ndim)) * noise

    with torch.inference_mode():
        near = wide + scaled(tau, _noise(wide, generator))
        far = near + scaled((high**2 - tau**2).clamp_min(0.0).sqrt(), _noise(wide, generator))
        path = denoiser.path
        here = _estimate(denoiser, near, path.time_of_log_snr(-tau.log()), condition)
        there = _estimate(denoiser, far, as_times(grid)[:-1, None].expand(n_steps, rows), condition)
        squared = (here - there).to(torch.float64).square().flatten(2).sum(-1).cpu()
    # The density of tau in its step is 1 / (tau log(high / low)).
    per_row = (torch.log(high / low) * tau**-2 * squared).sum(0)
    return per_row.mean(), per_row.std() / math.sqrt(rows)


def _levels(path: Path, grid: Tensor) -> Tensor:
    grid = as_times(grid)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0.0).all()):
        raise ValueError("grid must be a vector of at least two decreasing times")
    levels = path.coefficients(grid).noise_to_signal
    if not bool((levels.isfinite() & (levels > 0.0)).all()):
        raise ValueError(
            "KLUB needs signal and noise at every time: start below pure noise, end above clean data"
        )
    return levels.cpu()


@dataclass(frozen=True, eq=False)
class AlignedSteps:
    """What `align_steps` found.

    Parameters
    ----------
    grid : Tensor
        Shape ``(n_steps + 1,)``, decreasing times for `sample`.
    klub : float
        Estimated KLUB of the grid, its step to clean data left out.
    log_linear_klub : float
        That of steps equally spaced in the log signal-to-noise ratio, from the same draws.
    """

    grid: Tensor
    klub: float
    log_linear_klub: float


def align_steps(
    denoiser: Denoiser,
    data: Tensor,
    n_steps: int,
    generator: torch.Generator,
    *,
    start: float = 1.0,
    end: float = 0.0,
    last_log_snr: float = 6.0,
    n_levels: int = 160,
    condition: Any = None,
) -> AlignedSteps:
    """Return the grid of least KLUB for a denoiser.

    Parameters
    ----------
    denoiser : Denoiser
        On any path; evaluated ``n_levels`` times on the data.
    data : Tensor
        Clean data, shape ``(rows, ...)``; a few hundred rows are enough for a smooth answer.
    n_steps : int
        Steps of the grid.
    generator : torch.Generator
        For the noise.
    start, end : float
        First and last time, as for `log_snr_grid`.
    last_log_snr : float, default 6
        Log ratio of amplitudes before the final step, used if that of ``end`` is infinite; the final step to
        clean data is then no part of the optimisation.
    n_levels : int, default 160
        Noise levels at which the denoiser is evaluated; at least ``2 n_steps``.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    AlignedSteps
        Grid and KLUB.

    Raises
    ------
    ValueError
        For too few levels or steps, a start in pure noise or already below the last noise level, or no data.
    """
    path = denoiser.path
    ends = path.log_snr(torch.tensor([start, end], dtype=torch.float64))
    if not 0.0 <= end < start <= 1.0 or not bool(ends[0].isfinite()):
        raise ValueError(
            f"expected 0 <= end < start <= 1 with signal at the start, got start={start}, end={end}"
        )
    final = 0 if bool(ends[1].isfinite()) else 1
    inner = n_steps - final
    if inner < 1 or n_levels < 2 * inner:
        raise ValueError(
            f"n_steps={n_steps} needs a step above clean data and n_levels >= 2 n_steps, got {n_levels}"
        )
    if data.shape[0] < 1:
        raise ValueError(f"data must hold at least one row, got shape {tuple(data.shape)}")
    top, bottom = -ends[0], torch.tensor(-last_log_snr, dtype=torch.float64) if final else -ends[1]
    if bool(bottom >= top):
        raise ValueError(f"last_log_snr={last_log_snr} is not above that of the start, {float(ends[0]):.4g}")
    log_levels = torch.linspace(float(bottom), float(top), n_levels, dtype=torch.float64)
    cost = _StepCosts.estimate(denoiser, data, log_levels, generator, condition)
    places = _refined(cost, _best_on_levels(cost, inner))
    even = torch.linspace(0.0, n_levels - 1.0, inner + 1, dtype=torch.float64)
    noise = bottom + (top - bottom) * places / (n_levels - 1)
    times = path.time_of_log_snr(-noise).flip(0).clamp(0.0, 1.0)
    grid = torch.cat([times, times.new_full((final,), end)])
    grid[0], grid[-1] = start, end
    return AlignedSteps(grid, float(cost.total(places)), float(cost.total(even)))


@dataclass(frozen=True, eq=False)
class _StepCosts:
    """The cost of stepping down from a level to another one, for every pair of places between levels.

    ``table[k, j]`` is the integral from level ``j <= k`` to level k with the estimate of level k.
    """

    table: Tensor

    @classmethod
    def estimate(
        cls, denoiser: Denoiser, data: Tensor, log_levels: Tensor, generator: torch.Generator, condition: Any
    ) -> _StepCosts:
        levels, path = log_levels.exp(), denoiser.path
        times = path.time_of_log_snr(-log_levels)
        state, before = data, torch.zeros((), dtype=torch.float64)
        estimates = []
        with torch.inference_mode():
            for level, t in zip(levels, times, strict=True):
                state = state + (level**2 - before**2).sqrt().to(state) * _noise(state, generator)
                estimates.append(_estimate(denoiser, state, t, condition).to(torch.float64).flatten())
                before = level
            rows = torch.stack(estimates)
            norms = rows.square().sum(1)
            gap = (norms[:, None] + norms - 2.0 * rows @ rows.mT).clamp_min(0.0).cpu() / data.shape[0]
        return cls(_integrals(gap.clone(), log_levels))

    def total(self, places: Tensor) -> Tensor:
        """Return KLUB of increasing places, in units of levels, differentiable in them."""
        return self._between(places[1:], places[:-1]).sum()

    def _between(self, high: Tensor, low: Tensor) -> Tensor:
        last = self.table.shape[0] - 1
        k, j = (place.detach().floor().clamp(0, last - 1).long() for place in (high, low))
        a, b = high - k, low - j
        table = self.table
        upper = (1.0 - b) * table[k + 1, j] + b * table[k + 1, j + 1]
        lower = (1.0 - b) * table[k, j] + b * table[k, j + 1]
        return (1.0 - a) * lower + a * upper


def _integrals(gap: Tensor, log_levels: Tensor) -> Tensor:
    """Integrate ``tau^-2 gap`` over log tau downwards from every level, by the trapezoidal rule.

    Above the diagonal the table holds the antisymmetric continuation, so that interpolation near the diagonal
    is smooth; no step ever ends there.
    """
    weighted = gap * torch.exp(-2.0 * log_levels)
    width = log_levels[1] - log_levels[0]
    pieces = 0.5 * width * (weighted[:, 1:] + weighted[:, :-1])
    running = torch.cat([pieces.new_zeros(len(gap), 1), pieces.cumsum(1)], dim=1)
    return running.diagonal()[:, None] - running


def _best_on_levels(cost: _StepCosts, n_steps: int) -> Tensor:
    """Return the places of the cheapest grid whose points are levels, by dynamic programming."""
    table = cost.table
    count = table.shape[0]
    allowed = torch.ones(count, count, dtype=torch.bool).tril(-1)
    step = torch.where(allowed, table, math.inf)
    reached = torch.full((count,), math.inf, dtype=torch.float64)
    reached[0] = 0.0
    choices = []
    for _ in range(n_steps):
        # Row k: the cheapest way to k over the level below it.
        reached, choice = (reached + step).min(dim=1)
        choices.append(choice)
    places = [count - 1]
    for choice in reversed(choices):
        places.append(int(choice[places[-1]]))
    return torch.tensor(places[::-1], dtype=torch.float64)


def _refined(cost: _StepCosts, places: Tensor) -> Tensor:
    """Move places between the levels to the smallest cost; the softmax of the gaps keeps their order."""
    if len(places) < 3:
        return places
    span, first = places[-1] - places[0], places[0]
    with torch.inference_mode(False), torch.enable_grad():
        logits = places.diff().log().detach().clone().requires_grad_(True)
        best, best_cost = places, float(cost.total(places))
        optimizer = torch.optim.Adam([logits], lr=0.02)
        for _ in range(300):
            moved = first + span * torch.cat([span.new_zeros(1), torch.softmax(logits, 0).cumsum(0)])
            loss = cost.total(moved)
            if float(loss.detach()) < best_cost:
                best, best_cost = moved.detach(), float(loss.detach())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return torch.cat([places[:1], best[1:-1], places[-1:]])
