"""Network denoisers and preconditioning against exact posteriors."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Cosine,
    EDMPreconditioning,
    NetworkDenoiser,
    Path,
    PredictionKind,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
    posterior,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State

PATHS = [VariancePreserving(), VarianceExploding(), Cosine(), RectifiedFlow()]


def _zero(x: Tensor, time: Tensor, condition: Any) -> Tensor:
    return torch.zeros_like(x)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_preconditioning_without_a_network_is_exact_for_gaussian_data(path: Path) -> None:
    # The skip connection alone is the posterior mean of N(0, data_std^2), whatever the path.
    exact = ExactDenoiser(GaussianTarget.isotropic(2, std=0.7), path)
    denoiser = NetworkDenoiser(_zero, path, preconditioning=EDMPreconditioning(data_std=0.7))
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.0, 1.0, 6, dtype=torch.float64)
    torch.testing.assert_close(
        denoiser.predict(x, t).value, exact.predict(x, t).value, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_preconditioned_network_sees_and_predicts_unit_variance(path: Path) -> None:
    std, count = 0.7, 40_000
    seen = {}

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        seen["x"], seen["time"] = x, time
        return torch.ones_like(x)

    generator = torch.Generator().manual_seed(0)
    x0 = std * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    preconditioning = EDMPreconditioning(data_std=std)
    denoiser = NetworkDenoiser(network, path, preconditioning=preconditioning)
    skip_only = NetworkDenoiser(_zero, path, preconditioning=preconditioning)
    for t in (0.1, 0.5, 0.9):
        x = path.marginal(x0, t, noise)
        skip = skip_only.predict(x, t).value
        target = (x0 - skip) / (denoiser.predict(x, t).value - skip)
        # The standard error of a variance of 40,000 normal values is 0.7 per cent.
        assert float(seen["x"].var()) == pytest.approx(1.0, abs=0.03)
        assert float(target.var()) == pytest.approx(1.0, abs=0.03)
        assert float(seen["time"]) == pytest.approx(float(-0.25 * path.log_snr(t)), abs=1e-12)


@pytest.mark.parametrize("kind", get_args(PredictionKind))
def test_posterior_mean_from_every_kind(kind: PredictionKind) -> None:
    path = Cosine()
    exact = ExactDenoiser(GaussianTarget.autoregressive(4, 0.8), path)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        return exact.predict(x, time).to(kind, path.coefficients(time), x).value

    belief = posterior(NetworkDenoiser(network, path, kind), State(x=x, t=t))
    torch.testing.assert_close(belief.mean, exact.posterior(x, t).mean, rtol=1e-10, atol=1e-12)


def test_leading_batch_axes_and_elementwise_times() -> None:
    path = VariancePreserving()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 2, generator=generator)
    times = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 2, generator=generator)
    shapes = []

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        shapes.append(tuple(time.shape))
        assert time.dtype == x.dtype
        return torch.tanh(x @ weight) + time.reshape(time.shape + (1,) * (x.ndim - time.ndim)) + condition

    denoiser = NetworkDenoiser(network, path, preconditioning=EDMPreconditioning())
    whole = denoiser.predict(x, times, condition=0.5).value
    parts = [denoiser.predict(x[i, j], times[i, j], condition=0.5).value for i in range(3) for j in range(5)]
    torch.testing.assert_close(whole.reshape(15, 2), torch.stack(parts), rtol=1e-5, atol=1e-6)
    assert shapes[0] == (3, 5)


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="predicts 'x0'"):
        NetworkDenoiser(_zero, Cosine(), "eps", EDMPreconditioning())
    with pytest.raises(ValueError, match="data_std"):
        EDMPreconditioning(data_std=0.0)
    narrow = NetworkDenoiser(lambda x, time, condition: x[..., :1], Cosine())
    with pytest.raises(ValueError, match="expected equal shapes"):
        narrow.predict(torch.zeros(2, 3), 0.5)
