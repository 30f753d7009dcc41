"""Weighted draws of particle systems measured against a reference, with the floor that chance sets.

Every measure is zero or close to it for draws of the law of the reference, and none is exactly zero between
two finite samples of one law: a value means nothing without the *floor*, the same measure between samples of
the reference itself. `compare_samples` gives both in one table; each measure is also a function of its own.
Weights enter exactly; nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from .metrics_distances import (
    energy_distance_w1,
    pair_distances,
    radial_distribution,
    radial_w1,
)
from .metrics_features import feature_vectors, random_symmetry
from .metrics_kernel import maximum_mean_discrepancy, sliced_wasserstein
from .metrics_reference import BoltzmannReference, ReferenceData, energies_of, sample_parts
from .metrics_weights import delta_nll, effective_sample_size, weighted_resample

__all__ = [
    "compare_samples",
    "delta_nll",
    "effective_sample_size",
    "energies_of",
    "energy_distance_w1",
    "feature_vectors",
    "maximum_mean_discrepancy",
    "pair_distances",
    "radial_distribution",
    "radial_w1",
    "random_symmetry",
    "sliced_wasserstein",
    "weighted_resample",
]


def compare_samples(
    samples: Mapping[str, Any],
    reference: BoltzmannReference | ReferenceData,
    *,
    second_reference: BoltzmannReference | ReferenceData | None = None,
    n_floor: int = 5,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Return all measures of several weighted samples against a reference, and of the reference itself.

    Parameters
    ----------
    samples : mapping of str to sample
        A sample is an array of configurations, a pair of configurations and log weights, or an object with
        ``configurations`` and ``log_weights``.
    reference : BoltzmannReference or data set of particles
        What they should follow.
    second_reference : BoltzmannReference or data set of particles, optional
        Another run of the reference sampler. The floor is then that between both runs; without it, between
        random parts of one run, which is too low if configurations of that run resemble their neighbours.
    n_floor : int
        How often the floor is taken, each time as many configurations as the largest sample has, but at most
        half of the reference; 0 for none.
    generator : torch.Generator, optional
        Draws what the floor is taken of; a fixed seed by default.
    **settings
        Of `BoltzmannReference.from_dataset`, if `reference` is a data set.

    Returns
    -------
    DataFrame
        A row a sample, then "floor" and "floor spread", mean and standard deviation over its repetitions;
        columns as `BoltzmannReference.compare`.

    Raises
    ------
    ValueError
        For arguments of wrong shapes or values.
    """
    if not samples:
        raise ValueError("samples is empty: give at least one sample")
    reserved = [name for name in ("floor", "floor spread") if name in samples]
    if reserved and n_floor:
        raise ValueError(f"a sample is called {reserved[0]!r}, as the rows of the floor are; rename it")
    if n_floor < 0:
        raise ValueError(f"n_floor must not be negative, got {n_floor}")
    known = _reference(reference, settings)
    rows = {
        name: known.compare(*sample_parts(sample, f"samples[{name!r}]")) for name, sample in samples.items()
    }
    if n_floor:
        other = None if second_reference is None else _reference(second_reference, settings)
        count = max(int(row["n"]) for row in rows.values())
        source = torch.Generator().manual_seed(2) if generator is None else generator
        floor = pd.DataFrame([_floor(known, other, count, source) for _ in range(n_floor)])
        rows["floor"] = dict(floor.mean())
        rows["floor spread"] = dict(floor.std(ddof=1 if n_floor > 1 else 0))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sample")


def _floor(
    known: BoltzmannReference, other: BoltzmannReference | None, count: int, generator: torch.Generator
) -> dict[str, float]:
    """Return the measures of some rows of the reference against its other rows, or another run."""
    first = known if other is None else other
    total = len(first.configurations)
    size = min(count, total // 2 if other is None else total)
    order = torch.randperm(total, generator=generator, device=generator.device)
    rows = order[:size].to(first.configurations.device)
    against = known.part(order[size:]) if other is None else known
    energies = None if first.energies is None else first.energies[rows]
    return against.compare(first.configurations[rows], first.weights[rows].log(), energies=energies)


def _reference(
    reference: BoltzmannReference | ReferenceData, settings: Mapping[str, Any]
) -> BoltzmannReference:
    if isinstance(reference, BoltzmannReference):
        if settings:
            raise ValueError(f"{', '.join(settings)} belong to the BoltzmannReference, which was given")
        return reference
    return BoltzmannReference.from_dataset(reference, **settings)
