"""`DiffusionAnomalyDetector`: rows that do not look like the training rows, by diffusion."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import OutlierMixin
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..training import TrainingHistory
from .base import DiffusionEstimator
from .chunking import map_chunks
from .fitting import all_or_nothing
from .validation import check_choice, check_integer, check_number
from .vectors.anomaly_scores import (
    LEVELS,
    NoiseLevelNetwork,
    denoising_errors,
    denoising_panel,
    expected_interval,
    noise_level_objective,
    posterior_noise_level,
)
from .vectors.columns import ColumnScale
from .vectors.densities import EXACT_UP_TO, in_double, log_density_rows
from .vectors.network import VectorNetwork
from .vectors.tables import read_table, weighted_rows
from .vectors.training import NetworkSettings, Rows, split_rows, train_vector_network

__all__ = ["DiffusionAnomalyDetector"]

Floats = NDArray[np.float64]
Measure = Literal["denoising", "time", "neighbours", "density"]

_SPLIT, _TRAINING, _PANEL, _PROBES = range(4)  # numbers of the private random streams
_MEASURES = ("denoising", "time", "neighbours", "density")
_FEWEST_ROWS = 2
_NOISE = (-0.5, 1.3)  # mean and standard deviation of the log noise level in training
_MIN_NOISE = 0.02  # of the density score
_SMALLEST_SPREAD = 1e-3  # of a log error over the training rows, where all rows are alike
_HELD_OUT = 1
_SAME_ROW = 1e-6  # distance a column, in standard deviations, up to which rows are equal


class DiffusionAnomalyDetector(OutlierMixin, DiffusionEstimator):  # type: ignore[misc, unused-ignore]
    """Anomaly detection by how well a denoiser restores a row, or how noisy the row looks.

    Trained on rows that are mostly normal; rows are standardised column by column. What each measure is
    stands in `sciffusion.estimators.vectors.anomaly_scores`.

    Parameters
    ----------
    measure : {"denoising", "time", "neighbours", "density"}, default "denoising"
        "denoising": error of an ensemble of denoisers over eight noise levels. "time": noise level that a
        classifier sees in the row (DTE-C). "neighbours": noise level that the nearest training rows tell
        (DTE-NP; nothing is learned, rows are ranked as by their distance to neighbours). "density": log
        density by the probability flow; by far the slowest.
    contamination : float in (0, 0.5], default 0.1
        Share of the training rows that `predict` calls anomalies; sets `offset_` and nothing else.
    n_neighbors : int, default 5
        Of the measure "neighbours".
    n_draws : int, default 8
        Noisy copies of a row that each member of the ensemble denoises at each level.
    n_members : int, default 2
        Networks in the ensemble.
    width, depth : int, default 128 and 3
        Units of a hidden layer, and hidden layers, of each network.
    learning_rate, weight_decay : float, default 0.002 and 0.01
        Of AdamW; the rate falls to zero along a cosine.
    batch_size : int, default 256
        Rows of a training step.
    max_steps : int, default 2000
        Training steps at most.
    patience : int or None, default None
        Evaluations of the held-out loss (every 50 steps) without improvement after which a member stops;
        None takes all steps, and the best weights.
    validation_fraction : float in [0, 1), default 0.1
        Share of the rows that each member keeps back; nothing where that is less than five rows.
    random_state : int, RandomState or None
        Makes fit and predictions reproducible.
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
    offset_ : float
        ``decision_function = score_samples - offset_``.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    Training rows are scored by networks that have learned from them, so that their scores are a little
    better than those of new normal rows: on new rows somewhat more than `contamination` are flagged.
    Constant columns are kept, in their own units. For "neighbours" a training row equal to the row that is
    scored is left out once.

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion import DiffusionAnomalyDetector
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = DiffusionAnomalyDetector(random_state=0, max_steps=100).fit(X)
    >>> model.predict([[0.0, 0.0], [9.0, -9.0]])
    array([ 1, -1])
    """

    def __init__(
        self,
        *,
        measure: Measure = "denoising",
        contamination: float = 0.1,
        n_neighbors: int = 5,
        n_draws: int = 8,
        n_members: int = 2,
        width: int = 128,
        depth: int = 3,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        max_steps: int = 2000,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.measure = measure
        self.contamination = contamination
        self.n_neighbors = n_neighbors
        self.n_draws = n_draws
        self.n_members = n_members
        self.width = width
        self.depth = depth
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> DiffusionAnomalyDetector:
        """Fit the detector.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Numbers, without missing values; mostly normal rows.
        y : object
            Not used; there for pipelines.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows, for the scale of the columns and the losses. The measure "neighbours"
            knows no weights but zero.

        Returns
        -------
        DiffusionAnomalyDetector
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If the table or a parameter cannot be used; a detector fitted before is then left as it was.
        """
        settings = NetworkSettings.of(self)
        kind = check_choice("measure", self.measure, _MEASURES)
        share = check_number("contamination", self.contamination, low=0.0, high=0.5, open_low=True)
        for name in ("n_neighbors", "n_draws"):
            check_integer(name, getattr(self, name), low=1)
        table = read_table(self, X, fitting=True, fewest_rows=_FEWEST_ROWS)
        table, weights = weighted_rows(table, sample_weight, _FEWEST_ROWS)
        self.seed_ = self._new_seed()
        self._settings_, self._measure_, self._n_draws_ = settings, kind, int(self.n_draws)
        self._scale_ = ColumnScale.learn(table, weights)
        values = self._scale_.standardise(table)
        self._network_: nn.Module | None = None
        self._neighbours_: Floats | None = None
        self._reference_: Floats | None = None
        if kind == "neighbours":
            self._neighbours_ = values
            self._n_neighbours_ = min(int(self.n_neighbors), len(values) - 1)
        else:
            self._learn(values, weights / weights.mean())
        self.offset_ = float(np.percentile(-self._strangeness(values), 100.0 * share))
        return self

    def _learn(self, values: Floats, weights: Floats) -> None:
        settings = self._settings_
        rows = split_rows(
            torch.from_numpy(values),
            torch.from_numpy(weights),
            settings.n_members,
            settings.validation_fraction,
            self._generator(_SPLIT),
        )
        if self._measure_ == "time":
            self._network_, self.history_ = self._train_classifier(rows)
            return
        self._network_, self.history_ = train_vector_network(
            settings, rows, self._generator(_TRAINING), self._train,
            noise_location=_NOISE[0], noise_scale=_NOISE[1],
        )  # fmt: skip
        if self._measure_ == "denoising":
            errors = self._over_rows(values, self._log_errors)
            average = weights / weights.sum()
            mean = average @ errors
            spread = np.sqrt(average @ (errors - mean) ** 2)
            self._reference_ = np.stack([mean, np.maximum(spread, _SMALLEST_SPREAD)])

    def _train_classifier(self, rows: Rows) -> tuple[NoiseLevelNetwork, TrainingHistory]:
        settings, generator = self._settings_, self._generator(_TRAINING)
        network = self._empty_network("time", rows.values.shape[1], generator)

        def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
            values, weights = batch
            shape = (settings.n_members, *values.shape)
            return noise_level_objective(network, values.expand(shape), weights.T, stream)

        def held_out(network: nn.Module) -> Tensor:
            device = next(network.parameters()).device
            stream = self._generator(_TRAINING, _HELD_OUT, device=device)
            values = rows.values[rows.held_out].to(device)
            return noise_level_objective(network, values, rows.held_out_weights.to(device), stream)

        history = self._train(
            network, objective, (rows.values, rows.weights), options=settings.training_options(),
            held_out=held_out if rows.held_out.shape[1] else None, description="time",
        )  # fmt: skip
        assert isinstance(network, NoiseLevelNetwork)
        return network, history

    def _empty_network(self, kind: str, dim: int, generator: torch.Generator) -> nn.Module:
        settings = self._settings_
        sizes = {"width": settings.width, "depth": settings.depth}
        if kind == "time":
            return NoiseLevelNetwork(settings.n_members, dim, generator=generator, **sizes)
        return VectorNetwork(settings.n_members, dim, masked=False, generator=generator, **sizes)

    # ---------------------------------------------------------------- scores

    def score_samples(self, X: Any) -> Floats:
        """Return how normal rows are: higher is more normal, on the scale of the chosen measure.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows without missing values.

        Returns
        -------
        ndarray of shape (n,)
            "denoising": minus the mean standardised log error (0 for an average training row). "time":
            minus the expected interval of the noise level, from -6 to 0. "neighbours": minus the most
            probable noise level, in standard deviations. "density": log density of the standardised row.
        """
        check_is_fitted(self)
        return -self._strangeness(self._scale_.standardise(read_table(self, X)))

    def decision_function(self, X: Any) -> Floats:
        """Return ``score_samples(X) - offset_``: negative for anomalies, shape (n,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 for normal rows and -1 for anomalies, shape (n,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def log_errors(self, X: Any) -> Floats:
        """Return by noise level how strange rows are, for the measure "denoising".

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows without missing values.

        Returns
        -------
        ndarray of shape (n, 8)
            Log denoising errors at the levels `sciffusion.estimators.vectors.anomaly_scores.LEVELS`,
            standardised by those of the training rows; `score_samples` is minus their mean.

        Raises
        ------
        ValueError
            If the detector was fitted with another measure.
        """
        check_is_fitted(self)
        if self._measure_ != "denoising":
            raise ValueError(f'log_errors needs measure="denoising", this one has {self._measure_!r}')
        return self._standardised_errors(self._scale_.standardise(read_table(self, X)))

    def _strangeness(self, values: Floats) -> Floats:
        if self._measure_ == "neighbours":
            return self._noise_of_neighbours(values)
        if self._measure_ == "density":
            return self._over_rows(values, self._minus_log_density)
        if self._measure_ == "time":
            return self._over_rows(values, self._noise_seen)
        return np.asarray(self._standardised_errors(values).mean(axis=1))

    def _standardised_errors(self, values: Floats) -> Floats:
        assert self._reference_ is not None
        mean, spread = self._reference_
        return np.asarray((self._over_rows(values, self._log_errors) - mean) / spread)

    def _noise_of_neighbours(self, values: Floats) -> Floats:
        assert self._neighbours_ is not None
        search = NearestNeighbors(n_neighbors=self._n_neighbours_ + 1).fit(self._neighbours_)
        distances, _ = search.kneighbors(values)
        # A training row is no neighbour of its own; so that fit and predict agree, one equal row is left out.
        itself = distances[:, :1] < _SAME_ROW * np.sqrt(values.shape[1])
        distances = np.where(itself, distances[:, 1:], distances[:, :-1])
        return posterior_noise_level(distances**2, values.shape[1])

    def _over_rows(self, values: Floats, score: Callable[[nn.Module, Tensor], Tensor]) -> Floats:
        """Apply a score to standardised rows, in chunks, in double precision where the device has it."""
        assert self._network_ is not None
        device = self._compute_device()
        network = in_double(self._network_, device)
        dtype = next(network.parameters()).dtype

        def part(rows: slice) -> Floats:
            x = torch.from_numpy(values[rows]).to(device, dtype)
            result: Floats = score(network, x).cpu().to(torch.float64).numpy()
            return result

        settings = self._settings_
        bytes_per_row = 8 * settings.n_members * (4 * settings.width + 8 * values.shape[1])
        return np.concatenate(map_chunks(part, len(values), bytes_per_row))

    def _log_errors(self, network: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(network, VectorNetwork)
        panel = denoising_panel(network.n_members, self._n_draws_, network.dim, self._generator(_PANEL))
        return denoising_errors(network, x, panel)

    def _noise_seen(self, network: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(network, NoiseLevelNetwork)
        return expected_interval(network, x)

    def _minus_log_density(self, network: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(network, VectorNetwork)
        result = log_density_rows(
            network, x, device=x.device, nfe=32, min_noise=_MIN_NOISE,
            n_probes=None if network.dim <= EXACT_UP_TO else 16, generator=self._generator(_PROBES),
        )  # fmt: skip
        return -torch.from_numpy(result.log_density)

    # ---------------------------------------------------------------- persistence

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {} if self._network_ is None else dict(self._network_.state_dict())
        return tensors, {
            "settings": asdict(self._settings_),
            "measure": self._measure_,
            "n_draws": self._n_draws_,
            "scale": self._scale_.to_dict(),
            "reference": self._reference_,
            "neighbours": self._neighbours_,
            "n_neighbours": getattr(self, "_n_neighbours_", None),
            "offset": self.offset_,
            "levels": list(LEVELS),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._settings_ = NetworkSettings(**values["settings"])
        self._measure_ = check_choice("measure", values["measure"], _MEASURES)
        if list(values["levels"]) != list(LEVELS):
            raise ValueError(
                f"the file's noise levels are {values['levels']}, this version uses {list(LEVELS)}"
            )
        self._n_draws_ = int(values["n_draws"])
        self._scale_ = ColumnScale.from_dict(values["scale"])
        self._reference_, self._neighbours_ = values["reference"], values["neighbours"]
        self.offset_ = float(values["offset"])
        self._network_ = None
        if self._measure_ == "neighbours":
            self._n_neighbours_ = int(values["n_neighbours"])
            return
        dim = len(self._scale_.mean)
        self._network_ = self._empty_network(self._measure_, dim, torch.Generator().manual_seed(0))
        self._network_.load_state_dict(tensors)
        self._network_.eval()
