r"""Classifier guidance of tokens.

A classifier that knows noisy tokens, :math:`\log p(c \mid x_t, t)`, tilts the law of every site in a step,

.. math:: \log p^w(x_s^l = y \mid x_t) = \log p(x_s^l = y \mid x_t)
   + w \log p(c \mid x_t^{l := y}, t) + \text{const},

where :math:`x_t^{l := y}` has token y at site l. The exact mode asks the classifier for every such sequence,
at most L (S - 1) + 1 calls an item for L sites and S noisy tokens; the first-order mode takes the gradient g
of one call with respect to the one-hot tokens, with :math:`g_{l,y} - g_{l,x_t^l}` in place of the difference.
Sites that a step cannot change (revealed ones of a mask, known ones) are left out.

What is exact and what is not, for scale 1 and a classifier that is right about noisy tokens: for masks the
exact mode gives the reverse law of each site given c, so only the dependence of sites in one step is lost,
as without guidance. For other processes it does so in the limit of small steps. The first order is exact only
for a classifier whose log probability is linear in the one-hot tokens, at any number of steps.

The function may be any log weight of noisy tokens, not only that of a classifier: `discrete_tilt` proposes
with it and weighs.

Schiff et al., *Simple Guidance Mechanisms for Discrete Diffusion Models*, arXiv 2412.10193.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sciffusion.discrete.process import site_times
from sciffusion.discrete.schedules import wide
from sciffusion.discrete.solvers.base import with_still_sites
from sciffusion.sampling.guidance.base import Guidance
from sciffusion.sampling.guidance.transition import TiltedTransition

__all__ = ["ClassifierMode", "DiscreteClassifier", "LogClassifier", "checked_log_weights", "times_of_sites"]

ClassifierMode = Literal["exact", "first_order"]

#: From tokens ``(items, sites)``, or one-hot tokens ``(items, sites, state_size)``, and float64 times
#: ``(items, sites)`` to log probabilities ``(items,)``.
LogClassifier = Callable[[Tensor, Tensor], Tensor]


def checked_log_weights(values: Any, x: Tensor, name: str = "log_classifier") -> Tensor:
    """Return log weights in float64 if there is one for each item and none is NaN or +inf.

    Parameters
    ----------
    values : Tensor
        What a function returned for ``x``.
    x : Tensor
        Shape ``(items, ...)``.
    name : str
        Of the function, for the message.

    Raises
    ------
    TypeError
        If no tensor was returned.
    ValueError
        For another shape, or values that are NaN or +inf, naming the first sequence.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must return a Tensor, got {type(values).__name__}")
    if values.shape != x.shape[:1]:
        raise ValueError(
            f"{name} must return one number an item, shape {tuple(x.shape[:1])}; got {tuple(values.shape)}"
        )
    bad = (values.isnan() | (values == torch.inf)).nonzero()[:, 0]
    if len(bad):
        tokens = x[bad[0]].argmax(-1) if x.dtype.is_floating_point else x[bad[0]]
        raise ValueError(
            f"{name} must return finite log probabilities, or -inf; got {float(values[bad[0]])} for "
            f"{len(bad)} of {len(x)} sequences, the first being {tokens.tolist()}"
        )
    return wide(values)


def times_of_sites(state: Any) -> Tensor:
    """Return the time of every site on the device of the tokens, float64 where the device knows it."""
    times = site_times(state.t, state.x).expand(state.x.shape)
    return (times.float() if state.x.device.type == "mps" else times).to(state.x.device)


