"""Fixtures that every part of the test suite may use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """Return the folder that holds pyproject.toml."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def python_interrupts() -> Iterator[None]:
    """Let Ctrl-C interrupt, also where the tests were started with it ignored (as background jobs are)."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@pytest.fixture(autouse=True)
def same_global_streams() -> None:
    """Start every test from the same global random streams, whatever ran before it in its process."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 the stream that callers' code may still use
