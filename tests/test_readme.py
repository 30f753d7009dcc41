"""The Python examples of the README run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sciffusion.datasets import DatasetUnavailableError
from sciffusion.domains.music.metrics_chroma import audio_pitch_classes


def python_blocks(text: str) -> list[str]:
    """Return the code blocks marked as Python."""
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_survival_example_of_the_readme_runs(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example, *_ = python_blocks((repository_root / "README.md").read_text(encoding="utf-8"))
    assert len(example.splitlines()) <= 11
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    lines = capsys.readouterr().out.splitlines()
    # Patients ranked at random give .5.
    assert 0.58 < float(lines[0]) < 0.9
    # Nobody in the study was followed for longer than 1022 days; half of the patients had died by day 310.
    medians = [float(days) for days in lines[1].strip("[]").split()]
    assert all(30.0 < days <= 1022.0 for days in medians)
    assert len(set(medians)) > 1
    assert 0.0 < float(lines[2]) < 1.0


def test_the_forecasting_example_of_the_readme_runs(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, example, *_ = python_blocks((repository_root / "README.md").read_text(encoding="utf-8"))
    assert len(example.splitlines()) <= 11
    shorter = example.replace("horizon=8,", "horizon=8, max_steps=20,")  # the training alone takes 20 seconds
    assert shorter != example
    scope: dict[str, object] = {"__name__": "readme"}
    try:
        exec(compile(shorter, "README.md", "exec"), scope)
    except DatasetUnavailableError as error:
        pytest.skip(f"the data set cannot be had here: {error}")
    assert len(scope["paths"]) == 7 * 500 * 8  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "DiffusionForecaster-lo-80" in out or "[56 rows x" in out
    assert "probability" in out


def test_the_molecules_example_of_the_readme_runs(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chemistry = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
    _, _, example, *_ = python_blocks((repository_root / "README.md").read_text(encoding="utf-8"))
    assert len(example.splitlines()) <= 11
    shorter = example.replace("max_steps=300,", "max_steps=10,").replace("[:2000]", "[:200]")
    assert "max_steps=10," in shorter
    assert "[:200]" in shorter
    exec(compile(shorter, "README.md", "exec"), {"__name__": "readme"})
    (drawn,) = capsys.readouterr().out.splitlines()
    found = re.findall(r"'([^']*)'", drawn)
    assert len(found) == 5
    assert all(chemistry.MolFromSmiles(one).GetNumAtoms() > 0 for one in found)


def test_the_music_example_of_the_readme_runs(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, example, _ = python_blocks((repository_root / "README.md").read_text(encoding="utf-8"))
    assert len(example.splitlines()) <= 11
    scope: dict[str, object] = {"__name__": "readme"}
    exec(compile(example, "README.md", "exec"), scope)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "(23040,) 24000"
    assert second.startswith("1 SessionStats(blocks=2")
    # The chord that was asked for is what sounds from the second block on.
    chroma = [scope["session"].step().samples for _ in range(4)]  # type: ignore[attr-defined]
    heard = audio_pitch_classes(torch.from_numpy(np.concatenate(chroma))[None], 24_000)
    assert float(heard[[5, 9, 0]].sum()) > 0.5


def test_the_boltzmann_example_of_the_readme_runs(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, example = python_blocks((repository_root / "README.md").read_text(encoding="utf-8"))
    assert len(example.splitlines()) <= 11
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    cold, held = capsys.readouterr().out.splitlines()
    effective, difference, error = (float(word) for word in cold.split())
    # Known from importance sampling with a Gaussian: log Z(1) - 2 log Z(2) = -8.4, so the difference is 8.4.
    assert 50.0 < effective <= 100.0
    assert difference == pytest.approx(8.4, abs=1.5)
    assert 0.0 < error < 1.0
    assert float(held.strip("[]")) < 0.0  # a trap can only take weight away
