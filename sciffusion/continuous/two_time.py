r"""Two-time interpolants: regression and generation in one model (construction of this library).

For pairs of data x and an observation y of the same shape (a degraded copy, a forecast, a blurred field) and
noise :math:`z \sim N(0, I)`, the state has a *regression time* r and a *generation time* g, both in [0, 1]
and independent of each other:

.. math:: X_{r,g} = (1 - r)\,y + r\,x + \gamma_g z, \qquad \gamma_g = \gamma_1 g .

Given y, moving r and g moves the law of the state by two velocity fields that are affine in two *heads*,

.. math::
   b_r = \hat x - y, \quad b_g = \gamma'_g\,\hat z, \qquad
   \hat x = E[x | X, y], \quad \hat z = E[z | X, y], \qquad
   r \hat x + \gamma_g \hat z = X - (1 - r)\,y ,

and along any curve in the (r, g) plane :math:`dX = b_r\,dr + b_g\,dg` carries the law of :math:`X_{r,g}`.
Inference is a curve that ends at (1, 0), where the state is x (`sciffusion.sampling.follow_curve`):

- from (0, 0), where :math:`X = y`, one step along :math:`g = 0` gives :math:`E[x|y]`: **regression**;
- from (0, 1), where :math:`X = y + \gamma_1 z`, a curve in small steps gives draws of :math:`p(x|y)`:
  **generation**.

**The network.**  With :math:`W = X - y`, s the standard deviation of :math:`x - y`,
:math:`R = \sqrt{r^2 s^2 + \gamma^2}` and :math:`\varphi = \arctan(\gamma / (r s))`,

.. math::
   \hat x = y + \frac{r s^2}{R^2} W + \frac{\gamma s}{R} F, \qquad
   \hat z = \frac{\gamma}{R^2} W - \frac{r s}{R} F, \qquad F = F(W/R, \varphi, g, y) ,

so that one output gives both heads and obeys the relation between them.  The corner (0, 0) counts as part of
the edge r = 0: the network is asked for the mean of :math:`(x - y)/s` there.  The loss

.. math:: \lVert \hat x - x \rVert^2 / s^2 + \lVert \hat z - z \rVert^2

is the plain squared error of F.  Both edges, r = 0 and g = 0, are trained with a probability of their own.

The idea of two independent times is from Liu and others, *Disentangling Generation and Regression in
Stochastic Interpolants for Controllable Image Restoration*, arXiv 2605.21381; the equations here are ours.
Interpolants with noise: Albergo, Boffi and Vanden-Eijnden, *Stochastic Interpolants*, arXiv 2303.08797.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sciffusion.continuous.path import align, as_times, match_times

__all__ = [
    "GaussianHeads",
    "NetworkHeads",
    "TwoTimeHeads",
    "TwoTimeInterpolant",
    "TwoTimeObjective",
    "TwoTimePrediction",
]


class TwoTimePrediction(NamedTuple):
    """The two heads: what is believed about the data and about the noise."""

    clean: Tensor
    noise: Tensor


@dataclass(frozen=True)
class TwoTimeInterpolant:
    """The state between an observation and the data (see the module's first equation).

    Parameters
    ----------
    noise_scale : float, default 1
        Standard deviation of the noise at generation time 1, in the units of the data; about that of
        ``x - y`` or larger.
    """

    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.noise_scale > 0.0:
            raise ValueError(f"noise_scale must be positive, got {self.noise_scale}")

    def noise_level(self, g: Tensor | float) -> Tensor:
        """Return the noise level at generation times ``g``, float64."""
        return self.noise_scale * as_times(g)

    def state(self, x: Tensor, y: Tensor, noise: Tensor, r: Tensor | float, g: Tensor | float) -> Tensor:
        """Return the state of a pair.

        Parameters
        ----------
        x, y, noise : Tensor
            Data, observation and standard normal noise of one shape.
        r, g : Tensor or float
            Times in [0, 1], each of a shape that is a prefix of that of ``x``.

        Returns
        -------
        Tensor
            Of the shape of ``x``.
        """
        r = as_times(r)
        return align(1.0 - r, y) * y + align(r, x) * x + align(self.noise_level(g), noise) * noise


class TwoTimeHeads(Protocol):
    """Anything that predicts data and noise of a state between an observation and the data."""

    @property
    def interpolant(self) -> TwoTimeInterpolant:
        """The interpolant whose states it knows."""
        ...

    def __call__(
        self, state: Tensor, r: Tensor | float, g: Tensor | float, y: Tensor, condition: Any = None
    ) -> TwoTimePrediction:
        """Predict for states at times ``r`` and ``g``, each a prefix of the shape of ``state``."""
        ...


class GaussianHeads:
    r"""The exact heads of a pair that is jointly normal, :math:`x | y \sim N(A y + b, S)`.

    With the eigenvalues v of S and :math:`W' = X - (1 - r) y - r (A y + b)`, in the eigenbasis,

    .. math::
       \hat x = A y + b + \frac{r v}{r^2 v + \gamma^2} W', \quad
       \hat z = \frac{\gamma}{r^2 v + \gamma^2} W' .

    Parameters
    ----------
    interpolant : TwoTimeInterpolant
        Of the states.
    gain : Tensor
        A, shape ``(dim, dim)``.
    offset : Tensor
        b, shape ``(dim,)``.
    covariance : Tensor
        S, shape ``(dim, dim)``.
    """

    def __init__(
        self, interpolant: TwoTimeInterpolant, gain: Tensor, offset: Tensor, covariance: Tensor
    ) -> None:
        dim = offset.shape[0]
        if offset.ndim != 1 or gain.shape != (dim, dim) or covariance.shape != (dim, dim):
            raise ValueError(
                "expected gain (dim, dim), offset (dim,) and covariance (dim, dim), got "
                f"{tuple(gain.shape)}, {tuple(offset.shape)} and {tuple(covariance.shape)}"
            )
        self.interpolant = interpolant
        self.gain, self.offset = gain.to(torch.float64), offset.to(torch.float64)
        self.covariance = covariance.to(torch.float64)
        variances, self._basis = torch.linalg.eigh(self.covariance)
        if float(variances.min()) < -1e-10 * float(variances.max()):
            raise ValueError(f"covariance must not have negative eigenvalues, got {float(variances.min())}")
        self.variances = variances.clamp_min(0.0)

    @classmethod
    def of_observation(
        cls, interpolant: TwoTimeInterpolant, covariance: Tensor, operator: Tensor, noise_std: float
    ) -> GaussianHeads:
        """Return the heads of ``x ~ N(0, covariance)`` seen as ``y = operator x + noise_std noise``."""
        prior, operator = covariance.to(torch.float64), operator.to(torch.float64)
        seen = operator @ prior @ operator.mT + noise_std**2 * torch.eye(len(operator), dtype=torch.float64)
        gain = torch.linalg.solve(seen, operator @ prior).mT
        left = prior - gain @ operator @ prior
        return cls(interpolant, gain, torch.zeros(len(prior), dtype=torch.float64), 0.5 * (left + left.mT))

    def mean(self, y: Tensor) -> Tensor:
        """Return ``E[x | y]``, of the shape of ``y``."""
        mean: Tensor = y.to(torch.float64) @ self.gain.mT + self.offset
        return mean.to(y.dtype)

    def draw(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from ``p(x | y)`` for every ``y``."""
        white = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        deviation: Tensor = (self.variances.sqrt() * white) @ self._basis.mT
        return self.mean(y) + deviation.to(y.dtype)

    def __call__(
        self, state: Tensor, r: Tensor | float, g: Tensor | float, y: Tensor, condition: Any = None
    ) -> TwoTimePrediction:
        """Return the exact heads, of the type of ``state``."""
        if state.shape != y.shape or y.shape[-1:] != self.offset.shape:
            raise ValueError(
                f"expected states and observations of shape (..., {len(self.offset)}), got "
                f"{tuple(state.shape)} and {tuple(y.shape)}"
            )
        wide, seen = state.to(torch.float64), y.to(torch.float64)
        at, level = align(as_times(r), wide), align(self.interpolant.noise_level(g), wide)
        if (at.ndim and at.shape[-1] > 1) or (level.ndim and level.shape[-1] > 1):
            raise ValueError("the exact heads are known for one pair of times an item")
        mean = self.mean(seen)
        rest = (wide - (1.0 - at) * seen - at * mean) @ self._basis
        total = at**2 * self.variances + level**2
        share = torch.where(total > 0.0, 1.0 / torch.where(total > 0.0, total, 1.0), 0.0)
        clean = mean + (at * self.variances * share * rest) @ self._basis.mT
        noise = (level * share * rest) @ self._basis.mT
        return TwoTimePrediction(clean.to(state.dtype), noise.to(state.dtype))


class NetworkHeads(nn.Module):
    r"""A network as heads; see the module's equations.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(values, angle, g, inputs)`` with values of about unit variance, the angle
        :math:`2\varphi/\pi` in [0, 1] (1 where r = 0), the generation time and, as its condition, ``y`` and
        what else is given, joined on the last axis; `sciffusion.networks.TwoTimeMLP` is one.
    interpolant : TwoTimeInterpolant
        Of the states.
    residual_std : float
        Standard deviation s of ``x - y``, in their units.
    observation_scale : float, default 1
        ``y`` is divided by it before the network sees it.
    """

    def __init__(
        self,
        network: nn.Module,
        interpolant: TwoTimeInterpolant,
        residual_std: float,
        observation_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not (residual_std > 0.0 and observation_scale > 0.0):
            raise ValueError(
                "residual_std and observation_scale must be positive, got "
                f"{residual_std} and {observation_scale}"
            )
        self.network = network
        self.interpolant = interpolant
        self.residual_std = residual_std
        self.observation_scale = observation_scale

    def forward(
        self, state: Tensor, r: Tensor | float, g: Tensor | float, y: Tensor, condition: Any = None
    ) -> TwoTimePrediction:
        """Run the network once.

        Parameters
        ----------
        state, y : Tensor
            Of one shape ``(..., dim)``.
        r, g : Tensor or float
            Times in [0, 1], prefixes of the shape of ``state``.
        condition : Tensor, optional
            Shape ``(..., n_conditions)``.

        Returns
        -------
        TwoTimePrediction
            Both of the shape of ``state``.
        """
        r, g = match_times(r, g)
        signal, level = r * self.residual_std, self.interpolant.noise_level(g)
        scale = torch.hypot(signal, level)
        corner = scale == 0.0
        inverse = torch.where(corner, 0.0, 1.0 / torch.where(corner, 1.0, scale))
        # The corner belongs to the edge r = 0, where all is noise.
        cosine, sine = signal * inverse, torch.where(corner, 1.0, level * inverse)
        angle = torch.atan2(sine, cosine) / (0.5 * math.pi)
        moved = align(inverse, state) * (state - y)
        inputs = [y / self.observation_scale] + ([] if condition is None else [condition])
        times = [time.to(state.dtype).to(state.device) for time in (angle, g)]
        value = self.network(moved, *times, torch.cat(inputs, dim=-1))
        if value.shape != state.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for a state of shape {tuple(state.shape)}; "
                "expected equal shapes"
            )
        along, across = align(cosine, state), align(sine, state)
        clean = y + self.residual_std * (along * moved + across * value)
        noise = across * moved - along * value
        return TwoTimePrediction(clean, noise)


@dataclass(frozen=True)
class TwoTimeObjective:
    """Loss of two heads, in the form that `sciffusion.training.fit_network` takes.

    Parameters
    ----------
    edge : float, default 0.2
        Probability that r is 0, and, independently, that g is; else each is uniform on [0, 1].  In the corner
        the state is the observation itself: that is where regression starts.

    Raises
    ------
    ValueError
        For a probability outside [0, 1].
    """

    edge: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.edge <= 1.0:
            raise ValueError(f"edge must lie in [0, 1], got {self.edge}")

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        model : NetworkHeads
            What is trained.
        batch : tuple of Tensor
            Data and observations of shape ``(rows, ..., dim)`` and, optionally, the condition.
        generator : torch.Generator
            For times and noise.

        Returns
        -------
        Tensor
            Scalar.
        """
        if not isinstance(model, NetworkHeads):
            raise TypeError(f"expected NetworkHeads, got {type(model).__name__}")
        x, y, condition = batch[0], batch[1], batch[2] if len(batch) > 2 else None
        draws = torch.rand(4, len(x), generator=generator, device=generator.device).to(x.device)
        r, g = (torch.where(draws[k] < self.edge, 0.0, draws[k + 1]) for k in (0, 2))
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
        losses = self.losses(model, model.residual_std, x, y, noise.to(x.device), r, g, condition)
        return losses.mean()

    @staticmethod
    def losses(
        heads: TwoTimeHeads,
        residual_std: float,
        x: Tensor,
        y: Tensor,
        noise: Tensor,
        r: Tensor | float,
        g: Tensor | float,
        condition: Any = None,
    ) -> Tensor:
        """Return the loss of every element for given times and noise, of the shape of ``x``."""
        state = heads.interpolant.state(x, y, noise, r, g)
        found = heads(state, r, g, y, condition)
        return (found.clean - x).square() / residual_std**2 + (found.noise - noise).square()
