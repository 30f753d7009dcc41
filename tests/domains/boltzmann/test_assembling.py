"""From runs of particles to a sample: shares of systems, genealogies, hands, and what units add."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Trigonometric
from sciffusion.domains.boltzmann import families
from sciffusion.domains.boltzmann.assembling import Law, assemble
from sciffusion.domains.boltzmann.draws import ScoreSource
from sciffusion.networks.egnn import centre
from sciffusion.sampling.driver import SampleResult
from sciffusion.sampling.smc import ParticleReport

STEPS = 3
PLAIN = Law(1.0, 1.0, 1.0, None, 1, False)


def _source(shape: tuple[int, int] = (4, 3), length: float = 1.0) -> ScoreSource:
    field: Any = None
    dof = (shape[0] - 1) * shape[1]
    return ScoreSource(field, Trigonometric(), shape, length, (20.0, 1e-3), centre, dof)


def _run(
    logs: list[float], ancestors: list[int], log_normaliser: float = 0.0, samples: Tensor | None = None
) -> SampleResult:
    count = len(logs)
    report = ParticleReport(
        count=count,
        log_weights=torch.log_softmax(torch.tensor(logs, dtype=torch.float64), 0),
        ess_history=torch.full((STEPS, 1), 0.5 * count, dtype=torch.float64),
        resamplings=torch.tensor([2]),
        ancestors=torch.tensor(ancestors),
        unique_ancestors=torch.tensor([len(set(ancestors))]),
        log_normaliser=torch.tensor([log_normaliser], dtype=torch.float64),
        log_normaliser_error=torch.tensor([0.75], dtype=torch.float64),
    )
    trace = {
        name: torch.full((STEPS, 1), value, dtype=torch.float64)
        for name, value in (("variance_guidance", 4.0), ("variance_potential", 1.0))
    }
    state: Any = None
    drawn = torch.arange(count * 12.0).reshape(count, 4, 3) if samples is None else samples
    return SampleResult(drawn, 17, state, trace, report)


def _two() -> list[SampleResult]:
    return [_run([0.0, math.log(3.0)], [1, 1], 1.0), _run([0.0, 0.0, math.log(2.0)], [0, 1, 0], 4.0)]


def test_systems_weigh_as_much_as_they_have_particles() -> None:
    found = assemble(_two(), _source(), PLAIN, 5)
    np.testing.assert_allclose(np.exp(found.log_weights), [0.1, 0.3, 0.15, 0.15, 0.3])
    np.testing.assert_allclose(found.weights, [0.1, 0.3, 0.15, 0.15, 0.3])
    np.testing.assert_allclose(found.ess, np.full((STEPS, 2), 0.5))
    np.testing.assert_allclose(found.variances[1], [[4.0, 4.0], [1.0, 1.0]])
    assert found.nfe == 17  # of a particle, however many systems there are
    assert found.resamplings.tolist() == [2, 2]


def test_ancestors_are_those_of_the_runs_and_families_tell_systems_apart() -> None:
    found = assemble(_two(), _source(), PLAIN, 5)
    assert found.ancestors.tolist() == [1, 1, 0, 1, 0]
    assert found.unique_ancestors == 3
    labels = families(found)
    assert [label == labels[0] for label in labels] == [True, True, False, False, False]
    assert [label == labels[2] for label in labels] == [False, False, True, False, True]


def test_errors_come_from_the_spread_of_systems_or_the_genealogy_of_one() -> None:
    both = assemble(_two(), _source(), PLAIN, 5)
    assert both.log_normaliser.tolist() == [1.0, 4.0]
    assert both.log_normaliser_error == pytest.approx(1.5)  # 3 / sqrt(2), over sqrt(2)
    alone = assemble(_two()[:1], _source(), PLAIN._replace(kt=2.0), 2)
    assert alone.log_normaliser_error == 0.75
    assert alone.free_energy_error == 1.5
    assert alone.free_energy_difference == -2.0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.6])
def test_units_and_hands_shift_the_normaliser(gamma: float) -> None:
    samples = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    runs, law = [_run([0.0, 0.0], [0, 1], 3.0, samples)], PLAIN._replace(gamma=gamma)
    found = assemble(runs, _source(length=2.5), law, 2)
    np.testing.assert_allclose(found.log_normaliser, 3.0 + (1.0 - gamma) * 9 * math.log(2.5))
    np.testing.assert_allclose(found.configurations, 2.5 * samples)
    # One hand of an even mixture: p_+ = 2 p there, so that the integral of p_+^gamma is 2^(gamma - 1) times.
    chiral = law._replace(chiral_centre=(0, 1, 2, 3), symmetric=True)
    folded = assemble(runs, _source(), chiral, 2)
    np.testing.assert_allclose(folded.log_normaliser, 3.0 + (gamma - 1.0) * math.log(2.0))
    learned = assemble(runs, _source(), chiral._replace(symmetric=False), 2)
    np.testing.assert_allclose(learned.log_normaliser, 3.0)


def test_the_share_that_was_reflected_is_that_of_the_other_hand() -> None:
    right = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    samples = torch.stack([right, right, right, right * torch.tensor([-1.0, 1.0, 1.0])])
    runs = [_run([0.0] * 4, [0, 1, 2, 3], 0.0, samples)]
    found = assemble(runs, _source(), PLAIN._replace(chiral_centre=(0, 1, 2, 3)), 4)
    assert found.reflected_share == 0.25
    hands = np.linalg.det(found.configurations[:, 1:] - found.configurations[:, :1])
    assert (hands > 0.0).all()
    other = assemble(runs, _source(), PLAIN._replace(chiral_centre=(0, 1, 2, 3), hand=-1), 4)
    assert other.reflected_share == 0.75


def test_resampling_follows_the_weights_and_its_seed() -> None:
    found = assemble([_run([-1e9, 0.0, -1e9], [0, 1, 2])], _source(), PLAIN, 3)
    np.testing.assert_array_equal(found.resampled(), np.repeat(found.configurations[1:2], 3, 0))
    even = assemble([_run([0.0] * 50, list(range(50)))], _source(), PLAIN, 50)
    first, again, other = (even.resampled(7, random_state=seed) for seed in (0, np.int64(0), 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert even.resampled(3, random_state=np.random.RandomState(0)).shape == (3, 4, 3)
    assert even.resampled(3, random_state=None).shape == (3, 4, 3)
    for number, kind in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(kind, match="n must be an integer"):
            even.resampled(number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'a' cannot be used to seed"):
        even.resampled(3, random_state="a")
