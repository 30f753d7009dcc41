"""Pictures of the report, as data addresses that stand in an ``img`` element."""

from __future__ import annotations

import base64
import io
from os import PathLike
from typing import TYPE_CHECKING

from sciffusion.estimators.imports import optional_import
from sciffusion.training.checkpoints import write_atomically

from .evaluation import Evaluation
from .plots import plot_cohorts, plot_d_calibration, plot_one_calibration, plot_patient_curves
from .self_check import SelfCheck
from .targets import SurvivalTarget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EXAMPLE_LABELS", "calibration_pictures", "cohort_picture", "patient_picture", "save_overview"]

#: Of the rows that `Evaluation.example_rows` chooses.
EXAMPLE_LABELS = ("low predicted risk", "middle predicted risk", "high predicted risk")

_WIDE, _SQUARE = (7.2, 4.3), (4.6, 4.3)
# Without a date and with fixed identifiers, the same numbers give the same file.
_STYLE = {"svg.hashsalt": "sciffusion", "svg.fonttype": "path", "font.size": 10.5}


def patient_picture(evaluation: Evaluation, model: str, time_unit: str) -> str:
    """Draw the curves of a few held-out patients and what happened to them."""
    figure, ax = _figure(_WIDE)
    _draw_patients(evaluation, model, time_unit, ax)
    return _data_address(figure)


def cohort_picture(check: SelfCheck, time_unit: str) -> str:
    """Draw the generated cohort over the observed one."""
    figure, ax = _figure(_WIDE)
    plot_cohorts(check.observed, check.generated, time_unit=time_unit, ax=ax)
    return _data_address(figure)


def calibration_pictures(evaluation: Evaluation, model: str, time_unit: str) -> tuple[str, str]:
    """Draw calibration at one time, and over all times."""
    one, ax = _figure(_SQUARE)
    plot_one_calibration(
        evaluation.held_out[model].reference_survival,
        evaluation.target,
        evaluation.reference_time,
        groups=evaluation.calibration_groups,
        time_unit=time_unit,
        ax=ax,
    )
    distribution, ax = _figure(_SQUARE)
    plot_d_calibration(evaluation.d_calibration(model), n_rows=len(evaluation.target), ax=ax)
    return _data_address(one), _data_address(distribution)


def save_overview(path: str | PathLike[str], evaluation: Evaluation, model: str, time_unit: str) -> None:
    """Write one PNG with a few held-out patients' curves beside the generated and the observed cohort."""
    figures = optional_import("matplotlib.figure", "plots")
    figure = figures.Figure(figsize=(11.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_patients(evaluation, model, time_unit, left)
    left.set_title("Three patients the model had not seen", loc="left", fontsize=11)
    check = evaluation.self_check(model)
    plot_cohorts(check.observed, check.generated, time_unit=time_unit, ax=right)
    right.set_title("All patients: observed, and drawn by the model", loc="left", fontsize=11)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=140))


def _draw_patients(evaluation: Evaluation, model: str, time_unit: str, ax: Axes) -> None:
    rows = evaluation.example_rows(model)
    observed = SurvivalTarget(evaluation.target.time[rows], evaluation.target.event[rows])
    plot_patient_curves(
        evaluation.held_out[model].last_fit,
        evaluation.X.iloc[rows],
        labels=EXAMPLE_LABELS,
        observed=observed,
        time_unit=time_unit,
        ax=ax,
    )


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    # Without pyplot: no display, no global state, nothing to close.
    figures = optional_import("matplotlib.figure", "plots")
    figure: Figure = figures.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _data_address(figure: Figure) -> str:
    matplotlib = optional_import("matplotlib", "plots")
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
