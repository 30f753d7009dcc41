"""Strings as tokens, where an alphabet says what a token is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["split_greedily", "split_template"]


def split_greedily(text: str, symbols: Sequence[Any]) -> list[str]:
    """Split a string into symbols, the longest that fits first; what fits none comes letter by letter.

    Parameters
    ----------
    text : str
        The string.
    symbols : sequence of str
        The alphabet.
    """
    if all(len(one) == 1 for one in symbols):
        return list(text)
    longest_first = sorted(symbols, key=len, reverse=True)
    return re.findall("|".join([*map(re.escape, longest_first), "."]), text, re.DOTALL)


def split_template(text: str, wildcard: str, tokenize: Callable[[str], Sequence[Any]]) -> list[Any]:
    """Split a string in which a wildcard stands for a token that is to be drawn.

    Returns
    -------
    list
        Tokens, None in the place of each wildcard.
    """
    tokens: list[Any] = []
    for number, part in enumerate(text.split(wildcard)):
        tokens += [None] * (number > 0)
        tokens += list(tokenize(part)) if part else []
    return tokens
