"""Importing torchaudio where its compiled part does not load; only the package encodec asks for it.

Published torchaudio wheels for x86-64 are built for CUDA: beside a CPU build of torch their shared libraries
do not load, and the import ends in an OSError although the parts written in Python need none of them. An
empty stand-in for the module that loads the libraries (construction of this library) lets the rest be
imported. What needs the compiled part (alignment, recurrent transducer losses) then refuses to run.

Nothing else in this package uses torchaudio: resampling is soxr's, spectra are torch's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, TypeAlias

from sciffusion.estimators.imports import optional_import

__all__ = ["TorchaudioState", "import_torchaudio"]

#: How torchaudio was imported: as it is, or with the stand-in for its compiled part.
TorchaudioState: TypeAlias = Literal["native", "patched"]

_PACKAGE, _EXTENSION = "torchaudio", "torchaudio._extension"


class _StandIn(ModuleType):
    """What the rest of torchaudio asks of the module that loads its compiled part."""

    _IS_TORCHAUDIO_EXT_AVAILABLE = False
    _IS_ALIGN_AVAILABLE = False

    @staticmethod
    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that refuses to run."""

        def refuse(*arguments: Any, **keywords: Any) -> Any:
            raise RuntimeError(f"{function.__name__} needs torchaudio's compiled part, which does not load")

        return refuse

    @staticmethod
    def _check_cuda_version() -> None:
        """Return None: there is no compiled part whose version could differ."""


def import_torchaudio() -> TorchaudioState:
    """Import torchaudio, if need be without its compiled part.

    Returns
    -------
    {"native", "patched"}
        Whether it is whole.

    Raises
    ------
    ImportError
        If it is not installed, with the command that installs it, or imports in neither way; then no part of
        it is left in `sys.modules`.
    """
    if not isinstance(sys.modules.get(_EXTENSION), _StandIn):
        try:
            optional_import(_PACKAGE, "encodec")
        except OSError:
            _forget()
        else:
            return "native"
        sys.modules[_EXTENSION] = _StandIn(_EXTENSION)
    try:
        optional_import(_PACKAGE, "encodec")
    except Exception as error:
        _forget()
        raise ImportError(
            "torchaudio is installed, but imports neither with nor without its compiled part: install one "
            f"that was built for this torch ({error})"
        ) from error
    return "patched"


def _forget() -> None:
    """Remove everything of torchaudio that was imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
