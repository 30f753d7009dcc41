"""Private random streams.

scikit-learn's `random_state` becomes one integer at fit, and every stream of random numbers is a
`torch.Generator` or a NumPy generator that hangs on this integer and on a number of its own. torch's and
NumPy's global streams are never touched.

An integer `random_state` thus gives the same model at each fit, a `numpy.random.RandomState` is drawn from
exactly once a fit (two fits with one such object differ, as scikit-learn's convention has it), and
predictions draw only from the stored integer, so that two calls agree.
"""

from __future__ import annotations

import torch
from sklearn.utils import check_random_state

from ..training.batches import derived_seed

__all__ = ["integer_seed", "private_generator"]


def integer_seed(random_state: object = None) -> int:
    """Return an integer in [0, 2**31 - 1) from scikit-learn's `random_state`.

    Parameters
    ----------
    random_state : None, int or numpy.random.RandomState
        None draws from the operating system; an integer gives the same result each time; a RandomState is
        drawn from once.

    Raises
    ------
    ValueError
        If `random_state` is nothing that scikit-learn accepts.
    """
    if random_state is None:
        # check_random_state(None) would draw from NumPy's global stream, which is the caller's.
        return int(torch.Generator().seed() % (2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def private_generator(seed: int, *stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one of the independent streams that hang on `seed`.

    Parameters
    ----------
    seed : int >= 0
        For example an estimator's `seed_`.
    *stream : int >= 0
        Which stream; other numbers give independent streams.
    device : torch.device or str
        Where the generator lives. Streams on the CPU do not depend on the device that computes: draw there
        and move what is small and must agree between devices.
    """
    return torch.Generator(device).manual_seed(derived_seed(seed, *stream))
