"""A fit that is told to end (SIGTERM) saves the step under way and ends, however far the next evaluation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")

SCRIPT = """
import os, signal, sys
import torch
import pytorch_lightning
from sciffusion.training.checkpoints import read_checkpoint
from sciffusion.training.loop import fit_network
from sciffusion.training.options import TrainingOptions

def fit(checkpoint):
    calls = 0
    def objective(network, batch, generator):
        nonlocal calls
        calls += 1
        if calls == 5:
            signal.raise_signal(signal.SIGTERM)
        print(calls, flush=True)
        return network(batch[0]).square().mean()
    options = TrainingOptions(max_steps=1000, batch_size=4, evaluate_every=1000)
    fit_network(torch.nn.Linear(2, 1), objective, (torch.ones(8, 2),), options=options, seed=0,
                checkpoint=checkpoint)

fit(sys.argv[1] if len(sys.argv) > 1 else None)
"""


@pytest.mark.parametrize("saved", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sigterm_ends_a_fit_at_once_or_after_the_step_that_is_saved(tmp_path: Path, saved: bool) -> None:
    checkpoint = tmp_path / "fit.ckpt"
    arguments = [str(checkpoint)] if saved else []
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert ended.stdout.split() == [str(call) for call in range(1, 6 if saved else 5)]
    assert checkpoint.exists() == saved
