"""`run.py`: it installs once, again when its inputs change, and believes no installation that failed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


class RecordedRuns:
    """Stands in for `run.run`: notes each command, and fails on one that holds `failing`."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.failing: str | None = None

    def __call__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.commands.append(arguments)
        if self.failing in arguments:
            raise subprocess.CalledProcessError(7, arguments)
        if arguments[1:3] == ("-m", "venv"):
            for relative in ("bin/python", "Scripts/python.exe"):
                (Path(arguments[3]) / relative).parent.mkdir(parents=True, exist_ok=True)
                (Path(arguments[3]) / relative).touch()

    def modules(self) -> list[str]:
        """Return the modules that `python -m` ran since the last call."""
        names = [arguments[2] for arguments in self.commands]
        self.commands.clear()
        return names


@pytest.fixture
def runs() -> RecordedRuns:
    """Return a record of the commands."""
    return RecordedRuns()


@pytest.fixture
def script(
    repository_root: Path, tmp_path: Path, runs: RecordedRuns, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """Return run.py, loaded from a copy in a folder of its own whose name has a space."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("run.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository_root / name, folder)
    spec = importlib.util.spec_from_file_location("run_of_a_checkout", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "run", runs)
    monkeypatch.delenv("VENV", raising=False)
    return module


def test_a_second_task_installs_nothing(script: ModuleType, runs: RecordedRuns) -> None:
    assert script.main(["lint"]) == 0
    assert runs.modules() == ["venv", "pip", "ruff", "ruff", "mypy"]
    assert script.main(["lint"]) == 0
    assert runs.modules() == ["ruff", "ruff", "mypy"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_input_installs_again(script: ModuleType, runs: RecordedRuns, name: str) -> None:
    script.main(["setup"])
    with (script.ROOT / name).open("a") as file:
        file.write("# changed\n")
    runs.modules()
    script.main(["setup"])
    assert runs.modules() == ["venv", "pip"]


def test_a_failed_installation_is_tried_again(script: ModuleType, runs: RecordedRuns) -> None:
    script.main(["setup"])
    with (script.ROOT / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    runs.failing = "pip"
    assert script.main(["test"]) == 7
    assert runs.modules()[-1] == "pip"
    runs.failing = None
    assert script.main(["test"]) == 0
    assert runs.modules() == ["venv", "pip", "pytest"]


def test_the_status_of_a_failed_task_is_returned(
    script: ModuleType, runs: RecordedRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.failing = "check"
    assert script.main(["lint"]) == 7
    assert runs.modules()[-3:] == ["ruff", "ruff", "mypy"]
    assert "lint failed" in capsys.readouterr().err


def test_venv_names_another_folder(
    script: ModuleType, runs: RecordedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENV", str(tmp_path / "other"))
    script.main(["setup"])
    assert runs.commands[0][3] == str(tmp_path / "other")
    assert (tmp_path / "other" / ".stamp").exists()
    assert not (script.ROOT / ".venv").exists()


def test_arguments_reach_pytest(script: ModuleType, runs: RecordedRuns) -> None:
    script.main(["test-all", "-k", "survival"])
    assert runs.commands[-1][-4:] == ("-m", "", "-k", "survival")


def test_an_unknown_task_is_refused(script: ModuleType, runs: RecordedRuns) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(["tests"])
    assert ended.value.code == 2
    assert runs.commands == []


def test_an_old_python_is_refused(
    script: ModuleType, runs: RecordedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "OLDEST_PYTHON", (sys.version_info[0] + 1, 0))
    assert script.main(["setup"]) == 1
    assert runs.commands == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_task_has_a_make_target(script: ModuleType, repository_root: Path) -> None:
    for task in script.TASKS:
        shown = subprocess.run(
            ["make", "--dry-run", task], cwd=repository_root, capture_output=True, text=True, check=True
        )
        assert f"run.py {task}" in shown.stdout
