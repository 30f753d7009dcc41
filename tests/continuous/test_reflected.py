"""Reflected diffusion: folding, the kernel's two forms, the target of training and the reverse sampler."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, DPMSolverMultistep, NetworkDenoiser, VarianceExploding
from sciffusion.continuous.reflected import (
    ReflectedAtoms,
    ReflectedObjective,
    ReflectedVarianceExploding,
    _cosines,
    _images,
    fold,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import ReflectionHook, State, log_snr_grid, sample, uniform_grid

PATH = ReflectedVarianceExploding(0.05, 2.0)
ATOMS = torch.tensor([[0.05], [0.3], [0.9]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def _places(count: int) -> Tensor:
    """Middles of equal cells of the unit interval."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def _time_of(std: float, path: VarianceExploding = PATH) -> Tensor:
    return path.time_of_log_snr(-math.log(std))


def test_folding_is_reflection_until_inside() -> None:
    x = torch.linspace(-7.3, 8.9, 500, dtype=torch.float64)
    low, high = -0.5, 0.8
    expected = x.clone()
    for _ in range(20):
        expected = torch.where(expected < low, 2.0 * low - expected, expected)
        expected = torch.where(expected > high, 2.0 * high - expected, expected)
    folded = fold(x, low, high)
    torch.testing.assert_close(folded, expected, rtol=0.0, atol=1e-12)
    inside = (x >= low) & (x <= high)
    assert torch.equal(folded[inside], x[inside])
    assert low <= float(folded.min()) <= float(folded.max()) <= high
    torch.testing.assert_close(fold(x, low=0.0), x.abs())
    torch.testing.assert_close(fold(x, high=0.0), -x.abs())
    # Bounds of single coordinates.
    wide = torch.tensor([[1.3, 1.3], [-0.25, -0.25]])
    bounds = torch.tensor([1.0, 2.0])
    expected = torch.tensor([[0.7, 1.3], [0.25, 0.25]])
    torch.testing.assert_close(fold(wide, 0.0, bounds), expected)


@pytest.mark.parametrize("std", [0.02, 0.2, 0.69, 0.71, 0.72, 1.5])
def test_kernel_is_a_density_with_the_moments_of_the_heat_equation(std: float) -> None:
    y, t = _places(1000), _time_of(std, ReflectedVarianceExploding(0.01, 2.0))
    path = ReflectedVarianceExploding(0.01, 2.0)
    for x0 in (0.0, 0.013, 0.5, 0.8, 1.0):
        density = path.log_kernel(y, torch.full_like(y, x0), t).exp()
        assert float(density.mean()) == pytest.approx(1.0, abs=1e-9)
        for k in (1, 2, 3):
            expected = math.exp(-0.5 * (k * math.pi * std) ** 2) * math.cos(k * math.pi * x0)
            assert float((density * torch.cos(k * math.pi * y)).mean()) == pytest.approx(expected, abs=1e-5)


