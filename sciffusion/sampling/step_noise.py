r"""Randomness that hangs on a seed and the number of a step alone.

A sampler run draws its noise from one generator, one step after the other, so what a step draws depends on
all that was drawn before. Where a run may be interrupted, split in blocks or computed out of order, each step
gets a generator of its own, seeded by (seed, block, step); the start of a block is its step 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sciffusion.sampling.hooks import Hook
from sciffusion.sampling.state import State

__all__ = ["StepNoise", "step_generator"]


def step_generator(seed: int, block: int, step: int) -> torch.Generator:
    """Return the generator of a step, on the CPU; equal arguments give equal draws, others unrelated ones.

    Parameters
    ----------
    seed, block, step : int >= 0
    """
    low, high = np.random.SeedSequence([seed, block, step]).generate_state(2)
    return torch.Generator().manual_seed((int(high) << 32 | int(low)) & (2**63 - 1))


class StepNoise(Hook):
    """Gives every step of a run a generator of its own.

    Parameters
    ----------
    seed : int >= 0
        Seed of the sequence.
    block : int >= 0, default 0
        Which block of it the run makes.
    """

    def __init__(self, seed: int, block: int = 0) -> None:
        self.seed, self.block = seed, block

    def before_run(self, state: State) -> State:
        """Return the state with the generator of its first step."""
        return self._seeded(state)

    def after_step(self, before: State, after: State) -> State:
        """Return the state with the generator of its next step."""
        return self._seeded(after)

    def _seeded(self, state: State) -> State:
        return replace(state, generator=step_generator(self.seed, self.block, state.index + 1))
