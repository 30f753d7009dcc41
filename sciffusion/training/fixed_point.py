r"""Distillation of a discrete diffusion into one step, by the fixed point of "corrupt a draft, refine it".

A student maps noise tokens z to laws of all sites at once, :math:`p_\theta(x^l \mid z)`; a sample draws every
site from its law. Given z the sites are independent, and z makes them depend on each other: without it one
step could give products of marginal laws only.

What the student should become is known through the teacher alone. A draft h of the student is corrupted to
keep probability 1 - r, and the teacher refines it to :math:`h^+` in a few steps. Drafts that the teacher
would not make are moved, drafts of the teacher's law are left in it (up to the bias below), so the student's
law is moved towards that of the refined drafts. With features u of drafts, :math:`u^+` of refined ones and a
bandwidth b, the drift of draft i is

.. math:: V_b(u_i) = \sum_{j \ne i} \operatorname{softmax}_j\!\Bigl(-\frac{|u_i - u_j^+|}{b}\Bigr) u_j^+
   - \sum_{j \ne i} \operatorname{softmax}_j\!\Bigl(-\frac{|u_i - u_j|}{b}\Bigr) u_j ,

and the loss is the mean over bandwidths of :math:`|u - \mathrm{sg}(u + V_b)|^2`, with hard tokens forward and
the gradient of the probabilities backward (straight through). That gradient takes V at the token drawn for a
change to another token. ``gradient="exchange"`` asks for the logarithm of the ratio of the two kernel
densities at every sequence that differs from the draft in one token, and follows the exact gradient of its
mean; the cost is one set of features for each, and no call of the teacher.

What is exact and what is not: the aim is the stationary law of "corrupt a share r, refine", and this is not
the teacher's law, since sites that are refined in the same step do not know of each other. The bias falls
with r and with the number of refining steps, and `refinement_kernel` with `stationary_law` give it for small
spaces; as r falls, a draft says less about where to go, and training takes longer.

This is a construction of this library after the abstract of Wang and Tong, *One-Step Distillation of Discrete
Diffusion Image Generators via Fixed-Point Iteration*, arXiv 2605.21484, whose details were not at hand; the
drift is of the form of Deng et al., arXiv 2602.04770.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sciffusion.discrete import Corrupted, DiscreteDenoiser, draw_categorical

__all__ = [
    "DriftGradient",
    "FixedPointDistillation",
    "bigram_features",
    "drift_field",
    "refinement_kernel",
    "stationary_law",
]

DriftGradient = Literal["straight_through", "exchange"]

#: Log ratios of kernel densities beyond this say only that a batch holds no neighbour.
_LARGEST_LOG_RATIO = 8.0


def bigram_features(onehot: Tensor) -> Tensor:
    """Return the tokens of all sites and the pairs of neighbouring ones, all one-hot.

    Parameters
    ----------
    onehot : Tensor of shape ``(items, sites, vocab_size)``
        One-hot tokens.

    Returns
    -------
    Tensor
        Shape ``(items, sites * vocab_size + (sites - 1) * vocab_size ** 2)``.
    """
    pairs = onehot[:, :-1, :, None] * onehot[:, 1:, None, :]
    return torch.cat([onehot.flatten(1), pairs.flatten(1)], dim=1)


def _distances(drafts: Tensor, refined: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances to refined drafts and to drafts; of a draft to itself and its own refinement, inf.

    A draft and its refinement share most tokens: counted, it would say that a draft is right where it is.
    """
    apart = torch.cdist(drafts, refined), torch.cdist(drafts, drafts)
    for distance in apart:
        distance.fill_diagonal_(math.inf)
    return apart


