"""Cross-validation splits that keep the share of events equal in all folds.

scikit-learn's `StratifiedKFold` takes every distinct (event, time) pair of a structured target for a class of
its own, so it raises or splits without balancing the events. This splitter stratifies on the event flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold

from .targets import survival_target

__all__ = ["SurvivalStratifiedKFold", "event_flags"]


class SurvivalStratifiedKFold(BaseCrossValidator):
    """K folds with the share of events of the whole, optionally keeping groups together.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    shuffle : bool
        Whether to shuffle the rows of each stratum first.
    random_state : int, RandomState instance or None
        Seed of the shuffle; only with ``shuffle=True``.

    Notes
    -----
    ``y`` of `split` is a structured array, a two-column frame, a `SurvivalTarget`, or the event flags alone
    (boolean or 0/1). With ``groups`` (paired eyes, several rows of one patient) no group is divided between
    training and test, and the shares are as equal as the groups allow.
    """

    # Groups are optional here, so a caller with metadata routing may pass them.
    __metadata_request__split = {"groups": True}  # noqa: RUF012 - scikit-learn reads this plain attribute

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds; the arguments are ignored."""
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield row numbers of training and test rows of each fold.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Only its length is used.
        y : structured array, two-column frame, SurvivalTarget, or flags of shape (n,)
            Where the events are read.
        groups : array-like of shape (n,), optional
            Labels of rows that belong together.

        Yields
        ------
        train, test : ndarray
            Row numbers.

        Raises
        ------
        ValueError
            If y is None or holds no event flags, or if neither stratum has ``n_splits`` rows.
        """
        folds = StratifiedKFold if groups is None else StratifiedGroupKFold
        splitter = folds(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)
        yield from splitter.split(X, event_flags(y).astype(int), groups)


def event_flags(y: Any) -> NDArray[np.bool_]:
    """Read the event flags of a target, or take y as the flags themselves.

    Parameters
    ----------
    y : structured array, two-column frame, SurvivalTarget, or flags of shape (n,)
        Flags are boolean or 0/1.

    Returns
    -------
    ndarray of shape (n,)
        True where the row is an event.

    Raises
    ------
    ValueError
        If y is None or a plain array that holds something other than flags.
    """
    if y is None:
        raise ValueError(
            "y is needed to stratify on the event: pass the structured target or the event flags"
        )
    array = np.asarray(y)
    if array.ndim == 1 and array.dtype.names is None and array.dtype != object:
        if not np.isin(array, (0, 1)).all():
            raise ValueError(
                "a one-dimensional y must hold event flags (boolean or 0/1), found other values; "
                "pass the structured target (make_survival_target) or E"
            )
        return array.astype(np.bool_)
    return survival_target(y).event
