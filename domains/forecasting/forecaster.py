"""`DiffusionForecaster`: joint sample paths of many series, and everything that is read from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.estimators.base import DiffusionEstimator
from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import check_boolean, check_integer, check_quantile_levels

from .adaptive_levels import ConformalState, read_levels
from .anomaly_methods import AnomalyMethods
from .arrays import panel_of_array, panel_of_other_rows, read_targets, refuse_columns
from .base_forecast import BaseSettings
from .calendar import default_season_length
from .event_methods import EventMethods
from .fitting import fit_model, season_lengths_of
from .frame_output import draws_frame, forecast_frame
from .frames import panel_of_frame
from .future_frames import future_of_frame
from .imputation_methods import ImputationMethods
from .metrics import crps
from .panel import Panel
from .residual_training import NetworkSettings
from .storage import model_values, panel_values, restored_model, restored_panel
from .streaming import OnlineMethods

__all__ = ["DiffusionForecaster"]

Floats = NDArray[np.float64]

_TRAINING, _DRAWS = range(2)  # numbers of the private random streams
_NAME = "DiffusionForecaster"
_QUANTILES: Final = "weibull"  # position k / (n + 1): a fresh value falls below it with just that probability


class _Request(NamedTuple):
    """What a forecast is asked for: a panel, how far, and whether the answer is a frame."""

    panel: Panel
    horizon: int
    framed: bool


class DiffusionForecaster(AnomalyMethods, EventMethods, ImputationMethods, OnlineMethods, DiffusionEstimator):
    r"""Probabilistic forecasts of many series by diffusion of what a strong linear base leaves.

    A stack of cheap forecasts (ridge, seasonal means, levels) gives the location of every step ahead, a
    mixture of past errors its scale; both are fitted out of fold. A small ensemble of networks then learns
    the joint law of the standardised residuals over the whole horizon by diffusion, starting from noise that
    has their correlation, so that a network that learns nothing leaves a Gaussian forecaster.

    Parameters
    ----------
    horizon : int >= 1, default 12
        Steps ahead that are learned at once; forecasts can go further.
    season_length : int or sequence of int, optional
        Steps of the seasons, the main one first. By default that of the frequency (24 and 168 for hours, 7
        for days, 12 for months, ...; none for arrays and integer stamps).
    network_off : bool, default False
        Leave the residuals Gaussian.
    past_covariates, future_covariates, static_covariates : sequence of str
        Columns of a frame that are known up to now, known in advance, and constant in a series.
    target : str or sequence of str, default "y"
        Column of the values, or one a channel.
    id_col, time_col : str
        Columns of the names of the series and of the time stamps.
    frequency : str, optional
        Pandas' name of the step; by default inferred.
    nonnegative : {"auto"} or bool, default "auto"
        Keep draws at 0 or above; "auto" does if no training value is below 0.
    n_samples : int, default 100
        Paths a series where a method is not told.
    nfe : int >= 2, default 8
        Network evaluations of a draw.
    max_windows : int, default 12000
        Training windows at most; of more, evenly spaced ones are taken.
    n_members, width, depth, dropout : int, int, int, float
        Networks in the ensemble, units and number of hidden layers, share of units dropped in training.
    learning_rate, weight_decay, batch_size, max_steps, patience
        Of the training; `patience` counts evaluations, 25 steps apart, without a better held-out loss. None
        never stops early, as some members improve late, but the best weights are still the ones kept.
    rolling_share : float in [0, 1], default 0.15
        Share of the training windows whose later steps are noisier than the earlier ones.
    gap_share : float in [0, 1), default 0.25
        Share of the training windows in which the network learns to fill gaps.
    calibrate : bool, default True
        Recalibrate the draws on held-out windows, see `recalibration`.
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
    panel_ : Panel
        The histories that forecasts start from.

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion import DiffusionForecaster
    >>> X = np.sin(np.arange(120) / 2.0) + np.random.default_rng(0).normal(0.0, 0.1, (4, 120))
    >>> model = DiffusionForecaster(horizon=6, max_steps=20, random_state=0).fit(X)
    >>> model.predict(6).shape
    (4, 6)
    >>> model.sample(6, n_samples=50).shape
    (4, 50, 6)
    """

    def __init__(
        self,
        *,
        horizon: int = 12,
        season_length: int | Sequence[int] | None = None,
        network_off: bool = False,
        past_covariates: Sequence[str] = (),
        future_covariates: Sequence[str] = (),
        static_covariates: Sequence[str] = (),
        target: str | Sequence[str] = "y",
        id_col: str = "unique_id",
        time_col: str = "ds",
        frequency: str | None = None,
        nonnegative: str | bool = "auto",
        n_samples: int = 100,
        nfe: int = 8,
        max_windows: int = 12000,
        n_members: int = 8,
        width: int = 192,
        depth: int = 3,
        dropout: float = 0.1,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 128,
        max_steps: int = 800,
        patience: int | None = None,
        rolling_share: float = 0.15,
        gap_share: float = 0.25,
        calibrate: bool = True,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.horizon = horizon
        self.season_length = season_length
        self.network_off = network_off
        self.past_covariates = past_covariates
        self.future_covariates = future_covariates
        self.static_covariates = static_covariates
        self.target = target
        self.id_col = id_col
        self.time_col = time_col
        self.frequency = frequency
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
        self.gap_share = gap_share
        self.calibrate = calibrate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, static_df: Any = None) -> DiffusionForecaster:
        """Fit the forecaster.

        Parameters
        ----------
        X : DataFrame or array-like
            A long frame (``unique_id, ds, y`` and the covariates' columns), or an array of shape (n, length)
            or (n, length, channels), each row a series. NaN marks missing values.
        y : array-like of shape (n, horizon[, channels]), optional
            What followed each row of an array; its length then replaces `horizon`.
        static_df : DataFrame, optional
            One row a series with covariates that do not change.

        Returns
        -------
        DiffusionForecaster
            The fitted forecaster.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used; series are named. A model fitted before is then left
            as it was.
        """
        horizon = check_integer("horizon", self.horizon, low=1)
        check_integer("n_samples", self.n_samples, low=1)
        check_integer("nfe", self.nfe, low=2)
        windows = check_integer("max_windows", self.max_windows, low=10)
        off = check_boolean("network_off", self.network_off)
        settings = NetworkSettings.of(self)
        panel, horizon = self._read_training(X, y, static_df, horizon)
        self.seed_ = self._new_seed()
        seasons = season_lengths_of(self.season_length, default_season_length(panel.frequency))
        with self._private_streams(_TRAINING):
            self.model_, training, history = fit_model(
                panel,
                BaseSettings.choose(horizon, seasons, int(np.median(panel.lengths))),
                most_windows=windows,
                network=None if off else settings,
                lower_bound=self._lower_bound(panel),
                calibrate=check_boolean("calibrate", self.calibrate),
                named=self.framed_ or isinstance(X, Panel),
                generator=self._generator(_TRAINING),
                train=self._train,
            )
        if history is not None:
            self.history_ = history
        self.panel_, self.conformal_ = panel, ConformalState.begin(training)
        return self

    def _read_training(self, X: Any, y: Any, static_df: Any, horizon: int) -> tuple[Panel, int]:
        if isinstance(X, pd.DataFrame) and self.id_col in X:
            self.framed_ = True
            return self._panel_of_frame(X, static_df=static_df), horizon
        self.framed_ = False
        panel = panel_of_array(X)
        if not isinstance(X, Panel):
            covariates = ("past_covariates", "future_covariates", "static_covariates")
            refuse_columns(static_df=static_df, **{name: getattr(self, name) for name in covariates})
        self.n_features_in_ = panel.length
        if y is None:
            return panel, horizon
        targets = read_targets(y, X, panel.n_channels)
        joined = np.concatenate([panel.values, targets], axis=1)
        return Panel.from_array(joined, ids=panel.ids), targets.shape[1]

    def _panel_of_frame(self, df: Any, *, static_df: Any = None, like: Panel | None = None) -> Panel:
        return panel_of_frame(
            df, id_col=self.id_col, time_col=self.time_col, target=self.target, frequency=self.frequency,
            past=self.past_covariates, future=self.future_covariates, static=self.static_covariates,
            static_df=static_df, like=like,
        )  # fmt: skip

    def _lower_bound(self, panel: Panel) -> float | None:
        if self.nonnegative == "auto":
            return 0.0 if np.nanmin(panel.values, initial=0.0) >= 0.0 else None
        return 0.0 if check_boolean("nonnegative", self.nonnegative) else None

    # ---------------------------------------------------------------- forecasts

    def predict(
        self,
        X: Any = None,
        h: int | None = None,
        *,
        level: float | Sequence[float] = (80, 95),
        df: Any = None,
        futr_df: Any = None,
        n_samples: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Forecast the median, and for frames central intervals.

        Parameters
        ----------
        X : int or array-like, optional
            Steps ahead; or, in array mode, other histories of shape (n, length[, channels]).
        h : int, optional
            Steps ahead; by default `horizon`.
        level : float or sequence of float in (0, 100), default (80, 95)
            Coverage of the intervals in the frame, in per cent.
        df : DataFrame, optional
            Other histories, of known or new series, to forecast from.
        futr_df : DataFrame, optional
            Future covariates of the h rows that follow each series.
        n_samples, nfe : int, optional
            In place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws; by default that of the fit, so that calls agree.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, DiffusionForecaster, DiffusionForecaster-lo-80, ...``; for arrays the
            medians, of shape (n, h[, channels]).
        """
        levels = read_levels(level)
        request = self._request(X, h, df, futr_df)
        draws = self._draws(request, n_samples, nfe, random_state)
        median = np.median(draws, axis=1)
        if not request.framed:
            return _squeezed(median)
        intervals = {one: self._central(draws, one) for one in levels}
        return forecast_frame(request.panel, median, name=_NAME, intervals=intervals)

    def sample(
        self,
        X: Any = None,
        n_samples: int | None = None,
        *,
        h: int | None = None,
        df: Any = None,
        futr_df: Any = None,
        condition: Any = None,
        return_weights: bool = True,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Draw joint paths, or those in which events hold.

        Parameters
        ----------
        X : int or array-like, optional
            Steps ahead; or, in array mode, other histories.
        n_samples : int, optional
            Paths a series, in place of the constructor's.
        h, df, futr_df, nfe, random_state
            As in `predict`.
        condition : tuple or list of tuples, optional
            Events as for `event_probability`, and ``(function, "==", value, noise)``; all are to hold.
        return_weights : bool, default True
            With a condition, add a column ``weight`` (sums to 1 in each series; for arrays return a
            `ConditionalPaths`); otherwise choose paths by their weights from eight times as many.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, sample_id, y``; for arrays the shape is (n, n_samples, h[, channels]).
        """
        request = self._request(X, h, df, futr_df)
        if condition is not None:
            return self._conditional_sample(
                request,
                condition,
                n_samples,
                nfe,
                random_state,
                check_boolean("return_weights", return_weights),
            )
        draws = self._draws(request, n_samples, nfe, random_state)
        return draws_frame(request.panel, draws) if request.framed else _squeezed(draws)

    def predict_quantiles(
        self,
        X: Any = None,
        h: int | None = None,
        *,
        quantiles: ArrayLike = (0.1, 0.25, 0.5, 0.75, 0.9),
        df: Any = None,
        futr_df: Any = None,
        n_samples: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Forecast quantiles, those of the paths that `sample` gives.

        Parameters
        ----------
        X, h, df, futr_df, n_samples, nfe, random_state
            As in `predict`.
        quantiles : array-like of float in (0, 1)
            Levels.

        Returns
        -------
        DataFrame or ndarray
            Columns ``DiffusionForecaster-q-10``, ...; for arrays the shape is (n, h[, channels], levels).
        """
        levels = check_quantile_levels("quantiles", quantiles)
        request = self._request(X, h, df, futr_df)
        draws = self._draws(request, n_samples, nfe, random_state)
        found = np.quantile(draws, levels, axis=1, method=_QUANTILES)
        if not request.framed:
            return np.moveaxis(found[..., 0] if found.shape[-1] == 1 else found, 0, -1)
        by_level = {float(level): values for level, values in zip(levels, found, strict=True)}
        return forecast_frame(request.panel, np.median(draws, axis=1), name=_NAME, quantiles=by_level)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean CRPS of array forecasts, each row in units of its own typical change.

        Parameters
        ----------
        X : array-like of shape (n, length[, channels])
            Histories; without `y` the last `horizon` columns are what is to be forecast.
        y : array-like of shape (n, horizon[, channels]), optional
            What followed.
        """
        check_is_fitted(self)
        panel = panel_of_other_rows(X, framed=self.framed_, n_channels=self.panel_.n_channels)
        steps = self.model_.horizon
        if y is None:
            if panel.length <= steps:
                raise ValueError(f"X must have more columns than the horizon, {steps}, got {panel.length}")
            targets, panel = panel.values[:, -steps:], panel.until(steps)
        else:
            targets = read_targets(y, X, panel.n_channels, horizon=steps)
        draws = self._draws(_Request(panel, steps, framed=False), None, None, None)
        units = self.model_.base.series(panel).units.reshape(panel.n_series, 1, panel.n_channels)
        return -float(np.nanmean(crps(targets, draws) / units))

    def _request(self, X: Any, h: Any, df: Any, futr_df: Any) -> _Request:
        """Sort out what a forecast is asked for."""
        check_is_fitted(self)
        if isinstance(X, Integral):
            if h is not None:
                raise ValueError(f"the horizon was given twice, as {X!r} and h={h!r}")
            X, h = None, int(X)
        horizon = self.model_.horizon if h is None else check_integer("h", h, low=1)
        if isinstance(X, pd.DataFrame) and df is None and self.framed_:
            X, df = None, X
        if X is not None and df is not None:
            raise ValueError("give other histories either as X (arrays) or as df (frames), not both")
        if df is not None:
            panel, framed = self._panel_of_frame(df, like=self.panel_), True
        elif X is not None:
            panel, framed = (
                panel_of_other_rows(X, framed=self.framed_, n_channels=self.panel_.n_channels),
                False,
            )
        else:
            panel, framed = self.panel_, self.framed_
        return _Request(future_of_frame(futr_df, panel, horizon), horizon, framed)

    def _draws(self, request: _Request, n_samples: Any, nfe: Any, random_state: Any) -> Floats:
        """Return draws of shape (series, samples, horizon, channels)."""
        seed = self.seed_ if random_state is None else integer_seed(random_state)
        return self.model_.draw(
            request.panel,
            request.horizon,
            check_integer("n_samples", self.n_samples if n_samples is None else n_samples, low=1),
            nfe=check_integer("nfe", self.nfe if nfe is None else nfe, low=2),
            seed=seed + _DRAWS,
            device=self._compute_device(),
        )

    @staticmethod
    def _central(draws: Floats, level: float) -> tuple[Floats, Floats]:
        tail = (1.0 - level / 100.0) / 2.0
        lower, upper = np.quantile(draws, [tail, 1.0 - tail], axis=1, method=_QUANTILES)
        return lower, upper

    # ---------------------------------------------------------------- persistence and tags

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        network = self.model_.network
        tensors = {} if network is None else dict(network.state_dict())
        return tensors, {
            "framed": self.framed_,
            "model": model_values(self.model_),
            "panel": panel_values(self.panel_),
            "conformal": vars(self.conformal_),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.framed_ = bool(values["framed"])
        self.model_ = restored_model(tensors, values["model"])
        self.panel_ = restored_panel(values["panel"])
        self.conformal_ = ConformalState(**values["conformal"])

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags


def _squeezed(values: Floats) -> Floats:
    """Drop the axis of the channels where there is one."""
    return values[..., 0] if values.shape[-1] == 1 else values
