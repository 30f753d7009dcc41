"""Windows: the right frames of the right recording, at every offset, and little memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.domains.music.training_windows import MusicWindows, Windows

BLOCK, N_BLOCKS = 4, 3


def recordings(lengths: list[int]) -> list[Tensor]:
    """Return frames that say which recording they belong to and where in it they stand."""
    return [
        torch.stack([torch.full((length,), float(number)), torch.arange(float(length))], dim=1)
        for number, length in enumerate(lengths)
    ]


def cut(windows: MusicWindows, starts: Tensor | None = None) -> Windows:
    return windows.cut(windows.starts() if starts is None else starts, torch.Generator().manual_seed(0))


def test_windows_begin_at_every_frame_and_stay_in_their_recording() -> None:
    windows = MusicWindows(recordings([13, 12, 20]), block=BLOCK, n_blocks=N_BLOCKS, joined=False)
    made = cut(windows)
    assert len(made.latents) == 2 + 1 + 9
    assert bool(made.blocks.all())
    assert bool((made.latents[..., 0] == made.latents[:, :1, 0]).all())
    assert bool((made.latents[:, 1:, 1] - made.latents[:, :-1, 1] == 1.0).all())


def test_short_recordings_give_their_whole_blocks() -> None:
    windows = MusicWindows(recordings([10]), block=BLOCK, n_blocks=N_BLOCKS, joined=False)
    made = cut(windows)
    assert made.latents[:, 0, 1].tolist() == [0.0, 1.0, 2.0]
    assert made.blocks.tolist() == [[True, True, False]] * 3
    # Frames past the end are silent, also those in a block that is not whole.
    assert float(made.latents[2, 8:].abs().amax()) == 0.0
    assert made.latents[0, 8:, 1].tolist() == [8.0, 9.0, 0.0, 0.0]


def test_joined_windows_go_on_at_the_beginning_of_a_recording() -> None:
    windows = MusicWindows(recordings([30, 30, 30]), block=BLOCK, n_blocks=N_BLOCKS)
    starts = torch.full((200,), 30 + 25)
    latents = cut(windows, starts).latents
    assert bool((latents[:, :5, 0] == 1.0).all())
    assert latents[0, :5, 1].tolist() == [25.0, 26.0, 27.0, 28.0, 29.0]
    assert bool((latents[:, 5:, 1] == torch.arange(7.0)).all())
    followers = latents[:, 5, 0].long().bincount(minlength=3)
    assert int(followers.min()) > 40
    assert bool((latents[:, 5:, 0] == latents[:, 5:6, 0]).all())


def test_what_follows_may_be_too_short() -> None:
    windows = MusicWindows(recordings([4]), block=BLOCK, n_blocks=N_BLOCKS)
    made = cut(windows, torch.tensor([2]))
    assert made.latents[0, :, 1].tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0] + 6 * [0.0]
    assert made.blocks.tolist() == [[True, False, False]]


def test_conditions_go_with_their_frames() -> None:
    parts = recordings([13, 20])
    windows = MusicWindows(parts, [2 * part for part in parts], block=BLOCK, n_blocks=N_BLOCKS)
    made = cut(windows)
    assert made.conditions is not None
    inside = ~made.conditions.isnan()
    assert torch.equal(made.conditions[inside], 2 * made.latents[inside])
    whole = made.blocks.repeat_interleave(BLOCK, 1)
    assert bool(inside[whole].all())


def test_one_pass_needs_no_more_memory_than_the_recordings() -> None:
    """All windows together would be 384 times the recordings; what is kept is a number a window."""
    windows = MusicWindows([torch.zeros(50_000, 8)], block=24, n_blocks=16)
    kept = sum(value.nbytes for value in vars(windows).values() if isinstance(value, Tensor))
    assert kept + windows.starts().nbytes < 1.3 * 50_000 * 8 * 4
    assert windows.tokens == 384


def test_spread_is_even_and_bounded() -> None:
    windows = MusicWindows(recordings([100]), block=BLOCK, n_blocks=N_BLOCKS)
    assert windows.spread(4).tolist() == [12, 37, 62, 87]
    assert len(windows.spread(1000)) == 100


def test_bad_recordings_are_refused() -> None:
    sizes = {"block": BLOCK, "n_blocks": N_BLOCKS}
    good = recordings([20, 20])
    with pytest.raises(ValueError, match="at least one recording"):
        MusicWindows([], **sizes)
    with pytest.raises(ValueError, match=r"recording 1 .* at least one block of 4 frames, got \(3, 2\)"):
        MusicWindows([good[0], good[1][:3]], **sizes)
    with pytest.raises(ValueError, match="recording 1 holds values that are not finite"):
        MusicWindows([good[0], good[1] / 0.0], **sizes)
    with pytest.raises(ValueError, match="conditions for 2 recordings, got 1"):
        MusicWindows(good, good[:1], **sizes)
    with pytest.raises(ValueError, match=r"conditions of recording 1 must have shape \(20, 2\)"):
        MusicWindows(good, [good[0], good[1][:5]], **sizes)
