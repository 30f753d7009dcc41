"""Pictures: what they draw are the numbers they are given."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from sciffusion.domains.survival import SDPMSurvival
from sciffusion.domains.survival.calibration import d_calibration, one_calibration
from sciffusion.domains.survival.cohort import cohort_curve
from sciffusion.domains.survival.plots import (
    PALETTE,
    member_curves,
    plot_cohorts,
    plot_d_calibration,
    plot_one_calibration,
    plot_patient_curves,
)
from sciffusion.domains.survival.targets import SurvivalTarget


@pytest.fixture
def ax() -> Any:
    figure = pytest.importorskip("matplotlib.figure")
    return figure.Figure().subplots()


def lines_named(ax: Any, name: str) -> Any:
    (line,) = [line for line in ax.get_lines() if line.get_label() == name]
    return line


def test_members_average_to_the_ensemble(fitted: SDPMSurvival, study: Any) -> None:
    times = np.linspace(0.5, 20.0, 25)
    members = member_curves(fitted, study.X[:5], times)
    assert members.shape == (2, 5, 25)
    assert (np.diff(members, axis=2) <= 0).all()
    assert np.abs(members[0] - members[1]).max() > 0.01
    # Before censoring has made the members' risk sets differ, pooling draws is averaging curves.
    ensemble = fitted.predict_survival_function(study.X[:5], return_array=True, times=times, n_draws=256)
    early = times < 3.0
    np.testing.assert_allclose(members.mean(axis=0)[:, early], ensemble[:, early], atol=0.01)


def test_a_single_member_is_the_model(study: Any, make_model: Any) -> None:
    model = make_model(n_members=1).fit(study.X, study.y)
    times = np.linspace(0.0, 20.0, 30)
    (curve,) = member_curves(model, study.X[:4], times)
    predicted = model.predict_survival_function(study.X[:4], return_array=True, times=times, n_draws=128)
    np.testing.assert_allclose(curve, predicted)


def test_patient_curves_are_the_predicted_ones(ax: Any, fitted: SDPMSurvival, study: Any) -> None:
    X = study.X[:3]
    observed = SurvivalTarget(study.T[:3], np.array([True, False, True]))
    returned = plot_patient_curves(
        fitted, X, labels=["a", "b", "c"], observed=observed, time_unit="months", ax=ax
    )
    assert returned is ax
    for row, name in enumerate("abc"):
        times, values = lines_named(ax, name).get_data()
        expected = fitted.predict_survival_function(X[row : row + 1], return_array=True, times=times)[0]
        np.testing.assert_allclose(values, expected)
    assert ax.get_xlabel() == "time (months)"
    assert len(ax.collections) == 3  # a band for each
    circles = [line for line in ax.get_lines() if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert [float(line.get_xdata()[0]) for line in circles] == study.T[:3].tolist()
    assert [line.get_markerfacecolor() for line in circles] == [PALETTE[0], "white", PALETTE[2]]
    own = np.diagonal(fitted.predict_survival_function(X, return_array=True, times=study.T[:3]))
    np.testing.assert_allclose([float(line.get_ydata()[0]) for line in circles], own)


def test_a_single_network_has_no_band(ax: Any, study: Any, make_model: Any) -> None:
    model = make_model(n_members=1).fit(study.X, study.y)
    plot_patient_curves(model, study.X[:1], ax=ax)
    assert len(ax.collections) == 0
    assert lines_named(ax, "patient 1") is not None


def test_too_many_patients_and_wrong_labels_are_refused(ax: Any, fitted: SDPMSurvival, study: Any) -> None:
    with pytest.raises(ValueError, match="at most 6 patients"):
        plot_patient_curves(fitted, study.X[:7], ax=ax)
    with pytest.raises(ValueError, match="2 patients and 1 labels"):
        plot_patient_curves(fitted, study.X[:2], labels=["a"], ax=ax)


def test_cohorts_show_both_curves(ax: Any, study: Any) -> None:
    observed, generated = cohort_curve(study.T, study.E), cohort_curve(study.T[:50], study.E[:50])
    plot_cohorts(observed, generated, ax=ax)
    np.testing.assert_allclose(lines_named(ax, "observed").get_ydata()[1:], observed.survival)
    np.testing.assert_allclose(
        lines_named(ax, "generated, one draw a patient").get_ydata()[1:], generated.survival
    )
    assert lines_named(ax, "observed").get_ydata()[0] == 1.0
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["observed", "95 % band of the observed", "generated, one draw a patient"]


def test_calibration_at_a_time_shows_each_group(ax: Any, study: Any) -> None:
    survival = np.random.default_rng(0).random(len(study.T))
    plot_one_calibration(survival, study.y, 5.0, groups=4, time_unit="weeks since entry", ax=ax)
    result = one_calibration(survival, study.y, 5.0, 4)
    points = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert np.isfinite(result.observed).all()
    np.testing.assert_allclose([float(point.get_xdata()[0]) for point in points], result.predicted)
    np.testing.assert_allclose([float(point.get_ydata()[0]) for point in points], result.observed)
    for bar, level in zip(ax.collections, result.observed, strict=True):
        (segment,) = bar.get_segments()
        assert segment[:, 1].min() < level < segment[:, 1].max()
    assert ax.get_xlabel() == "predicted probability of no event by 5 weeks"


def test_d_calibration_bars_are_the_shares(ax: Any, study: Any) -> None:
    result = d_calibration(np.random.default_rng(0).random(len(study.T)), study.E)
    plot_d_calibration(result, n_rows=len(study.T), ax=ax)
    bars = [patch.get_height() for patch in ax.containers[0]]
    np.testing.assert_allclose(bars, result.bin_shares)


def test_axes_are_made_when_none_are_given(study: Any) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ax = plot_cohorts(cohort_curve(study.T, study.E), cohort_curve(study.T, study.E))
    assert ax.get_ylabel() == "share without event (Kaplan-Meier)"
    pyplot.close(ax.figure)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, study: Any) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sciffusion\[plots\]"):
        plot_cohorts(cohort_curve(study.T, study.E), cohort_curve(study.T, study.E))
