"""Packed linear layers: the same numbers but for rounding, the same parameters, gradients left alone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from sciffusion.networks import BlockLatentTransformer
from sciffusion.networks import packed_linear as packing
from sciffusion.networks.packed_linear import PackedLinear, packed

needs = pytest.mark.skipif(not packing._works(), reason="this torch has no packed linear layers")


def _network() -> BlockLatentTransformer:
    network = BlockLatentTransformer(3, block=4, window=3, width=32, depth=2, n_heads=2, n_conditions=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


@needs
def test_packed_networks_give_the_same_numbers() -> None:
    network, x = _network(), torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(1))
    fast = packed(network, tokens=4)
    assert sum(isinstance(layer, PackedLinear) for layer in fast.modules()) == 2 * 5 + 6
    t = torch.tensor(0.3)
    torch.testing.assert_close(fast(x, t), network(x, t), rtol=1e-5, atol=1e-6)
    rings = [made.commit(x[:, :8], None, made.start_cache(2)) for made in (fast, network)]
    for name, part in rings[0].snapshot().items():
        torch.testing.assert_close(part, rings[1].snapshot()[name], rtol=1e-5, atol=1e-6)
    last = [made(x[:, 8:], t, cache=ring) for made, ring in zip((fast, network), rings, strict=True)]
    torch.testing.assert_close(last[0], last[1], rtol=1e-5, atol=1e-6)


@needs
def test_parameters_are_shared_and_the_network_stays_as_it_is() -> None:
    network = _network()
    before = [type(layer) for layer in network.modules()]
    fast = packed(network, tokens=4)
    assert [type(layer) for layer in network.modules()] == before
    pairs = zip(network.state_dict().items(), fast.state_dict().items(), strict=True)
    assert all(a == b and p.data_ptr() == q.data_ptr() for (a, p), (b, q) in pairs)


@needs
def test_inputs_with_gradients_get_them() -> None:
    linear = torch.nn.Linear(5, 3).requires_grad_(False)
    layer = PackedLinear(linear, 2)
    x = torch.ones(2, 5, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, linear.weight.sum(0).expand(2, 5))
    assert layer(torch.zeros(0, 5)).shape == (0, 3)
    torch.testing.assert_close(layer(torch.ones(2, 5)), linear(torch.ones(2, 5)))


def test_where_packing_cannot_be_done_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network()
    assert packed(network.double(), tokens=4) is network
    monkeypatch.setattr(packing, "_works", lambda: False)
    assert packed(network.float(), tokens=4) is network
    with pytest.raises(ValueError, match="tokens must be at least 1"):
        packed(network, tokens=0)


@needs
def test_parameters_that_change_are_packed_anew() -> None:
    network, x = _network(), torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(2))
    fast, t = packed(network, tokens=4), torch.tensor(0.3)
    before = fast(x, t)
    network.load_state_dict({name: 1.5 * value for name, value in network.state_dict().items()})
    assert (fast(x, t) - before).abs().max() > 1e-2
    torch.testing.assert_close(fast(x, t), network(x, t), rtol=1e-5, atol=1e-5)
    for parameter in network.parameters():
        parameter.data = 0.5 * parameter.data
    torch.testing.assert_close(fast(x, t), network(x, t), rtol=1e-5, atol=1e-5)


@needs
def test_packed_networks_are_copied_and_pickled() -> None:
    fast, x, t = packed(_network(), tokens=4), torch.ones(1, 4, 3), torch.tensor(0.3)
    for made in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        torch.testing.assert_close(made(x, t), fast(x, t), rtol=0.0, atol=0.0)
