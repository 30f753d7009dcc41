r"""Tokens as numbers: an alphabet, and the token that ends shorter sequences.

Sequences of different lengths become rows of one length L: a sequence of m tokens is followed by L - m times
the token *end*, which is a token like the others: it is corrupted, learnt and drawn. A drawn row is read up
to its first end. So the model has a law of lengths, and since a sequence is at least as likely as its row,

.. math:: \log p(\text{sequence}) \ge \log p(\text{row}),

a lower bound on the second is one on the first. Where all sequences have one length there is no end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["EncodedTokens", "FlatSequences", "TokenAlphabet"]

Integers = NDArray[np.int64]
_NAMED = 5  # rows that an error names


class FlatSequences(NamedTuple):
    """Sequences one after the other.

    Attributes
    ----------
    tokens : ndarray of int64 or object, shape (sum of lengths,)
        All tokens.
    lengths : ndarray of int64, shape (n,)
        Tokens of each sequence.
    drawn : ndarray of bool, shape (sum of lengths,), optional
        Tokens that are to be drawn; what stands for them means nothing.
    """

    tokens: NDArray[Any]
    lengths: Integers
    drawn: NDArray[np.bool_] | None = None

    @property
    def rows(self) -> Integers:
        """Sequence that each token belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


class EncodedTokens(NamedTuple):
    """Rows of token numbers.

    Attributes
    ----------
    tokens : ndarray of int64, shape (n, length)
        Numbers of tokens; what stands at places that are not given means nothing.
    given : ndarray of bool, shape (n, length)
        False where a token is to be drawn.
    """

    tokens: Integers
    given: NDArray[np.bool_]

    def repeated(self, count: int) -> EncodedTokens:
        """Return every row several times, one after the other."""
        return EncodedTokens(np.repeat(self.tokens, count, axis=0), np.repeat(self.given, count, axis=0))

    def tiled(self, count: int) -> EncodedTokens:
        """Return all rows several times."""
        return EncodedTokens(np.tile(self.tokens, (count, 1)), np.tile(self.given, (count, 1)))


@dataclass(frozen=True)
class TokenAlphabet:
    """The tokens that a model knows, in the order of their numbers.

    Parameters
    ----------
    symbols : tuple of str or of int
        Tokens, without the end.
    has_end : bool
        Whether sequences may be shorter than rows; the end then has the last number.
    """

    symbols: tuple[Any, ...]
    has_end: bool

    @classmethod
    def learn(cls, sequences: FlatSequences, has_end: bool) -> TokenAlphabet:
        """Return the alphabet of all tokens that occur, sorted."""
        return cls(tuple(sorted(pd.unique(sequences.tokens).tolist())), has_end)

    @classmethod
    def given(cls, symbols: Any, has_end: bool) -> TokenAlphabet:
        """Return an alphabet from what a user named: a string, or a sequence of strings or integers.

        Raises
        ------
        TypeError, ValueError
            If it is empty, names a token twice, or mixes strings with numbers.
        """
        if not hasattr(symbols, "__iter__"):
            raise TypeError(f"alphabet must be a string or a sequence of tokens, got {symbols!r:.60}")
        listed = list(symbols)
        if not listed:
            raise ValueError("alphabet must name at least one token, got none")
        kinds = {"strings" if isinstance(one, str) else "integers" for one in listed}
        whole = all(isinstance(one, str | int | np.integer) and not isinstance(one, bool) for one in listed)
        if len(kinds) > 1 or not whole:
            raise TypeError(f"alphabet must hold strings or integers, all of one kind, got {listed[:8]!r}")
        twice = sorted({one for one in listed if listed.count(one) > 1})
        if twice or "" in listed:
            raise ValueError(f"alphabet must name every token once and no empty one, got {twice or ['']!r}")
        return cls(tuple(one if isinstance(one, str) else int(one) for one in listed), has_end)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the end included."""
        return len(self.symbols) + int(self.has_end)

    @property
    def end(self) -> int | None:
        """Number of the end token, None without one."""
        return len(self.symbols) if self.has_end else None

    def encode(
        self, sequences: FlatSequences, length: int, *, growing: bool = False, name: str = "X"
    ) -> EncodedTokens:
        """Return rows of numbers.

        Parameters
        ----------
        sequences : FlatSequences
            What to encode.
        length : int
            Tokens of a row.
        growing : bool, default False
            Whether what comes after a sequence is to be drawn, too, instead of being the end.
        name : str
            What errors call the argument.

        Raises
        ------
        ValueError
            Naming tokens that are not in the alphabet and sequences that are too long or too short, with
            their rows.
        """
        self._check_lengths(sequences.lengths, length, growing, name)
        numbers = pd.Index(list(self.symbols)).get_indexer(sequences.tokens).astype(np.int64)
        drawn = np.zeros(len(numbers), dtype=bool) if sequences.drawn is None else sequences.drawn
        numbers[drawn] = 0
        if (numbers < 0).any():
            self._refuse_unknown(sequences, numbers < 0, name)
        inside = np.arange(length) < sequences.lengths[:, None]
        tokens = np.full(inside.shape, len(self.symbols) if self.has_end else 0, dtype=np.int64)
        given = np.full(inside.shape, not growing)
        tokens[inside] = numbers
        given[inside] = ~drawn
        return EncodedTokens(tokens, given)

    def decode(self, tokens: Integers) -> list[list[Any]]:
        """Return the tokens of each row up to its first end."""
        lengths = self.lengths(tokens)
        table = np.empty(self.vocab_size, dtype=object)
        table[: len(self.symbols)] = self.symbols
        return [row[:count].tolist() for row, count in zip(table[tokens], lengths, strict=True)]

    def lengths(self, tokens: Integers) -> Integers:
        """Return the number of tokens before the first end of each row."""
        if not self.has_end:
            return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
        ends = tokens == self.end
        lengths: Integers = np.where(ends.any(axis=1), ends.argmax(axis=1), tokens.shape[1])
        return lengths

    def _check_lengths(self, lengths: Integers, length: int, growing: bool, name: str) -> None:
        wrong = lengths > length if self.has_end or growing else lengths != length
        if wrong.any():
            wanted = f"at most {length}" if self.has_end or growing else f"exactly {length}"
            raise ValueError(
                f"{name} must hold sequences of {wanted} tokens, as this model was fitted; "
                f"{_rows_text(wrong)} {'has' if wrong.sum() == 1 else 'have'} "
                f"{lengths[wrong][:_NAMED].tolist()}"
            )

    def _refuse_unknown(self, sequences: FlatSequences, wrong: NDArray[np.bool_], name: str) -> None:
        rows, found = sequences.rows[wrong].tolist(), sequences.tokens[wrong].tolist()
        first = dict(zip(reversed(rows), reversed(found), strict=True))  # the first one of each row
        few = ", ".join(f"{first[row]!r} in row {row}" for row in sorted(first)[:_NAMED])
        known = list(self.symbols)
        raise ValueError(
            f"{name} holds {len(set(found))} unknown token{'s' if len(set(found)) > 1 else ''} in "
            f"{len(first)} row{'s' if len(first) > 1 else ''}: {few}; the alphabet is "
            f"{known if len(known) <= 40 else [*known[:40], '...']}"
        )


def _rows_text(wrong: NDArray[np.bool_]) -> str:
    rows: Sequence[int] = np.flatnonzero(wrong).tolist()
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:_NAMED]))}{more}"
