"""One-step distillation: exact fixed points, drifts that vanish where they should, a student that learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sciffusion.discrete import DiscreteProcess, Mask, Uniform
from sciffusion.exact import MarkovChainOracle
from sciffusion.training.fixed_point import (
    FixedPointDistillation,
    bigram_features,
    drift_field,
    refinement_kernel,
    stationary_law,
)

ORACLE = MarkovChainOracle.bench_a()
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 4)
LAW = torch.exp(ORACLE.log_likelihood(EVERY))
PROCESSES = [Mask(3), Uniform(3)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(law: Tensor, other: Tensor = LAW) -> float:
    return 0.5 * float((law - other).abs().sum())


def product_law() -> Tensor:
    sites = [torch.stack([LAW[EVERY[:, site] == token].sum() for token in range(3)]) for site in range(4)]
    return torch.stack([sites[site][EVERY[:, site]] for site in range(4)]).prod(0)


class Student(nn.Module):
    """Sequences of uniform noise to logits of sequences."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, width), nn.SiLU(), nn.Linear(width, 12))

    def forward(self, noise: Tensor) -> Tensor:
        logits: Tensor = self.layers(nn.functional.one_hot(noise, 3).float().flatten(1))
        return logits.reshape(-1, 4, 3)

    def law(self) -> Tensor:
        """Return the exact law of one step, averaged over all noise."""
        with torch.no_grad():
            sites = torch.softmax(self(EVERY).double(), -1)
        return torch.stack([sites[:, site][:, EVERY[:, site]] for site in range(4)]).prod(0).mean(0)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_kernel_is_that_of_its_own_draws(process: DiscreteProcess) -> None:
    teacher, count = ORACLE.denoiser(process), 20_000
    kernel = refinement_kernel(teacher, 4, 0.6, 2)
    torch.testing.assert_close(kernel.sum(-1), torch.ones(81, dtype=torch.float64))
    objective = FixedPointDistillation(teacher, fraction=(0.6, 0.6), refinements=2)
    start = torch.tensor([0, 2, 1, 0])
    drawn = objective.refine(start.expand(count, 4), generator())
    shares = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(-1), minlength=81).double() / count
    row = kernel[int((start * torch.tensor([27, 9, 3, 1])).sum())]
    noise = 0.5 * float(torch.sqrt(2.0 * row * (1.0 - row) / (torch.pi * count)).sum())
    assert distance(shares, row) < 1.6 * noise


@pytest.mark.parametrize("process", PROCESSES)
def test_refining_everything_at_once_is_the_product_of_marginals(process: DiscreteProcess) -> None:
    kernel = refinement_kernel(ORACLE.denoiser(process), 4, 1.0)
    torch.testing.assert_close(kernel, product_law().expand(81, 81))
    assert distance(product_law()) == pytest.approx(0.263, abs=5e-4)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_bias_of_the_fixed_point_falls_with_the_share_and_with_refinements(
    process: DiscreteProcess,
) -> None:
    teacher = ORACLE.denoiser(process)
    biases = {
        (share, steps): distance(stationary_law(refinement_kernel(teacher, 4, share, steps)))
        for share in (0.1, 0.5)
        for steps in (1, 2)
    }
    assert 0.005 < biases[0.1, 1] < 0.25 * biases[0.5, 1]
    assert biases[0.5, 2] < 0.6 * biases[0.5, 1]
    kernel = refinement_kernel(teacher, 4, 0.5)
    law = stationary_law(kernel)
    torch.testing.assert_close(law @ kernel, law)
    assert float(law.sum()) == pytest.approx(1.0)


def test_single_sites_refined_have_no_bias() -> None:
    """In the limit of small shares at most one site is masked: a Gibbs sampler, exact."""
    law = stationary_law(refinement_kernel(ORACLE.denoiser(Mask(3)), 4, 1e-4))
    assert distance(law) < 2e-5


def test_drifts_vanish_between_equal_clouds_and_point_to_the_other() -> None:
    cloud = torch.randn(400, 3, generator=generator())
    other = torch.randn(400, 3, generator=generator(1))
    equal = drift_field(cloud, other, (1.0,)).mean(0)
    moved = drift_field(cloud, other + torch.tensor([2.0, 0.0, 0.0]), (1.0, 3.0)).mean(0)
    assert float(equal.abs().max()) < 0.15
    assert float(moved[0]) > 1.0 > 0.3 > float(moved[1:].abs().max())


def test_a_bandwidth_beyond_all_distances_moves_by_the_difference_of_means() -> None:
    cloud, other = (torch.randn(50, 3, generator=generator(seed)) for seed in (0, 1))
    found = drift_field(cloud, other, (1e6,))
    # Each item leaves itself and its own refinement out.
    means = (other.sum(0) - other) / 49 - (cloud.sum(0) - cloud) / 49
    torch.testing.assert_close(found, means, atol=1e-4, rtol=1e-4)


