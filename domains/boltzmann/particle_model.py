"""What fitted models of configurations can be asked for: draws and densities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.estimators.base import DiffusionEstimator
from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import (
    check_boolean,
    check_choice,
    check_integer,
    check_number,
    check_sample_weight,
)

from .assembling import Law, assemble, check_exponent, divide
from .boltzmann_sample import BoltzmannSample
from .configurations import check_configurations
from .density import log_density, unnormalised_log_density
from .draws import CONTROLS, DrawSettings, ScaledReward, ScoreSource, run_systems
from .rewards import combined_reward
from .score_model import ScoreModel
from .sources import learned_source
from .units import BOLTZMANN_CONSTANT, thermal_energy

__all__ = ["ParticleModel"]

_DENSITY, _DRAWS = 1, 2  # numbers of the private random streams; training has 0
_FEW_COORDINATES = 24  # divergences are exact up to here


class ParticleModel(DiffusionEstimator):
    """Base of models of configurations: draws and densities once there is a score."""

    units: str
    chiral_centre: Sequence[int] | None
    nfe: int
    langevin_steps: int
    particles: int

    temperature_: float
    kT_: float  # noqa: N815 - the field's own symbol
    n_atoms_: int
    n_dimensions_: int
    hand_: int | None
    _centre_: tuple[int, ...] | None
    _model_: ScoreModel
    _ends_: tuple[float, float]

    def _thermal_energy(self, temperature: Any) -> float:
        check_choice("units", self.units, tuple(BOLTZMANN_CONSTANT))
        return thermal_energy(check_number("temperature", temperature, low=0.0, open_low=True), self.units)

    def sample(
        self,
        n: int = 1000,
        *,
        temperature: float | None = None,
        reward: Any = None,
        potential: Callable[[Tensor], Tensor] | None = None,
        reward_scale: float | None = None,
        control: str = "vcg",
        particles: int | None = None,
        nfe: int | None = None,
        langevin_steps: int | None = None,
        resample: bool = True,
        threshold: float = 0.9,
        bound: float = 1000.0,
        n_probes: int | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> BoltzmannSample:
        r"""Draw weighted configurations.

        Parameters
        ----------
        n : int >= 2, default 1000
            Configurations.
        temperature : float > 0, optional
            Of the draws; that of the training data by default.
        reward : callable, AnalyticReward or DifferentiableReward, optional
            Log of the factor by which the law is tilted, without unit: from positions in the unit of X,
            ``(batch, atoms, dimensions)``, relative to their mean, to ``(batch,)``; twice differentiable.
        potential : callable, optional
            An energy in `units` that is added to that of the system, in the same form: a reward of minus it
            over kT at the temperature of the draws.
        reward_scale : float > 0, optional
            Length on which reward and potential vary, in the unit of X: half of them is there when the noise
            is as small. For a harmonic restraint of two atoms it is the square root of kT over twice the
            stiffness. Stiff ones need it: by default they come in at the noise of the whole spread of the
            data (of unit length with `from_score`), and particles may run away.
        control : {"vcg", "ecg", "langevin", "none", "guidance"}, default "vcg"
            How the drift is bent beyond guidance (see `sciffusion.sampling.DriftLiteSampler`); "none" leaves
            all to the weights, "guidance" leaves out the weights and is biased. "ecg" needs log densities:
            a model learned with `energy_based`.
        particles : int >= 2, optional
            Particles of a system, in place of `particles`; ``n`` is divided evenly over systems.
        nfe : int >= 2, optional
            Score evaluations from noise to data, in place of `nfe`.
        langevin_steps : int >= 0, optional
            Steps of Langevin dynamics at the end, in place of `langevin_steps`; each is one evaluation.
        resample : bool, default True
            False keeps the weights of the whole run.
        threshold : float in [0, 1], default 0.9
            Resample below this share of effective particles.
        bound : float, default 1000
            Largest coefficient of the control.
        n_probes : int >= 1, optional
            Probes for divergences; by default exact up to 24 coordinates and one probe beyond.
        n_jobs : int, optional
            Systems at a time, by joblib; results do not depend on it.
        random_state : int, RandomState or None
            Of the draws; None repeats those of the fit's seed.
        progress : callable, optional
            Called as ``progress(steps_made, n_steps)``.

        Returns
        -------
        BoltzmannSample
            Configurations with weights, effective sample sizes, ancestors, and the log normaliser.

        Raises
        ------
        ValueError, TypeError
            For arguments out of range, and for rewards that are no function with two derivatives.
        """
        check_is_fitted(self)
        n = check_integer("n", n, low=2)
        steps = check_integer("nfe", self.nfe if nfe is None else nfe, low=2) - 1
        size = check_integer("particles", self.particles if particles is None else particles, low=2)
        moves = check_integer(
            "langevin_steps", self.langevin_steps if langevin_steps is None else langevin_steps, low=0
        )
        check_choice("control", control, CONTROLS)
        law = self._law(temperature)
        source = self._source(n_probes)
        if control == "ecg" and not source.field.knows_log_density:
            raise ValueError(
                'control="ecg" needs log densities: use control="vcg", fit with energy_based=True, or give '
                "log_density with a score from outside"
            )
        combined = combined_reward(reward, potential, law.kt, self._probes(n_probes))
        if combined is not None and law.symmetric:
            raise ValueError(
                "reward and potential cannot be used with the chiral_centre of a score that is the same for "
                "mirror images: draws of the other hand would be tilted by the reward of their mirror "
                "images; leave chiral_centre out and give a reward that does not tell the hands apart"
            )
        settings = DrawSettings(
            control=control,
            resample=check_boolean("resample", resample),
            threshold=check_number("threshold", threshold, low=0.0, high=1.0),
            bound=check_number("bound", bound, low=0.0, open_low=True),
            gamma=law.gamma,
            reward=None if combined is None else ScaledReward.of(combined, source.length),
            seed=self._generator(_DRAWS).initial_seed()
            if random_state is None
            else integer_seed(random_state),
            langevin_steps=moves,
            reward_scale=None
            if reward_scale is None
            else check_number("reward_scale", reward_scale, low=0.0, open_low=True) / source.length,
        )
        runs = run_systems(
            source, settings, divide(n, size), steps, device=self._compute_device(), n_jobs=n_jobs,
            progress=progress,
        )  # fmt: skip
        return assemble(runs, source, law, n)

    def _law(self, temperature: float | None) -> Law:
        heat = self.temperature_ if temperature is None else temperature
        # By the units and the centre of the fit, whatever the parameters say now.
        kt = check_number("temperature", heat, low=0.0, open_low=True) * self.kT_ / self.temperature_
        gamma = check_exponent(self.kT_ / kt, float(heat), self.temperature_)
        if self._centre_ is None or self.hand_ is None:
            return Law(float(heat), kt, gamma, None, 1, False)
        frame = getattr(self, "_frame_", None)
        symmetric = frame is None or frame.chiral is None
        return Law(float(heat), kt, gamma, self._centre_, self.hand_, symmetric)

    def _probes(self, n_probes: int | None) -> int | None:
        """Return the number of probes for divergences, None for exact ones."""
        if n_probes is not None:
            return check_integer("n_probes", n_probes, low=1)
        return None if self.n_atoms_ * self.n_dimensions_ <= _FEW_COORDINATES else 1

    def _source(self, n_probes: int | None) -> ScoreSource:
        outside: ScoreSource | None = getattr(self, "_outside_", None)
        if outside is not None:
            return outside
        shape = (self.n_atoms_, self.n_dimensions_)
        self._on_device(self._model_.network)
        return learned_source(self._model_, shape, self._ends_, self._probes(n_probes))

    def score_samples(
        self, X: Any, *, nfe: int | None = None, n_probes: int | None = None, normalised: bool = True
    ) -> NDArray[np.float64]:
        """Return the log density of configurations at the temperature of the training data.

        Parameters
        ----------
        X : array-like of shape (n, atoms, dimensions)
            Configurations.
        nfe : int >= 4, optional
            Score evaluations, each with its divergence; `nfe` by default.
        n_probes : int, optional
            As for `sample`; estimates with probes are unbiased, and noisy.
        normalised : bool, default True
            False returns log densities up to a constant, at one evaluation and without noise, from models
            that know them: those learned with `energy_based`, or made with a `log_density`.

        Returns
        -------
        ndarray of shape (n,)
            In nats, of centred positions in the unit of X. Its differences are those of :math:`-U/kT`. With
            the chiral centre of a fit it is the density of the hand learned, with that of `from_score` the
            one of both hands together, smaller by log 2.

        Raises
        ------
        ValueError
            For configurations that do not fit the model, or ``normalised=False`` where it knows no densities.
        """
        check_is_fitted(self)
        positions = check_configurations("X", X, shape=(self.n_atoms_, self.n_dimensions_))
        steps = max(check_integer("nfe", self.nfe if nfe is None else nfe, low=4) // 4, 1)
        source = self._source(n_probes)
        device = self._compute_device()
        scaled = torch.from_numpy(positions / source.length).float().to(device)
        if not check_boolean("normalised", normalised):
            return unnormalised_log_density(source, scaled, self._generator(_DENSITY))
        with torch.no_grad():
            values = log_density(source, scaled, steps, self._generator(_DENSITY))
        shifted: NDArray[np.float64] = values - source.dof * math.log(source.length)
        return shifted

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log density of configurations (higher is better).

        Parameters
        ----------
        X : array-like of shape (n, atoms, dimensions)
            Configurations.
        y : object
            Not used.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0.
        """
        values = self.score_samples(X)
        return float(np.average(values, weights=check_sample_weight(sample_weight, len(values))))
