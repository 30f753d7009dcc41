"""Pictures of particle systems: what is drawn is what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from sciffusion.domains.boltzmann import plots, radial_distribution  # noqa: E402
from sciffusion.domains.boltzmann.metrics_profiles import free_energy_profile  # noqa: E402
from sciffusion.domains.boltzmann.plots_style import write_picture  # noqa: E402


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def harmonic(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x.square().sum((1, 2))


def sample(n: int = 200, seed: int = 0) -> SimpleNamespace:
    source = np.random.default_rng(seed)
    x = source.normal(size=(n, 3, 3))
    return SimpleNamespace(
        configurations=x, log_weights=source.normal(size=n), energies=harmonic(torch.as_tensor(x)).numpy()
    )


def labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_radial_distribution_draws_the_weighted_histogram() -> None:
    drawn, known = sample(), sample(seed=1)
    (ax,) = plots.plot_radial_distribution(
        {"drawn": drawn}, known, bins=15, range=(0.0, 5.0), length_unit="nm"
    ).axes
    expected = radial_distribution(
        drawn.configurations, log_weights=drawn.log_weights, bins=15, range=(0.0, 5.0)
    )
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected.values)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), expected.middles)
    assert labels(ax) == ["reference", "drawn"]
    assert "(nm)" in ax.get_xlabel()


def test_energies_draw_weighted_densities() -> None:
    drawn = sample()
    pair = (drawn.configurations, drawn.log_weights)
    for given, energy in (({"a": drawn}, None), ({"a": pair}, harmonic)):
        (ax,) = plots.plot_energies(given, energy=energy, bins=9, units="kJ/mol").axes
        found = ax.patches[0].get_data()
        weights = np.exp(drawn.log_weights) / np.exp(drawn.log_weights).sum()
        mass, _ = np.histogram(drawn.energies, bins=found.edges, weights=weights)
        np.testing.assert_allclose(found.values * np.diff(found.edges), mass)
        assert mass.sum() > 0.98
        assert ax.get_xlabel() == "energy (kJ/mol)"


def test_ramachandran_is_the_free_energy_of_the_bins() -> None:
    phi = np.array([0.1, 0.1, -3.0])
    psi = np.array([0.2, 0.2 + 2 * np.pi, 3.0])  # angles are periodic
    figure = plots.plot_ramachandran({"law": (phi, psi)}, kT=2.0, bins=4)
    free = figure.axes[0].images[0].get_array()
    assert np.ma.compressed(np.ma.masked_invalid(free)).tolist() == pytest.approx([0.0, 2.0 * np.log(2.0)])
    assert free[2, 2] == 0.0  # rows are psi
    assert free[3, 0] == pytest.approx(2.0 * np.log(2.0))
    weighted = plots.plot_ramachandran({"a": (phi, psi), "b": (phi, psi, np.log([1.0, 1.0, 4.0]))}, bins=4)
    assert weighted.axes[1].images[0].get_array()[3, 0] == 0.0


def test_profiles_have_bands_of_their_errors() -> None:
    source = np.random.default_rng(0)
    profile = free_energy_profile(source.uniform(-3, 3, 500), bins=12, range=(-np.pi, np.pi))
    (ax,) = plots.plot_free_energy_profiles({"law": profile}, profile, angle=True, coordinate="φ").axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), profile.values)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.degrees(profile.middles))
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((profile.values + 2 * profile.errors).max())
    assert labels(ax) == ["reference", "law"]


def test_ess_marks_the_steps_that_were_resampled() -> None:
    ess = np.array([[100.0, 95.0], [80.0, 92.0], [99.0, 60.0]])
    (ax,) = plots.plot_ess(ess, particles=100).axes
    marked = ax.collections[0].get_offsets()
    np.testing.assert_allclose(marked, [[2, 0.8], [3, 0.6]])
    assert labels(ax) == ["median of 2 systems, smallest 0.60", "1 resamplings a system"]
    (kept,) = plots.plot_ess({"run": ess[:, :1]}, particles=100, threshold=None).axes
    assert not kept.collections
    assert labels(kept) == ["run: smallest 0.80"]
    run = SimpleNamespace(ess=ess / 100, resamplings=np.array([0, 0]))
    (never,) = plots.plot_ess({"run": run, "other": ess / 100}, threshold=0.9).axes
    assert len(never.collections) == 1  # only the other run was resampled


def test_samples_draw_what_is_known(tmp_path: Path) -> None:
    drawn = sample()
    assert len(plots.plot_samples({"a": drawn}).axes) == 1
    figure = plots.plot_samples(
        {"a": drawn}, sample(seed=1), energy=harmonic, ess=np.full((4, 1), 0.9), title="law"
    )
    assert len(figure.axes) == 3
    assert len(plots.plot_samples({"a": drawn}, energies={"a": drawn}).axes) == 2
    for name in ("picture.png", "picture.svg", "picture.pdf"):
        write_picture(tmp_path / name, plots.plot_samples({"a": drawn}))
        assert (tmp_path / name).stat().st_size > 1000
    assert len(pyplot.get_fignums()) == 3  # those written are forgotten


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.plot_radial_distribution({}), "nothing to draw"),
        (lambda: plots.plot_radial_distribution({"reference": sample()}, sample()), "called 'reference'"),
        (lambda: plots.plot_energies({"a": (sample().configurations, None)}), "give energy="),
        (lambda: plots.plot_ramachandran({"a": (np.zeros(3),)}), r"\(phi, psi\)"),
        (lambda: plots.plot_ramachandran({"a": (np.full(3, 90.0), np.zeros(3))}), "in radians"),
        (lambda: plots.plot_ramachandran({"a": (np.zeros(3), np.zeros(2))}), "one shape"),
        (lambda: plots.plot_free_energy_profiles({}), "profiles is empty"),
        (lambda: plots.plot_free_energy_profiles({"reference": 1}, 1), "profiles is called 'reference'"),  # type: ignore[dict-item, arg-type]
        (lambda: plots.plot_ess(np.ones(3), particles=10), r"shape \(steps, systems\)"),
        (lambda: plots.plot_ess(np.full((3, 1), 11.0), particles=10), "0 to 10"),
        (lambda: plots.plot_ess(np.full((3, 1), 11.0)), "give particles="),
        (lambda: plots.plot_ess(np.ones((3, 1)), particles=2, ax=pyplot.subplots(2)[1]), "1 Axes"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
