"""The comparison of forecasters: its data, peers, protocol, bars, and the command on two small sets."""

from __future__ import annotations

from pathlib import Path

import forecast_cheap_peers as cheap
import forecast_compare
import forecast_data
import forecast_protocol
import numpy as np
import pandas as pd
import pytest
from forecast_data import RollingSet, rolling_set
from forecast_lineup import MODELS, NETWORK_OFF, OUR_DEFAULT, PEERS
from forecast_models import draw_levels, paths_from_marginals, read_quantiles
from forecast_neural_peers import DeepAutoregression, period_frequency
from forecast_ours import paths_of_frame
from forecast_quantile_network import QuantileNetwork
from forecast_reading import reading
from forecast_summary import (
    comparison_bars,
    mean_ranks,
    pooled_coverage,
    ranked_models,
    relative_to_best_peer,
    summary_table,
)
from scipy.stats import norm

SEASON, HORIZON, WINDOWS = 7, 7, 2
DECILES = np.arange(1, 10) / 10
POOLED = "pooled coverage of {} % intervals off by"


def long_frame(length: int = 200, n: int = 3, seed: int = 0) -> pd.DataFrame:
    """Weekly patterns with unit noise, and one series too short to be used."""
    generator = np.random.default_rng(seed)
    parts = []
    for place in range(n + 1):
        rows = np.arange(length if place < n else 20)
        y = 10 * place + 3 * np.sin(2 * np.pi * rows / SEASON) + generator.normal(size=len(rows))
        times = pd.date_range("2024-01-01", periods=len(rows), freq="D")
        parts.append(pd.DataFrame({"unique_id": f"s{place}", "ds": times, "y": y}))
    return pd.concat(parts, ignore_index=True)


def small_set(**changes: int) -> RollingSet:
    """Cut the made-up frame to its rolling origins."""
    return rolling_set("made up", long_frame(**changes), SEASON, HORIZON, WINDOWS)


def test_windows_end_with_the_series_and_follow_their_histories() -> None:
    found = small_set()
    assert found.whole.ids == ("s0", "s1", "s2")  # the short one is left out
    y = long_frame().query("unique_id == 's1'")["y"].to_numpy()
    for window, cutoff in enumerate((186, 193)):
        history = found.history(window)
        np.testing.assert_array_equal(history.values[1], y[:cutoff])
        np.testing.assert_array_equal(found.truth(window)[1], y[cutoff : cutoff + HORIZON])
        assert len(history.times[1]) == cutoff
    assert len(history.frame()) == 3 * 193


def test_history_is_capped_before_the_first_origin_and_grows_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forecast_data, "HISTORY", 50)
    found = small_set()
    assert [len(found.history(window).values[0]) for window in range(WINDOWS)] == [50, 57]


def test_a_set_without_a_long_series_is_refused() -> None:
    with pytest.raises(ValueError, match="no series of 'made up' is long enough"):
        small_set(length=20)


def test_gaps_are_filled_between_neighbours_and_at_the_ends() -> None:
    found = forecast_data.fill_linearly(np.array([np.nan, 1.0, np.nan, 3.0, np.nan]))
    np.testing.assert_allclose(found, [1, 1, 2, 3, 3])


def test_normal_quantiles_are_read_exactly_between_and_beyond_the_known_levels() -> None:
    known, levels = np.array([0.05, 0.3, 0.5, 0.9]), draw_levels(99)
    quantiles = (2.0 + 3.0 * norm.ppf(known))[None, :, None]
    found = read_quantiles(known, quantiles, levels)
    np.testing.assert_allclose(found[0, :, 0], 2.0 + 3.0 * norm.ppf(levels), atol=1e-9)


def test_draws_keep_the_marginals_and_take_the_order_of_the_template() -> None:
    generator = np.random.default_rng(0)
    template = generator.normal(size=(2, 30, 5))
    marginals = np.sort(generator.normal(size=(2, 30, 5)), axis=1)
    found = paths_from_marginals(marginals, template)
    np.testing.assert_array_equal(np.sort(found, axis=1), marginals)
    np.testing.assert_array_equal(found.argsort(axis=1), template.argsort(axis=1))


