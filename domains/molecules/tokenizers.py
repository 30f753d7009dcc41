"""What the estimator asks of a way to write molecules, and the two ways by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .selfies_tokens import SelfiesTokenizer
from .smiles import SmilesTokenizer

__all__ = ["MoleculeTokenizer", "molecule_tokenizer"]


class MoleculeTokenizer(Protocol):
    """A way to write molecules as strings, and strings as tokens.

    ``tokenize`` and ``join`` are inverse to each other on the strings of the representation; ``from_smiles``
    and ``to_smiles`` lead into the representation and back, up to the choice among equal SMILES.
    """

    @property
    def name(self) -> str:
        """Name of the representation, "smiles" or "selfies"."""

    def tokenize(self, string: str) -> list[str]:
        """Return the tokens of a string of the representation."""

    def join(self, tokens: Sequence[str]) -> str:
        """Return the string of tokens."""

    def from_smiles(self, smiles: str) -> str:
        """Return the string of the representation for a SMILES."""

    def to_smiles(self, string: str) -> str:
        """Return a SMILES for a string of the representation."""

    def to_molecule(self, string: str) -> Any:
        """Return the RDKit molecule of a string of the representation, None where there is none."""


def molecule_tokenizer(representation: str) -> MoleculeTokenizer:
    """Return the tokenizer of a representation.

    Parameters
    ----------
    representation : {"smiles", "selfies"}
        How molecules are written.

    Raises
    ------
    ValueError
        If it is another word.
    """
    tokenizers: dict[str, MoleculeTokenizer] = {"smiles": SmilesTokenizer(), "selfies": SelfiesTokenizer()}
    if representation not in tokenizers:
        raise ValueError(f"representation must be 'smiles' or 'selfies', got {representation!r}")
    return tokenizers[representation]
