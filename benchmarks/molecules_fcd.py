r"""Fréchet ChemNet distance, with the network that the `fcd` package carries: imported by `molecules_*.py`.

ChemNet (Preuer et al., Fréchet ChemNet distance, arXiv:1803.09518) reads a SMILES string and predicts assays;
its last hidden layer has 512 units. With mean mu and covariance C of these over a set of molecules,

    FCD = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)),

whose last term is computed as the sum of the square roots of the eigenvalues of C_1^(1/2) C_2 C_1^(1/2). The
distance of two finite samples of one law is not zero but falls like 1 / n, so compare at equal n and name it.

The `fcd` package is under LGPL-3: it is asked for its network alone, when a distance is wanted, and is no
dependency of the library. Statistics of a reference set are computed once and cached as NPZ without objects;
the ones that MOSES publishes are a pickle, which runs code when read, and are not used.
"""

from __future__ import annotations

import hashlib
import importlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciffusion.domains.molecules import canonical_smiles

__all__ = [
    "ChemNetStatistics",
    "chemnet_activations",
    "chemnet_statistics",
    "fcd_distance",
    "frechet_distance",
    "why_no_chemnet",
]

PADDED_LENGTH = 350
N_UNITS = 512

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChemNetStatistics:
    """Mean (512,) and covariance (512, 512) of ChemNet's last hidden layer over `n` molecules."""

    mean: Floats
    covariance: Floats
    n: int

    @classmethod
    def of(cls, activations: NDArray[Any]) -> ChemNetStatistics:
        """Return the statistics of activations (n, 512), n at least 2."""
        if len(activations) < 2:
            raise ValueError(f"a covariance needs at least 2 valid molecules, got {len(activations)}")
        values = np.asarray(activations, dtype=np.float64)
        return cls(values.mean(0), np.cov(values.T), len(values))

    def save(self, path: Path) -> None:
        """Write the statistics whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as stream:
            np.savez(stream, mean=self.mean, covariance=self.covariance, n=np.array(self.n))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> ChemNetStatistics:
        """Read statistics; no code in the file is run."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["mean"], file["covariance"], int(file["n"]))


def why_no_chemnet() -> str | None:
    """Return why no distance can be computed here, or None where one can."""
    try:
        importlib.import_module("fcd")
    except ImportError as error:
        return f"the fcd package (LGPL-3, pip install fcd) does not import: {error}"
    return None


def chemnet_activations(
    smiles: Sequence[str], *, device: torch.device | str = "cpu", batch_size: int = 256
) -> NDArray[np.float32]:
    """Return ChemNet's last hidden layer, (n, 512), of SMILES as they are written.

    Raises
    ------
    ImportError
        Where the network is not there, with the reason.
    ValueError
        If a string is too long for the network (349 signs).
    """
    reason = why_no_chemnet()
    if reason:
        raise ImportError(f"no Fréchet ChemNet distance: {reason}")
    too_long = [string for string in smiles if len(string) >= PADDED_LENGTH]
    if too_long:
        raise ValueError(
            f"{len(too_long)} strings have {PADDED_LENGTH} signs or more, the first: {too_long[0]!r}"
        )
    network = _network(str(device))
    found = np.empty((len(smiles), N_UNITS), dtype=np.float32)
    with torch.inference_mode():
        for start, batch in _batches(list(smiles), batch_size):
            found[start : start + len(batch)] = network(batch.transpose(1, 2).to(device)).cpu().numpy()
    return found


def chemnet_statistics(
    smiles: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    n_jobs: int | None = None,
) -> ChemNetStatistics:
    """Return the statistics of the valid ones of a list of SMILES, written canonically.

    Parameters
    ----------
    smiles : sequence of str
        Valid or not; those that are no molecule are left out.
    device : torch.device or str
        Where the network runs.
    cache : Path or None
        Folder in which the statistics of this list are kept, named by its hash.
    n_jobs : int or None
        Processes that read the strings.
    """
    name = hashlib.sha256("\n".join(smiles).encode()).hexdigest()[:24]
    kept = None if cache is None else cache / f"chemnet-{name}.npz"
    if kept is not None and kept.exists():
        try:
            return ChemNetStatistics.load(kept)
        except (ValueError, KeyError, zipfile.BadZipFile):
            kept.unlink()  # not what was written here: compute anew
    valid = [string for string in canonical_smiles(smiles, n_jobs=n_jobs) if string is not None]
    statistics = ChemNetStatistics.of(chemnet_activations(valid, device=device))
    if kept is not None:
        statistics.save(kept)
    return statistics


def frechet_distance(first: ChemNetStatistics, second: ChemNetStatistics) -> float:
    """Return the squared Fréchet distance of two Gaussians, never below 0."""
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ second.covariance @ root)
    cross = float(np.sqrt(middle.clip(0)).sum())
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    return max(float(((first.mean - second.mean) ** 2).sum()) + traces - 2 * cross, 0.0)


def fcd_distance(
    smiles: Sequence[str],
    reference: Sequence[str] | ChemNetStatistics,
    *,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    n_jobs: int | None = None,
) -> float:
    """Return the Fréchet ChemNet distance of generated strings to a reference set.

    The arguments are those of `chemnet_statistics`; `cache` keeps the reference alone.
    """
    if not isinstance(reference, ChemNetStatistics):
        reference = chemnet_statistics(reference, device=device, cache=cache, n_jobs=n_jobs)
    return frechet_distance(chemnet_statistics(smiles, device=device, n_jobs=n_jobs), reference)


@lru_cache(maxsize=2)
def _network(device: str) -> torch.nn.Module:
    # By its path: without one the package copies the file to a temporary folder that it never closes.
    path = resources.files("fcd") / "ChemNet_v0.13_pretrained.pt"
    network: torch.nn.Module = importlib.import_module("fcd").load_ref_model(str(path))
    return network.to(device).eval()


def _batches(smiles: list[str], batch_size: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first row of each batch and its one-hot signs, (batch, 350, 35), scaled as in training."""
    one_hot = importlib.import_module("fcd.utils").get_one_hot
    for start in range(0, len(smiles), batch_size):
        signs = [one_hot(string, pad_len=PADDED_LENGTH) for string in smiles[start : start + batch_size]]
        batch = torch.from_numpy(np.stack(signs).astype(np.float32))
        yield start, batch / batch.shape[2]
