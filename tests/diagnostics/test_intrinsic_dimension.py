"""Dimension of flat data and of mixtures of parts of different dimension, by all three estimates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import Heun, RectifiedFlow, VariancePreserving
from sciffusion.diagnostics import density_dimension, flow_dimension, normal_bundle_dimension
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import log_snr_grid, uniform_grid

DIM = 6
PATH = VariancePreserving()
#: Time at which the relative noise is about 1/100.
SMALL = float(PATH.time_of_log_snr(4.6))


def plane(dimension: int, seed: int, far: float = 0.0) -> GaussianTarget:
    """Return a normal law of a lower dimension, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))
    variances = torch.zeros(DIM, dtype=torch.float64)
    variances[:dimension] = torch.linspace(0.5, 1.5, dimension) if dimension > 1 else 1.0
    return GaussianTarget(far * basis[:, -1], variances, basis)


def points(target: GaussianTarget, count: int = 20) -> Tensor:
    return target.draw(count, torch.Generator().manual_seed(1))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("dimension", [0, 1, 3, 6])
def test_flat_data(dimension: int) -> None:
    target = plane(dimension, seed=dimension)
    denoiser, x0 = ExactDenoiser(target, PATH), points(target)
    bundle = normal_bundle_dimension(denoiser, x0, SMALL, generator=generator())
    assert bundle.dimension.tolist() == [dimension] * 20
    assert bundle.mean == dimension
    assert bundle.scale == pytest.approx(0.01, rel=0.05)
    density = density_dimension(denoiser, x0, SMALL)
    torch.testing.assert_close(
        density.dimension, torch.full((20,), float(dimension), dtype=torch.float64), rtol=0.0, atol=0.01
    )
    start = torch.randn(5, DIM, generator=generator(), dtype=torch.float64)
    flow = flow_dimension(denoiser, Heun("noise_to_signal"), log_snr_grid(PATH, 40, end=SMALL), start)
    assert flow.dimension.tolist() == [dimension] * 5


def test_the_largest_gap_agrees_inside_and_cannot_at_the_ends() -> None:
    for dimension in (1, 2, 5):
        target = plane(dimension, seed=dimension)
        found = normal_bundle_dimension(
            ExactDenoiser(target, PATH), points(target), SMALL, generator=generator(), rule="gap"
        )
        assert found.dimension.tolist() == [dimension] * 20
    full = plane(6, seed=6)
    found = normal_bundle_dimension(
        ExactDenoiser(full, PATH), points(full), SMALL, generator=generator(), rule="gap"
    )
    assert float(found.dimension.max()) < 6


def test_parts_of_a_mixture_keep_their_dimensions() -> None:
    parts = [plane(1, 0, far=8.0), plane(2, 1, far=-8.0), plane(4, 2, far=16.0)]
    mixture = GaussianMixtureTarget(torch.tensor([0.2, 0.5, 0.3]), parts)
    denoiser = ExactDenoiser(mixture, PATH)
    x0 = torch.cat([points(part, 10) for part in parts])
    expected = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).repeat_interleave(10)
    bundle = normal_bundle_dimension(denoiser, x0, SMALL, generator=generator())
    assert torch.equal(bundle.dimension, expected)
    assert bundle.mean == pytest.approx(7.0 / 3.0)
    density = density_dimension(denoiser, x0, SMALL).dimension
    torch.testing.assert_close(density, expected, rtol=0.0, atol=0.01)
    start = torch.randn(40, DIM, generator=generator(), dtype=torch.float64)
    flow = flow_dimension(denoiser, Heun("noise_to_signal"), log_snr_grid(PATH, 60, end=SMALL), start)
    assert set(flow.dimension.tolist()) <= {1.0, 2.0, 4.0}
    assert len(set(flow.dimension.tolist())) > 1


