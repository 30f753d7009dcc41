r"""An endless stream of shuffled rows that can be entered at any step.

Let :math:`\pi_0, \pi_1, \dots` be independent permutations of the :math:`n` rows and let the stream be their
concatenation. With batches of :math:`B` rows, step :math:`s` reads the positions
:math:`sB, \dots, (s + 1) B - 1` of it. Permutation :math:`\pi_p` depends on the seed and on :math:`p` alone,
so a resumed fit reads exactly the rows that an uninterrupted one would have read, with no state to keep.
"""

from __future__ import annotations

import torch
from numpy.random import SeedSequence
from torch import Tensor

__all__ = ["RowStream", "derived_seed"]


def derived_seed(seed: int, *stream: int) -> int:
    """Return an integer in [0, 2**63) for one of the independent random streams that hang on `seed`.

    Parameters
    ----------
    seed : int >= 0
        The seed of the fit.
    *stream : int >= 0
        Which stream: equal arguments give equal seeds, different ones unrelated seeds.
    """
    low, high = SeedSequence([seed, *stream]).generate_state(2)
    return (int(high) << 32 | int(low)) & (2**63 - 1)


class RowStream:
    """Row numbers of each batch.

    Parameters
    ----------
    n_rows : int >= 1
        Rows in the data set.
    batch_size : int >= 1
        Rows in a batch; more than `n_rows` means all rows.
    seed : int >= 0
        Seed of the permutations.
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int) -> None:
        self.n_rows = n_rows
        self.batch_size = min(batch_size, n_rows)
        self._seed = seed
        self._passes: dict[int, Tensor] = {}

    def rows(self, step: int) -> Tensor:
        """Return the row numbers of the batch at `step`, int64 of shape (batch_size,), on the CPU."""
        position = step * self.batch_size
        parts: list[Tensor] = []
        missing = self.batch_size
        while missing:
            number, offset = divmod(position, self.n_rows)
            part = self._permutation(number)[offset : offset + missing]
            parts.append(part)
            position += len(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, number: int) -> Tensor:
        if number not in self._passes:
            generator = torch.Generator().manual_seed(derived_seed(self._seed, number))
            # A batch touches two passes at most, so only the newest two are worth keeping.
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = torch.randperm(self.n_rows, generator=generator)
        return self._passes[number]
