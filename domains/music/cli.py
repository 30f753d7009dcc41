"""The command ``sciffusion music``: render training audio, fit, generate, stream, serve, judge.

Errors that the caller can mend are raised as ValueError, TypeError, OSError or ImportError;
``sciffusion.cli.main`` turns them into one line and exit status 2. Warnings become one line each on the error
stream. Files are written as a whole or not at all, and none is overwritten without ``--force``.
"""

from __future__ import annotations

import typer

from .cli_judge import bench, evaluate, models
from .cli_play import generate, serve_command, stream_command
from .cli_train import fit, render_corpus_command

__all__ = ["app"]

app = typer.Typer(
    help="Live music: fit a model on recordings, and play it.",
    epilog="First steps: render-corpus, then fit, then serve. Each command shows an example with --help.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("render-corpus")(render_corpus_command)
app.command("fit")(fit)
app.command("generate")(generate)
app.command("stream")(stream_command)
app.command("serve")(serve_command)
app.command("evaluate")(evaluate)
app.command("bench")(bench)
app.command("models")(models)
