"""Agreement and recovery of linear models against random-matrix theory and measured reference values."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import ERSDE, Heun, VariancePreserving
from sciffusion.diagnostics import (
    denoiser_distance,
    latent_recovery,
    principal_directions,
    same_noise_cosine,
    sample_agreement,
    spike_overlap,
    subspace_overlap,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import log_snr_grid

DIM = 150
PATH = VariancePreserving()
# For d = 150, beta = 1: samples over dimensions, measured overlap^2, theory, measured same-noise cosine.
TABLE = [
    (0.25, 0.05, 0.0, 0.22),
    (0.5, 0.05, 0.0, 0.43),
    (1.0, 0.06, 0.0, 0.72),
    (1.5, 0.20, 0.20, 0.82),
    (2.0, 0.28, 0.33, 0.87),
    (4.0, 0.64, 0.60, 0.94),
    (8.0, 0.75, 0.78, 0.97),
]


def spiked(count: int, generator: torch.Generator, strength: float = 1.0, dim: int = DIM) -> Tensor:
    """Draw white data with an additional latent along the first axis."""
    x = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    latent = torch.randn(count, generator=generator, dtype=torch.float64)
    x[:, 0] += math.sqrt(strength) * latent
    return x


def linear_model(data: Tensor) -> ExactDenoiser:
    """Return the model that knows the sample covariance of its data and nothing else."""
    return ExactDenoiser(GaussianTarget.full(data.mT @ data / data.shape[0]), PATH)


def axis(dim: int = DIM) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)[:, :1]


@pytest.mark.parametrize(("ratio", "overlap", "theory", "cosine"), TABLE)
def test_closed_forms_give_the_table(ratio: float, overlap: float, theory: float, cosine: float) -> None:
    assert spike_overlap(ratio, 1.0) == pytest.approx(theory, abs=0.005)
    assert same_noise_cosine(ratio) == pytest.approx(cosine, abs=0.02)
    assert spike_overlap(ratio, 1.0) == pytest.approx(overlap, abs=0.065)


def test_cosine_at_equal_sizes_is_known() -> None:
    # Under the Marchenko-Pastur law of ratio 1 the mean root is 8 / (3 pi).
    assert same_noise_cosine(1.0) == pytest.approx((8.0 / (3.0 * math.pi)) ** 2, rel=1e-6)
    assert same_noise_cosine(1e6) == pytest.approx(1.0, abs=1e-5)


def test_strong_latents_are_recovered_before_models_agree() -> None:
    assert spike_overlap(0.1, 3.0) == 0.0
    assert spike_overlap(0.12, 3.0) > 0.0
    assert spike_overlap(0.5, 3.0) > 0.4 > same_noise_cosine(0.5) - 0.04


def test_measured_overlap_follows_the_theory_on_both_sides_of_the_transition() -> None:
    generator = torch.Generator().manual_seed(0)
    for ratio, _, theory, _ in TABLE[2:]:
        count = round(ratio * DIM)
        found = [
            float(subspace_overlap(principal_directions(spiked(count, generator), 1), axis()))
            for _ in range(12)
        ]
        # Four standard errors of the mean, and the finite-size bias, which is largest at the transition.
        slack = 4.0 * statistics.stdev(found) / math.sqrt(12) + (0.1 if ratio < 2.0 else 0.03)
        assert statistics.mean(found) == pytest.approx(theory, abs=slack), ratio


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("solver", [Heun("noise_to_signal"), ERSDE(order=2)], ids=["ode", "sde"])
def test_agreement_of_linear_models_is_that_of_the_theory(ratio: float, solver: Heun | ERSDE) -> None:
    generator = torch.Generator().manual_seed(1)
    count = round(ratio * DIM)
    models = [linear_model(spiked(count, generator)) for _ in range(2)]
    grid = log_snr_grid(PATH, 40)
    found = sample_agreement(*models, solver, grid, shape=(64, DIM), generator=generator, dtype=torch.float64)
    if isinstance(solver, Heun):
        assert found.cosine == pytest.approx(same_noise_cosine(ratio), abs=0.03)
        # One model against its own start: the mean root, not its square.
        assert found.start_cosine == pytest.approx(math.sqrt(same_noise_cosine(ratio)), abs=0.03)
    else:
        # Fresh noise of every step, shared by the two, makes them agree more than a shared start alone.
        assert same_noise_cosine(ratio) - 0.02 < found.cosine < 1.0
        assert found.start_cosine < 0.2
    assert abs(found.chance) < 0.05
    assert found.error == pytest.approx(float(found.cosines.std()) / 8.0)


def test_a_model_agrees_with_itself_also_under_a_stochastic_solver() -> None:
    generator = torch.Generator().manual_seed(0)
    model = linear_model(spiked(100, generator, dim=10))
    found = sample_agreement(
        model, model, ERSDE(), log_snr_grid(PATH, 10), shape=(8, 10), generator=generator
    )
    assert found.cosine == pytest.approx(1.0, abs=1e-6)


def test_half_the_squared_distance_is_the_variance_over_training_sets() -> None:
    # For x ~ N(m, 1) with the mean estimated from n points, D = (1 - a g) m_n + g x: the variance over
    # training sets is (1 - a g)^2 / n.
    dim, count = 400, 20
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, count, dim, generator=generator, dtype=torch.float64)
    models = [ExactDenoiser(GaussianTarget.diagonal(torch.ones(dim), data.mean(0)), PATH) for data in draws]
    held_out = torch.randn(50, dim, generator=generator, dtype=torch.float64)
    times = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    found = denoiser_distance(*models, held_out, times, generator=generator)
    c = PATH.coefficients(times)
    variance = (c.sigma**2 / (c.alpha**2 + c.sigma**2)) ** 2 / count
    torch.testing.assert_close(found.squared / 2.0, variance, rtol=0.25, atol=0.0)
    scores = [(c.alpha[0] * m.predict(held_out, 0.1).value - held_out) / c.sigma[0] ** 2 for m in models]
    assert float((scores[0] - scores[1]).square().mean()) == pytest.approx(float(found.score_squared[0]))
    assert float(found.loss[1]) == pytest.approx(float(c.sigma[1] ** 2 + variance[1] / 2.0), rel=0.1)
    assert (
        float(denoiser_distance(models[0], models[0], held_out, times, generator=generator).squared.max())
        == 0.0
    )


def test_a_perfect_sampler_reaches_the_ceiling_and_a_blind_one_stays_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    held_out = spiked(600, generator, strength=2.0, dim=12)
    perfect = latent_recovery(spiked(600, generator, 2.0, 12), held_out, 1, generator=generator)
    assert abs(perfect.ratio - 1.0) < 3.0 * perfect.ratio_error < 0.4
    assert perfect.overlap > perfect.ceiling > 0.7
    white = torch.randn(600, 12, generator=generator, dtype=torch.float64)
    blind = latent_recovery(white, held_out, 1, generator=generator)
    assert blind.chance == pytest.approx(1.0 / 12.0)
    assert blind.ratio < 0.5
    wrong = latent_recovery(spiked(600, generator, 2.0, 12).roll(3, 1), held_out, 1, generator=generator)
    assert wrong.overlap < 0.05


def test_ratio_is_fair_whatever_the_sizes_and_its_error_is_the_spread() -> None:
    generator = torch.Generator().manual_seed(1)
    runs = [
        latent_recovery(
            spiked(5000, generator, 3.0, 10),
            spiked(300, generator, 3.0, 10),
            1,
            generator=generator,
            n_splits=4,
        )
        for _ in range(30)
    ]
    ratios = [run.ratio for run in runs]
    assert statistics.mean(ratios) == pytest.approx(1.0, abs=4.0 * statistics.stdev(ratios) / math.sqrt(30))
    claimed = statistics.mean(run.ratio_error for run in runs)
    assert 0.7 < claimed / statistics.stdev(ratios) < 2.5
    claimed = statistics.mean(run.overlap_error for run in runs)
    assert 0.7 < claimed / statistics.stdev([run.overlap for run in runs]) < 2.5


def test_weighted_directions_are_those_of_repeated_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    x = spiked(30, generator, 4.0, 5)
    counts = torch.arange(30) % 3
    weighted = principal_directions(x, 2, counts.to(torch.float64))
    repeated = principal_directions(x.repeat_interleave(counts, 0), 2)
    assert float(subspace_overlap(weighted, repeated)) == pytest.approx(1.0, abs=1e-10)
    moved = principal_directions(x + 50.0, 2, counts.to(torch.float64))
    assert float(subspace_overlap(weighted, moved)) == pytest.approx(1.0, abs=1e-8)


def test_bad_input_is_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    x = spiked(40, generator, dim=5)
    model = linear_model(x)
    grid = log_snr_grid(PATH, 4)
    with pytest.raises(ValueError, match="count at least 2"):
        sample_agreement(model, model, Heun(), grid, shape=(1, 5), generator=generator)
    with pytest.raises(ValueError, match=r"values in \(0, 1\]"):
        denoiser_distance(model, model, x, torch.tensor([0.0]), generator=generator)
    with pytest.raises(ValueError, match="n_components must lie in 1 to 5"):
        latent_recovery(x, x, 6, generator=generator)
    with pytest.raises(ValueError, match="one dimension"):
        latent_recovery(x, x[:, :3], 1, generator=generator)
    with pytest.raises(ValueError, match="n_groups"):
        latent_recovery(x, x, 1, generator=generator, n_groups=1)
    with pytest.raises(ValueError, match="strength must be positive"):
        spike_overlap(1.0, 0.0)
