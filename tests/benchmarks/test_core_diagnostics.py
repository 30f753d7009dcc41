"""The study of diagnostics on networks in miniature: its labels, its bars and its files."""

from __future__ import annotations

from pathlib import Path

import core_diagnostics
import pandas as pd
import pytest
import torch
from core_diagnostics import (
    _between_modes,
    diagnostic_bars,
    dimension_rows,
    field_rows,
    grid_of_modes,
    hallucination_rows,
    main,
    memorisation_rows,
)
from diagnostics_networks import PATH, Perceptron, train

from sciffusion.exact import ExactDenoiser, GaussianTarget


def test_labels_tell_modes_from_what_lies_between() -> None:
    _, centres = grid_of_modes(3, 0.05)
    samples = torch.tensor([[0.0, 0.0], [0.6, 0.0], [1.2, 0.25], [-1.2, 1.1]])
    between, clear = _between_modes(samples, centres, 0.05)
    # Halfway; and neither on a mode nor far enough from it.
    assert between.tolist() == [False, True, False, False]
    assert clear.tolist() == [True, True, False, True]


def test_a_fresh_network_predicts_the_preconditioned_mean_and_training_lowers_its_error() -> None:
    target = GaussianTarget.diagonal(torch.tensor([0.3, 2.0]))
    exact = ExactDenoiser(target, PATH)
    x = exact.draw_marginal(500, 0.3, torch.Generator().manual_seed(0)).to(torch.float32)
    fresh = Perceptron(2, 16, torch.Generator())(x, torch.tensor(0.1))
    assert torch.equal(fresh, torch.zeros_like(x))
    errors = []
    for steps in (0, 60):
        network = train(target.draw, 2, seed=0, steps=steps, batch=256)
        assert not any(parameter.requires_grad for parameter in network.network.parameters())
        off = network.predict(x, 0.3).value - exact.predict(x, 0.3).value
        errors.append(float(off.square().mean()))
    assert errors[1] < 0.3 * errors[0]


def test_every_table_of_a_tiny_run_has_its_rows() -> None:
    modes, network, drawn = hallucination_rows((1,), steps=2, count=50)
    assert modes.index.tolist() == [9]
    assert drawn["samples"].shape == (50, 2)
    copies = memorisation_rows(steps=2, count=100)
    assert copies.loc["empirical law", "copies"] > 0.9
    assert copies.loc["exact", "copies"] < 0.3
    fields = field_rows(network, count=40)
    assert fields.loc["exact", "residual / scale"] < 1e-10
    assert fields.loc["network", "residual / scale"] > 1e-2
    dimensions = dimension_rows(steps=2)
    assert dimensions.loc["exact", "share right"].tolist() == [1.0, 1.0, 1.0]
    assert len(dimensions) == 6


def planted(auc: float = 0.9, pull: float = 0.0) -> list[pd.DataFrame]:
    """Tables in which every bar is reached, but for what is told."""
    names = ["exact", "empirical law", "network, 40 points", "network, fresh points"]
    copies = pd.DataFrame({"copies": [0.05, 1.0, 0.2, 0.05], "expected": 0.05, "error": 0.01, "pull z": pull})
    fields = pd.DataFrame(
        {"asymmetry": [0.0, 0.1], "residual / scale": [0.0, 0.5], "ODE-SDE distance": 0.1, "p": 0.5},
        index=["exact", "network"],
    )
    dimensions = pd.DataFrame({"true": [1, 1], "share right": [1.0, 0.5]}, index=["exact", "network"])
    modes = pd.DataFrame({"AUC": [auc, 0.1]}, index=[9, 25])
    return [modes, copies.set_index(pd.Index(names)), fields, dimensions]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"auc": 0.8}, ["hallucination: mean AUC over seeds"]),
        ({"pull": 4.0}, ["memorisation: exact sampler, |pull z|"]),
    ],
)
def test_bars_name_what_is_off(changes: dict, missed: list[str]) -> None:
    bars = diagnostic_bars(*planted(**changes), reduced=False)
    assert [bar.name for bar in bars if not bar.reached] == missed
    reduced = diagnostic_bars(*planted(**changes), reduced=True)
    assert [bar.reached for bar in reduced].count(None) == 3


def test_a_run_writes_its_tables_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = planted()
    samples = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    between = torch.arange(30) % 3 == 0
    drawn = {"samples": samples, "variance": samples[:, 0].abs(), "between": between, "clear": between | True}
    monkeypatch.setattr(core_diagnostics, "hallucination_rows", lambda *_, **__: (tables[0], None, drawn))
    for name, table in zip(("memorisation", "field", "dimension"), tables[1:], strict=True):
        monkeypatch.setattr(core_diagnostics, f"{name}_rows", lambda *_, table=table: table)
    monkeypatch.setattr(core_diagnostics, "limit_threads", lambda: None)
    assert main(["--quick", "--check", "--out", str(tmp_path)]) == 0
    assert "REDUCED" in (tmp_path / "report.md").read_text()
    names = {path.name for path in tmp_path.iterdir()}
    tables_written = {f"{name}.csv" for name in ("hallucination", "memorisation", "field", "dimension")}
    assert names == tables_written | {"core_diagnostics.png", "report.md"}
