"""The default recipe's model by itself: what it generates from given noise, and what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from sciffusion.continuous import gaussian_panel
from sciffusion.domains.survival.rank_diffusion import RankDiffusion
from sciffusion.domains.survival.settings import resolve_settings
from sciffusion.training import fit_network

CPU = torch.device("cpu")


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _train(*args: Any, stream: int = 0, **kwargs: Any) -> Any:
    return fit_network(*args, seed=stream, **kwargs)


def _rows(n_rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return one covariate x, times and flags: both the times and the flags of the rows depend on x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)).astype(np.float32)
    events = rng.random(n_rows) < expit(1.5 * x[:, 0])
    times = np.exp(x[:, 0] + 0.5 * rng.normal(size=n_rows))
    return x, times, events, np.ones(n_rows)


def _fitted(rows: Any = None, **settings: Any) -> RankDiffusion:
    given = {"n_members": 2, "width": 16, "max_steps": 0, "nfe": 16, "learning_rate": 4e-3, **settings}
    model = RankDiffusion(resolve_settings("default", given))
    model.fit(*(_rows() if rows is None else rows), _stream(), _train)
    for network in model.networks().values():
        network.eval()
    return model


def _panel(members: int, draws: int) -> torch.Tensor:
    return gaussian_panel(members * draws, 1, _stream(3)).reshape(members, 1, draws, 1)


def test_half_of_the_draws_are_events_with_weights_that_add_up_to_their_probability() -> None:
    rows = _rows()
    draws = _fitted(rows).draw(rows[0][:3], _panel(2, 9), 16, CPU, _stream())
    assert draws.times.shape == draws.events.shape == (3, 18)
    assert draws.weights is not None
    assert_array_equal(draws.events[0], np.tile([1.0] * 5 + [0.0] * 4, 2))
    share = (draws.weights * draws.events).sum(axis=1) / draws.weights.sum(axis=1)
    assert_allclose(share, rows[2].mean(), rtol=1e-6)


def test_an_unlearned_model_draws_the_times_of_each_kind() -> None:
    rows = _rows()
    _, times, events, _ = rows
    draws = _fitted(rows).draw(rows[0][:2], _panel(2, 2048), 16, CPU, _stream())
    for flag in (True, False):
        made, real = draws.times[0][draws.events[0] == flag], times[events == flag]
        assert np.isin(made, real).all()
        levels = np.linspace(0.05, 0.95, 19)
        below = (made[:, None] <= np.quantile(real, levels)).mean(axis=0)
        assert_allclose(below, levels, atol=0.01)
    assert_array_equal(draws.times[0], draws.times[1])


def test_times_rise_with_the_starting_noise() -> None:
    model = _fitted(max_steps=60)
    start = torch.linspace(-3.0, 3.0, 64).reshape(1, 1, 64, 1).expand(2, -1, -1, -1)
    times = model.observe(np.zeros((1, 1), dtype=np.float32), start, 16, CPU, _stream())
    by_member = times.times.reshape(2, 64), times.events.reshape(2, 64)
    for member in range(2):
        for flag in (0.0, 1.0):
            of_kind = by_member[0][member][by_member[1][member] == flag]
            assert (np.diff(of_kind) >= 0.0).all()


def test_observations_have_the_frequencies_of_the_weighted_draws() -> None:
    model = _fitted(max_steps=60)
    x = np.array([[-1.0], [1.0]], dtype=np.float32)
    curves = model.draw(x, _panel(2, 1024), 16, CPU, _stream())
    start = torch.randn(2, 2, 2000, 1, generator=_stream(1))
    single = model.observe(x, start, 16, CPU, _stream(2))
    assert single.weights is None
    assert curves.weights is not None
    shares = curves.weights / curves.weights.sum(axis=1, keepdims=True)
    for row in range(2):
        assert single.events[row].mean() == pytest.approx((shares * curves.events)[row].sum(), abs=0.03)
        for flag in (0.0, 1.0):
            cut = np.median(curves.times[row][curves.events[row] == flag])
            chosen = curves.events[row] == flag
            expected = (shares[row] * (curves.times[row] <= cut))[chosen].sum()
            found = ((single.times[row] <= cut) & (single.events[row] == flag)).mean()
            assert found == pytest.approx(expected, abs=0.03)


def test_members_keep_to_their_own_noise() -> None:
    model, x = _fitted(max_steps=40), np.zeros((1, 1), dtype=np.float32)
    panel = _panel(2, 16)
    changed = panel.clone()
    changed[1] += 1.0
    before, after = (model.draw(x, start, 8, CPU, _stream()).times for start in (panel, changed))
    assert_array_equal(before[:, :16], after[:, :16])
    assert (before[:, 16:] != after[:, 16:]).any()


def test_both_factors_of_the_law_are_learned() -> None:
    rows = _rows(800)
    model = _fitted(rows, max_steps=400)
    x = np.array([[-1.0], [0.0], [1.0]], dtype=np.float32)
    draws = model.draw(x, _panel(2, 512), 8, CPU, _stream())
    assert draws.weights is not None
    share = (draws.weights * draws.events).sum(axis=1) / draws.weights.sum(axis=1)
    assert_allclose(share, expit([-1.5, 0.0, 1.5]), atol=0.08)
    for flag in (True, False):
        logs = [np.log(draws.times[row][draws.events[row] == flag]) for row in range(3)]
        assert_allclose([values.mean() for values in logs], [-1.0, 0.0, 1.0], atol=0.2)
        assert_allclose([values.std() for values in logs], 0.5, atol=0.15)


def test_all_events_need_no_flag_network_and_no_weights() -> None:
    x, times, _, weights = _rows()
    model = _fitted((x, times, np.ones(len(times), dtype=bool), weights), max_steps=5)
    assert list(model.networks()) == ["time"]
    for draws in (
        model.draw(x[:2], _panel(2, 8), 4, CPU, _stream()),
        model.observe(x[:2], _panel(2, 8).expand(2, 2, 8, 1), 4, CPU, _stream()),
    ):
        assert draws.weights is None
        assert_array_equal(draws.events, np.ones((2, 16)))


@pytest.mark.parametrize("max_steps", [0, 5])
def test_a_model_comes_back_from_its_state(max_steps: int) -> None:
    model, x = _fitted(max_steps=max_steps), _rows()[0][:4]
    back = RankDiffusion(model.settings)
    back.restore(*model.to_state())
    for first, second in zip(
        model.draw(x, _panel(2, 16), 4, CPU, _stream()),
        back.draw(x, _panel(2, 16), 4, CPU, _stream()),
        strict=True,
    ):
        assert_array_equal(first, second)


@pytest.mark.parametrize("member", [0, 1])
def test_held_out_rows_do_not_teach_their_member(member: int) -> None:
    seen: list[str] = []

    def train(network: Any, objective: Any, data: Any, *, description: str, **kwargs: Any) -> None:
        out = data[-1][:, member] == 0.0
        assert int(out.sum()) == 8
        losses = objective(network, data, _stream())
        # Flags are turned round; intervals of ranks (the lower and the upper end) become others.
        columns = {"flag": {1: 1.0 - data[1]}, "time": {1: 0.5 * data[1], 2: 0.5 * data[2]}}[description]
        for rows, unchanged in ((out, True), (~out, False)):
            changed = list(data)
            for place, other in columns.items():
                changed[place] = torch.where(rows, other, data[place])
            same = objective(network, tuple(changed), _stream())[member] == losses[member]
            assert bool(same) is unchanged
        seen.append(description)

    x, times, events, weights = _rows(40)
    model = RankDiffusion(resolve_settings("default", {"n_members": 2, "width": 4, "max_steps": 1}))
    model.fit(x, times, events, weights, _stream(), train)  # type: ignore[arg-type]
    assert seen == ["flag", "time"]


def test_members_are_judged_on_their_own_held_out_rows() -> None:
    seen: list[torch.Tensor] = []

    def train(network: Any, objective: Any, data: Any, *, held_out: Any, **kwargs: Any) -> None:
        before = held_out(network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter[1] += 0.1
        after = held_out(network)
        assert before.shape == (2,)
        assert after[0] == before[0]
        assert after[1] != before[1]
        seen.append(after)

    x, times, events, weights = _rows(40)
    model = RankDiffusion(resolve_settings("default", {"n_members": 2, "width": 4, "max_steps": 1}))
    model.fit(x, times, events, weights, _stream(), train)  # type: ignore[arg-type]
    assert len(seen) == 2
