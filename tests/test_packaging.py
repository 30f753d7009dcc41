"""The package that users install holds what the repository holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

FOLDERS = {"sciffusion": "sciffusion", "domains": "sciffusion/domains", "datasets": "sciffusion/datasets"}
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "report", "*.egg-info", "__pycache__", ".*_cache", "_build"
)
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def project(repository_root: Path) -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((repository_root / "pyproject.toml").read_text(encoding="utf-8"))


def source_files(root: Path) -> set[str]:
    """Return the path inside the installed package of every file that belongs there."""
    found = set()
    for folder, installed in FOLDERS.items():
        for path in (root / folder).rglob("*"):
            relative = path.relative_to(root / folder)
            behind_symlink = any((root / folder / parent).is_symlink() for parent in relative.parents)
            if path.is_file() and not behind_symlink and "__pycache__" not in relative.parts:
                found.add(f"{installed}/{relative.as_posix()}")
    return found


def test_the_package_list_holds_every_folder_with_modules(
    repository_root: Path, project: dict[str, Any]
) -> None:
    with_modules = {Path(file).parent for file in source_files(repository_root) if file.endswith(".py")}
    with_init = {Path(file).parent for file in source_files(repository_root) if file.endswith("/__init__.py")}
    assert with_modules == with_init
    listed = project["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert {".".join(folder.parts) for folder in with_init} == set(listed)


@pytest.mark.parametrize("name", ["domains", "datasets"])
def test_the_symlinks_are_tracked_and_relative(repository_root: Path, name: str) -> None:
    link = repository_root / "sciffusion" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    if not (repository_root / ".git").exists():
        pytest.skip("not a git checkout, so nothing is tracked")
    tracked = subprocess.run(
        ["git", "ls-files", "--stage", f"sciffusion/{name}"],
        cwd=repository_root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert tracked.stdout.startswith("120000 ")


def test_no_folder_is_offered_under_a_bare_name(repository_root: Path) -> None:
    code = "import importlib.util as u; print([u.find_spec(name) for name in ('domains', 'datasets')])"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=repository_root
    )
    # Another distribution may offer such a name; this repository must not.
    assert str(repository_root) not in ended.stdout


def test_extras_and_constraints_name_no_host(repository_root: Path, project: dict[str, Any]) -> None:
    lines = (repository_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    requirements = sum(
        project["project"]["optional-dependencies"].values(), project["project"]["dependencies"]
    )
    assert all("://" not in line and not line.startswith("-") for line in [*lines, *requirements])
    assert all(line.count("==") == 1 for line in pins)
    assert "torch==2.13.0" in pins


def test_the_command_is_declared(project: dict[str, Any]) -> None:
    assert project["project"]["scripts"] == {"sciffusion": "sciffusion.cli:main"}
    (command,) = entry_points(group="console_scripts", name="sciffusion")
    assert command.load().__name__ == "main"


def build(kind: str, source: Path, output: Path) -> Path:
    """Build a wheel or an sdist with the build backend of this environment."""
    ended = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(output)], cwd=source, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return output / ended.stdout.splitlines()[-1]


def test_sdist_and_the_wheel_built_from_it_hold_every_file(repository_root: Path, tmp_path: Path) -> None:
    source = tmp_path / "a checkout"
    shutil.copytree(repository_root, source, symlinks=True, ignore=LEFT_OUT)
    expected = source_files(source)
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "LICENSE").exists()
    for origin in (source, unpacked):
        output = tmp_path / f"wheel of {origin.name}"
        output.mkdir()
        with zipfile.ZipFile(build("wheel", origin, output)) as wheel:
            files = set(wheel.namelist())
        assert {file for file in files if ".dist-info/" not in file} == expected
        assert any(file.endswith("licenses/LICENSE") for file in files)
