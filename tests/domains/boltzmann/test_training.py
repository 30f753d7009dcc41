"""The loss of scores of particles, against laws whose score is known."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sciffusion.domains.boltzmann import fitting
from sciffusion.domains.boltzmann.fitting import FitSettings, held_out_loss, scaled_set, train_score_model
from sciffusion.domains.boltzmann.score_model import PATH
from sciffusion.domains.boltzmann.training import NoiseRange, ParticleObjective
from sciffusion.networks.egnn import ParticleFrame, centre

VARIANCE = 0.25
SHAPE = (4, 3)


class _Exact:
    """Denoiser of an isotropic Gaussian cluster, times a factor."""

    path = PATH

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def predict(self, x: Tensor, t: Tensor) -> Any:
        c = PATH.coefficients(t)
        shrink = (VARIANCE * c.alpha / (VARIANCE * c.alpha**2 + c.sigma**2)).to(x)
        return SimpleNamespace(value=self.factor * shrink.reshape(-1, 1, 1) * x)


def _objective(factor: float = 1.0, local_scale: float = math.sqrt(VARIANCE)) -> ParticleObjective:
    exact: Any = _Exact(factor)
    return ParticleObjective(lambda _: exact, local_scale, NoiseRange(0.05, 10.0, local_scale))


def _normal(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return centre(torch.randn(count, *SHAPE, generator=generator))


def _batch(count: int) -> tuple[Tensor, Tensor]:
    return math.sqrt(VARIANCE) * _normal(count, 0), torch.ones(count)


NETWORK = nn.Identity()


def test_with_forces_of_a_gaussian_the_target_is_the_score_itself() -> None:
    x0, weights = _batch(64)
    levels = torch.logspace(-1.3, 1.0, 64, dtype=torch.float64)
    batch = (x0, weights, -x0 / VARIANCE)
    assert float(_objective().at(NETWORK, batch, levels, _normal(64, 1))) < 1e-8
    assert float(_objective(1.05).at(NETWORK, batch, levels, _normal(64, 1))) > 1e-4
    generator = torch.Generator().manual_seed(0)
    assert float(_objective()(NETWORK, batch, generator)) < 1e-8


@pytest.mark.parametrize("level", [0.1, 0.5, 3.0])
def test_without_forces_the_loss_of_the_score_is_the_conditional_variance(level: float) -> None:
    # (s^2 + 1) (s^2 + l^2) / s^4 . v s^2 / (v + s^2) a free coordinate, over 1 + l^2 / s^2.
    x0, weights = _batch(20_000)
    levels = torch.full((20_000,), level, dtype=torch.float64)
    noise = _normal(20_000, 1)
    found = float(_objective().at(NETWORK, (x0, weights), levels, noise))
    free = 1.0 - 1.0 / SHAPE[0]
    assert found == pytest.approx(free * (level**2 + 1.0) * VARIANCE / (VARIANCE + level**2), rel=0.02)
    for factor in (0.7, 1.3):
        assert float(_objective(factor).at(NETWORK, (x0, weights), levels, noise)) > found


@pytest.mark.parametrize("local_scale", [0.2, 0.5])
def test_with_forces_the_raw_target_has_mean_square_one(local_scale: float) -> None:
    # The loss of the start of training, D = skip x, in units of its target: near 1 at both ends for data
    # whose score has the local scale, here of a Gaussian of that width on top of its own.
    generator = torch.Generator().manual_seed(0)
    x0 = local_scale * centre(torch.randn(4000, *SHAPE, generator=generator))
    batch = (x0, torch.ones(4000), -x0 / local_scale**2)
    zero: Any = SimpleNamespace(
        path=PATH,
        predict=lambda x, t: SimpleNamespace(value=(PATH.coefficients(t).alpha.to(x)).reshape(-1, 1, 1) * x),
    )
    objective = ParticleObjective(lambda _: zero, local_scale, NoiseRange(0.01, 10.0, local_scale))
    free = 1.0 - 1.0 / SHAPE[0]
    for level in (0.01 * local_scale, local_scale, 10.0):
        levels = torch.full((4000,), level, dtype=torch.float64)
        # raw F = (s + y / (1 + s^2)) sqrt((1 + s^2)(s^2 + l^2)) for s = -y / (l^2 + s^2)
        square, own = level**2, local_scale**2
        total = square + own
        exact = (1.0 / (1.0 + square) - 1.0 / total) ** 2 * total * (1.0 + square) * total
        # The loss is divided by the variance of the target, or by .03 of its mean square if that is more.
        variance = square / total + 0.03 * own / total
        found = float(objective.at(NETWORK, batch, levels, _normal(4000, 1))) * variance
        assert found == pytest.approx(free * exact, rel=0.05)
        evenly = replace(objective, variance_floor=1.0)
        plain = float(evenly.at(NETWORK, batch, levels, _normal(4000, 1)))
        assert plain == pytest.approx(found, rel=1e-5)
        assert found < 1.05


class _Watching(_Exact):
    """The exact denoiser, which keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def predict(self, x: Tensor, t: Tensor) -> Any:
        self.seen.append(x)
        return super().predict(x, t)


def test_noise_moves_no_centre_in_training_nor_on_rows_kept_back() -> None:
    # The loss of a Gaussian does not show it: its score of the centre would be right, too.
    watching: Any = _Watching()
    objective = ParticleObjective(lambda _: watching, 0.5, NoiseRange(0.05, 10.0, 0.5))
    batch, generator = _batch(200), torch.Generator().manual_seed(0)
    objective(NETWORK, batch, generator)
    loss = held_out_loss(objective, batch, generator)
    first, again = loss(nn.Linear(1, 1)), loss(nn.Linear(1, 1))
    assert float(first) == float(again)
    torch.testing.assert_close(watching.seen[1], watching.seen[2], rtol=0.0, atol=0.0)
    for seen in watching.seen:
        assert float(seen.std()) > 0.3
        assert float(seen.mean(1).abs().max()) < 1e-6


