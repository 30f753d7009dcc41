"""Small models of molecules that several test files share."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

SMILES = [
    "CCO", "CCN", "CCCO", "CCCN", "CCOC", "CC(C)O", "CC(C)N", "c1ccccc1", "Cc1ccccc1", "CC(=O)O", "CC(=O)N",
    "CCCl", "C1CC1", "C1CCC1", "OC1CC1", "NC1CC1",
]  # fmt: skip
SIZES: dict[str, Any] = {
    "width": 32, "depth": 1, "n_heads": 2, "batch_size": 32, "validation_fraction": 0.0, "ema_decay": 0.9,
    "warmup_steps": 10,
}  # fmt: skip


def oxygens_and_lengths(smiles: list[str]) -> pd.DataFrame:
    """Properties that can be counted without RDKit."""
    return pd.DataFrame(
        {"oxygens": [float(one.count("O")) for one in smiles], "length": [float(len(one)) for one in smiles]}
    )


@pytest.fixture(scope="package")
def fitted() -> Any:
    """Return a function from a representation to a model that has learned a few molecules."""
    pytest.importorskip("rdkit")
    pytest.importorskip("selfies")
    from sciffusion import MoleculeDiffusion

    kept: dict[tuple[str, bool], Any] = {}

    def model(representation: str = "selfies", conditioned: bool = False) -> Any:
        key = (representation, conditioned)
        if key not in kept:
            y = oxygens_and_lengths(SMILES * 8) if conditioned else None
            estimator = MoleculeDiffusion(
                representation=representation, property_network=conditioned, max_steps=200, random_state=0,
                learning_rate=5e-3, nfe=12, draws=8, device="cpu", **SIZES,
            )  # fmt: skip
            kept[key] = estimator.fit(SMILES * 8, y)
        return kept[key]

    return model
