"""The denoising objective: weights, optimum and known elements."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Cosine,
    DenoisingObjective,
    NetworkDenoiser,
    PathCoefficients,
    PredictionKind,
    VariancePreserving,
    Weighting,
    gaussian_panel,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget

KINDS = get_args(PredictionKind)


def _clean_weight(weighting: Weighting, c: PathCoefficients, data_std: float) -> Tensor:
    relative = c.sigma / c.alpha
    return {
        "x0": torch.ones_like(c.alpha),
        "eps": c.alpha**2 / c.sigma**2,
        "v": (c.alpha**2 + c.sigma**2) ** 2 / c.sigma**2,
        "flow": (c.d_alpha - c.d_sigma * c.alpha / c.sigma) ** 2,
        "score": c.alpha**2 / c.sigma**4,
        "edm": (relative**2 + data_std**2) / (relative * data_std) ** 2,
    }[weighting]


@pytest.mark.parametrize("weighting", ["x0", "eps", "v", "flow", "score", "edm"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_in_any_kind_is_a_weighted_clean_error(kind: PredictionKind, weighting: Weighting) -> None:
    path = Cosine(shift=0.01)
    generator = torch.Generator().manual_seed(0)
    x0, noise, output = torch.randn(3, 6, 2, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    denoiser = NetworkDenoiser(lambda x, time, condition: output, path, kind)
    loss = DenoisingObjective(path, weighting, data_std=0.6)(denoiser, x0, t, noise)
    c, x = path.coefficients(t), path.marginal(x0, t, noise)
    error = denoiser.predict(x, t).to("x0", c, x).value - x0
    expected = _clean_weight(weighting, c, 0.6)[:, None] * error**2
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_loss_is_the_plain_squared_error_of_the_output(kind: PredictionKind) -> None:
    path = VariancePreserving()
    generator = torch.Generator().manual_seed(1)
    x0, noise, output = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64)
    c = path.coefficients(0.4)
    truth = {
        "x0": x0,
        "eps": noise,
        "v": c.alpha * noise - c.sigma * x0,
        "flow": c.d_alpha * x0 + c.d_sigma * noise,
        "score": -noise / c.sigma,
    }[kind]
    denoiser = NetworkDenoiser(lambda x, time, condition: output, path, kind)
    loss = DenoisingObjective(path)(denoiser, x0, 0.4, noise)
    torch.testing.assert_close(loss, (output - truth) ** 2, rtol=1e-12, atol=1e-14)


def test_exact_denoiser_reaches_the_optimal_loss() -> None:
    path, count = VariancePreserving(), 1 << 14
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=0.8), path)
    panel = gaussian_panel(count, 2, torch.Generator().manual_seed(0), dtype=torch.float64)
    x0, noise = 0.8 * panel[:, :1], panel[:, 1:]
    for t in (0.05, 0.3, 0.8):
        loss = DenoisingObjective(path, "x0")(denoiser, x0, t, noise).mean()
        assert float(loss) == pytest.approx(float(denoiser.optimal_loss(t)), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_known_elements_carry_no_loss_and_finite_gradients(kind: PredictionKind) -> None:
    path = VariancePreserving()
    scale = torch.tensor(0.5, requires_grad=True)

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        return scale * x

    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 4, generator=generator)
    t = torch.tensor([[0.0, 0.5, 0.0, 0.7]]).expand(3, 4)
    for weighting in get_args(Weighting):
        denoiser = NetworkDenoiser(network, path, kind)
        loss = DenoisingObjective(path, weighting)(denoiser, x0, t, noise)
        assert torch.equal(loss[:, [0, 2]], torch.zeros(3, 2))
        assert bool((loss[:, [1, 3]] > 0.0).all())
        (gradient,) = torch.autograd.grad(loss.mean(), scale)
        assert bool(gradient.isfinite())


def test_maximum_weight_bounds_the_clean_weight() -> None:
    path = VariancePreserving()
    denoiser = NetworkDenoiser(lambda x, time, condition: torch.zeros_like(x), path)
    x0 = torch.ones(1, dtype=torch.float64)
    loss = DenoisingObjective(path, "v", maximum_weight=5.0)(denoiser, x0, 1e-4, torch.zeros_like(x0))
    assert float(loss) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="maximum_weight"):
        DenoisingObjective(path, "uniform", maximum_weight=5.0)
    with pytest.raises(ValueError, match="weighting must be one of"):
        DenoisingObjective(path, "snr")  # type: ignore[arg-type]