def test_climatology_is_the_quantiles_of_the_same_position_and_its_paths_are_seasons() -> None:
    history = small_set().history(0)
    seasons = history.values[0][-20 * SEASON :].reshape(20, SEASON)
    found = cheap.SeasonalClimatology().fit(history)
    np.testing.assert_allclose(
        found.quantiles(history, DECILES)[0], np.quantile(seasons, DECILES, axis=0), atol=1e-12
    )
    template = found.template(history, 10, np.random.default_rng(0))[0]
    nearest = np.abs(template[:, None] - seasons).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-6


def test_seasonal_naive_repeats_the_season_and_widens_with_it() -> None:
    history = small_set().history(0)
    found = cheap.SeasonalNaive().fit(history).quantiles(history, np.array([0.5, norm.cdf(1)]))
    np.testing.assert_allclose(found[0, 0], history.values[0][-SEASON:])
    change = history.values[0][SEASON:] - history.values[0][:-SEASON]
    np.testing.assert_allclose(found[0, 1] - found[0, 0], np.sqrt(np.mean(change**2)))


def test_ridge_finds_a_linear_rule_and_its_residuals_cover() -> None:
    history = small_set().history(0)
    ridge = cheap.RidgeResiduals().fit(history)
    assert ridge.residuals_.shape[0] == 3 * (186 - ridge.length_ - HORIZON + 1)
    found = ridge.quantiles(history, np.array([0.05, 0.5, 0.95]))
    rows = np.arange(186, 186 + HORIZON)
    truth = 10 * np.arange(3)[:, None] + 3 * np.sin(2 * np.pi * rows / SEASON)
    assert np.abs(found[:, 1] - truth).mean() < 0.6
    width = (found[:, 2] - found[:, 0]).mean()
    assert 2.6 < width < 4.6  # 3.3 for unit noise and a known mean


