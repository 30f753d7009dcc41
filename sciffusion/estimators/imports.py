"""Optional dependencies: imported when needed, with an error that names the extra to install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["optional_import"]


def optional_import(module: str, extra: str) -> ModuleType:
    """Import `module`, which comes with an extra of sciffusion.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra that installs it, such as "plots".

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If the package is not installed, with the command that installs it; or if it is installed and its own
        import fails, with that error.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise ImportError(
                f"{package} is installed but does not import, because {error.name!r} is missing"
            ) from error
        raise ImportError(
            f"this needs {package}, which is not installed: run pip install 'sciffusion[{extra}]'"
        ) from error
