"""SELFIES strings as sequences of tokens; every sequence of them is a molecule.

SELFIES (Krenn et al., Self-referencing embedded strings, arXiv:1905.13741) writes a molecule as signs in
brackets, ``[C][=C][Ring1][Branch1]``, of which any sequence has a meaning: lengths of branches and rings are
numbers in the string, and bonds an atom cannot have are lowered to those it can. The translation from and to
SMILES is that of the ``selfies`` package, under the constraints set in it by its user; they are not changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sciffusion.estimators.imports import optional_import

from .parsing import parse_smiles

__all__ = ["SelfiesTokenizer"]

_TOKEN = re.compile(r"\[[^\[\]]+\]|\.")


@dataclass(frozen=True)
class SelfiesTokenizer:
    """Translate SMILES into SELFIES, split these into tokens, and the way back.

    Examples
    --------
    >>> from sciffusion.domains.molecules import SelfiesTokenizer
    >>> SelfiesTokenizer().tokenize("[C][=C][F]")
    ['[C]', '[=C]', '[F]']
    """

    name: ClassVar[str] = "selfies"

    def tokenize(self, string: str) -> list[str]:
        """Return the tokens of a SELFIES string; their concatenation is the string.

        Parameters
        ----------
        string : str
            SELFIES, as ``from_smiles`` returns them.

        Returns
        -------
        list of str

        Raises
        ------
        TypeError
            If ``string`` is no string.
        ValueError
            If a character belongs to no token, with its position counted from 0.
        """
        if not isinstance(string, str):
            raise TypeError(f"a SELFIES must be a str, got {type(string).__name__}: {string!r}")
        tokens = _TOKEN.findall(string)
        if sum(map(len, tokens)) != len(string):
            position = _first_unread(string)
            raise ValueError(
                f"{string[position]!r} at position {position} of {string!r} is no sign of SELFIES, which are "
                "written in brackets; SMILES are translated by from_smiles"
            )
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        """Return the concatenation of tokens."""
        return "".join(tokens)

    def from_smiles(self, smiles: str) -> str:
        """Return the SELFIES of a SMILES string.

        Raises
        ------
        ImportError
            If ``selfies`` is not installed.
        ValueError
            If the string is no SMILES that SELFIES can express.
        """
        selfies = optional_import("selfies", "molecules")
        try:
            return str(selfies.encoder(smiles))
        except selfies.EncoderError as error:
            raise ValueError(f"{smiles!r} cannot be written as SELFIES: {_reason(error)}") from error

    def to_smiles(self, string: str) -> str:
        """Return the SMILES of a SELFIES string, not canonical.

        Raises
        ------
        ImportError
            If ``selfies`` is not installed.
        ValueError
            If a token is none of SELFIES, such as an element that does not exist.
        """
        selfies = optional_import("selfies", "molecules")
        try:
            return str(selfies.decoder(string))
        except selfies.DecoderError as error:
            raise ValueError(f"{string!r} is no SELFIES: {_reason(error)}") from error

    def to_molecule(self, string: str) -> Any:
        """Return the RDKit molecule of a SELFIES string, or None where RDKit refuses it.

        Raises
        ------
        ImportError
            If RDKit or ``selfies`` is not installed.
        ValueError
            If a token is none of SELFIES.
        """
        return parse_smiles(self.to_smiles(string))


def _reason(error: Exception) -> str:
    """Return what the package says is wrong, in one line and without the string, which ours names."""
    reason = getattr(error.__cause__, "reason", None)
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("SMILES:", "SELFIES:", "Errors:"))]
    return str(reason) if reason else "; ".join(kept)


def _first_unread(string: str) -> int:
    position = 0
    while match := _TOKEN.match(string, position):
        position = match.end()
    return position
