"""`ZeroShotForecaster`: trained on many series of many frequencies, prompted with others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.estimators.base import DiffusionEstimator
from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import check_boolean, check_integer, check_quantile_levels

from .adaptive_levels import read_levels
from .frame_output import draws_frame, forecast_frame
from .history import Floats
from .panel import Panel
from .residual_training import NetworkSettings
from .storage import model_values, restored_model
from .zero_shot_fitting import fit_shared_model, prompted
from .zero_shot_prompts import Columns, Prompt, read_prompt, read_sets, single_channels

__all__ = ["ZeroShotForecaster"]

_TRAINING, _DRAWS = range(2)  # numbers of the private random streams
_NAME = "ZeroShotForecaster"


class ZeroShotForecaster(DiffusionEstimator):
    r"""Probabilistic forecasts of series that were not there when the model was fitted.

    One base and one network are trained over the windows of many sets of series, whatever their frequency
    and units, and are then prompted with the history of any series and its season length: nothing is fitted
    to a prompt. The idea is that of *A Generative Pre-Trained Diffusion Paradigm for Zero-Shot Time Series
    Forecasting* (arXiv 2406.02212); how sets are made to share weights is a construction of this library
    (`zero_shot_base`, `zero_shot_fitting`).

    Where a set has a few hundred rows to fit to, `DiffusionForecaster` fitted to it is the stronger choice
    as a rule; this one is for short histories, for many small sets, and for forecasts without a fit.

    Parameters
    ----------
    horizon : int >= 1, default 24
        Steps ahead that are learned at once; forecasts can be shorter, and go further.
    network_off : bool, default False
        Leave the residuals Gaussian.
    target, id_col, time_col : str
        Columns of frames: the values, the names of the series and the time stamps.
    nonnegative : {"auto"} or bool, default "auto"
        Keep draws at 0 or above; "auto" does for a series whose prompt is nowhere below 0.
    n_samples : int, default 100
        Paths a series where a method is not told.
    nfe : int >= 2, default 8
        Network evaluations of a draw.
    max_windows : int, default 12000
        Training windows at most, in equal shares for all sets.
    n_members, width, depth, dropout : int, int, int, float
        Networks in the ensemble, units and number of hidden layers, share of units dropped in training.
    learning_rate, weight_decay, batch_size, max_steps, patience
        Of the training; `patience` counts evaluations, 25 steps apart, without a better held-out loss.
    rolling_share : float in [0, 1], default 0.15
        Share of the training windows whose later steps are noisier than the earlier ones.
    random_state : int, RandomState or None
        Source of all randomness.
    device : str, default "auto"
    verbose : bool, default False
        Show the progress of the training.
    trainer_options : dict, optional
        Passed to Lightning's Trainer.
    checkpoint : path-like, optional
        File in which the state of training is kept, and from which an interrupted one goes on.

    Attributes
    ----------
    model_ : ForecastModel
        With the seasons of the first set.
    set_names_ : list of str
        Sets that it was trained on.

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion.domains.forecasting import ZeroShotForecaster
    >>> generator = np.random.default_rng(0)
    >>> def waves(season, n=4, length=120):
    ...     rows = np.arange(length) + generator.uniform(0, season, (n, 1))
    ...     return np.sin(2 * np.pi * rows / season) + generator.normal(0.0, 0.1, (n, length))
    >>> model = ZeroShotForecaster(horizon=6, max_steps=20, random_state=0)
    >>> model = model.fit({"weekly": (waves(7), 7), "yearly": (waves(12), 12)})
    >>> model.predict(waves(9), season_length=9).shape
    (4, 6)
    >>> model.sample(waves(9), season_length=9, n_samples=50).shape
    (4, 50, 6)
    """

    def __init__(
        self,
        *,
        horizon: int = 24,
        network_off: bool = False,
        target: str = "y",
        id_col: str = "unique_id",
        time_col: str = "ds",
        nonnegative: str | bool = "auto",
        n_samples: int = 100,
        nfe: int = 8,
        max_windows: int = 12000,
        n_members: int = 8,
        width: int = 128,
        depth: int = 3,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 128,
        max_steps: int = 600,
        patience: int | None = 8,
        rolling_share: float = 0.15,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.horizon = horizon
        self.network_off = network_off
        self.target = target
        self.id_col = id_col
        self.time_col = time_col
        self.nonnegative = nonnegative
        self.n_samples = n_samples
        self.nfe = nfe
        self.max_windows = max_windows
        self.n_members = n_members
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.rolling_share = rolling_share
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    @all_or_nothing
    def fit(self, X: Any, y: Any = None) -> ZeroShotForecaster:
        """Train on sets of series.

        Parameters
        ----------
        X : mapping
            From the name of a set to its series, or to a pair of its series and their season length. Series
            are a long frame (``unique_id, ds, y``) or an array of shape (n, length) or (n, length,
            channels); NaN marks missing values. A season length is an int, a sequence with the main one
            first, or None for that of the frame's frequency.
        y : None
            Ignored.

        Returns
        -------
        ZeroShotForecaster
            The fitted forecaster.

        Raises
        ------
        ValueError, TypeError
            If a set or a parameter cannot be used; sets and series are named. A model fitted before is then
            left as it was.
        """
        horizon = check_integer("horizon", self.horizon, low=1)
        check_integer("n_samples", self.n_samples, low=1)
        check_integer("nfe", self.nfe, low=2)
        windows = check_integer("max_windows", self.max_windows, low=10)
        off = check_boolean("network_off", self.network_off)
        network = self._network_settings()
        sets = read_sets(X, horizon, self._columns())
        self.seed_ = self._new_seed()
        with self._private_streams(_TRAINING):
            self.model_, history = fit_shared_model(
                [single_channels(one.panel) for one in sets.values()],
                [one.settings for one in sets.values()],
                most_windows=windows,
                network=None if off else network,
                generator=self._generator(_TRAINING),
                train=self._train,
            )
        if history is not None:
            self.history_ = history
        self.set_names_ = list(sets)
        return self

    def predict(
        self,
        X: Any = None,
        h: int | None = None,
        *,
        df: Any = None,
        season_length: int | Sequence[int] | None = None,
        level: float | Sequence[float] = (80, 95),
        n_samples: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Forecast the median, and for frames central intervals.

        Parameters
        ----------
        X : int, DataFrame or array-like
            Steps ahead, with the series in `df`; or the series.
        h : int, optional
            Steps ahead; by default `horizon`.
        df : DataFrame, optional
            The series to forecast.
        season_length : int or sequence of int, optional
            Their season lengths, the main one first. By default that of the frame's frequency; none for
            arrays.
        level : float or sequence of float in (0, 100), default (80, 95)
            Coverage of the intervals in the frame, in per cent.
        n_samples, nfe : int, optional
            In place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws; by default that of the fit, so that calls agree.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, ZeroShotForecaster, ZeroShotForecaster-lo-80, ...``; for arrays the
            medians, of shape (n, h[, channels]).
        """
        levels = {one: _tails(one) for one in read_levels(level)}
        prompt, draws = self._draws(X, h, df, season_length, n_samples, nfe, random_state)
        median = np.median(draws, axis=1)
        if not prompt.framed:
            return _squeezed(median)
        intervals = {one: tuple(np.quantile(draws, tails, axis=1)) for one, tails in levels.items()}
        return forecast_frame(prompt.panel, median, name=_NAME, intervals=intervals)

    def sample(
        self,
        X: Any = None,
        n_samples: int | None = None,
        *,
        h: int | None = None,
        df: Any = None,
        season_length: int | Sequence[int] | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Draw joint paths; parameters as in `predict`.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, sample_id, y``; for arrays the shape is (n, n_samples, h[, channels]).
        """
        prompt, draws = self._draws(X, h, df, season_length, n_samples, nfe, random_state)
        return draws_frame(prompt.panel, draws) if prompt.framed else _squeezed(draws)

    def predict_quantiles(
        self,
        X: Any = None,
        h: int | None = None,
        *,
        quantiles: ArrayLike = (0.1, 0.25, 0.5, 0.75, 0.9),
        df: Any = None,
        season_length: int | Sequence[int] | None = None,
        n_samples: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Forecast quantiles, those of the paths that `sample` gives; further parameters as in `predict`.

        Parameters
        ----------
        quantiles : array-like of float in (0, 1)
            Levels.

        Returns
        -------
        DataFrame or ndarray
            Columns ``ZeroShotForecaster-q-10``, ...; for arrays the shape is (n, h[, channels], levels).
        """
        levels = check_quantile_levels("quantiles", quantiles)
        prompt, draws = self._draws(X, h, df, season_length, n_samples, nfe, random_state)
        found = np.quantile(draws, levels, axis=1)
        if not prompt.framed:
            return np.moveaxis(_squeezed(found), 0, -1)
        by_level = {float(one): values for one, values in zip(levels, found, strict=True)}
        return forecast_frame(prompt.panel, np.median(draws, axis=1), name=_NAME, quantiles=by_level)

    def _network_settings(self) -> NetworkSettings:
        names = [name for name in NetworkSettings.__dataclass_fields__ if name != "gap_share"]
        return NetworkSettings(gap_share=0.0, **{name: getattr(self, name) for name in names})

    def _columns(self) -> Columns:
        return Columns(self.id_col, self.time_col, self.target)

    def _draws(
        self, X: Any, h: Any, df: Any, season_length: Any, n_samples: Any, nfe: Any, random_state: Any
    ) -> tuple[Prompt, Floats]:
        """Return the prompt, and draws of shape (series, samples, h, channels)."""
        check_is_fitted(self)
        if isinstance(X, Integral):
            if h is not None:
                raise ValueError(f"the horizon was given twice, as {X!r} and h={h!r}")
            X, h = None, int(X)
        if (X is None) == (df is None):
            raise ValueError("give the series to forecast either as X or as df")
        horizon = self.model_.horizon if h is None else check_integer("h", h, low=1)
        count = check_integer("n_samples", self.n_samples if n_samples is None else n_samples, low=1)
        prompt = read_prompt(X if df is None else df, season_length, self.model_.horizon, self._columns())
        series = single_channels(prompt.panel)
        drawn = prompted(self.model_, prompt.settings).draw(
            series,
            horizon,
            count,
            nfe=check_integer("nfe", self.nfe if nfe is None else nfe, low=2),
            seed=(self.seed_ if random_state is None else integer_seed(random_state)) + _DRAWS,
            device=self._compute_device(),
        )
        bounded = np.maximum(drawn[..., 0], self._lower_bounds(series)[:, None, None])
        shaped = bounded.reshape(prompt.panel.n_series, prompt.panel.n_channels, count, horizon)
        return prompt, np.moveaxis(shaped, 1, 3)

    def _lower_bounds(self, series: Panel) -> Floats:
        """Return the lower bound of each series, shape (series,)."""
        if self.nonnegative == "auto":
            low: Floats = np.nanmin(series.values, axis=(1, 2)) >= 0.0
        else:
            low = np.full(series.n_series, check_boolean("nonnegative", self.nonnegative))
        return np.where(low, 0.0, -np.inf)

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        network = self.model_.network
        tensors = {} if network is None else dict(network.state_dict())
        return tensors, {"model": model_values(self.model_), "set_names": self.set_names_}

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.model_ = restored_model(tensors, values["model"])
        self.set_names_ = list(values["set_names"])

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.allow_nan = True
        return tags


def _tails(level: float) -> tuple[float, float]:
    tail = (1.0 - level / 100.0) / 2.0
    return tail, 1.0 - tail


def _squeezed(values: Floats) -> Floats:
    """Drop the axis of the channels where there is one."""
    return values[..., 0] if values.shape[-1] == 1 else values
