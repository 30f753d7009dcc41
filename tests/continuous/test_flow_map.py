"""Flow maps against the exact ones: rules, tangents, consistency errors, and training that really learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sciffusion.continuous import Cosine, Heun, Path, RectifiedFlow, Trigonometric, VarianceExploding
from sciffusion.continuous.flow_map import (
    ConsistencyModel,
    ConsistencyObjective,
    ExactFlowMap,
    FlowMap,
    SolverFlowMap,
    TrajectoryModel,
    TrajectoryObjective,
    deterministic_move,
    soft_consistency,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.training import LogNormalNoise, TrainingOptions, fit_network

DATA_STD = 0.7
STDS = torch.tensor([0.4, 0.8, 1.5], dtype=torch.float64)
GAUSSIAN = GaussianTarget.diagonal(STDS)
CENTRES = torch.tensor([-1.5, 1.0], dtype=torch.float64)
MIXTURE = GaussianMixtureTarget.from_stds([0.3, 0.7], CENTRES, torch.tensor([0.4, 0.6], dtype=torch.float64))
PATHS: list[Path] = [Trigonometric(), RectifiedFlow(), Cosine(), VarianceExploding(0.01, 40.0)]


def _times(path: Path) -> LogNormalNoise:
    return LogNormalNoise(time_of_log_snr=path.time_of_log_snr, location=0.0, scale=1.6)


class ExactNetwork(nn.Module):
    """The F whose consistency model is the probability flow of ``GAUSSIAN``."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        c = path.coefficients(0.0)
        self.first = math.atan2(float(c.sigma), float(c.alpha) * DATA_STD)

    def forward(self, z: Tensor, time: Tensor, condition: Any) -> Tensor:
        angle = (0.5 * math.pi * time)[:, None]
        relative = (STDS / DATA_STD) ** 2
        here = angle.cos() ** 2 * relative + angle.sin() ** 2
        end = math.cos(self.first) ** 2 * relative + math.sin(self.first) ** 2
        left = angle - self.first
        return (left.cos() - torch.sqrt(end / here)) * z / left.sin()


