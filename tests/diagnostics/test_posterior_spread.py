"""The diagnostic of posterior samplers: exact moments, honest error bars, and verdicts on known samplers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import ERSDE, PowerScale, VariancePreserving
from sciffusion.diagnostics import posterior_spread
from sciffusion.diagnostics.posterior_atoms import PosteriorAtoms
from sciffusion.diagnostics.posterior_spread import SpreadTolerance, _spread_variance
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import TraceRecorder, log_snr_grid, sample
from sciffusion.sampling.guidance import Likelihood, PosteriorGuidance

PATH = VariancePreserving(0.0, 20.0)  # alpha^2 = exp(-10 t^2)
PRIOR = GaussianMixtureTarget.from_stds([0.5, 0.5], torch.tensor([-2.0, 2.0]), torch.tensor([0.2, 0.2]))
OPERATOR, READING, NOISE = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), 1.5
INSTRUMENT = Likelihood(OPERATOR, READING, NOISE)
EXACT = PRIOR.observed(OPERATOR, READING, NOISE)


def _sign(x: Tensor) -> Tensor:
    return (x[:, 0] > 0.0).long()


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _run(method: str, seed: int = 0, count: int = 3000) -> Any:
    exact = method == "exact"
    target, guidance = (EXACT, ()) if exact else (PRIOR, PosteriorGuidance(INSTRUMENT, method))  # type: ignore[arg-type]
    return sample(
        ExactDenoiser(target, PATH), ERSDE(2, PowerScale(2.0)), log_snr_grid(PATH, 80, last_log_snr=4.0),
        shape=(count, 1), guidance=guidance, hooks=[TraceRecorder()], generator=_generator(seed),
        dtype=torch.float64,
    )  # fmt: skip


def _report(method: str, seed: int = 0, **options: Any) -> Any:
    trace = _run(method, seed).trace
    settings = {"n_atoms": 3000, "n_times": 4, **options}
    return posterior_spread(
        PRIOR,
        PATH,
        INSTRUMENT,
        trace["x"],
        trace["x_times"],
        modes=_sign,
        generator=_generator(10),
        **settings,
    )


@pytest.mark.parametrize("seed", range(2))
def test_the_exact_score_passes(seed: int):
    report = _report("exact", seed)
    assert report.passed, report.table
    assert report.final.t == 0.0
    assert report.final.masses[0] == pytest.approx(0.148, abs=0.02)


@pytest.mark.parametrize(
    ("method", "verdicts"),
    [
        ("dps", {"under-spread", "wrong mean", "wrong masses"}),
        ("tmpd", {"over-spread", "wrong mean", "wrong masses"}),
    ],
)
def test_failing_samplers_are_flagged(method: str, verdicts: set[str]):
    report = _report(method)
    assert not report.passed
    assert set(report.final.verdicts) == verdicts


def test_reference_moments_are_those_of_the_exact_posterior():
    atoms = PRIOR.draw(200_000, _generator())
    reference = PosteriorAtoms(atoms, -0.5 * ((1.0 - atoms[:, 0]) / NOISE) ** 2, _sign(atoms))
    draws = EXACT.draw(200_000, _generator(1))
    assert float(reference.mean) == pytest.approx(float(draws.mean()), abs=0.02)
    assert float(reference.weights @ reference.squares) == pytest.approx(float(draws.var()), abs=0.02)
    assert float(reference.masses[0]) == pytest.approx(float((draws < 0.0).double().mean()), abs=0.005)
    assert reference.effective_count < 200_000


@pytest.mark.parametrize(("alpha", "sigma"), [(0.9, 0.3), (0.5, 0.8)])
def test_the_variance_of_the_spread_is_that_of_many_draws(alpha: float, sigma: float):
    atoms = PRIOR.draw(50, _generator())
    reference = PosteriorAtoms(atoms, -0.5 * ((1.0 - atoms[:, 0]) / NOISE) ** 2)
    draws = reference.draw(100_000, alpha, sigma, _generator(1))
    squares = ((draws - alpha * reference.mean) ** 2).sum(-1)
    claimed = _spread_variance(reference, alpha, sigma, atoms.shape[1])
    assert claimed == pytest.approx(float(squares.var()), rel=0.05)


@pytest.mark.parametrize("are_draws", [True, False])
def test_exact_draws_are_flagged_no_more_often_than_the_level_says(are_draws: bool):
    """States from the reference (or, with atoms that are draws, from the target behind them)."""
    none, flagged, runs = SpreadTolerance(0.0, 0.0, 0.0), 0, 60
    times = [0.5, 0.1]
    for seed in range(runs):
        generator = _generator(seed)
        atoms = PRIOR.draw(400, generator)
        reference = PosteriorAtoms(atoms, -0.5 * ((1.0 - atoms[:, 0]) / NOISE) ** 2)
        states = []
        for t in times:
            c = PATH.coefficients(t)
            if are_draws:
                states.append(ExactDenoiser(EXACT, PATH).draw_marginal(300, t, generator))
            else:
                states.append(reference.draw(300, float(c.alpha), float(c.sigma), generator))
        report = posterior_spread(
            atoms, PATH, INSTRUMENT, states, times, modes=_sign, level=0.2, tolerance=none,
            are_draws=are_draws,
        )  # fmt: skip
        flagged += not report.passed
    # A level of .2, with the tests dependent: between a few and 12 expected, 20 is three deviations above.
    assert 1 <= flagged <= 20


def test_masses_keep_their_mean_at_every_time():
    """The tower rule: the mean probability of a mode is its mass, also where the modes overlap."""
    atoms = PRIOR.draw(500, _generator())
    reference = PosteriorAtoms(atoms, -0.5 * ((1.0 - atoms[:, 0]) / NOISE) ** 2, _sign(atoms))
    for t in (0.02, 0.3, 0.6, 0.9):
        c = PATH.coefficients(t)
        x = reference.draw(10_000, float(c.alpha), float(c.sigma), _generator(1))
        share = reference.mode_probabilities(x, float(c.alpha), float(c.sigma))
        torch.testing.assert_close(share.mean(0), reference.masses, rtol=0.0, atol=0.01)


def test_any_forward_model_and_clean_states_will_do():
    atoms = torch.randn(2000, 2, generator=_generator(), dtype=torch.float64)

    def radius(x: Tensor) -> Tensor:
        return -0.5 * ((x.norm(dim=-1) - 1.0) / 0.1) ** 2

    reference = PosteriorAtoms(atoms, radius(atoms), are_draws=False)
    good = reference.draw(2000, 1.0, 0.0, _generator(1))
    assert posterior_spread(atoms, PATH, radius, [good], [0.0], are_draws=False).passed
    shrunk = posterior_spread(atoms, PATH, radius, [0.8 * good], [0.0], are_draws=False)
    assert shrunk.verdicts == ("under-spread",)
    assert shrunk.final.ratio == pytest.approx(0.8, abs=0.03)
    assert shrunk.final.ratio_error < 0.01
    moved = posterior_spread(atoms, PATH, radius, [good + 0.2], [0.0], are_draws=False)
    assert moved.verdicts == ("wrong mean",)


def test_the_table_and_the_picture_say_what_was_found():
    pytest.importorskip("matplotlib").use("Agg")
    report = _report("dps", n_times=3, n_atoms=1000)
    table = report.table
    assert list(table.index) == [row.t for row in report.rows]
    assert len(table) == 3
    assert "under-spread" in table["verdict"].iloc[-1]
    assert table["ratio"].iloc[-1] == pytest.approx(table["spread"].iloc[-1] / table["exact spread"].iloc[-1])
    figure = report.plot()
    assert len(figure.axes) == 2
    import matplotlib.pyplot as plt

    plt.close(figure)


def test_bad_input_is_refused():
    x = torch.zeros(5, 1)
    with pytest.raises(ValueError, match="states and times must match, got 1 and 2"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [0.0, 0.1])
    with pytest.raises(ValueError, match=r"times\[0\] must be one time for all values"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [torch.zeros(5)])
    with pytest.raises(ValueError, match="needs a generator"):
        posterior_spread(PRIOR, PATH, INSTRUMENT, [x], [0.0])
    with pytest.raises(ValueError, match="states have dimension 2 and atoms 1"):
        posterior_spread(x, PATH, INSTRUMENT, [torch.zeros(5, 2)], [0.0])
    with pytest.raises(ValueError, match="impossible for every atom"):
        posterior_spread(x, PATH, lambda atoms: atoms[:, 0] - math.inf, [x], [0.0])
    with pytest.raises(ValueError, match="labels must be integers"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [0.0], modes=torch.zeros(5))
    with pytest.raises(ValueError, match=r"times\[0\] must lie in \[0, 1\], got nan"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [math.nan])
    with pytest.raises(ValueError, match="n_times must be at least 1 and level lie in"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [0.0], n_times=0)
    with pytest.raises(ValueError, match="n_times must be at least 1 and level lie in"):
        posterior_spread(x, PATH, INSTRUMENT, [x], [0.0], level=1.0)
    with pytest.raises(TypeError, match="prior must be a tensor of real numbers, got ndarray"):
        posterior_spread(x.numpy(), PATH, INSTRUMENT, [x], [0.0])
