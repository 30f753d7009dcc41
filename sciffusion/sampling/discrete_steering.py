r"""Steering of tokens by black-box rewards: Feynman-Kac steering for discrete processes.

The particles are those of `steering`, where the potentials are explained; what is discrete is from where
rewards on the way come and how guided proposals are weighed.

- Clean tokens on the way are drawn from the reverse law of the prediction down to time 0,
  :math:`p(x_0^l \mid x_t)`, site by site (`TokenDraws`), or are its most probable ones (`TokenArgmax`). Every
  prediction knows that law, guided ones too.
- With ``guidance_proposes`` each step is weighed by the exact ratio of the laws that its sites were drawn
  from,

  .. math:: \log p(x_s \mid x_t) - \log q(x_s \mid x_t)
     = \sum_l \log p(x_s^l \mid x_t) - \log q(x_s^l \mid x_t),

  so that the unguided sampler is tilted and guidance only leads particles; for any grid, also one that ends
  at time 0, and at no further evaluations where guidance remembers what it changed.

Singhal et al., *A General Framework for Inference-time Scaling and Steering of Diffusion Models*, arXiv
2501.06848.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from sciffusion.discrete import draw_categorical
from sciffusion.discrete.schedules import wide
from sciffusion.discrete.solvers.base import with_still_sites
from sciffusion.sampling.guidance.transition import unguided_prediction
from sciffusion.sampling.smc import ParticleRun, ParticleStep
from sciffusion.sampling.state import State
from sciffusion.sampling.steering import (
    CleanEstimate,
    FeynmanKacSteering,
    Potential,
    Reward,
    checked_rewards,
)

__all__ = [
    "GuardedReward",
    "OnError",
    "RewardFailure",
    "TokenArgmax",
    "TokenDraws",
    "TokenSteering",
    "transition_log_probability",
]

OnError = Literal["raise", "zero"]


def _clean_law(prediction: Any, state: State, path: Any) -> Tensor:
    end = torch.zeros_like(state.t)
    return with_still_sites(prediction.reverse_log_probabilities(path, state, end), state, end)


@dataclass(frozen=True)
class TokenDraws:
    """Clean tokens drawn from a prediction, every site by itself; known sites keep theirs.

    Their rewards are combined by the log of their mean exponential. Draws of one site do not know those of
    the others: early in a run they are poorer than any sequence of the model, and a reward that refuses most
    of them says little there.

    Parameters
    ----------
    draws : int, default 4
        Sequences an item, each of which costs one reward.
    """

    draws: int = 4

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def __call__(self, prediction: Any, state: State, path: Any) -> Tensor:
        """Return the draws, int64 of shape ``(draws, batch, ...)`` (see `CleanEstimate`)."""
        if state.generator is None:
            raise ValueError("TokenDraws needs a generator, got None; pass generator= to sample()")
        law = _clean_law(prediction, state, path)
        drawn = draw_categorical(law.expand(self.draws, *law.shape), state.generator)
        return drawn.to(state.x.device)


@dataclass(frozen=True)
class TokenArgmax:
    """The most probable clean token of every site; known sites keep theirs."""

    def __call__(self, prediction: Any, state: State, path: Any) -> Tensor:
        """Return the tokens with a leading axis of length 1 (see `CleanEstimate`)."""
        return _clean_law(prediction, state, path).argmax(-1)[None].to(state.x.device)


class RewardFailure(NamedTuple):
    """An item whose reward raised: what it was, and the error."""

    item: str
    error: Exception


class GuardedReward:
    """A reward whose errors name the item, and may count as weight zero.

    Parameters
    ----------
    reward : callable
        From tokens ``(batch, ...)`` to one number an item.
    on_error : {"raise", "zero"}, default "raise"
        What happens where the reward raises: an error that names the item, or ``-inf``, with the item and its
        error kept in ``failures``.
    describe : callable, optional
        From the tokens of one item to what an error calls it, a SMILES for instance; the list of tokens by
        default.

    Attributes
    ----------
    failures : list of RewardFailure
        Items that raised, in order.
    """

    def __init__(
        self,
        reward: Reward,
        on_error: OnError = "raise",
        describe: Callable[[Tensor], str] | None = None,
    ) -> None:
        if not callable(reward):
            raise TypeError(f"reward must be a function of clean tokens, got {type(reward).__name__}")
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be one of {get_args(OnError)}, got {on_error!r}")
        self.reward, self.on_error, self.describe = reward, on_error, describe
        self.failures: list[RewardFailure] = []

    def __call__(self, x: Tensor) -> Any:
        """Return the rewards of a batch; where it raises, of ever smaller parts of it.

        Raises
        ------
        ValueError
            If the reward raises and errors are to be raised; naming the first item that does.
        """
        try:
            return self.reward(x)
        except Exception as error:
            rewards = self._parts(x, 0, error)
            if self.on_error == "raise":
                raise ValueError(
                    f"reward raised {type(error).__name__} ({error}) for a batch of {len(x)} items, though "
                    "for none of them alone"
                ) from error
            return rewards

    def _parts(self, x: Tensor, first: int, error: Exception) -> Tensor:
        """Return the rewards of items that raised together: by halves, so that few failures cost little."""
        if len(x) == 1:
            self._note(first, x[0], error)
            return torch.full((1,), -math.inf, dtype=torch.float64)
        half = len(x) // 2
        return torch.cat([self._part(x[:half], first), self._part(x[half:], first + half)])

    def _part(self, x: Tensor, first: int) -> Tensor:
        try:
            rewards = self.reward(x)
        except Exception as error:
            return self._parts(x, first, error)
        return checked_rewards([rewards] if isinstance(rewards, float | int) else rewards, len(x)).cpu()

    def _note(self, place: int, tokens: Tensor, error: Exception) -> None:
        item = str(tokens.tolist()) if self.describe is None else str(self.describe(tokens))
        if self.on_error == "raise":
            raise ValueError(
                f"reward raised {type(error).__name__} ({error}) for item {place}: {item}; "
                'on_error="zero" gives such items weight zero and goes on'
            ) from error
        self.failures.append(RewardFailure(item, error))


def transition_log_probability(step: ParticleStep, prediction: Any) -> Tensor:
    """Return the log probability of the tokens that a step drew, under a prediction.

    Parameters
    ----------
    step : ParticleStep
        Made by a solver that draws every site from a law of one prediction.
    prediction : prediction
        Made at ``step.before``.

    Returns
    -------
    Tensor
        Shape ``(batch,)``, float64, summed over sites.

    Raises
    ------
    ValueError
        For another solver.
    """
    solver = step.solver
    if getattr(solver, "nfe", None) != 1 or not hasattr(solver, "log_probabilities"):
        raise ValueError(
            "weighing proposals needs a solver that draws every site from one prediction (Ancestral, "
            f"MaximalCoupling), got {type(solver).__name__}"
        )
    law = solver.log_probabilities(prediction, step.denoiser.path, step.before, step.proposed.t)
    law = wide(with_still_sites(law, step.before, step.proposed.t))
    drawn = step.proposed.x[..., None].long().to(law.device)
    return law.gather(-1, drawn).flatten(1).sum(-1)


class TokenSteering(FeynmanKacSteering):
    r"""Steers a run of a discrete process towards large values of a reward.

    With the last potential, weighted samples follow the sampler's law times :math:`e^{\lambda r}`, up to the
    noise of a finite number of particles, and the report's normaliser estimates :math:`E e^{\lambda r}`.

    Parameters
    ----------
    reward : callable
        From clean tokens, int64 of shape ``(batch, ...)``, to one number an item (tensor, array or list);
        ``-inf`` refuses an item (see `FeynmanKacSteering`).
    count, scale, potential, every, threshold, last_potential
        See `FeynmanKacSteering`.
    clean : CleanEstimate, optional
        What the reward is asked of on the way; ``TokenDraws(4)`` by default.
    guidance_proposes : bool, default False
        Weigh each step by the ratio of unguided and guided transition probabilities, so that the unguided law
        is tilted. For solvers that draw every site from one prediction (`Ancestral`), on any grid.
    on_error, describe
        What a reward that raises leads to (see `GuardedReward`).

    Attributes
    ----------
    failures : list of RewardFailure
        Items that raised in the last run.

    Raises
    ------
    TypeError
        For a reward that is no function, or returns no numbers.
    ValueError
        For settings outside their range, and during a run for rewards that raise, have a wrong shape or are
        NaN (naming the item), or weights that all vanish.
    """

    def __init__(
        self,
        reward: Reward,
        count: int,
        *,
        scale: float = 1.0,
        potential: Potential = "difference",
        every: int = 1,
        clean: CleanEstimate | None = None,
        threshold: float = 0.5,
        last_potential: bool = True,
        guidance_proposes: bool = False,
        on_error: OnError = "raise",
        describe: Callable[[Tensor], str] | None = None,
    ) -> None:
        self._guarded = GuardedReward(reward, on_error, describe)
        super().__init__(
            self._guarded, count, scale=scale, potential=potential, every=every,
            clean=TokenDraws() if clean is None else clean, threshold=threshold,
            last_potential=last_potential, guidance_proposes=guidance_proposes,
        )  # fmt: skip

    @property
    def failures(self) -> list[RewardFailure]:
        """Items whose reward raised in the last run."""
        return self._guarded.failures

    def begin(self, state: State) -> ParticleRun:
        """Return the particles of a run (see `Particles.begin`)."""
        self._guarded.failures = []
        return super().begin(state)

    def proposal_log_ratio(self, step: ParticleStep) -> Tensor:
        """Return the log ratio of the laws of a step without and with guidance, shape ``(batch,)``."""
        unguided = unguided_prediction(step.prediction)
        without = transition_log_probability(step, step.unguided() if unguided is None else unguided)
        return without - transition_log_probability(step, step.prediction)
