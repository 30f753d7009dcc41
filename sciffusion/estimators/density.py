"""`DensityDiffusion`: the density of a table of numbers, draws from it and from its conditional laws."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .base import DiffusionEstimator
from .fitting import all_or_nothing
from .random_state import integer_seed
from .validation import check_integer, check_number, check_sample_weight
from .vectors.columns import ColumnScale, discrete_columns
from .vectors.densities import EXACT_UP_TO, log_density_rows
from .vectors.draws import draw_vectors
from .vectors.network import VectorNetwork
from .vectors.tables import TableForm, read_table, weighted_rows
from .vectors.training import NetworkSettings, split_rows, train_vector_network

__all__ = ["DensityDiffusion", "DensityEstimate"]

Floats = NDArray[np.float64]
_Table = NDArray[np.float64] | pd.DataFrame

_SPLIT, _TRAINING, _PROBES = range(3)  # numbers of the private random streams
_FEWEST_ROWS = 2
_NOISE = (-1.0, 1.7)  # mean and standard deviation of the log noise level in training


class DensityEstimate(NamedTuple):
    """Log densities with their errors, each of shape (rows,).

    Attributes
    ----------
    log_density : ndarray
        In nats, in the units of X.
    standard_error : ndarray
        Of Hutchinson's estimate of the divergence; 0 where the divergence was exact, NaN with one probe.
    step_error : ndarray
        Distance to the result with half as many steps, at the same probes: an estimate of the error of the
        integration, not a bound. At the default `density_nfe` it is mostly far too large; with 32
        evaluations or fewer, where steps are coarse, it can be several times too small.
    """

    log_density: Floats
    standard_error: Floats
    step_error: Floats


class DensityDiffusion(DensityMixin, DiffusionEstimator):  # type: ignore[misc, unused-ignore]
    r"""Density estimation, sampling and imputation for vectors, by a diffusion model.

    A small network (or an ensemble of them) learns to take noise off standardised rows, also off some of
    their coordinates given the others. From this one model come draws (the probability flow from noise to
    data), the density (the same flow the other way round, with its change of volume), draws of missing
    values, and draws given the values of any columns.

    Parameters
    ----------
    condition_columns : str, int or list of them, optional
        Columns that are always given: `score_samples` is then the density of the others given these, and
        `sample` needs their values. Names if X is a frame, else positions.
    mask_share : float in [0, 1], default 0.3
        Share of the training rows that are shown with observed coordinates, from which `impute` and
        ``sample(given=...)`` are learned. 0 spends everything on the joint law.
    min_noise : float in (0, 0.5), default 0.01
        Smallest noise level, in standard deviations of a column. The density is that of the data blurred by
        this much, which keeps it finite where values repeat (whole numbers, rounded or censored values).
    n_members : int, default 1
        Networks side by side; the flow follows their mean.
    width, depth : int, default 128 and 4
        Units of a hidden layer, and hidden layers, of each network.
    learning_rate, weight_decay : float, default 0.004 and 0.01
        Of AdamW; the rate falls to zero along a cosine.
    batch_size : int, default 256
        Rows of a training step.
    max_steps : int, default 2000
        Training steps at most.
    patience : int or None, default 20
        Evaluations of the held-out loss (every 50 steps) without improvement after which a member stops.
    validation_fraction : float in [0, 1), default 0.1
        Share of the rows that each member keeps back to stop by; nothing where that is less than five rows.
    nfe : int, default 32
        Network evaluations of a draw, unless a method is told otherwise.
    density_nfe : int, default 64
        Network evaluations of a log density (each with its divergence); rounded down to a multiple of 8.
    random_state : int, RandomState or None
        Makes the fit reproducible; draws have a `random_state` of their own.
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
    constant_columns_ : list
        Columns without variation. They are no part of the density; draws hold their value.
    discrete_columns_ : list
        Columns in which most values repeat. Their density is mostly that of the blur (`min_noise`), so that
        it tells rows apart but must not be compared with other models' densities.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    Columns are numbers without bounds: a draw may fall outside the range of a bounded column, and whole
    numbers are drawn as real ones. Transform such columns first (a logarithm, a logit), or round the draws.

    References
    ----------
    Y. Song and others, "Score-Based Generative Modeling through Stochastic Differential Equations", arXiv
    2011.13456 (the flow and its density). T. Karras and others, "Elucidating the Design Space of
    Diffusion-Based Generative Models", arXiv 2206.00364 (preconditioning, loss). C. Lu and others,
    "DPM-Solver++", arXiv 2211.01095 (the sampler).

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion import DensityDiffusion
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    >>> model = DensityDiffusion(random_state=0, max_steps=50).fit(X)
    >>> model.sample(3, given={0: 1.5}, random_state=0).shape
    (3, 2)
    """

    def __init__(
        self,
        *,
        condition_columns: str | int | Sequence[str | int] | None = None,
        mask_share: float = 0.3,
        min_noise: float = 0.01,
        n_members: int = 1,
        width: int = 128,
        depth: int = 4,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        max_steps: int = 2000,
        patience: int | None = 20,
        validation_fraction: float = 0.1,
        nfe: int = 32,
        density_nfe: int = 64,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.condition_columns = condition_columns
        self.mask_share = mask_share
        self.min_noise = min_noise
        self.n_members = n_members
        self.width = width
        self.depth = depth
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.density_nfe = density_nfe
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> DensityDiffusion:
        """Fit the model.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Numbers, without missing values.
        y : object
            Not used; there for pipelines.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        DensityDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the table or a parameter cannot be used; a model fitted before is then left as it was.
        """
        settings = NetworkSettings.of(self)
        mask_share = check_number("mask_share", self.mask_share, low=0.0, high=1.0)
        check_number("min_noise", self.min_noise, low=0.0, high=0.5, open_low=True, open_high=True)
        check_integer("nfe", self.nfe, low=2)
        check_integer("density_nfe", self.density_nfe, low=8)
        table = read_table(self, X, fitting=True, fewest_rows=_FEWEST_ROWS)
        table, weights = weighted_rows(table, sample_weight, _FEWEST_ROWS)
        self._scale_ = ColumnScale.learn(table, weights)
        self._note_columns(table)
        self._given_ = self._given_positions()
        self.seed_ = self._new_seed()
        varies = self._scale_.varies
        values = torch.from_numpy(self._scale_.standardise(table)[:, varies])
        rows = split_rows(
            values,
            torch.from_numpy(weights / weights.mean()),
            settings.n_members,
            settings.validation_fraction,
            self._generator(_SPLIT),
        )
        always = torch.zeros(len(varies), dtype=torch.bool)
        always[self._given_] = True
        self._network_, self.history_ = train_vector_network(
            settings, rows, self._generator(_TRAINING), self._train, noise_location=_NOISE[0],
            noise_scale=_NOISE[1], mask_share=mask_share, always_observed=always[torch.from_numpy(varies)],
        )  # fmt: skip
        self._settings_ = settings
        self._mask_share_, self._min_noise_ = mask_share, float(self.min_noise)
        return self

    def _note_columns(self, table: Floats) -> None:
        """Keep which columns are constant or full of ties, and say what that means."""
        if not self._scale_.varies.any():
            raise ValueError(
                "X must have a column that varies; every column is constant, so there is no density"
            )
        form = TableForm.of(self)
        self.constant_columns_ = form.labels(np.flatnonzero(~self._scale_.varies))
        self.discrete_columns_ = form.labels(discrete_columns(table, self._scale_.varies))
        if self.discrete_columns_:
            warnings.warn(
                f"most values of the columns {self.discrete_columns_[:5]} repeat; their density is that of "
                f"the values blurred by min_noise = {self.min_noise:g} standard deviations",
                UserWarning,
                stacklevel=4,
            )

    def _given_positions(self) -> list[int]:
        if self.condition_columns is None:
            return []
        found = TableForm.of(self).positions(self.condition_columns, "condition_columns")
        varying = set(np.flatnonzero(self._scale_.varies)) - set(found)
        if not varying:
            raise ValueError("condition_columns must leave a column that varies; it names all of them")
        return sorted(found)

    # ---------------------------------------------------------------- densities

    def score_samples(
        self, X: Any, *, nfe: int | None = None, n_probes: int | None = None, return_std: bool = False
    ) -> Any:
        """Return the log density of rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows without missing values.
        nfe : int >= 8, optional
            Network evaluations, in place of `density_nfe`; each is followed by as many backward passes as
            there are columns or probes.
        n_probes : int >= 1, optional
            Probes of Hutchinson's estimate of the divergence, the same for all rows. By default the
            divergence is exact for up to 32 columns and estimated by 16 probes beyond.
        return_std : bool, default False
            Return the errors, too; costs half as much again.

        Returns
        -------
        ndarray of shape (n,) or DensityEstimate
            In nats, in the units of X; with `condition_columns` given these.
        """
        check_is_fitted(self)
        evaluations = check_integer("nfe", self.density_nfe if nfe is None else nfe, low=8)
        table = read_table(self, X)
        values = torch.from_numpy(self._scale_.standardise(table)[:, self._scale_.varies])
        if n_probes is None:
            n_probes = None if values.shape[1] <= EXACT_UP_TO else 16
        else:
            check_integer("n_probes", n_probes, low=1)
        known = self._known(self._given_)
        result = log_density_rows(
            self._network_, values, device=self._compute_device(), nfe=evaluations,
            min_noise=self._min_noise_, known=known, n_probes=n_probes,
            generator=self._generator(_PROBES), with_step_error=bool(return_std),
        )  # fmt: skip
        scales = np.log(self._scale_.scale[self._scale_.varies])[~known.numpy()].sum()
        log_density = result.log_density - scales
        if not return_std:
            return log_density
        return DensityEstimate(log_density, result.standard_error, result.step_error)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log density of rows (higher is better), weighted if weights are given.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows.
        y : object
            Not used.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0.
        """
        log_density = self.score_samples(X)
        return float(np.average(log_density, weights=check_sample_weight(sample_weight, len(log_density))))

    # ---------------------------------------------------------------- draws

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, float] | pd.DataFrame | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> _Table:
        """Draw rows, freely or given the values of some columns.

        Parameters
        ----------
        n_samples : int >= 1, default 1
            Number of rows; with a frame of several rows in `given`, of draws for each of these.
        given : mapping or DataFrame, optional
            Values of some columns, by name or position: ``{"age": 50.0}``, or a frame of these columns, each
            row a case of its own.
        nfe : int >= 2, optional
            Network evaluations, in place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            A frame if the model was fitted on one. Draws of one case stand together; for a frame of cases
            the index has the levels case and ``draw``.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", n_samples, low=1)
        form = TableForm.of(self)
        cases, index = form.cases(given, needed=self._given_)
        drawn = self._complete(cases.repeat(count, axis=0), nfe, random_state)
        if index is not None:
            index = _with_draws(index, count)
        return form.result(drawn, index)

    def impute(
        self, X: Any, n_samples: int | None = None, *, nfe: int | None = None, random_state: Any = None
    ) -> Any:
        """Replace missing values by draws given the observed values of the row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Rows with NaN where a value is missing.
        n_samples : int >= 1, optional
            Number of completed tables; None for a single one.
        nfe : int >= 2, optional
            Network evaluations, in place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        ndarray, DataFrame or list of DataFrame
            One completed table like X, or ``n_samples`` of them: an array of shape ``(n_samples, n,
            n_features)``, or a list of frames.
        """
        check_is_fitted(self)
        count = 1 if n_samples is None else check_integer("n_samples", n_samples, low=1)
        table = read_table(self, X, allow_missing=True)
        form = TableForm.of(self)
        lacking = form.labels(place for place in self._given_ if np.isnan(table[:, place]).any())
        if lacking:
            raise ValueError(f"the condition_columns {lacking} hold missing values, which cannot be drawn")
        tables = self._complete(np.tile(table, (count, 1)), nfe, random_state).reshape(count, *table.shape)
        if not isinstance(X, pd.DataFrame):
            return tables[0] if n_samples is None else tables
        frames = [pd.DataFrame(one, columns=X.columns, index=X.index) for one in tables]
        return frames[0] if n_samples is None else frames

    def _complete(self, table: Floats, nfe: int | None, random_state: Any) -> Floats:
        """Return the rows with every NaN replaced by a draw given the rest of its row."""
        evaluations = check_integer("nfe", self.nfe if nfe is None else nfe, low=2)
        varies = self._scale_.varies
        values = self._scale_.standardise(table)[:, varies]
        observed = ~np.isnan(values)
        allowed = self._known(self._given_).numpy()
        partial = (observed & ~allowed).any(axis=1) & ~observed.all(axis=1)
        if partial.any() and self._mask_share_ == 0.0:
            raise ValueError(
                "this model was fitted with mask_share=0, which learns no conditional law; fit it with "
                "mask_share > 0, or name the columns in condition_columns"
            )
        open_rows = ~observed.all(axis=1)
        if open_rows.any():
            values[open_rows] = draw_vectors(
                self._network_, values[open_rows], device=self._compute_device(), nfe=evaluations,
                min_noise=self._min_noise_, seed=integer_seed(random_state),
            )  # fmt: skip
        # What was observed is returned as it was, bit for bit.
        result = np.where(np.isnan(table), self._scale_.mean, table)
        drawn = self._scale_.restore(np.zeros((len(table), len(varies))))
        drawn[:, varies] = values * self._scale_.scale[varies] + self._scale_.mean[varies]
        return np.where(np.isnan(table), drawn, result)

    def _known(self, positions: Sequence[int]) -> Tensor:
        """Return which of the varying columns are always given."""
        known = torch.zeros(len(self._scale_.varies), dtype=torch.bool)
        known[list(positions)] = True
        return known[torch.from_numpy(self._scale_.varies)]

    # ---------------------------------------------------------------- persistence and tags

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return dict(self._network_.state_dict()), {
            "settings": asdict(self._settings_),
            "scale": self._scale_.to_dict(),
            "given": self._given_,
            "mask_share": self._mask_share_,
            "min_noise": self._min_noise_,
            "constant_columns": self.constant_columns_,
            "discrete_columns": self.discrete_columns_,
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._settings_ = NetworkSettings(**values["settings"])
        self._scale_ = ColumnScale.from_dict(values["scale"])
        self._given_ = [int(place) for place in values["given"]]
        self._mask_share_ = float(values["mask_share"])
        self._min_noise_ = float(values["min_noise"])
        self.constant_columns_ = list(values["constant_columns"])
        self.discrete_columns_ = list(values["discrete_columns"])
        self._network_ = VectorNetwork(
            self._settings_.n_members, int(self._scale_.varies.sum()), width=self._settings_.width,
            depth=self._settings_.depth, masked=self._mask_share_ > 0.0 or bool(self._given_),
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        self._network_.load_state_dict(tensors)
        self._network_.eval()

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


def _with_draws(index: pd.Index[Any], count: int) -> pd.MultiIndex:
    """Return the index of cases with a last level that numbers the draws of each."""
    repeated = index.repeat(count)
    levels = [repeated.get_level_values(level) for level in range(repeated.nlevels)]
    numbers = np.tile(np.arange(count), len(index))
    return pd.MultiIndex.from_arrays([*levels, numbers], names=[*index.names, "draw"])
