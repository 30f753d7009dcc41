"""The how-to guide: its Python runs as printed, with less data and training, and its commands exist."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciffusion.datasets import make_alanine_dipeptide, make_dw4
from sciffusion.domains.boltzmann import BoltzmannDiffusion

#: Sizes of the guide, and those that run in seconds.
FEWER = {
    "100_000": "5",
    "10_000": "400",
    "50_000": "60",
    "sample(5000": "sample(20",
    "sample(2000": "sample(100",
    "sample(1000": "sample(100",
}


@pytest.fixture(scope="module")
def guide() -> str:
    path = Path(__file__).parents[3] / "docs" / "how-to" / "boltzmann.rst"
    if not path.exists():
        pytest.skip("the docs are not beside the tests")
    return path.read_text(encoding="utf-8")


def run_blocks(text: str, names: dict[str, Any]) -> int:
    """Run the Python of a guide in one namespace, with smaller sizes, and return the number of blocks."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:(?:   .*)?\n)+)", text, flags=re.MULTILINE)
    for block in blocks:
        for size, smaller in FEWER.items():
            block = block.replace(size, smaller)
        exec(compile(textwrap.dedent(block), "boltzmann.rst", "exec"), names)
    return len(blocks)


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
def test_the_snippets_run(
    guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    pytest.importorskip("openmm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCIFFUSION_DATA", str(tmp_path / "cache"))
    short = {"columns": 50, "thinning": 4, "burn_in": 200}
    # Fewer evaluations than this do not hold a stiff restraint.
    small = {"max_steps": 5, "width": 8, "depth": 1, "batch_size": 32, "nfe": 40, "langevin_steps": 2}
    for function, settings in (
        (make_dw4, short),
        (make_alanine_dipeptide, {"columns": 2, "thinning": 2, "burn_in": 10}),
        (BoltzmannDiffusion.__init__, {**small, "device": "cpu"}),
    ):
        for name, value in settings.items():
            monkeypatch.setitem(function.__kwdefaults__, name, value)
    names: dict[str, Any] = {"__name__": "guide"}
    assert run_blocks(guide, names) == 7
    assert all(size in guide for size in FEWER)
    assert (tmp_path / "dw4.safetensors").exists()
    assert "floor spread" in capsys.readouterr().out
    # A potential is a reward of minus it over kT.
    np.testing.assert_allclose(names["pulled"].configurations, names["tilted"].configurations, atol=1e-4)
    # A Gaussian of width .1 at 300 K, cooled to 250 K, with a spring of 500 kJ/mol/nm^2 between two atoms:
    # the variance of a coordinate of their distance.
    closed = names["closed"]
    assert closed.kT == pytest.approx(0.0083145 * 250.0, rel=1e-4)
    free = 2.0 * 0.1**2 * 250.0 / 300.0
    exact = 1.0 / (1.0 / free + 500.0 / closed.kT)
    apart = closed.configurations[:, 0] - closed.configurations[:, 21]
    assert float(closed.weights @ (apart**2).mean(1)) == pytest.approx(exact, rel=0.2)


def test_the_commands_and_their_options_exist(guide: str) -> None:
    testing = pytest.importorskip("typer.testing")
    pytest.importorskip("rich")
    from sciffusion.domains.boltzmann.cli import app

    calls = re.findall(r"\$ sciffusion boltzmann ([a-z-]+)([^\n]*)", guide)
    assert {command for command, _ in calls} == {"simulate", "fit", "sample", "evaluate", "demo"}
    for command, rest in calls:
        shown = testing.CliRunner().invoke(app, [command, "--help"]).output
        for option in re.findall(r"(?<!\S)(--?[a-z-]+)", rest.partition("#")[0]):
            assert re.search(rf"(?<!\S){option}\b", shown), (command, option)
