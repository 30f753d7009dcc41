"""Measures of molecules: what they must be on sets small enough to count by hand, and against RDKit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sciffusion.datasets import DatasetUnavailableError, fetch_moses, fetch_moses_filters
from sciffusion.domains.molecules import MoleculeFilter, MoleculeSet, describe_molecules, evaluate
from sciffusion.domains.molecules.fingerprints import (
    mean_similarity,
    morgan_fingerprints,
    nearest_similarity,
)
from sciffusion.domains.molecules.fragments import brics_fragments, cosine_similarity, murcko_scaffold

chem = pytest.importorskip("rdkit.Chem")

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CN1CCCC1c1cccnc1",
    "O=C(Nc1ccccc1)c1ccccc1",
    "c1ccc2[nH]ccc2c1",
    "CCN(CC)CCNC(=O)c1ccc(N)cc1",
    "Clc1ccc(cc1)C(c1ccccc1)N1CCNCC1",
]


def molecules(strings: list[str]) -> list[object]:
    return [chem.MolFromSmiles(string) for string in strings]


def test_shares_are_counted_by_hand() -> None:
    strings = ["CCO", "OCC", "C1CC", "CCN", "CCC", "X", "CCO", "c1ccccc1"]
    found = evaluate(strings, training=["OCC", "CCC", "not a molecule"], unique_at=(2, 4, 100), properties=())
    assert found["valid"] == 6 / 8
    assert found["unique"] == 4 / 6  # ethanol three times
    assert found["unique_at_2"] == 1 / 2
    assert found["unique_at_4"] == 3 / 4
    assert "unique_at_100" not in found.scores
    assert found["novel"] == 2 / 4
    assert found["passes_filters"] == 1.0


def test_training_strings_are_compared_as_molecules_unless_said_to_be_canonical() -> None:
    assert evaluate(["CCO"], training=["OCC"], properties=())["novel"] == 0.0
    assert evaluate(["CCO"], training=["OCC"], training_is_canonical=True, properties=())["novel"] == 1.0
    assert evaluate(["CCO"], training=describe_molecules(["OCC"]), properties=())["novel"] == 0.0


def test_a_set_matches_itself_perfectly() -> None:
    scores = evaluate(DRUGS, DRUGS).scores
    for name in ("nearest_similarity", "fragment_similarity", "scaffold_similarity"):
        assert scores[name] == pytest.approx(1.0, abs=1e-6)
    assert (scores.filter(like="w1_") == 0).all()


def test_similarity_is_that_of_rdkit() -> None:
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = [generator.GetFingerprint(molecule) for molecule in molecules(DRUGS)]
    table = np.array([DataStructs.BulkTanimotoSimilarity(one, bits) for one in bits])
    packed = morgan_fingerprints(molecules(DRUGS))
    np.testing.assert_allclose(nearest_similarity(packed[:3], packed[3:]), table[:3, 3:].max(1), atol=1e-6)
    np.testing.assert_allclose(mean_similarity(packed), table.mean(1), atol=1e-6)
    np.testing.assert_allclose(mean_similarity(packed, power=2), np.sqrt((table**2).mean(1)), atol=1e-6)
    with pytest.raises(ValueError, match="empty"):
        nearest_similarity(packed, packed[:0])


def test_similarity_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = morgan_fingerprints(molecules(DRUGS))
    nearest, mean = nearest_similarity(packed[:4], packed[4:]), mean_similarity(packed)
    monkeypatch.setattr("sciffusion.domains.molecules.fingerprints._ROWS", 2)
    # Sums of float32 in another order.
    np.testing.assert_allclose(nearest_similarity(packed[:4], packed[4:]), nearest, atol=1e-6)
    np.testing.assert_allclose(mean_similarity(packed), mean, atol=1e-6)


def test_internal_diversity_of_copies_is_zero() -> None:
    assert evaluate(["CCO"] * 3, properties=())["internal_diversity"] == pytest.approx(0.0, abs=1e-6)


def test_fragments_scaffolds_and_their_cosine() -> None:
    amide = chem.MolFromSmiles("O=C(Nc1ccccc1)c1ccccc1")
    assert len(brics_fragments(amide)) > 2
    assert murcko_scaffold(chem.MolFromSmiles("Cc1ccccc1")) is None
    assert murcko_scaffold(chem.MolFromSmiles("Cc1ccccc1"), min_rings=1) == "c1ccccc1"
    assert murcko_scaffold(chem.MolFromSmiles("Cc1ccc2[nH]ccc2c1")) == "c1ccc2[nH]ccc2c1"
    assert cosine_similarity({"a": 3, "b": 4}, {"a": 3}) == pytest.approx(3 / 5)
    assert cosine_similarity({"a": 1}, {"b": 1}) == 0.0
    assert np.isnan(cosine_similarity({}, {"b": 1}))


@pytest.mark.parametrize(
    ("smiles", "passes"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", True),
        ("C[N+](C)(C)C", False),  # charged
        ("CCI", False),  # iodine
        ("C1CCCCCCC1", False),  # ring of eight
        ("O=C1C=CC(=O)C=C1", False),  # a quinone, the best known interference compound
    ],
)
def test_filters_refuse_what_they_say(smiles: str, passes: bool) -> None:
    assert MoleculeFilter().passes(chem.MolFromSmiles(smiles)) is passes


def test_filters_of_a_user_see_hydrogens() -> None:
    chosen = MoleculeFilter.from_patterns(["[OX2][H]"])
    assert not chosen.passes(chem.MolFromSmiles("CCO"))
    assert chosen.passes(chem.MolFromSmiles("COC"))
    with pytest.raises(ValueError, match="'not smarts'"):
        MoleculeFilter.from_patterns(["not smarts"]).passes(chem.MolFromSmiles("C"))


def test_distances_of_properties_are_in_their_unit() -> None:
    # Each of the two alkanes has one CH2 more than its partner: 14.027 g/mol.
    found = evaluate(["CCC", "CCCC"], ["CC", "CCC"], properties=("weight", "n_heavy_atoms"))
    assert found["w1_weight"] == pytest.approx(14.027, abs=0.001)
    assert found["w1_n_heavy_atoms"] == pytest.approx(1.0)


def test_nothing_valid_is_measured_as_nothing_and_empty_sets_are_refused() -> None:
    found = evaluate(["X", "C1"], DRUGS)
    assert found["valid"] == 0.0
    assert found.scores.drop("valid").isna().all()
    with pytest.raises(ValueError, match="smiles is empty"):
        evaluate([])
    with pytest.raises(ValueError, match="no valid molecule"):
        evaluate(DRUGS, ["X"])
    with pytest.raises(TypeError, match="'CCO'"):
        evaluate("CCO")
    with pytest.raises(ValueError, match="without logp"):
        evaluate(DRUGS, describe_molecules(DRUGS, properties=["qed"]), properties=("logp",))


def test_a_description_is_kept_in_a_file(tmp_path: Path) -> None:
    described = describe_molecules([*DRUGS, "X"], filters=MoleculeFilter())
    described.save(tmp_path / "set.npz")
    again = MoleculeSet.load(tmp_path / "set.npz")
    assert (len(again), again.n_given) == (7, 8)
    assert again.fragments == described.fragments
    assert again.scaffolds == described.scaffolds
    pairs = (evaluate(again, DRUGS).scores, evaluate([*DRUGS, "X"], DRUGS).scores)
    assert pairs[0].to_dict() == pytest.approx(pairs[1].to_dict())
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"other\.npz is no saved MoleculeSet"):
        MoleculeSet.load(tmp_path / "other.npz")


def test_the_table_says_what_each_number_means() -> None:
    found = evaluate(DRUGS, DRUGS[:3], training=DRUGS[:2], unique_at=(2,))
    text = repr(found)
    assert "7 of 7 molecules against 3 of the reference" in text
    for name, value in found.scores.items():
        assert f"{value:.4f}" in text
        assert found.to_frame().loc[name, "meaning"]


def test_moses_is_as_it_was_published() -> None:
    """Its own filters pass all of it, and its diversity and similarity are those of the published tables."""
    try:
        test, filters = fetch_moses("test"), fetch_moses_filters()
    except DatasetUnavailableError as error:
        pytest.skip(f"the source cannot be had: {error}")
    strings = list(test.sample(300, random_state=0)["smiles"])
    described = describe_molecules(strings, properties=("logp",))
    own = MoleculeFilter.from_patterns(list(filters["smarts"]))
    assert all(own.passes(molecule) for molecule in molecules(strings[:60]))
    # MOSES reports .857 for random molecules of its test set; the mean over 300 molecules scatters by .004.
    assert evaluate(described, properties=())["internal_diversity"] == pytest.approx(0.857, abs=0.012)
    assert described.properties["logp"].mean() == pytest.approx(2.49, abs=0.2)
