"""The benchmark of one-step students: exact fixed points, a miniature run, and its bars."""

from __future__ import annotations

from pathlib import Path

import discrete_distillation
import pytest
import torch
from discrete_distillation import (
    GAP,
    LAW,
    Student,
    Trial,
    distillation_bars,
    fixed_point_rows,
    main,
    student_row,
)

from sciffusion.discrete import draw_categorical


def test_the_gap_of_the_teacher_and_the_fixed_points_are_those_computed_before() -> None:
    biases = fixed_point_rows()
    assert pytest.approx(0.2632, abs=1e-4) == GAP
    assert biases.loc[1.0].iloc[0] == pytest.approx(GAP)
    assert biases.loc[0.5].iloc[0] == pytest.approx(0.0855, abs=1e-3)
    bars = distillation_bars(discrete_distillation.pd.DataFrame(), biases, reduced=True)
    assert [bar.reached for bar in bars] == [True, True, None, None]


def test_the_law_of_a_student_is_that_of_its_draws() -> None:
    student, generator, count = Student(seed=3), torch.Generator().manual_seed(0), 20_000
    law = student.law()
    assert float(law.sum()) == pytest.approx(1.0)
    noise = torch.randint(3, (count, 4), generator=generator)
    drawn = draw_categorical(torch.log_softmax(student(noise).detach(), -1), generator)
    shares = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(-1), minlength=81).double() / count
    expected = float(torch.sqrt(law * (1.0 - law) / (2.0 * torch.pi * count)).sum())
    assert discrete_distillation.distance(shares, law) < 1.5 * expected
    assert discrete_distillation.distance(law, LAW) > 0.2


def test_students_learn_and_bars_are_decided_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        discrete_distillation, "TRIALS", (Trial("straight_through", 0.5), Trial("exchange", 0.5))
    )
    monkeypatch.setattr(discrete_distillation, "BATCH", 64)
    monkeypatch.setattr(discrete_distillation, "QUICK_STEPS", 15)
    before = discrete_distillation.distance(Student().law())
    assert main(["--quick", "--check", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked: share of the gap closed" in report
    assert (tmp_path / "discrete_distillation.png").stat().st_size > 10_000
    rows = discrete_distillation.pd.read_csv(tmp_path / "rows.csv")
    assert float(rows["TV"].max()) < before
    bars = distillation_bars(rows, fixed_point_rows(), reduced=False)
    assert [bar.reached for bar in bars][2] is False


def test_a_trial_reports_what_its_fixed_point_allows() -> None:
    row = student_row(Trial("straight_through", 0.9, 2), steps=2)
    assert row["possible"] == pytest.approx(1.0 - fixed_point_rows().loc[0.9].iloc[1] / GAP)
