"""`sciffusion survival`: fit, predict and evaluate on a real CSV file."""

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
from sciffusion.domains.survival import SDPMSurvival

testing = pytest.importorskip("typer.testing")
pytest.importorskip("rich")
pytest.importorskip("lifelines")

TARGET = ("--time", "time", "--event", "event")
QUICK = ("--max-steps", "20")


@pytest.fixture(scope="module")
def lung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the lung cancer study, with missing values, a text column and names of patients."""
    from sciffusion.datasets import load_lung

    frame = load_lung().frame.astype({"event": int})
    frame["sex"] = frame["sex"].map({1.0: "male", 2.0: "female"})
    frame.insert(0, "patient", [f"P{row:03}" for row in range(len(frame))])
    path = tmp_path_factory.mktemp("data") / "lung.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model_file(lung: Path) -> Path:
    path = lung.parent / "model.safetensors"
    result = invoke("fit", lung, *TARGET, *QUICK, "--drop", "patient", "--out", path)
    assert result.exit_code == 0, result.output
    return path


def invoke(*arguments: Any) -> Any:
    from sciffusion.domains.survival.cli import app

    return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        face.main(["survival", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_fit_saves_the_model_that_python_would_fit(lung: Path, model_file: Path) -> None:
    frame = pd.read_csv(lung)
    direct = SDPMSurvival(random_state=0, max_steps=20).fit(
        frame.drop(columns=["patient", "time", "event"]), frame["time"], frame["event"]
    )
    X = frame[list(direct.feature_names_in_)]
    np.testing.assert_allclose(SDPMSurvival.load(model_file).predict(X), direct.predict(X), rtol=1e-4)


def test_predict_keeps_rows_and_columns(lung: Path, model_file: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.csv"
    frame = pd.read_csv(lung).sample(20, random_state=1)
    frame[[*frame.columns[::-1]]].drop(columns=["time", "event"]).to_csv(shuffled, index=False)
    out = tmp_path / "predicted.csv"
    result = invoke(
        "predict", model_file, shuffled, "--out", out, "--keep", "patient,age",
        "--times", "100,365.5", "--quantiles", "0.25,0.5", "--lower-bound", "0.9",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    predicted = pd.read_csv(out)
    assert list(predicted.columns) == [
        "patient", "age", "risk", "restricted_mean", "quantile_0.25", "quantile_0.5",
        "survival_at_100", "survival_at_365.5", "lower_bound_0.9",
    ]  # fmt: skip
    assert predicted["patient"].tolist() == frame["patient"].tolist()
    model = SDPMSurvival.load(model_file)
    X = frame[list(model.feature_names_in_)]
    np.testing.assert_allclose(predicted["risk"], model.predict(X), rtol=1e-5)
    np.testing.assert_allclose(predicted["quantile_0.5"], model.predict_median(X), rtol=1e-5)
    survival = model.predict_survival_function(X, return_array=True, times=[100.0, 365.5])
    np.testing.assert_allclose(predicted[["survival_at_100", "survival_at_365.5"]], survival, rtol=1e-5)
    np.testing.assert_allclose(predicted["lower_bound_0.9"], model.predict_lower_bound(X, 0.9), rtol=1e-5)


def test_categories_mean_the_same_in_both_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centre = rng.integers(1, 4, 90)
    frame = pd.DataFrame(
        {"centre": centre, "time": rng.exponential(np.where(centre == 2, 1.0, 20.0)), "event": 1}
    )
    frame.to_csv(tmp_path / "fit.csv", index=False)
    model, out = tmp_path / "m.safetensors", tmp_path / "p.csv"
    fitted = invoke("fit", tmp_path / "fit.csv", *TARGET, "--categorical", "centre", "--out", model, *QUICK)
    assert fitted.exit_code == 0, fitted.output
    # With an empty cell pandas would read 1, 2, 3 as 1.0, 2.0, 3.0, which the model has never met.
    (tmp_path / "new.csv").write_text("row,centre\na,2\nb,3\nc,\n")
    assert invoke("predict", model, tmp_path / "new.csv", "--out", out).exit_code == 0
    risk = pd.read_csv(out)["risk"]
    assert risk[0] > risk[2] > risk[1]


def test_evaluate_prints_scores_and_writes_a_report(lung: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = tmp_path / "report.html"
    result = invoke(
        "evaluate", lung, *TARGET, *QUICK, "--drop", "patient", "--folds", 2, "--report", report, "--seed", 5
    )
    assert result.exit_code == 0, result.output
    assert "mean of 2 folds" in result.output
    assert all(name in result.output for name in ("SDPMSurvival", "Cox regression", "network off"))
    assert "[4/8] fold 2 of 2: SDPMSurvival" in result.output
    assert "Self-check on 228 rows" in result.output
    text = report.read_text(encoding="utf-8")
    command = "sciffusion survival evaluate lung.csv --time time --event event --drop patient"
    assert f"{command} --folds 2 --max-steps 20 --seed 5 --report report.html" in text
    assert str(lung.parent) not in text  # a report is passed on; folders of the machine are nobody's business


def test_evaluate_without_peers_and_with_groups(lung: Path) -> None:
    arguments = ("--folds", 2, "--no-peers", "--group", "patient")
    result = invoke("evaluate", lung, *TARGET, *QUICK, *arguments)
    assert result.exit_code == 0, result.output
    assert "Cox" not in result.output
    assert "looks like an identifier" not in result.output


def test_identifiers_and_leaks_are_warned_of(lung: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(lung)
    frame["days_observed"] = frame["time"] + 1
    frame.to_csv(tmp_path / "leak.csv", index=False)
    result = invoke("fit", tmp_path / "leak.csv", *TARGET, *QUICK, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert "Warning: the column 'patient' looks like an identifier" in result.output
    assert "Warning: the column 'days_observed' almost tells the outcome" in result.output
    assert "'age' almost" not in result.output


def test_errors_are_one_line(lung: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", tmp_path / "m.safetensors")
    said = error_of(capsys, "fit", lung, "--time", "tme", "--event", "event", *out)
    assert said == "Error: --time: there is no column 'tme'; did you mean 'time'?"
    assert "found 'female', 'male'" in error_of(capsys, "fit", lung, "--time", "time", "--event", "sex", *out)
    assert "does not exist" in error_of(capsys, "fit", tmp_path / "no.csv", *TARGET, *out)
    assert "there is no column 'id'" in error_of(capsys, "fit", lung, *TARGET, "--drop", "id", *out)
    assert "recipe must be one of" in error_of(capsys, "fit", lung, *TARGET, "--recipe", "best", *out)
    assert "calibrate must be" in error_of(capsys, "fit", lung, *TARGET, "--calibrate", "yes", *out)
    assert "does not exist; create it" in error_of(
        capsys, "fit", lung, *TARGET, "--out", tmp_path / "a" / "b"
    )
    assert "is a folder" in error_of(capsys, "fit", lung, *TARGET, "--out", tmp_path)
    assert "folds must be" in error_of(capsys, "evaluate", lung, *TARGET, "--folds", 1000)
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_cannot_be_made(
    lung: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "p.csv")
    assert "is not a sciffusion model file" in error_of(capsys, "predict", lung, lung, *out)
    assert "found 'soon'" in error_of(capsys, "predict", model_file, lung, *out, "--times", "1,soon")
    assert "levels" in error_of(capsys, "predict", model_file, lung, *out, "--quantiles", "1.5")
    assert "level must be" in error_of(capsys, "predict", model_file, lung, *out, "--lower-bound", 2)
    few = tmp_path / "few.csv"
    few.write_text("age,sex\n60,male\n")
    assert "needs the columns 'ph.ecog', 'ph.karno'" in error_of(capsys, "predict", model_file, few, *out)
    assert not (tmp_path / "p.csv").exists()


def test_files_are_not_overwritten_unless_told(
    lung: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.csv"
    out.write_text("mine")
    assert "overwrite it with --force" in error_of(capsys, "predict", model_file, lung, "--out", out)
    assert out.read_text() == "mine"
    assert invoke("predict", model_file, lung, "--out", out, "--force").exit_code == 0
    assert len(pd.read_csv(out)) == 228


def test_help_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["fit"], ["predict"], ["evaluate"]):
        result = invoke(*arguments, "--help")
        assert result.exit_code == 0
        assert max(map(len, result.output.splitlines())) <= 80
        assert "..." not in result.output.replace("[ARGS]...", "")


def test_the_command_does_all_three_in_a_process_of_its_own(lung: Path, tmp_path: Path) -> None:
    model = ["predict", "m.safetensors", str(lung), "--out", "p.csv", "--times", "365"]
    data = [str(lung), *TARGET, *QUICK, "--drop", "patient"]
    commands = [
        ["--help"],
        ["fit", *data, "--out", "m.safetensors"],
        model,
        ["evaluate", *data, "--folds", "2", "--no-peers"],
    ]
    # One process for all four: most of the time of each would go into importing torch and Lightning.
    code = (
        "from sciffusion.cli import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        main(['survival', *command])\n"
        "    except SystemExit as ended:\n"
        "        print('status', ended.code)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("status 0") == 4, ended.stderr
    for words in (
        "Usage: sciffusion survival",
        "Fitted on 228 rows",
        "Predicted 228 rows",
        "mean of 2 folds",
    ):
        assert words in ended.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "p.csv"}
    assert len(pd.read_csv(tmp_path / "p.csv")) == 228