def drift_field(drafts: Tensor, refined: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
    """Return the mean drift over bandwidths of the module's equation.

    Parameters
    ----------
    drafts, refined : Tensor of shape ``(items, features)``
        Features of drafts and of their refinements.
    bandwidths : tuple of float
        In units of distances between features.
    """
    to_refined, to_drafts = _distances(drafts, refined)
    total = torch.zeros_like(drafts)
    for b in bandwidths:
        total += torch.softmax(-to_refined / b, -1) @ refined - torch.softmax(-to_drafts / b, -1) @ drafts
    return total / len(bandwidths)


class FixedPointDistillation:
    """The objective of a one-step student, for `fit_network`.

    Called as ``objective(student, (noise,), generator)``, with ``student(noise)`` giving logits of shape
    ``(items, sites, vocab_size)`` for rows of noise; the rows given to `fit_network` are noise drawn
    beforehand, of any shape that the student reads.

    Parameters
    ----------
    teacher : DiscreteDenoiser
        What refines; its ``path`` makes the noise. Not trained.
    features : callable, default `bigram_features`
        From one-hot tokens ``(items, sites, vocab_size)`` to features ``(items, features)``, differentiable.
    fraction : (float, float), default (0.3, 0.7)
        Range of the corrupted share r, drawn uniformly for each draft.
    refinements : int, default 1
        Steps of the teacher, evenly spaced in the keep probability.
    bandwidths : tuple of float, default (0.3, 1)
        Of the kernel, in units of distances between features.
    gradient : {"straight_through", "exchange"}, default "straight_through"
        See the module.

    Raises
    ------
    ValueError
        For settings outside their range, and when called for a single draft, which has no other to go by.
    """

    def __init__(
        self,
        teacher: DiscreteDenoiser,
        features: Callable[[Tensor], Tensor] = bigram_features,
        *,
        fraction: tuple[float, float] = (0.3, 0.7),
        refinements: int = 1,
        bandwidths: tuple[float, ...] = (0.3, 1.0),
        gradient: DriftGradient = "straight_through",
    ) -> None:
        low, high = fraction
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"fraction must be (lo, hi) with 0 < lo <= hi <= 1, got {fraction}")
        if refinements < 1:
            raise ValueError(f"refinements must be at least 1, got {refinements}")
        if not bandwidths or not all(b > 0.0 for b in bandwidths):
            raise ValueError(f"bandwidths must be positive, and at least one, got {bandwidths}")
        if gradient not in get_args(DriftGradient):
            raise ValueError(f"gradient must be one of {get_args(DriftGradient)}, got {gradient!r}")
        self.teacher, self.features = teacher, features
        self.fraction, self.refinements = (float(low), float(high)), refinements
        self.bandwidths, self.gradient = bandwidths, gradient

    def __call__(self, student: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch of noise."""
        if len(batch[0]) < 2:
            raise ValueError(f"drafts are compared: expected at least 2 in a batch, got {len(batch[0])}")
        probabilities = torch.softmax(student(batch[0]), -1)
        drafts = draw_categorical(torch.log(probabilities.detach()), generator).to(probabilities.device)
        with torch.no_grad():
            target = self.features(_onehot(self.refine(drafts, generator), probabilities))
        hard = _onehot(drafts, probabilities)
        if self.gradient == "exchange":
            return (
                -(probabilities * self._log_ratios(hard, target, probabilities.detach())).sum((-1, -2)).mean()
            )
        features = self.features(hard + probabilities - probabilities.detach())
        with torch.no_grad():
            aim = features + drift_field(features, target, self.bandwidths)
        return ((features - aim) ** 2).sum(-1).mean()

    @torch.no_grad()
    def refine(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Corrupt a random share of each sequence and let the teacher draw it anew.

        Parameters
        ----------
        tokens : Tensor of int64, shape ``(items, sites)``
            Clean tokens.
        generator : torch.Generator
            Source of randomness.
        """
        process, (low, high) = self.teacher.path, self.fraction
        drawn = torch.rand(len(tokens), generator=generator, dtype=torch.float64, device=generator.device)
        keep = (1.0 - low - (high - low) * drawn).to(tokens.device)
        times = _step_times(process, keep, self.refinements)
        noisy = process.corrupt(tokens, times[0], generator)
        x, aux = noisy.x, noisy.aux
        for t, s in pairwise(times):
            state = Corrupted(x, t, aux)
            law = self.teacher(state).reverse_log_probabilities(process, state, s)
            x = draw_categorical(law, generator).to(x)
        return x

    @torch.no_grad()
    def _log_ratios(self, drafts: Tensor, target: Tensor, probabilities: Tensor) -> Tensor:
        """Return the log ratio of refined and draft densities after each exchange of one token.

        Less its mean under the student's law of the site, which leaves the gradient as it is.
        """
        items, sites, vocab_size = drafts.shape
        changed = drafts[:, None, None].repeat(1, sites, vocab_size, 1, 1)
        for site in range(sites):
            changed[:, site, :, site] = torch.eye(vocab_size, dtype=drafts.dtype, device=drafts.device)
        points = self.features(changed.reshape(-1, sites, vocab_size))
        own = torch.arange(items, device=drafts.device)
        total = torch.zeros(items, sites * vocab_size, dtype=drafts.dtype, device=drafts.device)
        logs = []
        for others in (target, self.features(drafts)):
            distance = torch.cdist(points, others).reshape(items, -1, items)
            distance[own, :, own] = math.inf
            logs.append([torch.logsumexp(-distance / b, -1) for b in self.bandwidths])
        for refined, drawn in zip(*logs, strict=True):
            total += (refined - drawn).clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
        ratios = total.reshape(items, sites, vocab_size) / len(self.bandwidths)
        return ratios - (ratios * probabilities).sum(-1, keepdim=True)


def _onehot(tokens: Tensor, like: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(tokens.long(), like.shape[-1]).to(like)


def _step_times(process: Any, keep: Tensor, steps: int) -> list[Tensor]:
    """Return the times of a refinement that starts from a keep probability, evenly spaced in it."""
    return [process.schedule.time_of_keep(keep + (1.0 - keep) * k / steps) for k in range(steps + 1)]


def refinement_kernel(
    teacher: DiscreteDenoiser, length: int, fraction: float, refinements: int = 1
) -> Tensor:
    """Return the exact transition matrix of "corrupt a share, refine" over all clean sequences.

    Parameters
    ----------
    teacher : DiscreteDenoiser
        What refines.
    length : int
        Number of sites; there may be few sequences only.
    fraction : float
        The corrupted share r in (0, 1].
    refinements : int, default 1
        Steps of the teacher.

    Returns
    -------
    Tensor of shape ``(vocab_size ** length, vocab_size ** length)``
        Rows are laws, of sequences in lexicographic order.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
    process = teacher.path
    noisy = torch.cartesian_prod(*[torch.arange(process.state_size)] * length).reshape(-1, length)
    clean = (noisy < process.vocab_size).all(-1)
    start = torch.tensor(1.0 - fraction, dtype=torch.float64)
    times = _step_times(process, start, refinements)
    site = process.push(torch.eye(process.vocab_size, dtype=torch.float64), times[0])
    kernel = _product(site[noisy[clean]], noisy)
    for t, s in pairwise(times):
        # Only what can be reached is asked of the teacher: elsewhere laws may be undefined.
        reached = (kernel > 0.0).any(0)
        state = Corrupted(noisy[reached], t)
        law = torch.exp(teacher(state).reverse_log_probabilities(process, state, s))
        kernel = kernel[:, reached] @ _product(law, noisy)
    return kernel[:, clean]


def _product(sites: Tensor, sequences: Tensor) -> Tensor:
    """Return the probability of every sequence under rows of independent sites."""
    parts = [sites[:, place][:, sequences[:, place]] for place in range(sequences.shape[1])]
    return torch.stack(parts).prod(0)


def stationary_law(kernel: Tensor) -> Tensor:
    """Return the law that a transition matrix with a single one leaves unchanged.

    Parameters
    ----------
    kernel : Tensor of shape ``(states, states)``
        Rows are laws.
    """
    system = kernel.T - torch.eye(len(kernel), dtype=kernel.dtype)
    system[0] = 1.0
    right = torch.zeros(len(kernel), dtype=kernel.dtype)
    right[0] = 1.0
    law: Tensor = torch.linalg.solve(system, right)
    return law.clamp_min(0.0)
