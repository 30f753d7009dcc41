"""Pictures of survival models: patients' curves, cohorts side by side, calibration.

Every function draws on given matplotlib Axes (or makes some) and returns them. Colours are those of Okabe and
Ito, which colour-blind readers can tell apart; line styles differ as well, so that a black-and-white print
reads the same. matplotlib is of the extra ``plots`` and is imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciffusion.estimators.imports import optional_import

from .calibration import DCalibration, one_calibration
from .cohort import CohortCurve, cohort_curve
from .draws import Draws
from .targets import SurvivalTarget, survival_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "PALETTE",
    "member_curves",
    "plot_cohorts",
    "plot_d_calibration",
    "plot_one_calibration",
    "plot_patient_curves",
]

FloatArray = NDArray[np.float64]

#: Blue, vermilion, green, purple, orange, light blue.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_INK, _FAINT = "#333333", "#bbbbbb"
_LINES = ("-", "--", "-.", ":")
_POINTS = 400
_DRAWS_PER_MEMBER = 128


def member_curves(estimator: Any, X: Any, times: ArrayLike) -> FloatArray:
    """Return the survival curve of each member of the ensemble.

    The members started from different weights and each kept other rows back to stop by, so their spread
    shows what the randomness of training leaves open. It is smaller than the uncertainty that comes from
    having seen these patients and not others, and is no confidence interval.

    Parameters
    ----------
    estimator : SDPMSurvival
        Fitted.
    X : array-like or DataFrame of shape (n, n_features)
        Covariates.
    times : array-like of shape (n_times,)
        Where to evaluate.

    Returns
    -------
    ndarray of shape (members, n, n_times)
        S(t | x); one member with ``recipe="paper"``.
    """
    members = estimator._settings_.n_members

    def read(draws: Draws, rows: slice) -> FloatArray:
        # The draws of a member lie side by side.
        columns = np.array_split(np.arange(draws.times.shape[1]), members)
        return np.stack([_columns(draws, part).curves().survival_at(times) for part in columns])

    chunks = estimator._over_chunks(X, read, n_draws=members * _DRAWS_PER_MEMBER)
    return np.concatenate(chunks, axis=1)


def plot_patient_curves(
    estimator: Any,
    X: Any,
    *,
    labels: Sequence[str] | None = None,
    observed: SurvivalTarget | None = None,
    band: bool = True,
    time_unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the survival curves of a few patients.

    Parameters
    ----------
    estimator : SDPMSurvival
        Fitted.
    X : array-like or DataFrame of shape (n, n_features)
        Covariates of at most six patients.
    labels : sequence of str, optional
        One name a patient.
    observed : SurvivalTarget of n rows, optional
        What happened to them: marked on the curves, a filled circle for an event, an open one for the end of
        the observation without event.
    band : bool, default True
        Shade the range of the members' curves (see `member_curves`, which says what it does not cover);
        nothing is shaded for a model with one network.
    time_unit : str
        For the label of the axis, such as "days since operation".
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        With one line a patient.

    Raises
    ------
    ValueError
        If there are more patients than colours, or not one label a patient.
    """
    ax = _axes(ax)
    times = np.linspace(0.0, float(estimator.unique_times_[-1]), _POINTS)
    curves = estimator.predict_survival_function(X, return_array=True, times=times)
    names = list(labels) if labels is not None else [f"patient {row + 1}" for row in range(len(curves))]
    if len(curves) > len(PALETTE) or len(names) != len(curves):
        raise ValueError(
            f"X must hold at most {len(PALETTE)} patients and labels one name for each, got {len(curves)} "
            f"patients and {len(names)} labels"
        )
    members = member_curves(estimator, X, times) if band else curves[None]
    levels = None if observed is None else _own_levels(estimator, X, observed.time)
    for row, (curve, name) in enumerate(zip(curves, names, strict=True)):
        colour, style = PALETTE[row], _LINES[row % len(_LINES)]
        if len(members) > 1:
            low, high = members[:, row].min(axis=0), members[:, row].max(axis=0)
            ax.fill_between(times, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        ax.step(times, curve, where="post", color=colour, linestyle=style, linewidth=1.8, label=name)
        if observed is not None and levels is not None:
            face = colour if observed.event[row] else "white"
            ax.plot(
                observed.time[row],
                levels[row],
                "o",
                color=colour,
                markerfacecolor=face,
                markersize=7,
                zorder=5,
            )
    if observed is not None:
        ax.plot([], [], "o", color=_INK, markersize=7, label="event")
        ax.plot([], [], "o", color=_INK, markerfacecolor="white", markersize=7, label="end of observation")
    _survival_axes(ax, time_unit, "probability of no event yet")
    ax.legend(frameon=False, loc="best")
    return ax


def plot_cohorts(
    observed: CohortCurve, generated: CohortCurve, *, time_unit: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the Kaplan-Meier curves of the observed and of the generated cohort.

    Parameters
    ----------
    observed, generated : CohortCurve
        As `cohort_curve` and `SelfCheck` give them; the band of the observed one is shaded.
    time_unit : str
        For the label of the axis.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        With the observed curve, its band and the generated curve.
    """
    ax = _axes(ax)
    times = _from_zero(observed.times, 0.0)
    low, high = _from_zero(observed.lower, 1.0), _from_zero(observed.upper, 1.0)
    ax.fill_between(
        times, low, high, step="post", color=_FAINT, alpha=0.5, linewidth=0, label="95 % band of the observed"
    )
    ax.step(
        times, _from_zero(observed.survival, 1.0), where="post", color=_INK, linewidth=1.6, label="observed"
    )
    ax.step(
        _from_zero(generated.times, 0.0),
        _from_zero(generated.survival, 1.0),
        where="post",
        color=PALETTE[1],
        linestyle="--",
        linewidth=1.6,
        label="generated, one draw a patient",
    )
    _survival_axes(ax, time_unit, "share without event (Kaplan-Meier)")
    handles, names = ax.get_legend_handles_labels()
    order = [1, 0, 2]
    ax.legend([handles[k] for k in order], [names[k] for k in order], frameon=False, loc="best")
    return ax


def plot_one_calibration(
    survival_at_time: ArrayLike,
    y: Any,
    time: float,
    *,
    groups: int = 10,
    time_unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw predicted against observed survival at one time, in groups of similar prediction.

    Parameters
    ----------
    survival_at_time, y, time, groups
        As for `one_calibration`.
    time_unit : str
        For the label of the axis, such as "days since operation".
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        One point a group whose follow-up reaches the time, at its mean prediction and its Kaplan-Meier value,
        with the 95 % band of the latter.
    """
    ax = _axes(ax)
    result = one_calibration(survival_at_time, y, time, groups)
    target = survival_target(y)
    members = np.array_split(np.argsort(np.asarray(survival_at_time), kind="stable"), groups)
    ax.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.2, zorder=1)
    for rows, predicted, observed in zip(members, result.predicted, result.observed, strict=True):
        if np.isfinite(observed):
            curve = cohort_curve(SurvivalTarget(target.time[rows], target.event[rows]))
            low, high = curve.band_at(time)
            ax.vlines(predicted, low, high, color=PALETTE[0], linewidth=1.4, alpha=0.6, zorder=2)
            ax.plot(predicted, observed, "o", color=PALETTE[0], markersize=6, zorder=3)
    unit = f" {_unit_of(time_unit)}" if time_unit else ""
    ax.set_xlabel(f"predicted probability of no event by {time:.4g}{unit}")
    ax.set_ylabel("observed share (Kaplan-Meier, 95 % band)")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_aspect("equal")
    _calm(ax)
    return ax


def plot_d_calibration(result: DCalibration, *, n_rows: int, ax: Axes | None = None) -> Axes:
    """Draw the shares of rows in tenths of predicted survival at their own times; all equal if calibrated.

    Parameters
    ----------
    result : DCalibration
        As `d_calibration` gives it.
    n_rows : int
        Rows it was computed on, for the band of chance.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        One bar a bin, and the line and 95 % band of equal shares.
    """
    ax = _axes(ax)
    bins = len(result.bin_shares)
    expected = 1.0 / bins
    # Censored rows are spread over bins, which makes the true band narrower than this one.
    half = 1.96 * np.sqrt(expected * (1.0 - expected) / n_rows)
    ax.axhspan(expected - half, expected + half, color=_FAINT, alpha=0.4, linewidth=0, zorder=0)
    ax.axhline(expected, color=_INK, linewidth=1.0, zorder=1)
    centres = (np.arange(bins) + 0.5) / bins
    ax.bar(centres, result.bin_shares, width=0.86 / bins, color=PALETTE[0], alpha=0.85, zorder=2)
    ax.set_xlim(0, 1)
    ax.set_xlabel("predicted survival at the patient's own time")
    ax.set_ylabel("share of patients")
    _calm(ax)
    return ax


def _columns(draws: Draws, columns: NDArray[np.intp]) -> Draws:
    weights = None if draws.weights is None else draws.weights[:, columns]
    return Draws(draws.times[:, columns], draws.events[:, columns], weights)


def _own_levels(estimator: Any, X: Any, times: FloatArray) -> FloatArray:
    """Return each patient's curve at the patient's own time."""
    table = estimator.predict_survival_function(X, return_array=True, times=times)
    return np.diagonal(table)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    pyplot = optional_import("matplotlib.pyplot", "plots")
    made: Axes = pyplot.subplots(figsize=(6.0, 4.0), layout="constrained")[1]
    return made


def _survival_axes(ax: Axes, time_unit: str, label: str) -> None:
    ax.set_xlabel(f"time ({time_unit})" if time_unit else "time")
    ax.set_ylabel(label)
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.02)
    _calm(ax)


def _calm(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=_INK)
    ax.set_axisbelow(True)


def _from_zero(values: FloatArray, start: float) -> FloatArray:
    return np.concatenate([[start], values])


def _unit_of(time_unit: str) -> str:
    """Return "days" of "days since operation"."""
    return time_unit.replace(",", " ").split(" ")[0]
