"""Draws of molecules: freely, under guidance, or as weighted particles; the work of `sample`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciffusion.estimators.token_alphabet import EncodedTokens
from sciffusion.estimators.token_draws import DrawPlan
from sciffusion.estimators.validation import check_integer
from sciffusion.sampling.discrete_steering import TokenSteering
from sciffusion.sampling.guidance import DiscreteClassifier, DiscreteClassifierFree

from .molecule_model import MoleculeModel
from .molecule_sample import MoleculeSample
from .property_network import guiding_function, linear_log_weight, target_log_weight
from .rewards import MoleculeReward, OnRewardError, RewardInput
from .scaffold import contains_scaffold
from .steered_draws import SteeredRows, TokenReward, draw_steered
from .targets import Target, choose_method, read_target

__all__ = ["DrawRequest", "draw_molecules"]

Floats = NDArray[np.float64]
Rows = Callable[..., EncodedTokens]
_MOST_ROUNDS = 40  # of drawing again what was rejected
_REWARDS_ON_THE_WAY = 8
_FEWEST_PARTICLES = 32  # from which draws without weights are taken


@dataclass(frozen=True)
class DrawRequest:
    """What was asked for, see `MoleculeDiffusion.sample`."""

    count: int
    reward: Any
    scale: float
    method: str
    condition: Any
    scaffold: str | None
    only_valid: bool
    require_scaffold: bool
    nfe: int | None
    solver: Any
    particles: int | None
    guide: bool
    reward_every: int | None
    reward_draws: int
    reward_takes: RewardInput
    on_reward_error: OnRewardError
    all_particles: bool
    seed: int


def draw_molecules(model: MoleculeModel, request: DrawRequest, rows: Rows) -> MoleculeSample:
    """Draw molecules.

    Parameters
    ----------
    model : MoleculeModel
        Fitted.
    request : DrawRequest
        What is asked for.
    rows : callable
        From a number of rows, and the number of the attempt, to rows with what is known of them.

    Returns
    -------
    MoleculeSample
    """
    if request.require_scaffold and request.scaffold is None:
        raise ValueError("require_scaffold=True needs a scaffold")
    form = model._condition_form_
    spreads = dict(zip(form.names, form.scales, strict=True)) if form.scales else {}
    target = read_target(request.reward, spreads)
    if target is None:
        _refuse_without_reward(request)
        return _Run(model, request, rows, None, "none").rejected()
    learned = list(form.names) if form.means else []
    method = choose_method(request.method, target, learned, model._property_network_ is not None)
    run = _Run(model, request, rows, target, method)
    return run.weighted() if method == "fk" else run.rejected()


def _refuse_without_reward(request: DrawRequest) -> None:
    if request.method != "auto":
        raise ValueError(f"method={request.method!r} needs a reward, got none")
    if request.particles is not None or request.guide:
        raise ValueError("particles and guide are for draws with a reward and method='fk'")


class _Run:
    """One call of `sample`, with its method chosen."""

    def __init__(
        self, model: MoleculeModel, request: DrawRequest, rows: Rows, target: Target | None, method: str
    ) -> None:
        self.model, self.request, self.rows, self.target, self.method = model, request, rows, target, method
        if method == "cfg" and request.condition is not None:
            raise ValueError("give condition or a reward with method='cfg', which sets it; not both")
        if method != "fk" and (request.particles is not None or request.guide):
            raise ValueError(f"particles and guide are for method='fk', got method={method!r}")
        self.guidance = self._guidance()
        self.plan = self._plan()

    # ------------------------------------------------------------ how rows are drawn

    @property
    def _guided(self) -> bool:
        return self.method == "cbg" or self.request.guide

    def _guidance(self) -> tuple[Any, ...]:
        if self.method == "cfg":
            return () if self.request.scale == 1.0 else (DiscreteClassifierFree(self.request.scale),)
        return (DiscreteClassifier(self._log_weight(), "first_order"),) if self._guided else ()

    def _plan(self) -> DrawPlan:
        request, model = self.request, self.model
        steered = bool(self.guidance) or self.method == "fk"
        conditions = np.empty((0, 0))
        plan = model._plan(conditions, 1.0, request.nfe, request.solver, steered)
        return replace(plan, guidance=self.guidance)

    def _log_weight(self) -> Any:
        """Return what the network of noisy molecules' properties says of noisy tokens."""
        model, target, scale = self.model, self.target, self.request.scale
        network, form = model._property_network_, model._condition_form_
        assert target is not None
        if network is None:
            raise ValueError("guide=True needs a model fitted with property_network=True")
        missing = [name for name in target.names if name not in form.names]
        if missing or target.function is not None:
            raise ValueError(
                "guide=True needs a reward made of properties that the model has learned "
                f"({', '.join(form.names)}), got {missing[0] if missing else 'a function'!r}"
            )
        network = model._on_device(network)
        means, scales = np.array(form.means), np.array(form.scales)
        if target.maximised is not None:
            strengths = np.where(np.array(form.names) == target.maximised, scale * scales, 0.0)
            return guiding_function(network, linear_log_weight(torch.from_numpy(strengths)))
        values = np.array([target.values.get(name, math.nan) for name in form.names])
        tolerances = np.array([target.tolerances.get(name, math.nan) for name in form.names])
        weight = target_log_weight(
            torch.from_numpy((values - means) / scales), torch.from_numpy(tolerances / scales), scale
        )
        return guiding_function(network, weight)

    def _condition(self) -> Any:
        assert self.method != "cfg" or self.target is not None
        return self.target.values if self.method == "cfg" and self.target else self.request.condition

    def _draw(self, start: EncodedTokens, particles: Any, seed: int) -> SteeredRows:
        model = self.model
        conditions = model._condition_form_.encode(self._condition(), len(start.tokens))
        return draw_steered(
            model._on_device(model._network_), model._task(), start, conditions, self.plan, particles,
            seed=seed, device=model._compute_device(),
        )  # fmt: skip

    @property
    def _nfe(self) -> int:
        """Evaluations that the steps of the plan make at most."""
        price = self.plan.solver.nfe * math.prod(one.nfe for one in self.plan.guidance)
        return int(self.plan.nfe // price * price)

    # ------------------------------------------------------------ without weights

    def rejected(self) -> MoleculeSample:
        """Draw until there are as many as are wanted of those that are accepted."""
        kept: list[str] = []
        drawn, holding = 0, 0
        wanted = self.request.count
        for attempt in range(_MOST_ROUNDS):
            share = max(len(kept) / drawn, 0.02) if drawn else 1.0
            missing = math.ceil((wanted - len(kept)) / share)
            found = self._draw(self.rows(missing, attempt), None, self.request.seed + 7919 * attempt)
            smiles = self.model._smiles(found.tokens)
            accepted, scaffolded = self._accepted(smiles)
            kept += [one for one, good in zip(smiles, accepted, strict=True) if good]
            drawn, holding = drawn + len(smiles), holding + int(scaffolded.sum())
            if len(kept) >= wanted:
                return self._plain(kept[:wanted], drawn, holding)
        what = "contain the scaffold" if self.request.require_scaffold else "are valid molecules"
        raise ValueError(
            f"only {len(kept)} of {drawn} draws {what}, {wanted} are wanted; train longer, use "
            "representation='selfies', or draw without only_valid and require_scaffold"
        )

    def _accepted(self, smiles: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Say which draws are kept, and which contain the scaffold."""
        request = self.request
        holds = np.zeros(len(smiles), dtype=np.bool_)
        if request.scaffold is not None:
            holds = contains_scaffold(smiles, request.scaffold)
        if request.require_scaffold:
            return holds, holds
        if request.only_valid:
            return MoleculeSample.unweighted(smiles, law="", method="", nfe=0).valid, holds
        return np.ones(len(smiles), dtype=np.bool_), holds

    def _plain(self, smiles: list[str], drawn: int, holding: int) -> MoleculeSample:
        return MoleculeSample.unweighted(
            smiles, law=self._law(), method=self.method, nfe=self._nfe, n_drawn=drawn,
            scaffold_share=None if self.request.scaffold is None else holding / drawn,
        )  # fmt: skip

    def _law(self) -> str:
        words = {
            "none": "the model",
            "cfg": "the model given the values, exactly"
            if self.request.scale == 1.0
            else "guidance without a law of its own: not the model given the values to a power (biased)",
            "cbg": "near the model times exp(scale * reward), as far as the network of noisy molecules "
            "is right and steps are small (biased)",
            "fk": "the sampler's law times exp(scale * reward) among valid molecules, exactly as the number "
            "of particles grows",
        }
        given = ", given the condition" if self.request.condition is not None else ""
        accepted = ""
        if self.request.require_scaffold:
            accepted = ", among draws that contain the scaffold"
        elif self.request.only_valid and self.method != "fk":
            accepted = ", among valid molecules"
        return words[self.method] + given + accepted

    # ------------------------------------------------------------ with weights

    def weighted(self) -> MoleculeSample:
        """Draw weighted particles."""
        request, target, model = self.request, self.target, self.model
        assert target is not None
        count = self._n_particles()
        takes = request.reward_takes if target.function is not None else "molecules"
        reward = MoleculeReward(target.reward(), takes=takes, on_error=request.on_reward_error)
        refused = request.scaffold if request.require_scaffold else None
        tokens = TokenReward(reward, model._smiles, request.reward_draws, refused)
        n_steps = self._nfe // self.plan.solver.nfe
        every = (
            max(1, n_steps // _REWARDS_ON_THE_WAY) if request.reward_every is None else request.reward_every
        )
        check_integer("reward_every", every, low=0)

        def particles(size: int) -> TokenSteering:
            return TokenSteering(
                tokens, size, scale=request.scale, every=every, clean=tokens.clean,
                guidance_proposes=request.guide,
            )  # fmt: skip

        start = self.rows(count)
        try:
            found = self._draw(start, particles, request.seed)
        except ValueError:
            if tokens.error is not None:
                raise tokens.error from tokens.error.__cause__
            raise
        return self._weighted_sample(found, reward)

    def _n_particles(self) -> int:
        request = self.request
        if request.particles is None:
            return max(request.count, 2 if request.all_particles else _FEWEST_PARTICLES)
        count = check_integer("particles", request.particles, low=2)
        if count < request.count:
            raise ValueError(
                f"particles must be at least n_samples={request.count}, to draw from; got {count}"
            )
        return count

    def _weighted_sample(self, found: SteeredRows, reward: MoleculeReward) -> MoleculeSample:
        smiles = self.model._smiles(found.tokens)
        scaffold = self.request.scaffold
        weights = found.weights / found.weights.sum()
        sample = MoleculeSample(
            smiles=smiles, weights=weights, law=self._law(), method=self.method, nfe=self._nfe,
            log_normaliser=found.log_normaliser, log_normaliser_error=found.log_normaliser_error,
            min_ess=found.min_ess, n_ancestors=found.n_ancestors, rewards=reward(smiles),
            failures=dict(reward.failures), n_drawn=len(smiles),
        )  # fmt: skip
        if scaffold is None:
            return sample
        return replace(sample, scaffold_share=float(np.mean(contains_scaffold(smiles, scaffold))))
