"""Small models of molecules that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

_SMILES = [
    "CCO", "CCN", "CCCO", "CCCN", "CCOC", "CC(C)O", "CC(C)N", "c1ccccc1", "Cc1ccccc1", "CC(=O)O", "CC(=O)N",
    "CCCl", "C1CC1", "C1CCC1", "OC1CC1", "NC1CC1",
]  # fmt: skip


@pytest.fixture(scope="session")
def few_molecules() -> list[str]:
    """Sixteen molecules."""
    return list(_SMILES)


@pytest.fixture(scope="session")
def sizes() -> dict[str, Any]:
    """Parameters of a model that is quick to fit."""
    return {
        "width": 32, "depth": 1, "n_heads": 2, "batch_size": 32, "validation_fraction": 0.0, "ema_decay": 0.9,
        "warmup_steps": 10, "learning_rate": 5e-3, "nfe": 8, "draws": 8, "device": "cpu", "random_state": 0,
    }  # fmt: skip


def oxygens_and_lengths(smiles: list[str]) -> pd.DataFrame:
    """Properties that can be counted without RDKit."""
    return pd.DataFrame(
        {"oxygens": [float(one.count("O")) for one in smiles], "length": [float(len(one)) for one in smiles]}
    )


@pytest.fixture(scope="session")
def fitted(sizes: dict[str, Any]) -> Callable[[str], Any]:
    """Return a function from a representation to a model that has learned a few molecules with properties."""
    pytest.importorskip("rdkit")
    pytest.importorskip("selfies")
    from sciffusion import MoleculeDiffusion

    kept: dict[str, Any] = {}

    def model(representation: str = "selfies") -> Any:
        if representation not in kept:
            smiles = _SMILES * 8
            estimator = MoleculeDiffusion(
                representation=representation, property_network=True, max_steps=150, **sizes
            )
            kept[representation] = estimator.fit(smiles, oxygens_and_lengths(smiles))
        return kept[representation]

    return model
