"""Pictures of molecules hold what they should: every formula, the scaffold alike, densities by weight."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciffusion.domains.molecules import molecule_grid, plot_properties

pytest.importorskip("rdkit")
matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

DRUGS = ["CC(=O)Oc1ccccc1C(=O)O", "CN1CCCC1c1cccnc1", "O=C(Nc1ccccc1)c1ccccc1", "CCO", "C1CC"]


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    pyplot.close("all")


def panel_colours(svg: str) -> set[str]:
    return set(re.findall(r"#[0-9A-F]{6}", svg))


def test_a_grid_has_a_panel_for_each_string_and_saves_as_its_suffix_says(tmp_path: Path) -> None:
    grid = molecule_grid(DRUGS, columns=3, size=(120, 100))
    assert "width='360px' height='200px'" in grid.svg
    grid.save(tmp_path / "grid.svg")
    grid.save(tmp_path / "grid.PNG")
    assert (tmp_path / "grid.PNG").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "grid.svg").read_text() == grid.svg == grid._repr_svg_()
    with pytest.raises(ValueError, match=r"grid\.pdf"):
        grid.save(tmp_path / "grid.pdf")


def test_captions_and_strings_that_are_no_molecule_change_the_picture() -> None:
    plain = molecule_grid(DRUGS[:2], captions=["", ""]).svg
    assert len(molecule_grid(DRUGS[:2]).svg) > len(plain)
    assert len(molecule_grid(["C1CC"]).svg) > len(molecule_grid(["C1CC"], captions=[""]).svg)


def test_the_scaffold_is_highlighted_only_where_it_is() -> None:
    highlight = "#ADD8F9"
    assert highlight in panel_colours(molecule_grid(["O=C(Nc1ccccc1)C"], scaffold="*NC(=O)*").svg)
    assert highlight not in panel_colours(molecule_grid(["CCO"], scaffold="*NC(=O)*").svg)


def test_a_grid_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        molecule_grid([])
    with pytest.raises(ValueError, match="at least one"):
        molecule_grid("CCO")
    with pytest.raises(ValueError, match="one text a molecule, 2, got 1"):
        molecule_grid(["C", "CC"], captions=["a"])
    with pytest.raises(ValueError, match="'C1CC'"):
        molecule_grid(["C"], scaffold="C1CC")
    with pytest.raises(ValueError, match="columns"):
        molecule_grid(["C"], columns=0)


def frame(n: int, shift: float) -> pd.DataFrame:
    draws = np.random.default_rng(0).normal(size=n) + shift
    return pd.DataFrame({"logp": draws, "n_rings": np.arange(n) % 4})


def test_histograms_are_densities_under_the_weights() -> None:
    before, after = frame(400, 0.0), frame(300, 1.0)
    weights = np.where(after["n_rings"] == 2, 1.0, 0.0)
    figure = plot_properties(before, after, names=["logp", "n_rings"], weights=weights)
    for ax in figure.axes:
        for patch in ax.patches:
            values, edges, _ = patch.get_data()
            assert (values * np.diff(edges)).sum() == pytest.approx(1.0, abs=0.03)
    values, edges, _ = figure.axes[1].patches[-1].get_data()
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert values.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert "75 effective of 300" in " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_expected_weights_move_the_line_to_where_the_tilt_should_be() -> None:
    before = frame(4000, 0.0)
    figure = plot_properties(
        before, before, names=["logp"], expected_weights=np.exp(before["logp"]), targets={"logp": 2.0}
    )
    expected, target = figure.axes[0].lines
    middles, shares = expected.get_data()
    assert np.average(middles, weights=shares) == pytest.approx(1.0, abs=0.1)  # exp(x) N(0, 1) is N(1, 1)
    assert set(target.get_xdata()) == {2.0}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "before",
        "after",
        "before, reweighted",
        "asked for",
    ]


def test_strings_are_described_and_invalid_ones_left_out() -> None:
    figure = plot_properties(DRUGS, names=["n_rings"])
    values, edges, _ = figure.axes[0].patches[0].get_data()
    assert dict(zip((edges[:-1] + 0.5).tolist(), values.tolist(), strict=True)) == {0: 0.25, 1: 0.25, 2: 0.5}


def test_axes_of_the_user_are_used() -> None:
    figure, axes = pyplot.subplots(1, 2)
    assert plot_properties(frame(50, 0.0), names=["logp", "n_rings"], ax=axes) is figure
    assert axes[0].get_xlabel() == "logP"
    with pytest.raises(ValueError, match="2 Axes"):
        plot_properties(frame(50, 0.0), names=["logp", "n_rings"], ax=axes[0])


def test_weights_and_properties_that_fit_nothing_are_refused() -> None:
    data = frame(10, 0.0)
    with pytest.raises(ValueError, match="weights must be 10 finite numbers"):
        plot_properties(data, data, names=["logp"], weights=np.ones(9))
    with pytest.raises(ValueError, match="expected_weights must be 10"):
        plot_properties(data, names=["logp"], expected_weights=-np.ones(10))
    with pytest.raises(ValueError, match="not given"):
        plot_properties(data, names=["logp"], weights=np.ones(10))
    with pytest.raises(ValueError, match="before has no column tpsa"):
        plot_properties(data, names=["tpsa"])
    with pytest.raises(ValueError, match="no valid molecule"):
        plot_properties(["C1CC"], names=["logp"])
    with pytest.raises(ValueError, match="beauty"):
        plot_properties(["C"], names=["beauty"])
