"""The ablation never sees an outer test row, and its command writes a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import survival_ablation
from survival_data import SurvivalData
from survival_protocol import split_rows

pytest.importorskip("sksurv", reason="the metrics come from scikit-survival")


def test_inner_folds_hold_no_outer_test_row_and_cover_the_training_part() -> None:
    generator = np.random.default_rng(0)
    X = pd.DataFrame({"row": np.arange(200.0)})
    data = SurvivalData("made up", X, generator.exponential(size=200), generator.uniform(size=200) < 0.6)
    outer = split_rows(data)
    inner = list(survival_ablation.inner_folds(data, outer=2, inner=3))
    assert [fold.index for fold in inner] == list(range(6))
    for number, (train_rows, test_rows) in enumerate(outer[:2]):
        chosen = inner[3 * number : 3 * number + 3]
        seen = [set(fold.train.X["row"]) | set(fold.test.X["row"]) for fold in chosen]
        assert not set.union(*seen) & set(test_rows)
        assert sorted(row for fold in chosen for row in fold.test.X["row"]) == sorted(train_rows)


def test_command_writes_a_table_on_inner_folds(tmp_path: Path) -> None:
    words = ["--quick", "--check", "--configurations", "CoxPH", "--out", str(tmp_path)]
    assert survival_ablation.main(words) == 0
    table = pd.read_csv(tmp_path / "ablation.csv", index_col=0)
    assert 0.1 < table.loc["CoxPH", "ibs"] < 0.25
    assert "REDUCED" in (tmp_path / "ablation.md").read_text()
