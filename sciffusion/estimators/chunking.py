"""Splitting work into chunks that fit a memory budget.

Items (rows, patients, series) times draws are computed in one batch where it fits, and otherwise in as few
chunks as the budget allows. Chunks are contiguous and nearly equal, so results are concatenated in order.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

__all__ = ["DEFAULT_BUDGET_BYTES", "chunk_slices", "map_chunks"]

#: Working memory of one chunk unless the caller says otherwise.
DEFAULT_BUDGET_BYTES = 128 * 2**20

_Result = TypeVar("_Result")


def chunk_slices(n_items: int, bytes_per_item: int, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> list[slice]:
    """Return slices that cover ``range(n_items)`` in order.

    Parameters
    ----------
    n_items : int >= 0
        Items in all; none gives no slices.
    bytes_per_item : int >= 0
        Working memory that one item needs.
    budget_bytes : int > 0
        Working memory of a chunk. A single item that needs more still gets a chunk of its own.

    Returns
    -------
    list of slice
        As few as possible; their lengths differ by at most one.
    """
    if n_items < 0 or bytes_per_item < 0 or budget_bytes <= 0:
        raise ValueError(
            "n_items and bytes_per_item must be >= 0 and budget_bytes > 0, "
            f"got {n_items}, {bytes_per_item} and {budget_bytes}"
        )
    largest = max(budget_bytes // bytes_per_item, 1) if bytes_per_item else max(n_items, 1)
    n_chunks = -(-n_items // largest)
    edges = [n_items * k // n_chunks for k in range(n_chunks + 1)] if n_chunks else [0]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def map_chunks(
    function: Callable[[slice], _Result],
    n_items: int,
    bytes_per_item: int,
    *,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    n_jobs: int | None = None,
) -> list[_Result]:
    """Apply `function` to each chunk and return the results in order.

    Parameters
    ----------
    function : callable
        Takes a slice of the items.
    n_items, bytes_per_item, budget_bytes
        As in `chunk_slices`.
    n_jobs : int, optional
        Workers of joblib; None follows the enclosing ``joblib.parallel_config`` and is otherwise serial. The
        budget holds for each worker.
    """
    slices = chunk_slices(n_items, bytes_per_item, budget_bytes)
    if len(slices) <= 1:
        return [function(chunk) for chunk in slices]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=n_jobs)(delayed(function)(chunk) for chunk in slices))
