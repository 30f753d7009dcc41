"""Objectives against the generic bound, against the entropy of an exact chain, and at the ends of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciffusion.discrete import (
    Corrupted,
    CosineSchedule,
    DenoiserCrossEntropy,
    DiscreteObjective,
    DiscretePrediction,
    DiscreteProcess,
    GenericELBO,
    LinearSchedule,
    Mask,
    MaskELBO,
    MaximalCouplingLoss,
    NetworkTokenDenoiser,
    TokenKind,
    Uniform,
    UniformELBO,
)
from sciffusion.discrete.objective import _excess
from sciffusion.exact import MarkovChainOracle
from sciffusion.networks import TokenTransformer


class EveryPair:
    """All clean (first axis) and noisy sequences of bench A at one time, with their joint probabilities."""

    def __init__(self, process: DiscreteProcess, t: float) -> None:
        self.process, self.oracle = process, MarkovChainOracle.bench_a()
        clean = torch.cartesian_prod(*[torch.arange(3)] * 4)
        noisy = torch.cartesian_prod(*[torch.arange(process.state_size)] * 4)
        self.state = Corrupted(noisy, torch.tensor(t, dtype=torch.float64))
        emission = process.emission_log_likelihood(self.state)  # (noisy sequences, sites, clean tokens)
        log_likelihood = emission[:, torch.arange(4), clean].sum(-1).T
        self.law = torch.exp(log_likelihood + self.oracle.log_likelihood(clean)[:, None])
        self.x0 = clean[:, None].expand(-1, len(noisy), -1)
        self.noisy = Corrupted(noisy.expand(self.x0.shape), self.state.t)

    def exact(self, kind: TokenKind) -> torch.Tensor:
        """Return exact logits for every noisy sequence."""
        return self.oracle.predict(self.process, self.state, kind).logits

    def expected(self, objective: DiscreteObjective, logits: torch.Tensor, kind: TokenKind) -> torch.Tensor:
        """Return the loss of predictions for every noisy sequence, summed over sites and averaged."""
        prediction = DiscretePrediction(logits.expand(len(self.x0), -1, -1, -1), kind)
        losses = objective.site_loss(prediction, self.process, self.noisy, self.x0).sum(-1)
        return (self.law * torch.where(self.law > 0.0, losses, 0.0)).sum()


def loss_rate(objective: DiscreteObjective, process: DiscreteProcess, t: float) -> float:
    """Return the expected loss of the exact denoiser at one time."""
    pairs = EveryPair(process, t)
    return float(pairs.expected(objective, pairs.exact("loo"), "loo"))


@pytest.mark.parametrize(
    ("keep", "loo", "own"), [(0.2, 1.126, 1.180), (0.5, 2.729, 3.485), (0.8, 4.988, 8.158)]
)
def test_the_uniform_bound_is_lowest_at_the_leave_one_out_law(keep: float, loo: float, own: float) -> None:
    pairs = EveryPair(Uniform(3), 1.0 - keep)
    for kind, expected in (("loo", loo), ("denoiser", own)):
        # The denoiser is given as if it were the leave-one-out law: what a wrong parametrisation does.
        found = pairs.expected(UniformELBO(), pairs.exact(kind), "loo")
        assert float(found) == pytest.approx(expected, abs=6e-4)
    converted = pairs.expected(UniformELBO(), pairs.exact("denoiser"), "denoiser")
    assert float(converted) == pytest.approx(loo, abs=6e-4)


@pytest.mark.parametrize("objective", [UniformELBO(), MaximalCouplingLoss(), DenoiserCrossEntropy()])
def test_no_perturbation_of_the_exact_law_lowers_an_objective(objective: DiscreteObjective) -> None:
    """At the exact prediction the gradient of the expected loss with respect to logits vanishes."""
    pairs = EveryPair(Uniform(3), 0.6)
    logits = pairs.exact("loo").requires_grad_()
    total = pairs.expected(objective, logits, "loo")
    (gradient,) = torch.autograd.grad(total, logits)
    assert float(gradient.abs().max()) < 1e-14


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
@pytest.mark.parametrize("t", [0.01, 0.4, 0.97])
@pytest.mark.parametrize("closed_form", [MaskELBO(), UniformELBO()])
def test_closed_forms_are_the_generic_bound(
    schedule: LinearSchedule | CosineSchedule, t: float, closed_form: DiscreteObjective
) -> None:
    is_mask = isinstance(closed_form, MaskELBO)
    process = Mask(5, schedule) if is_mask else Uniform(5, schedule)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randint(5, (64, 7), generator=generator)
    state = process.corrupt(x0, torch.full((64,), t), generator)
    logits = 2.0 * torch.randn((64, 7, 5), generator=generator, dtype=torch.float64)
    prediction = DiscretePrediction(logits, "loo")
    found = closed_form.site_loss(prediction, process, state, x0)
    expected = GenericELBO().site_loss(prediction, process, state, x0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    single = closed_form.site_loss(DiscretePrediction(logits.float(), "loo"), process, state, x0)
    torch.testing.assert_close(single.double(), expected, rtol=2e-4, atol=2e-5)


def test_the_uniform_bound_is_the_published_closed_form() -> None:
    process, t = Uniform(4), 0.3
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randint(4, (32, 5), generator=generator)
    state = process.corrupt(x0, torch.tensor(t), generator)
    prediction = DiscretePrediction(torch.randn((32, 5, 4), generator=generator).double(), "loo")
    keep = 1.0 - t
    true = 4 * keep * torch.nn.functional.one_hot(x0, 4) + 1.0 - keep
    model = 4 * keep * prediction.probabilities + 1.0 - keep
    true_own, model_own = (each.gather(-1, state.x[..., None]) for each in (true, model))
    inner = (true / true_own * torch.log(model_own * true / (model * true_own))).sum(-1)
    published = -1.0 / (4 * keep) * (4 / true_own[..., 0] - 4 / model_own[..., 0] - inner)
    torch.testing.assert_close(UniformELBO().site_loss(prediction, process, state, x0), published)


@pytest.mark.parametrize(
    ("objective", "process"),
    [(MaskELBO(), Mask(3)), (MaskELBO(), Mask(3, CosineSchedule())), (UniformELBO(), Uniform(3))],
)
def test_the_bound_of_the_exact_denoiser_is_the_entropy(
    objective: DiscreteObjective, process: DiscreteProcess
) -> None:
    """The integral over times of the expected loss is the entropy: nothing is lost but the data's own."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    times, weights = (nodes + 1.0) / 2.0, weights / 2.0
    if isinstance(process, Uniform):
        # The rate has logarithms of t at the end of data: t = u^2 smooths them.
        times, weights = times**3, weights * 3.0 * times**2
    bound = sum(w * loss_rate(objective, process, float(t)) for t, w in zip(times, weights, strict=True))
    assert objective.is_bound
    assert bound == pytest.approx(MarkovChainOracle.bench_a().entropy(), abs=1e-5)


