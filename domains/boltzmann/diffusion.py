"""`BoltzmannDiffusion`: configurations of particles, learned at one temperature and drawn at another."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.estimators.base import DiffusionEstimator
from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import (
    check_boolean,
    check_choice,
    check_integer,
    check_number,
    check_sample_weight,
)
from sciffusion.networks.egnn import ParticleFrame

from .assembling import Law, assemble, divide
from .boltzmann_sample import BoltzmannSample
from .configurations import (
    check_bonds,
    check_configurations,
    check_forces,
    check_kinds,
    check_virial,
    refuse_constraints,
)
from .density import log_density
from .draws import CONTROLS, DrawSettings, ScaledReward, ScoreSource, run_systems
from .fitting import FitSettings, scaled_set, train_score_model
from .pretrained import pretrained_file
from .rewards import combined_reward
from .score_model import ScoreModel, build_score_model
from .sources import learned_source, outside_source
from .units import BOLTZMANN_CONSTANT, thermal_energy

__all__ = ["BoltzmannDiffusion"]

_TRAINING, _DENSITY, _DRAWS = range(3)  # numbers of the private random streams
_FEWEST_ROWS = 2
_GAMMA_RANGE = (0.05, 20.0)
_FEW_COORDINATES = 24  # divergences are exact up to here


class BoltzmannDiffusion(DiffusionEstimator):
    r"""A diffusion model of particles that is drawn from at any temperature or potential, with weights.

    A network learns the score of configurations :math:`p \propto e^{-U/kT_0}` at all levels of noise, from
    configurations and, where they are known, forces. Draws follow :math:`p^\gamma e^r` from noise to data
    with weighted particles whose drift is controlled so that weights stay even (DriftLite): with
    :math:`\gamma = T_0/T` they have temperature T, with a reward :math:`r = -V/kT` they feel an extra
    potential V. Nothing is trained again.

    Parameters
    ----------
    atom_types : sequence of int or str, optional
        One entry an atom; atoms of one type are taken to be interchangeable. All alike by default, as in a
        cluster; give each atom of a molecule its own, or types with `bonds`.
    bonds : sequence of pairs of int, optional
        Bonded atoms: pairs of like atoms are told apart by how many bonds lie between them.
    units : {"reduced", "kJ/mol", "kcal/mol"}, default "reduced"
        Of energies. In reduced units the thermal energy kT is the temperature itself, otherwise
        temperatures are in kelvin. Lengths are in any unit, that of X; forces are energies over it.
    chiral_centre : sequence of four int, optional
        A centre and three of its neighbours. The network cannot tell mirror images apart and draws both;
        with this, draws of the other hand than the training data's are reflected, which is exact.
    local_scale : float, optional
        Smallest length on which the density varies, in the unit of X. By default from the forces, else
        guessed from distances between neighbours.
    min_noise : float in (0, 1), default 0.1
        Smallest noise, as a share of the local scale; draws stop there and are denoised.
    max_noise : float, default 10
        Largest noise, in standard deviations of a coordinate.
    width, depth : int, default 64 and 4
        Size of the network (`sciffusion.networks.egnn.EquivariantNetwork`).
    learning_rate : float, default 0.002
        Of AdamW, after a warm-up; falls to zero along a cosine.
    batch_size : int, default 256
        Configurations of a training step.
    max_steps : int, default 5000
        Training steps.
    validation_fraction : float in [0, 1), default 0.05
        Share of the configurations kept back; the weights with the least loss on them are kept.
    nfe : int, default 150
        Score evaluations of a draw.
    particles : int, default 1000
        Particles of a system, which share weights and control.
    random_state : int, RandomState or None
        Makes the fit reproducible.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "mps".
    verbose : bool, default False
        Show a progress bar in training.
    trainer_options : mapping, optional
        Passed to ``pytorch_lightning.Trainer``.
    checkpoint : path, optional
        File by which an interrupted fit is taken up again; give a fixed `random_state` with it.

    Attributes
    ----------
    temperature_ : float
        Of the training data, and `kT_`, its thermal energy in `units`.
    kT_ : float
    n_atoms_, n_dimensions_ : int
        Shape of a configuration.
    length_, local_scale_ : float
        Standard deviation of a free coordinate, and the smallest scale of the density, in the unit of X.
    hand_ : int or None
        Hand of the chiral centre in the training data, 1 or -1.

    Notes
    -----
    Positions are taken relative to their mean, and the law must not depend on where and how the whole is
    turned. Bonds of constant length have no density in these coordinates and are refused: simulate without
    constraints. Boxes with periodic boundaries are not supported.

    References
    ----------
    Ren, Gao, Ying, Rotskoff and Han, *DriftLite: Lightweight Drift Control for Inference-Time Scaling of
    Diffusion Models*, arXiv 2509.21655.  De Bortoli, Hutchinson, Wirnsberger and Doucet, *Target Score
    Matching*, arXiv 2402.08667 (learning from forces).

    Examples
    --------
    >>> from sciffusion.datasets import make_dw4
    >>> from sciffusion import BoltzmannDiffusion
    >>> data = make_dw4(500, temperature=2.0, random_state=0)
    >>> model = BoltzmannDiffusion(width=16, depth=1, max_steps=20, random_state=0)
    >>> model = model.fit(data.configurations, temperature=2.0, forces=data.forces)
    >>> cold = model.sample(50, temperature=1.5, nfe=20, random_state=0)
    >>> cold.configurations.shape
    (50, 4, 2)
    """

    def __init__(
        self,
        *,
        atom_types: Sequence[int | str] | None = None,
        bonds: Sequence[Sequence[int]] | None = None,
        units: str = "reduced",
        chiral_centre: Sequence[int] | None = None,
        local_scale: float | None = None,
        min_noise: float = 0.1,
        max_noise: float = 10.0,
        width: int = 64,
        depth: int = 4,
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        max_steps: int = 5000,
        validation_fraction: float = 0.05,
        nfe: int = 150,
        particles: int = 1000,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.atom_types = atom_types
        self.bonds = bonds
        self.units = units
        self.chiral_centre = chiral_centre
        self.local_scale = local_scale
        self.min_noise = min_noise
        self.max_noise = max_noise
        self.width = width
        self.depth = depth
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.particles = particles
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        temperature: float = 1.0,
        forces: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> BoltzmannDiffusion:
        """Learn the law of configurations.

        Parameters
        ----------
        X : array-like or Tensor of shape (n, atoms, dimensions)
            Configurations drawn at the temperature.
        y : object
            Not used; there for pipelines.
        temperature : float > 0, default 1
            Of the configurations, in reduced units or in kelvin (see `units`).
        forces : array-like of the shape of X, optional
            Minus the gradient of the energy; they make small networks and few configurations go further.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the configurations.

        Returns
        -------
        BoltzmannDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the configurations or a parameter cannot be used, lengths are constrained, or forces do not
            belong to configurations and temperature; a model fitted before is then left as it was.
        """
        settings = self._fit_settings()
        kt = self._thermal_energy(temperature)
        positions = check_configurations("X", X)
        if len(positions) < _FEWEST_ROWS:
            raise ValueError(f"X must hold at least {_FEWEST_ROWS} configurations, got {len(positions)}")
        refuse_constraints(positions)
        weights = check_sample_weight(sample_weight, len(positions))
        weights = weights / weights.mean()
        known = None if forces is None else check_forces(forces, positions)
        if known is not None:
            check_virial(positions, known, kt, weights, self.units)
        atoms = positions.shape[1]
        kinds, bonds = check_kinds(self.atom_types, atoms), check_bonds(self.bonds, atoms)
        self.hand_ = self._hand(positions)
        self.seed_ = self._new_seed()
        scale = self.local_scale
        if scale is not None:
            scale = check_number("local_scale", scale, low=0.0, open_low=True)
        data = scaled_set(positions, known, weights, kt, scale)
        frame = ParticleFrame.of(data.positions, kinds, bonds)
        with self._private_streams(_TRAINING):
            self._model_, self.history_ = train_score_model(
                settings, data, frame, self._generator(_TRAINING), self._train
            )
        self._frame_, self._settings_ = frame, settings
        self._note_system(positions.shape[1:], float(temperature), kt)
        return self

    def _fit_settings(self) -> FitSettings:
        for name in ("width", "depth", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("validation_fraction", self.validation_fraction, low=0.0, high=1.0, open_high=True)
        check_number("min_noise", self.min_noise, low=0.0, high=1.0, open_low=True, open_high=True)
        check_number("max_noise", self.max_noise, low=1.0)
        check_integer("nfe", self.nfe, low=2)
        check_integer("particles", self.particles, low=2)
        return FitSettings(**{name: getattr(self, name) for name in FitSettings.__dataclass_fields__})

    def _thermal_energy(self, temperature: Any) -> float:
        check_choice("units", self.units, tuple(BOLTZMANN_CONSTANT))
        return thermal_energy(check_number("temperature", temperature, low=0.0, open_low=True), self.units)

    def _hand(self, positions: NDArray[np.float64]) -> int | None:
        """Return the hand of the chiral centre, which all configurations must share."""
        if self.chiral_centre is None:
            return None
        from .chirality import hand_of

        hands = hand_of(torch.from_numpy(positions), tuple(int(one) for one in self.chiral_centre))
        share = float((hands > 0).double().mean())
        if 0.0 < share < 1.0:
            raise ValueError(
                f"chiral_centre must have one hand in all configurations of X; {share:.1%} have the first: "
                "leave chiral_centre out if the centre turns over, or check its atoms"
            )
        return 1 if share == 1.0 else -1

    def _note_system(self, shape: tuple[int, ...], temperature: float, kt: float) -> None:
        self.n_atoms_, self.n_dimensions_ = shape
        self.temperature_, self.kT_ = temperature, kt
        self.length_ = self._model_.length
        self.local_scale_ = self._model_.local_scale * self._model_.length
        ends = (self._settings_.max_noise, self._settings_.min_noise * self._model_.local_scale)
        self._ends_ = ends

    # ---------------------------------------------------------------- draws

    def sample(
        self,
        n: int = 1000,
        *,
        temperature: float | None = None,
        reward: Any = None,
        potential: Callable[[Tensor], Tensor] | None = None,
        control: str = "vcg",
        particles: int | None = None,
        nfe: int | None = None,
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
        control : {"vcg", "ecg", "langevin", "none", "guidance"}, default "vcg"
            How the drift is bent beyond guidance (see `sciffusion.sampling.DriftLiteSampler`); "none" leaves
            all to the weights, "guidance" leaves out the weights and is biased. "ecg" needs log densities,
            which a learned score has not.
        particles : int >= 2, optional
            Particles of a system, in place of `particles`; ``n`` is divided evenly over systems.
        nfe : int >= 2, optional
            Score evaluations of a draw, in place of `nfe`.
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
        check_choice("control", control, CONTROLS)
        law = self._law(temperature)
        source = self._source(n_probes)
        combined = combined_reward(reward, potential, law.kt)
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
        )
        runs = run_systems(
            source, settings, divide(n, size), steps, device=self._compute_device(), n_jobs=n_jobs,
            progress=progress,
        )  # fmt: skip
        return assemble(runs, source, law, n)

    def _law(self, temperature: float | None) -> Law:
        heat = self.temperature_ if temperature is None else temperature
        kt = self._thermal_energy(heat)
        gamma = self.kT_ / kt
        low, high = _GAMMA_RANGE
        if not low <= gamma <= high:
            raise ValueError(
                f"temperature must lie between {self.temperature_ / high:.4g} and "
                f"{self.temperature_ / low:.4g}, a factor of 20 from the {self.temperature_:.4g} of the training data, got {heat:.4g}: "
                "configurations so different were never seen; train at a temperature nearer to it"
            )
        centre = getattr(self, "hand_", None)
        if centre is None or self.chiral_centre is None:
            return Law(float(heat), kt, gamma, None, 1)
        return Law(float(heat), kt, gamma, tuple(int(one) for one in self.chiral_centre), centre)

    def _source(self, n_probes: int | None) -> ScoreSource:
        if n_probes is not None:
            check_integer("n_probes", n_probes, low=1)
        outside: ScoreSource | None = getattr(self, "_outside_", None)
        if outside is not None:
            return outside
        shape = (self.n_atoms_, self.n_dimensions_)
        if n_probes is None and shape[0] * shape[1] > _FEW_COORDINATES:
            n_probes = 1
        self._on_device(self._model_.network)
        return learned_source(self._model_, shape, self._ends_, n_probes)

    # ---------------------------------------------------------------- densities

    def score_samples(
        self, X: Any, *, nfe: int | None = None, n_probes: int | None = None
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

        Returns
        -------
        ndarray of shape (n,)
            In nats, of centred positions in the unit of X. Its differences are those of :math:`-U/kT`; for a
            chiral centre the density of both hands together.
        """
        check_is_fitted(self)
        positions = check_configurations("X", X, shape=(self.n_atoms_, self.n_dimensions_))
        steps = max(check_integer("nfe", self.nfe if nfe is None else nfe, low=4) // 4, 1)
        source = self._source(n_probes)
        device = self._compute_device()
        scaled = torch.from_numpy(positions / source.length).float().to(device)
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

    # ---------------------------------------------------------------- other models

    @classmethod
    def from_pretrained(cls, name: str, *, device: str = "auto") -> Self:
        """Load a model that comes with this version.

        Parameters
        ----------
        name : str
            One of `sciffusion.domains.boltzmann.list_pretrained`.
        device : str, default "auto"
            As for the class.
        """
        model = cls.load(pretrained_file(name))
        model.set_params(device=device)
        return model

    @classmethod
    def from_score(
        cls,
        score: Callable[[Tensor, Tensor], Tensor],
        *,
        path: Path,
        atoms: int,
        dimensions: int = 3,
        temperature: float = 1.0,
        units: str = "reduced",
        divergence: Callable[[Tensor, Tensor], Tensor] | None = None,
        log_density: Callable[[Tensor, Tensor], Tensor] | None = None,
        project: Callable[[Tensor], Tensor] | None = None,
        effective_dim: int | None = None,
        max_noise: float = 20.0,
        min_noise: float = 1e-3,
        n_probes: int | None = None,
        chiral_centre: Sequence[int] | None = None,
        nfe: int = 150,
        particles: int = 1000,
        device: str = "auto",
    ) -> Self:
        r"""Draw with a score from outside: a protein model, a physical law, another library's network.

        Parameters
        ----------
        score : callable
            From noisy positions ``(batch, atoms, dimensions)``, :math:`\alpha_t x_0 + \sigma_t \varepsilon`
            in the model's own unit of length, and a time (a scalar tensor in [0, 1], 0 is data) to the
            gradient of their log density.
        path : Path
            How data become noise (`sciffusion.continuous`).
        atoms, dimensions : int
            Shape of a configuration.
        temperature, units
            Of the model's law, as in `fit`.
        divergence, log_density : callable, optional
            From the same to the divergence of the score and the log density, shape ``(batch,)``; the score is
            differentiated without the first, ``control="ecg"`` needs the second.
        project, effective_dim : callable and int, optional
            Orthogonal projection onto the subspace where the law lives, and its dimension; removal of the
            mean by default.
        max_noise, min_noise : float
            Ends of a draw, :math:`\sigma_t/\alpha_t`: the first far above the spread of the data, the second
            far below the smallest scale of their density.
        n_probes : int, optional
            Probes for a divergence that is not given; exact without.
        chiral_centre, nfe, particles, device
            As for the class; draws of the other hand than 1 are reflected.

        Returns
        -------
        BoltzmannDiffusion
            Ready for `sample` and `score_samples`. It cannot be fitted again into the same law or saved.
        """
        model = cls(
            units=units,
            chiral_centre=chiral_centre,
            nfe=nfe,
            particles=particles,
            device=device,
            random_state=0,
        )
        kt = model._thermal_energy(temperature)
        check_integer("atoms", atoms, low=2)
        check_integer("dimensions", dimensions, low=1, high=3)
        for name, value in (("min_noise", min_noise), ("max_noise", max_noise)):
            check_number(name, value, low=0.0, open_low=True)
        if not callable(score):
            raise TypeError(f"score must be a function of positions and time, got {type(score).__name__}")
        if not isinstance(path, Path):
            raise TypeError(f"path must be a Path of sciffusion.continuous, got {type(path).__name__}")
        model._outside_ = outside_source(
            score, path, (atoms, dimensions), (float(max_noise), float(min_noise)), divergence=divergence,
            log_density=log_density, project=project, effective_dim=effective_dim, n_probes=n_probes,
        )  # fmt: skip
        model.seed_ = model._new_seed()
        model.n_atoms_, model.n_dimensions_ = atoms, dimensions
        model.temperature_, model.kT_ = float(temperature), kt
        model.hand_ = None if chiral_centre is None else 1
        return model

    # ---------------------------------------------------------------- storing

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if getattr(self, "_outside_", None) is not None:
            raise ValueError(
                "a model made by from_score cannot be saved: its score is a function; save what makes the "
                "score, and call from_score again"
            )
        frame = self._frame_
        tensors = {f"network.{name}": value for name, value in self._model_.network.state_dict().items()}
        return tensors, {
            "settings": asdict(self._settings_),
            "kinds": list(frame.kinds),
            "pair_kinds": list(frame.pair_kinds),
            "length": self._model_.length,
            "local_scale": self._model_.local_scale,
            "temperature": self.temperature_,
            "kT": self.kT_,
            "shape": [self.n_atoms_, self.n_dimensions_],
            "hand": self.hand_,
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        weights = {name.removeprefix("network."): value for name, value in tensors.items()}
        self._settings_ = FitSettings(**values["settings"])
        self._frame_ = ParticleFrame(
            tuple(values["kinds"]), tuple(values["pair_kinds"]), weights["pair_means"], weights["pair_stds"]
        )
        model: ScoreModel = build_score_model(
            self._frame_, weights["bumps"], length=float(values["length"]),
            local_scale=float(values["local_scale"]), width=self._settings_.width,
            depth=self._settings_.depth,
        )  # fmt: skip
        model.network.load_state_dict(weights)
        model.network.eval()
        self._model_ = model
        self.hand_ = values["hand"]
        self._note_system(tuple(values["shape"]), float(values["temperature"]), float(values["kT"]))
