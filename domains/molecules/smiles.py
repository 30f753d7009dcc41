r"""SMILES strings as sequences of tokens, without loss.

A token is one atom, bond, branch or ring-closure sign of the SMILES language (Weininger, SMILES, a chemical
language and information system, 1988; OpenSMILES 1.0):

.. code-block:: text

    [nH] [C@@H] [O-]     an atom in brackets, whatever stands inside
    Cl Br B C N O P S F I  b c n o p s  *    atoms that need no brackets
    1 ... 9  %10  %(123)   ring closures
    - = # $ : / \ ~ -> <-  bonds
    ( ) .                  branches, and the dot between parts that are not bonded

so that the chlorine ``Cl`` is one token and not a carbon followed by something. Joining the tokens gives the
string back, character by character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .parsing import parse_smiles

__all__ = ["SmilesTokenizer"]

_TOKEN = re.compile(r"\[[^\[\]]+\]|Cl|Br|[BCNOPSFI]|[bcnops]|\*|%\d\d|%\(\d+\)|\d|->|<-|[-=#$:/\\~().]")


@dataclass(frozen=True)
class SmilesTokenizer:
    """Split SMILES into tokens and join them again.

    Examples
    --------
    >>> from sciffusion.domains.molecules import SmilesTokenizer
    >>> SmilesTokenizer().tokenize("Clc1cc[nH]c1")
    ['Cl', 'c', '1', 'c', 'c', '[nH]', 'c', '1']
    """

    name: ClassVar[str] = "smiles"

    def tokenize(self, string: str) -> list[str]:
        """Return the tokens of a SMILES string; their concatenation is the string.

        Parameters
        ----------
        string : str
            SMILES. Whether it is a molecule is not asked here, only whether it can be read sign by sign.

        Returns
        -------
        list of str

        Raises
        ------
        TypeError
            If ``string`` is no string.
        ValueError
            If a character belongs to no token; the message names it and its position, counted from 0.
        """
        if not isinstance(string, str):
            raise TypeError(f"a SMILES must be a str, got {type(string).__name__}: {string!r}")
        tokens = _TOKEN.findall(string)
        if sum(map(len, tokens)) != len(string):
            position = _first_unread(string)
            raise ValueError(
                f"{string[position]!r} at position {position} of {string!r} is no sign of SMILES"
                + (": the bracket is empty, nested or never closed" if string[position] in "[]" else "")
            )
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        """Return the concatenation of tokens."""
        return "".join(tokens)

    def from_smiles(self, smiles: str) -> str:
        """Return the SMILES itself, which is what this tokenizer reads."""
        return smiles

    def to_smiles(self, string: str) -> str:
        """Return the string itself, a SMILES that need not be valid."""
        return string

    def to_molecule(self, string: str) -> Any:
        """Return the RDKit molecule, or None where the string is no valid molecule; RDKit's log is silent.

        Raises
        ------
        ImportError
            If RDKit is not installed.
        """
        return parse_smiles(string)


def _first_unread(string: str) -> int:
    position = 0
    while match := _TOKEN.match(string, position):
        position = match.end()
    return position
