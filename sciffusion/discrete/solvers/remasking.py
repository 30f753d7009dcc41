r"""Remasking: ancestral steps of a masked process that may mask a revealed token again.

With a remasking probability :math:`\sigma \le \sigma_{\max} = \min(1, (1 - a_s)/a_t)`, a step from t to s

- masks a revealed token with probability :math:`\sigma`;
- reveals a masked one, by the denoiser, with probability
  :math:`\frac{a_s - (1 - \sigma) a_t}{1 - a_t}`,

so that the share of masked tokens at s is that of the process for any :math:`\sigma` that masked and
revealed tokens have in common; 0 gives `Ancestral`.
The probability is chosen by a schedule:

- ``"cap"``: :math:`\min(\eta, \sigma_{\max})`;
- ``"rescale"``: :math:`\eta\,\sigma_{\max}`;
- ``"confidence"``: :math:`\sigma_{\max}` times the softmax, over the revealed tokens of an item, of minus the
  probability with which each was drawn: unlikely tokens go first. Masked tokens are revealed as without
  remasking, so that some more are masked than in the process until the last step reveals them;
- ``"loop"``: :math:`\eta` in steps that stand still, 0 elsewhere, on a grid that waits at one time
  (`sciffusion.discrete.loop_grid`).

With an exact denoiser remasking slows convergence down; with one that is wrong enough it repairs tokens that
were drawn together and do not fit (measured in the benchmark ``discrete_exact``).

Wang et al., *Remasking Discrete Diffusion Models with Inference-Time Scaling*, arXiv 2503.00307. Published
results with it also truncate the tail of the denoiser's law, which is not done here.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.process import site_times
from sciffusion.discrete.solvers.base import DrawSolver, TokenState

__all__ = ["RemaskSchedule", "Remasking"]

RemaskSchedule = Literal["cap", "rescale", "confidence", "loop"]
PUBLISHED = {"cap": 0.008, "rescale": 0.015, "loop": 0.02}

S = TypeVar("S", bound=TokenState)


class Remasking(DrawSolver):
    """Ancestral steps of a masked process that may mask tokens again; one evaluation a step.

    Parameters
    ----------
    schedule : {"rescale", "cap", "confidence", "loop"}
        How the remasking probability is chosen (see the module's equations). Confidences are kept in the
        history of the state; sites that were revealed before the run count as certain.
    eta : float, optional
        Strength in [0, 1]; by default what was published: .008 for "cap", .015 for "rescale", .02 for "loop".
        Not given for "confidence".
    t_switch : float, default 1
        Remask only from this time on, down to the data.
    """

    nfe = 1

    def __init__(
        self, schedule: RemaskSchedule = "rescale", eta: float | None = None, t_switch: float = 1.0
    ) -> None:
        if schedule not in get_args(RemaskSchedule):
            raise ValueError(f"schedule must be one of {get_args(RemaskSchedule)}, got {schedule!r}")
        if schedule == "confidence" and eta is not None:
            raise ValueError(f"schedule='confidence' has no strength eta, got {eta}")
        if eta is not None and not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        if not 0.0 <= t_switch <= 1.0:
            raise ValueError(f"t_switch must lie in [0, 1], got {t_switch}")
        self.schedule: RemaskSchedule = schedule
        self.eta = PUBLISHED.get(schedule, 1.0) if eta is None else eta
        self.t_switch = t_switch
        self.memoryless = schedule != "confidence"

    def draws(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> Generator[Tensor, Tensor, S]:
        """Draw every site (see `DrawSolver.draws`).

        Raises
        ------
        TypeError
            For a process without a mask token.
        """
        process: Any = denoiser.path
        if process.mask_token is None:
            raise TypeError("Remasking needs a process with a mask token, such as Mask")
        clean = denoiser(state).to("denoiser", process, state).probabilities
        masked = (state.x == process.mask_token).to(clean.device)
        confidence = self._confidence(state, clean)
        late = process.schedule.keep(site_times(state.t, state.x)).expand(state.x.shape).to(clean.device)
        early = process.schedule.keep(site_times(t_next, state.x)).expand(state.x.shape).to(clean.device)
        remask = self._probability(state, t_next, late, early, masked, confidence)
        reveal = (early - (1.0 - remask) * late) / (1.0 - late).clamp_min(1e-300)
        reveal = reveal.clamp(0.0, 1.0)[..., None]
        own = torch.nn.functional.one_hot(state.x.long(), process.state_size).to(clean)
        mask = torch.zeros(process.state_size).to(clean)
        mask[process.mask_token] = 1.0
        filled = torch.nn.functional.pad(clean, (0, 1)) * reveal + mask * (1.0 - reveal)
        kept = own * (1.0 - remask[..., None]) + mask * remask[..., None]
        x = yield torch.log(torch.where(masked[..., None], filled, kept))
        if self.memoryless:
            return state.moved(x, t_next, ())
        drawn = clean.gather(-1, x.long().clamp_max(process.vocab_size - 1)[..., None].to(clean.device))[
            ..., 0
        ]
        return state.moved(x, t_next, (torch.where(masked, drawn, confidence),))

    def _confidence(self, state: TokenState, clean: Tensor) -> Tensor:
        """Return the probability with which each revealed token was drawn; 1 if that is not known."""
        if self.memoryless or not state.history:
            return clean.new_ones(state.x.shape)
        confidence: Tensor = state.history[-1]
        return confidence

    def _probability(
        self,
        state: TokenState,
        t_next: Tensor,
        late: Tensor,
        early: Tensor,
        masked: Tensor,
        confidence: Tensor,
    ) -> Tensor:
        """Return the remasking probability of every site, as if it were revealed."""
        largest = torch.where(late > 0.0, (1.0 - early) / late.clamp_min(1e-300), 1.0).clamp(0.0, 1.0)
        times = site_times(state.t, state.x).expand(state.x.shape).to(late.device)
        if self.schedule == "cap":
            share = largest.clamp_max(self.eta)
        elif self.schedule == "rescale":
            share = self.eta * largest
        elif self.schedule == "loop":
            still = times == site_times(t_next, state.x).to(late.device)
            share = torch.where(still, largest.clamp_max(self.eta), 0.0)
        else:
            candidates = ~masked & (times > 0.0)
            share = (
                torch.softmax(torch.where(candidates, -confidence, -torch.inf), -1).nan_to_num(0.0) * largest
            )
        return torch.where(times <= self.t_switch, share, 0.0)
