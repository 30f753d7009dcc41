r"""DriftLite: annealed and tilted samples of a diffusion model, with weights and a controlled drift.

From a model of :math:`p` the sampler draws from :math:`q \propto p^\gamma e^{r}`: annealing (another
temperature, :math:`\gamma = T_\text{model} / T`), tilting by a smooth reward, or both.  It follows :math:`q_t
\propto p_t^\gamma e^{\beta_t r}` from noise to data with weighted particles, and bends their drift so that
the weights stay even.

A run starts from :math:`q` at the first time of the grid, :math:`N(0, S^2/\gamma)` with :math:`S` the spread
of the noisy data there and :math:`\beta = 0`, and stops at its last time, where some noise must be left.  At
each step the control of `sciffusion.sampling.driftlite.control` is solved for, and the log weights of
`sciffusion.sampling.driftlite.potential` are added by the trapezoid rule: half of the potential before the
step, half of that after it, with the same coefficients.

Ren, Gao, Ying, Rotskoff and Han, *DriftLite: Lightweight Drift Control for Inference-Time Scaling of
Diffusion Models*, arXiv 2509.21655.  The trapezoid rule and the increments of the path are constructions of
this library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Self, get_args

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.path import Path
from sciffusion.sampling.driftlite.control import Control
from sciffusion.sampling.driftlite.fields import (
    DenoiserField,
    FunctionField,
    ScoreField,
    Subspace,
    TimedFunction,
    check_finite,
)
from sciffusion.sampling.driftlite.potential import RewardSchedule, signal_fraction
from sciffusion.sampling.driftlite.rewards import as_smooth_reward
from sciffusion.sampling.driftlite.run import Plan, Run, RunSettings, WeightRule
from sciffusion.sampling.driver import SampleResult
from sciffusion.sampling.grids import checked_grid

__all__ = ["DriftLiteSampler"]


class DriftLiteSampler:
    r"""Draws from :math:`p^\gamma e^r` with a diffusion model of p, by weighted and controlled particles.

    Parameters
    ----------
    field : ScoreField
        Score of the noisy data; `from_score` and `from_denoiser` make one.
    path : Path
        Path on which the score holds.
    control : {"vcg", "ecg", "none", "langevin", "unguided"}, default "vcg"
        How the drift is bent beyond guidance: so that the variance of the weights' growth is least ("vcg"),
        by the energy of the Poisson equation ("ecg", needs log densities), not at all ("none"), so that only
        the part of the drift that belongs to the noise is guided and the Laplacian of the reward drops out of
        the weights ("langevin"), or back to the drift of the model itself ("unguided").  All have the same
        weighted law; "vcg" and "ecg" take their coefficients from the N particles, at a bias of order 1/N.
        "ecg" is noisy with few particles: prefer "vcg" below some hundreds.
    resample : bool, default True
        False keeps the weights of the whole run.
    threshold : float, default 0.9
        Resample below this fraction of effective particles.
    weights : {"trapezoid", "left", "none"}, default "trapezoid"
        Rule by which weights are integrated along the run, of second and of first order in the steps for the
        log normaliser of slowly varying potentials; "none" for unweighted particles (biased: pure guidance).
    noise_scale : float, default 1
        Noise of the particles relative to that of the path.  With 0 duplicates never separate again.
    ridge : float, default 1e-6
        Added to the unit diagonal of the linear system for the control.
    bound : float, default 10
        Largest magnitude of a coefficient of the control; beyond it all are scaled down together.
    order : {1, 2}, default 2
        Order of the steps: 2 extrapolates the drift to the middle of each step from that of the step before,
        without further evaluations.  Steps of first order make the variances of draws too large by about the
        step in the log signal-to-noise ratio, stiff directions and soft ones alike.
    denoise : bool, default False
        Return the expected clean data of the final state in place of the state; the weights stay those of the
        state.
    project : callable, optional
        Orthogonal projection of values ``(batch, ...)`` onto the linear subspace where the system lives, for
        instance removal of the centre of mass.
    effective_dim : int, optional
        Dimension of that subspace; given together with ``project``.

    Raises
    ------
    ValueError
        For settings outside their range, or ``control="ecg"`` without log densities.

    Notes
    -----
    A run with n steps evaluates the score n + 1 times (n with ``weights`` other than "trapezoid").  "vcg" and
    "ecg" also need the divergence of the score: given in closed form it costs little, else one backward pass
    a probe, or one a coordinate.

    References
    ----------
    Ren, Gao, Ying, Rotskoff and Han, *DriftLite: Lightweight Drift Control for Inference-Time Scaling of
    Diffusion Models*, arXiv 2509.21655.
    """

    def __init__(
        self,
        field: ScoreField,
        path: Path,
        *,
        control: Control = "vcg",
        resample: bool = True,
        threshold: float = 0.9,
        weights: WeightRule = "trapezoid",
        noise_scale: float = 1.0,
        ridge: float = 1e-6,
        bound: float = 10.0,
        order: int = 2,
        denoise: bool = False,
        project: Callable[[Tensor], Tensor] | None = None,
        effective_dim: int | None = None,
    ) -> None:
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order!r}")
        _check_choice("control", control, get_args(Control))
        _check_choice("weights", weights, get_args(WeightRule))
        if control == "ecg" and not field.knows_log_density:
            raise ValueError('control="ecg" needs log densities: give log_density, or use control="vcg"')
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in [0, 1], a fraction of the particles, got {threshold}")
        for name, value in (("noise_scale", noise_scale), ("ridge", ridge)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not bound > 0.0:
            raise ValueError(f"bound must be positive, got {bound}")
        self.field = field
        self.path = path
        self._settings = RunSettings(
            control=control,
            weights=weights,
            threshold=threshold if resample and weights != "none" else 0.0,
            noise_scale=noise_scale,
            ridge=ridge,
            bound=bound,
            denoise=denoise,
            order=int(order),
            subspace=Subspace(project, effective_dim),
        )

    @classmethod
    def from_score(
        cls,
        score: TimedFunction,
        path: Path,
        *,
        divergence: TimedFunction | None = None,
        log_density: TimedFunction | None = None,
        n_probes: int | None = None,
        project: Callable[[Tensor], Tensor] | None = None,
        effective_dim: int | None = None,
        **settings: Any,
    ) -> Self:
        """Return a sampler for any score function, of this library or not.

        Parameters
        ----------
        score : callable
            From values ``(batch, ...)`` and a time (a scalar tensor of the values' type, in [0, 1], 0 is
            data) to the gradient of the log density of the noisy data, of the shape of the values.
        path : Path
            How data become noise; any path with signal and noise at all times of the grid.
        divergence : callable, optional
            From the same to the divergence of the score, shape ``(batch,)``; within the subspace if there is
            one.  Without it the score is differentiated.
        log_density : callable, optional
            From the same to the log density up to a constant, shape ``(batch,)``; for ``control="ecg"``.
        n_probes : int, optional
            Hutchinson probes for a divergence that is not given; None differentiates exactly, at one backward
            pass a coordinate.  One probe is enough for many uses.
        project, effective_dim, **settings
            See the class.

        Returns
        -------
        DriftLiteSampler
            The sampler.
        """
        subspace = Subspace(project, effective_dim)
        field = FunctionField(score, divergence, log_density, n_probes, subspace)
        return cls(field, path, project=project, effective_dim=effective_dim, **settings)

    @classmethod
    def from_denoiser(
        cls,
        denoiser: Denoiser,
        *,
        condition: Any = None,
        n_probes: int | None = None,
        project: Callable[[Tensor], Tensor] | None = None,
        effective_dim: int | None = None,
        **settings: Any,
    ) -> Self:
        """Return a sampler for a denoiser, learned or exact, on its own path.

        Parameters
        ----------
        denoiser : Denoiser
            Its methods ``score_divergence(x, t)`` and ``log_density(x, t)`` are used where it has them.
        condition : object, optional
            Passed to the denoiser.
        n_probes, project, effective_dim, **settings
            As for `from_score`.

        Returns
        -------
        DriftLiteSampler
            The sampler.
        """
        field = DenoiserField(denoiser, condition, n_probes, Subspace(project, effective_dim))
        return cls(field, denoiser.path, project=project, effective_dim=effective_dim, **settings)

    def sample(
        self,
        grid: Tensor,
        *,
        count: int,
        shape: Sequence[int],
        generator: torch.Generator,
        systems: int = 1,
        gamma: float = 1.0,
        reward: Any = None,
        reward_schedule: RewardSchedule = signal_fraction,
        start: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> SampleResult:
        r"""Draw weighted samples.

        Parameters
        ----------
        grid : Tensor
            Shape ``(n_steps + 1,)``: decreasing times, with signal and noise left at all of them.  Spacing
            the log signal-to-noise ratio evenly (`log_snr_grid`) is a good choice.
        count : int
            Particles a system, at least 2.
        shape : sequence of int
            Shape of one item.
        generator : torch.Generator
            Source of all randomness.
        systems : int, default 1
            Independent systems in one batch.
        gamma : float, default 1
            Exponent of the model's law, positive: its temperature over the one wanted.
        reward : callable, AnalyticReward or DifferentiableReward, optional
            Log of the factor by which the law is tilted, a smooth function of items.
        reward_schedule : callable, optional
            From the levels of the path to the share of the reward, shifted and scaled to run from 0 to 1;
            ``alpha^2 / (alpha^2 + sigma^2)`` by default.
        start : Tensor, optional
            Own draws of the annealed law at the first time, shape ``(systems * count, *shape)``.
        dtype, device
            Of the values; weights are float64.
        progress : callable, optional
            Called as ``progress(steps_made, n_steps)`` after every step.

        Returns
        -------
        SampleResult
            Samples ``(systems * count, *shape)``, those of a system next to each other; number of score
            evaluations; ``particles`` with weights, effective sample sizes, ancestors and the log normaliser
            :math:`\log\int p^\gamma e^r` of the noisy law at the last time (relative to that of the start if
            you give the start), None with ``weights="none"``.  The trace holds, one entry a step: the
            variance of the weights' growth without and with control (``variance_guidance``,
            ``variance_potential``, over the fourth power of the diffusion, shape ``(n_steps, systems)``) and
            the ``coefficients`` of the control on the reward's gradient (with a reward), the score and the
            start's score.

        Raises
        ------
        ValueError
            For a grid without signal or noise somewhere, an exponent that is not positive, values of wrong
            shapes, scores or rewards that are not finite (naming the particle), or weights that all vanish.
        TypeError
            For a reward that is not differentiable, or a start or generator of another type.
        """
        grid = checked_grid(grid)
        if grid.ndim != 1:
            raise ValueError(f"grid must be a vector of times, got shape {tuple(grid.shape)}")
        if not (math.isfinite(gamma) and gamma > 0.0):
            raise ValueError(f"gamma must be positive and finite, got {gamma}")
        _check_particles(count, systems, generator)
        smooth = None if reward is None else as_smooth_reward(reward)
        # Not inference mode: probes and rewards take gradients.
        with torch.inference_mode(False), torch.no_grad():
            plan = Plan.make(self.path, grid, gamma, None if smooth is None else reward_schedule)
            whole = (systems * count, *shape)
            if start is None:
                x = self._start(whole, plan, generator, dtype, device)
                level = self._log_normaliser_start(plan, x)
            else:
                x, level = _checked_start(start, whole), 0.0
            run = Run(self._settings, self.field, plan, smooth, count, generator)
            for index in range(plan.n_steps):
                x = run.step(x, index)
                if progress is not None:
                    progress(index + 1, plan.n_steps)
            return run.finish(x, level)

    def _start(
        self,
        shape: tuple[int, ...],
        plan: Plan,
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Tensor:
        """Draw ``N(0, (alpha^2 + sigma^2) / gamma)``."""
        noise = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device).to(device)
        return math.sqrt(plan.squared_scale(0) / plan.gamma) * self._settings.subspace(noise)

    def _log_normaliser_start(self, plan: Plan, x: Tensor) -> float:
        """Return ``log int N(0, S^2)^gamma``."""
        dim, gamma = self._settings.subspace.dimension(x), plan.gamma
        return 0.5 * dim * ((1.0 - gamma) * math.log(2.0 * math.pi * plan.squared_scale(0)) - math.log(gamma))


def _check_particles(count: Any, systems: Any, generator: Any) -> None:
    for name, value, least in (("count", count, 2), ("systems", systems, 1)):
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be at least {least}, a whole number, got {value!r}")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")


def _checked_start(start: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(start, Tensor) or not start.is_floating_point():
        kind = start.dtype if isinstance(start, Tensor) else type(start).__name__
        raise TypeError(f"start must be a floating-point Tensor, got {kind}")
    if tuple(start.shape) != shape:
        raise ValueError(f"start must have shape {shape}, systems x count first, got {tuple(start.shape)}")
    check_finite(start, "start")
    return start


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
