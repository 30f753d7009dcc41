r"""Draws of rows of tokens as weighted particles.

Rows are drawn in systems of particles that are as large as memory allows, one after the other. System j of
:math:`N_j` particles with weights :math:`W_{ij}` and normaliser :math:`\hat Z_j` counts
:math:`N_j \hat Z_j` in the whole, which keeps averages over all rows consistent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.discrete import DiscretePrediction
from sciffusion.estimators.chunking import chunk_slices
from sciffusion.estimators.random_state import private_generator
from sciffusion.estimators.token_alphabet import EncodedTokens
from sciffusion.estimators.token_bounds import row_bytes
from sciffusion.estimators.token_draws import DrawPlan, starting_state
from sciffusion.estimators.token_training import TokenTask
from sciffusion.sampling import Particles, SampleResult, sample
from sciffusion.sampling.discrete_steering import TokenDraws

from .rewards import MoleculeReward
from .scaffold import contains_scaffold

__all__ = ["SteeredRows", "TokenReward", "draw_steered"]

Floats = NDArray[np.float64]
_SYSTEM_BYTES = 2**30


@dataclass(frozen=True)
class SteeredRows:
    """Rows with weights.

    Parameters
    ----------
    tokens : ndarray of int64, shape (n, sites)
    weights : ndarray of shape (n,)
        Sum to 1.
    log_normaliser, log_normaliser_error : float
        Of the weighted law, and its standard error.
    min_ess : float
        Smallest effective share of the particles after a weighing.
    n_ancestors : int
        Particles of the start with descendants.
    """

    tokens: NDArray[np.int64]
    weights: Floats
    log_normaliser: float
    log_normaliser_error: float
    min_ess: float
    n_ancestors: int


class TokenReward:
    """A reward of molecules as one of rows of tokens, at the end of a run and on its way.

    On the way, rows drawn site by site are often no molecule, which says little about what will become of
    them: they get the smallest reward of the others instead of a refusal. The end of a run is not softened.

    Parameters
    ----------
    reward : MoleculeReward
        Of lists of SMILES.
    to_smiles : callable
        From rows of token numbers to SMILES.
    draws : int
        Rows that are drawn on the way, an item.
    scaffold : str, optional
        Molecules that do not contain it are refused.
    from_keep : float, default 0.5
        Rewards on the way are asked for once tokens are clean with at least this probability, and count 0
        before: guesses made of almost nothing would only make particles be lost by chance.

    Attributes
    ----------
    error : ValueError or None
        What the reward raised, as it was.
    """

    def __init__(
        self,
        reward: MoleculeReward,
        to_smiles: Callable[[NDArray[np.int64]], list[str]],
        draws: int,
        scaffold: str | None = None,
        from_keep: float = 0.5,
    ) -> None:
        self.reward, self.to_smiles, self.scaffold = reward, to_smiles, scaffold
        self.from_keep = from_keep
        self.error: ValueError | None = None
        self._estimate = TokenDraws(draws)
        self._on_the_way = self._early = False

    def clean(self, prediction: Any, state: Any, path: Any) -> Tensor:
        """Return clean tokens drawn from a prediction (see `TokenDraws`); the next rewards are theirs."""
        self._on_the_way = True
        open_times = state.t if state.known is None else state.t[~state.known]
        self._early = bool(path.schedule.keep(open_times).mean() < self.from_keep)
        return self._estimate(prediction, state, path)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the rewards of rows of tokens, float64."""
        softened, self._on_the_way = self._on_the_way, False
        if softened and self._early:
            return torch.zeros(len(x), dtype=torch.float64)
        smiles = self.to_smiles(x.cpu().numpy())
        try:
            rewards = self.reward(smiles)
        except ValueError as error:
            self.error = error
            raise
        if self.scaffold is not None:
            rewards = np.where(contains_scaffold(smiles, self.scaffold), rewards, -np.inf)
        if softened:
            finite = rewards[np.isfinite(rewards)]
            rewards = np.where(np.isfinite(rewards), rewards, finite.min() if finite.size else 0.0)
        return torch.from_numpy(rewards)


class _BeforeKnown:
    """A denoiser that rules the end out at open sites that stand before a known one.

    Which these are is read from the state, since particles take their known sites along.
    """

    def __init__(self, denoiser: Any, end: int) -> None:
        self._denoiser, self._end = denoiser, end
        self.path = denoiser.path

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        prediction: DiscretePrediction = self._denoiser(state, condition, cache)
        if state.known is None:
            return prediction
        later = state.known.flip(-1).cumsum(-1).flip(-1) > 0
        barred = (later & ~state.known).to(prediction.logits.device)
        logits = prediction.logits.clone()
        logits[..., self._end] = torch.where(barred, -torch.inf, logits[..., self._end])
        return replace(prediction, logits=logits)


def draw_steered(
    network: nn.Module,
    task: TokenTask,
    start: EncodedTokens,
    conditions: Floats,
    plan: DrawPlan,
    particles: Callable[[int], Particles] | None,
    *,
    seed: int,
    device: torch.device,
) -> SteeredRows:
    """Draw rows as weighted particles, or guided ones without weights.

    Parameters
    ----------
    network, task, start, conditions, plan, seed, device
        As for `draw_rows`.
    particles : callable or None
        From the number of particles of a system to how they are weighed.

    Returns
    -------
    SteeredRows
        In the order of ``start``, up to resampling; the weights belong to all rows together.
    """
    grid = plan.grid(task.process)
    price = 2 * row_bytes(network, start.tokens.shape[1])
    denoiser: Any = task.denoiser(network)
    if plan.end is not None:
        denoiser = _BeforeKnown(denoiser, plan.end)

    def draw(rows: slice) -> SampleResult:
        state = starting_state(task.process, start, rows, private_generator(seed, rows.start), device)
        condition = None
        if conditions.shape[1] and not np.isnan(conditions[rows]).all():
            condition = torch.from_numpy(conditions[rows]).float().to(device)
        return sample(
            denoiser, plan.solver, grid, state=state, condition=condition, guidance=tuple(plan.guidance),
            particles=None if particles is None else particles(rows.stop - rows.start),
        )  # fmt: skip

    found = [draw(rows) for rows in chunk_slices(len(start.tokens), price, _SYSTEM_BYTES)]
    return _gathered(found)


def _gathered(found: list[SampleResult]) -> SteeredRows:
    """Return the rows of several systems with weights of the whole."""
    tokens = np.concatenate([one.samples.cpu().numpy() for one in found])
    reports = [one.particles for one in found if one.particles is not None]
    if not reports:
        return SteeredRows(tokens, np.full(len(tokens), 1.0 / len(tokens)), 0.0, 0.0, 1.0, len(tokens))
    sizes = np.array([report.count for report in reports], dtype=np.float64)
    levels = np.array([float(report.log_normaliser[0]) for report in reports]) + np.log(sizes)
    total = float(np.logaddexp.reduce(levels))
    shares = np.exp(levels - total)
    errors = np.array([float(report.log_normaliser_error[0]) for report in reports])
    parts = zip(reports, shares, strict=True)
    histories = [report.ess_history.min().item() / report.count for report in reports]
    return SteeredRows(
        tokens=tokens,
        weights=np.concatenate([report.log_weights.exp().cpu().numpy() * share for report, share in parts]),
        log_normaliser=total - float(np.log(sizes.sum())),
        log_normaliser_error=float(np.sqrt(np.sum((shares * errors) ** 2))),
        min_ess=min(histories),
        n_ancestors=sum(int(report.unique_ancestors[0]) for report in reports),
    )
