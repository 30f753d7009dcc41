"""Conservativity, ODE-SDE gap and the score's equation: zero for exact denoisers, known for spoilt ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    Cosine,
    Path,
    PointwiseDenoiser,
    VarianceExploding,
    VariancePreserving,
    align,
)
from sciffusion.diagnostics import (
    energy_distance,
    energy_test,
    fokker_planck_residual,
    jacobian_asymmetry,
    ode_sde_gap,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import log_snr_grid

DIM = 3
PATHS: list[Path] = [VariancePreserving(), Cosine(), VarianceExploding()]


def mixture(seed: int = 0) -> GaussianMixtureTarget:
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for _ in range(2):
        factor = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
        mean = torch.randn(DIM, generator=generator, dtype=torch.float64)
        parts.append(GaussianTarget.full(factor @ factor.mT + 0.2 * torch.eye(DIM), mean))
    return GaussianMixtureTarget(torch.tensor([0.4, 0.6]), parts)


class Spoilt(PointwiseDenoiser):
    """A denoiser with its noise prediction scaled and a linear map added to its clean estimate."""

    def __init__(self, inner: ExactDenoiser, scale: float = 1.0, matrix: Tensor | None = None) -> None:
        self.inner, self.path, self.scale = inner, inner.path, scale
        self.matrix = torch.zeros(inner.target.dim, inner.target.dim) if matrix is None else matrix

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        c = self.path.coefficients(t)
        eps = self.inner.predict(x, t).to("eps", c, x).value
        clean = ContinuousPrediction(self.scale * eps, "eps").to("x0", c, x).value
        return ContinuousPrediction(clean + x @ self.matrix.to(x).mT, "x0")


def rotation(size: float) -> Tensor:
    matrix = torch.zeros(DIM, DIM, dtype=torch.float64)
    matrix[0, 1], matrix[1, 0] = size, -size
    return matrix


def noisy(denoiser: ExactDenoiser, count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    t = torch.linspace(0.2, 0.8, count, dtype=torch.float64)
    x0 = denoiser.target.draw(count, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return denoiser.path.marginal(x0, t, noise), t


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_exact_denoisers_are_conservative_and_obey_their_equation(path: Path) -> None:
    denoiser = ExactDenoiser(mixture(), path)
    x, t = noisy(denoiser)
    assert jacobian_asymmetry(denoiser, x, t).share < 1e-20
    found = fokker_planck_residual(denoiser, x, t)
    assert found.scale > 0.0
    assert found.residual < 1e-8 * found.scale
    probed = jacobian_asymmetry(denoiser, x, t, n_probes=2, generator=torch.Generator().manual_seed(0))
    assert probed.share < 1e-20


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_spoilt_denoiser_leaves_a_residual(path: Path) -> None:
    denoiser = ExactDenoiser(mixture(), path)
    x, t = noisy(denoiser)
    found = fokker_planck_residual(Spoilt(denoiser, scale=1.1), x, t)
    assert found.residual > 0.01 * found.scale
    assert found.residual == pytest.approx(float(found.each.square().mean().sqrt()))


def test_residual_of_a_scaled_gaussian_score_is_known() -> None:
    # For white data on the variance-preserving path the exact score is -x, with f = -g^2 / 2. Scaled by c the
    # time derivative is 0 and the bracket g^2/2 [-c d + c^2 |x|^2 + d - c |x|^2] has the gradient
    # g^2 (c^2 - c) x, so R = -g^2 (c^2 - c) x.
    path = VariancePreserving()
    x = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = ExactDenoiser(GaussianTarget.isotropic(DIM), path)
    found = fokker_planck_residual(Spoilt(denoiser, scale=1.3), x, 0.4)
    g2 = float(path.coefficients(0.4).squared_diffusion)
    expected = g2 * (1.3**2 - 1.3) * x.square().mean(-1).sqrt()
    torch.testing.assert_close(found.each, expected, rtol=1e-6, atol=1e-8)
    # A diagonal Jacobian makes every probe exact.
    generator = torch.Generator().manual_seed(1)
    probed = fokker_planck_residual(Spoilt(denoiser, scale=1.3), x, 0.4, n_probes=1, generator=generator)
    torch.testing.assert_close(probed.each, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n_probes", [None, 4])
def test_asymmetry_of_a_rotated_denoiser_is_known(n_probes: int | None) -> None:
    # White data: D = alpha x / (alpha^2 + sigma^2), so the Jacobian is a multiple of 1 plus the rotation.
    denoiser = ExactDenoiser(GaussianTarget.isotropic(DIM), VariancePreserving())
    x, _ = noisy(denoiser, count=400)
    gain = align(VariancePreserving().coefficients(0.3).alpha, x)
    found = jacobian_asymmetry(
        Spoilt(denoiser, matrix=rotation(0.5)), x, 0.3, n_probes=n_probes,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    expected = float(2 * 0.25 / (DIM * gain**2 + 2 * 0.25))
    assert found.share == pytest.approx(expected, rel=1e-9 if n_probes is None else 0.02)
    # A symmetric addition changes the score, not its symmetry.
    matrix = rotation(0.5).abs()
    symmetric = jacobian_asymmetry(
        Spoilt(denoiser, matrix=matrix), x, 0.3, n_probes=n_probes,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert symmetric.share < 1e-20


def test_probes_are_unbiased_where_the_jacobian_varies() -> None:
    denoiser = Spoilt(ExactDenoiser(mixture(), VariancePreserving()), matrix=rotation(0.3))
    x, _ = noisy(denoiser.inner, count=10)
    exact = jacobian_asymmetry(denoiser, x, 0.3)
    many = x.repeat(400, 1)
    probed = jacobian_asymmetry(denoiser, many, 0.3, n_probes=1, generator=torch.Generator().manual_seed(0))
    assert probed.share == pytest.approx(exact.share, abs=4.0 * probed.error)
    assert probed.error < 0.1 * exact.share


def test_no_gap_for_exact_denoisers_and_one_for_a_spoilt_one() -> None:
    denoiser = ExactDenoiser(mixture(), VariancePreserving())
    grid = log_snr_grid(VariancePreserving(), 60)
    options: dict[str, Any] = {"shape": (600, DIM), "dtype": torch.float64, "n_permutations": 200}
    good = ode_sde_gap(denoiser, grid, generator=torch.Generator().manual_seed(0), **options)
    assert good.p_value > 0.01
    assert good.distance < good.null_mean + 4.0 * good.null_std
    bad = ode_sde_gap(
        Spoilt(denoiser, scale=0.8), grid, generator=torch.Generator().manual_seed(0), **options
    )
    assert bad.p_value == pytest.approx(1.0 / 201.0)
    assert bad.distance > good.null_mean + 8.0 * bad.null_std


def test_test_statistic_is_the_energy_distance_and_its_p_value_is_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    y = 0.5 + torch.randn(30, 2, generator=generator, dtype=torch.float64)
    found = energy_test(x, y, generator=generator)
    assert found.distance == pytest.approx(float(energy_distance(x, y)), rel=1e-9)
    samples = torch.randn(150, 2, 20, 2, generator=generator, dtype=torch.float64)
    p = torch.tensor([energy_test(*pair, generator=generator, n_permutations=99).p_value for pair in samples])
    assert abs(float(p.mean()) - 0.505) < 4.0 / (12.0 * 150.0) ** 0.5
    assert float((p <= 0.1).float().mean()) < 0.1 + 4.0 * (0.09 / 150.0) ** 0.5


def test_bad_input_is_refused() -> None:
    denoiser = ExactDenoiser(mixture(), VariancePreserving())
    x = torch.zeros(4, DIM)
    with pytest.raises(ValueError, match="probes need"):
        jacobian_asymmetry(denoiser, x, 0.3, n_probes=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="probes need"):
        fokker_planck_residual(denoiser, x, 0.3, n_probes=2)
    with pytest.raises(ValueError, match=r"x must have shape \(count, \.\.\.\)"):
        jacobian_asymmetry(denoiser, x[0], 0.3)
    with pytest.raises(ValueError, match="t must be a scalar"):
        fokker_planck_residual(denoiser, x, torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="n_permutations"):
        energy_test(x, x, generator=torch.Generator(), n_permutations=1)
