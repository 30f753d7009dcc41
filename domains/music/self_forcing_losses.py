r"""What a rollout of the model is compared with: the recording that it was begun from.

Given the same context, let x and x' be two rollouts and y what the recording goes on with. The *energy score*

.. math:: S = \tfrac12 \bigl(\lVert x - y \rVert + \lVert x' - y \rVert\bigr) - \tfrac12 \lVert x - x' \rVert

is least in the mean where x has the law of y given the context, and there alone: no second network is needed.
It is taken of single frames, of blocks, and of blocks together with the one before them, so that what blocks
hold, how frames hang together and how blocks fit each other all count; a sum of proper scores is proper, and
the norms are divided by the root of the number of values.

The *relativistic* loss has a critic f that sees context and rollout with noise on both, the same noise and
time as on the recording, and gives a score s to every frame after the context:

.. math:: L_G = \langle \operatorname{softplus}(s_\text{real} - s_\text{made}) \rangle, \qquad
          L_D = \langle \operatorname{softplus}(s_\text{made} - s_\text{real}) \rangle .

Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*, JASA 102 (2007) (energy
score); Jolicoeur-Martineau, *The Relativistic Discriminator*, arXiv 1807.00734; Novack et al., *Fast
Text-to-Audio Generation with Adversarial Post-Training*, arXiv 2505.08175 (paired critic on noisy values).
The energy score of rollouts is a construction of this library.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from sciffusion.networks import ModulatedTransformer, angle_embedding

__all__ = ["RolloutCritic", "critic_losses", "energy_loss", "energy_score"]

_N_FREQUENCIES = 16


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Return root mean squares of differences over the last axis; smooth where they vanish."""
    return ((x - y).square().mean(-1) + 1e-12).sqrt()


def energy_score(first: Tensor, second: Tensor, real: Tensor) -> Tensor:
    """Return the energy score of two draws, over the last axis.

    Parameters
    ----------
    first, second, real : Tensor of shape ``(..., values)``
        Two independent draws, and what was observed.

    Returns
    -------
    Tensor of shape ``(...)``
    """
    apart = _distance(first, real) + _distance(second, real) - _distance(first, second)
    return 0.5 * apart


def energy_loss(first: Tensor, second: Tensor, real: Tensor, before: Tensor, block: int) -> Tensor:
    """Return the mean energy score of frames, blocks, and blocks with the one before them.

    Parameters
    ----------
    first, second, real : Tensor of shape ``(batch, blocks * block, channels)``
        Two rollouts, and how the recording goes on.
    before : Tensor of shape ``(batch, block, channels)``
        The last block of the context, or zeros.
    block : int
        Frames in a block.

    Returns
    -------
    Tensor of shape ``()``
    """
    by_block = [x.reshape(len(x), -1, block * x.shape[-1]) for x in (first, second, real)]
    earlier = before.reshape(len(before), 1, -1)
    pairs = [
        # What came before is given: no gradient reaches another block.
        torch.cat([torch.cat([earlier, x[:, :-1].detach()], dim=1), x], dim=-1)
        for x in by_block
    ]
    scores = [energy_score(*parts).mean() for parts in ((first, second, real), by_block, pairs)]
    return torch.stack(scores).mean()


class RolloutCritic(nn.Module):
    """A transformer that sees a whole sequence in both directions and scores its frames.

    Parameters
    ----------
    channels : int
        Values a frame.
    width, depth, n_heads
        See `ModulatedTransformer`.
    n_conditions : int, default 0
        Numbers that a frame is conditioned on.
    """

    def __init__(self, channels: int, *, width: int, depth: int, n_heads: int, n_conditions: int = 0) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels + 2 * n_conditions, width)
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.transformer = ModulatedTransformer(width, depth, n_heads)
        self.output = nn.Linear(width, 1)

    def forward(self, x: Tensor, times: Tensor, condition: Tensor | None) -> Tensor:
        """Return scores ``(batch, frames)`` of noisy sequences at times ``(batch,)``."""
        if condition is not None:
            given = ~condition.isnan()
            x = torch.cat([x, torch.where(given, condition, 0.0).to(x), given.to(x)], dim=-1)
        told = self.time_embedding(angle_embedding(times.to(x), _N_FREQUENCIES))[:, None]
        scores: Tensor = self.output(self.transformer(self.project_in(x), told))[..., 0]
        return scores


def critic_losses(
    critic: nn.Module, made: Tensor, real: Tensor, times: Tensor, condition: Tensor | None, count: int
) -> tuple[Tensor, Tensor]:
    """Return the relativistic losses of the generator and of the critic.

    Parameters
    ----------
    critic : RolloutCritic
    made, real : Tensor of shape ``(batch, frames, channels)``
        Noisy sequences, of which the first carries the gradient of the rollout.
    times : Tensor of shape ``(batch,)``
        Theirs.
    condition : Tensor of shape ``(batch, frames, width)`` or None
    count : int
        Frames at the end that are scored.

    Returns
    -------
    tuple of Tensor
        Neither has a gradient for the other network.
    """
    fixed: dict[str, Any] = {name: value.detach() for name, value in critic.named_parameters()}
    with torch.no_grad():
        wanted = critic(real, times, condition)[:, -count:]
    reached = functional_call(critic, fixed, (made, times, condition))[:, -count:]
    of_generator = functional.softplus(wanted - reached).mean()
    scores = [critic(x.detach(), times, condition)[:, -count:] for x in (made, real)]
    return of_generator, functional.softplus(scores[0] - scores[1]).mean()
