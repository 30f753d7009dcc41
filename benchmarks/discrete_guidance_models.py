"""A small chain of tokens with a reward: its exact denoisers, classifiers and tilted laws, from tables.

All 81 sequences of the bench chain are known, so everything a noisy sequence says is a sum over them. At one
time it is computed once for every noisy sequence (81 of uniform noise, 256 of masks) and looked up after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sciffusion.discrete import DiscretePrediction, DiscreteProcess
from sciffusion.exact import MarkovChainOracle

__all__ = ["LENGTH", "REWARD", "SEQUENCES", "ChainModel", "place_of", "tilted"]

ORACLE = MarkovChainOracle.bench_a()
LENGTH = ORACLE.length
SEQUENCES = torch.cartesian_prod(*[torch.arange(3)] * LENGTH)
LAW = torch.exp(ORACLE.log_likelihood(SEQUENCES))
#: Tokens 2, and one more for every 2 that follows a 1, which is rare: neighbours matter.
REWARD = (SEQUENCES == 2).sum(-1).double() + (
    (SEQUENCES[:, :-1] == 1) & (SEQUENCES[:, 1:] == 2)
).sum(-1).double()  # fmt: skip
TRUSTED = 0.999


def place_of(tokens: Tensor, size: int = 3) -> Tensor:
    """Give the row of sequences in the table of all of them."""
    powers = size ** torch.arange(LENGTH - 1, -1, -1, device=tokens.device)
    return (tokens * powers).sum(-1)


def tilted(scale: float) -> Tensor:
    """Give the law of the sequences times the exponential of the scaled reward."""
    law = LAW * torch.exp(scale * REWARD)
    return law / law.sum()


class ChainModel:
    """The exact denoiser of a process, given the condition "high" or none, and the exact classifier of it.

    "high" is a class with probability proportional to exp(reward), so that the conditional law is the tilt of
    scale 1.
    """

    def __init__(self, process: DiscreteProcess) -> None:
        self.path = process
        self.noisy = torch.cartesian_prod(*[torch.arange(process.state_size)] * LENGTH)
        self._tables: dict[tuple[str, float], Tensor] = {}

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        """Predict the clean tokens by their leave-one-out laws."""
        return DiscretePrediction(self._found(f"loo {condition}", state.x, state.t), "loo")

    def log_class(self, x: Tensor, times: Tensor) -> Tensor:
        """Give the log probability of the class, up to a constant, for noisy tokens at one time."""
        return self._found("class", x, times.flatten()[0])

    def log_class_onehot(self, onehot: Tensor, times: Tensor) -> Tensor:
        """Give the same for one-hot tokens, linear in those of each site within the sums."""
        kernel = self._kernel(times.flatten()[0])
        kernel = kernel / kernel.amax(0)  # likelihoods relative to the best clean token
        sites = onehot.to(kernel) @ kernel.T
        seen = torch.stack([sites[:, site, SEQUENCES[:, site]] for site in range(LENGTH)], dim=-1).prod(-1)
        return torch.log((seen @ (LAW * torch.exp(REWARD))) / (seen @ LAW))

    def _kernel(self, t: Tensor) -> Tensor:
        """Give q_t(y | k), of shape (clean, noisy). Masks say at any time what they say at another."""
        late = t.double().clamp_max(TRUSTED) if self.path.mask_token is not None else t.double()
        return self.path.push(torch.eye(3, dtype=torch.float64), late)

    def _found(self, name: str, x: Tensor, t: Tensor) -> Tensor:
        key = (name, float(t))
        if key not in self._tables:
            make: Callable[[Tensor], Tensor] = self._class_table if name == "class" else self._loo_table(name)
            self._tables[key] = make(t)
        return self._tables[key][place_of(x, self.path.state_size)]

    def _likelihoods(self, t: Tensor) -> Tensor:
        """Give the likelihood of every noisy token of every noisy sequence under every clean sequence."""
        kernel = self._kernel(t)
        parts = [kernel[SEQUENCES[:, site]][:, self.noisy[:, site]] for site in range(LENGTH)]
        return torch.stack(parts, dim=-1).transpose(0, 1)

    def _class_table(self, t: Tensor) -> Tensor:
        seen = self._likelihoods(t).prod(-1)
        value = torch.log((seen @ (LAW * torch.exp(REWARD))) / (seen @ LAW))
        return torch.nan_to_num(value, nan=0.0)  # sequences that cannot be at this time

    def _loo_table(self, name: str) -> Callable[[Tensor], Tensor]:
        law = tilted(1.0) if name == "loo high" else LAW

        def table(t: Tensor) -> Tensor:
            seen = self._likelihoods(t)
            found = []
            for site in range(LENGTH):
                others = [other for other in range(LENGTH) if other != site]
                weights = seen[..., others].prod(-1) * law
                found.append(weights @ (SEQUENCES[:, site, None] == torch.arange(3)).double())
            return torch.log(torch.stack(found, dim=1))

        return table
