"""Scaffolds: their tokens become known sites, and molecules are checked for them afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sciffusion.domains.molecules.scaffold import contains_scaffold, read_scaffold
from sciffusion.domains.molecules.tokenizers import molecule_tokenizer

chem = pytest.importorskip("rdkit.Chem")
pytest.importorskip("selfies")

TOKENIZERS = [molecule_tokenizer("smiles"), molecule_tokenizer("selfies")]
#: Scaffolds with one attachment point, and the molecule that a chlorine there makes of them.
ONE_POINT = {
    "c1ccc(*)cc1": "Clc1ccccc1",
    "CC(C)(*)C": "CC(C)(C)Cl",
    "[*:1]C(=O)NC1CC1": "ClC(=O)NC1CC1",
    "O=C(c1ccncc1)N(C)*": "O=C(c1ccncc1)N(C)Cl",
    "c1ccn(*)c1": "c1ccn(Cl)c1",
    "C[C@@H](*)N": "C[C@@H](Cl)N",
    "[1*]c1c(C(F)(F)F)cc(O)c2ccccc12": "Clc1c(C(F)(F)F)cc(O)c2ccccc12",
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: one.name)
@pytest.mark.parametrize("scaffold", ONE_POINT)
def test_what_follows_the_scaffold_is_bonded_to_its_point(scaffold: str, tokenizer: Any) -> None:
    """The tokens of the scaffold and then a chlorine are the molecule with chlorine at the point."""
    (piece,) = read_scaffold(scaffold, tokenizer).pieces
    chlorine = "Cl" if tokenizer.name == "smiles" else "[Cl]"
    smiles = tokenizer.to_smiles(tokenizer.join([*piece, chlorine]))
    assert chem.CanonSmiles(smiles) == chem.CanonSmiles(ONE_POINT[scaffold])


def test_several_points_become_gaps_of_drawn_lengths() -> None:
    scaffold = read_scaffold("[*:1]c1ccc([*:2])cc1", TOKENIZERS[0])
    assert scaffold.n_attachments == 2
    assert len(scaffold.pieces) == 2
    templates = scaffold.templates(60, np.random.default_rng(0), longest_gap=3)
    assert {template.tokens.count(None) for template in templates} == {1, 2, 3}
    assert all(template.open_end for template in templates)
    one = min(templates, key=lambda template: len(template.tokens))
    smiles = "".join([*("Cl" if token is None else token for token in one.tokens), "F"])
    assert chem.CanonSmiles(smiles) == chem.CanonSmiles("Clc1ccc(F)cc1")


def test_a_scaffold_without_points_is_a_beginning() -> None:
    scaffold = read_scaffold("C1CCCCC1", TOKENIZERS[0])
    (template,) = scaffold.templates(1, np.random.default_rng(0))
    assert template.tokens == ("C", "1", "C", "C", "C", "C", "C", "1")
    assert template.open_end


def test_molecules_are_checked_for_the_scaffold() -> None:
    drawn = ["Clc1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccc", "c1ccc2ccccc2c1"]
    np.testing.assert_array_equal(contains_scaffold(drawn, "*c1ccccc1"), [True, False, False, False, True])


@pytest.mark.parametrize(
    ("scaffold", "said"),
    [
        ("c1cc", "no valid SMILES: ring 1 is never closed"),
        ("**", "atoms besides"),
        ("*C.C", "one connected part"),
        ("", "no valid SMILES: empty string"),
    ],
)
def test_scaffolds_that_are_none_are_refused(scaffold: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_scaffold(scaffold, TOKENIZERS[0])


def test_what_selfies_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at most one attachment point, got 2"):
        read_scaffold("*c1ccc(*)cc1", TOKENIZERS[1])
    with pytest.raises(ValueError, match="single bond"):
        read_scaffold("*=C1CCCC1", TOKENIZERS[1])
    with pytest.raises(TypeError, match="must be a SMILES string"):
        read_scaffold(3, TOKENIZERS[1])
