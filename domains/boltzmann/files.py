"""Configurations in files: ``.npz`` with all that belongs to them, ``.npy`` and multi-model ``.xyz``.

An ``.npz`` file holds arrays and words, never pickled objects, under these names; only the first is needed:

- ``x``: configurations, shape (n, atoms, dimensions);
- ``energies`` (n,), ``forces`` (n, atoms, dimensions), ``log_weights`` (n,);
- ``temperature``, ``units`` ("reduced", "kJ/mol" or "kcal/mol"), ``length_unit``;
- ``atom_types`` (atoms,), ``bonds`` (b, 2), ``names`` (atoms,);
- ``system`` and ``oscillator``, from which the command line finds the energy function again;
- ``ess`` (steps, systems), shares of effective particles, ``resamplings`` (systems,), and ``families`` (n,)
  of a weighted draw: draws of one family descend from one particle of the start.

Files are written as a whole or not at all.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciffusion.training.checkpoints import write_atomically

from .files_xyz import read_xyz
from .units import BOLTZMANN_CONSTANT

__all__ = ["Configurations", "check_ending", "read_configurations", "write_configurations"]

UNITS = tuple(BOLTZMANN_CONSTANT)
_ENDINGS = (".npz", ".npy", ".xyz")


@dataclass(frozen=True, kw_only=True, eq=False)
class Configurations:
    """Configurations with all that is known about them; see the module for the fields.

    Parameters
    ----------
    configurations : ndarray of shape (n, atoms, dimensions)
        Positions, in `length_unit`.
    energies, forces, log_weights, temperature, units, length_unit, atom_types, bonds, names, system, \
    oscillator, ess, families, resamplings
        None where unknown.

    Raises
    ------
    ValueError
        Naming the field whose shape or values do not fit.
    """

    configurations: NDArray[np.floating[Any]]
    energies: NDArray[np.float64] | None = None
    forces: NDArray[np.floating[Any]] | None = None
    log_weights: NDArray[np.float64] | None = None
    temperature: float | None = None
    units: str | None = None
    length_unit: str | None = None
    atom_types: NDArray[np.int64] | None = None
    bonds: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None
    system: str | None = None
    oscillator: float | None = None
    ess: NDArray[np.float64] | None = None
    families: NDArray[np.int64] | None = None
    resamplings: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Refuse fields that do not belong together."""
        x = np.asarray(self.configurations)
        if x.ndim != 3 or x.shape[1] < 2 or not len(x) or not np.issubdtype(x.dtype, np.floating):
            raise ValueError(
                "x must hold real numbers of shape (n, atoms, dimensions) with at least 2 atoms, got "
                f"{x.dtype} of shape {x.shape}"
            )
        self._check_shapes(x.shape)
        for name in ("configurations", "energies", "forces"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                bad = int((~np.isfinite(values)).reshape(len(x), -1).any(1).sum())
                raise ValueError(
                    f"{_KEYS.get(name, name)} has NaN or infinite values in {bad} of {len(x)} rows"
                )
        self._check_kinds()
        if self.units is not None and self.units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {self.units!r}")
        if self.temperature is not None and not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")

    def _check_kinds(self) -> None:
        for name in ("atom_types", "families", "bonds", "resamplings"):
            value = getattr(self, name)
            if value is not None and np.size(value) and np.asarray(value).dtype.kind not in "iu":
                raise ValueError(f"{name} must be whole numbers, got {np.asarray(value).dtype}")
        logs = self.log_weights
        if logs is not None and (
            np.isnan(logs).any() or not np.max(logs) > -np.inf or np.max(logs) == np.inf
        ):
            raise ValueError("log_weights must be finite or -inf, and not all -inf")
        if self.ess is not None and np.ndim(self.ess) != 2:
            raise ValueError(f"ess must have shape (steps, systems), got {np.shape(self.ess)}")

    def _check_shapes(self, shape: tuple[int, ...]) -> None:
        wanted = {
            "energies": shape[:1],
            "forces": shape,
            "log_weights": shape[:1],
            "families": shape[:1],
            "atom_types": shape[1:2],
            "names": shape[1:2],
        }
        for name, size in wanted.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != size:
                raise ValueError(f"{name} must have shape {size}, as x has {shape}, got {np.shape(value)}")

    def __len__(self) -> int:
        return len(self.configurations)


_KEYS = {"configurations": "x"}
_TEXTS = ("units", "length_unit", "system")
_NUMBERS = ("temperature", "oscillator")


def read_configurations(path: str | Path) -> Configurations:
    """Read a file of configurations.

    Parameters
    ----------
    path : path-like
        ``.npz`` as described in the module, ``.npy`` of configurations alone, or multi-model ``.xyz``.
        Nothing in the file is executed.

    Returns
    -------
    Configurations

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is of another kind, damaged, holds pickled objects, or its arrays do not belong together.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise ValueError(f"{path.name or str(path)!r} must end in one of {', '.join(_ENDINGS)}")
    if not path.is_file():
        raise FileNotFoundError(f"the file {str(path)!r} does not exist")
    if path.suffix.lower() == ".xyz":
        found, names = read_xyz(path)
        content: dict[str, Any] = {"configurations": found, "names": names}
    else:
        content = _fields(_arrays(path), path)
    try:
        return Configurations(**content)
    except ValueError as error:
        raise ValueError(f"{path.name!r} cannot be used: {error}") from None


def write_configurations(path: str | Path, content: Configurations) -> None:
    """Write configurations and what is known about them, as a whole or not at all.

    Parameters
    ----------
    path : path-like
        Ends in ``.npz``.
    content : Configurations
        What to write; fields that are None are left out.

    Raises
    ------
    ValueError
        If the file would be of another kind.
    FileNotFoundError
        If the folder does not exist.
    """
    path = check_ending(path)
    known = {one.name: getattr(content, one.name) for one in fields(content)}
    arrays: dict[str, Any] = {
        _KEYS.get(name, name): np.asarray(value) for name, value in known.items() if value is not None
    }
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def check_ending(path: str | Path) -> Path:
    """Return the path of a file that `write_configurations` can write, or raise ``ValueError``."""
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"configurations are written to files ending in .npz, got {path.name!r}")
    return path


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of a file by their names."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return {"x": found}
            return {name: found[name] for name in found.files}
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error).lower():  # what numpy takes all for that it does not know
            raise ValueError(
                f"{path.name!r} is no file of arrays, or holds pickled objects, which are never loaded: save "
                "arrays of numbers only"
            ) from None
        raise ValueError(
            f"{path.name!r} is no file of arrays or is damaged ({type(error).__name__})"
        ) from error


def _fields(arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, Any]:
    """Return the fields of `Configurations` that a file has."""
    if "x" not in arrays:
        raise ValueError(
            f"{path.name!r} has no array 'x' of configurations; it has {', '.join(sorted(arrays)) or 'none'}"
        )
    known = {_KEYS.get(one.name, one.name): one.name for one in fields(Configurations)}
    content: dict[str, Any] = {field: arrays[key] for key, field in known.items() if key in arrays}
    try:
        content |= {name: str(content[name].item()) for name in _TEXTS if name in content}
        content |= {name: float(content[name].item()) for name in _NUMBERS if name in content}
    except ValueError:
        raise ValueError(
            f"{path.name!r} must hold one value each as {', '.join((*_TEXTS, *_NUMBERS))}"
        ) from None
    if "names" in content:
        content["names"] = tuple(map(str, content["names"].tolist()))
    for name in ("energies", "log_weights", "ess", "forces"):
        if name in content and content[name].dtype.kind not in "fiu":
            raise ValueError(f"{path.name!r} must hold real numbers as {name}, got {content[name].dtype}")
        if name in content and name != "forces":
            content[name] = content[name].astype(np.float64)
    return content
