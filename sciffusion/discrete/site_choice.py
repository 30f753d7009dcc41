"""Which sites a corrector redraws: a few at random, some distance apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["random_sites", "site_sets"]


def random_sites(free: Tensor, count: int, spacing: int, generator: torch.Generator) -> Tensor:
    """Choose up to ``count`` sites of every item, one after the other among those far enough from the rest.

    Parameters
    ----------
    free : Tensor of bool, shape ``(..., sites)``
        Sites that may be chosen.
    count : int
        How many at most.
    spacing : int
        Least distance of two chosen sites; 1 for any.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor of bool, shape ``(..., sites)``
        Nothing for items without free sites.
    """
    keys = torch.rand(free.shape, generator=generator, dtype=torch.float64, device=generator.device)
    keys = keys.to(free.device, torch.float32) if free.device.type == "mps" else keys.to(free.device)
    places = torch.arange(free.shape[-1], device=free.device)
    if spacing <= 1:
        first = torch.where(free, keys, -1.0).topk(min(count, free.shape[-1]), -1).indices
        return torch.zeros_like(free).scatter(-1, first, True) & free
    chosen, left = torch.zeros_like(free), free
    for _ in range(count):
        # Keys stay: the largest among those left is a uniformly random one of them.
        place = torch.where(left, keys, -1.0).argmax(-1, keepdim=True)
        chosen = chosen | ((places == place) & left)
        left = left & ((places - place).abs() >= spacing)
        if not bool(left.any()):
            break
    return chosen


def site_sets(length: int, count: int, spacing: int) -> dict[frozenset[int], float]:
    """Return the sets that `random_sites` may choose when all sites are free, with their probabilities."""
    sets = {frozenset[int](): 1.0}
    for _ in range(count):
        grown: dict[frozenset[int], float] = {}
        for chosen, share in sets.items():
            gap = max(spacing, 1)
            left = [site for site in range(length) if all(abs(site - other) >= gap for other in chosen)]
            for site in left:
                larger = chosen | {site}
                grown[larger] = grown.get(larger, 0.0) + share / len(left)
            if not left:
                grown[chosen] = grown.get(chosen, 0.0) + share
        sets = grown
    return sets
