"""Circular convolutions: what they compute, what shifts do to them, and dropout from a private generator."""

from __future__ import annotations

import pytest
import torch

from sciffusion.networks.conv1d import CircularConvolution, PeriodicConvNet, dropped


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(dropout: float = 0.0, n_points: int = 12, depth: int = 3) -> PeriodicConvNet:
    network = PeriodicConvNet(
        2, 3, 4, n_points=n_points, width=8, depth=depth, generator=_generator(), dropout=dropout
    )
    with torch.no_grad():  # the output and the modulation start at zero
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=_generator(1)))
    return network


@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution_is_the_sum_over_neighbours_on_the_circle(dilation: int) -> None:
    layer = CircularConvolution(2, 3, 3, dilation=dilation, generator=_generator())
    x = torch.randn(4, 2, 7, generator=_generator(1))
    expected = torch.zeros(4, 3, 7)
    for place, shift in enumerate((-dilation, 0, dilation)):
        expected += torch.einsum("oi,bip->bop", layer.weight[:, :, place], x.roll(-shift, -1))
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-6)


def test_shifted_fields_have_shifted_results() -> None:
    network = _network()
    x, features = torch.randn(5, 2, 12, generator=_generator()), torch.randn(5, 4, generator=_generator(1))
    result = network(x, features)
    assert result.shape == (5, 3, 12)
    assert result.std() > 0.01
    torch.testing.assert_close(network(x.roll(5, -1), features), result.roll(5, -1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(x.flip(-1), features), result.flip(-1), atol=1e-3)


def test_features_matter_and_items_do_not_mix() -> None:
    network = _network()
    x, features = torch.randn(3, 2, 12, generator=_generator()), torch.randn(3, 4, generator=_generator(1))
    result = network(x, features)
    assert not torch.allclose(network(x, features + 1.0), result, atol=1e-3)
    torch.testing.assert_close(network(x[1:2], features[1:2]), result[1:2])


def test_a_deep_network_sees_the_whole_circle() -> None:
    network = _network(n_points=32, depth=4)
    x = torch.randn(1, 2, 32, generator=_generator()).requires_grad_(True)
    network(x, torch.zeros(1, 4))[0, 0, 0].backward()
    assert x.grad is not None
    assert (x.grad[0].abs().amax(0) > 0.0).all()


def test_a_new_network_returns_zero() -> None:
    network = PeriodicConvNet(1, 1, 2, n_points=8, width=4, depth=2, generator=_generator())
    x = torch.randn(2, 1, 8, generator=_generator())
    assert (network(x, torch.ones(2, 2)) == 0.0).all()


def test_dropout_removes_whole_channels_and_keeps_the_mean() -> None:
    x = torch.ones(2000, 4, 5)
    result = dropped(x, 0.25, _generator())
    torch.testing.assert_close(result.unique(), torch.tensor([0.0, 1.0 / 0.75]))
    assert (result == result[..., :1]).all()
    share = (result[..., 0] == 0.0).float().mean()
    assert share.item() == pytest.approx(0.25, abs=4.0 * (0.25 * 0.75 / 8000) ** 0.5)
    assert dropped(x, 0.25, None) is x
    assert dropped(x, 0.0, _generator()) is x


def test_dropout_comes_from_the_generator_alone() -> None:
    network = _network(dropout=0.5)
    x, features = torch.randn(2, 2, 12, generator=_generator()), torch.zeros(2, 4)
    state = torch.random.get_rng_state()
    first, again, other = (network(x, features, _generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    network.eval()  # dropout stays on wherever a generator is passed
    assert torch.equal(network(x, features, _generator(1)), first)
    torch.testing.assert_close(network(x, features), network(x, features))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CircularConvolution(1, 1, 4), "kernel_size must be odd"),
        (lambda: CircularConvolution(1, 1, 5, dilation=4)(torch.zeros(1, 1, 6)), "circle of 6 points"),
        (
            lambda: PeriodicConvNet(
                1, 1, 1, n_points=8, width=2, depth=1, generator=_generator(), dropout=1.0
            ),
            "dropout must lie",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
