r"""The gap between the probability-flow equation and the reverse stochastic equation of one denoiser.

With the exact score both give the same law.  A learned one is not the score of any diffusing density, and the
two laws differ.  Two ways to see it (Deveney, Stanczuk, Kreusser, Budd and Schoenlieb, *Closing the ODE-SDE
Gap in Score-Based Diffusion Models through the Fokker-Planck Equation*, arXiv 2311.15996):

- draw from both and test: the energy distance of the two samples against its law when the labels "ODE" and
  "SDE" are permuted.  Both solvers need enough steps that their own errors are not what is found;
- the residual of the equation that the score of a diffusing density obeys.  With the forward equation
  :math:`dx = f x\,dt + g\,dW` in d dimensions and s the score,

  .. math:: R = \partial_t s - \nabla\Bigl[\tfrac{g^2}{2}\bigl(\nabla\!\cdot s + \lVert s\rVert^2\bigr)
     - f\,(d + x\cdot s)\Bigr] .

Both ask only whether the field is consistent with itself.  A denoiser that is exact for another law than that
of the data has no gap and no residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciffusion.continuous import ERSDE, Denoiser, DPMSolverMultistep, Solver, as_times
from sciffusion.continuous.divergence import divergence_of_values
from sciffusion.continuous.path import align
from sciffusion.diagnostics.checks import as_samples, check_same_dim
from sciffusion.sampling import State, sample

__all__ = [
    "EnergyTest",
    "FokkerPlanckResidual",
    "energy_test",
    "fokker_planck_residual",
    "ode_sde_gap",
]


@dataclass(frozen=True)
class EnergyTest:
    """Energy distance between two samples, with its law for equal ones.

    Parameters
    ----------
    distance : float
        Biased statistic (`sciffusion.diagnostics.energy_distance`), never negative.
    null_mean, null_std : float
        Of the same statistic over permutations of the labels: the floor.
    p_value : float
        Share of permutations with a distance at least as large, the observed one counted in.
    """

    distance: float
    null_mean: float
    null_std: float
    p_value: float


@dataclass(frozen=True)
class FokkerPlanckResidual:
    """Root mean square of the residual of the score's equation.

    Parameters
    ----------
    residual : float
        Root mean square over items and coordinates.
    scale : float
        Root mean square of the time derivative of the score, the term to compare it with.
    each : Tensor
        Root mean square residual of every item, shape ``(count,)``.
    """

    residual: float
    scale: float
    each: Tensor


def ode_sde_gap(
    denoiser: Denoiser,
    grid: Tensor,
    *,
    shape: Sequence[int],
    generator: torch.Generator,
    ode_solver: Solver | None = None,
    sde_solver: Solver | None = None,
    condition: Any = None,
    n_permutations: int = 500,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> EnergyTest:
    """Draw from both equations of a denoiser and test whether the laws agree.

    Parameters
    ----------
    denoiser : Denoiser
        Of any kind.
    grid : Tensor
        Times of both runs; as fine as the question.
    shape : sequence of int
        Of each sample, ``(count, ...)``.
    generator : torch.Generator
        Draws independent starts for both, the noise and the permutations.
    ode_solver, sde_solver : Solver, optional
        By default second-order `DPMSolverMultistep` and `ERSDE`.
    condition : object, optional
        Passed to the denoiser.
    n_permutations : int, default 500
        Of the test.
    dtype, device
        Of the values.

    Returns
    -------
    EnergyTest
        Distance, floor and p-value.
    """
    solvers = (
        DPMSolverMultistep(order=2) if ode_solver is None else ode_solver,
        ERSDE(order=2) if sde_solver is None else sde_solver,
    )
    runs = [
        sample(
            denoiser, solver, grid, shape=shape, condition=condition, generator=generator, dtype=dtype,
            device=device,
        ).samples.reshape(shape[0], -1)
        for solver in solvers
    ]  # fmt: skip
    return energy_test(*runs, generator=generator, n_permutations=n_permutations)


def energy_test(
    first: Tensor, second: Tensor, *, generator: torch.Generator, n_permutations: int = 500
) -> EnergyTest:
    """Test whether two samples have one law.

    Parameters
    ----------
    first, second : Tensor
        Independent samples, shapes ``(count, dim)``; all pairs are held in memory.
    generator : torch.Generator
        Draws the permutations.
    n_permutations : int, default 500
        The p-value is at least ``1 / (n_permutations + 1)``.

    Returns
    -------
    EnergyTest
        Distance, floor and p-value.

    Raises
    ------
    ValueError
        For samples of wrong shapes or too few of them, or no permutation.
    """
    x = as_samples(first, "first", least=2)
    y = as_samples(second, "second", least=2).to(x.device)
    check_same_dim(first=x, second=y)
    if n_permutations < 2:
        raise ValueError(f"n_permutations must be at least 2, got {n_permutations}")
    pooled = torch.cat([x, y])
    distances = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    n, m = x.shape[0], y.shape[0]
    # With labels l = 1/n or -1/m the statistic is -l^T D l, so permutations cost one matrix product.
    label = torch.cat([x.new_full((n,), 1.0 / n), x.new_full((m,), -1.0 / m)])
    keys = torch.rand(
        n_permutations, n + m, generator=generator, dtype=torch.float64, device=generator.device
    )
    labels = torch.cat([label[None], label[keys.argsort(-1).to(x.device)]])
    statistics = -((labels @ distances) * labels).sum(-1)
    observed, null = statistics[0], statistics[1:]
    exceeding = int((null >= observed * (1.0 - 1e-12)).sum())
    return EnergyTest(
        float(observed), float(null.mean()), float(null.std()), (exceeding + 1.0) / (n_permutations + 1.0)
    )


def fokker_planck_residual(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor | float,
    *,
    n_probes: int | None = None,
    generator: torch.Generator | None = None,
    condition: Any = None,
) -> FokkerPlanckResidual:
    """Measure how far a denoiser's score is from that of any density that diffuses along its path.

    Parameters
    ----------
    denoiser : Denoiser
        Three times differentiable in the values and once in the times (no ReLU networks).
    x : Tensor
        Noisy values at times ``t``, shape ``(count, dim)``; float64 is advised.
    t : Tensor or float
        Times inside (0, 1), a scalar or of shape ``(count,)``.
    n_probes : int >= 1, optional
        Hutchinson probes for the divergence, whose noise adds to the residual; None for the exact one, one
        backward pass a dimension.
    generator : torch.Generator, optional
        Source of the probes.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    FokkerPlanckResidual
        Residual and scale.

    Raises
    ------
    ValueError
        For values or times of another shape, no probes, or probes without a generator.
    """
    if x.ndim != 2:
        raise ValueError(f"x must have shape (count, dim), got {tuple(x.shape)}")
    if n_probes is not None and (n_probes < 1 or generator is None):
        raise ValueError(f"probes need n_probes of at least 1 and a generator, got n_probes={n_probes}")
    times = as_times(t)
    if times.ndim > 1 or (times.ndim == 1 and times.shape[0] != x.shape[0]):
        raise ValueError(f"t must be a scalar or of shape ({x.shape[0]},), got {tuple(times.shape)}")
    with torch.inference_mode(False), torch.enable_grad():
        values = x.detach().clone().requires_grad_(True)
        times = times.detach().expand(x.shape[0]).clone().requires_grad_(True)
        coefficients = denoiser.path.coefficients(times)
        prediction = denoiser(State(x=values, t=times), condition)
        score = prediction.to("score", coefficients, values).value
        rate = _time_derivative(score, times)
        trace = divergence_of_values(score, values, n_probes=n_probes, generator=generator, create_graph=True)
        half = 0.5 * align(coefficients.squared_diffusion.detach(), trace)
        drift = align(coefficients.drift.detach(), trace)
        inner = (values * score).sum(-1)
        bracket = half * (trace + score.square().sum(-1)) - drift * (x.shape[1] + inner)
        (gradient,) = torch.autograd.grad(bracket.sum(), values)
    squared = (rate - gradient).detach().cpu().to(torch.float64).square().mean(-1)
    scale = rate.detach().cpu().to(torch.float64).square().mean().sqrt()
    return FokkerPlanckResidual(float(squared.mean().sqrt()), float(scale), squared.sqrt())


def _time_derivative(score: Tensor, times: Tensor) -> Tensor:
    """Return the derivative of every coordinate by the time of its item, by two backward passes."""
    dual = torch.zeros_like(score, requires_grad=True)
    (transposed,) = torch.autograd.grad(score, times, dual, create_graph=True)
    (rate,) = torch.autograd.grad(transposed.sum(), dual, retain_graph=True)
    return rate
