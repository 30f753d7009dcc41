"""`BoltzmannDiffusion`: configurations of particles, learned at one temperature and drawn at another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from numpy.typing import ArrayLike
from torch import Tensor

from sciffusion.continuous.path import Path
from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.validation import check_boolean, check_integer, check_number, check_sample_weight
from sciffusion.networks.egnn import ParticleFrame

from .chirality import check_centre, common_hand
from .configurations import (
    check_bonds,
    check_configurations,
    check_forces,
    check_kinds,
    check_virial,
    refuse_constraints,
    refuse_flat,
)
from .fitting import FitSettings, scaled_set, train_score_model
from .particle_model import ParticleModel
from .pretrained import pretrained_file
from .sources import outside_source
from .storage import restored_model, stored_model

__all__ = ["BoltzmannDiffusion"]

_TRAINING = 0  # number of a private random stream
_FEWEST_ROWS = 2


class BoltzmannDiffusion(ParticleModel):
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
        Bonded atoms: pairs of like atoms are told apart by how many bonds lie between them, and the network
        sees how far torsions and planar groups bend (`sciffusion.networks.quadruples`).
    units : {"reduced", "kJ/mol", "kcal/mol"}, default "reduced"
        Of energies. In reduced units the thermal energy kT is the temperature itself, otherwise
        temperatures are in kelvin. Lengths are in any unit, that of X; forces are energies over it.
    chiral_centre : sequence of four int, optional
        A centre and three of its neighbours. Distances cannot tell mirror images apart; with this the network
        sees the signs of triple products, too, and learns the hand of the training data. Draws of
        the other hand are reflected; a good model makes few, and `BoltzmannSample.reflected_share` says how
        many. Leave it out where the law has both hands.
    local_scale : float, optional
        Smallest length on which the density varies, in the unit of X. By default from the forces, else
        guessed from distances between neighbours.
    min_noise : float in (0, 1), default 0.1
        Smallest noise, as a share of the local scale; draws stop there and are denoised.
    max_noise : float, default 10
        Largest noise, in standard deviations of a coordinate.
    width, depth : int, default 64 and 4
        Size of the network (`sciffusion.networks.egnn.EquivariantNetwork`).
    energy_based : bool, default False
        Learn log densities, whose gradient is the score, by a network of energies: conservative forces,
        ``control="ecg"``, and `score_samples` without a flow. Fits take about twice as long, draws 1.4 to 2.7
        times (four particles in the plane).
    fokker_planck : float >= 0, default 0
        Weight of a penalty that holds log densities at small noise to the equation of diffusion; with
        `energy_based` only. Fits then take four to five times as long as those of a plain model.
    variance_floor : float in (0, 1], default 0.03
        Losses are divided by the variance of their targets, or by this if it is more: small noise, where
        forces make targets nearly exact, weighs up to 33 times as much as large. Right for hard particles; 1
        weighs all noise alike, which serves molecules, whose torsions form at noise far above that of their
        bonds.
    learning_rate : float, default 0.002
        Of AdamW, after a warm-up; falls to zero along a cosine.
    batch_size : int, default 256
        Configurations of a training step.
    max_steps : int, default 5000
        Training steps.
    validation_fraction : float in [0, 1), default 0.05
        Share of the configurations kept back; the weights with the least loss on them are kept.
    nfe : int, default 150
        Score evaluations of a draw from noise to data.
    langevin_steps : int, default 100
        Steps of Langevin dynamics at the last noise level, without a change of weights, that take away the
        small errors of the levels before (`sciffusion.domains.boltzmann.moves`).
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
        energy_based: bool = False,
        fokker_planck: float = 0.0,
        variance_floor: float = 0.03,
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        max_steps: int = 5000,
        validation_fraction: float = 0.05,
        nfe: int = 150,
        langevin_steps: int = 100,
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
        self.energy_based = energy_based
        self.fokker_planck = fokker_planck
        self.variance_floor = variance_floor
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.langevin_steps = langevin_steps
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
        weights = check_sample_weight(sample_weight, len(positions))
        known = None if forces is None else check_forces(forces, positions)
        used = weights > 0.0
        positions, weights = positions[used], weights[used] / weights[used].mean()
        known = None if known is None else known[used]
        if len(positions) < _FEWEST_ROWS:
            raise ValueError(f"X must hold at least {_FEWEST_ROWS} configurations, got {len(positions)}")
        refuse_constraints(positions)
        refuse_flat(positions)
        if known is not None:
            check_virial(positions, known, kt, weights, self.units)
        atoms = positions.shape[1]
        kinds, bonds = check_kinds(self.atom_types, atoms), check_bonds(self.bonds, atoms)
        chiral = self._centre_ = check_centre(self.chiral_centre, positions.shape[1:])
        self.hand_ = None if chiral is None else common_hand(positions, chiral)
        self.seed_ = self._new_seed()
        scale = self.local_scale
        if scale is not None:
            scale = check_number("local_scale", scale, low=0.0, open_low=True)
        data = scaled_set(positions, known, weights, kt, scale)
        frame = ParticleFrame.of(data.positions, kinds, bonds, data.weights, chiral)
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
        check_boolean("energy_based", self.energy_based)
        check_number("fokker_planck", self.fokker_planck, low=0.0)
        check_number("variance_floor", self.variance_floor, low=0.0, high=1.0, open_low=True)
        if self.fokker_planck > 0.0 and not self.energy_based:
            raise ValueError("fokker_planck > 0 needs energy_based=True: the penalty is on log densities")
        check_integer("nfe", self.nfe, low=2)
        check_integer("langevin_steps", self.langevin_steps, low=0)
        check_integer("particles", self.particles, low=2)
        return FitSettings(**{name: getattr(self, name) for name in FitSettings.__dataclass_fields__})

    def _note_system(self, shape: tuple[int, ...], temperature: float, kt: float) -> None:
        self.n_atoms_, self.n_dimensions_ = shape
        self.temperature_, self.kT_ = temperature, kt
        self.length_ = self._model_.length
        self.local_scale_ = self._model_.local_scale * self._model_.length
        ends = (self._settings_.max_noise, self._settings_.min_noise * self._model_.local_scale)
        self._ends_ = ends

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
        local_scale: float | None = None,
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
        local_scale : float, optional
            Standard deviation of the law along its stiffest directions, roughly; without it no Langevin moves
            are made at the end of draws.
        chiral_centre, nfe, particles, device
            As for the class. The score is taken to be the same for mirror images: draws of the other hand
            than 1 are reflected, which is exact.

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
        check_integer("nfe", nfe, low=2)
        check_integer("particles", particles, low=2)
        model._centre_ = check_centre(chiral_centre, (atoms, dimensions))
        model._outside_ = outside_source(
            score, path, (atoms, dimensions), (max_noise, min_noise), divergence=divergence,
            log_density=log_density, project=project, effective_dim=effective_dim, n_probes=n_probes,
            local_scale=local_scale,
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
        tensors, values = stored_model(self._model_, self._frame_)
        return tensors, {
            **values,
            "settings": asdict(self._settings_),
            "temperature": self.temperature_,
            "kT": self.kT_,
            "shape": [self.n_atoms_, self.n_dimensions_],
            "hand": self.hand_,
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._settings_ = FitSettings(**values["settings"])
        self._model_, self._frame_ = restored_model(tensors, values, self._settings_)
        # Files of before networks saw the hand know the centre by the parameter alone.
        self._centre_ = self._frame_.chiral or check_centre(self.chiral_centre, tuple(values["shape"]))
        self.hand_ = values["hand"]
        self._note_system(tuple(values["shape"]), float(values["temperature"]), float(values["kT"]))