def _points(path: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return data, noisy values and their times, one time a row."""
    generator = torch.Generator().manual_seed(0)
    x0 = GAUSSIAN.draw(64, generator)
    t = torch.rand(64, generator=generator, dtype=torch.float64) * 0.96 + 0.02
    return x0, path.marginal(x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)), t


def _largest_tangent(path: Path, velocity_sign: float = 1.0, warmth: float = 1.0) -> float:
    model = ConsistencyModel(ExactNetwork(path), path, DATA_STD).double()
    x0, x, t = _points(path)
    objective = ConsistencyObjective(_times(path), ExactDenoiser(GAUSSIAN, path))
    velocity = velocity_sign * objective.velocity(model, x0, x, t)
    return float(objective.tangent(model, x, t, velocity, warmth=warmth)[1].abs().max())


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_consistency_tangent_vanishes_at_the_exact_map(path: Path) -> None:
    assert _largest_tangent(path) < 1e-8


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_wrong_tangent_does_not_vanish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _largest_tangent(path, velocity_sign=-1.0) > 0.1
    assert _largest_tangent(path, warmth=0.0) > 0.05
    right = torch.func.jvp

    def negated(function: Callable[..., Tensor], at: Any, along: Any) -> tuple[Tensor, Tensor]:
        value, change = right(function, at, along)
        return value, -change

    def without_time(function: Callable[..., Tensor], at: Any, along: Any) -> tuple[Tensor, Tensor]:
        return right(function, at, (along[0], torch.zeros_like(along[1])))

    for wrong in (negated, without_time):
        monkeypatch.setattr(torch.func, "jvp", wrong)
        assert _largest_tangent(path) > 0.05


def test_tangent_is_the_scaled_derivative_of_the_map_along_the_flow() -> None:
    path, step = Trigonometric(), 1e-5
    network = TwoTimeMLP(3, width=8, depth=2, n_times=1, generator=torch.Generator().manual_seed(1)).double()
    nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(2))
    model = ConsistencyModel(network, path, DATA_STD)
    denoiser = ExactDenoiser(GAUSSIAN, path)
    objective = ConsistencyObjective(_times(path), denoiser)
    x0, x, t = _points(path)
    _, tangent = objective.tangent(model, x, t, objective.velocity(model, x0, x, t))
    later, earlier = (model(denoiser.flow_map(x, t, t + move), t + move) for move in (step, -step))
    angles = [torch.atan(path.coefficients(t + move).noise_to_signal / DATA_STD) for move in (step, -step)]
    slope = (later - earlier) / DATA_STD / (angles[0] - angles[1])[:, None]
    angle = torch.atan(path.coefficients(t).noise_to_signal / DATA_STD)[:, None]
    torch.testing.assert_close(tangent, torch.cos(angle) * slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_one_step_of_the_exact_model_has_the_exact_variance(path: Path) -> None:
    model = ConsistencyModel(ExactNetwork(path), path, DATA_STD)
    start = torch.eye(3, dtype=torch.float64)
    end = model(start, torch.full((3,), 0.98, dtype=torch.float64)).diagonal()
    c, c0 = path.coefficients(0.98), path.coefficients(0.0)
    variance = (end**2) * (c.alpha**2 * STDS**2 + c.sigma**2)
    torch.testing.assert_close(variance, c0.alpha**2 * STDS**2 + c0.sigma**2, rtol=1e-10, atol=0)


def test_data_velocity_is_the_teachers_on_average() -> None:
    # In one dimension, given (x, t), the mean over x0 of the pair's velocity is the denoiser's.
    path, target = Trigonometric(), GaussianTarget.isotropic(1, std=0.6)
    model = ConsistencyModel(nn.Identity(), path, DATA_STD)
    denoiser = ExactDenoiser(target, path)
    x = torch.full((20_000, 1), 0.4, dtype=torch.float64)
    t = torch.full((20_000,), 0.5, dtype=torch.float64)
    belief = denoiser.posterior(x[:1], 0.5)
    assert belief.covariance is not None
    white = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    x0 = belief.mean + belief.covariance[0].sqrt() * white
    from_pairs = ConsistencyObjective(_times(path)).velocity(model, x0, x, t)
    from_teacher = ConsistencyObjective(_times(path), denoiser).velocity(model, x0, x, t)
    error = float(from_pairs.std()) / math.sqrt(len(x))
    assert float(from_pairs.mean()) == pytest.approx(float(from_teacher[0, 0]), abs=4.0 * error)


MODELS: dict[str, Callable[[nn.Module, Path, float], nn.Module]] = {
    "consistency": ConsistencyModel,
    "trajectory": TrajectoryModel,
}


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_boundary_condition_holds_for_any_network(name: str, path: Path) -> None:
    model = MODELS[name](_Loud(), path, DATA_STD)
    assert isinstance(model, FlowMap)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    for t in (0.0, 0.3, 1.0):
        assert torch.equal(model(x, t, t), x)
    # Continuity towards the boundary, which an override at equal times alone would not give.
    near = 1e-7 if float(path.coefficients(0.0).sigma) == 0.0 else 1e-6
    torch.testing.assert_close(model(x, near, 0.0), x, rtol=1e-3, atol=2e-4)


class _Loud(nn.Module):
    def forward(self, z: Tensor, *others: Any) -> Tensor:
        return 3.0 * torch.ones_like(z)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_per_element_times_move_each_element_by_itself(path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    network = TwoTimeMLP(1, width=8, depth=2, generator=generator)
    nn.init.normal_(network.last.weight, generator=generator)
    model = TrajectoryModel(network, path, DATA_STD)
    x = torch.randn(4, 3, 1, generator=generator)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).expand(4, 3)
    s = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64).expand(4, 3)
    together = model(x, t, s)
    for k in range(3):
        torch.testing.assert_close(together[:, k], model(x[:, k], t[0, k], s[0, k]))
    assert torch.equal(together[:, 0], x[:, 0])


@pytest.mark.parametrize("target", [GAUSSIAN, MIXTURE], ids=["Gaussian", "mixture"])
def test_soft_consistency_vanishes_at_the_exact_map(target: Any) -> None:
    path = RectifiedFlow()
    exact = ExactFlowMap(ExactDenoiser(target, path))
    generator = torch.Generator().manual_seed(1)
    t = 0.5 + 0.4 * torch.rand(50, generator=generator, dtype=torch.float64)
    x = exact.denoiser.draw_marginal(50, 0.7, generator)  # type: ignore[attr-defined]
    times = (t, 0.6 * t, 0.2 * t)
    assert float(soft_consistency(exact, exact, exact, x, times).abs().max()) < 1e-9
    # The deterministic step with the exact clean estimate is a flow map no more.
    one_step = SolverFlowMap(exact.denoiser, Heun())  # type: ignore[arg-type]
    assert float(soft_consistency(one_step, one_step, exact, x, times).abs().max()) > 1e-2
    # The soft error of the exact map against a solver is the solver's: it falls with the cube of the step.
    errors = [
        float(soft_consistency(exact, exact, one_step, x, (t, t - step, 0.2 * t)).abs().max())
        for step in (0.04, 0.02)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3.0, abs=0.4)


def test_trajectory_form_with_the_exact_estimate_is_the_exact_map() -> None:
    path, denoiser = RectifiedFlow(), ExactDenoiser(MIXTURE, RectifiedFlow())
    t, s = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    x = torch.linspace(-2.0, 2.0, 7, dtype=torch.float64)[:, None]
    old, new = path.coefficients(t), path.coefficients(s)
    arrived = denoiser.flow_map(x, t, s)
    estimate = (arrived - new.sigma / old.sigma * x) / (new.alpha - new.sigma / old.sigma * old.alpha)
    torch.testing.assert_close(deterministic_move(path, x, t, s, estimate), arrived)
    # Towards the diagonal that estimate is the posterior mean.
    close = t - 1e-6
    near = path.coefficients(close)
    ratio = near.sigma / old.sigma
    limit = (denoiser.flow_map(x, t, close) - ratio * x) / (near.alpha - ratio * old.alpha)
    torch.testing.assert_close(limit, denoiser.predict(x, t).value, rtol=1e-4, atol=1e-4)


def test_departures_of_items_go_with_arrivals_of_elements() -> None:
    # Shapes are prefixes of the state's, also where they would broadcast from the other end.
    flow = ExactFlowMap(ExactDenoiser(GaussianTarget.isotropic(3, 0.5), RectifiedFlow()))
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    departure = torch.tensor([0.9, 0.6, 0.4], dtype=torch.float64)
    arrival = departure[:, None] * torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    expected = flow(x, departure[:, None].expand(3, 3), arrival)
    torch.testing.assert_close(flow(x, departure, arrival), expected, rtol=0.0, atol=0.0)
    torch.testing.assert_close(expected[:, 2], x[:, 2], rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match=r"\(3,\) and \(2, 3\) do not belong to one state"):
        flow(x, departure, arrival[:2])


def test_a_solver_as_flow_map_converges_to_the_exact_one() -> None:
    denoiser = ExactDenoiser(MIXTURE, Cosine())
    x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
    exact = ExactFlowMap(denoiser)(x, 0.9, 0.1)
    coarse, fine = (
        float((SolverFlowMap(denoiser, Heun(), n)(x, 0.9, 0.1) - exact).abs().max()) for n in (40, 80)
    )
    assert fine < 2e-3
    assert math.log2(coarse / fine) == pytest.approx(2.0, abs=0.3)
    assert SolverFlowMap(denoiser, Heun(), 4).nfe == 8


def _fit(model: nn.Module, objective: Any, target: Any, steps: int) -> None:
    rows = target.draw(4096, torch.Generator().manual_seed(0)).float()
    options = TrainingOptions(
        max_steps=steps, batch_size=256, learning_rate=2e-3, learning_rate_schedule="cosine", patience=None,
        warmup_steps=30, ema_relative_std=0.1,
        evaluate_every=steps, threads=1,
    )  # fmt: skip
    fit_network(model, objective, (rows,), options=options, seed=0)


@pytest.mark.parametrize("teacher", [True, False], ids=["distilled", "from data"])
def test_consistency_training_approaches_the_exact_map(teacher: bool) -> None:
    path, target = Trigonometric(), GaussianTarget.isotropic(1, std=0.5, mean=0.5)
    denoiser = ExactDenoiser(target, path)
    network = TwoTimeMLP(1, width=32, depth=2, n_times=1, generator=torch.Generator().manual_seed(0))
    model = ConsistencyModel(network, path, 0.7)
    objective = ConsistencyObjective(_times(path), denoiser if teacher else None, warmup_updates=300)
    _fit(model, objective, target, 400)
    assert int(model.updates) == 400
    x = torch.linspace(-2.0, 2.0, 41)[:, None]
    with torch.no_grad():
        error = float((model(x, 0.98) - denoiser.flow_map(x, 0.98, 0.0)).abs().mean())
    # Before training the map is nearly 0 here, and the exact one between -0.9 and 1.9.
    assert error < 0.1


def test_trajectory_training_approaches_the_exact_map() -> None:
    path, target = RectifiedFlow(), GaussianTarget.isotropic(1, std=0.5, mean=0.5)
    denoiser = ExactDenoiser(target, path)
    network = TwoTimeMLP(1, width=32, depth=2, generator=torch.Generator().manual_seed(0))
    model = TrajectoryModel(network, path, 0.7)
    _fit(model, TrajectoryObjective(_times(path), denoiser), target, 400)
    x = torch.linspace(-2.0, 2.0, 41)[:, None]
    for s in (0.0, 0.5):
        with torch.no_grad():
            error = float((model(x, 0.98, s) - denoiser.flow_map(x, 0.98, s)).abs().mean())
        assert error < 0.1
    with torch.no_grad():
        x = denoiser.draw_marginal(200, 0.5, torch.Generator().manual_seed(1)).float()
        diagonal = model.denoiser().predict(x, 0.5).value - denoiser.predict(x, 0.5).value
    assert float(diagonal.abs().mean()) < 0.1


@pytest.mark.parametrize("longest", [0.25, 1.0])
def test_teacher_goes_a_bounded_share_of_the_way(longest: float) -> None:
    path, std = RectifiedFlow(), 0.5
    steps: list[tuple[Tensor, Tensor, Tensor]] = []

    class Spied(TrajectoryObjective):
        def _earlier(self, model: Any, t: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            u, s = super()._earlier(model, t, generator)
            steps.append((t, u, s))
            return u, s

    network = TwoTimeMLP(1, width=4, depth=1, generator=torch.Generator().manual_seed(0))
    objective = Spied(_times(path), longest=longest)
    objective(TrajectoryModel(network, path, std), (torch.zeros(4000, 1),), torch.Generator().manual_seed(0))
    t, u, s = (torch.atan2(time, (1.0 - time) * std) for time in steps[0])
    share = (t - u) / (t - s)
    assert float(share.max()) == pytest.approx(longest, rel=0.01)
    assert float(share.min()) < 0.01
    assert float((s == 0.0).double().mean()) == pytest.approx(0.25, abs=0.03)


def test_warm_up_counts_updates_only_and_normalisation_follows_the_teacher() -> None:
    path = RectifiedFlow()
    teacher = ExactDenoiser(GaussianTarget.isotropic(2), path)
    network = TwoTimeMLP(2, width=4, depth=1, n_times=1, generator=torch.Generator().manual_seed(0))
    model = ConsistencyModel(network, path)
    rows = teacher.target.draw(64, torch.Generator().manual_seed(0)).float()

    def loss(**settings: Any) -> float:
        objective = ConsistencyObjective(_times(path), warmup_updates=4, **settings)
        return float(objective(model, (rows,), torch.Generator().manual_seed(1)).detach())

    model.eval()
    assert loss(teacher=teacher) == loss(teacher=teacher, normalisation="item")
    assert loss() == loss(normalisation="batch") != loss(normalisation="item")
    assert int(model.updates) == 0
    model.train()
    cold = loss()
    assert int(model.updates) == 1
    assert loss() != cold


def test_bad_use_is_refused() -> None:
    path = Trigonometric()
    model = ConsistencyModel(nn.Identity(), path)
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="expected s <= t"):
        ExactFlowMap(ExactDenoiser(MIXTURE, path))(x, 0.2, 0.5)
    with pytest.raises(ValueError, match="use a TrajectoryModel"):
        model(x, 0.8, 0.5)
    with pytest.raises(ValueError, match="data_std"):
        TrajectoryModel(nn.Identity(), path, 0.0)
    with pytest.raises(ValueError, match="normalisation must be one of"):
        ConsistencyObjective(_times(path), normalisation="row")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a ConsistencyModel"):
        ConsistencyObjective(_times(path))(nn.Identity(), (x,), torch.Generator())
    with pytest.raises(ValueError, match="n_steps must be positive"):
        SolverFlowMap(ExactDenoiser(MIXTURE, path), Heun(), 0)
    with pytest.raises(ValueError, match="longest"):
        TrajectoryObjective(_times(path), longest=0.0)
