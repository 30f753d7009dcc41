"""The list of the systems of particles: which there are, how to draw one by name, and their cards."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from .alanine_dipeptide import make_alanine_dipeptide
from .alanine_dipeptide_card import ALANINE_DIPEPTIDE
from .particles_cards import DW4, LJ13, ParticleCard
from .particles_dataset import ParticleDataset
from .particles_simulated import make_dw4, make_lj13

__all__ = ["list_particle_sets", "particle_card", "particle_loader"]

_ENTRIES: dict[str, tuple[ParticleCard, Callable[..., ParticleDataset]]] = {
    card.name: (card, function)
    for card, function in (
        (ALANINE_DIPEPTIDE, make_alanine_dipeptide),
        (DW4, make_dw4),
        (LJ13, make_lj13),
    )
}


def list_particle_sets() -> pd.DataFrame:
    """Return one row for each system of particles, simulating none of them.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, with the columns ``loader``, ``kind``, ``atoms``, ``dimensions``, ``units`` (of
        energies), ``length_unit`` and ``title``.
    """
    rows = [
        {
            "name": card.name,
            "loader": card.loader,
            "kind": card.kind,
            "atoms": card.n_atoms,
            "dimensions": card.dimensions,
            "units": card.units,
            "length_unit": card.length_unit,
            "title": card.title,
        }
        for card, _ in _ENTRIES.values()
    ]
    return pd.DataFrame(rows).set_index("name")


def particle_card(name: str) -> ParticleCard:
    """Return the card of the system ``name``, without simulating it.

    The card of a set that was drawn may say more: temperature, step and length of its simulation.

    Raises
    ------
    ValueError
        If there is no such system; the message lists those there are.
    """
    return _entry(name)[0]


def particle_loader(name: str) -> Callable[..., ParticleDataset]:
    """Return the function that simulates the system ``name``.

    Raises
    ------
    ValueError
        If there is no such system; the message lists those there are.
    """
    return _entry(name)[1]


def _entry(name: str) -> tuple[ParticleCard, Callable[..., ParticleDataset]]:
    if name not in _ENTRIES:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(_ENTRIES)}")
    return _ENTRIES[name]
