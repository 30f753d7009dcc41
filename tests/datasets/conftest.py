"""Loading of data sets for the tests, with a reason where a source cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from sciffusion.datasets import DatasetUnavailableError, SurvivalDataset, dataset_loader


@pytest.fixture(scope="session")
def load() -> Callable[[str], SurvivalDataset]:
    """Return a function from a name to its data set, loaded once for all tests."""

    @cache
    def load_once(name: str) -> SurvivalDataset | str:
        try:
            return dataset_loader(name)()
        except (ImportError, DatasetUnavailableError) as error:
            return str(error)

    def load_or_skip(name: str) -> SurvivalDataset:
        outcome = load_once(name)
        if isinstance(outcome, str):
            pytest.skip(f"the source of {name} cannot be had: {outcome}")
        return outcome

    return load_or_skip
