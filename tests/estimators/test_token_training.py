"""What a token network is trained on: shown sites, hidden properties, weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from sciffusion.estimators.token_alphabet import TokenAlphabet
from sciffusion.estimators.token_processes import token_recipe
from sciffusion.estimators.token_training import TokenRows, TokenSettings, TokenTask, train_token_network

COUNT, SITES = 4000, 6


@dataclass
class Recorder:
    """An objective that keeps what it is given and answers with the first token of a row."""

    is_bound: bool = False
    seen: dict[str, Any] = field(default_factory=dict)

    def __call__(self, denoiser: Any, x0: Tensor, t: Tensor, generator: Any, **given: Any) -> Tensor:
        self.seen = {"times": t, **given}
        return x0[:, :1].double().expand(x0.shape)


def run(process: str, *, n_conditions: int = 1, weights: Tensor | None = None, **changed: Any) -> Any:
    """Return what one step on 4000 rows gives the objective, and its loss."""
    settings = TokenSettings(**{
        "width": 8, "depth": 1, "n_heads": 2, "dropout": 0.0, "learning_rate": 1e-3, "weight_decay": 0.0,
        "batch_size": 8, "max_steps": 1, "warmup_steps": 0, "ema_decay": 0.0, "patience": None,
        "validation_fraction": 0.0, "condition_dropout": 0.2, "known_share": 0.5, **changed,
    })  # fmt: skip
    recipe, recorder = token_recipe(process), Recorder()
    task = TokenTask(recipe.build(TokenAlphabet((0, 1, 2), False), "linear", None), recipe, recorder, None)
    tokens = torch.arange(COUNT)[:, None].expand(COUNT, SITES) % 3
    rows = TokenRows(
        tokens, torch.zeros(COUNT, n_conditions), torch.ones(COUNT) if weights is None else weights
    )
    losses: list[Tensor] = []

    def train(network: nn.Module, objective: Any, parts: tuple[Tensor, ...], **_: Any) -> Any:
        losses.append(objective(network, parts, torch.Generator().manual_seed(0)))

    train_token_network(settings, task, nn.Identity(), rows, None, train, seed=0)
    return recorder.seen, float(losses[0])


def test_properties_are_hidden_from_their_share_of_the_rows() -> None:
    hidden = run("uniform")[0]["condition"].isnan()
    assert_allclose(hidden.double().mean(), 0.2, atol=0.03)
    hidden = run("uniform", n_conditions=3)[0]["condition"].isnan()
    # All of them in a share of .2, single ones with probability one half in as many more.
    assert_allclose(hidden.all(-1).double().mean(), 0.2 + 0.2 / 8, atol=0.03)
    assert_allclose(hidden.double().mean(), 0.2 + 0.1, atol=0.03)
    assert not run("uniform", condition_dropout=0.0)[0]["condition"].isnan().any()
    assert run("uniform", n_conditions=0)[0]["condition"] is None


def test_sites_are_shown_in_their_share_of_the_rows() -> None:
    known = run("uniform")[0]["known"]
    assert_allclose(known.double().mean(), 0.5 / 2, atol=0.03)
    # All numbers of shown sites are met alike: a uniform probability gives a uniform number, 0 to 6.
    counts = torch.bincount(known.sum(-1), minlength=SITES + 1) / COUNT
    assert_allclose(counts[1:], 0.5 / (SITES + 1), atol=0.025)
    assert_allclose(run("uniform", known_share=1.0)[0]["known"].double().mean(), 0.5, atol=0.03)
    assert run("uniform", known_share=0.0)[0]["known"] is None
    assert run("mask")[0]["known"] is None


@pytest.mark.parametrize("favoured", [0, 1, 2])
def test_losses_are_weighted_by_row(favoured: int) -> None:
    weights = torch.where(torch.arange(COUNT) % 3 == favoured, 8.0, 1.0)
    expected = (8.0 * favoured + sum({0, 1, 2} - {favoured})) / 10.0
    assert_allclose(run("uniform", weights=weights)[1], expected, atol=0.01)
