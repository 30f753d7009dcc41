"""`SktimeDiffusionForecaster`: the forecaster as sktime knows forecasters.

It takes sktime's series, panels and hierarchies (one model for all series of a panel), and gives back frames
on their index. sktime is an optional dependency: ``pip install 'sciffusion[forecasting]'``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sciffusion.estimators.imports import optional_import
from sciffusion.estimators.validation import check_integer

from .forecaster import DiffusionForecaster
from .frame_format import stamp_index
from .history import Floats, Integers
from .sktime_frames import (
    ending_at,
    instances_of,
    panel_of_rows,
    positional_rows,
    steps_of_index,
    with_future,
)

if TYPE_CHECKING:
    from sktime.forecasting.base import BaseForecaster
else:
    BaseForecaster = optional_import("sktime.forecasting.base", "forecasting").BaseForecaster

__all__ = ["SktimeDiffusionForecaster"]

_DEFAULT_HORIZON = 12
_LEAST_WINDOWS = 3  # horizons that the longest series must hold
_MTYPES = ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"]


class SktimeDiffusionForecaster(BaseForecaster):
    """`DiffusionForecaster` with sktime's interface.

    All series of a panel or hierarchy are learned by one model. ``X`` holds covariates that are known in
    advance. Points are medians, and intervals and quantiles those of the same joint paths, which `sample`
    gives. `update` appends rows, without training. Series shorter than three horizons are learned with a
    shorter one, and their forecasts continued.

    Parameters
    ----------
    horizon : int >= 1, optional
        Steps ahead that are learned at once; by default the last of the forecasting horizon of `fit`, or 12.
    season_length : int or sequence of int, optional
        Steps of the seasons; by default that of the index's frequency.
    network_off : bool, default False
        Leave the residuals Gaussian.
    nonnegative : {"auto"} or bool, default "auto"
        Keep draws at 0 or above; "auto" does if no training value is below 0.
    n_samples : int, default 100
        Paths behind each forecast.
    nfe : int >= 2, default 8
        Network evaluations of a draw.
    options : mapping, optional
        Other parameters of `DiffusionForecaster`, such as ``{"n_members": 4, "max_steps": 300}``.
    random_state : int, RandomState or None
    device : str, default "auto"
    verbose : bool, default False

    Attributes
    ----------
    forecaster_ : DiffusionForecaster

    Examples
    --------
    >>> from sciffusion.domains.forecasting import SktimeDiffusionForecaster
    >>> from sktime.datasets import load_airline
    >>> y = load_airline()
    >>> forecaster = SktimeDiffusionForecaster(options={"max_steps": 20}, random_state=0)
    >>> forecaster.fit(y, fh=[1, 2, 3]).predict().shape
    (3,)
    >>> forecaster.predict_interval(coverage=0.9).shape
    (3, 2)
    """

    _tags = {  # noqa: RUF012 (sktime's own way of declaring them)
        "authors": ["sciffusion"],
        "maintainers": ["sciffusion"],
        "python_dependencies": ["torch"],
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:categorical_in_X": False,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": False,
        "X-y-must-have-same-index": True,
        "y_inner_mtype": _MTYPES,
        "X_inner_mtype": _MTYPES,
    }
    # Rows are kept here, so that `update` and `predict` do not hang on what sktime remembers.
    _config = {"remember_data": False}  # noqa: RUF012

    def __init__(
        self,
        horizon: int | None = None,
        season_length: int | Sequence[int] | None = None,
        network_off: bool = False,
        nonnegative: str | bool = "auto",
        n_samples: int = 100,
        nfe: int = 8,
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.horizon = horizon
        self.season_length = season_length
        self.network_off = network_off
        self.nonnegative = nonnegative
        self.n_samples = n_samples
        self.nfe = nfe
        self.options = options
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        super().__init__()
        # sktime asks for these, though it sets them only where it remembers the data itself.
        self._y = self._X = None

    def _fit(self, y: pd.DataFrame, X: pd.DataFrame | None, fh: Any) -> SktimeDiffusionForecaster:
        rows = positional_rows(y, X)
        panel = panel_of_rows(rows)
        longest = int(panel.lengths.max())
        self._covariates = None if X is None else list(X.columns)
        self._rows, self._history = rows, panel
        self._instances = instances_of(rows.index)
        horizon = min(self._wanted_horizon(fh), max(longest // _LEAST_WINDOWS, 1))
        self.forecaster_ = self._estimator(horizon).fit(panel)
        return self

    def _wanted_horizon(self, fh: Any) -> int:
        if self.horizon is not None:
            return check_integer("horizon", self.horizon, low=1)
        return _DEFAULT_HORIZON if fh is None else int(self._steps(fh).max())

    def _estimator(self, horizon: int) -> DiffusionForecaster:
        own = {name: value for name, value in self.get_params(deep=False).items() if name != "options"}
        if not isinstance(self.options, Mapping | None):
            raise TypeError(
                f"options must be a mapping of DiffusionForecaster's parameters, got {self.options!r}"
            )
        options = dict(self.options or {})
        twice = sorted(own.keys() & options.keys())
        if twice:
            raise ValueError(f"options holds {twice}, which are parameters of their own")
        return DiffusionForecaster(**{**own, **options, "horizon": horizon})

    def _update(
        self, y: pd.DataFrame, X: pd.DataFrame | None = None, update_params: bool = True
    ) -> SktimeDiffusionForecaster:
        # Nothing is trained, whatever `update_params`: a forecast starts from the rows seen last.
        new = positional_rows(y, self._checked(X))
        joined = new.combine_first(self._rows).reindex(columns=self._rows.columns)
        self._history = panel_of_rows(joined, like=self.forecaster_.panel_)
        self._rows = joined
        self._instances = instances_of(joined.index)
        return self

    def _checked(self, X: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return the covariates in the order of the fit."""
        if X is None:
            return None
        if self._covariates is None:
            raise ValueError(f"X was given with columns {list(X.columns)}, but not in fit")
        missing = [name for name in self._covariates if name not in X.columns]
        if missing:
            raise ValueError(f"X lacks the columns {missing} that it had in fit")
        return X[self._covariates]

    def _predict(self, fh: Any, X: pd.DataFrame | None) -> pd.DataFrame:
        return self._table(fh, np.median(self._paths(fh, X), axis=1), self._get_columns())

    def _predict_quantiles(self, fh: Any, X: pd.DataFrame | None, alpha: Any) -> pd.DataFrame:
        # At the positions k / (n + 1), as the forecaster reads them.
        found = np.quantile(self._paths(fh, X), alpha, axis=1, method="weibull")
        columns = self._get_columns(method="predict_quantiles", alpha=alpha)
        return self._table(fh, np.moveaxis(found, 0, -1), columns)

    def _predict_var(self, fh: Any, X: pd.DataFrame | None, cov: bool = False) -> pd.DataFrame:
        return self._table(fh, self._paths(fh, X).var(axis=1), self._get_columns())

    def sample(self, fh: Any = None, X: Any = None, n_samples: int | None = None) -> pd.DataFrame:
        """Draw joint paths.

        Parameters
        ----------
        fh, X : optional
            As in `predict`.
        n_samples : int, optional
            Paths, in place of the constructor's.

        Returns
        -------
        DataFrame
            On the index of `predict`, with a column for each variable and path: of the pairs (variable,
            number of the path). A path is one column over all steps ahead.
        """
        self.check_is_fitted()
        fh = self._check_fh(fh, pred_int=True)
        paths = self._paths(fh, self._check_X(X=X), n_samples)
        columns = pd.MultiIndex.from_product([self._get_columns(), range(paths.shape[1])])
        return self._table(fh, np.moveaxis(paths, 1, -1), columns)

    def _steps(self, fh: Any) -> Integers:
        """Return how many steps after the cutoff the forecasting horizon asks for."""
        values = fh.to_pandas()
        if fh.is_relative and pd.api.types.is_integer_dtype(values):
            return np.asarray(values, dtype=np.int64)
        stamps = pd.Index(fh.to_absolute_index(self.cutoff))
        return steps_of_index(stamps, self._history) - self._cutoff_step()

    def _cutoff_step(self) -> int:
        return int(steps_of_index(self.cutoff, self._history)[0])

    def _paths(self, fh: Any, X: pd.DataFrame | None, n_samples: int | None = None) -> Floats:
        """Return draws of shape (series, samples, steps of fh, variables), series in sorted order."""
        steps = self._steps(fh)
        horizon = int(steps.max())
        # The cutoff may lie before rows that are known; a forecast must not have seen them.
        panel = ending_at(self._history, self._cutoff_step())
        X = self._checked(X)
        if X is not None:
            panel = with_future(panel, X, horizon, steps)
        elif self._covariates is not None:
            raise ValueError(f"X is missing: the columns {self._covariates} of the steps ahead are needed")
        drawn = self.forecaster_.sample(panel, n_samples, h=horizon)
        shaped = np.reshape(drawn, (panel.n_series, -1, horizon, panel.n_channels))[:, :, steps - 1]
        if self._instances is None:
            return shaped
        place = {name: number for number, name in enumerate(panel.ids)}
        return shaped[[place[repr(name)] for name in self._instances]]

    def _table(self, fh: Any, values: Floats, columns: Any) -> pd.DataFrame:
        """Return values of shape (series, steps, ...) as a frame on the index of the forecast."""
        panel = self._history
        index = stamp_index(self._cutoff_step() + self._steps(fh), panel.frequency, panel.frame_format)
        flat = values.reshape(values.shape[0] * values.shape[1], -1)
        if self._instances is not None:
            index = _product(self._instances, index, list(self._rows.index.names))
        return pd.DataFrame(flat, index=index, columns=columns)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters for sktime's own tests: the Gaussian law of the base, and a tiny network."""
        tiny = {"n_members": 1, "width": 8, "depth": 1, "batch_size": 8, "max_steps": 2}
        return [
            {"network_off": True, "n_samples": 20},
            {"horizon": 3, "n_samples": 10, "nfe": 2, "options": tiny},
        ]


def _product(instances: pd.Index[Any], stamps: pd.Index[Any], names: list[Any]) -> pd.MultiIndex:
    """Return the index of all series by all stamps."""
    count = len(stamps)
    levels = [instances.get_level_values(level).repeat(count) for level in range(instances.nlevels)]
    times = stamps.take(np.tile(np.arange(count), len(instances)))
    return pd.MultiIndex.from_arrays([*levels, times], names=names)
