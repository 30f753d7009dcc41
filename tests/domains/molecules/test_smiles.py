"""SMILES tokens lose nothing, name what they cannot read, and RDKit stays silent without being silenced."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciffusion.domains.molecules import (
    SmilesTokenizer,
    invalid_reason,
    molecule_tokenizer,
    parse_smiles,
)

TOKENS = ["C", "c", "Cl", "Br", "N", "n", "[nH]", "[C@@H]", "[13CH3+]", "(", ")", "1", "%12", "%(123)", "="]
TOKENS += ["#", "$", ":", "-", "/", "\\", ".", "~", "->", "*", "S", "s", "O", "F", "I", "P", "B"]


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("Clc1cc[nH]c1Br", ["Cl", "c", "1", "c", "c", "[nH]", "c", "1", "Br"]),
        ("C%12C%(123)9", ["C", "%12", "C", "%(123)", "9"]),
        ("F/C=C\\F", ["F", "/", "C", "=", "C", "\\", "F"]),
        ("N->[Fe+2].*", ["N", "->", "[Fe+2]", ".", "*"]),
        ("[C@@H](C)#N", ["[C@@H]", "(", "C", ")", "#", "N"]),
    ],
)
def test_tokens_are_atoms_bonds_and_signs(smiles: str, tokens: list[str]) -> None:
    assert SmilesTokenizer().tokenize(smiles) == tokens


@given(st.lists(st.sampled_from(TOKENS)))
def test_no_character_is_lost(tokens: list[str]) -> None:
    tokenizer = SmilesTokenizer()
    string = tokenizer.join(tokens)
    found = tokenizer.tokenize(string)
    assert tokenizer.join(found) == string
    assert set(found) <= {*TOKENS, "%", ">"}


@given(st.text(alphabet="CNcl[]()%1=#>X é", max_size=12))
def test_any_text_is_kept_whole_or_refused_at_the_character(string: str) -> None:
    tokenizer = SmilesTokenizer()
    refusal = ""
    try:
        tokens = tokenizer.tokenize(string)
    except ValueError as error:
        refusal = str(error)
        position = int(refusal.split("position ")[1].split(" ")[0])
        tokens = [*tokenizer.tokenize(string[:position]), string[position:]]
        refusal = refusal.removeprefix(repr(string[position]))
    assert tokenizer.join(tokens) == string
    assert not refusal or refusal.startswith(" at position ")


@pytest.mark.parametrize(
    ("smiles", "message"), [("CCX", "'X' at position 2"), ("C[nH", r"'\[' at position 1")]
)
def test_an_unknown_character_is_named_with_its_position(smiles: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmilesTokenizer().tokenize(smiles)


def test_only_strings_have_tokens() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        SmilesTokenizer().tokenize(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'inchi'"):
        molecule_tokenizer("inchi")


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CC", "ring 1 is never closed"),
        ("C%12CC3", "ring 12, 3 is never closed"),
        ("CC(", "branch .* never closed"),
        ("C)C", "never opened"),
        ("C[nH", "bracket"),
        ("CC(C)(C)(C)C", "greater than permitted"),
        ("c1cccc1", "kekulize"),
        ("C==C", "not readable"),
        ("CC C", "white space at position 2"),
        ("", "empty"),
        (None, "NoneType"),
    ],
)
def test_the_reason_says_what_is_wrong(smiles: str | None, reason: str) -> None:
    pytest.importorskip("rdkit")
    found = invalid_reason(smiles)
    assert found is not None
    assert re.search(reason, found)


def test_valid_molecules_have_no_reason_and_are_parsed() -> None:
    pytest.importorskip("rdkit")
    assert invalid_reason("c1ccccc1") is None
    assert SmilesTokenizer().to_molecule("c1ccccc1").GetNumAtoms() == 6
    assert parse_smiles("C1CC") is None


def test_rdkit_is_imported_late_silent_here_and_speaks_elsewhere_as_before() -> None:
    pytest.importorskip("rdkit")
    program = (
        "import sys\n"
        "from sciffusion.domains.molecules import parse_smiles\n"
        "print(sorted({'rdkit', 'selfies', 'matplotlib'} & set(sys.modules)))\n"
        "parse_smiles('CX'); parse_smiles('C1CC')\n"
        "sys.stderr.flush(); print('----', file=sys.stderr, flush=True)\n"
        "from rdkit import Chem; Chem.MolFromSmiles('CY')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = done.stderr.split("----")
    assert done.stdout.strip() == "[]"
    assert before.strip() == ""
    assert "CY" in after