def test_quantile_network_learns_the_pattern_and_is_reproducible() -> None:
    history = small_set().history(0)
    first, again = (QuantileNetwork(max_steps=80).fit(history).quantiles(history, DECILES) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    naive = cheap.SeasonalNaive().fit(history).quantiles(history, DECILES)
    rows = np.arange(186, 186 + HORIZON)
    truth = 10 * np.arange(3)[:, None] + 3 * np.sin(2 * np.pi * rows / SEASON)
    assert np.abs(first[:, 4] - truth).mean() < np.abs(naive[:, 4] - truth).mean()
    assert (np.diff(first, axis=1) >= 0).all()


def test_paths_of_a_frame_come_in_the_order_of_the_histories() -> None:
    history = small_set().history(0)
    wanted = np.random.default_rng(0).normal(size=(3, 4, HORIZON))
    rows = [
        {"unique_id": name, "ds": step, "sample_id": draw, "y": wanted[place, draw, step]}
        for place, name in enumerate(history.ids)
        for draw in range(4)
        for step in range(HORIZON)
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    np.testing.assert_array_equal(paths_of_frame(frame, history, 4), wanted)
    with pytest.raises(ValueError, match="expected 84 rows"):
        paths_of_frame(frame.iloc[1:], history, 4)


def test_a_model_that_knows_the_truth_scores_zero_and_a_bad_one_is_refused() -> None:
    truth = np.array([[1.0, np.nan, 3.0]])
    draws = np.broadcast_to(np.nan_to_num(truth)[:, None], (1, forecast_protocol.N_DRAWS, 3))
    found = forecast_protocol.score_window(truth, draws, np.array([2.0]))
    assert [float(found[name][0]) for name in forecast_protocol.SCORES] == pytest.approx([0, 0, 0, 0])
    assert found["coverage80"][0] == 1
    assert found["targets"][0] == 2
    with pytest.raises(ValueError, match="draws have shape"):
        forecast_protocol.score_window(truth, draws[:, :5], np.array([2.0]))
    with pytest.raises(ValueError, match="draws are not finite"):
        forecast_protocol.score_window(truth, np.where(draws == 3, np.nan, draws), np.array([2.0]))


def test_a_set_row_weighs_coverage_by_targets_and_scores_by_windows() -> None:
    windows, cost, joint = forecast_protocol.run_model(small_set(), cheap.SeasonalNaive)
    assert len(windows) == 3 * WINDOWS
    assert not joint
    assert cost["fit_cpu"] >= 0
    row = forecast_protocol.set_row(windows.assign(targets=[1, 0, 0, 0, 0, 3], coverage80=np.arange(6.0)))
    assert row["coverage80"] == pytest.approx(15 / 4)
    assert row["scrps"] == pytest.approx(windows["scrps"].mean())


def planted(sets: int = 13) -> pd.DataFrame:
    """Rows in which our default reaches every bar."""
    scrps = dict.fromkeys(MODELS, 1.0) | {OUR_DEFAULT: 0.8, NETWORK_OFF: 0.9}
    return pd.DataFrame(
        [
            {
                "dataset": f"set {number}",
                "model": model,
                **dict.fromkeys(("scrps", "mase", "energy", "variogram", "wql"), score),
                "coverage80": 0.79,
                "coverage95": 0.94,
                "targets": 100 if number else 1000,
                "fit_cpu": 1.0,
                "predict_cpu": 0.5,
                "joint": model not in ("AutoETS", "MSTL"),
                "error": "",
            }
            for number in range(sets)
            for model, score in scrps.items()
        ]
    )


def change(rows: pd.DataFrame, model: str, sets: int, **values: object) -> pd.DataFrame:
    """Change values of one model on the first sets."""
    rows = rows.copy()
    chosen = (rows["model"] == model) & rows["dataset"].isin([f"set {number}" for number in range(sets)])
    for name, value in values.items():
        rows.loc[chosen, name] = value
    return rows


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": OUR_DEFAULT, "sets": 0}, []),
        ({"model": "RidgeResid", "sets": 3, "scrps": 0.79}, []),
        ({"model": "RidgeResid", "sets": 4, "scrps": 0.79}, ["sets with better scrps than RidgeResid"]),
        ({"model": "RidgeResid", "sets": 13, "scrps": np.nan}, []),
        ({"model": "MSTL", "sets": 6, "scrps": 0.7}, []),
        ({"model": "MSTL", "sets": 13, "scrps": 0.78}, ["best mean rank on sCRPS"]),
        ({"model": "MSTL", "sets": 7, "scrps": 0.77}, ["sets within 3 % of the best baseline or better"]),
        ({"model": NETWORK_OFF, "sets": 6, "scrps": 0.7}, []),
        (
            {"model": NETWORK_OFF, "sets": 7, "scrps": 0.7},
            ["best mean rank on sCRPS", "sets with better scrps than network off"],
        ),
        ({"model": NETWORK_OFF, "sets": 4, "energy": 0.7}, []),
        ({"model": NETWORK_OFF, "sets": 5, "energy": 0.7}, ["sets with better energy than network off"]),
        ({"model": OUR_DEFAULT, "sets": 13, "coverage80": 0.84}, [POOLED.format(80)]),
        ({"model": OUR_DEFAULT, "sets": 1, "coverage95": 0.89}, [POOLED.format(95)]),
        ({"model": OUR_DEFAULT, "sets": 1, "error": "boom"}, ["our default forecasts every set"]),
    ],
)
def test_each_bar_is_missed_exactly_when_its_numbers_say_so(
    changes: dict[str, object], expected: list[str]
) -> None:
    bars = comparison_bars(change(planted(), **changes), False, list(MODELS))  # type: ignore[arg-type]
    assert [bar.name.split(" (")[0] for bar in bars if bar.reached is False] == expected
    assert len(bars) == 8


def test_reduced_runs_leave_the_bars_unchecked() -> None:
    for rows, reduced in (
        (planted(), True),
        (planted(3), False),
        (planted().query("model != 'MSTL'"), False),
    ):
        assert [bar.reached for bar in comparison_bars(rows, reduced, list(MODELS))] == [True] + [None] * 6


def test_a_failure_ranks_last_and_models_run_on_some_sets_are_not_ranked() -> None:
    rows = change(planted(2), OUR_DEFAULT, 1, scrps=np.nan)
    assert mean_ranks(rows, "scrps")[OUR_DEFAULT] == (len(MODELS) + 1) / 2
    partial = planted(2).query("model != 'MSTL' or dataset == 'set 0'")
    assert "MSTL" not in ranked_models(partial)


def test_pooled_coverage_counts_targets() -> None:
    rows = change(planted(), OUR_DEFAULT, 1, coverage80=0.5)
    found = pooled_coverage(rows, 80)[OUR_DEFAULT]
    assert found == pytest.approx((0.5 * 1000 + 0.79 * 1200) / 2200)


