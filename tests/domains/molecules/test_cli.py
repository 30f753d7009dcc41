"""`sciffusion molecules`: fit, sample and evaluate on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sciffusion import cli as face

testing = pytest.importorskip("typer.testing")
pytest.importorskip("rich")
pytest.importorskip("rdkit")
pytest.importorskip("selfies")

QUICK = ("--max-steps", "5", "--width", "16", "--depth", "1", "--device", "cpu")


def invoke(*arguments: Any) -> Any:
    from sciffusion.domains.molecules.cli import app

    return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        face.main(["molecules", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    smiles = ["CCO", "CCN", "CCCO", "CC(=O)O", "c1ccccc1", "CCCl", "C1CC1", "CCCC"] * 4
    path = tmp_path_factory.mktemp("data") / "molecules.csv"
    frame = pd.DataFrame({"name": range(32), "SMILES": smiles, "oxygens": [one.count("O") for one in smiles]})
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model_file(data: Path) -> Path:
    path = data.parent / "model.safetensors"
    result = invoke("fit", data, "--properties", "oxygens", "--out", path, *QUICK)
    assert result.exit_code == 0, result.output
    assert "Fitted on 32 molecules, conditioned on oxygens" in result.output
    return path


def test_sample_writes_what_python_would_draw(model_file: Path, tmp_path: Path) -> None:
    from sciffusion import MoleculeDiffusion

    out = tmp_path / "drawn.smi"
    result = invoke("sample", model_file, "--out", out, "-n", 7, "--nfe", 4, "--seed", 3)
    assert result.exit_code == 0, result.output
    drawn = MoleculeDiffusion.load(model_file).sample(7, nfe=4, random_state=3)
    assert out.read_text().split("\n")[:-1] == drawn


def test_sample_with_a_target_a_tilt_and_a_scaffold(model_file: Path, tmp_path: Path) -> None:
    conditioned, tilted = tmp_path / "conditioned.csv", tmp_path / "tilted.csv"
    settings = ("-n", 12, "--nfe", 4)
    result = invoke("sample", model_file, "--out", conditioned, "--target", "oxygens=1", *settings)
    assert result.exit_code == 0, result.output
    assert "the model given the values" in result.output
    result = invoke(
        "sample", model_file, "--out", tilted, "--maximise", "n_heavy_atoms", "--scale", "0.1", "--weights",
        "--scaffold", "C1CC1*", *settings,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "effective sample size" in result.output
    table = pd.read_csv(tilted)
    assert list(table.columns) == ["smiles", "weight", "valid", "reward"]
    assert table["weight"].sum() == pytest.approx(1.0, abs=1e-4)
    assert "weight" not in pd.read_csv(conditioned).columns


def test_evaluate_prints_measures(data: Path, tmp_path: Path) -> None:
    drawn, out = tmp_path / "drawn.smi", tmp_path / "measures.csv"
    drawn.write_text("CCO named\n# a comment\nCCOCC\nC1CC\n\nCCO\n")
    result = invoke("evaluate", drawn, "--reference", data, "--out", out)
    assert result.exit_code == 0, result.output
    assert "3 of 4 are molecules" in result.output
    scores = pd.read_csv(out, index_col="metric")["value"]
    assert scores["valid"] == pytest.approx(0.75)
    assert scores["unique"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores["novel"] == pytest.approx(0.5)


def test_invalid_molecules_are_refused_or_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.smi"
    bad.write_text("\n".join(["CCO", "C1CC", "CCN"] * 10))
    out = ("--out", tmp_path / "m.safetensors")
    assert "'C1CC' (ring 1 is never closed)" in " ".join([error_of_all(capsys, "fit", bad, *out, *QUICK)])
    result = invoke("fit", bad, *out, *QUICK, "--errors", "drop")
    assert result.exit_code == 0, result.output
    assert "Fitted on 20 molecules (10 dropped)" in result.output


def error_of_all(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return all it says."""
    with pytest.raises(SystemExit) as ended:
        face.main(["molecules", *map(str, arguments)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_errors_are_one_line(
    data: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "x.csv")
    assert "no column 'logp'" in error_of(capsys, "fit", data, "--properties", "logp", *out)
    assert "no column 'structures'" in error_of(capsys, "fit", data, "--smiles", "structures", *out)
    assert "does not exist" in error_of(capsys, "fit", tmp_path / "no.csv", *out)
    assert "there is no published model 'moses'" in error_of(capsys, "sample", "moses", *out)
    assert "NAME=VALUE" in error_of(capsys, "sample", model_file, *out, "--target", "oxygens:1")
    assert "not both" in error_of(
        capsys, "sample", model_file, *out, "--target", "oxygens=1", "--maximise", "qed"
    )
    assert "'pKa' cannot be computed" in error_of(capsys, "sample", model_file, *out, "--maximise", "pKa")
    picture = ("--picture", tmp_path / "x.gif")
    assert "--picture must name" in error_of(capsys, "sample", model_file, *out, *picture)
    assert not (tmp_path / "x.csv").exists()


def test_a_picture_of_the_draws(model_file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    out = tmp_path / "x.csv"
    result = invoke(
        "sample", model_file, "--out", out, "-n", 4, "--nfe", 4, "--only-valid", "--picture", picture
    )
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_help_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("fit", "sample", "evaluate"):
        result = invoke(command, "--help")
        assert result.exit_code == 0
        assert all(len(line) <= 80 for line in result.output.splitlines())
        assert "…" not in result.output
