from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sciffusion.domains.survival.members import split_members


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 4), st.floats(0.01, 0.99), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_member_has_rows_to_learn_from_in_every_stratum(
    n_events: int, n_censored: int, n_members: int, share: float, seed: int
) -> None:
    assume(max(n_events, n_censored) > 1)
    events = torch.arange(n_events + n_censored) < n_events
    split = split_members(events, n_members, share, _stream(seed))
    assert split.training.shape == (len(events), n_members)
    for member in range(n_members):
        held_out = split.held_out[member]
        assert len(held_out.unique()) == len(held_out)
        learns = split.training[:, member]
        assert learns.sum() + len(held_out) == len(events)
        assert not learns[held_out].any()
        for flag, count in ((True, n_events), (False, n_censored)):
            if count:
                assert (events[learns] == flag).any()
            if count > 1:
                assert (events[held_out] == flag).any()


def test_the_share_is_kept_in_both_strata() -> None:
    events = torch.arange(300) < 100
    held_out = split_members(events, 1, 0.2, _stream()).held_out[0]
    assert events[held_out].sum() == 20
    assert len(held_out) == 60


def test_members_differ_and_together_learn_from_all_rows() -> None:
    split = split_members(torch.arange(50) < 20, 8, 0.2, _stream())
    assert not torch.equal(split.held_out[0].sort().values, split.held_out[1].sort().values)
    assert split.training.any(dim=1).all()


def test_the_split_hangs_on_the_generator_alone() -> None:
    events = torch.arange(50) < 20
    before = torch.get_rng_state()
    splits = [split_members(events, 2, 0.2, _stream(seed)).held_out for seed in (0, 0, 1)]
    assert torch.equal(splits[0], splits[1])
    assert not torch.equal(splits[0], splits[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n_rows", [2, 5])
def test_the_smallest_cohorts_hold_somebody_out(n_rows: int) -> None:
    split = split_members(torch.ones(n_rows, dtype=torch.bool), 3, 0.01, _stream())
    assert split.held_out.shape == (3, 1)