def test_bigrams_are_counted_where_they_stand() -> None:
    tokens = torch.tensor([[2, 0, 1]])
    features = bigram_features(nn.functional.one_hot(tokens, 3).float())[0]
    expected = torch.zeros(9 + 18)
    expected[[2, 3 + 0, 6 + 1, 9 + 2 * 3 + 0, 18 + 0 * 3 + 1]] = 1.0
    assert torch.equal(features, expected)


@pytest.mark.parametrize("gradient", ["straight_through", "exchange"])
def test_a_student_closes_much_of_the_gap_of_one_step(gradient: str) -> None:
    student = Student()
    with torch.no_grad():
        for place, parameter in enumerate(student.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator(place)))
    objective = FixedPointDistillation(
        ORACLE.denoiser(Mask(3), "denoiser"), fraction=(0.5, 0.5), gradient=gradient  # type: ignore[arg-type]
    )  # fmt: skip
    optimiser, stream = torch.optim.Adam(student.parameters(), 5e-3), generator()
    for _ in range(150):
        noise = torch.randint(3, (128, 4), generator=stream)
        optimiser.zero_grad()
        objective(student, (noise,), stream).backward()
        optimiser.step()
    # The best that one step can do without noise to tell sites of each other is .263.
    assert distance(student.law()) < 0.2


def test_the_exchange_gradient_is_that_of_the_mean_log_ratio() -> None:
    """For one site every exchange is enumerated: the gradient must be that of the ratio's own mean."""

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.3, -0.2, 0.1]))

        def forward(self, noise: Tensor) -> Tensor:
            return self.logits.expand(len(noise), 1, 3)

    chain = MarkovChainOracle(torch.tensor([0.6, 0.1, 0.3]), torch.eye(3) + 0.1, 1)
    student = Same()
    objective = FixedPointDistillation(
        chain.denoiser(Mask(3)), lambda x: x.flatten(1), fraction=(1.0, 1.0), bandwidths=(0.05,),
        gradient="exchange",
    )  # fmt: skip
    objective(student, (torch.zeros(2_000, 1),), generator()).backward()
    probabilities = torch.softmax(student.logits.detach(), -1)
    ratios = torch.log(chain.initial.float() / probabilities)
    expected = -probabilities * (ratios - (probabilities * ratios).sum())
    assert student.logits.grad is not None
    torch.testing.assert_close(student.logits.grad, expected, atol=0.03, rtol=0.0)


def test_log_ratios_leave_out_the_draft_and_its_own_refinement() -> None:
    drawn = torch.randint(3, (2, 4, 2), generator=generator())
    drafts, refined = nn.functional.one_hot(drawn, 3).double().unbind(0)
    probabilities = torch.softmax(torch.randn(4, 2, 3, generator=generator(), dtype=torch.float64), -1)
    objective = FixedPointDistillation(ORACLE.denoiser(Mask(3)), bandwidths=(0.3, 2.0))
    found = objective._log_ratios(drafts, bigram_features(refined), probabilities)

    def log_density(point: Tensor, others: Tensor, own: int, bandwidth: float) -> Tensor:
        rest = bigram_features(others)[[j for j in range(4) if j != own]]
        return torch.logsumexp(-(bigram_features(point[None]) - rest).norm(dim=-1) / bandwidth, 0)

    expected = torch.zeros(4, 2, 3, dtype=torch.float64)
    for item, site, token in torch.cartesian_prod(torch.arange(4), torch.arange(2), torch.arange(3)).tolist():
        point = drafts[item].clone()
        point[site] = nn.functional.one_hot(torch.tensor(token), 3).double()
        for b in (0.3, 2.0):
            ratio = log_density(point, refined, item, b) - log_density(point, drafts, item, b)
            expected[item, site, token] += 0.5 * ratio.clamp(-8.0, 8.0)
    expected -= (expected * probabilities).sum(-1, keepdim=True)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": (0.0, 0.5)}, "fraction must be"),
        ({"fraction": (0.7, 0.5)}, "fraction must be"),
        ({"refinements": 0}, "refinements must be at least 1"),
        ({"bandwidths": (0.0,)}, "bandwidths must be positive"),
        ({"gradient": "reinforce"}, "gradient must be one of"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FixedPointDistillation(ORACLE.denoiser(Mask(3)), **settings)  # type: ignore[arg-type]


def test_single_drafts_and_shares_outside_their_range_are_refused() -> None:
    teacher = ORACLE.denoiser(Mask(3))
    with pytest.raises(ValueError, match="at least 2 in a batch, got 1"):
        FixedPointDistillation(teacher)(Student(), (EVERY[:1],), generator())
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\], got 1.5"):
        refinement_kernel(teacher, 4, 1.5)
