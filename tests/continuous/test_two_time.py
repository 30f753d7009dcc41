"""Two-time heads against jointly normal pairs, where everything is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sciffusion.continuous.two_time import GaussianHeads, NetworkHeads, TwoTimeInterpolant, TwoTimeObjective
from sciffusion.exact import GaussianTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.training import TrainingOptions, fit_network

INTERPOLANT = TwoTimeInterpolant(1.3)
PRIOR = GaussianTarget.autoregressive(4, 0.7).covariance
BLUR = 0.6 * torch.eye(4, dtype=torch.float64) + 0.2 * torch.diag_embed(torch.ones(3, dtype=torch.float64), 1)
NOISE_STD = 0.5
HEADS = GaussianHeads.of_observation(INTERPOLANT, PRIOR, BLUR, NOISE_STD)
TIMES = [(0.0, 0.0), (0.0, 0.7), (0.4, 0.0), (0.5, 0.5), (0.9, 0.1), (1.0, 1.0)]


def _pairs(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = GaussianTarget.full(PRIOR).draw(count, generator)
    return x, x @ BLUR.mT + NOISE_STD * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def test_posterior_of_an_observation_is_that_of_the_joint_normal_law() -> None:
    joint = GaussianTarget.full(
        torch.cat(
            [
                torch.cat([PRIOR, PRIOR @ BLUR.mT], 1),
                torch.cat([BLUR @ PRIOR, BLUR @ PRIOR @ BLUR.mT + NOISE_STD**2 * torch.eye(4)], 1),
            ]
        )
    )
    y = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.float64)
    exact = joint.conditional(torch.tensor([False] * 4 + [True] * 4), y)
    torch.testing.assert_close(HEADS.mean(y[None])[0], exact.mean)
    torch.testing.assert_close(HEADS.covariance, exact.covariance)
    draws = HEADS.draw(y.expand(40_000, 4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mT.cov(), exact.covariance, rtol=0, atol=0.02)


@pytest.mark.parametrize(("r", "g"), TIMES)
def test_exact_heads_are_the_conditional_means(r: float, g: float) -> None:
    # Orthogonality: the errors of both heads are uncorrelated with state and observation.
    x, y = _pairs(60_000)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    state = INTERPOLANT.state(x, y, noise, r, g)
    found = HEADS(state, r, g, y)
    features = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), state, y], 1)
    for error in (found.clean - x, found.noise - noise):
        product = features[:, :, None] * error[:, None, :]
        spread = product.std(0) / len(x) ** 0.5
        # 36 values each at 4.5 standard errors, passed by chance once in 4,000 runs; exact zeros have none.
        assert float((product.mean(0).abs() - 4.5 * spread).max()) < 1e-9
    level = float(INTERPOLANT.noise_level(g))
    if r > 0.0 or g > 0.0:
        torch.testing.assert_close(r * found.clean + level * found.noise, state - (1.0 - r) * y)


def test_heads_take_times_of_every_row() -> None:
    x, y = _pairs(6)
    r, g = torch.tensor(TIMES, dtype=torch.float64).unbind(1)
    state = INTERPOLANT.state(x, y, torch.ones_like(x), r, g)
    network = TwoTimeMLP(4, width=8, depth=2, n_conditions=4, generator=torch.Generator()).double()
    nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(0))
    for heads in (HEADS, NetworkHeads(network, INTERPOLANT, 0.8)):
        whole = heads(state, r, g, y)
        for k in range(6):
            one = heads(state[k], float(r[k]), float(g[k]), y[k])
            torch.testing.assert_close(whole.clean[k], one.clean)
            torch.testing.assert_close(whole.noise[k], one.noise)


@pytest.mark.parametrize(("r", "g"), TIMES)
def test_network_heads_obey_the_relation_whatever_the_network(r: float, g: float) -> None:
    class Loud(nn.Module):
        def forward(self, values: Tensor, *others: Tensor) -> Tensor:
            return 2.0 + 0.3 * values

    heads = NetworkHeads(Loud(), INTERPOLANT, 0.8)
    x, y = _pairs(5)
    state = INTERPOLANT.state(x, y, torch.randn(x.shape, generator=torch.Generator(), dtype=x.dtype), r, g)
    found = heads(state, r, g, y)
    level = float(INTERPOLANT.noise_level(g))
    torch.testing.assert_close(r * found.clean + level * found.noise, state - (1.0 - r) * y)
    if r > 0.0 and g == 0.0:
        # Without noise the state tells the data, and no network can spoil that.
        torch.testing.assert_close(found.clean, x)
    if r == 0.0 and g == 0.0:
        torch.testing.assert_close(found.clean, y + 0.8 * 2.0)


def test_times_of_items_and_of_elements_go_together() -> None:
    class Linear(nn.Module):
        def forward(self, values: Tensor, angle: Tensor, g: Tensor, inputs: Tensor) -> Tensor:
            return torch.sin(values) + (angle + 2.0 * g).reshape(
                angle.shape + (1,) * (values.ndim - angle.ndim)
            )

    heads = NetworkHeads(Linear(), INTERPOLANT, 0.8)
    state, y = torch.randn(2, 3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    g = torch.rand(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for found, expected in zip(
        heads(state, r, g, y), heads(state, r[:, None].expand(3, 3), g, y), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(("r", "g"), TIMES)
def test_loss_is_the_plain_error_of_the_network_and_least_for_exact_heads(r: float, g: float) -> None:
    x, y = _pairs(40_000)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    std, level = 0.8, float(INTERPOLANT.noise_level(g))
    loss = TwoTimeObjective.losses(HEADS, std, x, y, noise, r, g)
    total = r**2 * HEADS.variances + level**2
    share = torch.where(total > 0.0, 1.0 / total.clamp_min(1e-300), 0.0)
    # Posterior variances of data and noise; in the corner the state says nothing about either.
    of_x = HEADS.variances * (1.0 - r**2 * HEADS.variances * share)
    of_noise = 1.0 - level**2 * share
    expected = float((of_x / std**2 + of_noise).mean())
    assert float(loss.mean()) == pytest.approx(expected, abs=4.0 * float(loss.mean(1).std()) / 200.0 + 1e-12)
    network = nn.Linear(4, 4, dtype=torch.float64)
    nn.init.eye_(network.weight)
    nn.init.zeros_(network.bias)
    heads = NetworkHeads(_OfValues(network), INTERPOLANT, std)
    ours = TwoTimeObjective.losses(heads, std, x, y, noise, r, g)
    scale = (r**2 * std**2 + level**2) ** 0.5
    cosine, sine = (r * std / scale, level / scale) if scale else (0.0, 1.0)
    aim = sine * (x - y) / std - cosine * noise
    state = INTERPOLANT.state(x, y, noise, r, g)
    value = (state - y) / scale if scale else torch.zeros_like(x)
    extra = noise.square() if scale == 0.0 else 0.0  # the noise of the corner, which nothing predicts
    torch.testing.assert_close(ours, (value - aim).square() + extra)
    assert float(ours.detach().mean()) > expected - 1e-9


class _OfValues(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor, *others: Tensor) -> Tensor:
        return self.network(values)


def test_training_learns_the_regression_and_the_noise() -> None:
    x, y = (part.float() for part in _pairs(8192))
    network = TwoTimeMLP(4, width=48, depth=2, n_conditions=4, generator=torch.Generator().manual_seed(0))
    heads = NetworkHeads(network, INTERPOLANT, float((x - y).std()))
    options = TrainingOptions(
        max_steps=400, batch_size=256, learning_rate=3e-3, learning_rate_schedule="cosine", patience=None,
        evaluate_every=400, threads=1,
    )  # fmt: skip
    fit_network(heads, TwoTimeObjective(), (x, y), options=options, seed=0)
    x, y = (part.float() for part in _pairs(4000, seed=1))
    with torch.no_grad():
        regression = heads(y, 0.0, 0.0, y).clean
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        state = INTERPOLANT.state(x, y, noise, 0.5, 0.5)
        errors = [heads(state, 0.5, 0.5, y), HEADS(state, 0.5, 0.5, y)]
    smallest = float((HEADS.mean(y) - x).square().mean())
    assert float((regression - x).square().mean()) < 1.1 * smallest
    ours, exact = (float((found.noise - noise).square().mean()) for found in errors)
    assert ours < 1.1 * exact


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match="noise_scale must be positive"):
        TwoTimeInterpolant(0.0)
    with pytest.raises(ValueError, match="edge must lie in"):
        TwoTimeObjective(edge=1.5)
    with pytest.raises(ValueError, match="residual_std"):
        NetworkHeads(nn.Identity(), INTERPOLANT, -1.0)
    with pytest.raises(ValueError, match="expected gain"):
        GaussianHeads(INTERPOLANT, torch.eye(2), torch.zeros(3), torch.eye(3))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 4\), got \(3, 5\) and \(3, 5\)"):
        HEADS(torch.zeros(3, 5), 0.0, 1.0, torch.zeros(3, 5))
    with pytest.raises(TypeError, match="expected NetworkHeads"):
        TwoTimeObjective()(nn.Identity(), (torch.zeros(1, 1),) * 2, torch.Generator())
