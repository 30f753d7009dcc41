"""Uniform noise in absorbing form: the law of the noise, the coincidence, and exact laws of samplers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciffusion.discrete import (
    AbsorbingUniformLoss,
    Ancestral,
    Corrupted,
    CosineSchedule,
    DiscretePrediction,
    GenericELBO,
    LinearSchedule,
    NetworkTokenDenoiser,
    RenewedNoise,
    UniformAbsorbing,
)
from sciffusion.exact import MarkovChainOracle
from sciffusion.networks import TokenTransformer
from sciffusion.sampling import State, sample, uniform_grid

SCHEDULES = [LinearSchedule(), CosineSchedule()]


def joint(process: UniformAbsorbing, t: float) -> torch.Tensor:
    """Return p(x_t, u | x_0), of shape (clean, noisy, noise), from the definition."""
    size, keep = process.vocab_size, float(process.schedule.keep(t))
    law = torch.zeros(size, size, size, dtype=torch.float64)
    for clean in range(size):
        for noise in range(size):
            law[clean, clean, noise] += keep / size
            law[clean, noise, noise] += (1.0 - keep) / size
    return law


def every_pair_of(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and noises in all combinations, each of shape (size * size,)."""
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_emission_is_that_of_tokens_and_noise(schedule: LinearSchedule, t: float) -> None:
    process = UniformAbsorbing(3, schedule)
    x, noise = every_pair_of(3)
    found = torch.exp(process.emission_log_likelihood(Corrupted(x, torch.tensor(t), {"noise": noise})))
    # p(x_t | k, u) = p(x_t, u | k) / p(u)
    torch.testing.assert_close(found, 3.0 * joint(process, t)[:, x, noise].T)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_tokens_alone_are_uniform_diffusion(schedule: LinearSchedule) -> None:
    process = UniformAbsorbing(3, schedule)
    pushed = process.push(torch.eye(3, dtype=torch.float64), torch.tensor(0.4))
    torch.testing.assert_close(pushed, joint(process, 0.4).sum(-1))


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_the_noise_given_clean_and_noisy_tokens_follows_bayes(t: float) -> None:
    process = UniformAbsorbing(4)
    law = joint(process, t)
    x0, x = every_pair_of(4)
    found = torch.exp(process.noise_log_probabilities(x0, x, torch.tensor(t)))
    total = law[x0, x].sum(-1, keepdim=True)
    expected = law[x0, x] / total
    possible = total[:, 0] > 0.0
    torch.testing.assert_close(found[possible], expected[possible])


def test_corruption_has_the_law_of_tokens_and_noise() -> None:
    process = UniformAbsorbing(3)
    x0 = torch.full((60_000,), 2)
    noisy = process.corrupt(x0, torch.tensor(0.6), torch.Generator().manual_seed(0))
    assert noisy.aux is not None
    shares = torch.bincount(3 * noisy.x + noisy.aux["noise"], minlength=9).reshape(3, 3) / len(x0)
    torch.testing.assert_close(shares.double(), joint(process, 0.6)[2], atol=0.008, rtol=0.0)


def test_the_reverse_law_keeps_the_noise_and_is_exact_for_a_site() -> None:
    """p(x_s | x_t, u) by Bayes over clean tokens, for one site with a known law."""
    process, s, t = UniformAbsorbing(3), 0.3, 0.7
    clean = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    a_s, a_t = 1.0 - s, 1.0 - t
    x, noise = every_pair_of(3)
    state = Corrupted(x, torch.tensor(t, dtype=torch.float64), {"noise": noise})
    prediction = DiscretePrediction(torch.log(clean).expand(9, 3), "loo")
    found = torch.exp(process.reverse_log_probabilities(prediction, state, torch.tensor(s).double()))
    expected = torch.zeros(9, 3, dtype=torch.float64)
    for row, (token, u) in enumerate(zip(x.tolist(), noise.tolist(), strict=True)):
        for k in range(3):
            # Kept until t; kept until s and replaced since; replaced before s.
            for earlier, later, p in ((k, k, a_t), (k, u, a_s - a_t), (u, u, 1.0 - a_s)):
                if later == token:
                    expected[row, earlier] += clean[k] * p
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True))


