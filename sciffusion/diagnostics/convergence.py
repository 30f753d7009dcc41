r"""Convergence: whether two models, trained on disjoint halves of the data, generate the same.

Two models that learned the law and not their training sets turn one start into nearly the same sample.  With
samples :math:`a_i, b_i` of the two models from the same starting noise, the same solver and the same noise in
every step, centred by their common mean, *agreement* is the mean cosine of :math:`a_i` and :math:`b_i`.

On held-out data corrupted to time t the clean estimates differ by

.. math:: \delta_t = \tfrac1d E\lVert D_a(x_t) - D_b(x_t) \rVert^2 .

Half of it is the variance that the choice of the training set adds to one model's denoising error, estimated
without knowing the true denoiser.  The distance of the scores is :math:`\alpha^2\delta_t/\sigma^4`.

Agreement is necessary for generalisation and not sufficient: models can agree before they have found any
latent structure, see `sciffusion.diagnostics.linear_theory` and `latent_recovery`.

Kadkhodaie, Guth, Simoncelli and Mallat, *Generalization in Diffusion Models Arises from Geometry-Adaptive
Harmonic Representations*, arXiv 2310.02557 (training on disjoint halves); Maillard and Goldt, *Memorisation,
Convergence and Generalisation in Generative Models*, arXiv 2605.21402.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import Denoiser, Solver, as_times, posterior
from sciffusion.sampling import State, sample

__all__ = ["Agreement", "DenoiserDistance", "denoiser_distance", "sample_agreement"]


@dataclass(frozen=True)
class Agreement:
    """Cosine of the samples of two models from the same noise.

    Parameters
    ----------
    cosine : float
        Mean cosine; 1 for models that generate the same.
    error : float
        Its standard error over starts.
    chance : float
        The same for samples from different starts: what agreement without any common cause looks like.
    start_cosine : float
        Mean cosine of a sample with its own starting noise, averaged over the models: how much of the
        agreement is no more than both models having kept the start.
    cosines : Tensor
        One value a start.
    """

    cosine: float
    error: float
    chance: float
    start_cosine: float
    cosines: Tensor


@dataclass(frozen=True)
class DenoiserDistance:
    """Distance of the clean estimates of two denoisers on noisy data, one entry a time.

    Parameters
    ----------
    times : Tensor
        Where it was measured.
    squared : Tensor
        Mean squared difference a coordinate, in squared units of the data.
    error : Tensor
        Its standard error over items.
    score_squared : Tensor
        Mean squared difference of the scores a coordinate.
    loss : Tensor
        Mean squared error of the average of the two models' estimates against the clean data, a coordinate:
        the scale to read ``squared`` against. ``squared / 2`` of a model's own error is due to its training
        set.
    """

    times: Tensor
    squared: Tensor
    error: Tensor
    score_squared: Tensor
    loss: Tensor


def sample_agreement(
    first: Denoiser,
    second: Denoiser,
    solver: Solver,
    grid: Tensor,
    *,
    shape: Sequence[int],
    generator: torch.Generator,
    condition: Any = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Agreement:
    """Sample two models from the same noise and return how well their samples agree.

    Parameters
    ----------
    first, second : Denoiser
        On one path; trained on disjoint parts of the data.
    solver : Solver
        Used for both, stochastic ones with the same noise.
    grid : Tensor
        Times, as for `sciffusion.sampling.sample`.
    shape : sequence of int
        Of the values, ``(count, ...)`` with at least two starts.
    generator : torch.Generator
        Draws starts and noise; left as after one run.
    condition : object, optional
        Passed to both.
    dtype, device
        Of the values.

    Returns
    -------
    Agreement
        Mean cosine, its error and the references.

    Raises
    ------
    ValueError
        For fewer than two starts.
    """
    if len(shape) < 2 or shape[0] < 2:
        raise ValueError(f"shape must be (count, ...) with count at least 2, got {tuple(shape)}")
    start = first.path.draw_prior(tuple(shape), generator, as_times(grid[0]), dtype, device)
    before = generator.get_state()
    runs = []
    for denoiser in (first, second):
        generator.set_state(before)
        state = State(x=start, generator=generator)
        runs.append(sample(denoiser, solver, grid, state=state, condition=condition).samples)
    rows = [run.reshape(shape[0], -1).cpu().to(torch.float64) for run in (*runs, start)]
    ours, theirs = _centred(rows[0], rows[1])
    cosines = _cosine(ours, theirs)
    own = [_cosine(values, rows[2]).mean() for values in (ours, theirs)]
    return Agreement(
        cosine=float(cosines.mean()),
        error=float(cosines.std() / shape[0] ** 0.5),
        chance=float(_cosine(ours, theirs.roll(1, 0)).mean()),
        start_cosine=float(0.5 * (own[0] + own[1])),
        cosines=cosines,
    )


def denoiser_distance(
    first: Denoiser,
    second: Denoiser,
    held_out: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator,
    condition: Any = None,
) -> DenoiserDistance:
    """Return how far two denoisers are apart on noisy held-out data.

    Parameters
    ----------
    first, second : Denoiser
        On one path; trained on disjoint parts of the data.
    held_out : Tensor
        Clean data that neither was trained on, shape ``(count, ...)``.
    times : Tensor
        Shape ``(n_times,)``, above 0. Costs one evaluation of each model a time.
    generator : torch.Generator
        Draws the noise.
    condition : object, optional
        Passed to both.

    Returns
    -------
    DenoiserDistance
        Squared distances with errors, and the loss for scale.

    Raises
    ------
    ValueError
        For fewer than two items, or times that are no vector of values in (0, 1].
    """
    times = as_times(times)
    if times.ndim != 1 or not bool(((times > 0.0) & (times <= 1.0)).all()):
        raise ValueError(f"times must be a vector of values in (0, 1], got {times.tolist()}")
    if held_out.ndim < 2 or held_out.shape[0] < 2:
        raise ValueError(
            f"held_out must have shape (count, ...) with count at least 2, got {tuple(held_out.shape)}"
        )
    measured = [_distance_at(first, second, held_out, t, generator, condition) for t in times]
    squared, error, loss = (torch.stack(column) for column in zip(*measured, strict=True))
    c = first.path.coefficients(times)
    return DenoiserDistance(times, squared, error, c.alpha.cpu() ** 2 / c.sigma.cpu() ** 4 * squared, loss)


def _distance_at(
    first: Denoiser, second: Denoiser, x0: Tensor, t: Tensor, generator: torch.Generator, condition: Any
) -> tuple[Tensor, Tensor, Tensor]:
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device).to(x0.device)
    state = State(x=first.path.marginal(x0, t, noise), t=t)
    with torch.no_grad():
        ours, theirs = (posterior(denoiser, state, condition).mean for denoiser in (first, second))
    each = _mean_square(ours - theirs)
    loss = _mean_square(0.5 * (ours + theirs) - x0)
    return each.mean(), each.std() / each.shape[0] ** 0.5, loss.mean()


def _mean_square(values: Tensor) -> Tensor:
    return values.reshape(values.shape[0], -1).cpu().to(torch.float64).square().mean(-1)


def _centred(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    mean = 0.5 * (first.mean(0) + second.mean(0))
    return first - mean, second - mean


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    cosine: Tensor = (first * second).sum(-1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    return cosine
