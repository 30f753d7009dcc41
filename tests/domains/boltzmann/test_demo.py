"""The demonstration, as small as it gets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sciffusion.domains.boltzmann import demo
from sciffusion.domains.boltzmann.files_xyz import read_xyz
from sciffusion.domains.boltzmann.pretrained import list_pretrained, pretrained_card, pretrained_file

pytest.importorskip("matplotlib")


def test_demo_measures_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIFFUSION_DATA", str(tmp_path / "cache"))
    said: list[str] = []
    table = demo.run_demo(tmp_path / "report", quick=True, say=said.append)
    assert list(table.index) == ["guided", "controlled", "floor", "floor spread"]
    assert (table["n"].iloc[:3] == 64).all()
    assert (table["ess"].iloc[:2] <= 64 + 1e-6).all()
    assert (table.loc["floor", ["w1_energy", "mmd_distances"]] > 0.0).all()
    written = pd.read_csv(tmp_path / "report" / "measures.csv", index_col="sample")
    pd.testing.assert_frame_equal(written, table, check_exact=False)
    for name in ("laws.png", "weights.png"):
        assert (tmp_path / "report" / name).read_bytes()[:4] == b"\x89PNG"
    assert len(read_xyz(tmp_path / "report" / "models.xyz")[0]) == 50
    assert any("small model" in line for line in said)


def test_published_models_have_cards() -> None:
    for name in list_pretrained():
        assert pretrained_file(name).is_file()
        assert len(pretrained_card(name)) > 200
    with pytest.raises(ValueError, match="no published model 'water'"):
        pretrained_file("water")
