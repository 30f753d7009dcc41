"""The exact law of a sampler: against drawing, against known numbers, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Corrected,
    CTMCCorrector,
    DiscretePrediction,
    DrawSolver,
    EulerRates,
    FirstHitting,
    Gibbs,
    Mask,
    MaximalCoupling,
    PredictionTrapezoid,
    Remasking,
    TauLeaping,
    ThetaTrapezoid,
    Uniform,
    UniformAbsorbing,
    keep_grid,
)
from sciffusion.exact import (
    ImperfectTokenDenoiser,
    MarkovChainOracle,
    every_sequence,
    propagate_tokens,
    sampler_error,
)
from sciffusion.sampling import State, sample

ORACLE = MarkovChainOracle.bench_a()
UNIFORM, MASK, ABSORBING = Uniform(3), Mask(3), UniformAbsorbing(3)
RATES = {"first_keep": 1e-3, "last_keep": 1.0 - 1e-3}


class PlugIn:
    """The common mistake: the law that has seen its own token, in the place of the one that has not."""

    path = UNIFORM

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        return DiscretePrediction(ORACLE.predict(UNIFORM, state, "denoiser").logits, "loo")


def denoisers() -> dict[str, Any]:
    return {
        "plug-in": PlugIn(),
        "uniform": ORACLE.denoiser(UNIFORM),
        "uniform by denoiser": ORACLE.denoiser(UNIFORM, "denoiser"),
        "mask": ORACLE.denoiser(MASK, "denoiser"),
        "absorbing": ORACLE.denoiser(ABSORBING, "denoiser"),
    }


CLIPPED = PredictionTrapezoid(scale="probability", last="middle")

# Solver, denoiser, spacing, steps, cut of the grid, and what is published: total variation and, where it is,
# divergence, to the digits shown there.
PUBLISHED = [
    (Ancestral(), "plug-in", "linear", 4, {}, 0.2607, None),
    (Ancestral(), "plug-in", "linear", 32, {}, 0.2908, None),
    (Ancestral(), "uniform", "linear", 2, {}, 0.1712, None),
    (Ancestral(), "uniform", "linear", 8, {}, 0.0437, 6.7e-3),
    (Ancestral(), "uniform by denoiser", "linear", 8, {}, 0.0437, 6.7e-3),
    (Ancestral(), "uniform", "linear", 32, {}, 0.0106, 4.2e-4),
    (MaximalCoupling(), "uniform", "linear", 8, {}, 0.0415, None),
    (Ancestral(), "mask", "linear", 2, {}, 0.1325, None),
    (Ancestral(), "mask", "linear", 8, {}, 0.0334, 3.5e-3),
    (Ancestral(), "absorbing", "linear", 4, {}, 0.0728, None),
    (EulerRates(), "uniform", "linear", 9, RATES, 0.0667, None),
    (TauLeaping(), "uniform", "linear", 9, RATES, 0.1222, None),
    (ThetaTrapezoid(), "uniform", "cosine", 5, RATES, 0.0567, 8.9e-3),
    (ThetaTrapezoid(), "uniform", "logit", 5, RATES, 0.1346, None),
    (ThetaTrapezoid(), "mask", "logit", 5, RATES, 0.0510, None),
    (CLIPPED, "uniform", "linear", 4, {}, 0.0302, 3.4e-3),
    (CLIPPED, "uniform", "cosine", 4, {}, 0.0137, 9e-4),
    (CLIPPED, "mask", "linear", 4, {}, 0.0109, 5e-4),
    (Remasking("rescale", 0.2), "mask", "linear", 8, {}, 0.0371, None),
    (Corrected(Ancestral(), Gibbs()), "uniform", "linear", 8, {}, 0.0278, None),
    (Corrected(Ancestral(), Gibbs()), "uniform", "linear", 32, {}, 0.0028, 2.9e-5),
    (Corrected(Ancestral(), Gibbs(4, spacing=1)), "uniform", "linear", 4, {}, 0.1195, None),
    (Corrected(Ancestral(), Gibbs(2, spacing=1)), "uniform", "linear", 8, {}, 0.0422, None),
    (Corrected(Ancestral(), CTMCCorrector(0.1)), "uniform", "linear", 8, {}, 0.0451, None),
]


@pytest.mark.parametrize(("solver", "name", "spacing", "steps", "cut", "distance", "divergence"), PUBLISHED)
def test_published_errors_are_met_to_the_digits_shown(
    solver: Any, name: str, spacing: Any, steps: int, cut: dict[str, float], distance: float, divergence: Any
) -> None:
    found = sampler_error(ORACLE, denoisers()[name], solver, keep_grid(steps, spacing, **cut))
    assert found.total_variation == pytest.approx(distance, abs=1.01e-4)
    if divergence is not None:
        assert found.kl_divergence == pytest.approx(divergence, rel=0.06)
    assert found.nfe == solver.total_nfe(steps)


SOLVERS = [
    (Ancestral(), "mask"),
    (Ancestral(), "absorbing"),
    (MaximalCoupling(), "uniform"),
    (PredictionTrapezoid(), "uniform"),
    (PredictionTrapezoid(0.3), "mask"),
    (Remasking("rescale", 0.3), "mask"),
    (Remasking("cap", 0.2), "mask"),
    (Corrected(PredictionTrapezoid(), Gibbs(2)), "uniform"),
    (Corrected(Ancestral(), Gibbs(), moves=2), "mask"),
    (Corrected(Ancestral(), Gibbs(select="lowest_margin")), "uniform"),
]


@pytest.mark.parametrize(("solver", "name"), SOLVERS)
def test_a_sampler_run_draws_from_the_law_that_is_propagated(solver: Any, name: str) -> None:
    """The real driver against the propagated law, by a chi-square over all sequences."""
    denoiser, grid, count = denoisers()[name], keep_grid(3), 20_000
    generator = torch.Generator().manual_seed(0)
    law = propagate_tokens(denoiser, solver, grid, 4)
    x = denoiser.path.draw_prior((count, 4), generator)
    state = State(x, aux=denoiser.path.starting_aux(x, generator))
    result = sample(denoiser, solver, grid, state=state, generator=generator)
    assert result.nfe == law.nfe == solver.total_nfe(3)
    base = denoiser.path.state_size
    place = (result.samples * base ** torch.arange(3, -1, -1)).sum(-1)
    seen = torch.bincount(place, minlength=base**4).double()
    expected = law.probabilities * count
    assert float(seen[expected < 1e-6].sum()) == 0.0
    # Rare sequences share a bin, so that the statistic has its law.
    common = expected >= 5.0
    seen = torch.cat([seen[common], seen[~common].sum()[None]])
    expected = torch.cat([expected[common], expected[~common].sum()[None]]).clamp_min(1e-9)
    statistic, freedom = float(((seen - expected) ** 2 / expected).sum()), len(seen) - 1
    assert statistic < freedom + 4.5 * math.sqrt(2.0 * freedom)


def test_a_law_sums_to_one_and_masks_are_gone() -> None:
    law = propagate_tokens(ORACLE.denoiser(MASK, "denoiser"), PredictionTrapezoid(), keep_grid(3), 4)
    assert float(law.probabilities.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(law.probabilities[(law.sequences == 3).any(-1)].sum()) == 0.0


def test_the_plug_in_law_does_not_converge_and_the_right_one_does() -> None:
    grids = [keep_grid(steps) for steps in (4, 16, 64)]
    wrong = [sampler_error(ORACLE, PlugIn(), Ancestral(), grid).total_variation for grid in grids]
    right = [sampler_error(ORACLE, ORACLE.denoiser(UNIFORM), Ancestral(), g).total_variation for g in grids]
    assert wrong[0] < wrong[1] < wrong[2]
    assert right[2] < right[0] / 14.0


@pytest.mark.parametrize(
    ("solver", "name", "order"),
    [
        (Ancestral(), "uniform", 1.0),
        (MaximalCoupling(), "uniform", 1.0),
        (Ancestral(), "mask", 1.0),
        (CLIPPED, "uniform", 1.7),
        (CLIPPED, "mask", 1.3),
    ],
)
def test_orders_by_slopes(solver: DrawSolver, name: str, order: float) -> None:
    few, many = (4, 8) if order > 1.0 else (16, 64)
    errors = [
        sampler_error(ORACLE, denoisers()[name], solver, keep_grid(n)).total_variation for n in (few, many)
    ]
    slope = math.log(errors[0] / errors[1]) / math.log(many / few)
    if order == 1.0:
        assert slope == pytest.approx(1.0, abs=0.06)
    else:
        assert slope > order


@pytest.mark.parametrize(
    ("name", "spacing", "below"),
    [("uniform", "cosine", 3.0), ("mask", "linear", 2.0), ("absorbing", "linear", 4.0)],
)
def test_extrapolation_of_every_step_beats_the_clipped_one_and_the_ancestral_step(
    name: str, spacing: Any, below: float
) -> None:
    """At 4 evaluations; 8 for uniform noise."""
    denoiser, steps = denoisers()[name], 4 if name == "uniform" else 2
    ours, clipped = (
        sampler_error(ORACLE, denoiser, solver, keep_grid(steps, spacing)).total_variation
        for solver in (PredictionTrapezoid(), CLIPPED)
    )
    plain = sampler_error(ORACLE, denoiser, Ancestral(), keep_grid(2 * steps)).total_variation
    assert ours < clipped / below
    assert ours < plain / 6.0


def test_logarithms_do_not_stall_on_the_cosine_grid() -> None:
    denoiser = denoisers()["uniform"]
    errors = {
        scale: [
            sampler_error(
                ORACLE, denoiser, PredictionTrapezoid(scale=scale, last="middle"), keep_grid(n, "cosine")
            ).kl_divergence
            for n in (4, 8)
        ]
        for scale in ("log", "probability")
    }
    assert errors["log"][1] < errors["log"][0] / 30.0
    assert errors["probability"][1] > errors["probability"][0] / 15.0


def test_an_imperfect_denoiser_leaves_a_floor() -> None:
    exact = ORACLE.denoiser(UNIFORM)
    worse = ImperfectTokenDenoiser(exact, 0.3, 4, torch.Generator().manual_seed(0))
    none = ImperfectTokenDenoiser(exact, 0.0, 4, torch.Generator().manual_seed(0))
    grid = keep_grid(64)
    plain = sampler_error(ORACLE, exact, Ancestral(), grid)
    assert sampler_error(ORACLE, none, Ancestral(), grid).total_variation == pytest.approx(
        plain.total_variation
    )
    assert sampler_error(ORACLE, worse, Ancestral(), grid).total_variation > 5.0 * plain.total_variation


def test_the_error_of_an_imperfect_denoiser_does_not_look_at_the_own_token() -> None:
    worse = ImperfectTokenDenoiser(ORACLE.denoiser(UNIFORM), 0.5, 4, torch.Generator().manual_seed(1))
    x = torch.tensor([[0, 1, 2, 0], [1, 1, 2, 0]])
    laws = worse(State(x, t=torch.tensor(0.5))).probabilities
    torch.testing.assert_close(laws[0, 0], laws[1, 0])
    assert float((laws[0, 1] - laws[1, 1]).abs().max()) > 1e-3


def test_all_sequences_come_once_and_in_order() -> None:
    found = every_sequence(3, 2)
    assert found.tolist() == [[a, b] for a in range(3) for b in range(3)]


def test_what_cannot_be_followed_is_refused() -> None:
    mask = ORACLE.denoiser(MASK, "denoiser")
    for solver in (FirstHitting(), Remasking("confidence")):
        with pytest.raises(TypeError, match="cannot be followed exactly"):
            propagate_tokens(mask, solver, keep_grid(2), 4)
    with pytest.raises(ValueError, match="at most 4096"):
        propagate_tokens(ORACLE.denoiser(UNIFORM), Ancestral(), keep_grid(2), 8)
    with pytest.raises(ValueError, match="one time for all items"):
        propagate_tokens(mask, Ancestral(), torch.rand(3, 4).sort(0, descending=True).values, 4)
