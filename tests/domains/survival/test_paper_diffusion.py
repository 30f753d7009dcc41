"""The published recipe's model by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from sciffusion.domains.survival.paper_diffusion import PaperDiffusion
from sciffusion.domains.survival.settings import RECIPES, resolve_settings
from sciffusion.training import fit_network

CPU = torch.device("cpu")


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _train(*args: Any, stream: int = 0, **kwargs: Any) -> Any:
    return fit_network(*args, seed=stream, **kwargs)


def _rows(n_rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)).astype(np.float32)
    events = rng.random(n_rows) < np.where(x[:, 0] > 0.0, 0.9, 0.2)
    return x, np.exp(x[:, 0] + 0.5 * rng.normal(size=n_rows)), events, np.ones(n_rows)


def _fitted(rows: Any = None, **settings: Any) -> PaperDiffusion:
    given = {"width": 32, "max_epochs": 2, "nfe": 6, **settings}
    model = PaperDiffusion(resolve_settings("paper", given))
    model.fit(*(_rows() if rows is None else rows), _stream(), _train)
    model.network.eval()
    return model


def test_the_discrete_schedule_is_the_cosine_one_of_the_publication() -> None:
    steps = 20
    model = PaperDiffusion(resolve_settings("paper", {"nfe": steps}))
    t = torch.arange(0, steps + 1, dtype=torch.float64) / (steps + 1)
    levels = model.path.coefficients(t)
    shift = 0.005
    curve = torch.cos((t + shift) / (1.0 + shift) * torch.pi / 2.0) ** 2
    assert_close(levels.alpha**2, curve / curve[0])
    assert_close(levels.alpha**2 + levels.sigma**2, torch.ones_like(t))


def test_times_and_flags_are_learned_jointly() -> None:
    model = _fitted(_rows(800), max_epochs=95, learning_rate=2e-3, width=64, nfe=12)
    grid = np.linspace(0.3, 1.7, 15, dtype=np.float32)[:, None]
    x = np.concatenate([-grid, grid])
    draws = model.draw(x, torch.randn(1, 1, 300, 2, generator=_stream(1)), 12, CPU, _stream(2))
    assert set(np.unique(draws.events)) == {0.0, 1.0}
    assert [part.mean() for part in np.split(draws.events, 2)] == pytest.approx([0.2, 0.9], abs=0.1)
    assert [np.log(part).mean() for part in np.split(draws.times, 2)] == pytest.approx([-1.0, 1.0], abs=0.2)


def test_rows_share_the_noise_of_their_steps_when_they_share_their_start() -> None:
    model = _fitted()
    start = torch.randn(1, 1, 32, 2, generator=_stream(1))
    x = np.array([[0.3], [-0.7], [0.3]], dtype=np.float32)
    together = model.draw(x, start, 6, CPU, _stream(2))
    assert_array_equal(together.times[0], together.times[2])
    alone = model.draw(x[1:2], start, 6, CPU, _stream(2))
    np.testing.assert_allclose(alone.times[0], together.times[1], rtol=1e-4)
    own = model.draw(x, start.expand(1, 3, 32, 2), 6, CPU, _stream(2))
    assert (own.times[0] != own.times[2]).any()


def test_other_numbers_of_steps_than_the_trained_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nfe=6.*got nfe=5"):
        _fitted().draw(np.zeros((1, 1), dtype=np.float32), torch.zeros(1, 1, 4, 2), 5, CPU, _stream())


def test_validation_waits_for_the_first_hundred_epochs_and_then_comes_every_epoch() -> None:
    model = PaperDiffusion(RECIPES["paper"])
    options = model._training_options(640)
    assert options.evaluate_every == 10
    assert options.evaluate_from == 1000
    assert options.max_steps == 10_000
    assert options.patience == 20
    assert options.learning_rate == 5e-4
    assert options.gradient_clip == 1.0


def test_validation_prefers_the_model_that_ranks_better() -> None:
    rows = _rows(200)
    judged: list[float] = []

    def capture(network: Any, objective: Any, data: Any, *, held_out: Any, **kwargs: Any) -> Any:
        judged.append(float(held_out(network)))
        history = fit_network(network, objective, data, seed=0, held_out=held_out, **kwargs)
        judged.append(float(held_out(network)))
        return history

    given = {"width": 64, "max_epochs": 130, "learning_rate": 3e-3, "nfe": 6}
    PaperDiffusion(resolve_settings("paper", given)).fit(*rows, _stream(), capture)
    assert -1.0 <= judged[1] < -0.75
    assert judged[1] < judged[0]


def test_no_comparable_pair_in_the_validation_rows_is_no_error() -> None:
    x, _, events, weights = _rows(20)
    model = _fitted((x, np.full(20, 3.0), events, weights))
    assert np.isfinite(model.draw(x, torch.zeros(1, 1, 4, 2), 6, CPU, _stream()).times).all()


def test_a_model_comes_back_from_its_state() -> None:
    model, x = _fitted(), _rows()[0][:4]
    back = PaperDiffusion(model.settings)
    back.restore(*model.to_state())
    start = torch.randn(1, 1, 16, 2, generator=_stream(1))
    for name in ("times", "events"):
        found, expected = (getattr(m.draw(x, start, 6, CPU, _stream(2)), name) for m in (back, model))
        assert_array_equal(found, expected)


def test_starting_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (_fitted().network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)
