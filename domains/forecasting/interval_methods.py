r"""Intervals: from draws, or conformal ones with a guarantee for finite samples.

Let :math:`s_1, \dots, s_n` be the standardised errors :math:`(y - f)/g` of a step ahead in windows that the
base was not fitted to, and k the largest integer with :math:`k \le (n + 1)\,\alpha/2`. The conformal interval

.. math:: \bigl[f + g\, s_{(k)},\; f + g\, s_{(n + 1 - k)}\bigr]

covers with probability at least :math:`1 - \alpha`, and without ties at most :math:`1 - \alpha + 2/(n+1) +
\ldots`, whatever the law of the data, if the new error and the n earlier ones are *exchangeable* (Vovk,
Gammerman and Shafer, *Algorithmic Learning in a Random World*; Lei et al., arXiv 1604.04173). Errors of
overlapping windows, and of a series that drifts, are so only roughly; the guarantee is for each step by
itself and on average over windows, not for a path. `adaptive` intervals correct the level by what `update`
has seen (see `adaptive_levels`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sciffusion.estimators.validation import check_integer

from .adaptive_levels import ConformalState, read_levels
from .frame_output import forecast_frame
from .history import Floats
from .model import ForecastModel
from .panel import Panel

__all__ = ["IntervalMethods"]

_NAME = "DiffusionForecaster"
_METHODS = ("draws", "conformal", "adaptive")


class IntervalMethods:
    """The intervals of `DiffusionForecaster`, which mixes this in."""

    model_: ForecastModel
    conformal_: ConformalState
    _request: Callable[..., Any]
    _draws: Callable[..., Floats]

    def predict_interval(
        self,
        X: Any = None,
        h: int | None = None,
        *,
        level: float | Sequence[float] = (80, 95),
        method: str = "draws",
        df: Any = None,
        futr_df: Any = None,
        n_samples: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        r"""Forecast central intervals.

        Parameters
        ----------
        X, h, df, futr_df, n_samples, nfe, random_state
            As in `predict`; the last three matter for draws only.
        level : float or sequence of float in (0, 100), default (80, 95)
            Coverage in per cent.
        method : {"draws", "conformal", "adaptive"}
            ``"draws"``: quantiles of the paths that `sample` gives (at Weibull's positions k/(N+1), which a
            further draw falls below with just that probability). ``"conformal"``: errors of the base in
            windows that it was not fitted to, with the guarantee of the module's text, no network evaluation,
            and at most `horizon` steps. ``"adaptive"``: conformal with the levels that `update` has adapted.

        Returns
        -------
        DataFrame or ndarray
            Columns ``unique_id, ds, DiffusionForecaster, DiffusionForecaster-lo-80, ...``; for arrays the
            shape is (n, h[, channels], 2, levels), lower bounds first.

        Raises
        ------
        ValueError
            If a level needs more held-out windows than there are, or h is beyond what was trained for
            conformal intervals.
        """
        if method not in _METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
        levels = read_levels(level)
        if not levels:
            raise ValueError("level must hold at least one coverage in per cent, got none")
        request = self._request(X, h, df, futr_df)
        if method == "draws":
            draws = self._draws(request, n_samples, nfe, random_state)
            tails = [(1.0 - one / 100.0) / 2.0 for one in levels]
            lower = np.quantile(draws, tails, axis=1, method="weibull")
            upper = np.quantile(draws, [1.0 - tail for tail in tails], axis=1, method="weibull")
            point = np.median(draws, axis=1)
        else:
            lower, upper, point = self._conformal(
                request.panel, request.horizon, levels, adaptive=method == "adaptive"
            )
        if request.framed:
            pairs = dict(zip(levels, zip(lower, upper, strict=True), strict=True))
            return forecast_frame(request.panel, point, name=_NAME, intervals=pairs)
        both = np.moveaxis(np.stack([lower, upper]), (0, 1), (-2, -1))
        return both[:, :, 0] if both.shape[2] == 1 else both

    def _conformal(
        self, panel: Panel, horizon: int, levels: list[float], *, adaptive: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Return bounds of shape (levels, series, horizon, channels) and a point forecast between them."""
        model = self.model_
        if check_integer("h", horizon, low=1) > model.horizon:
            raise ValueError(
                f"conformal intervals reach {model.horizon} steps ahead, the horizon that was trained, got "
                f"h={horizon}; use method='draws'"
            )
        series = model.base.series(panel)
        forecast = model.base.forecast(series, series.last_windows())
        scale = forecast.scale * model.law.std
        shape = (panel.n_series, panel.n_channels, model.horizon)

        def values(scores: Floats) -> Floats:
            found = forecast.location + scale * scores
            if model.lower_bound is not None:
                found = np.maximum(found, model.lower_bound)
            return np.swapaxes(found.reshape(shape), 1, 2)[:, :horizon]

        bounds = [self.conformal_.bounds(one, adaptive=adaptive) for one in levels]
        lower = np.stack([values(one[0]) for one in bounds])
        upper = np.stack([values(one[1]) for one in bounds])
        return lower, upper, np.clip(values(self.conformal_.middle()), lower.max(0), upper.min(0))
