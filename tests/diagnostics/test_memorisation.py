"""Memorisation: samplers that copy are found, exact ones are not, and the null laws hold."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import DPMSolverMultistep, VariancePreserving
from sciffusion.diagnostics import memorisation
from sciffusion.diagnostics.memorisation import nearest_neighbours
from sciffusion.exact import EmpiricalTarget, ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import State, log_snr_grid, sample

DIM = 4


def target() -> GaussianMixtureTarget:
    means = 2.0 * torch.randn(3, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return GaussianMixtureTarget.from_stds([0.2, 0.3, 0.5], means, 0.7 * torch.ones_like(means))


def jittered(data: Tensor, count: int, generator: torch.Generator, std: float = 0.02) -> Tensor:
    """Draw training samples again, with a little noise."""
    index = torch.randint(data.shape[0], (count,), generator=generator)
    return data[index] + std * torch.randn(count, DIM, generator=generator, dtype=torch.float64)


def test_exact_samplers_pass_and_copying_ones_are_flagged() -> None:
    generator = torch.Generator().manual_seed(1)
    train, held_out, exact = (target().draw(400, generator) for _ in range(3))
    good = memorisation(exact, train, held_out)
    assert abs(good.copies - 0.05) < 3.0 * good.copies_error
    assert good.training_share_z is not None
    assert abs(good.training_share_z) < 3.0
    bad = memorisation(jittered(train, 400, generator), train, held_out)
    assert bad.copies > 0.9
    assert bad.training_share_z is not None
    assert bad.training_share_z > 8.0


def test_the_sampler_of_the_empirical_law_is_flagged_and_that_of_the_true_law_is_not() -> None:
    generator = torch.Generator().manual_seed(6)
    train, held_out = target().draw(150, generator), target().draw(150, generator)
    path = VariancePreserving()
    found = []
    for law in (target(), EmpiricalTarget(train)):
        start = torch.randn(300, DIM, generator=generator, dtype=torch.float64)
        grid = log_snr_grid(path, 30, last_log_snr=5.0)
        run = sample(ExactDenoiser(law, path), DPMSolverMultistep(2), grid, state=State(x=start))
        found.append(memorisation(run.samples, train, held_out))
    exact, copied = found
    assert abs(exact.copies - 0.05) < 3.0 * exact.copies_error
    assert exact.training_share_z is not None
    assert abs(exact.training_share_z) < 3.0
    assert copied.copies > 0.95
    assert copied.training_share == 1.0


def test_without_held_out_data_the_training_samples_are_each_others_reference() -> None:
    generator = torch.Generator().manual_seed(2)
    train = target().draw(500, generator)
    good = memorisation(target().draw(500, generator), train)
    assert abs(good.copies - 0.05) < 3.0 * good.copies_error
    assert good.training_share is None
    # A tenth of copies among good samples shows as the excess over the level.
    mixed = torch.cat([target().draw(450, generator), jittered(train, 50, generator, std=1e-3)])
    found = memorisation(mixed, train)
    assert found.copies == pytest.approx(0.1 + 0.9 * 0.05, abs=3.0 * found.copies_error)


def test_share_of_copies_and_z_score_have_their_laws_over_repetitions() -> None:
    # Under the null the z-score has mean 0 and variance 1 whatever the sizes, few generated samples or many.
    generator = torch.Generator().manual_seed(3)
    runs = [
        memorisation(
            target().draw(900, generator), target().draw(60, generator), target().draw(40, generator)
        )
        for _ in range(150)
    ]
    z = torch.tensor([run.training_share_z for run in runs], dtype=torch.float64)
    assert abs(float(z.mean())) < 4.0 / 150**0.5
    assert 0.75 < float(z.std()) < 1.25
    shares = torch.tensor([run.training_share for run in runs], dtype=torch.float64)
    assert float(shares.mean()) == pytest.approx(0.6, abs=0.02)
    # Of 900 samples and 40 held-out ones nearly all of the error comes from the threshold.
    copies = torch.tensor([run.copies for run in runs], dtype=torch.float64)
    claimed = torch.tensor([run.copies_error for run in runs], dtype=torch.float64).mean()
    assert 0.7 < float(claimed / copies.std()) < 1.4


def test_variance_of_the_pull_is_that_of_all_relabellings() -> None:
    generator = torch.Generator().manual_seed(4)
    real = torch.randn(7, DIM, generator=generator, dtype=torch.float64)
    ours = torch.randn(30, DIM, generator=generator, dtype=torch.float64)
    chosen = nearest_neighbours(ours, real, 1)[1][:, 0]
    shares = [
        float(torch.isin(chosen, torch.tensor(labels)).to(torch.float64).mean())
        for labels in itertools.combinations(range(7), 3)
    ]
    every = torch.tensor(shares, dtype=torch.float64)
    found = memorisation(ours, real[:3], real[3:])
    assert found.training_share is not None
    expected = (found.training_share - 3.0 / 7.0) / float(every.std(correction=0))
    assert found.training_share_z == pytest.approx(expected, rel=1e-9)


def test_exact_copies_have_ratio_zero_even_of_repeated_points() -> None:
    train = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    found = memorisation(torch.tensor([[0.0, 0.0], [0.5, 0.0]]), train)
    assert float(found.ratios[0]) == 0.0
    assert float(found.ratios[1]) == pytest.approx(1.0)


def test_neighbours_in_blocks_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    queries, points = (torch.randn(count, 3, generator=generator) for count in (20, 11))
    together = nearest_neighbours(queries, points, 3)
    monkeypatch.setitem(nearest_neighbours.__globals__, "_BLOCK", 30)
    in_blocks = nearest_neighbours(queries, points, 3)
    assert torch.equal(together[0], in_blocks[0])
    assert torch.equal(together[1], in_blocks[1])
    naive = (queries[:, None] - points).norm(dim=-1).sort(-1)
    torch.testing.assert_close(together[0], naive[0][:, :3])


def test_bad_input_is_refused() -> None:
    x = torch.zeros(5, 2)
    with pytest.raises(ValueError, match="at least 3 samples"):
        memorisation(x, x[:2])
    with pytest.raises(ValueError, match="level"):
        memorisation(x, x, level=1.0)
    with pytest.raises(ValueError, match="one dimension"):
        memorisation(x, x, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="count must lie in 1 to 5"):
        nearest_neighbours(x, x, 6)


def test_copies_of_rows_that_the_training_data_repeat_are_found() -> None:
    generator = torch.Generator().manual_seed(7)
    rows, held_out = target().draw(200, generator), target().draw(200, generator)
    train = torch.cat([rows, rows[:60].repeat(3, 1)])
    near = jittered(rows[:60], 300, generator, std=0.01)
    exact = target().draw(300, generator)
    for reference in (held_out, None):
        assert memorisation(near, train, reference).copies > 0.9
        good = memorisation(exact, train, reference)
        assert abs(good.copies - good.expected_copies) < 3.5 * good.copies_error
    with pytest.raises(ValueError, match="at least 3 different samples, got 2"):
        memorisation(exact, rows[:2].repeat(5, 1))