class DiscreteClassifier(Guidance):
    """Guidance of tokens by a classifier of noisy tokens.

    Parameters
    ----------
    log_classifier : callable
        From noisy tokens, int64 of shape ``(items, sites)``, and their times, float64 of the same shape, to
        the log probability of the class wanted, of shape ``(items,)``; ``-inf`` for what cannot be. In mode
        "first_order" it gets one-hot tokens ``(items, sites, state_size)`` in place of tokens, and must be
        differentiable with respect to them, each item by itself.
    mode : {"exact", "first_order"}, default "exact"
        See the module.
    scale : float, default 1
        w of the module's equation, not negative; 1 is Bayes' rule.
    chunk : int, default 8192
        Largest number of sequences in one call of the classifier, which bounds the memory of the exact mode.
    dtype : torch.dtype, default torch.float32
        Of the one-hot tokens.

    Raises
    ------
    TypeError
        For a classifier that is no function, or returns no tensor.
    ValueError
        For settings outside their range; in a run for log probabilities of a wrong shape, NaN or +inf.

    Notes
    -----
    Calls of the classifier are not network evaluations of the denoiser and do not enter the run's nfe.
    Particles that ask for clean tokens on the way (`TokenSteering`) cost no further ones.
    """

    nfe = 1

    def __init__(
        self,
        log_classifier: LogClassifier,
        mode: ClassifierMode = "exact",
        scale: float = 1.0,
        chunk: int = 8192,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not callable(log_classifier):
            raise TypeError(f"log_classifier must be a function, got {type(log_classifier).__name__}")
        if mode not in get_args(ClassifierMode):
            raise ValueError(f"mode must be one of {get_args(ClassifierMode)}, got {mode!r}")
        if not (math.isfinite(scale) and scale >= 0.0):
            raise ValueError(f"scale must be finite and not negative, got {scale}")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 sequence, got {chunk}")
        self.log_classifier = log_classifier
        self.mode = mode
        self.scale = float(scale)
        self.chunk = chunk
        self.dtype = dtype
        self.differentiates = mode == "first_order"

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        """Return the guided prediction (see `Guidance.on_prediction`)."""
        prediction = denoiser(state, condition, cache)
        if self.scale == 0.0:
            return prediction
        if state.x.ndim != 2:
            raise ValueError(f"expected tokens of shape (items, sites), got shape {tuple(state.x.shape)}")
        end = torch.zeros_like(state.t)
        law = prediction.reverse_log_probabilities(denoiser.path, state, end)
        law = with_still_sites(law, state, end)
        free = (law > -torch.inf).sum(-1) > 1
        tilt = (self._exact if self.mode == "exact" else self._first_order)(state, free, law.shape[-1])
        return TiltedTransition(prediction, self.scale * torch.where(free[..., None], tilt.to(law), 0.0))

    def _exact(self, state: Any, free: Tensor, state_size: int) -> Tensor:
        """Return the log probabilities of the class at every token of every free site."""
        x = state.x.long()
        times = times_of_sites(state)
        own = self._classified(x, times)
        items, sites = free.to(x.device).nonzero(as_tuple=True)
        # Every token but the present one, whose value is shared by all sites of an item.
        shift = torch.arange(1, state_size, device=x.device)
        tokens = (x[items, sites][:, None] + shift) % state_size
        rows = torch.arange(len(items), device=x.device)[:, None].expand_as(tokens).reshape(-1)
        tilt = own.reshape(-1, 1, 1).expand(*x.shape, state_size).clone()
        for part in self._parts(len(rows)):
            item, site, token = items[rows[part]], sites[rows[part]], tokens.reshape(-1)[part]
            changed = x[item]
            changed[torch.arange(len(item), device=x.device), site] = token
            values = self._ask(changed, times[item])
            place = [index.to(tilt.device) for index in (item, site, token)]
            tilt[place[0], place[1], place[2]] = values.to(tilt.device)
        return tilt

    def _parts(self, rows: int) -> list[slice]:
        return [slice(start, start + self.chunk) for start in range(0, rows, self.chunk)]

    def _classified(self, x: Tensor, times: Tensor) -> Tensor:
        return torch.cat([self._ask(x[part], times[part]) for part in self._parts(len(x))])

    def _ask(self, x: Tensor, times: Tensor) -> Tensor:
        return checked_log_weights(self.log_classifier(x, times), x)

    def _first_order(self, state: Any, free: Tensor, state_size: int) -> Tensor:
        """Return the gradient of the log probability with respect to the one-hot tokens."""
        x = state.x.long()
        times = times_of_sites(state)
        gradients = []
        for part in self._parts(len(x)):
            with torch.enable_grad():
                onehot = torch.nn.functional.one_hot(x[part], state_size).to(self.dtype).requires_grad_()
                (gradient,) = torch.autograd.grad(self._ask(onehot, times[part]).sum(), onehot)
            gradients.append(wide(gradient))
        tilt = torch.cat(gradients)
        bad = (~tilt.isfinite()).flatten(1).any(-1).nonzero()[:, 0]
        if len(bad):
            raise ValueError(
                f"the gradient of log_classifier is not finite for {len(bad)} of {len(x)} items, the first "
                f"being {x[bad[0].to(x.device)].tolist()}"
            )
        return tilt