def test_the_bound_of_maximal_coupling_lies_above_the_entropy() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    bound = sum(
        w / 2.0 * loss_rate(MaximalCouplingLoss(), Uniform(3), (t + 1.0) / 2.0)
        for t, w in zip(nodes.tolist(), weights.tolist(), strict=True)
    )
    entropy = MarkovChainOracle.bench_a().entropy()
    assert entropy + 0.02 < bound < 2.0 * entropy


def test_cross_entropy_of_masks_is_that_of_masked_sites() -> None:
    process = Mask(3)
    x0 = torch.tensor([[0, 1, 2]])
    state = Corrupted(torch.tensor([[3, 1, 3]]), torch.tensor(0.5))
    logits = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = -torch.log_softmax(logits, -1)[0, [0, 1, 2], [0, 1, 2]] * torch.tensor([1.0, 0.0, 1.0])
    for kind in ("loo", "denoiser"):
        found = DenoiserCrossEntropy().site_loss(DiscretePrediction(logits, kind), process, state, x0)
        torch.testing.assert_close(found[0], expected)


PAIRS = [
    (MaskELBO(), Mask(4), "denoiser"),
    (UniformELBO(), Uniform(4), "loo"),
    (UniformELBO(), Uniform(4), "denoiser"),
    (DenoiserCrossEntropy(), Uniform(4), "loo"),
    (DenoiserCrossEntropy(), Mask(4), "denoiser"),
    (MaximalCouplingLoss(), Uniform(4), "denoiser"),
    (MaximalCouplingLoss(), Uniform(4), "loo"),
    (MaximalCouplingLoss(), Mask(4), "denoiser"),
]


@pytest.mark.parametrize(("objective", "process", "kind"), PAIRS)
@pytest.mark.parametrize("t", [0.0, 1e-9, 1e-5, 0.5, 1.0 - 1e-6, 1.0 - 1e-12, 1.0])
def test_losses_and_gradients_are_finite_at_every_time(
    objective: DiscreteObjective, process: DiscreteProcess, kind: str, t: float
) -> None:
    network = TokenTransformer(process.state_size, 4, width=16, depth=1, n_heads=2)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.output.weight, std=3.0, generator=generator)
    x0 = torch.randint(4, (16, 6), generator=generator)
    known = torch.zeros(16, 6, dtype=torch.bool)
    known[:, 0] = True
    denoiser = NetworkTokenDenoiser(network, process, kind)  # type: ignore[arg-type]
    loss = objective(denoiser, x0, torch.full((16,), t, dtype=torch.float64), generator, known=known)
    assert loss.shape == x0.shape
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite().all())
    assert bool((loss[:, 0] == 0.0).all())
    loss.mean().backward()
    gradients = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    assert bool(gradients.isfinite().all())
    if 0.0 < t < 1.0 - 1e-6 and t > 1e-4:
        assert float(gradients.abs().max()) > 0.0


def test_objectives_refuse_processes_that_they_do_not_describe() -> None:
    state = Corrupted(torch.zeros(1, 2, dtype=torch.int64), torch.tensor(0.5))
    prediction, x0 = DiscretePrediction(torch.zeros(1, 2, 3), "loo"), state.x
    with pytest.raises(TypeError, match="needs a process that masks"):
        MaskELBO().site_loss(prediction, Uniform(3), state, x0)
    with pytest.raises(TypeError, match="uniform"):
        UniformELBO().site_loss(prediction, Mask(3), state, x0)


def test_small_differences_of_rates_keep_their_digits() -> None:
    """In float32 the difference of both sides of exp(d) - 1 > d is lost to rounding below d = 1e-3."""
    size = torch.logspace(-5, 0.5, 50)
    d = torch.cat([-size, size])
    exact = torch.expm1(d.double()) - d.double()
    torch.testing.assert_close(_excess(d).double(), exact, rtol=1e-4, atol=0.0)
