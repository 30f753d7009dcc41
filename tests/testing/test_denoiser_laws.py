"""The laws of denoisers pass exact and network denoisers and refuse planted mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    Cosine,
    EDMPreconditioning,
    NetworkDenoiser,
    PointwiseDenoiser,
    RectifiedFlow,
    VariancePreserving,
)
from sciffusion.exact import (
    EmpiricalTarget,
    ExactDenoiser,
    GaussianMixtureTarget,
    GaussianTarget,
    ProductTarget,
)
from sciffusion.testing import assert_denoiser_laws, excess_loss

TARGET = GaussianTarget.full(torch.tensor([[1.0, 0.6], [0.6, 0.5]]), torch.tensor([0.3, -0.2]))
MIXTURE = GaussianMixtureTarget.isotropic([0.3, 0.7], torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), [0.4, 0.6])
PATH = VariancePreserving()


@pytest.mark.parametrize("path", [PATH, Cosine(), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize(
    "target",
    [
        TARGET,
        MIXTURE,
        ProductTarget([TARGET, MIXTURE]),
        EmpiricalTarget(torch.randn(20, 2, generator=torch.Generator().manual_seed(0))),
    ],
    ids=lambda target: type(target).__name__,
)
def test_exact_denoisers_obey_every_law(target: Any, path: Any) -> None:
    assert_denoiser_laws(ExactDenoiser(target, path), target=target, max_excess=1e-12, symmetry=1e-9)


def _network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    return torch.tanh(x.flip(-1)) * (1.0 + time.reshape(time.shape + (1,) * (x.ndim - time.ndim)))


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_network_denoisers_obey_the_laws_of_form(shape: tuple[int, ...]) -> None:
    denoiser = NetworkDenoiser(_network, PATH, preconditioning=EDMPreconditioning())
    assert_denoiser_laws(denoiser, shape)
    assert_denoiser_laws(denoiser, shape, dtype=torch.float32, tolerance=1e-4)


class _Broken(PointwiseDenoiser):
    """The exact denoiser of the Gaussian target with one planted mistake."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake
        self.path = PATH
        self.exact = ExactDenoiser(TARGET, PATH)
        self.calls = 0

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        self.calls += 1
        times = torch.as_tensor(t, dtype=torch.float64)
        value = self.exact.predict(x, t).value
        if self.mistake == "memory":
            value = value + 1e-9 * self.calls
        elif self.mistake == "dtype":
            value = value.to(torch.float32)
        elif self.mistake == "batch statistics":
            value = value + 0.01 * x.mean(0)
        elif self.mistake == "first time":
            value = self.exact.predict(x, times.reshape(-1)[0]).value
        elif self.mistake == "end":
            value = value / PATH.coefficients(t).sigma.min().clamp_max(1.0).sign()
        elif self.mistake == "scaled":
            value = 1.1 * value
        elif self.mistake == "rotated":
            value = value + 0.1 * torch.stack([x[..., 1], -x[..., 0]], -1)
        elif self.mistake == "kind":
            return ContinuousPrediction(value, "eps")
        return ContinuousPrediction(value, "x0")


@pytest.mark.parametrize(
    ("mistake", "law"),
    [
        ("memory", "pure"),
        ("dtype", "shape and type"),
        ("batch statistics", "influence each other"),
        ("first time", "influence each other|times of items"),
        ("end", "finite at t=0"),
        ("scaled", "excess loss"),
        ("rotated", "symmetric"),
        ("kind", "excess loss"),
    ],
)
def test_lawless_denoisers_are_refused(mistake: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        assert_denoiser_laws(_Broken(mistake), target=TARGET, max_excess=1e-3, symmetry=1e-6)


def test_excess_loss_is_the_known_one_of_a_scaled_mean() -> None:
    # E |.1 D*|^2 with D* of known second moment, over the data's variance.
    excess = excess_loss(_Broken("scaled"), TARGET, 0.3, torch.Generator().manual_seed(0), count=40_000)
    c = PATH.coefficients(0.3)
    covariance = TARGET.covariance
    gain = c.alpha * covariance @ torch.linalg.inv(c.alpha**2 * covariance + c.sigma**2 * torch.eye(2))
    second = torch.trace(c.alpha * gain @ covariance) + TARGET.mean.square().sum()
    assert excess == pytest.approx(float(0.01 * second / torch.trace(covariance)), rel=0.05)


def test_untrained_network_has_a_large_excess_loss() -> None:
    with pytest.raises(AssertionError, match="excess loss"):
        assert_denoiser_laws(NetworkDenoiser(_network, PATH), target=MIXTURE, max_excess=0.05)


def test_missing_arguments_are_named() -> None:
    denoiser = ExactDenoiser(TARGET, PATH)
    with pytest.raises(ValueError, match="shape of one item, or a target"):
        assert_denoiser_laws(denoiser)
    with pytest.raises(ValueError, match="max_excess needs a target"):
        assert_denoiser_laws(denoiser, (2,), max_excess=0.1)
