"""All measures of weighted draws against one reference, which is prepared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sciffusion.diagnostics.distances import sliced_wasserstein as sliced_distance
from sciffusion.sampling.smc import effective_sample_size

from .metrics_checks import (
    Values,
    as_configurations,
    as_energies,
    as_weights,
    check_same_system,
    default_generator,
)
from .metrics_distances import AtomTypes, line_w1, pair_distances, spread
from .metrics_features import Features, Symmetries, VectorChoice
from .metrics_kernel import KernelReference

__all__ = ["BoltzmannReference", "EnergyFunction", "ReferenceData", "energies_of", "sample_parts"]

#: From configurations ``(batch, atoms, dimensions)`` to their energies ``(batch,)``.
EnergyFunction = Callable[[Tensor], Tensor]
_CHUNK = 4096  # configurations whose energies are asked for at once


class ReferenceData(Protocol):
    """What a data set of particles offers that a reference needs."""

    @property
    def configurations(self) -> Any:
        """Shape ``(n, atoms, dimensions)``."""

    @property
    def energies(self) -> Any:
        """Shape ``(n,)``."""

    @property
    def energy(self) -> EnergyFunction:
        """The energy function."""

    @property
    def atom_types(self) -> Any:
        """Shape ``(atoms,)``."""

    @property
    def kT(self) -> float:  # noqa: N802 - the symbol of the field
        """In the unit of the energies."""


class BoltzmannReference:
    r"""A sample of the law that draws should follow, against which they are measured.

    Parameters
    ----------
    configurations : array-like of shape (m, atoms, dimensions)
        In any unit of length.
    kT : float
        Boltzmann's constant times the temperature, in the unit of the energies.
    energies : array-like of shape (m,), optional
        Energies of the configurations; computed by `energy` if left out.
    energy : callable, optional
        From a float64 tensor ``(batch, atoms, dimensions)`` to energies ``(batch,)``. Without it and without
        energies of the draws, nothing is said about energies.
    log_weights : array-like of shape (m,), optional
        Weights of the reference.
    atom_types : sequence of int of shape (atoms,), optional
        Only atoms of equal type are exchanged; all are equal by default.
    symmetries : {"particles", "molecule", "none"}
        See `feature_vectors`.
    features : sequence of {"coordinates", "distances"}
        In which vectors kernel and sliced distances are taken.
    kernel_rows : int
        So many configurations of the reference, evenly spaced, enter the maximum mean discrepancy at most.
    generator : torch.Generator, optional
        Draws the symmetries; fixed seeds by default, so that the same draws have the same values.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """

    def __init__(
        self,
        configurations: Values,
        *,
        kT: float,  # noqa: N803 - the symbol of the field
        energies: Values | None = None,
        energy: EnergyFunction | None = None,
        log_weights: Values | None = None,
        atom_types: AtomTypes = None,
        symmetries: Symmetries = "particles",
        features: Sequence[Features] = ("coordinates",),
        kernel_rows: int = 10_000,
        generator: torch.Generator | None = None,
    ) -> None:
        if not (np.isfinite(kT) and kT > 0):
            raise ValueError(f"kT must be positive and finite, in the unit of the energies, got {kT}")
        if kernel_rows < 2:
            raise ValueError(f"kernel_rows must be at least 2, got {kernel_rows}")
        x = as_configurations(configurations, "reference configurations", least=2)
        self.configurations = x
        self.kT = float(kT)
        self.energy = energy
        self.weights = as_weights(log_weights, len(x), "log_weights", x.device)
        self.energies = self._energies(x, energies, self.weights)
        self._generator = generator
        self._kernel_rows = kernel_rows
        self._choices = [VectorChoice(kind, symmetries, atom_types) for kind in features]
        source = default_generator(generator)
        self._vectors = [choice.vectors(x, source) for choice in self._choices]
        stride = -(-len(x) // kernel_rows)
        few = self.weights[::stride] / self.weights[::stride].sum()
        self._kernels = [KernelReference(vectors[::stride], few) for vectors in self._vectors]
        self._distances = pair_distances(x)

    @classmethod
    def from_dataset(cls, dataset: ReferenceData, **settings: Any) -> Self:
        """Return the reference that a data set of particles is; settings as for the class."""
        given: dict[str, Any] = {
            "kT": dataset.kT,
            "energies": dataset.energies,
            "energy": dataset.energy,
            "atom_types": dataset.atom_types,
        }
        return cls(dataset.configurations, **(given | settings))

    def compare(
        self, configurations: Values, log_weights: Values | None = None, *, energies: Values | None = None
    ) -> dict[str, float]:
        """Return all measures of weighted draws.

        Parameters
        ----------
        configurations : array-like of shape (n, atoms, dimensions)
            In the reference's unit of length.
        log_weights : array-like of shape (n,), optional
            Of any normalisation.
        energies : array-like of shape (n,), optional
            Energies of the draws; computed by the reference's `energy` by default.

        Returns
        -------
        dict of str to float
            "n", "ess" (effective sample size), "delta_nll" (nats), "w1_energy" (unit of energy), "w1_radial"
            (unit of length), "mmd", "swd" (unit of length); with the features "distances" also
            "mmd_distances" and "swd_distances". Without energies the two of them are missing.

        Raises
        ------
        ValueError
            For arguments of wrong shapes or values.
        """
        x = as_configurations(configurations, "configurations").to(self.configurations.device)
        check_same_system(x, self.configurations)
        w = as_weights(log_weights, len(x), "log_weights", x.device)
        found = {"n": float(len(x)), "ess": float(effective_sample_size(w.log()))}
        drawn = self._energies(x, energies, w)
        if drawn is not None and self.energies is not None:
            mean = float(self.weights @ self.energies)
            found["delta_nll"] = (float(w @ drawn) - mean) / self.kT
            found["w1_energy"] = line_w1(drawn, self.energies, w, self.weights)
        apart, known = pair_distances(x), self._distances
        found["w1_radial"] = line_w1(
            apart.flatten(), known.flatten(), spread(w, apart), spread(self.weights, known)
        )
        return found | self._vector_measures(x, w)

    def _vector_measures(self, x: Tensor, w: Tensor) -> dict[str, float]:
        # A seed other than the reference's: equal rows must not be turned equally.
        source = torch.Generator().manual_seed(1) if self._generator is None else self._generator
        found = {}
        for choice, known, kernel in zip(self._choices, self._vectors, self._kernels, strict=True):
            vectors = choice.vectors(x, source)
            ending = "" if choice.features == "coordinates" else f"_{choice.features}"
            found[f"mmd{ending}"] = kernel.discrepancy(vectors, w)
            swd = sliced_distance(vectors, known, first_weights=w, second_weights=self.weights)
            found[f"swd{ending}"] = float(swd)
        return found

    def _energies(self, x: Tensor, energies: Values | None, weights: Tensor) -> Tensor | None:
        if energies is None and self.energy is None:
            return None
        found = energies_of(self.energy, x) if energies is None and self.energy is not None else energies
        assert found is not None  # for the type checker: one of the two was given
        return as_energies(found, "energies", len(x), weights).to(x.device)

    def part(self, rows: ArrayLike | Tensor) -> BoltzmannReference:
        """Return the reference that some of its rows are, with the same settings."""
        chosen = torch.as_tensor(rows, device=self.configurations.device)
        choice = self._choices[0] if self._choices else VectorChoice()
        return BoltzmannReference(
            self.configurations[chosen],
            kT=self.kT,
            energies=None if self.energies is None else self.energies[chosen],
            energy=self.energy,
            log_weights=self.weights[chosen].log(),
            atom_types=choice.atom_types,
            symmetries=choice.symmetries,
            features=[one.features for one in self._choices],
            kernel_rows=self._kernel_rows,
            generator=self._generator,
        )


def sample_parts(sample: Any, name: str) -> tuple[Any, Any]:
    """Return what a sample holds, and its log weights or None.

    Parameters
    ----------
    sample : ndarray or Tensor, pair of these and log weights, or object with ``configurations``
        The sample.
    name : str
        Of the argument, for errors.

    Raises
    ------
    TypeError
        If it is nothing of this.
    ValueError
        If a tuple has other than two items.
    """
    if hasattr(sample, "configurations"):
        return sample.configurations, getattr(sample, "log_weights", None)
    if isinstance(sample, tuple):
        if len(sample) != 2:
            raise ValueError(
                f"{name} must be an array, or a pair of it and log weights, got a tuple of {len(sample)}"
            )
        return sample
    if not isinstance(sample, np.ndarray | Tensor):
        raise TypeError(f"{name} must hold an array or a tensor, got {type(sample).__name__}")
    return sample, None


def energies_of(energy: EnergyFunction | None, configurations: Values) -> Tensor:
    """Return the energies of configurations, computed in chunks without gradients.

    Parameters
    ----------
    energy : callable
        From a float64 tensor ``(batch, atoms, dimensions)`` to energies ``(batch,)``.
    configurations : array-like of shape (n, atoms, dimensions)
        The configurations.

    Returns
    -------
    Tensor
        Float64 of shape ``(n,)``.

    Raises
    ------
    TypeError
        If `energy` is not callable.
    ValueError
        If it gives other than one number a configuration.
    """
    if not callable(energy):
        raise TypeError(f"energy must be a function of configurations, got {type(energy).__name__}")
    x = as_configurations(configurations, "configurations")
    found = []
    with torch.no_grad():
        for chunk in torch.split(x, _CHUNK):
            values = energy(chunk)
            if tuple(values.shape) != (len(chunk),):
                raise ValueError(
                    f"energy must give shape ({len(chunk)},) for {len(chunk)} configurations, got "
                    f"{tuple(values.shape)}"
                )
            found.append(values.to(torch.float64))
    return torch.cat(found)