class Propagated:
    """The exact law of the sampler over all states of bench A, a site being (token, is its noise).

    With ``renewed=False`` steps are ancestral: they keep the noise, and what they reveal stays.
    """

    def __init__(self, renewed: bool = True) -> None:
        self.process, self.oracle, self.renewed = UniformAbsorbing(3), MarkovChainOracle.bench_a(), renewed
        states = torch.cartesian_prod(*[torch.arange(6)] * 4)
        self.x, self.noisy = states // 2, states % 2 == 1
        # A revealed token says all there is, so which other token its noise is does not matter.
        self.noise = torch.where(self.noisy, self.x, (self.x + 1) % 3)

    def step(self, law: torch.Tensor, t: float, s: float) -> torch.Tensor:
        state = Corrupted(self.x, torch.tensor(t, dtype=torch.float64), {"noise": self.noise})
        later = torch.tensor(s, dtype=torch.float64)
        # At time 1 no token differs from its noise: such states have no law to go on with, and no weight.
        sites = (self.renewed_kernel if self.renewed else self.kept_kernel)(state, later)
        sites = sites.flatten(-2).nan_to_num()
        mixed = law[:, None] * sites[:, 0]
        for site in range(1, 3):
            mixed = (mixed[:, :, None] * sites[:, site][:, None]).flatten(1)
        return (mixed.T @ sites[:, 3]).flatten()

    def renewed_kernel(self, state: Corrupted, s: torch.Tensor) -> torch.Tensor:
        own = self.oracle.predict(self.process, state, "denoiser").probabilities
        kernel = torch.zeros(*self.x.shape, 3, 2, dtype=torch.float64)
        for clean in range(3):
            certain = torch.log(torch.nn.functional.one_hot(torch.full_like(self.x, clean), 3).double())
            known = DiscretePrediction(certain, "loo")
            bridge = self.process.marginal.reverse_log_probabilities(known, state, s)
            for token in range(3):
                given = self.process.noise_log_probabilities(torch.tensor([clean]), torch.tensor([token]), s)
                same = float(torch.exp(given)[0, token])
                weight = own[..., clean] * torch.exp(bridge)[..., token]
                kernel[..., token, 1] += weight * same
                kernel[..., token, 0] += weight * (1.0 - same)
        return kernel

    def kept_kernel(self, state: Corrupted, s: torch.Tensor) -> torch.Tensor:
        prediction = self.oracle.predict(self.process, state, "denoiser")
        law = torch.exp(Ancestral().log_probabilities(prediction, self.process, state, s))  # type: ignore[arg-type]
        still_noise = torch.nn.functional.one_hot(self.x, 3).bool() & self.noisy[..., None]
        return torch.stack([torch.where(still_noise, 0.0, law), torch.where(still_noise, law, 0.0)], dim=-1)

    def law_of_tokens(self, steps: int) -> torch.Tensor:
        law = self.noisy.all(-1).double() / 81.0
        for step in range(steps, 0, -1):
            law = self.step(law, step / steps, (step - 1) / steps)
        index = (self.x * torch.tensor([27, 9, 3, 1])).sum(-1)
        return torch.zeros(81, dtype=torch.float64).index_add(0, index, law)


def distance(law: torch.Tensor) -> float:
    """Return the total variation from bench A."""
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    return 0.5 * float((law - torch.exp(MarkovChainOracle.bench_a().log_likelihood(every))).abs().sum())


@pytest.mark.parametrize(
    ("renewed", "expected"),
    [(False, [0.1396, 0.0728, 0.0370, 0.0186]), (True, [0.1396, 0.0776, 0.0414, 0.0212])],
)
def test_samplers_converge(renewed: bool, expected: list[float]) -> None:
    """Steps that keep the noise are a little better than those that renew it when the denoiser is exact."""
    propagated = Propagated(renewed)
    found = [distance(propagated.law_of_tokens(steps)) for steps in (2, 4, 8, 16)]
    assert found == pytest.approx(expected, abs=6e-5)


def test_steps_draw_what_was_propagated() -> None:
    propagated, count = Propagated(), 40_000
    generator = torch.Generator().manual_seed(0)
    denoiser = propagated.oracle.denoiser(propagated.process, "denoiser")
    result = sample(denoiser, RenewedNoise(), uniform_grid(3), shape=(count, 4), generator=generator)
    assert result.nfe == 3
    index = (result.samples.long() * torch.tensor([27, 9, 3, 1])).sum(-1)
    shares = torch.bincount(index, minlength=81).double() / count
    expected = propagated.law_of_tokens(3)
    spread = 0.5 * float(torch.sqrt(expected * (1.0 - expected) * 2.0 / (torch.pi * count)).sum())
    assert 0.5 * float((shares - expected).abs().sum()) < 1.5 * spread
    assert distance(expected) > 5.0 * spread  # a sampler without error would be told apart


