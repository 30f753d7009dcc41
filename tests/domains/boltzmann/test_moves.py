"""Langevin moves leave harmonic laws exactly as they are, and lead draws of any start to the law wanted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Trigonometric
from sciffusion.domains.boltzmann import BoltzmannDiffusion, draws
from sciffusion.domains.boltzmann.draws import ChunkedField
from sciffusion.domains.boltzmann.moves import langevin_moves
from sciffusion.networks.egnn import centre
from sciffusion.sampling.driftlite import AnalyticReward, FunctionField, Subspace

VARIANCE, STIFFNESS, DOF = 0.6, 1.5, 4


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_harmonic_laws_stay_without_an_error_of_the_step(start: float) -> None:
    """At a step of a whole standard deviation, from the law itself and from a point."""
    white = centre(torch.randn(6_000, 3, 2, generator=_generator(1)))
    calls: list[int] = []

    def score(x: Tensor) -> Tensor:
        calls.append(len(x))
        return -x / 4.0

    # Lengths of 2, and steps of a quarter of the scale given: 2.
    found = langevin_moves(score, start * 2.0 * white, 40, 8.0, centre, _generator(2))
    assert calls == [6_000] * 41
    variance = float(found.square().mean()) * 3.0 / 2.0
    assert variance == pytest.approx(4.0, rel=0.045)  # five standard errors
    assert float(found.mean(1).abs().max()) < 1e-5
    again = langevin_moves(score, start * 2.0 * white, 40, 8.0, centre, _generator(2))
    assert torch.equal(again, found)


def _variance(found: Any) -> float:
    return float(np.square(found.configurations).sum((1, 2)).mean()) / DOF


@pytest.mark.parametrize("min_noise", [1e-3, 0.5])
@pytest.mark.parametrize("stiffness", [0.0, STIFFNESS])
def test_moves_lead_to_the_law_of_the_temperature_and_the_reward(
    harmonic: Any, min_noise: float, stiffness: float
) -> None:
    """Biased guidance from a start that is none is far from it; what Langevin moves make of it is the law."""
    model = harmonic(VARIANCE, VARIANCE).model(
        local_scale=VARIANCE**0.5, min_noise=min_noise, max_noise=1.1 * min_noise
    )
    given: dict[str, Any] = {"control": "guidance", "nfe": 2, "particles": 2000, "random_state": 0}
    if stiffness:
        given["reward"] = AnalyticReward(
            lambda x: -0.5 * stiffness * centre(x).square().flatten(1).sum(1),
            lambda x: -stiffness * centre(x),
            lambda x: torch.full_like(x[:, 0, 0], -stiffness * DOF),
        )
    far = model.sample(2000, temperature=1.0, langevin_steps=0, **given)
    found = model.sample(2000, temperature=1.0, langevin_steps=150, **given)
    # The path's x = cos(theta) (y + noise): p_t^gamma e^r there, then the mean of y, which shrinks y + noise.
    signal, noisy = 1.0 / (1.0 + min_noise**2), VARIANCE + min_noise**2
    precision = 2.0 / (signal * noisy) + stiffness
    expected = (VARIANCE / noisy) ** 2 / signal / precision
    assert _variance(found) == pytest.approx(expected, rel=0.08)  # five standard errors
    assert abs(_variance(far) / expected - 1.0) > 0.2
    np.testing.assert_allclose(found.log_weights, far.log_weights)


def test_moves_are_made_at_the_last_noise_with_the_scale_of_the_law_there(
    harmonic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(score: Any, x: Tensor, n_steps: int, scale: float, *_: Any) -> Tensor:
        seen.append((n_steps, scale, float((score(x) * x).sum() / x.square().sum())))
        return x

    monkeypatch.setattr(draws, "langevin_moves", look)
    model = harmonic(VARIANCE, VARIANCE).model(local_scale=0.7, min_noise=0.3, nfe=5)
    model.sample(20, temperature=1.0, langevin_steps=7, random_state=0)
    alpha = 1.0 / math.sqrt(1.0 + 0.3**2)
    slope = -2.0 / (alpha**2 * (VARIANCE + 0.3**2))
    ((steps, scale, found),) = seen
    assert steps == 7
    assert scale == pytest.approx(alpha * math.hypot(0.7, 0.3) / math.sqrt(2.0))
    assert found == pytest.approx(slope, rel=1e-5)


def test_every_evaluation_of_the_score_is_counted(harmonic: Any) -> None:
    law, calls = harmonic(VARIANCE, VARIANCE), []

    def score(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return law.score(x, t)

    model = BoltzmannDiffusion.from_score(
        score, path=Trigonometric(), atoms=3, dimensions=2, divergence=law.divergence,
        local_scale=0.7, device="cpu",
    )  # fmt: skip
    for moves in (0, 5):
        calls.clear()
        found = model.sample(10, nfe=8, langevin_steps=moves)
        assert found.nfe == len(calls)


def test_moves_that_run_away_are_told_with_the_remedy(harmonic: Any) -> None:
    def stiff(x: Tensor) -> Tensor:
        return -0.5 * 2e4 * centre(x).square().flatten(1).sum(1)

    law = harmonic(VARIANCE, VARIANCE)
    with pytest.raises(ValueError, match=r"Langevin moves are too long .* langevin_steps=0"):
        law.model(local_scale=70.0).sample(20, random_state=0, nfe=6, langevin_steps=400)
    with pytest.raises(ValueError, match=r"score is not finite.*give reward_scale"):
        law.model().sample(20, reward=lambda x: 1e9 * stiff(x), random_state=0, nfe=6)


def test_chunks_of_items_are_put_together_in_order(harmonic: Any) -> None:
    law = harmonic(VARIANCE, 0.2)
    field = FunctionField(law.score, law.divergence, law.log_density, None, Subspace(centre, DOF))
    x = centre(torch.randn(11, 3, 2, generator=_generator()))
    asked: dict[str, Any] = {
        "with_divergence": True, "with_log_density": True, "generator": _generator(),
    }  # fmt: skip
    t = torch.tensor(0.3, dtype=torch.float64)
    whole = field.evaluate(x, t, **asked)
    chunked = ChunkedField(field, 48 * 2**20 // 3)
    assert chunked.knows_log_density
    for one, other in zip(chunked.evaluate(x, t, **asked), whole, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)
    asked["with_log_density"] = False
    assert chunked.evaluate(x, t, **asked).log_density is None


def test_moves_are_as_short_as_a_stiff_reward_needs(harmonic: Any) -> None:
    stiffness = 800.0
    reward = AnalyticReward(
        lambda x: -0.5 * stiffness * centre(x).square().flatten(1).sum(1),
        lambda x: -stiffness * centre(x),
        lambda x: torch.full_like(x[:, 0, 0], -stiffness * DOF),
    )
    model = harmonic(VARIANCE, VARIANCE).model(local_scale=0.77, min_noise=1e-3)
    found = model.sample(
        2000, reward=reward, reward_scale=stiffness**-0.5, control="guidance", nfe=60, particles=2000,
        random_state=0,
    )  # fmt: skip
    assert _variance(found) == pytest.approx(1.0 / (1.0 / VARIANCE + stiffness), rel=0.08)
