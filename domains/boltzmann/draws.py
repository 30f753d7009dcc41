r"""Runs of weighted particles for a model of configurations.

Systems of particles are independent: each runs by itself with a random stream of its own, in this process or
in others, and results do not depend on how many run at a time. Inside a system the score is evaluated in
chunks that fit the cache and the memory.

With positions scaled by a length L, D free coordinates and :math:`\gamma = T_0/T`, the run estimates
:math:`\log\int p_s^\gamma e^r dx_s` for the density :math:`p_s` of scaled positions; in units of the data
:math:`\log\int p^\gamma e^r dx` is smaller by :math:`(\gamma - 1) D \log L`. Where only one hand of a chiral
law is wanted, of which the model knows the even mixture, it grows by :math:`(\gamma - 1) \log 2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from joblib import Parallel, delayed
from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.estimators.chunking import chunk_slices
from sciffusion.estimators.random_state import private_generator
from sciffusion.sampling import SampleResult, log_snr_grid
from sciffusion.sampling.driftlite import (
    DriftLiteSampler,
    RewardValues,
    ScoreField,
    ScoreValues,
    signal_fraction,
)
from sciffusion.sampling.driftlite.fields import Subspace
from sciffusion.sampling.driftlite.potential import RewardSchedule
from sciffusion.sampling.driftlite.rewards import SmoothReward, as_smooth_reward

from .moves import langevin_moves

__all__ = ["CONTROLS", "ChunkedField", "DrawSettings", "ScaledReward", "ScoreSource", "run_systems"]

#: Ways to guide and weigh; "guidance" is the biased one without weights.
CONTROLS = ("vcg", "ecg", "langevin", "none", "guidance")

_CHUNK_BYTES = 48 * 2**20

_RAN_AWAY = (
    "the reward may have driven particles away before the score could hold them: give reward_scale, the "
    "length on which it varies"
)
_SHAKEN = (
    "the steps of the Langevin moves are too long for this law: a reward varies on a shorter length than the "
    "density, or the local_scale of from_score is too large; draw with langevin_steps=0"
)


@dataclass(frozen=True)
class ChunkedField:
    """A score field evaluated in chunks of items.

    Parameters
    ----------
    inner : ScoreField
        Evaluates each item by itself.
    bytes_per_item : int
        Working memory of one.
    """

    inner: ScoreField
    bytes_per_item: int

    @property
    def knows_log_density(self) -> bool:
        """Whether log densities can be asked for."""
        return self.inner.knows_log_density

    def evaluate(
        self, x: Tensor, t: Tensor, *, with_divergence: bool, with_log_density: bool,
        generator: torch.Generator,
    ) -> ScoreValues:  # fmt: skip
        """Evaluate chunk by chunk (see `ScoreField.evaluate`)."""
        parts = [
            self.inner.evaluate(
                x[rows], t, with_divergence=with_divergence, with_log_density=with_log_density,
                generator=generator,
            )
            for rows in chunk_slices(len(x), self.bytes_per_item, _CHUNK_BYTES)
        ]  # fmt: skip
        joined = [None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True)]
        assert joined[0] is not None
        return ScoreValues(joined[0], *joined[1:])


@dataclass(frozen=True)
class ScaledReward:
    """A reward of configurations in the unit of the data, for scaled ones.

    Parameters
    ----------
    inner : SmoothReward
        Of positions in the unit of the data.
    length : float
        Unit of the scaled positions.
    """

    inner: SmoothReward
    length: float

    def evaluate(self, x: Tensor, subspace: Subspace, generator: torch.Generator) -> RewardValues:
        """Return value, gradient and Laplacian with respect to scaled positions."""
        value, gradient, laplacian = self.inner.evaluate(x * self.length, subspace, generator)
        return RewardValues(value, gradient * self.length, laplacian * self.length**2)

    @classmethod
    def of(cls, reward: Any, length: float) -> ScaledReward:
        """Wrap a function or an object with derivatives."""
        return cls(as_smooth_reward(reward), length)


@dataclass(frozen=True)
class ScoreSource:
    """Where scores come from, and on which positions.

    Parameters
    ----------
    field : ScoreField
        On scaled positions.
    path : Path
        The path of its noise.
    shape : tuple of int
        Atoms and dimensions.
    length : float
        Unit of scaled positions, in the unit of the data.
    ends : tuple of float
        Largest and smallest noise level relative to the signal.
    project : callable
        Orthogonal projection onto the subspace where the law lives.
    dof : int
        Its dimension.
    local_scale : float or None
        Standard deviation along the stiffest directions of the law, roughly, in scaled units; None where it
        is not known, and Langevin moves cannot be made.
    unit_variance : bool
        Whether scaled positions without noise have variance 1 a free coordinate.
    """

    field: ScoreField
    path: Path
    shape: tuple[int, int]
    length: float
    ends: tuple[float, float]
    project: Callable[[Tensor], Tensor]
    dof: int
    local_scale: float | None = None
    unit_variance: bool = False

    def grid(self, n_steps: int) -> Tensor:
        """Return times evenly spaced in the log signal-to-noise ratio."""
        start, end = (float(self.path.time_of_log_snr(-math.log(level))) for level in self.ends)
        return log_snr_grid(self.path, n_steps, start=start, end=end)


@dataclass(frozen=True)
class DrawSettings:
    """How particles are guided.

    Parameters
    ----------
    control : str
        One of `CONTROLS`.
    resample : bool
    threshold : float
        Resample below this share of effective particles.
    bound : float
        Largest coefficient of the control.
    gamma : float
    reward : ScaledReward or None
    seed : int
    langevin_steps : int
        Steps of Langevin moves at the last noise level.
    reward_scale : float or None
        Noise level, in scaled positions, at which half of the reward is there; 1 if None.
    """

    control: str
    resample: bool
    threshold: float
    bound: float
    gamma: float
    reward: ScaledReward | None
    seed: int
    langevin_steps: int = 0
    reward_scale: float | None = None

    @property
    def reward_schedule(self) -> RewardSchedule:
        """Share of the reward by the levels of the path: what noise of this level leaves of it."""
        scale = self.reward_scale
        if scale is None:
            return signal_fraction
        return lambda levels: 1.0 / (1.0 + (levels.noise_to_signal / scale) ** 2)


def run_systems(
    source: ScoreSource,
    settings: DrawSettings,
    counts: list[int],
    n_steps: int,
    *,
    device: torch.device,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SampleResult]:
    """Run independent systems of particles.

    Parameters
    ----------
    source : ScoreSource
        The model.
    settings : DrawSettings
        How it is used.
    counts : list of int
        Particles of each system.
    n_steps : int
        Steps; the score is evaluated once more.
    device : torch.device
        Where to compute.
    n_jobs : int, optional
        Systems at a time, by joblib.
    progress : callable, optional
        Called as ``progress(steps_made, n_steps)`` over all systems; in this process only, so not with
        several jobs.

    Returns
    -------
    list of SampleResult
        One a system.
    """
    whole = len(counts) * n_steps

    def tell(number: int) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda made, _: progress(number * n_steps + made, whole)

    if n_jobs in (None, 1):
        return [
            _run_system(source, settings, count, number, n_steps, device, tell(number))
            for number, count in enumerate(counts)
        ]
    results: list[SampleResult] = Parallel(n_jobs=n_jobs)(
        delayed(_run_system)(source, settings, count, number, n_steps, device, None)
        for number, count in enumerate(counts)
    )
    return results


def _run_system(
    source: ScoreSource,
    settings: DrawSettings,
    count: int,
    number: int,
    n_steps: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> SampleResult:
    plain = settings.control == "guidance"
    sampler = DriftLiteSampler(
        source.field,
        source.path,
        control="none" if plain else settings.control,  # type: ignore[arg-type]
        weights="none" if plain else "trapezoid",
        resample=settings.resample,
        threshold=settings.threshold,
        bound=settings.bound,
        denoise=True,
        project=source.project,
        effective_dim=source.dof,
    )
    grid, generator = source.grid(n_steps), private_generator(settings.seed, number)
    try:
        result = sampler.sample(
            grid,
            count=count,
            shape=source.shape,
            generator=generator,
            gamma=settings.gamma,
            reward=settings.reward,
            reward_schedule=settings.reward_schedule,
            device=device,
            progress=progress,
        )
    except ValueError as error:
        if settings.reward is None or "is not finite" not in str(error):
            raise
        raise ValueError(f"{error}; {_RAN_AWAY}") from error
    return _moved(result, source, settings, float(grid[-1]), generator)


def _moved(
    result: SampleResult, source: ScoreSource, settings: DrawSettings, t: float, generator: torch.Generator
) -> SampleResult:
    """Return the result with Langevin moves made at its last time."""
    if settings.langevin_steps == 0 or source.local_scale is None:
        return result
    time = torch.tensor(t, dtype=torch.float64)
    level = source.path.coefficients(time)
    alpha, sigma = float(level.alpha), float(level.sigma)
    subspace = Subspace(source.project, source.dof)

    def of_model(x: Tensor) -> Tensor:
        return source.field.evaluate(
            x, time, with_divergence=False, with_log_density=False, generator=generator
        ).score

    def of_law(x: Tensor) -> Tensor:
        score = settings.gamma * of_model(x)
        if settings.reward is not None:
            score = score + settings.reward.evaluate(x, subspace, generator).gradient
        return score

    with torch.inference_mode(False), torch.no_grad():
        scale = alpha * math.hypot(source.local_scale, sigma / alpha) / math.sqrt(settings.gamma)
        if settings.reward is not None and settings.reward_scale is not None:
            scale = min(scale, alpha * settings.reward_scale)  # a stiff reward needs shorter steps
        x = _shaken(of_law, result.state.x, settings, scale, source, generator)
        samples = (x + sigma**2 * of_model(x)) / alpha
    return replace(result, samples=samples, nfe=result.nfe + settings.langevin_steps + 2)


def _shaken(
    score: Callable[[Tensor], Tensor], x: Tensor, settings: DrawSettings, scale: float, source: ScoreSource,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return positions after Langevin moves, or raise ``ValueError`` with the remedy where these run away."""
    try:
        moved = langevin_moves(score, x, settings.langevin_steps, scale, source.project, generator)
    except ValueError as error:  # of a reward that is not finite any more
        raise ValueError(f"{error}; {_SHAKEN}") from error
    if not bool(moved.isfinite().all()):
        raise ValueError(_SHAKEN)
    return moved
