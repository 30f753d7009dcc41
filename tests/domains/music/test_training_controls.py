"""How often controls are hidden, and what of a late control is known when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.domains.music import Control, ControlLayout
from sciffusion.domains.music.training_controls import ControlDropout

LAYOUT = ControlLayout((Control("chroma", 3), Control("loudness", 1), Control("partner", 2)))
BLOCK, TOKENS, BATCH = 4, 24, 4000


def hidden(dropout: ControlDropout) -> tuple[Tensor, Tensor]:
    """Return which controls are hidden, (batch, tokens, controls), in both copies."""
    conditions = torch.zeros(BATCH, TOKENS, LAYOUT.width)
    shown = dropout.hide(conditions, LAYOUT, BLOCK, torch.Generator().manual_seed(0))
    noisy, clean = (part.isnan() for part in shown)
    for part in (noisy, clean):
        # The numbers of one control go together.
        assert torch.equal(part[..., 0], part[..., 2])
        assert torch.equal(part[..., 4], part[..., 5])
    return noisy[..., [0, 3, 4]], clean[..., [0, 3, 4]]


def test_shares_of_hidden_controls() -> None:
    noisy, clean = hidden(ControlDropout(all=0.1, each=0.2, piece=0.3))
    assert torch.equal(noisy, clean)
    always = noisy.all(1).float()
    every, single = always.prod(1).mean(), always.mean(0)
    # 1 - .9 * .8 = .28 of each; a piece hides a whole clip hardly ever.
    torch.testing.assert_close(single, torch.full((3,), 0.28), atol=0.03, rtol=0.0)
    torch.testing.assert_close(every, torch.tensor(0.1 + 0.9 * 0.2**3), atol=0.02, rtol=0.0)
    partly = noisy.any(1) & ~noisy.all(1)
    torch.testing.assert_close(partly.float().mean(0), torch.full((3,), 0.72 * 0.3), atol=0.03, rtol=0.0)
    # A piece has one beginning and one end, and hides a third of the frames in the mean.
    assert float(noisy.float().diff(dim=1).abs().sum(1).amax()) == 2.0
    shares = noisy.float().mean(1)[partly]
    torch.testing.assert_close(shares.mean(), torch.tensor(1 / 3), atol=0.03, rtol=0.0)


def test_nothing_is_hidden_on_request() -> None:
    noisy, clean = hidden(ControlDropout(all=0.0, each=0.0, piece=0.0))
    assert not bool(noisy.any() | clean.any())


@pytest.mark.parametrize("lag", [-BLOCK, 0, 3, 6])
def test_a_late_control_is_known_up_to_the_block_less_the_lag(lag: int) -> None:
    dropout = ControlDropout(all=0.0, each=0.0, piece=0.0, late={"partner": (lag, lag)})
    noisy, clean = hidden(dropout)
    assert not bool(noisy[..., :2].any() | clean[..., :2].any())
    for frame in range(TOKENS):
        block = frame // BLOCK
        expected = frame >= block * BLOCK - lag
        assert bool(noisy[:, frame, 2].all() if expected else ~noisy[:, frame, 2].any())
        # Clean blocks know what was heard one block later, or more of them.
        heard = ~clean[:, frame, 2]
        if frame < (block + 1) * BLOCK - lag:
            assert bool(heard.all())
        oldest = max(-(-lag // BLOCK), 0) + 1
        assert bool(heard.any()) == (frame < (block + oldest) * BLOCK - lag)


def test_lags_are_drawn_between_their_ends() -> None:
    noisy, _ = hidden(ControlDropout(all=0.0, each=0.0, piece=0.0, late={"partner": (-4, 0)}))
    known = (~noisy[:, BLOCK : 2 * BLOCK, 2]).sum(1)
    shares = known.bincount(minlength=5) / BATCH
    torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.03, rtol=0.0)


def test_bad_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="piece must be a probability"):
        ControlDropout(piece=1.2)
    with pytest.raises(ValueError, match="least, largest"):
        ControlDropout(late={"partner": (3, 2)})
