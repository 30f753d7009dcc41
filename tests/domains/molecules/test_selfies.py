"""SELFIES tokens lose nothing, every sequence of them is a molecule, and molecules come back the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciffusion.domains.molecules import SelfiesTokenizer, parse_smiles

pytest.importorskip("selfies")
chem = pytest.importorskip("rdkit.Chem")

TOKENS = ["[C]", "[=C]", "[N]", "[=O]", "[O]", "[F]", "[Ring1]", "[Branch1]", "[=Branch1]", "[Ring2]", "[S]"]


@given(st.lists(st.sampled_from(TOKENS)))
def test_tokens_are_the_string(tokens: list[str]) -> None:
    tokenizer = SelfiesTokenizer()
    assert tokenizer.tokenize(tokenizer.join(tokens)) == tokens


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=25))
def test_every_sequence_that_begins_with_an_atom_is_a_molecule(tokens: list[str]) -> None:
    tokenizer = SelfiesTokenizer()
    assert tokenizer.to_molecule(tokenizer.join(["[C]", *tokens])) is not None


@pytest.mark.parametrize(
    "smiles", ["CCO", "Clc1cc[nH]c1", "CC(=O)Oc1ccccc1C(=O)O", "C[N+](C)(C)C", "O=S(=O)(N)c1ccsc1"]
)
def test_a_molecule_comes_back_the_same(smiles: str) -> None:
    tokenizer = SelfiesTokenizer()
    tokens = tokenizer.tokenize(tokenizer.from_smiles(smiles))
    again = tokenizer.to_smiles(tokenizer.join(tokens))
    assert chem.MolToSmiles(parse_smiles(again)) == chem.MolToSmiles(parse_smiles(smiles))


@pytest.mark.parametrize(
    ("smiles", "reason"), [("C1CC", "hanging ring"), ("CC(C)(C)(C)C", "5 bond"), ("c1cccc1", "kekulization")]
)
def test_what_selfies_cannot_write_is_named_with_the_reason(smiles: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        SelfiesTokenizer().from_smiles(smiles)
    assert repr(smiles) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strange_signs_are_refused() -> None:
    tokenizer = SelfiesTokenizer()
    with pytest.raises(ValueError, match=r"'C' at position 3"):
        tokenizer.tokenize("[C]C")
    with pytest.raises(ValueError, match=r"\[Foo\]"):
        tokenizer.to_smiles("[C][Foo]")
    with pytest.raises(TypeError, match="int"):
        tokenizer.tokenize(3)  # type: ignore[arg-type]