def test_rows_kept_back_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _normal(40, 0).double().numpy()
    data = scaled_set(x, -x, torch.ones(40).double().numpy(), 1.0, None)
    settings = FitSettings(4, 1, 0.1, 10.0, 2, 8, 1e-3, 0.25)
    given: dict[str, tuple[Tensor, ...]] = {}

    def keep(_: Any, rows: tuple[Tensor, ...], __: Any) -> None:
        given["kept"] = rows

    def train(_: Any, __: Any, rows: tuple[Tensor, ...], **___: Any) -> Any:
        given["trained"] = rows

    monkeypatch.setattr(fitting, "held_out_loss", keep)
    frame, generator = ParticleFrame.of(data.positions, (0,) * 4), torch.Generator().manual_seed(0)
    train_score_model(settings, data, frame, generator, train)
    assert [len(part) for part in given["kept"]] == [10, 10, 10]
    assert data.scores is not None
    for place, whole in ((0, data.positions), (2, data.scores)):
        together = torch.cat([given["kept"][place], given["trained"][place]]).flatten(1)
        assert sorted(together.tolist()) == sorted(whole.flatten(1).tolist())
    # Each row has its own score.
    torch.testing.assert_close(given["trained"][2], -(data.length**2) * given["trained"][0])


def test_levels_of_a_batch_are_stratified() -> None:
    # One level in each of as many equal shares of the range: sorted, they follow the even spacing.
    count, noise = 50, NoiseRange(0.05, 10.0, 0.5)
    watching: Any = _Watching()
    objective = ParticleObjective(lambda _: watching, 0.5, noise)
    levels: list[Tensor] = []
    at, network = ParticleObjective.at, nn.Identity()

    class Listening(ParticleObjective):
        def at(self, network: nn.Module, batch: Any, found: Tensor, drawn: Tensor) -> Tensor:
            levels.append(found)
            return at(self, network, batch, found, drawn)

    listening = Listening(objective.denoiser, objective.local_scale, noise)
    listening(network, _batch(count), torch.Generator().manual_seed(0))
    edges = noise.sample(torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64))
    ordered = levels[0].sort().values
    assert bool((ordered >= edges[:-1] - 1e-9).all())
    assert bool((ordered <= edges[1:] + 1e-9).all())
    assert not torch.equal(ordered, levels[0])


def test_weights_are_those_of_a_mean() -> None:
    x0, _ = _batch(6)
    levels, noise = torch.linspace(0.2, 1.0, 6, dtype=torch.float64), _normal(6, 1)
    objective = _objective(1.2)
    weights = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    chosen = torch.tensor([0, 2, 2])
    found = objective.at(NETWORK, (x0, weights), levels, noise)
    repeated = objective.at(NETWORK, (x0[chosen], torch.ones(3)), levels[chosen], noise[chosen])
    torch.testing.assert_close(found, repeated)


def test_levels_cover_their_range_and_dwell_where_structure_forms() -> None:
    noise = NoiseRange(0.02, 10.0, 0.2)
    levels = noise.sample(torch.linspace(0.0, 1.0, 10_001, dtype=torch.float64))
    assert float(levels.min()) == pytest.approx(0.02, rel=1e-3)
    assert float(levels.max()) == pytest.approx(10.0)
    inner = (levels >= 0.2 / 3.0) & (levels <= 1.2)
    assert float(inner.double().mean()) == pytest.approx(0.65, abs=2e-3)
    assert float((levels < 0.2 / 3.0).double().mean()) == pytest.approx(0.2, abs=2e-3)
    narrow = NoiseRange(0.1, 1.5, 1.0).sample(torch.linspace(0.0, 1.0, 101, dtype=torch.float64))
    assert bool(((narrow >= 0.1 - 1e-12) & (narrow <= 1.5 + 1e-12)).all())


def test_data_are_scaled_to_unit_variance_and_forces_to_scores() -> None:
    x = (3.0 * _normal(4000, 0)).double().numpy()
    weights, kt = torch.ones(4000).double().numpy(), 2.5
    data = scaled_set(x, -kt * x / 9.0, weights, kt, None)
    assert data.length == pytest.approx(3.0, rel=0.02)
    assert data.local_scale == pytest.approx(1.0, rel=0.02)
    stiff = scaled_set(x, -4.0 * kt * x / 9.0, weights, kt, None)
    assert stiff.local_scale == pytest.approx(0.25, rel=0.02)  # below 1, at which scales are cut off
    assert data.scores is not None
    torch.testing.assert_close(data.scores, -data.positions * (data.length / 3.0) ** 2, rtol=1e-4, atol=1e-5)
    assert scaled_set(x, None, weights, kt, 0.6).local_scale == pytest.approx(0.2, rel=0.02)
    assert 0.0 < scaled_set(x, None, weights, kt, None).local_scale <= 1.0


def test_laws_with_stiff_bonds_are_learned_up_to_their_spread() -> None:
    levels = NoiseRange(0.002, 20.0, 0.02).sample(torch.linspace(0.0, 1.0, 10_001, dtype=torch.float64))
    inner = (levels >= 0.02 / 3.0) & (levels <= 0.75)
    assert float(inner.double().mean()) == pytest.approx(0.65, abs=2e-3)
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([0.002, 20.0], dtype=torch.float64))
