"""Rewards of molecules: asked in batches, once each, and with their failures named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rdkit")

from sciffusion.domains.molecules.rewards import MoleculeReward, RewardError


def test_a_reward_is_asked_in_one_batch_and_once_for_each_molecule() -> None:
    batches: list[list[str]] = []

    def length(smiles: list[str]) -> list[int]:
        batches.append(smiles)
        return [len(one) for one in smiles]

    reward = MoleculeReward(length)
    # OCC and CCO are one molecule, and C(C is none.
    np.testing.assert_array_equal(reward(["OCC", "CCO", "C(C", "CC", ""]), [3, 3, -np.inf, 2, -np.inf])
    np.testing.assert_array_equal(reward(["C(O)C", "CCC"]), [3, 3])
    assert batches == [["CCO", "CC"], ["CCC"]]
    assert reward.n_asked == 3
    np.testing.assert_array_equal(reward.valid(["C1C", "c1ccccc1"]), [False, True])


def test_a_reward_may_take_molecules_and_return_any_numbers() -> None:
    reward = MoleculeReward(
        lambda molecules: np.array([molecule.GetNumAtoms() for molecule in molecules], dtype=np.float32),
        takes="molecules",
        invalid=-7.0,
    )
    np.testing.assert_array_equal(reward(["CCO", "c1ccccc1", "x"]), [3.0, 6.0, -7.0])


def no_chlorine(smiles: list[str]) -> list[float]:
    if any("Cl" in one for one in smiles):
        raise KeyError("no parameters for chlorine")
    return [1.0] * len(smiles)


def test_the_molecule_for_which_a_reward_raises_is_named() -> None:
    with pytest.raises(RewardError, match=r"the molecule 'CCCl': it raised KeyError: 'no parameters"):
        MoleculeReward(no_chlorine)(["CC", "ClCC", "CCC"])


def test_a_failing_molecule_gets_weight_zero_only_if_asked() -> None:
    reward = MoleculeReward(no_chlorine, on_error="zero")
    np.testing.assert_array_equal(reward(["CC", "ClCC", "CCC"]), [1.0, -np.inf, 1.0])
    assert list(reward.failures) == ["CCCl"]
    assert "no parameters" in reward.failures["CCCl"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_named(value: float) -> None:
    def one(smiles: list[str]) -> list[float]:
        return [value if name == "CO" else 0.0 for name in smiles]

    with pytest.raises(RewardError, match="'CO': it returned"):
        MoleculeReward(one)(["CC", "OC"])
    np.testing.assert_array_equal(MoleculeReward(one, on_error="zero")(["CC", "OC"]), [0.0, -np.inf])


def test_a_reward_of_another_shape_or_for_single_molecules_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one number a molecule, shape \(2,\), got \(\)"):
        MoleculeReward(lambda smiles: 1.0)(["CC", "CO"])

    def only_one(smiles: list[str]) -> list[float]:
        (single,) = smiles
        return [float(len(single))]

    with pytest.raises(ValueError, match="must take lists of any length"):
        MoleculeReward(only_one, on_error="zero")(["CC", "CO"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"function": 3}, TypeError),
        ({"takes": "graphs"}, ValueError),
        ({"on_error": "ignore"}, ValueError),
        ({"invalid": math.nan}, ValueError),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        MoleculeReward(**{"function": len, **arguments})