def test_tables_and_reading_name_what_matters() -> None:
    rows = change(planted(), "AutoTheta", 2, scrps=0.5)
    best = relative_to_best_peer(rows)
    assert best["best baseline"].tolist()[:2] == ["AutoTheta"] * 2
    assert best[OUR_DEFAULT].iloc[0] == pytest.approx(1.6)
    table = summary_table(rows)
    assert table.index[0] == OUR_DEFAULT
    assert table.loc["MSTL", "draws"] == "marginals"
    assert table.loc[NETWORK_OFF, "sCRPS over RidgeResid"] == pytest.approx(0.9)
    words = reading(change(rows, "DeepAR", 1, error="boom"))
    for part in ("Marginals only: AutoETS, MSTL.", "DeepAR on set 0", "1.60 (set 0)", "scrps 0.889 times"):
        assert part in words


def test_the_line_up_has_every_baseline_asked_for() -> None:
    assert set(PEERS) == set(MODELS) - {OUR_DEFAULT, NETWORK_OFF}
    assert len(PEERS) == 8


@pytest.fixture
def made_up_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name load a made-up set, and leave out the warm-up."""
    monkeypatch.setattr(forecast_protocol, "_warmed", set(MODELS))
    monkeypatch.setattr(forecast_protocol, "load", lambda name: small_set(seed=len(name)))


@pytest.mark.usefixtures("made_up_sets")
def test_command_writes_tables_and_a_report_that_says_reduced_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--datasets", "parking", "--out", str(tmp_path), "--models"]
    assert forecast_compare.main([*command, "SeasonalNaive", "SeasonClim"]) == 0
    first = pd.read_csv(tmp_path / "rows.csv")
    capsys.readouterr()
    assert forecast_compare.main([*command, "SeasonalNaive", "SeasonClim", "RidgeResid", "--resume"]) == 0
    assert "[1/1]" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "rows.csv")
    kept = rows.query("model != 'RidgeResid'").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[first.columns], first)
    assert rows["error"].isna().all()
    means = rows.groupby("model")["scrps"].mean()
    assert means["RidgeResid"] < means["SeasonalNaive"]
    report = (tmp_path / "report.md").read_text()
    for part in ("REDUCED", "not checked: best mean rank on sCRPS", "Mean rank on sCRPS over 1 sets"):
        assert part in report
    assert str(tmp_path) not in report
    written = {path.name for path in tmp_path.iterdir()}
    assert {"summary.csv", "scrps.csv", "coverage.csv", "seconds.csv", "forecast_compare.png"} <= written
    assert len(list((tmp_path / "windows").iterdir())) == 3


@pytest.mark.usefixtures("made_up_sets")
def test_a_model_that_fails_becomes_a_row_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(cheap.SeasonalNaive, "quantiles", broken)
    forecast_compare.main(
        ["--datasets", "parking", "--models", "SeasonalNaive", "SeasonClim", "--out", str(tmp_path)]
    )
    assert pd.read_csv(tmp_path / "rows.csv")["error"].tolist()[0] == "RuntimeError: no luck"
    assert "SeasonalNaive on parking" in (tmp_path / "report.md").read_text()


def test_statistical_peers_give_their_own_intervals() -> None:
    pytest.importorskip("statsforecast")
    import forecast_statistical_peers as statistical
    from statsforecast.models import AutoTheta

    history = small_set(n=1).history(0)
    found = statistical.AutoTheta().fit(history).quantiles(history, np.array([0.1, 0.5, 0.975]))
    own = AutoTheta(season_length=SEASON).forecast(y=history.values[0], h=HORIZON, level=[80, 95])
    np.testing.assert_allclose(found[0], [own["lo-80"], own["mean"], own["hi-95"]], rtol=1e-6)


def test_deepar_holds_out_the_ends_and_finds_the_frequency() -> None:
    history = small_set().history(0)
    train, held_out = DeepAutoregression()._parts(history)
    assert [len(entry["target"]) for entry in train] == [186 - 3 * HORIZON] * 3  # 15 % of 186 - 49 rows
    assert [len(entry["target"]) for entry in held_out[:3]] == [186, 179, 172]
    assert train[0]["start"] == pd.Period("2024-01-01", freq="D")
    months = pd.date_range("2000-01-01", periods=60, freq="MS").to_numpy()
    weeks = pd.date_range("2000-01-07", periods=60, freq="W-FRI").to_numpy()
    found = [period_frequency(times) for times in (months, weeks, np.arange(60))]
    assert found == ["M", "W-FRI", "h"]


def test_unknown_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        forecast_compare.main(["--datasets", "nowhere", "--out", str(tmp_path)])
