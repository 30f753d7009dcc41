r"""What noisy tokens say about the properties of the molecule: a network that guides.

The network gives a normal law of the properties given noisy tokens,
:math:`p(y \mid x_t, t) \approx N(m(x_t, t), s^2(x_t, t))`, and is trained by its log likelihood on corrupted
molecules at uniform times. The log weight of noisy tokens that a guided sampler needs is then known in closed
form, for a tilt of strength :math:`\lambda` by a property, and for a target v with tolerance w:

.. math::
   \log E[e^{\lambda y} \mid x_t] = \lambda m + \tfrac12\lambda^2 s^2, \qquad
   \log E\Bigl[e^{-\lambda (y - v)^2 / 2 w^2} \Bigm| x_t\Bigr]
   = -\tfrac12\log\Bigl(1 + \frac{\lambda s^2}{w^2}\Bigr) - \frac{\lambda (v - m)^2}{2 (w^2 + \lambda s^2)}.

Were the normal law right, a sampler guided by it would follow the tilted law in the limit of small steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sciffusion.networks import ModulatedTransformer, angle_embedding
from sciffusion.training import TrainingHistory, UniformTimes

__all__ = [
    "NoisyPropertyNetwork",
    "guiding_function",
    "linear_log_weight",
    "property_loss",
    "target_log_weight",
    "train_property_network",
]

_N_FREQUENCIES = 16
_MOST_HELD_OUT = 2048
_FEWEST_HELD_OUT = 5  # fewer molecules say too little to stop by
_LOG_VARIANCE = 8.0  # bound of log variances: a network that is sure early must not be infinitely so


class NoisyPropertyNetwork(nn.Module):
    """Mean and variance of standardised properties given noisy tokens.

    Parameters
    ----------
    state_size : int
        Noisy tokens.
    n_properties : int
        Properties.
    width, depth, n_heads : int
        See `ModulatedTransformer`.
    """

    def __init__(
        self, state_size: int, n_properties: int, *, width: int = 64, depth: int = 2, n_heads: int = 4
    ) -> None:
        super().__init__()
        self.sizes = {
            "state_size": state_size, "n_properties": n_properties, "width": width, "depth": depth,
            "n_heads": n_heads,
        }  # fmt: skip
        self.embedding = nn.Linear(state_size, width, bias=False)
        nn.init.normal_(self.embedding.weight)
        self.time_embedding = nn.Sequential(
            nn.Linear(2 * _N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.transformer = ModulatedTransformer(width, depth, n_heads)
        self.output = nn.Linear(width, 2 * n_properties)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate.

        Parameters
        ----------
        tokens : Tensor
            Noisy tokens, int64 of shape ``(items, sites)``, or one-hot ``(items, sites, state_size)``.
        times : Tensor of shape ``(items, sites)``
            Their times.

        Returns
        -------
        mean, variance : Tensor of shape ``(items, n_properties)``
        """
        weight = self.embedding.weight
        x = tokens.to(weight.dtype) @ weight.T if tokens.is_floating_point() else weight.T[tokens]
        modulation = self.time_embedding(angle_embedding(times, _N_FREQUENCIES).to(x.dtype))
        mean, log_variance = self.output(self.transformer(x, modulation).mean(-2)).chunk(2, -1)
        bounded = _LOG_VARIANCE * torch.tanh(log_variance / _LOG_VARIANCE)
        return mean, torch.exp(bounded)


def property_loss(network: nn.Module, process: Any, x0: Tensor, y: Tensor, t: Tensor, noise: Any) -> Tensor:
    """Return the mean negative log likelihood of properties given corrupted tokens, in nats a property.

    Parameters
    ----------
    network : NoisyPropertyNetwork
    process : DiscreteProcess
        What corrupts.
    x0 : Tensor of int64, shape ``(items, sites)``
        Clean tokens.
    y : Tensor of shape ``(items, n_properties)``
        Standardised properties, NaN where unknown.
    t : Tensor of shape ``(items,)``
        Times.
    noise : torch.Generator
        Draws the corruption.
    """
    noisy = process.corrupt(x0, t, noise)
    times = t[:, None].expand(x0.shape).to(y.dtype)
    mean, variance = network(noisy.x, times)
    known = ~y.isnan()
    losses = 0.5 * (torch.where(known, y, mean) - mean) ** 2 / variance + 0.5 * torch.log(variance)
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp_min(1)


def linear_log_weight(strengths: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    r"""Return :math:`\log E e^{\lambda y}` as a function of mean and variance.

    Parameters
    ----------
    strengths : Tensor of shape ``(n_properties,)``
        For each standardised property; 0 leaves it out.
    """

    def weight(mean: Tensor, variance: Tensor) -> Tensor:
        factors = strengths.to(mean)
        return (factors * mean + 0.5 * factors**2 * variance).sum(-1)

    return weight


def target_log_weight(
    values: Tensor, tolerances: Tensor, strength: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the log weight of targets as a function of mean and variance (see the module).

    Parameters
    ----------
    values, tolerances : Tensor of shape ``(n_properties,)``
        Of standardised properties; NaN for those without a target.
    strength : float
        Factor of the reward.
    """

    def weight(mean: Tensor, variance: Tensor) -> Tensor:
        wanted = ~values.isnan()
        v, w = values[wanted].to(mean), tolerances[wanted].to(mean)
        m, s = mean[:, wanted], variance[:, wanted]
        spread = w**2 + strength * s
        log_weight = -0.5 * torch.log(spread / w**2) - 0.5 * strength * (v - m) ** 2 / spread
        return log_weight.sum(-1)

    return weight


def guiding_function(
    network: nn.Module, weight: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the log weight of noisy tokens, as `DiscreteClassifier` asks for it."""

    def log_weight(tokens: Tensor, times: Tensor) -> Tensor:
        return weight(*network(tokens, times.to(torch.float32)))

    return log_weight


def train_property_network(
    network: NoisyPropertyNetwork,
    process: Any,
    tokens: Tensor,
    properties: Tensor,
    settings: Any,
    train: Callable[..., TrainingHistory],
    *,
    stream: int,
) -> TrainingHistory:
    """Train a network of noisy molecules' properties in place.

    Parameters
    ----------
    network : NoisyPropertyNetwork
    process : DiscreteProcess
        What corrupts.
    tokens : Tensor of int64, shape ``(n, sites)``
        Molecules.
    properties : Tensor of float32, shape ``(n, n_properties)``
        Standardised, NaN where unknown.
    settings : TokenSettings
        Steps, batch and learning rate of the model; a share of the molecules is kept back to stop by.
    train : callable
        Trains in place, as `DiffusionEstimator._train` does.
    stream : int
        Number of the training within one fitted model.
    """
    count = min(round(settings.validation_fraction * len(tokens)), _MOST_HELD_OUT)
    count = count if count >= _FEWEST_HELD_OUT else 0
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(stream))
    back, kept = order[:count], order[count:]

    def objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        x0, y = batch
        times = UniformTimes().sample(len(x0), generator).times
        return property_loss(network, process, x0, y, times, generator)

    def held_out(network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(stream)
        times = UniformTimes().sample(count, generator).times.to(device)
        return property_loss(
            network, process, tokens[back].to(device), properties[back].to(device), times, generator
        )

    return train(
        network,
        objective,
        (tokens[kept], properties[kept]),
        options=settings.training_options(),
        held_out=held_out if count else None,
        description="properties of noisy molecules",
        stream=stream,
    )