def test_a_direction_counts_where_its_spread_exceeds_the_scale() -> None:
    # Standard deviations 1, .1 and .01: the dimension falls from 3 to 1 as the scale passes each.
    target = GaussianTarget.diagonal(torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64))
    denoiser, x0 = ExactDenoiser(target, PATH), target.draw(4, generator())
    start = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    for scale, expected in ((0.004, 3.0), (0.025, 2.0), (0.06, 2.0), (0.25, 1.0), (2.5, 0.0)):
        t = float(PATH.time_of_log_snr(-torch.log(torch.tensor(scale, dtype=torch.float64))))
        bundle = normal_bundle_dimension(denoiser, x0, t, generator=generator())
        assert bundle.dimension.tolist() == [expected] * 4, scale
        flow = flow_dimension(denoiser, Heun("noise_to_signal"), log_snr_grid(PATH, 60, end=t), start)
        assert flow.dimension.tolist() == [expected] * 4, scale


def test_the_flow_counts_directions_wider_than_the_root_of_two_scales() -> None:
    # The standard deviation .1 lies between .09 and .09 times the root of 2, and above .065 times it.
    target = GaussianTarget.diagonal(torch.tensor([1.0, 0.1], dtype=torch.float64))
    start = torch.randn(3, 2, generator=generator(), dtype=torch.float64)
    for scale, expected in ((0.065, 2.0), (0.09, 1.0)):
        t = float(PATH.time_of_log_snr(-torch.log(torch.tensor(scale, dtype=torch.float64))))
        grid = log_snr_grid(PATH, 300, end=t)
        flow = flow_dimension(ExactDenoiser(target, PATH), Heun("noise_to_signal"), grid, start)
        assert flow.dimension.tolist() == [expected] * 3, scale


def test_spectra_of_gaussian_data_are_known() -> None:
    target = GaussianTarget.diagonal(torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64))
    path = RectifiedFlow()
    denoiser, x0 = ExactDenoiser(target, path), target.draw(3, generator())
    c = path.coefficients(0.3)
    noisy = c.alpha**2 * target.variances + c.sigma**2
    bundle = normal_bundle_dimension(denoiser, x0, 0.3, generator=generator(), n_noise=6)
    assert bundle.spectrum is not None
    expected = (c.sigma**2 / noisy).flip(0).expand(3, 3)
    torch.testing.assert_close(bundle.spectrum, expected)
    flow = flow_dimension(denoiser, Heun(), uniform_grid(300, 1.0, 0.3), x0)
    assert flow.spectrum is not None
    torch.testing.assert_close(flow.spectrum, noisy.sqrt().expand(3, 3), rtol=1e-3, atol=0.0)


def test_probes_are_unbiased() -> None:
    target = plane(3, seed=0)
    denoiser, x0 = ExactDenoiser(target, PATH), points(target, 1).expand(500, DIM)
    found = density_dimension(denoiser, x0, SMALL, n_probes=1, generator=generator())
    assert found.mean == pytest.approx(3.0, abs=4.0 * found.error + 0.01)
    assert found.error > 0.0


def test_bad_input_is_refused() -> None:
    denoiser = ExactDenoiser(plane(3, 0), PATH)
    x0 = torch.zeros(4, DIM)
    with pytest.raises(ValueError, match="both signal and noise"):
        density_dimension(denoiser, x0, 0.0)
    with pytest.raises(ValueError, match=r"shape \(count, dim\)"):
        normal_bundle_dimension(denoiser, x0[0], 0.1, generator=generator())
    with pytest.raises(ValueError, match="n_noise"):
        normal_bundle_dimension(denoiser, x0, 0.1, generator=generator(), n_noise=7)
    with pytest.raises(ValueError, match="rule"):
        normal_bundle_dimension(denoiser, x0, 0.1, generator=generator(), rule="knee")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both signal and noise"):
        flow_dimension(denoiser, Heun(), uniform_grid(4), x0)
    with pytest.raises(ValueError, match="twice its last relative noise"):
        flow_dimension(denoiser, Heun(), uniform_grid(4, 0.2, 0.19), x0)
