from __future__ import annotations

import pytest
import torch

from sciffusion.training.batches import RowStream, derived_seed


@pytest.mark.parametrize(("n_rows", "batch_size"), [(10, 3), (7, 7), (5, 64), (12, 4), (9, 8)])
def test_each_pass_visits_each_row_once(n_rows: int, batch_size: int) -> None:
    stream = RowStream(n_rows, batch_size, seed=1)
    visited = torch.cat([stream.rows(step) for step in range(3 * n_rows)])
    whole = visited[: len(visited) // n_rows * n_rows].reshape(-1, n_rows)
    assert torch.equal(whole.sort(dim=1).values, torch.arange(n_rows).expand(len(whole), n_rows))


def test_passes_are_shuffled_differently() -> None:
    stream = RowStream(20, 20, seed=1)
    assert not torch.equal(stream.rows(0), stream.rows(1))
    assert not torch.equal(stream.rows(0), RowStream(20, 20, seed=2).rows(0))


def test_a_stream_can_be_entered_anywhere() -> None:
    stream = RowStream(10, 7, seed=3)
    in_order = [stream.rows(step) for step in range(30)]
    for step in (29, 0, 17, 16, 3):
        assert torch.equal(RowStream(10, 7, seed=3).rows(step), in_order[step])
        assert torch.equal(stream.rows(step), in_order[step])


def test_derived_seeds_are_stable_and_distinct() -> None:
    seeds = [derived_seed(s, k) for s in range(20) for k in range(20)]
    assert len(set(seeds)) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 2) == derived_seed(1, 2)
    assert derived_seed(1) != derived_seed(1, 1)
