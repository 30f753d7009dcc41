"""Time maps and rolling sampling against exact autoregressive laws and one long run."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    AncestralDDPM,
    ContinuousPrediction,
    DPMSolverMultistep,
    Euler,
    Heun,
    NetworkDenoiser,
    PointwiseDenoiser,
    RectifiedFlow,
    Solver,
    VariancePreserving,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.rolling import rolling_sample
from sciffusion.sampling.time_maps import (
    BlockCausal,
    BoundaryPhase,
    KnownElements,
    MixedTimes,
    Pyramid,
    RollingWindow,
    SharedTime,
    TimeMap,
    local_grid,
)
from sciffusion.testing import assert_sampler_matches

COEFFICIENT = 0.8
MAPS: dict[str, TimeMap] = {
    "shared": SharedTime(),
    "rolling": RollingWindow(4, context=2),
    "boundary": BoundaryPhase(4, context=1),
    "pyramid": Pyramid(0.3),
    "blocks": BlockCausal(2),
    "known": KnownElements(torch.tensor([True, False, False, True, False, False, False])),
}


class _Series(PointwiseDenoiser):
    """The exact denoiser of a stationary AR(1) series of whatever length it is shown."""

    path = RectifiedFlow()

    def __init__(self) -> None:
        self.known: dict[int, ExactDenoiser] = {}

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        length = x.shape[1]
        if length not in self.known:
            target = GaussianTarget.autoregressive(length, COEFFICIENT)
            self.known[length] = ExactDenoiser(target, self.path)
        return self.known[length].predict(x, t)


def _randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", MAPS)
def test_local_times_never_fall_when_the_global_time_grows(name: str) -> None:
    s = torch.linspace(0.0, 1.0, 41, dtype=torch.float64)
    times = MAPS[name].local(s, 7)
    assert times.shape == (41, 7)
    assert times.dtype == torch.float64
    assert bool((times.diff(dim=0) >= 0.0).all())
    assert 0.0 <= float(times.min()) <= float(times.max()) <= 1.0
    assert MAPS[name].local(s.reshape(41, 1), 7).shape == (41, 1, 7)
    assert torch.equal(MAPS[name].local(float(s[13]), 7), times[13])


def test_local_times_are_those_of_the_definitions() -> None:
    def times(time_map: TimeMap, s: float, length: int = 4) -> list[float]:
        return time_map.local(s, length).tolist()

    assert times(RollingWindow(4), 0.5) == [0.125, 0.375, 0.625, 0.875]
    assert times(RollingWindow(2, context=2), 0.5) == [0.0, 0.0, 0.25, 0.75]
    assert times(BoundaryPhase(4), 0.5) == [0.5, 0.75, 1.0, 1.0]
    assert times(BoundaryPhase(3, context=1), 1.0) == [0.0, 1.0, 1.0, 1.0]
    # The phases meet, to the last bit: where one ends the next begins, one frame on.
    end, start = torch.tensor(times(RollingWindow(7), 0.0, 7)), torch.tensor(times(RollingWindow(7), 1.0, 7))
    assert torch.equal(torch.tensor(times(BoundaryPhase(7), 0.0, 7)), end)
    assert torch.equal(start[:-1], end[1:])
    assert float(start[-1]) == 1.0
    for lag in (0.0, 0.25, 1.0, 2.0):
        assert times(Pyramid(lag), 1.0) == [1.0] * 4
        assert times(Pyramid(lag), 0.0) == [0.0] * 4
    assert times(Pyramid(1.0), 0.5) == [0.0, 0.0, 1.0, 1.0]
    assert times(Pyramid(0.5), 0.5) == [0.0, 0.25, 0.75, 1.0]
    assert times(BlockCausal(2), 0.75, 5) == pytest.approx([0.25, 0.25, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("solver", [Euler(), Heun(), DPMSolverMultistep(3)], ids=lambda s: type(s).__name__)
def test_shared_times_are_bitwise_the_scalar_run(solver: Solver) -> None:
    x, grid = _randn(0, 9, 5), uniform_grid(6, 0.98)
    denoiser = NetworkDenoiser(lambda x, time, condition: torch.tanh(x), VariancePreserving())
    scalar = sample(denoiser, solver, grid, state=State(x=x)).samples
    for time_map in (SharedTime(), Pyramid(0.0)):
        shared = sample(denoiser, solver, local_grid(time_map, grid, 5), state=State(x=x)).samples
        assert torch.equal(shared, scalar)


def test_known_elements_condition_the_others() -> None:
    known = torch.tensor([False, True, False, False, True, False])
    target = GaussianTarget.autoregressive(6, COEFFICIENT)
    values = torch.tensor([1.5, -1.0], dtype=torch.float64)
    x = _randn(0, 3000, 6)
    x[:, known] = values
    grid = local_grid(KnownElements(known, Pyramid(0.2)), uniform_grid(30), 6)
    result = sample(_Series(), DPMSolverMultistep(2), grid, state=State(x=x)).samples
    assert torch.equal(result[:, known], x[:, known])
    law = target.conditional(known, values)
    assert_sampler_matches(result[:, ~known], law, torch.Generator().manual_seed(1))


def _emitted_covariance(solver: Solver, steps: int, window: int, n_frames: int, context: int) -> Tensor:
    """Covariance of a linear rolling run, from its response to a unit of noise in each frame."""
    count = n_frames + window
    impulses = torch.eye(count, dtype=torch.float64)
    frames = rolling_sample(
        _Series(), solver, window=window, frame_shape=(count,), n_frames=n_frames, steps_per_frame=steps,
        context=context, noise=lambda number: impulses[number],
    )  # fmt: skip
    response = torch.stack([frame.values for frame in frames])
    return response @ response.mT


@pytest.mark.parametrize(("solver", "order"), [(DPMSolverMultistep(1), 1.0), (Heun(), 2.0)])
def test_rolled_series_has_the_autoregressive_law(solver: Solver, order: float) -> None:
    exact = GaussianTarget.autoregressive(4, COEFFICIENT).covariance
    coarse, middle, fine = (_emitted_covariance(solver, steps, 2, 4, 1) - exact for steps in (8, 16, 32))
    orders = [float((a.abs().max() / b.abs().max()).log2()) for a, b in ((coarse, middle), (middle, fine))]
    assert min(orders) > order - 0.15
    # What is left is the error of the steps: extrapolated to none it is gone.
    factor = 2.0 ** orders[-1]
    limit = (factor * fine - middle) / (factor - 1.0)
    assert float(limit.abs().max()) < 0.1 * float(fine.abs().max())


def test_frames_out_of_sight_are_not_continued() -> None:
    # Without context the window forgets the frame that it gave away, and the law is another one.
    exact = GaussianTarget.autoregressive(4, COEFFICIENT).covariance
    seen, unseen = (_emitted_covariance(DPMSolverMultistep(2), 16, 2, 4, context) for context in (1, 0))
    assert float((unseen - exact).abs().max()) > 20.0 * float((seen - exact).abs().max())


@pytest.mark.parametrize(
    "solver", [DPMSolverMultistep(1), Heun(), DPMSolverMultistep(3)], ids=["1", "h", "3"]
)
def test_streaming_is_one_long_run(solver: Solver) -> None:
    window, n_frames, steps = 4, 5, 2
    length = n_frames + window
    noise = _randn(0, 5, length)
    frames = rolling_sample(
        _Series(), solver, window=window, frame_shape=(5,), n_frames=n_frames, steps_per_frame=steps,
        context=1, noise=lambda number: noise[:, number],
    )  # fmt: skip
    streamed = torch.stack([frame.values for frame in frames], 1)
    passed = torch.arange((window + n_frames - 1) * steps + 1, dtype=torch.float64)[:, None, None]
    grid = (torch.arange(length) / window + 1.0 - passed / (window * steps)).clamp(0.0, 1.0)
    long_run = sample(_Series(), solver, grid, state=State(x=noise)).samples[:, :n_frames]
    torch.testing.assert_close(streamed, long_run, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("window", [1, 3])
def test_without_context_frames_of_independent_values_are_runs_of_their_own(window: int) -> None:
    # The history of a multistep solver moves along even where nothing of it is left in sight.
    denoiser = NetworkDenoiser(lambda x, time, condition: torch.tanh(x), VariancePreserving())
    noise, steps = _randn(0, 7, 2, 3), 6 // window
    frames = rolling_sample(
        denoiser, DPMSolverMultistep(3), window=window, frame_shape=(2, 3), n_frames=5, steps_per_frame=steps,
        noise=lambda number: noise[number],
    )  # fmt: skip
    alone = sample(denoiser, DPMSolverMultistep(3), uniform_grid(6), state=State(x=noise[:5].flatten(0, 1)))
    streamed = torch.cat([frame.values for frame in frames])
    torch.testing.assert_close(streamed, alone.samples, rtol=1e-9, atol=1e-9)


def test_stochastic_solvers_and_a_known_past() -> None:
    # The frames after a given one have the law of the series given it.
    count, generator = 3000, torch.Generator().manual_seed(0)
    past = torch.tensor([0.3, -1.5], dtype=torch.float64).expand(count, 2)
    frames = rolling_sample(
        _Series(), AncestralDDPM(), window=2, frame_shape=(count,), n_frames=3, steps_per_frame=30, context=1,
        past=past, generator=generator, dtype=torch.float64,
    )  # fmt: skip
    series = torch.stack([frame.values for frame in frames], 1)
    first = torch.tensor([True, False, False, False])
    law = GaussianTarget.autoregressive(4, COEFFICIENT).conditional(
        first, torch.tensor([-1.5], dtype=torch.float64)
    )
    assert_sampler_matches(series, law, generator)


def test_frames_come_one_by_one_at_a_fixed_cost() -> None:
    seen: list[tuple[int, ...]] = []

    def network(x: Tensor, time: Tensor, condition: Any) -> Tensor:
        seen.append((condition, x.shape[1], time.shape[-1]))
        return 0.5 * x

    denoiser = NetworkDenoiser(network, VariancePreserving())
    frames = rolling_sample(
        denoiser, Euler(), window=4, frame_shape=(2, 3), steps_per_frame=2, context=2,
        condition_at=lambda first: first, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    # Without end: only what is asked for is computed.
    first = [next(frames) for _ in range(4)]
    assert (
        [frame.nfe for frame in first] == [8, 10, 12, 14] == [len(seen) - 6, len(seen) - 4, len(seen) - 2, 14]
    )
    assert [frame.number for frame in first] == [0, 1, 2, 3]
    assert all(frame.values.shape == (2, 3) for frame in first)
    # The context grows to two frames and then moves along.
    assert [seen[k] for k in (0, 8, 10, 12)] == [(0, 4, 4), (0, 5, 5), (0, 6, 6), (1, 6, 6)]
    again = rolling_sample(
        denoiser, Euler(), window=4, frame_shape=(2, 3), steps_per_frame=2, context=2,
        condition_at=lambda first: first, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for old, new in zip(first, islice(again, 4), strict=True):
        assert torch.equal(old.values, new.values)


def test_training_times_follow_the_mix() -> None:
    mix = MixedTimes.rolling(4, context=1, boundary_probability=0.25)
    times, ratio = mix.sample((4000, 5), torch.Generator().manual_seed(0))
    assert times.shape == ratio.shape == (4000, 5)
    assert bool((ratio == 1.0).all())
    assert bool((times[:, 0] == 0.0).all())
    gaps = times[:, 1:].diff(dim=1)
    # In the rolling phase all four frames stand a quarter apart; in the boundary phase the last wait at 1.
    rolling = ((gaps - 0.25).abs() < 1e-12).all(1) & (times[:, 1] <= 0.25)
    boundary = (times[:, 4] == 1.0) & ~rolling
    share = float(boundary.double().mean())
    # A boundary time s is told from a rolling one unless it lies within the first quarter.
    assert share == pytest.approx(0.25 * 0.75, abs=0.03)
    s = times[rolling, 1] * 4.0
    assert float(s.mean()) == pytest.approx(0.5, abs=0.02)
    again = mix.sample((4000, 5), torch.Generator().manual_seed(0)).times
    assert torch.equal(times, again)
    assert mix.sample((2, 6, 5), torch.Generator().manual_seed(0)).times.shape == (2, 6, 5)


def test_bad_arguments_are_named() -> None:
    common: dict[str, Any] = {"window": 2, "frame_shape": (3,), "generator": torch.Generator()}
    for extra, name in (
        ({"window": 0}, "window"),
        ({"steps_per_frame": 0}, "steps_per_frame"),
        ({"n_frames": 0}, "n_frames"),
        ({"context": -1}, "context"),
        ({"condition": 1, "condition_at": lambda first: 1}, "at most one of condition"),
        ({"generator": None}, "needs a generator"),
    ):
        with pytest.raises(ValueError, match=name):
            rolling_sample(_Series(), Euler(), **(common | extra))
    with pytest.raises(ValueError, match=r"past must have shape .* got \(2, 4\)"):
        next(rolling_sample(_Series(), Euler(), **common, context=1, past=torch.zeros(2, 4)))
    for make, name in (
        (lambda: RollingWindow(0), "window"),
        (lambda: BoundaryPhase(3, -1), "context"),
        (lambda: Pyramid(-0.1), "lag"),
        (lambda: BlockCausal(0), "block"),
        (lambda: SharedTime().local(0.5, 0), "length"),
        (lambda: KnownElements(torch.tensor([True])).local(0.5, 3), "known must be a mask"),
        (lambda: MixedTimes((SharedTime(),), (1.0, 2.0)), "one entry a map"),
        (lambda: MixedTimes((SharedTime(),), (0.0,)), "probabilities must be positive"),
        (lambda: MixedTimes.rolling(3, boundary_probability=1.0), "boundary_probability"),
        (lambda: MixedTimes.rolling(3).sample((4,), torch.Generator()), "batch, length"),
    ):
        with pytest.raises(ValueError, match=name):
            make()