def test_known_sites_are_kept_and_the_rest_follows() -> None:
    oracle, count = MarkovChainOracle.bench_a(), 8_000
    process, generator = UniformAbsorbing(3), torch.Generator().manual_seed(0)
    known = torch.tensor([False, True, True, False]).expand(count, 4)
    x = torch.where(known, torch.tensor([0, 2, 1, 0]), process.draw_prior((count, 4), generator))
    start = State(x, known=known, generator=generator)
    result = sample(oracle.denoiser(process), RenewedNoise(), uniform_grid(24), state=start)
    assert bool((result.samples[:, 1:3] == torch.tensor([2, 1])).all())
    shares = torch.bincount(result.samples[:, 3], minlength=3) / count
    torch.testing.assert_close(shares.double(), oracle.transition[1], atol=0.02, rtol=0.0)


def test_ancestral_steps_need_the_noise_and_then_work() -> None:
    oracle, count = MarkovChainOracle.bench_a(), 8_000
    process, generator = UniformAbsorbing(3), torch.Generator().manual_seed(0)
    denoiser = oracle.denoiser(process)
    x = process.draw_prior((8, 4), generator)
    with pytest.raises(ValueError, match="carry aux"):
        sample(denoiser, Ancestral(), uniform_grid(4), state=State(x, generator=generator))
    result = sample(denoiser, Ancestral(), uniform_grid(24), shape=(count, 4), generator=generator)
    pairs = torch.bincount(3 * result.samples[:, 0] + result.samples[:, 1], minlength=9) / count
    expected = (oracle.initial[:, None] * oracle.transition).flatten()
    torch.testing.assert_close(pairs.double(), expected, atol=0.02, rtol=0.0)


def expected_loss(t: float) -> float:
    """Return the expected loss of the exact denoiser at one time, over all clean tokens and noises."""
    process, oracle = UniformAbsorbing(3), MarkovChainOracle.bench_a()
    states = torch.cartesian_prod(*[torch.arange(6)] * 4)
    x, noisy = states // 2, states % 2 == 1
    noise = torch.where(noisy, x, (x + 1) % 3)
    state = Corrupted(x, torch.tensor(t, dtype=torch.float64), {"noise": noise})
    prediction = oracle.predict(process, state, "denoiser")
    clean = torch.cartesian_prod(*[torch.arange(3)] * 4)
    likelihood = torch.exp(process.emission_log_likelihood(state))[:, torch.arange(4), clean].transpose(0, 1)
    # The noises that a revealed token stands for: all but the token itself.
    likelihood = (likelihood * torch.where(noisy, 1.0, 2.0) / 3.0).prod(-1)
    weights = likelihood * torch.exp(oracle.log_likelihood(clean))[:, None]
    every = Corrupted(x.expand(81, -1, -1), state.t, {"noise": noise.expand(81, -1, -1)})
    each = DiscretePrediction(prediction.logits.expand(81, -1, -1, -1), "denoiser")
    x0 = clean[:, None].expand(-1, len(x), -1)
    losses = AbsorbingUniformLoss().site_loss(each, process, every, x0).sum(-1)
    return float((weights * torch.where(weights > 0.0, losses, 0.0)).sum())


def test_the_bound_of_the_exact_denoiser_is_the_entropy() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(8)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    # The rate has logarithms of t near the data, which t = v^3 smooths.
    rates = [expected_loss(node**3) for node in nodes.tolist()]
    bound = float(weights @ (3.0 * nodes**2 * np.array(rates)))
    assert AbsorbingUniformLoss.is_bound
    assert bound == pytest.approx(MarkovChainOracle.bench_a().entropy(), abs=1e-4)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.5, 1.0 - 1e-12, 1.0])
def test_losses_and_gradients_of_a_network_are_finite(t: float) -> None:
    process = UniformAbsorbing(5)
    network = TokenTransformer(5, 5, width=16, depth=1, n_heads=2, aux=("noise",))
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.output.weight, std=2.0, generator=generator)
    x0 = torch.randint(5, (16, 6), generator=generator)
    denoiser = NetworkTokenDenoiser(network, process, "denoiser")
    loss = AbsorbingUniformLoss()(denoiser, x0, torch.full((16,), t, dtype=torch.float64), generator)
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite().all())
    loss.mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_what_needs_tokens_alone_refuses_remembered_noise() -> None:
    process = UniformAbsorbing(3)
    x = torch.zeros(1, 2, dtype=torch.int64)
    state = Corrupted(x, torch.tensor(0.5), {"noise": x})
    with pytest.raises(TypeError, match="tokens alone"):
        GenericELBO().site_loss(DiscretePrediction(torch.zeros(1, 2, 3), "loo"), process, state, x)
    with pytest.raises(TypeError, match="noise"):
        AbsorbingUniformLoss().site_loss(
            DiscretePrediction(torch.zeros(1, 2, 3), "loo"), process, Corrupted(x, torch.tensor(0.5)), x
        )
