"""The benchmark of tilted molecules: its distances, its bars, and a miniature of its run."""

from __future__ import annotations

from pathlib import Path

import molecules_tilt
import numpy as np
import pandas as pd
import pytest
from molecules_tilt import METHODS, Tilt, fit_model, kolmogorov_smirnov, main, tilt_bars
from scipy.stats import ks_2samp

pytest.importorskip("rdkit")
pytest.importorskip("selfies")


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(0.5, 1.0, 60)
    even = [np.full(len(z), 1.0 / len(z)) for z in (x, y)]
    assert kolmogorov_smirnov(x, y, *even) == pytest.approx(ks_2samp(x, y).statistic)
    # A weight of two is a value met twice.
    double = np.array([2.0, 1.0]) / 3.0
    thrice = np.full(3, 1.0 / 3.0)
    points = np.array([0.0, 1.0])
    assert kolmogorov_smirnov(points, np.array([0.0, 0.0, 1.0]), double, thrice) == pytest.approx(0.0)


def planted(**changes: tuple[str, float]) -> pd.DataFrame:
    """Rows in which every bar is reached, but for changes (method, value) of columns."""
    rng = np.random.default_rng(0)
    rows = []
    for method in METHODS:
        particles = method.startswith("fk")
        for seed in range(3):
            rows.append(
                {
                    "method": method, "seed": seed,
                    "mean": 0.8 + 0.002 * rng.normal() - 0.1 * (not particles),
                    "W1": 0.1 if particles else 0.5, "ESS": 100.0 if particles else 50.0,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    for column, (method, value) in changes.items():
        frame.loc[frame["method"] == method, column] += value
    return frame


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"mean": ("fk", 0.1)}, ["fk: standard errors off the tilted mean"]),
        ({"W1": ("fk", 0.3)}, ["fk: W1 over that of the nearest of best of 4 and cfg"]),
        ({"ESS": ("fk, guided", -80.0)}, ["fk, guided: effective draws over those of reweighting"]),
    ],
)
def test_each_bar_can_be_missed(changes: dict[str, tuple[str, float]], missed: list[str]) -> None:
    tilt = {"mean": 0.8, "mean_error": 0.002}
    bars = tilt_bars(planted(**changes), tilt, reduced=False)
    assert [bar.name for bar in bars if not bar.reached] == missed
    assert {bar.reached for bar in tilt_bars(planted(), tilt, reduced=True)} == {None}


def _few(count: int) -> tuple[list[str], pd.Series]:
    smiles = (["CCO", "CCN", "CCCO", "c1ccccc1", "CC(=O)O", "C1CC1", "CCOC", "CCCl"] * count)[:count]
    return smiles, molecules_tilt.molecular_properties(smiles, ["qed"])["qed"]


def test_the_reference_is_the_reweighted_law() -> None:
    smiles, labels = _few(64)
    model = fit_model(smiles, labels, 4, width=16, depth=1, n_heads=2)
    tilt = Tilt(model, labels, 60, 8, 4)
    direct = np.average(tilt.untilted, weights=np.exp(tilt.strength * tilt.untilted))
    assert tilt.mean == pytest.approx(direct)
    assert tilt.mean > tilt.untilted.mean()
    assert set(tilt.methods()) == set(METHODS)


def test_a_miniature_run_writes_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(molecules_tilt, "training_set", _few)
    small = ["--train", "64", "--steps", "4", "--reference", "40", "--draws", "8", "--seeds", "1"]
    assert main([*small, "--nfe", "4", "--width", "16", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked" in report
    assert {path.name for path in tmp_path.iterdir()} >= {
        "rows.csv",
        "molecules_tilt.csv",
        "molecules_tilt.png",
    }
