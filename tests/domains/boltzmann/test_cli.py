"""`sciffusion boltzmann`: simulate, fit, sample and evaluate on files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sciffusion import cli as face
from sciffusion.domains.boltzmann.files import Configurations, read_configurations, write_configurations

testing = pytest.importorskip("typer.testing")
pytest.importorskip("rich")

QUICK = ("--max-steps", "5", "--width", "8", "--depth", "1", "--batch-size", "32", "--device", "cpu")


def invoke(*arguments: Any) -> Any:
    from sciffusion.domains.boltzmann.cli import app

    return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run the whole command, which must fail, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        face.main(["boltzmann", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate configurations into a folder, whose cache is there, too."""
    path = tmp_path_factory.mktemp("boltzmann")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIFFUSION_DATA", str(path / "cache"))
        result = invoke(
            "simulate", "dw4", "--temperature", "2", "-n", 200, "--out", path / "hot.npz", "--xyz",
            path / "hot.xyz",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Mean energy -1" in result.output
    assert "Wrote 200 configurations of four particles" in result.output
    return path


@pytest.fixture(scope="module")
def model_file(folder: Path) -> Path:
    path = folder / "model.safetensors"
    result = invoke("fit", folder / "hot.npz", "--out", path, *QUICK)
    assert result.exit_code == 0, result.output
    assert "Fitted a model on 200 configurations at temperature 2, with forces" in result.output
    return path


def test_simulate_writes_all_that_is_known(folder: Path) -> None:
    found = read_configurations(folder / "hot.npz")
    assert found.configurations.shape == (200, 4, 2)
    assert (found.system, found.temperature, found.units) == ("dw4", 2.0, "reduced")
    assert found.forces is not None
    models = read_configurations(folder / "hot.xyz")
    np.testing.assert_allclose(models.configurations[..., :2], found.configurations, atol=1e-6)


def test_sample_writes_what_python_would_draw(folder: Path, model_file: Path) -> None:
    from sciffusion import BoltzmannDiffusion

    out, picture, models = folder / "drawn.npz", folder / "drawn.png", folder / "drawn.xyz"
    result = invoke(
        "sample", model_file, "--temperature", "1.5", "-n", 16, "--nfe", 8, "--seed", 3, "--out", out,
        "--reference", folder / "hot.npz", "--picture", picture, "--xyz", models,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = read_configurations(out)
    drawn = BoltzmannDiffusion.load(model_file).sample(16, temperature=1.5, nfe=8, random_state=3)
    np.testing.assert_array_equal(found.configurations, drawn.configurations)
    np.testing.assert_allclose(found.log_weights, drawn.log_weights)
    assert found.temperature == 1.5
    assert found.energies is not None
    assert found.ess is not None
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert len(read_configurations(models)) == 16


def test_sample_in_a_trap_without_weights(folder: Path, model_file: Path) -> None:
    from sciffusion.domains.boltzmann import plot_ess

    out = folder / "trapped.npz"
    result = invoke(
        "sample", model_file, "--trap", "2", "-n", 16, "--nfe", 8, "--out", out, "--unweighted", "--control",
        "none",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = read_configurations(out)
    assert len(found) == 16
    assert found.log_weights is None
    assert found.resamplings is not None
    kept = folder / "kept.npz"
    invoke(
        "sample", model_file, "--trap", "20", "-n", 16, "--nfe", 8, "--out", kept, "--control", "none",
        "--no-resample",
    )  # fmt: skip
    (axes,) = plot_ess(read_configurations(kept)).axes
    assert read_configurations(kept).ess.min() < 0.9  # type: ignore[union-attr]
    assert not axes.collections  # no step is marked as one of resampling
    free = folder / "free.npz"
    invoke("sample", model_file, "-n", 16, "--nfe", 8, "--out", free, "--unweighted", "--control", "none")
    radii = [np.square(read_configurations(one).configurations).mean() for one in (out, free)]
    assert radii[0] < radii[1]


def test_a_model_of_energies_is_fitted_and_drawn_from(folder: Path, model_file: Path) -> None:
    from sciffusion import BoltzmannDiffusion

    path, out = folder / "energies.safetensors", folder / "energies.npz"
    learning = ("--energy-based", "--fokker-planck", 0.5)
    result = invoke("fit", folder / "hot.npz", "--out", path, *learning, *QUICK)
    assert result.exit_code == 0, result.output
    assert "a model of energies" in result.output
    model = BoltzmannDiffusion.load(path)
    assert (model.energy_based, model.fokker_planck) == (True, 0.5)
    plain = BoltzmannDiffusion.load(model_file)
    assert (plain.energy_based, plain.fokker_planck) == (False, 0.0)
    result = invoke(
        "sample", path, "--control", "ecg", "-n", 16, "--nfe", 6, "--langevin-steps", 2, "--out", out
    )
    assert result.exit_code == 0, result.output
    drawn = model.sample(16, control="ecg", nfe=6, langevin_steps=2, random_state=0)
    np.testing.assert_array_equal(read_configurations(out).configurations, drawn.configurations)


@pytest.mark.parametrize(
    ("name", "value"), [("langevin_steps", 3), ("n_probes", 2), ("reward_scale", 0.5), ("particles", 8)]
)
def test_each_option_of_a_draw_reaches_it(folder: Path, model_file: Path, name: str, value: float) -> None:
    from sciffusion import BoltzmannDiffusion

    def potential(x: Any) -> Any:
        return (x - x.mean(1, keepdim=True)).square().sum((1, 2))

    out = folder / f"{name}.npz"
    option = "--" + name.replace("_", "-")
    short = ("-n", 16, "--nfe", 6, "--langevin-steps", 2)
    result = invoke("sample", model_file, "--trap", 2, *short, option, value, "--out", out)
    assert result.exit_code == 0, result.output
    found = read_configurations(out)
    model = BoltzmannDiffusion.load(model_file)
    settings: dict[str, Any] = {"potential": potential, "nfe": 6, "langevin_steps": 2, "random_state": 0}
    drawn = model.sample(16, **settings | {name: value})
    np.testing.assert_array_equal(found.configurations, drawn.configurations)
    np.testing.assert_allclose(found.log_weights, drawn.log_weights, rtol=1e-5)
    assert not np.array_equal(found.configurations, model.sample(16, **settings).configurations)


def test_options_that_do_not_go_together_are_named(
    folder: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot, out = folder / "hot.npz", ("--out", folder / "never.npz")
    model = ("--out", folder / "never.safetensors")
    assert "--fokker-planck needs --energy-based" in error_of(
        capsys, "fit", hot, "--fokker-planck", 1, *model
    )
    assert "--reward-scale needs --trap" in error_of(capsys, "sample", model_file, "--reward-scale", 1, *out)
    assert "--reward-scale must be above 0" in error_of(
        capsys, "sample", model_file, "--trap", 1, "--reward-scale", 0, *out
    )
    assert "fitted with --energy-based" in error_of(capsys, "sample", model_file, "--control", "ecg", *out)
    for wrong in (("--n-probes", 0), ("--langevin-steps", -1)):
        result = invoke("sample", model_file, *wrong, *out)
        assert result.exit_code == 2
        assert wrong[0] in result.output
    assert not list(folder.glob("never*"))


def test_evaluate_measures_draws_beside_the_floor(folder: Path) -> None:
    hot = read_configurations(folder / "hot.npz")
    assert hot.energies is not None
    cold = replace(hot, temperature=1.0, log_weights=-0.5 * hot.energies)
    draws = {"plain": replace(hot, temperature=1.0), "weighted": cold}
    for name, content in draws.items():
        write_configurations(folder / f"{name}.npz", content)
    out, picture = folder / "measures.csv", folder / "measures.svg"
    result = invoke(
        "evaluate", folder / "plain.npz", folder / "weighted.npz", folder / "weighted.npz", "--out", out,
        "--picture", picture,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "W1 of energies" in result.output
    table = pd.read_csv(out, index_col="sample")
    assert list(table.index) == ["plain", "weighted", "floor", "floor spread"]
    # The same configurations: energies of the file and those computed again agree to the last digits.
    assert table.loc["weighted", "w1_energy"] == pytest.approx(0.0, abs=1e-12)
    assert table.loc["plain", "w1_energy"] > 1.0
    assert b"<svg" in picture.read_bytes()


def test_models_are_listed() -> None:
    from sciffusion.domains.boltzmann.pretrained import list_pretrained

    result = invoke("models")
    assert result.exit_code == 0, result.output
    names = list_pretrained()
    assert result.output.split() == names or not names
    for name in names:
        assert len(invoke("models", name).output) > 200


def test_errors_are_one_line(folder: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hot, out = folder / "hot.npz", ("--out", folder / "x.npz")
    bare = folder / "bare.npy"
    np.save(bare, read_configurations(hot).configurations)
    model = ("--out", folder / "x.safetensors")
    assert "no system 'argon'" in error_of(capsys, "simulate", "argon", "--temperature", 1, *out)
    assert "does not exist" in error_of(capsys, "fit", folder / "no.npz", *model)
    assert "give --temperature" in error_of(capsys, "fit", bare, *model)
    assert "leave --temperature out" in error_of(capsys, "fit", hot, "--temperature", 3, *model)
    assert "leave --units out" in error_of(capsys, "fit", hot, "--units", "kJ/mol", *model)
    assert "exists already" in error_of(capsys, "fit", hot, "--out", model_file)
    assert "published" in error_of(capsys, "sample", "no_such_model", *out)
    assert "temperature" in error_of(capsys, "sample", model_file, "--temperature", -1, *out)
    assert "last the reference" in error_of(capsys, "evaluate", hot)
    assert "must say its temperature" in error_of(capsys, "evaluate", hot, bare)
    other = folder / "other.npz"
    write_configurations(other, replace(read_configurations(hot), temperature=1.0))
    assert "hot has temperature 2.0" in error_of(capsys, "evaluate", hot, other)
    assert "must name a file ending in" in error_of(
        capsys, "evaluate", hot, hot, "--picture", folder / "a.gif"
    )
    assert not (folder / "x.npz").exists()


def test_configurations_without_forces_are_fitted(folder: Path) -> None:
    path = folder / "plain_data.npz"
    x = read_configurations(folder / "hot.npz").configurations
    write_configurations(path, Configurations(configurations=x))
    result = invoke("fit", path, "--temperature", 2, "--out", folder / "plain_model.safetensors", *QUICK)
    assert result.exit_code == 0, result.output
    assert "temperature 2; saved" in result.output


def test_atoms_are_told_apart_by_their_names_and_weights_of_draws_count(folder: Path) -> None:
    """As Python would fit: types by name where the file has none, and its log weights."""
    from sciffusion import BoltzmannDiffusion

    x = read_configurations(folder / "hot.npz").configurations
    logs = np.random.default_rng(0).normal(size=len(x))
    content = Configurations(
        configurations=x, log_weights=logs, temperature=2.0, names=("C", "H", "H", "C"),
        bonds=np.array([[0, 1], [0, 2], [0, 3]]),
    )  # fmt: skip
    write_configurations(folder / "named.npz", content)
    path = folder / "named.safetensors"
    result = invoke("fit", folder / "named.npz", "--out", path, *QUICK)
    assert result.exit_code == 0, result.output
    found = BoltzmannDiffusion.load(path)
    assert found.atom_types == ["C", "H", "H", "C"]
    given = {name: found.get_params()[name] for name in ("bonds", "atom_types", "width", "depth")}
    own = BoltzmannDiffusion(**given, max_steps=5, batch_size=32, device="cpu", random_state=0)
    own.fit(x, temperature=2.0, sample_weight=np.exp(logs) / np.exp(logs).sum())
    assert found.length_ == own.length_
    drawn = [one.sample(8, nfe=5, langevin_steps=0, random_state=0) for one in (found, own)]
    np.testing.assert_array_equal(drawn[0].configurations, drawn[1].configurations)


def test_what_cannot_end_well_is_refused_before_any_work(
    folder: Path, model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sciffusion.domains.boltzmann import cli_data, cli_model

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(cli_data, "simulate_system", work)
    monkeypatch.setattr(cli_model.BoltzmannDiffusion, "sample", work)
    other, energies = folder / "wide.npz", folder / "joule.npz"
    hot = read_configurations(folder / "hot.npz")
    write_configurations(other, Configurations(configurations=np.ones((3, 5, 2)) * np.eye(5)[:, :2]))
    write_configurations(energies, replace(hot, units="kJ/mol", temperature=300.0))
    csv, npz = ("--out", folder / "y.csv"), ("--out", folder / "y.npz")
    assert "ending in .npz, got 'y.csv'" in error_of(capsys, "simulate", "dw4", "--temperature", 2, *csv)
    assert "ending in .npz, got 'y.csv'" in error_of(capsys, "sample", model_file, *csv)
    wrong = error_of(capsys, "sample", model_file, "--reference", other, *npz)
    assert "the reference has (5, 2) atoms and dimensions, and the model (4, 2)" in wrong
    assert "has units kJ/mol" in error_of(capsys, "sample", model_file, "--reference", energies, *npz)
