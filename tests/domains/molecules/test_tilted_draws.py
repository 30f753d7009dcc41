"""Tilted draws: weighted particles follow the tilted law, whatever leads them; what cannot be is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rdkit")
pytest.importorskip("selfies")

from sciffusion.domains.molecules import RewardError

Fitted = Callable[[str], Any]


def oxygens(smiles: list[str]) -> np.ndarray:
    return np.array([float(one.count("O")) for one in smiles])


@pytest.mark.parametrize("options", [{}, {"reward_every": 0}, {"reward_draws": 2, "reward_every": 1}])
def test_weighted_particles_follow_the_tilted_law(fitted: Fitted, options: dict[str, Any]) -> None:
    """Averages and normaliser are those of unguided draws with weights exp(scale * reward)."""
    model, scale = fitted("selfies"), 1.0
    plain = [one for one in model.sample(4000, solver="ancestral", random_state=1) if one]
    tilt = np.exp(scale * oxygens(plain))
    share_valid = len(plain) / 4000
    expected = np.average(oxygens(plain), weights=tilt)
    runs = [
        model.sample(300, reward=oxygens, scale=scale, return_weights=True, random_state=seed, **options)
        for seed in range(4)
    ]
    found = [run.average(oxygens(run.smiles)) for run in runs]
    normalisers = [run.log_normaliser for run in runs]
    assert np.mean(found) == pytest.approx(expected, abs=0.12)
    assert expected - np.mean(oxygens(plain)) > 0.24  # twice the tolerance, so that the laws are told apart
    assert np.mean(normalisers) == pytest.approx(math.log(share_valid * tilt.mean()), abs=0.12)


def test_guided_particles_follow_the_same_law(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network leads the particles; weights by the ratio of laws keep the law that is aimed at."""
    from sciffusion.domains.molecules import targets

    # "oxygens" was learned, and stands for a property that RDKit knows.
    monkeypatch.setattr(targets, "PROPERTY_NAMES", ("oxygens",))
    monkeypatch.setattr(targets, "property_values", lambda molecules, names: counted(molecules))
    model, scale = fitted("selfies"), 1.0
    plain = [one for one in model.sample(4000, solver="ancestral", random_state=1) if one]
    expected = np.average(oxygens(plain), weights=np.exp(scale * oxygens(plain)))
    runs = [
        model.sample(
            300,
            reward="oxygens",
            method="fk",
            scale=scale,
            guide=True,
            return_weights=True,
            random_state=seed,
        )
        for seed in range(4)
    ]
    assert np.mean([run.average(oxygens(run.smiles)) for run in runs]) == pytest.approx(expected, abs=0.12)
    unweighted = np.mean([oxygens(run.smiles).mean() for run in runs])
    assert unweighted > oxygens(plain).mean() + 0.05  # the standard error is .015


def counted(molecules: list[Any]) -> np.ndarray:
    return np.array([[sum(atom.GetSymbol() == "O" for atom in one.GetAtoms())] for one in molecules], float)


def test_weights_sum_to_one_and_resampling_keeps_their_law(fitted: Fitted) -> None:
    model = fitted("smiles")
    sample = model.sample(300, reward=oxygens, scale=1.0, return_weights=True, random_state=0)
    assert sample.weights.sum() == pytest.approx(1.0)
    assert 1.0 <= sample.ess <= 300.0
    assert (sample.weights[~sample.valid] == 0.0).all()
    assert 0.0 < sample.min_ess <= 1.0
    even = sample.resampled(0, 900)
    assert even.average(oxygens(even.smiles)) == pytest.approx(
        sample.average(oxygens(sample.smiles)), abs=0.02
    )
    # Without weights, draws by them are returned: all valid.
    drawn = model.sample(50, reward=oxygens, particles=200, random_state=0)
    assert len(drawn) == 50
    assert all(model.sample(1, reward=oxygens, random_state=0))


def test_a_network_guides_towards_a_property(fitted: Fitted) -> None:
    model = fitted("selfies")
    plain = model.sample(200, solver="ancestral", random_state=0)
    guided = model.sample(200, reward="oxygens", scale=2.0, method="cbg", random_state=0)
    assert oxygens(guided).mean() > oxygens(plain).mean() + 0.2
    sample = model.sample(
        50, reward={"oxygens": (1.0, 0.2)}, method="cbg", return_weights=True, random_state=0
    )
    assert sample.log_normaliser is None
    assert "biased" in sample.law
    assert sample.ess == pytest.approx(50.0)


def test_scaffold_and_tilt_go_together(fitted: Fitted) -> None:
    model = fitted("selfies")
    sample = model.sample(
        60, reward=oxygens, scaffold="*C1CC1", require_scaffold=True, return_weights=True, random_state=0
    )
    held = np.array(["1" in one for one in sample.smiles])
    assert (sample.weights[~held] == 0.0).all()
    assert sample.scaffold_share > 0.5


def refuses_nitrogen(smiles: list[str]) -> list[float]:
    if any("N" in one for one in smiles):
        raise KeyError("nitrogen")
    return [0.0] * len(smiles)


def test_a_reward_that_raises_names_the_molecule_or_gives_weight_zero(fitted: Fitted) -> None:
    model = fitted("selfies")
    with pytest.raises(
        RewardError, match=r"the reward failed for the molecule '\S*N\S*': it raised KeyError"
    ):
        model.sample(60, reward=refuses_nitrogen, random_state=0)
    sample = model.sample(
        60, reward=refuses_nitrogen, on_reward_error="zero", return_weights=True, random_state=0
    )
    with_nitrogen = np.array(["N" in one for one in sample.smiles])
    assert (sample.weights[with_nitrogen] == 0.0).all()
    assert all("N" in one for one in sample.failures)
    assert "have weight zero" in sample.summary()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "cfg"}, "needs a reward"),
        ({"particles": 5}, "method='fk'"),
        ({"require_scaffold": True}, "needs a scaffold"),
        ({"reward": oxygens, "method": "cfg"}, "use 'fk' for a function"),
        ({"reward": {"qed": 0.9}, "method": "cbg"}, "needs 'qed' among the properties"),
        ({"reward": "oxygens", "method": "cfg"}, "needs a value"),
        ({"reward": "oxygens", "method": "fk"}, "cannot be computed from a molecule"),
        ({"reward": {"oxygens": 1.0}, "condition": {"oxygens": 1.0}}, "not both"),
        ({"reward": oxygens, "particles": 2}, "at least n_samples=4"),
        ({"reward": oxygens, "guide": True}, "a reward made of properties"),
        ({"reward": {"weight": (100.0, -1.0)}}, "tolerance of 'weight'"),
        ({"reward": {"n_rings": 1.0}}, "needs a tolerance"),
        ({"reward": oxygens, "method": "best"}, "method must be one of"),
        ({"condition": {"qed": 1.0}}, "names"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fitted: Fitted, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fitted("selfies").sample(4, random_state=0, **arguments)


def test_a_reward_of_another_kind_is_refused(fitted: Fitted) -> None:
    with pytest.raises(TypeError, match="reward must be a function"):
        fitted("selfies").sample(4, reward=3.0)
