"""Molecules as strings: SMILES and SELFIES from guided discrete diffusion."""

from __future__ import annotations

from .diffusion import MoleculeDiffusion
from .filters import MoleculeFilter
from .grids import MoleculeGrid, molecule_grid
from .metrics import Evaluation, evaluate
from .molecule_sample import MoleculeSample
from .molecule_set import MoleculeSet, describe_molecules
from .parsing import invalid_reason, parse_smiles, quiet_rdkit
from .plots import plot_properties
from .pretrained import list_pretrained, pretrained_card
from .properties import PROPERTY_NAMES, PropertyFunction, molecular_properties, property_function
from .report import CheckedMolecules, InputReport, InvalidMoleculesError, canonical_smiles, check_smiles
from .rewards import MoleculeReward, RewardError
from .scaffold import contains_scaffold
from .selfies_tokens import SelfiesTokenizer
from .smiles import SmilesTokenizer
from .tokenizers import MoleculeTokenizer, molecule_tokenizer

__all__ = [
    "PROPERTY_NAMES",
    "CheckedMolecules",
    "Evaluation",
    "InputReport",
    "InvalidMoleculesError",
    "MoleculeDiffusion",
    "MoleculeFilter",
    "MoleculeGrid",
    "MoleculeReward",
    "MoleculeSample",
    "MoleculeSet",
    "MoleculeTokenizer",
    "PropertyFunction",
    "RewardError",
    "SelfiesTokenizer",
    "SmilesTokenizer",
    "canonical_smiles",
    "check_smiles",
    "contains_scaffold",
    "describe_molecules",
    "evaluate",
    "invalid_reason",
    "list_pretrained",
    "molecular_properties",
    "molecule_grid",
    "molecule_tokenizer",
    "parse_smiles",
    "plot_properties",
    "pretrained_card",
    "property_function",
    "quiet_rdkit",
]
