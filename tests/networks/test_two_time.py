"""The network of two times: shapes, times of every form, and its refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sciffusion.networks import TwoTimeMLP


def _network(**changes: int) -> TwoTimeMLP:
    generator = torch.Generator().manual_seed(0)
    network = TwoTimeMLP(2, width=8, depth=3, generator=generator, **changes)
    nn.init.normal_(network.last.weight, generator=generator)
    return network.double()


def test_each_row_sees_its_own_times_and_condition() -> None:
    network = _network(n_conditions=3)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 5, 2, generator=generator, dtype=torch.float64)
    condition = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    t, s = torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    whole = network(x, t, s, condition)
    assert whole.shape == x.shape
    torch.testing.assert_close(whole[2, 3], network(x[2, 3], t[2, 3], s[2, 3], condition[2, 3]))
    # A time an item counts for all its rows.
    rows = network(x, t[:, 0], s[:, 0], condition)
    torch.testing.assert_close(rows[1, 4], network(x[1, 4], t[1, 0], s[1, 0], condition[1, 4]))


def test_every_argument_matters() -> None:
    network = _network(n_conditions=1)
    x, t, condition = torch.zeros(3, 2).double(), torch.tensor(0.3).double(), torch.zeros(1).double()
    base = network(x, t, t, condition)
    for changed in (
        network(x + 1.0, t, t, condition),
        network(x, t + 0.1, t, condition),
        network(x, t, t + 0.1, condition),
        network(x, t, t, condition + 1.0),
    ):
        assert not torch.isclose(changed, base).any()


# Torch's own, at its first use of forward mode.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_starts_at_zero_and_derivatives_in_forward_mode_are_right() -> None:
    fresh = TwoTimeMLP(2, width=8, depth=2, n_times=1, generator=torch.Generator())
    assert torch.equal(fresh(torch.ones(3, 2), torch.tensor(0.5)), torch.zeros(3, 2))
    network, x, t = _network(n_times=1), torch.ones(3, 2).double(), torch.full((3,), 0.4).double()
    _, change = torch.func.jvp(lambda time: network(x, time, None), (t,), (torch.ones_like(t),))
    expected = (network(x, t + 1e-5) - network(x, t - 1e-5)) / 2e-5
    torch.testing.assert_close(change, expected, rtol=1e-6, atol=1e-8)


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match="n_times must be 1 or 2"):
        _network(n_times=3)
    with pytest.raises(ValueError, match="must be positive"):
        _network(n_frequencies=0)
    with pytest.raises(ValueError, match="got condition=None"):
        _network(n_conditions=1)(torch.ones(1, 2).double(), torch.tensor(0.1), torch.tensor(0.1))
    with pytest.raises(ValueError, match="built with two times"):
        _network()(torch.ones(1, 2).double(), torch.tensor(0.1), None)
