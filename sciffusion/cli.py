"""The command ``sciffusion``: one face over the adapters.

Each domain brings a typer application in its own ``cli.py``; it is imported when its sub-command runs, so
``sciffusion --help`` costs no more than this file. An error that the caller can mend (bad values, a missing
file, an extra that is not installed) ends the command with one message and exit status 2; the environment
variable ``SCIFFUSION_TRACEBACK=1`` shows where it came from instead.
"""

# No `from __future__ import annotations` here: typer reads the annotations of the commands, and as strings
# they could not find the `typer` that the functions below import.
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

if TYPE_CHECKING:
    import typer

__all__ = ["build_application", "main"]

EXIT_STATUS_OF_USER_ERRORS = 2
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)


class DomainCommand(NamedTuple):
    """Where a domain's typer application lies, and its line in ``sciffusion --help``."""

    module: str
    summary: str


DOMAIN_COMMANDS = {
    "survival": DomainCommand(
        "sciffusion.domains.survival.cli", "Fit, predict and evaluate survival models."
    ),
    "forecast": DomainCommand(
        "sciffusion.domains.forecasting.cli", "Forecast series, fill their gaps, score anomalies."
    ),
    "molecules": DomainCommand(
        "sciffusion.domains.molecules.cli", "Fit, sample and evaluate models of molecules."
    ),
    "boltzmann": DomainCommand(
        "sciffusion.domains.boltzmann.cli", "Simulate, fit and sample particle systems."
    ),
    "music": DomainCommand("sciffusion.domains.music.cli", "Fit models of audio and play them live."),
}


def build_application() -> "typer.Typer":
    """Build the typer application with a sub-command for each domain.

    Returns
    -------
    typer.Typer
        Ready to be called with a list of arguments.

    Raises
    ------
    ImportError
        If typer, of the extra ``cli``, is not installed.
    """
    try:
        import typer
    except ImportError as error:
        raise ImportError(
            "the command `sciffusion` needs typer, which is not installed: pip install 'sciffusion[cli]'"
        ) from error

    application = typer.Typer(
        name="sciffusion",
        help="Diffusion models for scientific data that are not images.",
        epilog="SCIFFUSION_TRACEBACK=1 shows where an error comes from.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    _add_root_options(application)
    _add_datasets(application)
    for name, command in DOMAIN_COMMANDS.items():
        _add_domain(application, name, command)
    return application


def _add_root_options(application: "typer.Typer") -> None:
    import typer

    def print_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"sciffusion {importlib.import_module('sciffusion').__version__}")
            raise typer.Exit

    version_option = typer.Option(
        "--version", callback=print_version, is_eager=True, help="Print the version."
    )

    @application.callback()
    def root(version: Annotated[bool, version_option] = False) -> None:
        """Hold the options that stand before a sub-command."""


def _add_datasets(application: "typer.Typer") -> None:
    import typer

    names_argument = typer.Argument(help="Data sets whose cards to print; without any, all are listed.")

    @application.command("datasets")
    def datasets(names: Annotated[list[str] | None, names_argument] = None) -> None:
        """List the data sets, or print the cards of those named."""
        for entry in describe_datasets(names or []):
            typer.echo(entry)


def _add_domain(application: "typer.Typer", name: str, command: DomainCommand) -> None:
    import typer

    # Every option, --help too, belongs to the domain's own application.
    passing_all_on = {"allow_extra_args": True, "ignore_unknown_options": True}

    @application.command(name, help=command.summary, add_help_option=False, context_settings=passing_all_on)
    def forward(context: typer.Context) -> None:
        domain = importlib.import_module(command.module)
        domain.app(args=context.args, prog_name=f"sciffusion {name}")


def describe_datasets(names: Sequence[str]) -> list[str]:
    """Return the names and titles of all data sets, or the cards of those named.

    Parameters
    ----------
    names : sequence of str
        Data sets whose cards are wanted; empty for a list of all. The labelled tables for anomaly detection
        are named as their loaders, ``wine_anomalies``, since a survival set may bear the name, too.

    Returns
    -------
    list of str
        One entry a data set.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    datasets = importlib.import_module("sciffusion.datasets")
    cards = {name: datasets.dataset_card(name) for name in datasets.list_datasets().index}
    for name in datasets.list_anomaly_tables().index:
        cards[f"{name}_anomalies"] = datasets.anomaly_card(name)
    cards |= {name: datasets.forecasting_card(name) for name in datasets.list_forecasting_datasets().index}
    cards |= {name: datasets.labelled_series_card(name) for name in datasets.list_labelled_series().index}
    cards |= {name: datasets.molecule_card(name) for name in datasets.list_molecule_datasets().index}
    cards |= {name: datasets.sequence_card(name) for name in datasets.list_sequence_sets().index}
    cards |= {name: datasets.particle_card(name) for name in datasets.list_particle_sets().index}
    if not names:
        return [f"{name:24} {card.title}" for name, card in cards.items()]
    unknown = [name for name in names if name not in cards]
    if unknown:
        raise ValueError(f"there is no data set {unknown[0]!r}; expected one of {', '.join(cards)}")
    return [str(cards[name]) for name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; ``sys.argv[1:]`` by default.

    Raises
    ------
    SystemExit
        With status 0 after success and 2 after an error of the caller.
    """
    try:
        build_application()(args=None if arguments is None else list(arguments), prog_name="sciffusion")
    except USER_ERRORS as error:
        if os.environ.get("SCIFFUSION_TRACEBACK"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(EXIT_STATUS_OF_USER_ERRORS)
