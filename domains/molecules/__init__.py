"""Molecules as strings: SMILES and SELFIES from guided discrete diffusion."""

from __future__ import annotations

from .filters import MoleculeFilter
from .metrics import Evaluation, evaluate
from .molecule_set import MoleculeSet, describe_molecules
from .parsing import invalid_reason, parse_smiles, quiet_rdkit
from .properties import PROPERTY_NAMES, PropertyFunction, molecular_properties, property_function
from .report import CheckedMolecules, InputReport, InvalidMoleculesError, canonical_smiles, check_smiles
from .selfies_tokens import SelfiesTokenizer
from .smiles import SmilesTokenizer
from .tokenizers import MoleculeTokenizer, molecule_tokenizer

__all__ = [
    "PROPERTY_NAMES",
    "CheckedMolecules",
    "Evaluation",
    "InputReport",
    "InvalidMoleculesError",
    "MoleculeFilter",
    "MoleculeSet",
    "MoleculeTokenizer",
    "PropertyFunction",
    "SelfiesTokenizer",
    "SmilesTokenizer",
    "canonical_smiles",
    "check_smiles",
    "describe_molecules",
    "evaluate",
    "invalid_reason",
    "molecular_properties",
    "molecule_tokenizer",
    "parse_smiles",
    "property_function",
    "quiet_rdkit",
]
