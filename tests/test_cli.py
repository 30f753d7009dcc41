"""The command `sciffusion`: what it prints, its exit status, and how it speaks of errors."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from sciffusion import cli

DOMAIN_MODULE = "sciffusion.domains.planted_cli"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a domain whose application fails on request."""
    typer = pytest.importorskip("typer")
    module = ModuleType(DOMAIN_MODULE)
    module.app = typer.Typer()  # type: ignore[attr-defined]

    @module.app.command()
    def fit(file: str, rows: int = 1) -> None:
        """Fit a planted model."""
        if file == "bad":
            raise ValueError("time must be positive, found -1 in row 3")
        if file == "stop":
            raise typer.Exit(3)
        typer.echo(f"fitted {file} {rows}")

    @module.app.command()
    def predict() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setitem(sys.modules, DOMAIN_MODULE, module)
    monkeypatch.setitem(cli.DOMAIN_COMMANDS, "planted", cli.DomainCommand(DOMAIN_MODULE, "A planted domain."))


def status_of(*arguments: str) -> int:
    """Run the command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return int(ended.value.code or 0)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"sciffusion {version('sciffusion')}\n"


def test_help_names_the_commands_and_loads_no_domain(
    planted: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, DOMAIN_MODULE, None)  # an import would raise
    assert status_of("--help") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("datasets", "survival", "forecast", "planted", "A planted domain."))


def test_options_reach_the_domain(planted: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("planted", "fit", "--rows", "7", "data.csv") == 0
    assert capsys.readouterr().out == "fitted data.csv 7\n"


def test_help_of_a_domain_is_its_own(planted: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("planted", "fit", "--help") == 0
    shown = capsys.readouterr().out
    assert "Fit a planted model." in shown
    assert "sciffusion planted fit" in shown


def test_exit_status_of_a_domain_is_kept(planted: None) -> None:
    assert status_of("planted", "fit", "stop") == 3
    assert status_of("planted", "fit", "--rows", "many", "x") == 2


def test_an_error_of_the_user_is_one_line(planted: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("planted", "fit", "bad") == 2
    captured = capsys.readouterr()
    assert captured.err == "Error: time must be positive, found -1 in row 3\n"
    assert captured.out == ""


def test_a_traceback_can_be_asked_for(planted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIFFUSION_TRACEBACK", "1")
    with pytest.raises(ValueError, match="found -1 in row 3"):
        cli.main(["planted", "fit", "bad"])


def test_a_bug_is_not_taken_for_an_error_of_the_user(planted: None) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["planted", "predict"])


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    assert status_of("--help") == 2
    assert "pip install 'sciffusion[cli]'" in capsys.readouterr().err


def test_datasets_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    from sciffusion.datasets import (
        anomaly_card,
        dataset_card,
        list_anomaly_tables,
        list_datasets,
        list_forecasting_datasets,
        list_labelled_series,
        list_molecule_datasets,
        list_particle_sets,
        list_sequence_sets,
    )

    names = [*list_datasets().index, *(f"{name}_anomalies" for name in list_anomaly_tables().index)]
    names += [*list_forecasting_datasets().index, *list_labelled_series().index]
    names += [*list_molecule_datasets().index, *list_sequence_sets().index]
    names += list(list_particle_sets().index)
    assert status_of("datasets") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names
    assert status_of("datasets", "gbsg2", "rossi") == 0
    assert capsys.readouterr().out == f"{dataset_card('gbsg2')}\n{dataset_card('rossi')}\n"
    # Both kinds have a set of this name.
    assert status_of("datasets", "breast_cancer_anomalies", "breast_cancer") == 0
    both = f"{anomaly_card('breast_cancer')}\n{dataset_card('breast_cancer')}\n"
    assert capsys.readouterr().out == both
    assert status_of("datasets", *names) == 0


def test_an_unknown_data_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("datasets", "gbsg3") == 2
    message = capsys.readouterr().err
    assert "no data set 'gbsg3'" in message
    assert "gbsg2" in message
    assert "wine_anomalies" in message
