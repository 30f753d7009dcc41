"""Templates: known tokens and holes, read from text."""

from __future__ import annotations

import pytest

from sciffusion.domains.molecules.templates import TokenTemplate, read_template
from sciffusion.domains.molecules.tokenizers import molecule_tokenizer

SMILES, SELFIES = molecule_tokenizer("smiles"), molecule_tokenizer("selfies")


def test_holes_and_open_ends_are_read() -> None:
    assert read_template("C(??)Cl", SMILES) == TokenTemplate(("C", "(", None, None, ")", "Cl"), False)
    assert read_template("C[nH]...", SMILES) == TokenTemplate(("C", "[nH]"), True)
    assert read_template("?...", SMILES) == TokenTemplate((None,), True)
    assert read_template("...", SMILES) == TokenTemplate((), True)
    assert read_template("[C]?[=O]", SELFIES) == TokenTemplate(("[C]", None, "[=O]"), False)
    assert read_template("C(??)Cl", SMILES).n_known == 4


@pytest.mark.parametrize("text", ["CCO", "", "C!?", "C[?"])
def test_templates_that_cannot_be_filled_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no hole|is no sign of SMILES"):
        read_template(text, SMILES)
    with pytest.raises(TypeError, match="must be a string"):
        read_template(3, SMILES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got nothing"):
        TokenTemplate((), False)


def test_more_sites_than_the_model_has_and_unknown_tokens_are_refused() -> None:
    template = read_template("CC(Br)???", SMILES)
    template.check(["C", "(", ")", "Br"], 8)
    with pytest.raises(ValueError, match=r"8 sites \(5 known\), and the sequences of the model have 7"):
        template.check(["C", "(", ")", "Br"], 7)
    with pytest.raises(ValueError, match=r"the tokens '\(', 'Br' of the template did not occur"):
        template.check(["C", ")"], 8)
