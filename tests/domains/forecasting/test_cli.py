"""`sciffusion forecast`: fit, predict, impute, anomaly and backtest on CSV files, and reading them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sciffusion import cli as face
from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.csv_input import SeriesColumns, read_series
from sciffusion.estimators.csv_tables import read_table

testing = pytest.importorskip("typer.testing")
pytest.importorskip("rich")

QUICK = ("--no-network",)
NAMES = ("--id-col", "shop", "--time-col", "day", "--target", "sales", "--future", "promotion")


def shops() -> pd.DataFrame:
    """Return two shops with a week, a promotion known in advance, a gap and a row left out."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=120, freq="D")
    parts = []
    for shop, level in (("north", 20.0), ("south", 50.0)):
        promotion = (rng.random(120) < 0.2).astype(float)
        weekly = level + 5.0 * np.sin(2 * np.pi * np.arange(120) / 7)
        sales = weekly + 8.0 * promotion + rng.normal(0.0, 1.0, 120)
        parts.append(pd.DataFrame({"shop": shop, "day": days, "sales": sales, "promotion": promotion}))
    frame = pd.concat(parts, ignore_index=True)
    frame.loc[50:52, "sales"] = np.nan
    return frame.drop(index=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    frame = shops()
    ahead = frame["day"] > "2024-04-22"
    frame[~ahead].sample(frac=1.0, random_state=0).to_csv(path / "shops.csv", index=False)
    frame[ahead].drop(columns="sales").to_csv(path / "ahead.csv", index=False)
    one = frame[(frame["shop"] == "north") & ~ahead]
    one.rename(columns={"day": "ds", "sales": "y"})[["ds", "y"]].to_csv(path / "one.csv", index=False)
    for data, names, model in (("shops.csv", NAMES, "m.safetensors"), ("one.csv", (), "one.safetensors")):
        result = invoke("fit", path / data, "--horizon", 7, *names, *QUICK, "--out", path / model)
        assert result.exit_code == 0, result.output
    return path


def invoke(*arguments: Any) -> Any:
    from sciffusion.domains.forecasting.cli import app

    return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: Any) -> str:
    """Run a sub-command, which must succeed, and return what it printed."""
    result = invoke(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return str(result.output)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        face.main(["forecast", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_predict_gives_what_python_gives(folder: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(folder / "shops.csv", parse_dates=["day"])
    with pytest.warns(UserWarning, match="gaps"):
        direct = DiffusionForecaster(
            horizon=7, network_off=True, id_col="shop", time_col="day", target="sales",
            future_covariates=["promotion"], random_state=0,
        ).fit(frame)  # fmt: skip
    out, paths = tmp_path / "f.csv", tmp_path / "paths.csv"
    ahead = folder / "ahead.csv"
    done(
        "predict", "--model", folder / "m.safetensors", "--future-data", ahead, "--out", out,
        "--samples", paths, "--level", "50,90", "--n-samples", 40,
    )  # fmt: skip
    futr = pd.read_csv(ahead, parse_dates=["day"])
    expected = direct.predict(level=[50, 90], futr_df=futr, n_samples=40)
    found = pd.read_csv(out, parse_dates=["day"])
    assert list(found.columns) == list(expected.columns)
    assert found["shop"].tolist() == expected["shop"].tolist()
    np.testing.assert_allclose(found.iloc[:, 2:], expected.iloc[:, 2:], rtol=1e-4)
    drawn = pd.read_csv(paths)
    assert list(drawn.columns) == ["shop", "day", "sample_id", "sales"]
    medians = drawn.groupby(["shop", "day"], sort=False)["sales"].median()
    np.testing.assert_allclose(medians, found["DiffusionForecaster"], rtol=1e-4)


def test_histories_of_a_file_are_forecast_from(folder: Path, tmp_path: Path) -> None:
    later = pd.read_csv(folder / "one.csv").iloc[:-10]
    later.to_csv(tmp_path / "earlier.csv", index=False)
    out = tmp_path / "f.csv"
    model = ("--model", folder / "one.safetensors")
    done("predict", tmp_path / "earlier.csv", *model, "--out", out, "--horizon", 3)
    found = pd.read_csv(out)
    assert list(found.columns[:2]) == ["ds", "DiffusionForecaster"]  # the file had no ids
    assert found["ds"].tolist() == ["2024-04-13", "2024-04-14", "2024-04-15"]
    done("predict", *model, "--out", out, "--quantiles", "0.1,0.9", "--force")
    found = pd.read_csv(out)
    assert found["ds"].iloc[0] == "2024-04-23"
    assert (found["DiffusionForecaster-q-10"] < found["DiffusionForecaster-q-90"]).all()


def test_pictures_are_drawn(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    out = ("--out", tmp_path / "f.csv", "--force")
    for picture, beginning in (("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("p.pdf", b"%PDF")):
        plot = tmp_path / picture
        done("predict", "--model", folder / "one.safetensors", *out, "--plot", plot)
        assert plot.read_bytes().startswith(beginning)


def test_impute_fills_gaps_and_rows_left_out(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "i.csv"
    said = done(
        "impute", folder / "shops.csv", "--model", folder / "m.safetensors", "--out", out, "--n-samples", 20,
        "--samples", tmp_path / "copies.csv", "--plot", tmp_path / "i.png",
    )  # fmt: skip
    assert "Imputed 4 of 226 rows" in said
    found = pd.read_csv(out, parse_dates=["day"])
    assert list(found.columns) == [
        "shop", "day", "sales", "imputed", "sales-lo-80", "sales-hi-80", "sales-lo-95", "sales-hi-95",
    ]  # fmt: skip
    both = found.merge(pd.read_csv(folder / "shops.csv", parse_dates=["day"]), on=["shop", "day"], how="left")
    known = both["sales_y"].notna()
    np.testing.assert_allclose(both["sales_x"][known], both["sales_y"][known], rtol=1e-5)
    assert (both["imputed"] == ~known).all()
    filled = found[found["imputed"] == 1]
    assert (filled["sales-lo-95"] < filled["sales"]).all()
    assert (filled["sales"] < filled["sales-hi-95"]).all()
    level = filled["shop"].map({"north": 20.0, "south": 50.0})
    assert (np.abs(filled["sales"] - level) < 16.0).all()
    assert len(pd.read_csv(tmp_path / "copies.csv")) == 20 * 226


def test_anomaly_scores_every_row(folder: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(folder / "one.csv")
    frame.loc[90, "y"] += 60.0
    frame.to_csv(tmp_path / "odd.csv", index=False)
    out = tmp_path / "a.csv"
    said = done(
        "anomaly", tmp_path / "odd.csv", "--model", folder / "one.safetensors", "--out", out,
        "--threshold", 3, "--plot", tmp_path / "a.png",
    )  # fmt: skip
    found = pd.read_csv(out)
    assert list(found.columns) == ["ds", "score", "anomaly"]
    model = DiffusionForecaster.load(folder / "one.safetensors")
    frame["ds"] = pd.to_datetime(frame["ds"])
    expected = model.anomaly_score(df=frame.assign(unique_id="series"))["score"]
    np.testing.assert_allclose(found["score"], expected, rtol=1e-4)
    assert expected[90] > 10 * expected.median()
    assert (found["anomaly"] == (found["score"] > 3)).all()
    assert "2024-03-31" in said


def test_backtest_prints_scores(folder: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "b.csv", tmp_path / "b.png"
    said = done(
        "backtest", folder / "shops.csv", "--horizon", 7, *NAMES, "--windows", 2, "--out", out,
        "--plot", plot, "--max-steps", 5, "--n-samples", 60,
    )  # fmt: skip
    assert "2 series, 2 origins each" in said
    assert "[4/4] done" in said
    table = pd.read_csv(out)
    assert len(table) == 8
    for name, rows in table.groupby("model"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
        cells = line.removeprefix(name).replace("%", "").split()
        assert float(cells[0]) == pytest.approx(rows["scaled_crps"].mean(), abs=6e-4)
        assert float(cells[1]) == pytest.approx(rows["mase"].mean(), abs=6e-4)
        covered = 100 * np.average(rows["coverage-80"], weights=rows["n_observed"])
        assert float(cells[3]) == pytest.approx(covered, abs=0.06)
        assert rows["scaled_crps"].mean() < 1.0  # better than the naive forecast of a week ago
    assert plot.stat().st_size > 10_000


def test_errors_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = folder / "shops.csv", ("--horizon", 7, "--out", tmp_path / "m.safetensors")
    said = error_of(capsys, "fit", data, *out)
    assert said == "Error: --time-col: there is no column 'ds'; the columns are shop, day, sales, promotion"
    said = error_of(capsys, "fit", data, *out, "--time-col", "day", "--target", "sale")
    assert said.endswith("--target: there is no column 'sale'; did you mean 'sales'?")
    said = error_of(capsys, "fit", data, *out, *NAMES[2:])  # two shops, but read as one series
    assert "more than one row of one stamp in series 'series'" in said
    assert "does not exist" in error_of(capsys, "fit", tmp_path / "no.csv", *out)
    assert "--season-length" in error_of(capsys, "fit", data, *out, *NAMES, "--season-length", "7,week")
    assert "create it first" in error_of(
        capsys, "fit", data, *NAMES, "--horizon", 7, "--out", tmp_path / "a" / "m"
    )
    missing = error_of(capsys, "predict", "--model", tmp_path / "no.safetensors", "--out", tmp_path / "f.csv")
    assert "make one with `sciffusion forecast fit`" in missing
    assert "ending in .png" in error_of(
        capsys, "predict", "--out", tmp_path / "f.csv", "--plot", tmp_path / "f.jpeg"
    )
    model = ("--model", folder / "m.safetensors", "--out", tmp_path / "f.csv")
    assert "futr_df is missing" in error_of(capsys, "predict", *model)
    assert "is not a sciffusion model file" in error_of(
        capsys, "predict", "--model", data, "--out", tmp_path / "f.csv"
    )
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_overwritten_unless_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.csv"
    out.write_text("mine")
    arguments = ("predict", "--model", folder / "one.safetensors", "--out", out)
    assert "overwrite it with --force" in error_of(capsys, *arguments)
    assert out.read_text() == "mine"
    assert "same name" in error_of(capsys, *arguments, "--samples", out, "--force")
    done(*arguments, "--force")
    assert len(pd.read_csv(out)) == 7


def test_help_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["fit"], ["predict"], ["impute"], ["anomaly"], ["backtest"]):
        shown = done(*arguments, "--help")
        assert max(map(len, shown.splitlines())) <= 80
        lines = shown.replace("[ARGS]...", "").replace("lo-80, ...)", "").splitlines()
        assert not [line for line in lines if line.endswith("...")]


def test_the_command_works_in_a_process_of_its_own(folder: Path, tmp_path: Path) -> None:
    commands = [
        ["fit", str(folder / "one.csv"), "--horizon", "7", "--max-steps", "5"],
        ["predict", "--plot", "f.png"],
    ]
    code = (
        "from sciffusion.cli import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        main(['forecast', *command])\n"
        "    except SystemExit as ended:\n"
        "        print('status', ended.code)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("status 0") == 2, ended.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "forecast.csv", "f.png"}


# -------------------------------------------------------------------- reading files


def read(tmp_path: Path, text: str, separator: str = ",", **columns: Any) -> pd.DataFrame:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return read_series(read_table(path, separator), SeriesColumns(**columns))


def test_cells_become_ids_stamps_and_numbers(tmp_path: Path) -> None:
    text = "unique_id, ds ,y,open,note\n007,2024-01-02,3.5,true,x\n007,2024-01-01,NA,FALSE,\n\n"
    frame = read(tmp_path, text, future=("open",))
    assert frame["unique_id"].tolist() == ["007", "007"]
    assert frame["ds"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-01")]
    np.testing.assert_array_equal(frame["y"], [3.5, np.nan])
    assert frame["open"].tolist() == [1.0, 0.0]
    assert "note" not in frame


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (("7", "8"), (7, 8)),
        (("2024", "2025"), (2024, 2025)),
        (("20240131", "20240201"), (pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01"))),
        (
            ("2024-01-01T05", "2024-01-01T06"),
            (pd.Timestamp("2024-01-01 05:00"), pd.Timestamp("2024-01-01 06:00")),
        ),
        (
            ("2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00"),
            (pd.Timestamp("2024-10-27 00:00Z"), pd.Timestamp("2024-10-27 01:00Z")),
        ),
    ],
)
def test_stamps_of_every_kind(tmp_path: Path, stamps: Any, expected: Any) -> None:
    frame = read(tmp_path, f"ds,y\n{stamps[0]},1\n{stamps[1]},2\n")
    assert tuple(frame["ds"]) == expected


def test_other_dates_need_their_format(tmp_path: Path) -> None:
    text = "ds;y\n03/02/2024;1\n04/02/2024;2\n"
    with pytest.raises(
        ValueError, match=r"found '03/02/2024', '04/02/2024' in lines 2, 3; name .*--time-format"
    ):
        read(tmp_path, text, ";")
    frame = read(tmp_path, text, ";", time_format="%d/%m/%Y")
    assert frame["ds"].iloc[0] == pd.Timestamp("2024-02-03")
    with pytest.raises(ValueError, match="give the right --separator"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ds,y\n1,2\n,3\n", "time column 'ds' is empty in line 3"),
        ("ds,y\n1,2\n2,much\n", "column 'y' must hold numbers, found 'much' in line 3"),
        ('ds,y\n1,"2,5"\n', r"a decimal comma\? write a point"),
        ("unique_id,ds,y\na,1,2\n,2,3\n", "id column 'unique_id' is empty in line 3"),
        ("ds,y,y\n1,2,3\n", "several columns named 'y'"),
        ("ds,y\n", "has a header but no rows"),
        ("", "is empty"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_ids_take_the_type_that_the_model_knows(tmp_path: Path) -> None:
    text = "unique_id,ds,y\n7,1,2\n8,1,3\n"
    assert read(tmp_path, text, id_type="int64")["unique_id"].tolist() == [7, 8]
    with pytest.raises(ValueError, match="must hold whole numbers"):
        read(tmp_path, text.replace("8", "b"), id_type="int64")
