"""What `SDPMSurvival` predicts: everything here is read off generated draws and their Kaplan-Meier curves."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.validation import (
    check_boolean,
    check_integer,
    check_number,
    check_quantile_levels,
)

from .conformal_bound import ConformalBound, censoring_survival_at
from .curve_reading import CurveReading, Functions, times_array
from .draws import Draws
from .kaplan_meier import KaplanMeierCurves
from .metrics import harrell_concordance
from .tail import continue_hazard, continue_survival
from .targets import survival_target

__all__ = ["SurvivalPredictions"]

Floats = NDArray[np.float64]


class SurvivalPredictions(CurveReading):
    """Prediction methods, for an estimator that can draw (``_over_chunks``)."""

    censoring: Literal["required", "none"]
    _conformal_: ConformalBound | None
    _risk_times_: Floats | None

    # ---------------------------------------------------------------- curves

    def predict(self, X: Any, *, n_draws: int | None = None, nfe: int | None = None) -> Floats:
        """Return a risk score: higher means an earlier event.

        In the default recipe it is the probability that the patient's event comes no later than that of a
        random training patient who had one: the mean of 1 - S(t | x) over the event times of the training
        data. Unlike a restricted mean it does not hang on how the curves end where few were followed. The
        paper's recipe has the published score, minus the restricted mean up to the longest training time.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n,)
            Scores in [0, 1]; in the paper's recipe <= 0, in the unit of the training times.
        """
        self._longest_time()
        if self._risk_times_ is None:
            return -self.predict_rmst(X, n_draws=n_draws, nfe=nfe)
        times = self._risk_times_
        return self._from_curves(
            X, (n_draws, nfe), lambda curves, rows: 1.0 - curves.survival_at(times).mean(axis=1)
        )

    @overload
    def predict_survival_function(
        self,
        X: Any,
        return_array: Literal[False] = False,
        *,
        times: None = None,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Functions: ...
    @overload
    def predict_survival_function(
        self,
        X: Any,
        return_array: bool = ...,
        *,
        times: ArrayLike | None = ...,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Any: ...
    def predict_survival_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: ArrayLike | None = None,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Any:
        """Return the survival curves S(t | x) = P(T > t).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        return_array : bool, default False
            Return values at `times` instead of step functions.
        times : array-like of shape (n_times,), optional
            Where the curves may step, or are evaluated; the distinct training times by default. Beyond the
            longest training time curves are continued by a Weibull hazard
            (`sciffusion.domains.survival.tail`), with a warning if it is more than a tenth beyond.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of `StepFunction` of shape (n,), or ndarray of float of shape (n, n_times)
            Step functions as scikit-survival's metrics know them, or values.
        """
        check_boolean("return_array", return_array)
        values = self._event_curve_values(
            X, times, (n_draws, nfe), KaplanMeierCurves.survival_at, continue_survival
        )
        return values if return_array else self._functions(values, times, 1.0)

    def predict_cumulative_hazard_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: ArrayLike | None = None,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Any:
        """Return the cumulative hazards H(t | x), by Nelson-Aalen on the draws.

        Parameters and result are those of `predict_survival_function`.
        """
        check_boolean("return_array", return_array)
        values = self._event_curve_values(
            X, times, (n_draws, nfe), KaplanMeierCurves.cumulative_hazard_at, continue_hazard
        )
        return values if return_array else self._functions(values, times, 0.0)

    def predict_censoring_survival_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: ArrayLike | None = None,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Any:
        """Return the survival curves G(t | x) = P(C > t) of the censoring time, from the same draws.

        Parameters and result are those of `predict_survival_function`, but beyond the last draw a curve stays
        at its last value.
        """
        check_boolean("return_array", return_array)
        values = self._curve_values(X, "censoring", times, (n_draws, nfe), KaplanMeierCurves.survival_at)
        return values if return_array else self._functions(values, times, 1.0)

    # ---------------------------------------------------------------- numbers

    def predict_quantile(
        self, X: Any, levels: ArrayLike = 0.5, *, n_draws: int | None = None, nfe: int | None = None
    ) -> Floats:
        """Return quantiles of the survival time.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        levels : float or array-like of shape (n_levels,), default 0.5
            Probabilities in (0, 1): the smallest t with P(T <= t) >= level.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n,) for one number, else (n, n_levels)
            Times; infinite where the curve does not fall far enough within the follow-up.
        """
        wanted = check_quantile_levels("levels", levels)
        quantiles = self._from_curves(X, (n_draws, nfe), lambda curves, rows: curves.quantile(wanted))
        return quantiles[:, 0] if np.ndim(levels) == 0 else quantiles

    def predict_median(self, X: Any, *, n_draws: int | None = None, nfe: int | None = None) -> Floats:
        """Return the median survival time, shape (n,); infinite where the curve stays above one half."""
        return self.predict_quantile(X, 0.5, n_draws=n_draws, nfe=nfe)

    def predict_rmst(
        self, X: Any, tau: float | None = None, *, n_draws: int | None = None, nfe: int | None = None
    ) -> Floats:
        """Return the restricted mean survival time E[min(T, tau)].

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        tau : float, optional
            Horizon, > 0 and not beyond the longest training time, which is the default.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n,)
            In the unit of the training times.
        """
        last = float(self._longest_time())
        horizon = last if tau is None else check_number("tau", tau, low=0.0, open_low=True)
        if horizon > last:
            raise ValueError(
                f"tau must not lie beyond the longest training time {last:g}, where nothing was observed; "
                f"got {tau}"
            )
        return self._from_curves(X, (n_draws, nfe), lambda curves, rows: curves.restricted_mean(horizon))

    def predict_interval(
        self, X: Any, level: float = 0.9, *, n_draws: int | None = None, nfe: int | None = None
    ) -> Floats:
        """Return an interval that holds the survival time with probability `level`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        level : float in (0, 1), default 0.9
            Probability; half of the rest lies on either side.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper end; the upper one is infinite where the follow-up is too short. With
            ``calibrate="conformal"`` the lower end is that of `predict_lower_bound` at ``(1 + level) / 2``.
        """
        check_number("level", level, low=0.0, high=1.0, open_low=True, open_high=True)
        tail = (1.0 - level) / 2.0
        ends = self.predict_quantile(X, [tail, 1.0 - tail], n_draws=n_draws, nfe=nfe)
        if self._conformal_ is not None:
            ends[:, 0] = np.minimum(
                self.predict_lower_bound(X, 1.0 - tail, n_draws=n_draws, nfe=nfe), ends[:, 1]
            )
        return ends

    def predict_lower_bound(
        self, X: Any, level: float = 0.9, *, n_draws: int | None = None, nfe: int | None = None
    ) -> Floats:
        """Return a time that the patient survives with probability `level`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        level : float in (0, 1), default 0.9
            Probability of surviving the bound.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n,)
            The quantile at ``1 - level`` of the predicted curve; with ``calibrate="conformal"`` that at a
            level corrected on rows kept back, and no later than they were followed up, see
            `sciffusion.domains.survival.conformal`.
        """
        check_number("level", level, low=0.0, high=1.0, open_low=True, open_high=True)
        self._longest_time()
        if self._conformal_ is None:
            return self.predict_quantile(X, 1.0 - level, n_draws=n_draws, nfe=nfe)
        conformal = self._conformal_

        def bound(draws: Draws, rows: slice) -> Floats:
            event = draws.curves()
            censoring = draws.curves("censoring")
            horizon = np.full((len(draws.times), 1), conformal.horizon)
            levels = conformal.levels(1.0 - level, censoring_survival_at(censoring, horizon)[:, 0])
            return np.minimum(event.quantile(levels[:, None])[:, 0], conformal.horizon)

        return np.concatenate(self._over_chunks(X, bound, n_draws=n_draws, nfe=nfe))

    def event_probability(
        self, X: Any, a: float, b: float, *, n_draws: int | None = None, nfe: int | None = None
    ) -> Floats:
        """Return P(a < T <= b | x).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        a, b : float
            Times, 0 <= a < b.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n,)
            Probabilities.
        """
        check_number("a", a, low=0.0)
        check_number("b", b, low=float(a), open_low=True)
        survival = self.predict_survival_function(
            X, return_array=True, times=[a, b], n_draws=n_draws, nfe=nfe
        )
        probability: Floats = survival[:, 0] - survival[:, 1]
        return probability

    # ---------------------------------------------------------------- draws

    def sample(
        self, X: Any, n_samples: int = 1, random_state: Any = None, *, nfe: int | None = None
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Draw observations: what a trial with these patients could have recorded.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        n_samples : int, default 1
            Draws for each row; the rows of a chunk take the ensemble's members in the same order.
        random_state : int, RandomState or None
            Of these draws; None gives new ones at each call.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        T : ndarray of float of shape (n, n_samples)
            Observed times: of the event, or of censoring.
        E : ndarray of bool of shape (n, n_samples)
            Whether the event was observed.
        """
        check_integer("n_samples", n_samples, low=1)
        seed = integer_seed(random_state)

        parts = self._over_chunks(
            X, lambda draws, rows: draws, n_draws=n_samples, nfe=nfe, random_state=seed, fresh=True
        )
        times = np.concatenate([part.times for part in parts])
        return times, np.concatenate([part.events for part in parts]) > 0.0

    def sample_event_times(
        self,
        X: Any,
        n_samples: int = 1,
        *,
        given: ArrayLike | None = None,
        random_state: Any = None,
        n_draws: int | None = None,
        nfe: int | None = None,
    ) -> Floats:
        """Draw event times from the predicted survival curves, as if nobody were censored.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        n_samples : int, default 1
            Independent draws for each row.
        given : float or array-like of shape (n,), optional
            Time already survived: draws are from P(T | x, T > given). Subtract it for the remaining life.
        random_state : int, RandomState or None
            Of these draws; None gives new ones at each call.
        n_draws : int, optional
            Draws behind each curve.
        nfe : int, optional
            Evaluations of the network for a draw.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Times. Infinite: later than the follow-up can tell. NaN: the model gives no chance to survive
            `given`.
        """
        check_integer("n_samples", n_samples, low=1)
        seed = integer_seed(random_state)
        start = None if given is None else times_array("given", given)
        if start is not None and not (np.isfinite(start).all() and (start >= 0.0).all()):
            raise ValueError("given must hold finite times >= 0, in the unit of the training times")

        def invert(curves: KaplanMeierCurves, rows: slice) -> Floats:
            places = np.random.default_rng([seed, rows.start]).random((len(curves.times), n_samples))
            if start is None:
                return curves.quantile(places)
            begin = np.broadcast_to(start[rows] if start.ndim else start, (len(curves.times),))
            alive = curves.survival_at(begin[:, None])
            drawn = curves.quantile(1.0 - alive * (1.0 - places))
            return np.where(alive > 0.0, drawn, np.nan)

        if start is not None and start.ndim and start.shape != (len(X),):
            raise ValueError(
                f"given must be one time or one a row of X, shape ({len(X)},), got {start.shape}"
            )
        return self._from_curves(X, (n_draws, nfe), invert)

    # ---------------------------------------------------------------- judging

    def score(
        self, X: Any, y: Any, E: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return Harrell's concordance of `predict` with the target; .5 is chance, 1 perfect.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates.
        y, E
            The target, in the forms of `fit`.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
            In [0, 1].
        """
        risk = self.predict(X)
        target = survival_target(y, E, censoring=self.censoring, n_rows=len(risk))
        return harrell_concordance(target, risk, sample_weight=sample_weight)
