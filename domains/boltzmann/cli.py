"""The command ``sciffusion boltzmann``: simulate, fit, sample and evaluate systems of particles.

Errors that the caller can mend are raised as ValueError, TypeError, OSError or ImportError;
``sciffusion.cli.main`` turns them into one line and exit status 2. Warnings become one line each on the error
stream. Files are written as a whole or not at all, and none is overwritten without ``--force``.
"""

from __future__ import annotations

import typer

from .cli_data import evaluate, simulate
from .cli_model import demo_command, fit, models, sample

__all__ = ["app"]

app = typer.Typer(
    help="Particles at one temperature, drawn at another or in another potential.",
    epilog="First steps: simulate, fit, sample, evaluate. Each shows an example with --help.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("simulate")(simulate)
app.command("fit")(fit)
app.command("sample")(sample)
app.command("evaluate")(evaluate)
app.command("models")(models)
app.command("demo")(demo_command)
