"""The benchmark of guided tokens: its tables against sums, and a miniature run of everything."""

from __future__ import annotations

from pathlib import Path

import discrete_guidance
import pytest
import torch
from discrete_guidance import best_of, distance, exact_rows, guidance_bars, main, particle_rows
from discrete_guidance_models import LAW, REWARD, SEQUENCES, ChainModel, place_of, tilted

from sciffusion.discrete import Corrupted, Mask, Uniform
from sciffusion.exact import MarkovChainOracle

NOW = torch.tensor(0.6, dtype=torch.float64)


@pytest.mark.parametrize("process", [Mask(3), Uniform(3)])
def test_tables_are_those_of_the_chain(process: Mask | Uniform) -> None:
    model, state = ChainModel(process), Corrupted(torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]]), NOW)
    exact = MarkovChainOracle.bench_a().predict(process, state, "loo")
    torch.testing.assert_close(model(state).probabilities, exact.probabilities)
    expected = model.log_class_onehot(torch.nn.functional.one_hot(state.x, process.state_size), NOW[None])
    torch.testing.assert_close(model.log_class(state.x, NOW.expand(2, 4)), expected)
    assert torch.equal(place_of(SEQUENCES), torch.arange(81))


def test_clean_sequences_have_the_class_by_their_reward() -> None:
    for process in (Mask(3), Uniform(3)):
        found = ChainModel(process).log_class(SEQUENCES, torch.zeros(81, 4, dtype=torch.float64))
        torch.testing.assert_close(found, REWARD)
    torch.testing.assert_close(tilted(0.0), LAW)


def test_the_best_of_many_is_drawn_as_said() -> None:
    count, draws = 3, 60_000
    generator = torch.Generator().manual_seed(0)
    place = torch.multinomial(LAW, draws * count, replacement=True, generator=generator).reshape(draws, count)
    noise = torch.rand(draws, count, generator=generator)
    chosen = place.gather(1, (REWARD[place] + 0.5 * noise).argmax(1, keepdim=True))[:, 0]
    shares = torch.bincount(chosen, minlength=81).double() / draws
    law = best_of(LAW, count)
    assert float(law.sum()) == pytest.approx(1.0)
    assert distance(shares, law) < 0.015
    torch.testing.assert_close(best_of(LAW, 1), LAW)


def test_a_miniature_run_tells_the_methods_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discrete_guidance, "STEPS", 4)
    rows = {(row["method"], row["cost"]): row for row in exact_rows("mask", 1.0)}
    assert rows["CBG", 32]["TV"] < 0.3 * rows["CBG", 4]["TV"]  # type: ignore[operator]
    assert rows["CFG", 32]["TV"] < 0.03  # type: ignore[operator]
    assert rows["unguided", 4]["TV"] > 0.4  # type: ignore[operator]
    drawn = {row["method"]: row for row in particle_rows("mask", 2.0, 200)}
    assert drawn["tilt of 8"]["ESS/N"] > 2.0 * drawn["reweighted of 8"]["ESS/N"]  # type: ignore[operator]
    assert all(abs(row["Z over truth"] - 1.0) < 5.0 * row["its standard error"]  # type: ignore[operator]
               for row in drawn.values())  # fmt: skip


def test_the_run_writes_tables_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discrete_guidance, "QUICK_SYSTEMS", 50)
    monkeypatch.setattr(discrete_guidance, "STEPS", 2)
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "REDUCED" in report
    assert "not checked: mask: TV of FK" in report
    assert (tmp_path / "discrete_guidance.png").stat().st_size > 10_000
    assert (tmp_path / "rows.csv").exists()


def test_bars_are_decided_by_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discrete_guidance, "STEPS", 2)
    rows = discrete_guidance.pd.DataFrame(
        [row for process in ("mask", "uniform") for scale in (1.0, 2.0)
         for row in exact_rows(process, scale) + particle_rows(process, scale, 30)]
    )  # fmt: skip
    spoilt = rows.assign(TV=rows["TV"].where(rows["method"] != "tilt of 8", 0.9))
    missed = [bar.name for bar in guidance_bars(spoilt, reduced=False) if bar.reached is False]
    assert any("TV of tilt of 8 over that of best of 8" in name for name in missed)
