r"""Importance sampling of events in the space of the noise that paths are made from.

For draws from a mixture q of Gaussians around the event (`event_proposal`), with the shares of the parts as
they were drawn, the weights

.. math:: u_i = \frac{N(w_i; 0, I)}{q(w_i)} \le 10, \qquad \hat P = \frac1n \sum_i u_i\, \ell(G(w_i)),

make the estimate unbiased for the law of the forecaster's paths, whatever the proposals; :math:`\ell` is the
indicator of the event, or its likelihood where events have noise. Averages over the draws with weights
:math:`u_i \ell_i` converge to those over paths in which the event holds.

Where the proposals lie is found from a few hundred plain draws: the closest ones and the centre are the
starts, from which the event is linearised again and again; shares go to the proposals whose draws carry the
weight. That costs about as much as two thousand plain draws a series, much of it in gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.estimators.chunking import map_chunks

from .event_flow import PathEvents, WhiteFlow
from .event_proposal import Linearised, Mixture, matched_factors

__all__ = ["NotDifferentiableError", "WeightedPaths", "weighted_paths"]

PLAIN_SHARE = 0.1
_PILOT = 256  # plain draws among which starts are looked for
_STARTS = 8
_ROUNDS = 6  # of linearising
_TRIALS = 32  # draws of each part by which shares are set
_MOST_COLUMNS = 64

#: Gives white noise of shape (series in the slice, draws, width) of a numbered stream.
Noise = Callable[[slice, int, int, int], Tensor]


class NotDifferentiableError(ValueError):
    """The function of an event has no gradient."""


@dataclass(frozen=True, eq=False)
class WeightedPaths:
    """Draws from proposals.

    Attributes
    ----------
    paths : Tensor of shape (series, draws, horizon, channels)
    log_weights : Tensor of shape (series, draws)
        Log density of the forecaster's law over that of the proposals.
    log_likelihood : Tensor of shape (series, draws)
        Of the events.
    part : Tensor of int64, shape (draws,)
        Which part each draw comes from; draws of one part are independent of each other.
    n_plain : int
        How many of the draws are plain.
    """

    paths: Tensor
    log_weights: Tensor
    log_likelihood: Tensor
    part: Tensor
    n_plain: int


def weighted_paths(flow: WhiteFlow, events: PathEvents, n_draws: int, noise: Noise) -> WeightedPaths:
    """Draw paths around events.

    Parameters
    ----------
    flow : WhiteFlow
    events : PathEvents
    n_draws : int
        Draws a series.
    noise : callable
        Source of white noise, so that a series has the same draws in whatever company.

    Raises
    ------
    NotDifferentiableError
        If the paths' functions carry no gradient.
    """
    most = max(n_draws, _PILOT, _TRIALS * (2 * _STARTS + 1))

    def block(place: slice) -> WeightedPaths:
        return _block(flow, events, n_draws, noise, place)

    blocks = map_chunks(block, flow.n_series, 8 * most * (flow.floats_per_path + 40 * flow.dim))
    return WeightedPaths(
        torch.cat([one.paths for one in blocks]),
        torch.cat([one.log_weights for one in blocks]),
        torch.cat([one.log_likelihood for one in blocks]),
        torch.cat([one.part for one in blocks]),
        blocks[0].n_plain,
    )


def _block(flow: WhiteFlow, events: PathEvents, n_draws: int, noise: Noise, place: slice) -> WeightedPaths:
    mixture, width = _proposals(flow, events, noise(place, 0, _PILOT, flow.dim), place)
    n_parts = mixture.centre.shape[1]
    trial = torch.arange(n_parts).repeat_interleave(_TRIALS).expand(len(mixture.centre), -1)
    tried = _drawn(flow, events, mixture, trial, noise, (1, 2), width, place)
    shares = _shares(mixture, tried, trial)
    part = _allocated(shares, n_draws)
    return _drawn(flow, events, mixture, part, noise, (3, 4), width, place)


def _proposals(flow: WhiteFlow, events: PathEvents, pilot: Tensor, place: slice) -> tuple[Mixture, int]:
    """Linearise the events from several starts, again and again."""
    with torch.no_grad():
        gaps = events.gaps(flow.paths(pilot, place), place)
    signs, noise = events.columns(gaps)
    if gaps.shape[-1] > _MOST_COLUMNS:
        raise ValueError(
            f"importance sampling takes events of at most {_MOST_COLUMNS} values a path, got "
            f"{gaps.shape[-1]}; combine them in one function (for example their maximum)"
        )
    spread = gaps.std(1, keepdim=True).clamp_min(1e-12) + noise
    score = torch.where(signs == 0.0, -gaps.abs(), signs * gaps) / spread
    closest = score.amin(-1).topk(_STARTS - 1, dim=1).indices
    starts = torch.gather(pilot, 1, closest[..., None].expand(-1, -1, pilot.shape[-1]))
    point = torch.cat([torch.zeros_like(starts[:, :1]), starts], dim=1).double()
    for round_ in range(_ROUNDS):
        linear = _linearised(flow, events, point, place)
        centre, precision = matched_factors(linear, signs.cpu(), noise.cpu())
        # Whole steps at first, shorter ones later: curved events would make them swing.
        point = centre if round_ == 0 else point + (centre - point) * (0.9 if round_ < 3 else 0.5)
    return Mixture.around(centre, linear.jacobian, precision, signs.cpu()), gaps.shape[-1]


def _linearised(flow: WhiteFlow, events: PathEvents, point: Tensor, place: slice) -> Linearised:
    """Linearise at points of shape (series, starts, dim); on the CPU in float64."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = point.detach().clone().requires_grad_(True)
        try:
            gaps = events.gaps(flow.paths(leaf, place), place)
        except RuntimeError as error:  # numpy() of a tensor that requires a gradient
            raise NotDifferentiableError(_NO_GRADIENT) from error
        if not gaps.requires_grad:
            raise NotDifferentiableError(_NO_GRADIENT)
        rows = [torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0] for column in gaps.unbind(-1)]
    values = gaps.detach().cpu().double()
    return Linearised.at(point.detach(), values, torch.nan_to_num(torch.stack(rows, dim=-2)))


