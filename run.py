"""Set the project up in a virtual environment and run one of its tasks.

    python run.py demo        fit models on real data and write their reports to report/
    python run.py test        the tests, without those marked slow

`python run.py --help` lists the rest; only python3 (3.11 or newer) with pip is needed. The Makefile calls
this file, so `make test` and `python run.py test` are the same. The first task installs into .venv (the
environment variable VENV names another folder); a stamp there remembers what was installed, so later tasks
start at once until pyproject.toml or constraints.txt changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
INSTALLED_EXTRAS = "cli,plots,survival,forecasting,molecules,boltzmann,music,scores,test,docs,benchmarks"
INPUTS_OF_INSTALLATION = ("pyproject.toml", "constraints.txt")
MOST_TEST_WORKERS = 4
MADE_BY_TASKS = (
    "report",
    "build",
    "dist",
    "docs/_build",
    "docs/auto_examples",
    "docs/api/generated",
)


def environment_folder() -> Path:
    """Return the folder of the virtual environment; a relative VENV counts from the repository's root."""
    return ROOT / os.environ.get("VENV", ".venv")


def environment_python() -> Path:
    """Return the interpreter inside the virtual environment."""
    folder = environment_folder()
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def run(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Show a command and run it in the repository's root; raise CalledProcessError when it fails."""
    print("+", shlex.join(arguments), flush=True)
    subprocess.run(arguments, cwd=ROOT, check=True, env={**os.environ, **(environment or {})})


def python(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run the interpreter of the virtual environment."""
    run(str(environment_python()), *arguments, environment=environment)


def installation_fingerprint() -> str:
    """Return a hash of all that decides what the virtual environment holds.

    The repository's own path is part of it: an editable installation points there, and breaks when it moves.
    """
    digest = hashlib.sha256(f"{ROOT}\n{INSTALLED_EXTRAS}\n{sys.version_info[:2]}\n".encode())
    for name in INPUTS_OF_INSTALLATION:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def install() -> None:
    """Create the virtual environment and install the project in it, unless its stamp says it was done."""
    stamp = environment_folder() / ".stamp"
    fingerprint = installation_fingerprint()
    if environment_python().exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return
    print(f"Installing into {environment_folder()}: a few minutes the first time.", flush=True)
    stamp.unlink(missing_ok=True)
    run(sys.executable, "-m", "venv", str(environment_folder()))
    target = f"{ROOT}[{INSTALLED_EXTRAS}]"
    python("-m", "pip", "install", "-c", "constraints.txt", "--editable", target)
    # Written last, and only after success: a failed installation is tried again by the next task.
    stamp.write_text(fingerprint)


def run_pytest(*arguments: str) -> None:
    """Run pytest on as many processes as there are cores (at most a few), each with one thread."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = str(min(available, MOST_TEST_WORKERS))
    # Several processes with a thread a core each would fight over the cores.
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    python("-m", "pytest", "-q", "-n", workers, *arguments, environment=one_thread)


def setup() -> None:
    """Only install."""
    install()


def demo(*arguments: str) -> None:
    """Fit survival and forecasting models on real data and write reports (to report/, or to --out FOLDER)."""
    install()
    parser = argparse.ArgumentParser(prog="demo", add_help=False)
    parser.add_argument("--out", default="report")
    options, rest = parser.parse_known_args(arguments)
    python("-m", "sciffusion.domains.survival.demo", "--out", options.out, *rest)
    python("-m", "sciffusion.domains.forecasting.demo", "--out", f"{options.out}/forecasting")


def music_demo(*arguments: str) -> None:
    """Let a model play 30 s in real time and write a page about it (to report/music/, or to --out FOLDER)."""
    install()
    python("-m", "sciffusion.domains.music.demo", *arguments)


def test(*arguments: str) -> None:
    """Run the tests that are not marked slow; further arguments go to pytest."""
    install()
    run_pytest(*arguments)


def test_all(*arguments: str) -> None:
    """Run every test, the slow ones too; further arguments go to pytest."""
    install()
    run_pytest("-m", "", *arguments)


def lint() -> None:
    """Run ruff (lint, then format) and mypy, each whatever the others say."""
    install()
    failures = []
    for linter in (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)):
        try:
            python("-m", *linter)
        except subprocess.CalledProcessError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def docs() -> None:
    """Build the documentation into docs/_build/html; warnings are errors."""
    install()
    python("-m", "sphinx", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


def benchmarks_quick() -> None:
    """Run every benchmark in its reduced form, into build/benchmarks."""
    install()
    for benchmark in sorted((ROOT / "benchmarks").glob("*_*.py")):
        if '__name__ == "__main__"' in benchmark.read_text(encoding="utf-8"):
            out = f"build/benchmarks/{benchmark.stem}-quick"
            python(f"benchmarks/{benchmark.name}", "--quick", "--out", out)


def clean() -> None:
    """Remove what the tasks made, the virtual environment apart."""
    for name in MADE_BY_TASKS:
        shutil.rmtree(ROOT / name, ignore_errors=True)


TASKS: dict[str, Callable[..., None]] = {
    "setup": setup,
    "demo": demo,
    "music-demo": music_demo,
    "test": test,
    "test-all": test_all,
    "lint": lint,
    "docs": docs,
    "benchmarks-quick": benchmarks_quick,
    "clean": clean,
}
TASKS_WITH_ARGUMENTS = ("demo", "music-demo", "test", "test-all")


def parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split the command line into a task and the arguments passed on to what it runs."""
    listing = "\n".join(f"  {name:17} {function.__doc__}" for name, function in TASKS.items())
    parser = argparse.ArgumentParser(
        description="Set the project up and run one of its tasks.",
        epilog=f"tasks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.task not in TASKS_WITH_ARGUMENTS:
        parser.error(f"the task {options.task!r} takes no arguments, found {shlex.join(rest)!r}")
    return options.task, rest


def main(arguments: Sequence[str]) -> int:
    """Run the task that the arguments name; return the status of the first command that failed, or 0."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        print(f"Python {wanted} or newer is needed, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    task, rest = parse(arguments)
    try:
        TASKS[task](*rest)
    except subprocess.CalledProcessError as error:
        command = shlex.join(error.cmd)
        print(f"{task} failed: {command} ended with status {error.returncode}.", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
