"""Noise by rate matrices: against matrix exponentials, uniform noise, and the exact chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Corrupted,
    CosineSchedule,
    DiscretePrediction,
    GenericELBO,
    Matrix,
    Uniform,
    UniformELBO,
)
from sciffusion.discrete.kernels import (
    AMINO_ACIDS,
    NUCLEOTIDES,
    blosum62_rates,
    implied_law,
    kimura_rates,
    log_odds_rates,
    ordinal_rates,
    stationary_law,
    uniform_rates,
)
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import State, sample, uniform_grid

# Not reversible: 0 -> 1 -> 2 -> 0 is faster than the way round.
CIRCLE = torch.tensor([[0.0, 2.0, 0.3], [0.4, 0.0, 1.5], [1.8, 0.2, 0.0]], dtype=torch.float64)
MATRICES = [uniform_rates(3), ordinal_rates(3), CIRCLE, kimura_rates(3.0), blosum62_rates()]


def kernel(process: Matrix, t: float) -> torch.Tensor:
    """Return q_t(y | k) by pushing every clean token."""
    eye = torch.eye(process.vocab_size, dtype=torch.float64)
    return process.push(eye, torch.tensor(t, dtype=torch.float64))


@pytest.mark.parametrize("rates", MATRICES)
def test_the_five_functions_are_those_of_the_exponential(rates: torch.Tensor) -> None:
    process, s, t = Matrix(rates, CosineSchedule()), 0.2, 0.6
    keep = process.schedule.keep(torch.tensor([s, t], dtype=torch.float64))
    exact = [torch.linalg.matrix_exp(-torch.log(a) * process.rates) for a in keep]
    torch.testing.assert_close(kernel(process, s), exact[0], rtol=0.0, atol=1e-13)
    torch.testing.assert_close(kernel(process, t), exact[1], rtol=0.0, atol=1e-13)
    every = Corrupted(torch.arange(process.vocab_size), torch.tensor(t).double())
    torch.testing.assert_close(torch.exp(process.emission_log_likelihood(every)), exact[1].T)
    step = torch.exp(process.transition_log_likelihood(every, torch.tensor(s).double())).T
    torch.testing.assert_close(exact[0] @ step, exact[1])


@pytest.mark.parametrize("rates", MATRICES)
def test_both_ends_are_exact(rates: torch.Tensor) -> None:
    process = Matrix(rates)
    assert torch.equal(kernel(process, 0.0), torch.eye(len(rates), dtype=torch.float64))
    torch.testing.assert_close(kernel(process, 1.0), process.stationary.expand(len(rates), -1))
    still = Corrupted(torch.arange(len(rates)), torch.tensor(0.4))
    stay = process.transition_log_likelihood(still, torch.tensor(0.4))
    assert torch.equal(torch.exp(stay), torch.eye(len(rates), dtype=torch.float64))
    drawn = process.draw_prior((40_000,), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=len(rates)) / 40_000
    torch.testing.assert_close(shares.double(), process.stationary, atol=0.01, rtol=0.0)


def test_uniform_rates_are_uniform_noise() -> None:
    general, uniform = Matrix(uniform_rates(5)), Uniform(5)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randint(5, (32, 6), generator=generator)
    t, s = torch.rand((32, 6), generator=generator).double(), torch.tensor(0.0)
    state = uniform.corrupt(x0, t, generator)
    law = torch.softmax(torch.randn((32, 6, 5), generator=generator).double(), -1)
    prediction = DiscretePrediction(torch.log(law), "loo")
    for of_general, of_uniform in (
        (general.push(law, t), uniform.push(law, t)),
        (general.emission_log_likelihood(state), uniform.emission_log_likelihood(state)),
        (
            general.transition_log_likelihood(state, 0.5 * t),
            uniform.transition_log_likelihood(state, 0.5 * t),
        ),
        (
            torch.exp(general.reverse_log_probabilities(prediction, state, s)),
            torch.exp(uniform.reverse_log_probabilities(prediction, state, s)),
        ),
        (
            GenericELBO().site_loss(prediction, general, state, x0),
            UniformELBO().site_loss(prediction, uniform, state, x0),
        ),
    ):
        torch.testing.assert_close(of_general, of_uniform, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rates", [ordinal_rates(3), CIRCLE])
def test_corruption_and_known_sites(rates: torch.Tensor) -> None:
    process = Matrix(rates)
    x0 = torch.tensor([0, 2]).expand(30_000, 2)
    known = torch.tensor([False, True]).expand(30_000, 2)
    noisy = process.corrupt(x0, torch.tensor(0.5), torch.Generator().manual_seed(0), known)
    shares = torch.bincount(noisy.x[:, 0], minlength=3) / 30_000
    torch.testing.assert_close(shares.double(), kernel(process, 0.5)[0], atol=0.012, rtol=0.0)
    assert bool((noisy.x[:, 1] == 2).all())
    assert bool((noisy.t[:, 1] == 0.0).all())


@pytest.mark.parametrize("rates", [ordinal_rates(3), CIRCLE])
def test_the_bound_of_the_exact_denoiser_is_the_entropy(rates: torch.Tensor) -> None:
    """Summed over all clean and noisy sequences of bench A and integrated over times."""
    process, oracle = Matrix(rates), MarkovChainOracle.bench_a()
    clean = torch.cartesian_prod(*[torch.arange(3)] * 4)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    total = 0.0
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        # t = v^3 smooths the logarithms of t near the data, 1 - t = w^2 powers of a near the noise.
        t = torch.tensor(1.0 - (1.0 - node**3) ** 2, dtype=torch.float64)
        slope = 6.0 * node**2 * (1.0 - node**3)
        state = Corrupted(clean, t)
        emission = process.emission_log_likelihood(state)[:, torch.arange(4), clean].sum(-1).T
        law = torch.exp(emission + oracle.log_likelihood(clean)[:, None])
        logits = oracle.predict(process, state, "loo").logits.expand(81, -1, -1, -1)
        pairs = Corrupted(clean.expand(81, -1, -1), t)
        x0 = clean[:, None].expand(-1, 81, -1)
        loss = GenericELBO().site_loss(DiscretePrediction(logits, "loo"), process, pairs, x0).sum(-1)
        total += weight * slope * float((law * loss).sum())
    assert total == pytest.approx(oracle.entropy(), abs=2e-4)


def test_a_sampler_run_draws_the_chain() -> None:
    process, oracle, count = Matrix(CIRCLE), MarkovChainOracle.bench_a(), 4_000
    generator = torch.Generator().manual_seed(0)
    known = torch.tensor([False, True, False, False]).expand(count, 4)
    x = torch.where(known, 2, process.draw_prior((count, 4), generator))
    start = State(x, known=known, generator=generator)
    result = sample(oracle.denoiser(process), Ancestral(), uniform_grid(32), state=start)
    assert bool((result.samples[:, 1] == 2).all())
    shares = torch.bincount(result.samples[:, 2], minlength=3) / count
    torch.testing.assert_close(shares.double(), oracle.transition[2], atol=0.03, rtol=0.0)
    first = oracle.initial * oracle.transition[:, 2]
    shares = torch.bincount(result.samples[:, 0], minlength=3) / count
    torch.testing.assert_close(shares.double(), first / first.sum(), atol=0.03, rtol=0.0)


@pytest.mark.parametrize("rates", [uniform_rates(4), ordinal_rates(6), kimura_rates(), blosum62_rates()])
def test_rates_are_reversible_and_their_slowest_contrast_decays_as_a(rates: torch.Tensor) -> None:
    law = stationary_law(rates)
    flow = law[:, None] * rates
    torch.testing.assert_close(flow, flow.T, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(
        rates.sum(-1), torch.zeros(len(rates), dtype=torch.float64), rtol=0.0, atol=1e-12
    )
    decay = -torch.linalg.eigvals(rates).real.sort(descending=True).values
    assert float(decay[1]) == pytest.approx(1.0)


def test_nucleotides_prefer_transitions() -> None:
    rates = kimura_rates(4.0)
    a, c, g, t = (NUCLEOTIDES.index(letter) for letter in "ACGT")
    assert float(rates[a, g] / rates[a, c]) == pytest.approx(4.0)
    assert float(rates[c, t] / rates[c, g]) == pytest.approx(4.0)
    assert float(rates[a, c]) == pytest.approx(float(rates[g, t]))


def test_amino_acids_exchange_with_their_kind_and_occur_as_in_proteins() -> None:
    rates = blosum62_rates()
    place = AMINO_ACIDS.index
    law = stationary_law(rates)
    for alike, unlike in (("IV", "ID"), ("DE", "DW"), ("KR", "KC"), ("FY", "FP")):
        one, other = (float(rates[place(x), place(y)] / law[place(y)]) for x, y in (alike, unlike))
        assert one > 3.0 * other
    # Frequencies of Robinson and Robinson, PNAS 88 (1991): common and rare residues.
    for letter, frequency in {"L": 0.090, "A": 0.078, "G": 0.074, "C": 0.019, "W": 0.013}.items():
        assert float(law[place(letter)]) == pytest.approx(frequency, rel=0.35)


def test_scores_of_a_joint_law_give_its_margin_back() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.rand(5, 5, generator=generator, dtype=torch.float64) + torch.eye(5)
    pairs = (pairs + pairs.T) / (pairs + pairs.T).sum()
    law = pairs.sum(-1)
    scores = torch.log(pairs / (law[:, None] * law)) / 0.3
    scores = 0.5 * (scores + scores.T)
    torch.testing.assert_close(implied_law(scores, 0.3), law)
    other = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1])
    torch.testing.assert_close(stationary_law(log_odds_rates(scores, 0.3, other)), other.double())


def test_matrices_that_make_no_noise_are_refused() -> None:
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    for rates, message in (
        (torch.ones(2, 3), "square"),
        (-torch.ones(3, 3), "not negative"),
        (blocks, "connect all tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            Matrix(rates)
    with pytest.raises(ValueError, match="symmetric"):
        log_odds_rates(CIRCLE, 0.5)
    with pytest.raises(ValueError, match="transition_ratio"):
        kimura_rates(0.0)
