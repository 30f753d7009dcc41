"""`MoleculeDiffusion`: learning, drawing, scaffolds, templates, saving, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from sciffusion import MoleculeDiffusion

chem = pytest.importorskip("rdkit.Chem")
pytest.importorskip("selfies")

from sciffusion.domains.molecules import InvalidMoleculesError, contains_scaffold  # noqa: E402

Fitted = Callable[[str], Any]


@pytest.mark.parametrize("representation", ["selfies", "smiles"])
def test_draws_are_strings_of_the_training_law(fitted: Fitted, representation: str) -> None:
    """What has been learned is drawn more often than strings of the same tokens at random would be."""
    model = fitted(representation)
    drawn = model.sample(200, random_state=0)
    assert drawn == model.sample(200, random_state=0)
    assert all(isinstance(one, str) for one in drawn)
    known = {chem.CanonSmiles(one) for one in model.sample(200, random_state=1, only_valid=True)}
    assert known & {"CCO", "CCN", "CCCO", "CCCN", "CCOC", "CC(C)O", "CC(C)N"}
    typical, odd = model.score_samples(["CCO", "CC(C)N"]), model.score_samples(["OCCl", "ClC1CN1"])
    assert typical.mean() > odd.mean() + 1.0


def test_every_string_of_selfies_is_a_molecule_and_molecules_come_on_request(fitted: Fitted) -> None:
    drawn = fitted("selfies").sample(60, random_state=0, as_molecules=True)
    assert np.mean([one is not None for one in drawn]) > 0.9  # the empty string is none
    strings = fitted("smiles").sample(40, random_state=0, only_valid=True)
    assert all(chem.MolFromSmiles(one) is not None for one in strings)


def test_a_molecule_has_one_score_however_it_is_written(fitted: Fitted) -> None:
    model = fitted("smiles")
    writings = ["OCC", "CCO", "C(O)C"]
    molecules = [chem.MolFromSmiles(one) for one in writings]
    np.testing.assert_array_equal(model.score_samples(writings), np.full(3, model.score_samples(["CCO"])[0]))
    np.testing.assert_array_equal(model.score_samples(molecules), model.score_samples(pd.Series(writings)))
    assert model.perplexity(["CCO"]) == pytest.approx(
        np.exp(-model.score_samples(["CCO"])[0] / min(4, model.max_length_))
    )


def test_a_condition_moves_the_property(fitted: Fitted) -> None:
    """Draws given two oxygens hold more of them than draws given none; guidance exaggerates."""
    model = fitted("selfies")

    def oxygens(value: float, scale: float = 1.0) -> float:
        drawn = model.sample(200, reward={"oxygens": value}, scale=scale, random_state=0)
        return float(np.mean([one.count("O") for one in drawn]))

    assert oxygens(2.0) > oxygens(0.0) + 0.3
    assert oxygens(0.0, scale=2.0) <= oxygens(0.0)


def test_the_tokens_of_a_scaffold_are_kept(fitted: Fitted) -> None:
    model = fitted("smiles")
    drawn = model.sample(50, scaffold="*C1CC1", random_state=0)
    assert all(one.startswith("C1CC1") for one in drawn)
    sample = model.sample(50, scaffold="*C1CC1", random_state=0, return_weights=True)
    assert sample.scaffold_share == pytest.approx(np.mean(contains_scaffold(drawn, "C1CC1")))
    kept = model.sample(20, scaffold="*C1CC1", require_scaffold=True, random_state=0)
    assert contains_scaffold(kept, "C1CC1").all()
    # In SELFIES a ring that is closed later can raise the order of a bond: the check is needed there, too.
    selfies = fitted("selfies")
    kept = selfies.sample(20, scaffold="*C1CC1", require_scaffold=True, random_state=0)
    assert contains_scaffold(kept, "C1CC1").all()
    share = selfies.sample(30, scaffold="*C1CC1", return_weights=True, random_state=0).scaffold_share
    assert 0.3 < share <= 1.0


def test_a_scaffold_longer_than_the_model_is_refused(fitted: Fitted) -> None:
    model = fitted("smiles")
    with pytest.raises(ValueError, match=r"has 12 sites \(12 known\), and the sequences of the model have 9"):
        model.sample(2, scaffold="CCCCCCCCCCCC*")
    with pytest.raises(ValueError, match="the token 'Br' of the template did not occur"):
        model.sample(2, scaffold="C(Br)C*")


def test_templates_are_filled(fitted: Fitted) -> None:
    model = fitted("smiles")
    drawn = model.infill("CC?", 30, random_state=0)
    assert all(one.startswith("CC") and model.tokenize(one)[:2] == ["C", "C"] for one in drawn)
    assert {len(model.tokenize(one)) for one in drawn} == {3}
    two = model.infill(["C?O", "CC..."], random_state=0)
    assert two[0][0] == "C"
    assert two[0][-1] == "O"
    assert two[1].startswith("CC")
    with pytest.raises(ValueError, match="no hole"):
        model.infill("CCO")


@pytest.mark.parametrize("representation", ["selfies", "smiles"])
def test_a_saved_model_draws_the_same(fitted: Fitted, representation: str, tmp_path: Path) -> None:
    model = fitted(representation)
    model.save(tmp_path / "m.safetensors")
    settings: dict[str, Any] = {"reward": "oxygens", "scale": 1.0, "method": "cbg", "random_state": 0}
    expected = model.sample(10, **settings)
    for other in (MoleculeDiffusion.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert other.sample(10, **settings) == expected
        assert other.report_.n_valid == model.report_.n_valid
        assert other.property_names_ == ["oxygens", "length"]


def test_invalid_molecules_are_listed(few_molecules: list[str], sizes: dict[str, Any]) -> None:
    smiles = [*few_molecules, "C1CC", "CI(C)C", None]
    y = pd.Series(np.arange(len(smiles), dtype=float), name="place", index=[f"m{k}" for k in range(19)])
    weights = np.ones(len(smiles))
    model = MoleculeDiffusion(max_steps=1, **sizes)
    with pytest.raises(InvalidMoleculesError, match="ring 1 is never closed"):
        model.fit(smiles, y)
    model.fit(smiles, y, weights, errors="drop")
    assert model.report_.invalid["row"].tolist() == [16, 17, 18]
    assert model.property_names_ == ["place"]
    # Properties of dropped rows are dropped with them: the mean is that of the first sixteen.
    assert model._condition_form_.means[0] == pytest.approx(np.mean(np.arange(16)))
    with pytest.raises(ValueError, match=r"y must have one row a molecule, got 3 for 19"):
        model.fit(smiles, [1.0, 2.0, 3.0], errors="drop")


def test_what_is_no_set_of_molecules_is_refused(sizes: dict[str, Any]) -> None:
    model = MoleculeDiffusion(max_steps=1, **sizes)
    for wrong, error in (("CCO", TypeError), ([], ValueError), (["x1"], ValueError)):
        with pytest.raises(error):
            model.fit(wrong)
    for changed in ({"representation": "inchi"}, {"canonical": 1}, {"property_network": True}):
        with pytest.raises((ValueError, TypeError)):
            clone(model).set_params(**changed).fit(["CCO"] * 20)


def test_fine_tuning_moves_the_law_and_names_unknown_tokens(fitted: Fitted) -> None:
    model = pickle.loads(pickle.dumps(fitted("smiles")))
    before = model.score(["CC(C)N"])
    y = pd.DataFrame({"oxygens": np.zeros(20), "length": np.full(20, 6.0)})
    model.fine_tune(["CC(C)N"] * 20, y, max_steps=30, learning_rate=3e-3)
    assert model.score(["CC(C)N"]) > before
    with pytest.raises(ValueError, match="Br"):
        model.fine_tune(["CCBr"])


def test_scikit_learn_finds_its_way(few_molecules: list[str], sizes: dict[str, Any]) -> None:
    model = MoleculeDiffusion(max_steps=2, max_length=20, alphabet=None, **sizes)
    copy = clone(model.set_params(depth=2))
    assert copy.get_params()["depth"] == 2
    smiles = np.array(few_molecules * 2)
    scores = cross_val_score(model, smiles, cv=2)
    assert np.isfinite(scores).all()
    search = GridSearchCV(model, {"depth": [1, 2]}, cv=2).fit(smiles)
    assert len(search.best_estimator_.sample(2, random_state=0)) == 2


def test_nothing_is_published_under_a_wrong_name() -> None:
    with pytest.raises(ValueError, match="there is no published model 'moses-tiny'"):
        MoleculeDiffusion.from_pretrained("moses-tiny")