def test_images_and_cosines_are_one_density() -> None:
    y, x = torch.meshgrid(_places(41), _places(37), indexing="ij")
    for variance in (0.5, 0.55, 0.6):
        wide = torch.full_like(y, variance)
        for ours, theirs in zip(_images(y, x, wide), _cosines(y, x, wide), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("std", [0.05, 0.4, 0.70, 0.72, 2.0])
def test_target_is_the_gradient_of_the_kernel(std: float) -> None:
    path = ReflectedVarianceExploding(0.01, 5.0, low=-1.0, high=2.0)
    generator = torch.Generator().manual_seed(0)
    x, x0 = -1.0 + 3.0 * torch.rand(2, 30, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    t = path.time_of_log_snr(-math.log(3.0 * std))
    (gradient,) = torch.autograd.grad(path.log_kernel(x, x0, t).sum(), x)
    torch.testing.assert_close(path.kernel_score(x, x0, t).detach(), gradient, rtol=1e-8, atol=1e-10)
    # No slope at the bounds.
    ends = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert float(path.kernel_score(ends, x0[:2], t).abs().max()) < 1e-8


def test_far_from_the_bounds_the_kernel_is_the_free_one_and_late_it_is_flat() -> None:
    path = ReflectedVarianceExploding(0.01, 2.0)
    x0, x = torch.full((5,), 0.5, dtype=torch.float64), torch.linspace(0.45, 0.55, 5, dtype=torch.float64)
    torch.testing.assert_close(path.kernel_score(x, x0, 0.0), (x0 - x) / 0.01**2)
    torch.testing.assert_close(path.log_kernel(x, x0, 0.0), torch.distributions.Normal(x0, 0.01).log_prob(x))
    assert float(path.log_kernel(_places(50), torch.zeros(50), 1.0).abs().max()) < 6e-9


def test_corrupted_data_have_the_kernel_as_their_law() -> None:
    count = 5_000
    noise = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for std, start in ((0.3, 0.1), (0.9, 0.7)):
        x = PATH.marginal(torch.full((count,), start, dtype=torch.float64), _time_of(std), noise)
        assert 0.0 <= float(x.min()) <= float(x.max()) <= 1.0
        cells = _places(2000)
        density = PATH.log_kernel(cells, torch.full_like(cells, start), _time_of(std)).exp()
        cumulative = torch.cat([torch.zeros(1, dtype=torch.float64), density.cumsum(0) / density.sum()])
        index = (x * 2000).long().clamp_max(1999)
        below = cumulative[index] + (x * 2000 - index) * density[index] / density.sum()
        assert stats.kstest(below.numpy(), "uniform").pvalue > 1e-3


def test_target_averages_to_the_score_of_the_marginal() -> None:
    # For any function f of the noisy value E[(target - score) f] = 0.
    count, t = 10_000, _time_of(0.25)
    generator = torch.Generator().manual_seed(0)
    denoiser = ReflectedAtoms(ATOMS, PATH, WEIGHTS)
    x0 = ATOMS[torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)]
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    x = PATH.marginal(x0, t, noise)
    gap = PATH.kernel_score(x, x0, t) - denoiser.predict(x, t).value
    for k in range(1, 5):
        terms = gap * torch.sin(k * math.pi * x)
        assert abs(float(terms.mean() / terms.std())) * count**0.5 < 4.5
    objective = ReflectedObjective(PATH)
    best = objective(denoiser, x0, t, noise).mean()
    torch.testing.assert_close(objective(denoiser, x0, t, noise), 0.25**2 * gap**2)
    for factor in (0.8, 1.2):
        worse = NetworkDenoiser(
            lambda x, time, condition, factor=factor: factor * denoiser.predict(x, t).value, PATH, "score"
        )
        assert float(objective(worse, x0, t, noise).mean()) > float(best)


def _density_after(n_steps: int, denoiser: ReflectedAtoms, cells: int = 80) -> Tensor:
    """Density of the folded Euler sampler on cells, propagated step by step without drawing anything."""
    path = denoiser.path
    grid, y = log_snr_grid(path, n_steps), _places(cells)
    density = torch.ones(cells, dtype=torch.float64)
    for t, t_next in pairwise(grid):
        spread = path.coefficients(t).sigma ** 2 - path.coefficients(t_next).sigma ** 2
        moved = y + spread * denoiser.predict(y[:, None], t).value[:, 0]
        step = ReflectedVarianceExploding(float(spread.sqrt()), 9.0)
        # From the folded place: reflection commutes with a symmetric step.
        origin = fold(moved, 0.0, 1.0)
        kernel = step.log_kernel(y[:, None].expand(-1, cells), origin[None].expand(cells, -1), 0.0).exp()
        density = kernel @ density / cells
    return density


def test_folded_euler_steps_converge_to_the_exact_law_at_first_order() -> None:
    denoiser = ReflectedAtoms(ATOMS, PATH, WEIGHTS)
    exact = denoiser.log_density(_places(80)[:, None], 0.0).exp()
    errors = [float((_density_after(n, denoiser) - exact).abs().mean()) for n in (16, 32, 64)]
    assert errors[-1] < 0.1
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("law", ["uniform", "truncated normal"])
def test_reflected_samples_stay_inside_and_have_the_law_of_the_data(law: str) -> None:
    levels = _places(24)
    scale = 0.4
    if law == "uniform":
        atoms = levels
    else:
        ends = torch.special.ndtr(torch.tensor([-0.2, 0.8], dtype=torch.float64) / scale)
        atoms = 0.2 + scale * torch.special.ndtri(ends[0] + levels * (ends[1] - ends[0]))
    denoiser = ReflectedAtoms(atoms[:, None].expand(-1, 1), PATH)
    generator = torch.Generator().manual_seed(0)
    result = sample(
        denoiser, AncestralDDPM("upper"), log_snr_grid(PATH, 60), shape=(1000, 1),
        hooks=[ReflectionHook(0.0, 1.0)], generator=generator, dtype=torch.float64,
    )  # fmt: skip
    x = result.samples
    assert 0.0 <= float(x.min()) <= float(x.max()) <= 1.0
    exact = denoiser.draw_marginal(1000, 0.0, generator)
    assert stats.ks_2samp(x[:, 0].numpy(), exact[:, 0].numpy()).pvalue > 1e-3


def test_folding_every_step_of_an_ordinary_path_is_biased_and_folding_the_last_is_not() -> None:
    # Data well inside [0, 1]: an exact denoiser leaves nothing outside, so the last fold changes nothing.
    target = GaussianMixtureTarget.from_stds(
        [0.8, 0.2], torch.tensor([0.3, 0.8], dtype=torch.float64), torch.full((2,), 0.03, dtype=torch.float64)
    )
    denoiser = ExactDenoiser(target, VarianceExploding(1e-3, 2.0))
    start = denoiser.draw_marginal(1000, 1.0, torch.Generator().manual_seed(0))
    runs = [
        sample(denoiser, DPMSolverMultistep(1), uniform_grid(60), state=State(x=start), hooks=hooks).samples
        for hooks in ([], [ReflectionHook(0.0, 1.0, only_last=True)], [ReflectionHook(0.0, 1.0)])
    ]  # fmt: skip
    assert torch.equal(runs[0], runs[1])
    share = [float((run < 0.55).double().mean()) for run in runs]
    assert share[1] == pytest.approx(0.8, abs=0.05)
    assert abs(share[2] - 0.8) > 0.1


@pytest.mark.parametrize("shape", [(), (4,), (4, 2)])
def test_score_of_atoms_is_the_gradient_of_their_density_at_any_times(shape: tuple[int, ...]) -> None:
    atoms = torch.tensor([[0.1, 0.8], [0.7, 0.3], [0.5, 0.5]])
    denoiser = ReflectedAtoms(atoms, PATH, torch.tensor([1.0, 3.0, 2.0]))
    generator = torch.Generator().manual_seed(0)
    t = 0.3 + 0.6 * torch.rand(shape, generator=generator, dtype=torch.float64)
    x = torch.rand(4, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(denoiser.log_density(x, t).sum(), x)
    torch.testing.assert_close(denoiser.predict(x, t).value.detach(), expected, rtol=1e-9, atol=1e-9)


def test_bad_bounds_are_named() -> None:
    with pytest.raises(ValueError, match="at least one of low= and high="):
        ReflectionHook()
    with pytest.raises(ValueError, match=r"low must be below high, got low=1.0 and high=1.0"):
        ReflectionHook(1.0, 1.0)
    with pytest.raises(ValueError, match="low must be below high"):
        ReflectedVarianceExploding(low=2.0)
    with pytest.raises(ValueError, match=r"atoms must lie in \[0.0, 1.0\], got values from -1 to 0"):
        ReflectedAtoms(torch.tensor([[-1.0], [0.0]]), PATH)
    with pytest.raises(ValueError, match=r"shape \(n, dim\)"):
        ReflectedAtoms(torch.zeros(3), PATH)
    for weights in (torch.tensor([1.0]), torch.tensor([1.0, -1.0])):
        with pytest.raises(ValueError, match="weights must be 2 positive numbers"):
            ReflectedAtoms(torch.tensor([[0.2], [0.4]]), PATH, weights)
