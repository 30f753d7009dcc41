"""Importing torchaudio: whole, without its compiled part, broken or missing; nothing is left behind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sciffusion.domains.music.torchaudio_import import import_torchaudio

USER = """
from torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE, _check_cuda_version, fail_if_no_align

@fail_if_no_align
def align(x):
    return x
"""


def _parts() -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] == "torchaudio"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder of a small torchaudio that is found before the installed one."""
    kept = {name: sys.modules.pop(name) for name in _parts()}
    folder = tmp_path / "torchaudio"
    folder.mkdir()
    (folder / "__init__.py").write_text("from torchaudio import _extension, functional\n")
    (folder / "functional.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in _parts():
        del sys.modules[name]
    sys.modules.update(kept)


def _extension(folder: Path, first: str) -> None:
    whole = "_IS_TORCHAUDIO_EXT_AVAILABLE = True\ndef _check_cuda_version(): pass\n"
    whole += "def fail_if_no_align(function): return function\n"
    (folder / "_extension.py").write_text(first + "\n" + whole)


def test_a_whole_package_is_used_as_it_is(package: Path) -> None:
    _extension(package, "")
    assert import_torchaudio() == import_torchaudio() == "native"
    functional = sys.modules["torchaudio.functional"]
    assert functional._IS_TORCHAUDIO_EXT_AVAILABLE is True
    assert functional.align(3) == 3


def test_libraries_that_do_not_load_are_done_without(package: Path) -> None:
    _extension(package, "raise OSError('libc10_cuda.so: cannot open shared object file')")
    assert import_torchaudio() == import_torchaudio() == "patched"
    functional = sys.modules["torchaudio.functional"]
    assert functional._IS_TORCHAUDIO_EXT_AVAILABLE is False
    assert functional._check_cuda_version() is None
    with pytest.raises(RuntimeError, match="align needs torchaudio's compiled part"):
        functional.align(3)


def test_a_package_that_fails_both_ways_leaves_nothing_behind(package: Path) -> None:
    _extension(package, "")
    (package / "functional.py").write_text("raise OSError('libnothing.so')\n")
    with pytest.raises(ImportError, match=r"neither with nor without its compiled part.*libnothing"):
        import_torchaudio()
    assert _parts() == set()


def test_a_missing_package_is_named_with_its_remedy(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(ImportError, match=r"torchaudio, which is not installed.*sciffusion\[encodec\]"):
        import_torchaudio()


@pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="torchaudio is not installed")
def test_the_installed_package_resamples_either_way() -> None:
    code = (
        "import sys, torch\n"
        "from sciffusion.domains.music.torchaudio_import import import_torchaudio\n"
        "assert 'torchaudio' not in sys.modules, 'it is imported only when asked for'\n"
        "state = import_torchaudio()\n"
        "assert state in ('native', 'patched'), state\n"
        "import torchaudio\n"
        "out = torchaudio.transforms.Resample(24000, 12000)(torch.ones(1, 2400))\n"
        "assert out.shape == (1, 1200) and abs(float(out[0, 600]) - 1) < 1e-2"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
