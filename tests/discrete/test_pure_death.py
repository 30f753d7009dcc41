"""Counts that die out, against a mixture of Poisson laws whose posteriors are sums over all counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciffusion.discrete import (
    Ancestral,
    Births,
    BirthStep,
    BlackoutLoss,
    Corrupted,
    CosineSchedule,
    DeathELBO,
    DenoiserCrossEntropy,
    DiscretePrediction,
    GenericELBO,
    LinearSchedule,
    Mask,
    MissingMean,
    PureDeath,
    TokenKind,
)
from sciffusion.sampling import State, sample, uniform_grid


class PoissonMixture:
    """Counts that are independent Poisson draws given one of several sets of means, cut at the largest."""

    def __init__(self, means: list[list[float]], weights: list[float], largest: int) -> None:
        counts = torch.arange(largest + 1, dtype=torch.float64)
        rates = torch.tensor(means, dtype=torch.float64)[..., None]
        self.log_weights = torch.log(torch.tensor(weights, dtype=torch.float64))
        self.log_laws = torch.log_softmax(torch.xlogy(counts, rates) - torch.lgamma(counts + 1.0), -1)
        self.sites, self.largest = rates.shape[1], largest

    def every(self) -> torch.Tensor:
        grid = torch.meshgrid(*[torch.arange(self.largest + 1)] * self.sites, indexing="ij")
        return torch.stack([axis.flatten() for axis in grid], dim=-1)

    def log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        sites = self.log_laws[:, torch.arange(self.sites), x].sum(-1)  # (components, ...)
        return torch.logsumexp(self.log_weights[:, None] + sites, 0)

    def law(self) -> torch.Tensor:
        return torch.exp(self.log_likelihood(self.every()))

    def entropy(self) -> float:
        law = self.law()
        return float(-torch.xlogy(law, law).sum())

    def predict(self, process: PureDeath, state: Any, kind: TokenKind) -> DiscretePrediction:
        own = process.emission_log_likelihood(state)  # (items, sites, counts)
        joint = self.log_laws + own[:, None]  # (items, components, sites, counts)
        evidence = torch.logsumexp(joint, -1)
        for_site = self.log_weights[:, None] + evidence.sum(-1, keepdim=True)
        if kind == "loo":
            joint, for_site = self.log_laws.expand(joint.shape), for_site - evidence
        else:
            for_site = for_site - evidence
        return DiscretePrediction(torch.logsumexp(for_site[..., None] + joint, 1), kind)


class ExactCounts:
    def __init__(self, target: PoissonMixture, process: PureDeath, kind: TokenKind = "denoiser") -> None:
        self.target, self.path, self.kind = target, process, kind

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        return self.target.predict(self.path, state, self.kind)


ONE = PoissonMixture([[1.0], [9.0]], [0.4, 0.6], 24)
TWO = PoissonMixture([[1.0, 4.0], [4.0, 0.5]], [0.5, 0.5], 7)


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
def test_five_functions_are_binomial_thinning(schedule: LinearSchedule) -> None:
    process = PureDeath(6, schedule)
    s, t = torch.tensor(0.3).double(), torch.tensor(0.7).double()
    eye = torch.eye(7, dtype=torch.float64)
    late, early = process.push(eye, t), process.push(eye, s)
    keep = float(schedule.keep(t))
    assert float(late[5, 2]) == pytest.approx(10.0 * keep**2 * (1.0 - keep) ** 3)
    torch.testing.assert_close(late.sum(-1), torch.ones(7, dtype=torch.float64))
    state = Corrupted(torch.arange(7), t)
    torch.testing.assert_close(torch.exp(process.emission_log_likelihood(state)), late.T)
    step = torch.exp(process.transition_log_likelihood(state, s)).T
    torch.testing.assert_close(early @ step, late)
    torch.testing.assert_close(process.push(eye, torch.tensor(0.0)), eye)
    assert bool((process.push(eye, torch.tensor(1.0))[:, 0] == 1.0).all())
    torch.testing.assert_close(process.push(eye, torch.full((7,), 0.7).double()), late)
    mixed = torch.tensor([0.7, 0.3, 0.7, 0.0, 0.3, 1.0, 0.7], dtype=torch.float64)
    each = torch.stack([process.push(eye, time)[row] for row, time in enumerate(mixed)])
    torch.testing.assert_close(process.push(eye, mixed), each)


def test_corruption_and_known_sites() -> None:
    process = PureDeath(6)
    x0 = torch.tensor([5, 3]).expand(40_000, 2)
    known = torch.tensor([False, True]).expand(40_000, 2)
    noisy = process.corrupt(x0, torch.tensor(0.4), torch.Generator().manual_seed(0), known)
    shares = torch.bincount(noisy.x[:, 0], minlength=7) / 40_000
    expected = process.push(torch.eye(7, dtype=torch.float64), torch.tensor(0.4))[5]
    torch.testing.assert_close(shares.double(), expected, atol=0.01, rtol=0.0)
    assert bool((noisy.x[:, 1] == 3).all())
    assert bool((noisy.t[:, 1] == 0.0).all())


def reverse_kernel(target: PoissonMixture, process: PureDeath, t: float, s: float) -> torch.Tensor:
    """Return the law of sequences at s (columns) for every sequence at t."""
    every = target.every()
    state = Corrupted(every, torch.tensor(t, dtype=torch.float64))
    prediction = target.predict(process, state, "loo")
    law = torch.exp(
        prediction.reverse_log_probabilities(process, state, torch.tensor(s, dtype=torch.float64))
    )
    sites = law[:, torch.arange(target.sites), every]
    return sites.prod(-1)


def generated(target: PoissonMixture, process: PureDeath, steps: int) -> torch.Tensor:
    """Return the exact law that so many ancestral steps draw from."""
    law = torch.zeros(len(target.every()), dtype=torch.float64)
    law[0] = 1.0
    for step in range(steps, 0, -1):
        kernel = reverse_kernel(target, process, step / steps, (step - 1) / steps)
        law = law @ torch.where(law[:, None] > 0.0, kernel, 0.0)
    return law


@pytest.mark.parametrize("steps", [1, 3])
def test_a_single_count_is_drawn_exactly_in_any_number_of_steps(steps: int) -> None:
    torch.testing.assert_close(generated(ONE, PureDeath(24), steps), ONE.law(), rtol=1e-9, atol=1e-12)


def test_counts_that_depend_on_each_other_converge() -> None:
    found = [
        0.5 * float((generated(TWO, PureDeath(7), steps) - TWO.law()).abs().sum()) for steps in (1, 4, 8, 16)
    ]
    assert found[0] > 0.1
    assert found[1] > 1.7 * found[2] > 1.7 * 1.7 * found[3]
    assert found[3] < 0.03


def test_the_posterior_is_that_of_enumeration() -> None:
    process, t = PureDeath(7), torch.tensor(0.5, dtype=torch.float64)
    state = Corrupted(torch.tensor([[1, 3]]), t)
    own = process.emission_log_likelihood(state)[0]
    every = TWO.every()
    posterior = torch.exp(own[torch.arange(2), every].sum(-1)) * TWO.law()
    posterior = posterior / posterior.sum()
    for kind in ("denoiser", "loo"):
        prediction = TWO.predict(process, state, kind)
        found = prediction.to("denoiser", process, state).probabilities[0]
        for site in range(2):
            margin = torch.stack([posterior[every[:, site] == k].sum() for k in range(8)])
            torch.testing.assert_close(found[site], margin)


@pytest.mark.parametrize("kind", ["denoiser", "loo"])
def test_drawn_births_have_the_exact_law(kind: TokenKind) -> None:
    process, count = PureDeath(24), 20_000
    denoiser = ExactCounts(ONE, process, kind)
    result = sample(
        denoiser, Births(), uniform_grid(3), shape=(count, 1), generator=torch.Generator().manual_seed(0)
    )
    shares = torch.bincount(result.samples[:, 0], minlength=25) / count
    assert result.nfe == 3
    torch.testing.assert_close(shares.double(), ONE.law(), atol=0.012, rtol=0.0)


def test_steps_by_the_mean_spread_too_little_in_few_steps_and_converge() -> None:
    process, count = PureDeath(24), 4_000
    law, counts = ONE.law(), torch.arange(25, dtype=torch.float64)
    variance = float(law @ counts**2 - (law @ counts) ** 2)

    def ratio(step: BirthStep, steps: int) -> float:
        drawn = sample(
            ExactCounts(ONE, process), Births(step), uniform_grid(steps), shape=(count, 1),
            generator=torch.Generator().manual_seed(1),
        ).samples  # fmt: skip
        assert int(drawn.max()) <= 24
        return float(drawn.double().var()) / variance

    assert ratio("binomial", 2) < 0.75
    assert ratio("poisson", 2) < 0.9
    assert ratio("poisson", 60) == pytest.approx(1.0, abs=0.08)
    assert ratio("posterior", 2) == pytest.approx(1.0, abs=0.08)


def test_known_counts_are_kept_and_the_rest_follows() -> None:
    process, count = PureDeath(7), 4_000
    known = torch.tensor([True, False]).expand(count, 2)
    x = torch.where(known, 5, 0)
    start = State(x, known=known, generator=torch.Generator().manual_seed(0))
    expected = TWO.law().reshape(8, 8)[5] / TWO.law().reshape(8, 8)[5].sum()
    for solver in (Births(), Ancestral()):
        result = sample(ExactCounts(TWO, process), solver, uniform_grid(6), state=start)
        assert bool((result.samples[:, 0] == 5).all())
        shares = torch.bincount(result.samples[:, 1], minlength=8) / count
        torch.testing.assert_close(shares.double(), expected, atol=0.03, rtol=0.0)


def test_the_bound_is_the_generic_one() -> None:
    process = PureDeath(7, CosineSchedule())
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randint(8, (64, 3), generator=generator)
    state = process.corrupt(x0, torch.full((64,), 0.6).double(), generator)
    logits = torch.randn((64, 3, 8), generator=generator, dtype=torch.float64)
    loo = DiscretePrediction(logits, "loo")
    found = DeathELBO().site_loss(loo, process, state, x0)
    torch.testing.assert_close(found, GenericELBO().site_loss(loo, process, state, x0), rtol=1e-9, atol=1e-10)
    own = loo.to("denoiser", process, state)
    torch.testing.assert_close(DeathELBO().site_loss(own, process, state, x0), found)
    missing = (own.probabilities * torch.arange(8)).sum(-1) - state.x
    mean = MissingMean(missing)
    torch.testing.assert_close(DeathELBO().site_loss(mean, process, state, x0), found)
    weight = float(1.0 - process.schedule.keep(torch.tensor(0.6).double()))
    published = BlackoutLoss().site_loss(mean, process, state, x0)
    torch.testing.assert_close(published, found * weight)
    assert DeathELBO.is_bound
    assert not BlackoutLoss.is_bound


@pytest.mark.parametrize("target", [ONE, TWO])
def test_the_bound_of_the_exact_posterior_is_the_entropy(target: PoissonMixture) -> None:
    process, every = PureDeath(target.largest), target.every()
    nodes, weights = np.polynomial.legendre.leggauss(16)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    total = 0.0
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        # t = v^3 smooths the logarithms of t near the data.
        state = Corrupted(every, torch.tensor(node**3, dtype=torch.float64))
        law = (
            torch.exp(process.emission_log_likelihood(state)[:, torch.arange(target.sites), every].sum(-1).T)
            * target.law()[:, None]
        )  # (clean, noisy)
        mean = (
            target.predict(process, state, "denoiser").probabilities * torch.arange(target.largest + 1)
        ).sum(-1) - every
        x0 = every[:, None].expand(-1, len(every), -1)
        noisy = Corrupted(every.expand_as(x0), state.t)
        loss = DeathELBO().site_loss(MissingMean(mean.clamp_min(0.0).expand(x0.shape)), process, noisy, x0)
        rate = (law * torch.where(law > 0.0, loss.sum(-1), 0.0)).sum()
        total += weight * 3.0 * node**2 * float(rate)
    assert total == pytest.approx(target.entropy(), abs=1e-3)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.5, 1.0])
def test_losses_and_gradients_are_finite(t: float) -> None:
    process, generator = PureDeath(9), torch.Generator().manual_seed(0)
    x0 = torch.randint(10, (32, 4), generator=generator)
    state = process.corrupt(x0, torch.full((32,), t).double(), generator)
    counts = torch.arange(10)
    logits = torch.randn((32, 4, 10), generator=generator).requires_grad_()
    possible = torch.where(counts < state.x[..., None], -torch.inf, logits)
    for objective in (DeathELBO(), BlackoutLoss(), DenoiserCrossEntropy()):
        loss = objective.site_loss(DiscretePrediction(possible, "denoiser"), process, state, x0)
        assert bool(loss.isfinite().all())
        (gradient,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
        assert bool(gradient.isfinite().all())


def test_what_does_not_fit_is_refused() -> None:
    process, state = PureDeath(4), Corrupted(torch.zeros(1, 2, dtype=torch.int64), torch.tensor(0.5))
    mean = MissingMean(torch.ones(1, 2))
    with pytest.raises(TypeError, match="mean gives no law"):
        process.reverse_log_probabilities(mean, state, torch.tensor(0.1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="PureDeath"):
        DeathELBO().site_loss(mean, Mask(3), state, state.x)
    with pytest.raises(ValueError, match="step must be one of"):
        Births("mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="largest"):
        PureDeath(0)
