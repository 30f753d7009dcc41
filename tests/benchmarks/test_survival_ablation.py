"""Choices are not made on sets of the comparison; variants change the default; the command writes a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import survival_ablation
from survival_data import DATASETS, DEVELOPMENT_SETS, SurvivalData
from survival_ours import default_estimator
from survival_variants import LogTimes, _changes

from sciffusion.domains.survival import rank_diffusion

pytest.importorskip("sksurv", reason="the metrics come from scikit-survival")


def test_no_set_of_the_comparison_is_used_for_choosing() -> None:
    assert not set(DEVELOPMENT_SETS) & set(DATASETS)


def test_log_times_come_back_from_the_normal_scale() -> None:
    times = np.array([0.0, 1.0, 5.0, 30.0])
    transform = LogTimes.learn(times, np.ones(4))
    from scipy.special import ndtri

    lower, upper = transform.intervals(times)
    np.testing.assert_array_equal(lower, upper)
    np.testing.assert_allclose(transform.inverse(ndtri(lower))[1:], times[1:], rtol=1e-6)
    assert transform.inverse(np.array([9.0])) == 30.0


def test_a_variant_changes_the_recipe_only_while_it_works() -> None:
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(size=(60, 2)), columns=["a", "b"])
    data = SurvivalData("made up", X, generator.exponential(size=60), generator.uniform(size=60) < 0.6)
    variant = _changes((rank_diffusion, "_EVALUATE_EVERY", 7))()
    variant.estimator.set_params(max_steps=14)
    variant.fit(data)
    assert variant.estimator.histories_["time"].steps.tolist() == [0, 7, 14]
    default = default_estimator(max_steps=20).fit(X, data.time, data.event)
    assert default.histories_["time"].steps.tolist() == [0, 20]


def test_command_writes_a_table(tmp_path: Path) -> None:
    words = ["--quick", "--check", "--variants", "CoxPH", "--out", str(tmp_path)]
    assert survival_ablation.main(words) == 0
    table = pd.read_csv(tmp_path / "ablation.csv", index_col=0)
    assert 0.05 < table.loc["CoxPH", "ibs"] < 0.3
    assert "REDUCED" in (tmp_path / "ablation.md").read_text()
