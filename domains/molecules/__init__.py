"""Molecules as strings: SMILES and SELFIES from guided discrete diffusion."""

from __future__ import annotations

from .parsing import invalid_reason, parse_smiles, quiet_rdkit
from .selfies_tokens import SelfiesTokenizer
from .smiles import SmilesTokenizer
from .tokenizers import MoleculeTokenizer, molecule_tokenizer

__all__ = [
    "MoleculeTokenizer",
    "SelfiesTokenizer",
    "SmilesTokenizer",
    "invalid_reason",
    "molecule_tokenizer",
    "parse_smiles",
    "quiet_rdkit",
]
