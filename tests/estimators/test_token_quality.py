"""Small models trained on a Markov chain, whose law is known: bounds, draws and infilling against it.

That estimates are right is tested with exact denoisers elsewhere; here it is tested that training gives a
denoiser at all. The measure is what fails: a model of independent sites, the best that can be had without
knowing how sites depend on each other.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciffusion import TokenDiffusion
from sciffusion.exact import MarkovChainOracle

INITIAL = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
STICKY = torch.tensor([[0.9, 0.07, 0.03], [0.03, 0.9, 0.07], [0.07, 0.03, 0.9]], dtype=torch.float64)
CHAIN = MarkovChainOracle(INITIAL, STICKY, 4)
STATES = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
LAW = np.exp(CHAIN.log_likelihood(torch.from_numpy(STATES)).numpy())
MARGINALS = np.stack([np.bincount(STATES[:, site], LAW, minlength=3) for site in range(4)])
INDEPENDENT = MARGINALS[np.arange(4), STATES].prod(axis=1)


def chain_rows(count: int, seed: int) -> NDArray[np.int64]:
    return np.asarray(CHAIN.draw(count, torch.Generator().manual_seed(seed)).numpy())


def distance(rows: NDArray[np.int64]) -> float:
    found = np.bincount(rows @ np.array([27, 9, 3, 1]), minlength=81) / len(rows)
    return float(0.5 * np.abs(found - LAW).sum())


@pytest.fixture(scope="module", params=["mask", "uniform", "uniform_absorbing"])
def model(request: pytest.FixtureRequest) -> TokenDiffusion:
    unfitted = TokenDiffusion(
        process=request.param, width=32, depth=1, n_heads=2, max_steps=250, batch_size=64, warmup_steps=20,
        learning_rate=0.005, ema_decay=0.97, known_share=0.1, validation_fraction=0.0, nfe=16, random_state=0,
    )  # fmt: skip
    return unfitted.fit(chain_rows(2000, 0))


def test_the_bound_holds_and_is_nearer_than_independent_sites_by_far(model: TokenDiffusion) -> None:
    bounds, errors = model.score_samples(STATES, draws=128, return_std=True)
    lost = -CHAIN.entropy() - LAW @ bounds
    assert lost > -2.0 * LAW @ errors  # rows share noise, so their errors are added
    alone = -CHAIN.entropy() - LAW @ np.log(INDEPENDENT)
    assert alone > 2.0  # nats
    assert lost < 0.25 * alone


def test_draws_follow_the_chain(model: TokenDiffusion) -> None:
    # Independent sites are .74 away; 1000 draws of the chain itself about .06 by chance.
    assert distance(model.sample(1000, random_state=1)) < 0.5 * 0.5 * np.abs(INDEPENDENT - LAW).sum()


def test_infilled_sites_follow_their_law_given_the_others(model: TokenDiffusion) -> None:
    """Rows of the chain, whose inner sites are drawn anew given the ends, have the law of the chain."""
    rows = chain_rows(1000, 2)
    holes = rows.copy()
    holes[:, 1:3] = -1
    drawn = model.infill(holes, random_state=1)
    assert (drawn[:, [0, 3]] == rows[:, [0, 3]]).all()
    cube = LAW.reshape(3, 3, 3, 3)
    alone = np.einsum("ad,b,c->abcd", cube.sum((1, 2)), MARGINALS[1], MARGINALS[2])
    assert distance(drawn) < 0.5 * 0.5 * np.abs(alone - cube).sum()