_NO_GRADIENT = (
    "the function of an event cannot be differentiated: use torch operations on the paths throughout "
    "(no numpy, no comparisons), or method='monte_carlo'"
)


def _drawn(
    flow: WhiteFlow, events: PathEvents, mixture: Mixture, part: Tensor, noise: Noise,
    streams: tuple[int, int], width: int, place: slice,
) -> WeightedPaths:  # fmt: skip
    """Draw from given parts and weigh against the mixture with the shares drawn."""
    n_draws = part.shape[1]
    white = noise(place, streams[0], n_draws, flow.dim).double()
    points = mixture.draw(part, white, noise(place, streams[1], n_draws, width).double())
    with torch.no_grad():
        paths = flow.paths(points, place)
        likelihood = events.log_likelihood(events.gaps(paths, place)).cpu()
    counts = torch.nn.functional.one_hot(part, mixture.centre.shape[1]).sum(1).double()
    log_shares = torch.log(counts / n_draws)[:, None]
    log_weights = -torch.logsumexp(log_shares + mixture.log_ratios(points), dim=-1)
    n_plain = int((part[0] == 0).sum())
    return WeightedPaths(paths.cpu(), log_weights, likelihood, part, n_plain)


def _shares(mixture: Mixture, tried: WeightedPaths, part: Tensor) -> Tensor:
    """Return shares of the parts by the weight of the event that their draws found, shape (series, parts)."""
    weight = tried.log_weights + tried.log_likelihood
    top = weight.amax(1, keepdim=True)
    found = torch.where(torch.isfinite(top), torch.exp(weight - top), 0.0)
    total = torch.zeros(mixture.centre.shape[:2], dtype=found.dtype).scatter_add_(1, part, found)[:, 1:]
    even = torch.full_like(total, 1.0 / total.shape[1])
    share = total / total.sum(1, keepdim=True).clamp_min(1e-300)
    share = torch.where(total.sum(1, keepdim=True) > 0.0, 0.8 * share + 0.2 * even, even)
    plain = torch.full_like(share[:, :1], PLAIN_SHARE)
    return torch.cat([plain, (1.0 - PLAIN_SHARE) * share], dim=1)


def _allocated(shares: Tensor, n_draws: int) -> Tensor:
    """Return a part for each draw, in numbers proportional to the shares, shape (series, draws)."""
    places = (torch.arange(n_draws, dtype=shares.dtype) + 0.5) / n_draws
    edges = shares.cumsum(1)
    part = torch.searchsorted(edges, places.expand(len(shares), -1).contiguous())
    return part.clamp_max(shares.shape[1] - 1)
