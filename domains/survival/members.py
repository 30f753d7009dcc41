r"""Ensemble members and the rows that each of them learns from and is judged on.

Every member keeps back its own random share of the rows (stratified by the event flag) and stops where the
loss on these rows is best, so the members differ in data as well as in their starting weights, and together
they have learned from all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MemberSplit", "split_members"]


@dataclass(frozen=True)
class MemberSplit:
    """Who learns from what.

    Attributes
    ----------
    training : Tensor of bool, shape (rows, members)
        Rows that a member learns from.
    held_out : Tensor of int64, shape (members, held-out rows)
        Rows that it is judged on; as many for every member.
    """

    training: Tensor
    held_out: Tensor


def split_members(events: Tensor, n_members: int, share: float, generator: torch.Generator) -> MemberSplit:
    """Draw the split of every member.

    Parameters
    ----------
    events : Tensor of bool, shape (rows,)
        Strata.
    n_members : int
        Number of splits.
    share : float
        Share of the rows to keep back, in (0, 1); at least one row of each stratum that has two.
    generator : torch.Generator
        On the CPU.
    """
    strata = [torch.nonzero(events == flag)[:, 0] for flag in (True, False)]
    counts = [min(max(round(share * len(rows)), 1), len(rows) - 1) for rows in strata]
    held_out = [
        torch.cat(
            [
                rows[torch.randperm(len(rows), generator=generator)[:count]]
                for rows, count in zip(strata, counts, strict=True)
                if count > 0
            ]
        )
        for _ in range(n_members)
    ]
    places = torch.stack(held_out)
    training = torch.ones(len(events), n_members, dtype=torch.bool)
    training[places, torch.arange(n_members)[:, None]] = False
    return MemberSplit(training, places)
