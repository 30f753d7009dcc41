from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from sciffusion.continuous import NetworkDenoiser, Trigonometric
from sciffusion.exact import GaussianTarget
from sciffusion.networks import ConditionalMLP, EnsembleLinear

MEMBERS, INPUTS, CONDITIONS, OUTPUTS, ROWS = 3, 2, 4, 2, 5


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(n_members: int = MEMBERS, **overrides: Any) -> ConditionalMLP:
    settings = {"width": 7, "depth": 3, "generator": _stream(), **overrides}
    return ConditionalMLP(n_members, INPUTS, CONDITIONS, OUTPUTS, **settings).double().eval()


def _trained(**overrides: Any) -> ConditionalMLP:
    """Return a network none of whose parameters is zero."""
    network = _network(**overrides)
    stream = _stream(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=stream, dtype=torch.float64)
    return network


def _inputs(seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    stream = _stream(seed)
    x = torch.randn(MEMBERS, ROWS, INPUTS, generator=stream, dtype=torch.float64)
    time = torch.rand(MEMBERS, ROWS, generator=stream, dtype=torch.float64)
    condition = torch.randn(MEMBERS, ROWS, CONDITIONS, generator=stream, dtype=torch.float64)
    return x, time, condition


def _member(network: ConditionalMLP, place: int, **overrides: Any) -> ConditionalMLP:
    alone = _network(n_members=1, **overrides)
    alone.load_state_dict({k: v[place : place + 1] for k, v in network.state_dict().items()})
    return alone


@pytest.mark.parametrize("n_frequencies", [0, 4])
@pytest.mark.parametrize("mode", [True, False])
def test_a_network_that_has_learned_nothing_returns_zero(n_frequencies: int, mode: bool) -> None:
    x, time, condition = _inputs()
    network = _network(n_frequencies=n_frequencies, dropout=0.5).train(mode)
    result = network(x, time if n_frequencies else None, condition)
    assert result.shape == (MEMBERS, ROWS, OUTPUTS)
    assert not result.any()


@pytest.mark.parametrize("n_frequencies", [0, 4])
@pytest.mark.parametrize("depth", [1, 3])
def test_members_side_by_side_equal_members_alone(n_frequencies: int, depth: int) -> None:
    x, time, condition = _inputs()
    sizes = {"n_frequencies": n_frequencies, "depth": depth}
    network = _trained(**sizes)
    together = network(x, time if n_frequencies else None, condition)
    for place in range(MEMBERS):
        one = slice(place, place + 1)
        alone = _member(network, place, **sizes)(x[one], time[one] if n_frequencies else None, condition[one])
        assert_close(together[one], alone, rtol=1e-12, atol=1e-12)


def test_members_do_not_start_alike() -> None:
    weight = _network().from_condition.weight
    assert not torch.equal(weight[0], weight[1])


def test_a_condition_shared_by_members_equals_one_copy_each() -> None:
    x, time, condition = _inputs()
    network, shared = _trained(), condition[0]
    assert_close(network(x, time, shared), network(x, time, shared.expand(MEMBERS, -1, -1)))


def test_a_shared_time_equals_one_copy_each() -> None:
    x, _, condition = _inputs()
    network, time = _trained(), torch.tensor(0.3, dtype=torch.float64)
    full = network(x, time.expand(MEMBERS, ROWS), condition)
    assert_close(network(x, time, condition), full, rtol=1e-12, atol=1e-12)
    assert_close(network(x, time.expand(1, ROWS), condition), full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_an_encoded_condition_equals_the_condition(shared: bool) -> None:
    _, _, condition = _inputs()
    condition = condition[0] if shared else condition
    network, stream = _trained(), _stream(5)
    draws = 3
    x = torch.randn(MEMBERS, ROWS * draws, INPUTS, generator=stream, dtype=torch.float64)
    time = torch.rand(MEMBERS, ROWS * draws, generator=stream, dtype=torch.float64)
    direct = network(x, time, condition.repeat_interleave(draws, dim=-2))
    encoded = network.encode(condition).repeat(draws)
    assert_close(network(x, time, encoded), direct, rtol=1e-12, atol=1e-12)
    few = network(x[:, 2:7], time[:, 2:7], encoded.rows(2, 7))
    assert_close(few, direct[:, 2:7], rtol=1e-12, atol=1e-12)


def test_a_row_does_not_depend_on_its_company() -> None:
    x, time, condition = _inputs()
    network = _trained()
    alone = network(x[:, 1:2], time[:, 1:2], condition[:, 1:2])
    assert_close(network(x, time, condition)[:, 1:2], alone, rtol=1e-12, atol=1e-12)


def test_the_linear_path_alone_denoises_a_gaussian_exactly() -> None:
    path, network = Trigonometric(), _network()
    with torch.no_grad():
        network.linear.weight.normal_(generator=_stream(4))
    x, _, condition = _inputs()
    for t in (0.0, 0.2, 0.7, 1.0):
        time = torch.tensor(t, dtype=torch.float64)
        levels = path.coefficients(time)
        prediction = NetworkDenoiser(network, path, "v").predict(x, time, condition)
        clean = prediction.to("x0", levels, x).value
        for member in range(MEMBERS):
            for row in range(ROWS):
                mean = condition[member, row] @ network.linear.weight[member]
                target = GaussianTarget(mean.detach(), torch.ones(OUTPUTS))
                exact = target.posterior_mean(x[member, row], levels.alpha, levels.sigma)
                assert_close(clean[member, row], exact)


def test_without_a_diffusion_time_the_linear_path_is_a_plain_product() -> None:
    network = _network(n_frequencies=0)
    with torch.no_grad():
        network.linear.weight.normal_(generator=_stream(4))
    x, _, condition = _inputs()
    assert_close(network(x, None, condition), condition @ network.linear.weight)


def test_a_missing_time_is_refused() -> None:
    x, _, condition = _inputs()
    with pytest.raises(ValueError, match="time=None"):
        _network()(x, None, condition)


def test_dropout_acts_in_training_only() -> None:
    x, time, condition = _inputs()
    network = _trained(dropout=0.5)
    quiet = network(x, time, condition)
    assert torch.equal(quiet, network(x, time, condition))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.allclose(quiet, network.train()(x, time, condition))


def test_every_parameter_learns_once_the_output_has_left_zero() -> None:
    x, time, condition = _inputs()
    network = _trained()
    network(x, time, condition).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().amax(dim=(1, 2)).min() > 0.0, name


def test_starting_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = _network().state_dict(), _network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = _network(generator=_stream(9)).state_dict()
    assert not torch.equal(first["from_value.weight"], other["from_value.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_starting_weights_keep_the_variance() -> None:
    layer = EnsembleLinear(4, 100, 200, _stream())
    x = torch.randn(1, 50, 100, generator=_stream(1))
    assert layer(x).std().item() == pytest.approx(1.0, abs=0.02)
    assert not layer.bias.any()  # type: ignore[union-attr]
