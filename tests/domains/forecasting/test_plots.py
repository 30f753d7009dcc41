"""Pictures of forecasts: what they draw are the numbers they are given."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.forecasting.plots import (
    plot_anomaly,
    plot_backtest,
    plot_calibration,
    plot_forecast,
    plot_imputation,
)
from sciffusion.domains.forecasting.plots_style import FORECAST, TRUTH, band_colours, plain_times, time_axis

LENGTH, HORIZON, SAMPLES = 40, 6, 60
START = pd.Timestamp("2024-03-01")


@pytest.fixture(autouse=True)
def _agg() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def new_axes(count: int) -> list[Any]:
    from matplotlib.figure import Figure

    return list(np.atleast_1d(Figure().subplots(count, 1)))


def frame_of(values: Any, *, first: int = 0, columns: tuple[str, ...] = ("y",)) -> pd.DataFrame:
    """Return series a, b, ... of shape (n, length[, channels]) as a daily long frame."""
    array = np.asarray(values, dtype=float).reshape(len(values), np.shape(values)[1], len(columns))
    days = START + pd.to_timedelta(np.arange(first, first + array.shape[1]), unit="D")
    parts = [
        pd.DataFrame(
            {"unique_id": chr(97 + row), "ds": days, **dict(zip(columns, array[row].T, strict=True))}
        )
        for row in range(len(array))
    ]
    return pd.concat(parts, ignore_index=True)


def draws_of(values: Any, *, first: int = LENGTH, columns: tuple[str, ...] = ("y",)) -> pd.DataFrame:
    """Return draws of shape (n, samples, horizon[, channels]) as the frame of `sample`."""
    drawn = np.asarray(values)
    parts = [
        frame_of(drawn[:, sample], first=first, columns=columns).assign(sample_id=sample)
        for sample in range(drawn.shape[1])
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def history() -> pd.DataFrame:
    return frame_of(np.random.default_rng(0).normal(size=(3, LENGTH)).cumsum(axis=1))


@pytest.fixture
def paths() -> Any:
    return np.random.default_rng(1).normal(size=(3, SAMPLES, HORIZON)).cumsum(axis=2)


def lines(ax: Any, label: str) -> Any:
    """Return the numbers of the only line of a name."""
    (found,) = [line for line in ax.get_lines() if line.get_label() == label]
    return found.get_ydata()


def bands(ax: Any) -> list[Any]:
    """Return (lower, upper) of every shaded band, in the order of drawing."""
    found = []
    for shade in ax.collections:
        corners = shade.get_paths()[0].vertices
        edges = [corners[corners[:, 0] == time, 1] for time in np.unique(corners[:, 0])]
        found.append((np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])))
    return found


def test_a_fan_of_draws_shows_their_quantiles(history: pd.DataFrame, paths: Any) -> None:
    axes = new_axes(3)
    figure = plot_forecast(draws_of(paths), history, ax=axes, n_paths=3)
    assert figure is axes[0].figure
    for row, ax in enumerate(axes):
        np.testing.assert_allclose(lines(ax, "median"), np.median(paths[row], axis=0))
        widest, middle, narrow = bands(ax)
        for (lower, upper), tail in ((widest, 2.5), (middle, 10.0), (narrow, 25.0)):
            np.testing.assert_allclose(lower, np.percentile(paths[row], tail, axis=0))
            np.testing.assert_allclose(upper, np.percentile(paths[row], 100 - tail, axis=0))
        assert ax.get_title(loc="left") == "abc"[row]
        values = history.loc[history["unique_id"] == "abc"[row], "y"].to_numpy()
        np.testing.assert_allclose(lines(ax, "history"), values[-3 * HORIZON :])


def test_weights_of_draws_count(paths: Any) -> None:
    drawn = draws_of(paths[:1])
    heavy = drawn["sample_id"].isin([7, 8, 9])
    (ax,) = new_axes(1)
    plot_forecast(drawn.assign(weight=heavy / 3.0, unique_id="a"), ax=ax, n_paths=0)
    np.testing.assert_allclose(lines(ax, "median"), np.median(paths[0, 7:10], axis=0))
    lower, upper = bands(ax)[0]
    np.testing.assert_allclose(lower, paths[0, 7:10].min(axis=0))
    np.testing.assert_allclose(upper, paths[0, 7:10].max(axis=0))


def test_paths_are_some_of_the_draws(paths: Any) -> None:
    (ax,) = new_axes(1)
    plot_forecast(draws_of(paths[:1]), ax=ax, n_paths=4)
    drawn = [line.get_ydata() for line in ax.get_lines() if line.get_linewidth() < 1]
    assert len(drawn) == 4
    assert all((np.abs(paths[0] - line).max(axis=1) < 1e-12).sum() == 1 for line in drawn)
    (ax,) = new_axes(1)
    plot_forecast(draws_of(paths[:1]), ax=ax, n_paths=0)
    assert not [line for line in ax.get_lines() if line.get_label() == "paths"]


def test_a_frame_of_predict_keeps_its_own_bands(history: pd.DataFrame) -> None:
    median = np.arange(HORIZON, dtype=float)
    predicted = frame_of([median], first=LENGTH).rename(columns={"y": "Model"})
    predicted["Model-lo-80"], predicted["Model-hi-80"] = median - 1, median + 2
    predicted["Model-lo-95"], predicted["Model-hi-95"] = median - 3, median + 4
    (ax,) = new_axes(1)
    plot_forecast(predicted, history, ax=ax)
    outer, inner = bands(ax)
    np.testing.assert_allclose(outer, (median - 3, median + 4))
    np.testing.assert_allclose(inner, (median - 1, median + 2))
    np.testing.assert_allclose(lines(ax, "median"), median)
    assert [text.get_text() for text in ax.get_legend().get_texts()][-2:] == ["95 %", "80 %"]


def test_opposite_quantiles_bound_a_band() -> None:
    median = np.arange(HORIZON, dtype=float)
    found = frame_of([median], first=LENGTH).rename(columns={"y": "Model"})
    columns = {"Model-q-10": median - 1, "Model-q-50": median, "Model-q-90": median + 2, "Model-q-99": median}
    (ax,) = new_axes(1)
    plot_forecast(found.assign(**columns), ax=ax)
    ((lower, upper),) = bands(ax)  # the 99 % quantile has no opposite
    np.testing.assert_allclose(lower, median - 1)
    np.testing.assert_allclose(upper, median + 2)


@pytest.mark.parametrize("apart", [True, False])
def test_what_happened_is_told_from_the_history(history: pd.DataFrame, paths: Any, apart: bool) -> None:
    truth = frame_of(np.full((3, HORIZON), 7.0), first=LENGTH)
    (ax,) = new_axes(1)
    if apart:
        plot_forecast(draws_of(paths), history, truth=truth, series="b", ax=ax)
    else:
        plot_forecast(draws_of(paths), pd.concat([truth, history]), series="b", ax=ax)  # in any order
    happened = lines(ax, "what happened")
    mine = history.loc[history["unique_id"] == "b", "y"].to_numpy()
    np.testing.assert_allclose(happened, [mine[-1], *[7.0] * HORIZON])
    np.testing.assert_allclose(lines(ax, "history"), mine[-3 * HORIZON :])


def test_missing_values_break_the_line_and_lone_ones_are_dots(history: pd.DataFrame, paths: Any) -> None:
    one = history[history["unique_id"] == "a"].copy()
    one.loc[one.index[[-4, -2]], "y"] = np.nan
    (ax,) = new_axes(1)
    plot_forecast(draws_of(paths[:1]), one, ax=ax)
    assert np.isnan(lines(ax, "history")[[-4, -2]]).all()
    (dots,) = [line for line in ax.get_lines() if line.get_marker() == "."]
    np.testing.assert_allclose(dots.get_ydata(), one["y"].iloc[[-3, -1]])


def test_channels_get_panels_of_their_own(paths: Any) -> None:
    both = np.stack([paths, -paths], axis=-1)
    data = frame_of(np.ones((3, LENGTH, 2)), columns=("load", "wind"))
    figure = plot_forecast(draws_of(both, columns=("load", "wind")), data, target=("load", "wind"))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["a: load", "a: wind", "b: load", "b: wind", "c: load", "c: wind"]
    np.testing.assert_allclose(lines(figure.axes[3], "median"), -np.median(paths[1], axis=0))
    # The frame of `predict` has a row a channel instead.
    long = frame_of([np.zeros(HORIZON)], first=LENGTH).rename(columns={"y": "Model"})
    figure = plot_forecast(
        pd.concat([long.assign(channel="load"), long.assign(channel="wind", Model=5.0)]), data,
        target=("load", "wind"),
    )  # fmt: skip
    assert lines(figure.axes[1], "median").tolist() == [5.0] * HORIZON


def test_arrays_are_drawn_as_frames_are(history: pd.DataFrame, paths: Any) -> None:
    values = history["y"].to_numpy().reshape(3, LENGTH)
    axes = new_axes(3)
    plot_forecast(paths, values, truth=np.zeros((3, HORIZON)), ax=axes)
    np.testing.assert_allclose(lines(axes[2], "median"), np.median(paths[2], axis=0))
    np.testing.assert_allclose(lines(axes[2], "history"), values[2, -3 * HORIZON :])
    np.testing.assert_allclose(lines(axes[2], "what happened")[1:], 0.0)
    (median,) = [line for line in axes[2].get_lines() if line.get_label() == "median"]
    np.testing.assert_array_equal(median.get_xdata(), LENGTH + np.arange(HORIZON))
    with pytest.raises(ValueError, match="must hold draws"):
        plot_forecast(values)


def test_only_some_of_many_series_are_shown_and_that_is_said(paths: Any) -> None:
    many = np.concatenate([paths] * 4)
    figure = plot_forecast(draws_of(many), max_series=5)
    assert [ax.get_title(loc="left") for ax in figure.axes[:5]] == list("abcde")
    assert figure.get_supxlabel() == "5 of 12 series"
    assert len([ax for ax in figure.axes if ax.axison]) == 5


def test_what_does_not_fit_is_refused(history: pd.DataFrame, paths: Any) -> None:
    with pytest.raises(ValueError, match="there is no series 'z'; found 'a', 'b', 'c'"):
        plot_forecast(draws_of(paths), history, series="z")
    with pytest.raises(ValueError, match="3 Axes, one a panel, got 1"):
        plot_forecast(draws_of(paths), history, ax=new_axes(1)[0])
    with pytest.raises(ValueError, match="the forecast has no column 'unique_id'"):
        plot_forecast(history.drop(columns="unique_id"))
    with pytest.raises(ValueError, match=r"the data have no column 'y'.*target"):
        plot_forecast(draws_of(paths), history.rename(columns={"y": "load"}))


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (pd.period_range("2024-01", periods=2, freq="M"), ["2024-01-01", "2024-02-01"]),
        (pd.date_range("2024-01-01", periods=2, tz="Asia/Tokyo"), ["2024-01-01", "2024-01-02"]),
        (["2024-01-01", "2024-01-02"], ["2024-01-01", "2024-01-02"]),
    ],
)
def test_stamps_of_every_kind_have_a_place_on_the_axis(stamps: Any, expected: list[str]) -> None:
    np.testing.assert_array_equal(plain_times(stamps), np.array(expected, dtype="datetime64[ns]"))


def test_spans_of_every_length_get_a_few_ticks() -> None:
    for hours in np.geomspace(0.2, 24 * 365 * 30, 60):
        (ax,) = new_axes(1)
        times = START.to_datetime64() + (np.linspace(0.0, hours, 9) * 3.6e9).astype("timedelta64[us]")
        ax.plot(times, np.zeros(9))
        time_axis(ax, times)
        low, high = ax.get_xlim()
        shown = [
            tick for tick in ax.get_xticks() if low <= tick <= high
        ]  # a warning of matplotlib would fail
        assert 1 <= len(shown) <= 8


def test_narrower_bands_are_darker_and_all_differ_from_the_truth() -> None:
    colours = band_colours([50, 95, 80])
    assert list(colours) == [95, 80, 50]
    lightness = [sum(colour) for colour in colours.values()]
    assert lightness == sorted(lightness, reverse=True)
    assert FORECAST != TRUTH


@pytest.fixture
def holed(history: pd.DataFrame) -> pd.DataFrame:
    """Return two series, the first without a gap, the second with one of five rows."""
    two = history[history["unique_id"] != "c"].copy()
    two.loc[(two["unique_id"] == "b") & two["ds"].between("2024-03-11", "2024-03-15"), "y"] = np.nan
    return two


def test_gaps_are_filled_and_nothing_else(history: pd.DataFrame, holed: pd.DataFrame) -> None:
    gap = slice(10, 15)
    rng = np.random.default_rng(2)
    draws = np.stack([history["y"].to_numpy().reshape(3, LENGTH)[:2]] * SAMPLES, axis=1)
    draws[1, :, gap] = rng.normal(10.0, 1.0, (SAMPLES, 5))
    (ax,) = new_axes(1)
    figure = plot_imputation(draws_of(draws, first=0), holed, truth=history, ax=ax, n_paths=2)
    assert figure is ax.figure
    assert ax.get_title(loc="left") == "b"
    median = lines(ax, "median")
    np.testing.assert_allclose(median[gap], np.median(draws[1, :, gap], axis=0))
    assert np.isnan(median[:9]).all()  # the row before the gap joins it to what was observed
    np.testing.assert_allclose(median[[9, 15]], draws[1, 0, [9, 15]])
    assert np.isnan(lines(ax, "observed")[gap]).all()
    for (lower, upper), tail in zip(bands(ax), (2.5, 10.0, 25.0), strict=True):
        np.testing.assert_allclose(lower[1:-1], np.percentile(draws[1, :, gap], tail, axis=0))
        np.testing.assert_allclose(upper[1:-1], np.percentile(draws[1, :, gap], 100 - tail, axis=0))
        np.testing.assert_allclose(lower[[0, -1]], upper[[0, -1]])
    hidden = history.loc[history["unique_id"] == "b", "y"].to_numpy()[gap]
    np.testing.assert_allclose(lines(ax, "what was hidden"), hidden)


def test_filled_values_and_bounds_are_drawn_as_given(holed: pd.DataFrame) -> None:
    filled = holed.assign(**{"y": holed["y"].fillna(3.0), "y-lo-80": 2.0, "y-hi-80": 5.0, "weather": 1.0})
    (ax,) = new_axes(1)
    plot_imputation(filled, holed, start="2024-03-09", stop="2024-03-17", ax=ax)
    assert len(lines(ax, "median")) == 9
    np.testing.assert_allclose(lines(ax, "median")[2:7], 3.0)
    ((lower, upper),) = bands(ax)
    np.testing.assert_allclose(lower[1:-1], 2.0)
    np.testing.assert_allclose(upper[1:-1], 5.0)


def test_rows_left_out_are_gaps_too(history: pd.DataFrame, holed: pd.DataFrame) -> None:
    filled = holed.assign(y=holed["y"].fillna(3.0))
    (ax,) = new_axes(1)
    plot_imputation(filled, holed.dropna(), ax=ax)
    np.testing.assert_allclose(lines(ax, "median")[10:15], 3.0)
    with pytest.raises(ValueError, match="no series of the data has a gap"):
        plot_imputation(history, history)


def test_scores_stand_below_their_series(history: pd.DataFrame) -> None:
    scores = history[["unique_id", "ds"]].assign(score=np.r_[np.zeros(30), np.ones(10) * 4, np.zeros(80)])
    labels = np.zeros(len(history), dtype=bool)
    labels[[5, 6, 33]] = True
    above, below = new_axes(2)
    plot_anomaly(scores, history, threshold=2.0, labels=labels, series="a", ax=[above, below])
    np.testing.assert_allclose(lines(above, "series"), history["y"][:40])
    np.testing.assert_allclose(lines(above, "above the threshold"), history["y"][30:40])
    np.testing.assert_allclose(lines(below, "score"), scores["score"][:40])
    assert set(lines(below, "threshold 2")) == {2.0}
    assert len(above.patches) == len(below.patches) == 2  # one a stretch


def test_labels_come_as_rows_a_column_or_stretches(history: pd.DataFrame) -> None:
    one = history[history["unique_id"] == "a"]
    scores = one[["unique_id", "ds"]].assign(score=1.0)
    flags = one["ds"].between("2024-03-05", "2024-03-07")
    stretch = [(pd.Timestamp("2024-03-05"), pd.Timestamp("2024-03-07"))]
    edges = []
    for labels in (flags, "odd", stretch):
        axes = new_axes(2)
        plot_anomaly(scores, one.assign(odd=flags), labels=labels, ax=axes)
        (patch,) = axes[0].patches
        edges.append(patch.get_extents().x0)
    assert edges[0] == edges[1] == edges[2]
    with pytest.raises(ValueError, match="one value a row of the data, 40, got 3"):
        plot_anomaly(scores, one, labels=[True, False, True])
    with pytest.raises(ValueError, match="no column 'score'"):
        plot_anomaly(one, one)


def test_calibrated_forecasts_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(3)
    draws, truth = rng.normal(size=(400, 99, 4)), rng.normal(size=(400, 4))
    left, right = new_axes(2)
    plot_calibration(draws, truth, ax=[left, right])
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], 1.0, atol=0.3)
    (curve,) = [line for line in right.get_lines() if line.get_label() == "observed"]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata(), atol=4.0)
    # Draws half as wide as they should be: most of the truth falls outside, the bars form a U.
    left, right = new_axes(2)
    plot_calibration(draws / 2, truth, ax=[left, right])
    heights = [bar.get_height() for bar in left.patches]
    assert min(heights[0], heights[-1]) > 2 * max(heights[3:7])
    (text,) = [text for text in right.texts if text.xy[0] == 80]
    assert abs(float(text.get_text()) - 48.0) < 5.0  # P(|Z| < 1.28 / 2)


def test_the_frame_of_a_backtest_is_matched_with_the_data(history: pd.DataFrame) -> None:
    values = history["y"].to_numpy().reshape(3, LENGTH)
    rng = np.random.default_rng(4)
    parts = []
    for window, first in enumerate((20, 26)):
        centre = values[:, None, first : first + HORIZON]
        parts.append(draws_of(centre + rng.normal(size=(3, 60, HORIZON)), first=first).assign(window=window))
    left, right = new_axes(2)
    plot_calibration(pd.concat(parts), history.sample(frac=1.0, random_state=0), ax=[left, right])
    heights = np.array([bar.get_height() for bar in left.patches])
    assert heights[4] + heights[5] > 8.0  # the truth is in the middle of all draws
    with pytest.raises(ValueError, match="no value at the stamps"):
        plot_calibration(pd.concat(parts), history[history["ds"] < "2024-03-10"])


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unique_id": ["a", "b", "a", "b"], "window": [0, 0, 1, 1], "n_observed": [6, 6, 6, 3],
            "scaled_crps": [0.4, 0.9, 0.6, 1.1], "coverage-80": [1.0, 0.5, 0.5, 1.0],
        }
    )  # fmt: skip


def test_a_backtest_shows_scores_and_coverage(scores: pd.DataFrame) -> None:
    left, right = new_axes(2)
    plot_backtest(scores, ax=[left, right])
    (means,) = [line for line in left.get_lines() if line.get_label() == "mean 0.750"]
    np.testing.assert_allclose(means.get_xdata(), [0.5, 1.0])
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]
    (mark,) = [line for line in right.get_lines() if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert float(mark.get_xdata()[0]) == pytest.approx(100 * (6 + 3 + 3 + 3) / 21)  # weighed by what was seen
    assert right.texts[0].get_text() == "71"


def test_forecasters_are_compared(scores: pd.DataFrame) -> None:
    left, right = new_axes(2)
    plot_backtest({"ours": scores, "theirs": scores.assign(scaled_crps=2.0)}, ax=[left, right])
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["ours: 0.750", "theirs: 2.000"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["ours", "theirs"]
    with pytest.raises(ValueError, match="no column 'mape'"):
        plot_backtest(scores, score="mape")


def test_the_forecasts_of_a_backtest_stand_above(
    scores: pd.DataFrame, history: pd.DataFrame, paths: Any
) -> None:
    draws = pd.concat([draws_of(paths, first=first).assign(window=first) for first in (20, 26)])
    figure = plot_backtest(scores, draws=draws, data=history, series="a")
    assert figure.axes[0].get_title(loc="left") == "a"
    assert len(bands(figure.axes[0])) == 6
    with pytest.raises(ValueError, match="belong together"):
        plot_backtest(scores, draws=draws)


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, history: pd.DataFrame, paths: Any
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sciffusion\[plots\]"):
        plot_forecast(draws_of(paths), history)
