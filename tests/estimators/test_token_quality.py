"""Small models trained on a Markov chain, whose law is known: bounds, draws and infilling against it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciffusion import TokenDiffusion
from sciffusion.exact import MarkovChainOracle

CHAIN = MarkovChainOracle.bench_a()
STATES = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
LAW = np.exp(CHAIN.log_likelihood(torch.from_numpy(STATES)).numpy())
TRAINED = ["mask", "uniform", "uniform_absorbing"]


@cache
def trained(process: str) -> TokenDiffusion:
    rows = CHAIN.draw(4000, torch.Generator().manual_seed(0)).numpy()
    model = TokenDiffusion(
        process=process, width=32, depth=1, n_heads=2, max_steps=350, warmup_steps=30, learning_rate=0.01,
        ema_decay=0.98, known_share=0.1, nfe=16, random_state=0,
    )  # fmt: skip
    return model.fit(rows)


def distance(rows: NDArray[np.int64], law: NDArray[np.float64]) -> float:
    found = np.bincount(rows @ np.array([27, 9, 3, 1]), minlength=81) / len(rows)
    return float(0.5 * np.abs(found - law).sum())


@pytest.mark.parametrize("process", TRAINED)
def test_the_bound_holds_and_is_nearly_tight(process: str) -> None:
    model = trained(process)
    bound = LAW @ model.score_samples(STATES, draws=400)
    # Below minus the entropy, up to the error of the estimate; .05 above it is the error of 4000 rows.
    assert -CHAIN.entropy() - 0.15 < bound < -CHAIN.entropy() + 0.05
    # A model of independent sites would lose .205 nats.
    marginal = np.stack([np.bincount(STATES[:, site], LAW, minlength=3) for site in range(4)])
    alone = sum(np.log(marginal[site][STATES[:, site]]) for site in range(4))
    assert LAW @ alone < -CHAIN.entropy() - 0.2


@pytest.mark.parametrize("process", TRAINED)
def test_draws_follow_the_chain(process: str) -> None:
    drawn = trained(process).sample(5000, random_state=1)
    # 5000 draws of the chain itself are .037 away, the 4000 training rows .046, independent sites .26.
    assert distance(drawn, LAW) < 0.18


@pytest.mark.parametrize("process", TRAINED)
def test_infilled_sites_follow_their_law_given_the_others(process: str) -> None:
    drawn = trained(process).infill(np.tile([2, -1, -1, 1], (3000, 1)), random_state=1)
    allowed = (STATES[:, 0] == 2) & (STATES[:, 3] == 1)
    law = np.where(allowed, LAW, 0.0)
    assert (drawn[:, [0, 3]] == [2, 1]).all()
    assert distance(drawn, law / law.sum()) < 0.18
