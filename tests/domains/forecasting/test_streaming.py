"""Streaming: rolling paths have the law of fresh ones, sessions replay, and costs are those stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sciffusion.domains.forecasting import DiffusionForecaster

LENGTH, NEW = 160, 12
SMALL: dict[str, Any] = {"horizon": 5, "season_length": 6, "random_state": 0}
TINY = {"max_steps": 200, "n_members": 2, "width": 32, "batch_size": 64, "nfe": 8}


def _array(channels: int = 1) -> np.ndarray:
    """Return series with errors that persist, and are large where the last value was high."""
    generator = np.random.default_rng(4)
    values = np.zeros((4, LENGTH + NEW, channels))
    for step in range(1, LENGTH + NEW):
        noise = generator.standard_normal((4, channels)) + 0.5 * generator.standard_normal((4, 1))
        values[:, step] = 0.7 * values[:, step - 1] + np.exp(0.3 * values[:, step - 1].clip(-2, 2)) * noise
    return values[..., 0] if channels == 1 else values


def _fitted(channels: int = 1, **settings: Any) -> DiffusionForecaster:
    return DiffusionForecaster(**SMALL | settings).fit(_array(channels)[:, :LENGTH])


@pytest.fixture(scope="module")
def gaussian() -> DiffusionForecaster:
    return _fitted(network_off=True, calibrate=False, channels=2)


@pytest.fixture(scope="module")
def trained() -> DiffusionForecaster:
    return _fitted(**TINY)


def test_without_a_network_rolled_residuals_are_gaussian_with_the_right_moments(
    gaussian: DiffusionForecaster,
) -> None:
    stream, X = gaussian.stream(n_samples=8000, mode="rolling"), _array(2)
    for step in range(NEW):
        stream.push(X[:, LENGTH + step])
    law = gaussian.model_.law
    covariance = np.kron(law.channel_factor @ law.channel_factor.T, law.factor @ law.factor.T)
    states = np.moveaxis(stream._waiting.double().numpy(), 1, 2).reshape(4, 8000, -1)
    for one in states:
        np.testing.assert_allclose(one.mean(axis=0), 0.0, atol=1e-6)  # antithetic pairs
        np.testing.assert_allclose(one.T @ one / len(one), covariance, atol=5.0 / np.sqrt(4000))
        kurtosis = (one**4).mean(axis=0) / (one**2).mean(axis=0) ** 2
        np.testing.assert_allclose(kurtosis, 3.0, atol=5.0 * np.sqrt(96.0 / 4000))
    # Location and scale are those of a forecast from the new end.
    fresh = gaussian.sample(X, n_samples=8000)
    apart = np.abs(stream.draws.mean(axis=1) - fresh.mean(axis=1)) / fresh.std(axis=1)
    assert apart.max() < 1e-6
    np.testing.assert_allclose(stream.draws.std(axis=1), fresh.std(axis=1), rtol=0.08)


def test_a_path_moves_with_the_window(gaussian: DiffusionForecaster) -> None:
    stream = gaussian.stream(n_samples=400)
    before = stream._waiting.numpy().copy()
    stream.push(_array(2)[:, LENGTH])
    after = stream._waiting.numpy()
    same = [np.corrcoef(before[0, 0, :, k + 1], after[0, 0, :, k])[0, 1] for k in range(4)]
    assert min(same) > 0.95
    redrawn = gaussian.stream(n_samples=400, mode="fresh")
    first = redrawn.draws.copy()
    redrawn.push(_array(2)[:, LENGTH])
    assert abs(np.corrcoef(first[0, :, 1, 0], redrawn.draws[0, :, 0, 0])[0, 1]) < 0.3


def _energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1)).mean())

    return 2.0 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


def test_with_a_network_rolled_paths_are_close_to_fresh_ones_in_distribution(
    trained: DiffusionForecaster,
) -> None:
    X, count = _array(), 250
    stream = trained.stream(n_samples=count)
    rolled, noise, stale = [], [], []
    for step in range(LENGTH, LENGTH + NEW):
        stream.push(X[:, step])
        if step % 3:
            continue
        fresh, other = (trained.sample(X[:, : step + 1], n_samples=count, random_state=s) for s in (1, 2))
        late = trained.sample(X[:, :step], n_samples=count)  # one observation behind
        for series in range(4):
            unit = fresh[series].std(axis=0)
            for kept, paths in ((rolled, stream.draws[..., 0]), (noise, other), (stale, late)):
                kept.append(_energy_distance(paths[series] / unit, fresh[series] / unit))
    # What is left is a small part of what one observation tells.
    assert np.mean(rolled) - np.mean(noise) < 0.1 * (np.mean(stale) - np.mean(noise))


def test_costs_are_those_stated(trained: DiffusionForecaster) -> None:
    X = _array()
    for given, start, each in (
        ({"mode": "fresh"}, 8, 8),
        ({"mode": "rolling"}, 8 + 3, 1 + 3),
        ({"mode": "rolling", "finish_steps": 1}, 8 + 1, 1 + 1),
        ({"mode": "rolling", "h": 1}, 8, 1),
    ):
        calls: list[int] = []
        stream = trained.stream(n_samples=4, **given)
        assert stream.nfe_total == start
        network = trained.model_.network
        handle = network.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        stream.push(X[:, LENGTH])
        handle.remove()
        assert (len(calls), stream.nfe_last, stream.nfe_total) == (each, each, start + each)


def test_sessions_replay_and_go_on_from_a_state(trained: DiffusionForecaster) -> None:
    X = _array()
    for mode in ("rolling", "fresh"):
        first, second = (trained.stream(n_samples=6, mode=mode) for _ in range(2))
        a = list(first.run(X[:, LENGTH : LENGTH + 4].T))
        second.push(X[:, LENGTH])
        second.push(X[:, LENGTH + 1])
        third = trained.stream(n_samples=2, mode=mode, random_state=9)
        third.load_state_dict(second.state_dict())
        third.push(X[:, LENGTH + 2])
        np.testing.assert_array_equal(third.push(X[:, LENGTH + 3]), a[-1])
        assert third.n_pushes == 4
        other = trained.stream(n_samples=6, mode=mode, random_state=9)
        assert np.abs(other.paths() - trained.stream(n_samples=6, mode=mode).paths()).max() > 1e-3


def test_the_forecaster_stays_as_it_is(trained: DiffusionForecaster) -> None:
    before = trained.sample(5, n_samples=4)
    stream = trained.stream(n_samples=4, keep=100)
    stream.push(_array()[:, LENGTH : LENGTH + 3])
    assert stream.panel.length == 100
    assert trained.panel_.length == LENGTH
    np.testing.assert_array_equal(trained.sample(5, n_samples=4), before)


def _frame(X: np.ndarray, first: int, ids: tuple[str, ...]) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=first + X.shape[1], freq="D")[first:]
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": stamps, "y": y}) for name, y in zip(ids, X, strict=True)]
    )


def test_frames_may_push_some_series_and_several_rows() -> None:
    X, ids = _array()[:3], ("a", "b", "c")
    model = DiffusionForecaster(**SMALL, network_off=True).fit(_frame(X[:, :LENGTH], 0, ids))
    stream = model.stream(n_samples=10)
    before = stream.draws.copy()
    rows = pd.concat([
        _frame(X[:1, LENGTH : LENGTH + 2], LENGTH, ("a",)),
        _frame(X[1:2, LENGTH : LENGTH + 7], LENGTH, ("b",)),
    ])  # fmt: skip
    found = stream.push(rows)
    assert len(found) == 3 * 10 * 5
    first = found.groupby("unique_id")["ds"].min()
    assert list((first - first["c"]).dt.days) == [2, 7, 0]
    np.testing.assert_allclose(stream.draws[2], before[2])
    assert np.abs(stream.draws[0] - before[0]).max() > 1e-3


def test_a_failing_push_leaves_the_session_as_it_was(trained: DiffusionForecaster) -> None:
    stream = trained.stream(n_samples=4)
    before = stream.state_dict()
    for rows, error in ((np.ones((3, 1)), ValueError), (np.full(4, np.inf), ValueError), ("x", ValueError)):
        with pytest.raises(error):
            stream.push(rows)
    after = stream.state_dict()
    assert after["n_pushes"] == 0
    np.testing.assert_array_equal(after["waiting"], before["waiting"])
    np.testing.assert_array_equal(after["panel"]["values"], before["panel"]["values"])


@pytest.mark.parametrize(
    ("given", "text"),
    [({"mode": "slow"}, "mode"), ({"h": 6}, "trained horizon, 5"), ({"finish_steps": 0}, "finish_steps")],
)
def test_wrong_requests_are_refused(trained: DiffusionForecaster, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        trained.stream(**given)


@pytest.mark.parametrize("mode", ["rolling", "fresh"])
def test_paths_of_a_series_do_not_hang_on_what_others_push(mode: str) -> None:
    X, ids = _array(2), ("a", "b", "c", "d")

    def frame(first: int, end: int) -> pd.DataFrame:
        y, z = (_frame(X[:, first:end, channel], first, ids) for channel in (0, 1))
        return y.assign(z=z["y"])

    model = DiffusionForecaster(**SMALL, **TINY | {"max_steps": 1}, target=["y", "z"])
    model.fit(frame(0, LENGTH))
    generator = torch.Generator().manual_seed(0)
    for weights in model.model_.network.parameters():  # a network that has an opinion
        weights.data += 0.1 * torch.randn(weights.shape, generator=generator)
    rows = frame(LENGTH, LENGTH + 1)
    together, alone = (model.stream(n_samples=6, mode=mode) for _ in range(2))
    together.push(rows)
    alone.push(rows[rows["unique_id"] == "c"])
    np.testing.assert_allclose(alone.draws[2], together.draws[2], rtol=1e-4, atol=1e-5)
