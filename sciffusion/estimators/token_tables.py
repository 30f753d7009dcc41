"""What users hand over as sequences, read into one form.

Three forms are told apart:

- ``"text"``: strings, in a list, an array, a Series or a frame of one column;
- ``"lists"``: lists of tokens, each a string or an integer, of any lengths;
- ``"array"``: a table of integers, one row a sequence and one column a place in it, which scikit-learn's
  tools know best. Shorter sequences end in an integer of the user's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from .token_alphabet import FlatSequences

__all__ = ["SequenceForm", "read_sequences"]

SequenceForm = Literal["text", "lists", "array"]

_OPEN = -1  # what stands in templates of integers for a token that is to be drawn
_LARGEST = 2**53  # beyond it, floating-point numbers are no longer all integers
_EXPECTED = " must be strings, lists of tokens (strings or integers), or a two-dimensional array of integers"


@dataclass(frozen=True)
class ReadSequences:
    """Sequences as they were given.

    Attributes
    ----------
    form : {"text", "lists", "array"}
        What they were.
    flat : FlatSequences
        Their tokens.
    index : Index or None
        Row names of a Series or a frame.
    """

    form: SequenceForm
    flat: FlatSequences
    index: pd.Index[Any] | None


def read_sequences(
    estimator: Any,
    X: Any,
    *,
    fitting: bool,
    tokenize: Callable[[str], Sequence[Any]],
    padding: int | None,
    template: bool = False,
    name: str = "X",
) -> ReadSequences:
    """Read sequences.

    Parameters
    ----------
    estimator : estimator
        Whose number and names of columns are set, or checked against, for arrays.
    X : strings, lists of tokens or array-like of int
        Sequences.
    fitting : bool
        Whether to set or to check columns.
    tokenize : callable
        From a string to its tokens; None stands for one that is to be drawn.
    padding : int or None
        What fills the ends of rows of an array.
    template : bool, default False
        Whether tokens may be left open: None in lists, -1 in arrays.
    name : str
        What errors call the argument.

    Raises
    ------
    TypeError, ValueError
        If X is none of the forms, or empty; rows that are wrong are named.
    """
    index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
    items = _text_or_lists(X, name)
    if items is None:
        return ReadSequences("array", _array_tokens(estimator, X, fitting, padding, template), index)
    if len(items) == 0:
        raise ValueError(f"{name} must hold at least one sequence, got none")
    if isinstance(items[0], str | bytes):
        return ReadSequences("text", _text_tokens(items, tokenize, name), index)
    return ReadSequences("lists", _list_tokens(items, template, name), index)


def _text_or_lists(X: Any, name: str) -> list[Any] | None:
    """Return strings or lists of tokens as a list; None for what scikit-learn would read as a table."""
    if isinstance(X, str):
        raise TypeError(f"{name}{_EXPECTED}; got a single string: put it in a list")
    if isinstance(X, pd.DataFrame):
        textual = [not pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes]
        if X.empty or not all(textual) or not isinstance(X.iloc[0, 0], str):
            return None
        return list(X.iloc[:, 0]) if X.shape[1] == 1 else X.to_numpy().tolist()
    if isinstance(X, pd.Series):
        return list(X) if X.dtype.kind not in "biufc" else None
    if isinstance(X, np.ndarray):
        holds_text = X.dtype.kind == "U" or (X.dtype.kind == "O" and X.size and _starts_with_text(X))
        return X.tolist() if holds_text and X.ndim in (1, 2) else None
    if isinstance(X, list | tuple):
        return _python_items(X)
    return None


def _starts_with_text(X: NDArray[Any]) -> bool:
    first = X.reshape(-1)[0]
    return isinstance(first, str) or (X.ndim == 1 and isinstance(first, list | tuple | np.ndarray))


def _python_items(X: Sequence[Any]) -> list[Any] | None:
    if not X or isinstance(X[0], str | bytes):  # bytes are refused with their row
        return list(X)
    if not all(isinstance(one, list | tuple | np.ndarray) for one in X):
        return None
    lengths = {len(one) for one in X}
    textual = any(isinstance(token, str) for one in X for token in one)
    # Rows of equally many numbers are a table, as everywhere in scikit-learn.
    return list(X) if textual or len(lengths) > 1 else None


def _text_tokens(items: list[Any], tokenize: Callable[[str], Sequence[Any]], name: str) -> FlatSequences:
    wrong = [row for row, one in enumerate(items) if not isinstance(one, str)]
    if wrong:
        raise TypeError(
            f"{name} must hold strings only; row {wrong[0]} holds {items[wrong[0]]!r:.60} of type "
            f"{type(items[wrong[0]]).__name__} ({len(wrong)} such rows)"
        )
    return _flat([tokenize(one) for one in items])


def _flat(lists: Sequence[Sequence[Any]]) -> FlatSequences:
    tokens = np.empty(sum(map(len, lists)), dtype=object)
    tokens[:] = [token for one in lists for token in one]
    lengths = np.array([len(one) for one in lists], dtype=np.int64)
    return FlatSequences(tokens, lengths, np.array([token is None for token in tokens], dtype=bool))


def _list_tokens(items: list[Any], template: bool, name: str) -> FlatSequences:
    lists = [one.tolist() if isinstance(one, np.ndarray) else one for one in items]
    for row, one in enumerate(lists):
        if not isinstance(one, list | tuple):
            raise TypeError(f"{name}{_EXPECTED}; row {row} is {one!r:.60} of type {type(one).__name__}")
        for token in one:
            if template and token is None:
                continue
            if isinstance(token, bool) or not isinstance(token, str | int | np.integer):
                raise TypeError(
                    f"tokens must be strings or integers, got {token!r:.60} of type "
                    f"{type(token).__name__} in row {row} of {name}"
                )
    if len({isinstance(token, str) for one in lists for token in one if token is not None}) > 1:
        raise TypeError(f"tokens must be all strings or all integers, {name} holds both")
    return _flat(lists)


def _array_tokens(
    estimator: Any, X: Any, fitting: bool, padding: int | None, template: bool
) -> FlatSequences:
    table = validate_data(estimator, X, reset=fitting, dtype="numeric", ensure_min_features=1)
    whole = np.asarray(table)
    if whole.dtype.kind == "f":
        fractional = np.flatnonzero((whole != np.round(whole)).any(axis=1))
        if fractional.size:
            raise ValueError(
                f"X must hold integers; {fractional.size} rows hold fractions, first row {fractional[0]}"
            )
        large = np.flatnonzero((np.abs(whole) > _LARGEST).any(axis=1))
        if large.size:
            raise ValueError(f"X must hold integers of at most 2**53 in size; row {large[0]} does not")
    whole = whole.astype(np.int64)
    if padding is None:
        lengths = np.full(len(whole), whole.shape[1], dtype=np.int64)
    else:
        lengths = _padded_lengths(whole, padding)
    inside = np.arange(whole.shape[1]) < lengths[:, None]
    tokens = whole[inside]
    return FlatSequences(tokens, lengths, tokens == _OPEN if template else None)


def _padded_lengths(whole: NDArray[np.int64], padding: int) -> NDArray[np.int64]:
    """Return how many tokens stand before the padding that ends each row."""
    filled = whole != padding
    lengths = np.where(filled.any(axis=1), whole.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
    inner = (~filled & (np.arange(whole.shape[1]) < lengths[:, None])).any(axis=1)
    if inner.any():
        raise ValueError(
            f"padding={padding} may only stand at the end of a row; in {int(inner.sum())} rows it stands "
            f"before a token, first in row {int(inner.argmax())}"
        )
    return lengths.astype(np.int64)
