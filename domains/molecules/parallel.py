"""Work on many molecules in chunks, by one process or by several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

__all__ = ["CHUNK_SIZE", "map_chunks"]

CHUNK_SIZE = 2000

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_chunks(
    function: Callable[[Sequence[Item]], Result], items: Sequence[Item], n_jobs: int | None
) -> list[Result]:
    """Return what a function says of each chunk of at most `CHUNK_SIZE` items, in order.

    Parameters
    ----------
    function : callable
        From a sequence of items to anything; pickled where there are several processes.
    items : sequence
        What is cut into chunks.
    n_jobs : int or None
        Processes as in joblib: None is one, unless ``joblib.parallel_config`` says otherwise; -1 is all
        cores.
    """
    chunks = [items[start : start + CHUNK_SIZE] for start in range(0, len(items), CHUNK_SIZE)]
    if len(chunks) <= 1:
        return [function(chunk) for chunk in chunks]
    return list(Parallel(n_jobs=n_jobs)(delayed(function)(chunk) for chunk in chunks))
