r"""The network that denoises windows: context and future tokens, each known or unknown.

A *token* is one step of a window: the last steps of the history, then the steps ahead. The state holds the
standardised residual of each unknown token; a known token has none and enters by its value. On the
trigonometric path :math:`x_t = \cos\theta\, z + \sin\theta\, \varepsilon` with EDM's preconditioning
(Karras et al., arXiv 2206.00364) the network F is the velocity of the probability flow,

.. math:: D(x, \theta) = \cos\theta\, x + \sin\theta\, F(x, \theta, c), \qquad \frac{dx}{d\theta} = -F ,

so with :math:`F = 0`, where training begins, the flow stands still: draws are the noise they started from,
in any number of steps and whatever the times of single tokens. Noise with the covariance of the training
residuals (see `residual_law`) then makes the untrained model the Gaussian forecaster of the base.

The network is an ensemble: for states with a leading member axis each member answers for itself, otherwise
their mean does, which is the velocity of one flow again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sciffusion.continuous import EDMPreconditioning, NetworkDenoiser, Trigonometric
from sciffusion.networks import ConditionalMLP, EncodedCondition

__all__ = ["PATH", "WindowCondition", "WindowNetwork", "window_denoiser"]

#: The path of the forecaster; its time is the angle over a quarter turn.
PATH = Trigonometric()


class WindowCondition(NamedTuple):
    """What is given to the network beside the state.

    Attributes
    ----------
    inputs : Tensor of shape (rows, inputs), or EncodedCondition
        Values, locations, scales and further inputs of the window; or what the network made of them.
    unknown : Tensor of bool, shape (rows, tokens)
        Tokens that the state holds.
    """

    inputs: Tensor | EncodedCondition
    unknown: Tensor


class WindowNetwork(nn.Module):
    """Ensemble of perceptrons of a noisy window.

    Parameters
    ----------
    n_members, n_tokens, n_inputs : int
        Networks side by side, tokens of a window, and inputs of the condition.
    width, depth : int
        Units of a hidden layer, and hidden layers.
    dropout : float
        Share of hidden units set to zero in training.
    generator : torch.Generator
        Draws the starting weights.
    """

    def __init__(
        self,
        n_members: int,
        n_tokens: int,
        n_inputs: int,
        *,
        width: int,
        depth: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        #: What the network is built from, but for the generator.
        self.sizes: dict[str, Any] = {
            "n_members": n_members, "n_tokens": n_tokens, "n_inputs": n_inputs,
            "width": width, "depth": depth, "dropout": dropout,
        }  # fmt: skip
        self.n_members, self.n_tokens = n_members, n_tokens
        self.perceptron = ConditionalMLP(
            n_members, 2 * n_tokens, n_inputs, n_tokens,
            width=width, depth=depth, dropout=dropout, generator=generator,
        )  # fmt: skip

    def encode(self, condition: WindowCondition, repeats: int) -> WindowCondition:
        """Compute once what all draws and noise levels share; each row is repeated `repeats` times."""
        assert isinstance(condition.inputs, Tensor)
        encoded = self.perceptron.encode(condition.inputs).repeat(repeats)
        return WindowCondition(encoded, condition.unknown.repeat_interleave(repeats, dim=0))

    def forward(self, x: Tensor, noise: Tensor, condition: WindowCondition) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        x : Tensor
            State, of shape ``(rows, tokens)`` or ``(members, rows, tokens)``.
        noise : Tensor
            Minus a quarter of the log signal-to-noise ratio, of a shape that is a prefix of that of ``x``.
        condition : WindowCondition
            Of the rows.

        Returns
        -------
        Tensor
            Of the shape of ``x``; of no meaning at known tokens.
        """
        level = noise.reshape(noise.shape + (1,) * (x.ndim - noise.ndim))
        angle = torch.atan(torch.exp(4.0 * level)) * condition.unknown
        time = angle.amax(-1) / (0.5 * math.pi)  # (rows,) or (members, rows)
        value = torch.cat([x * condition.unknown, torch.sin(angle).expand(x.shape)], dim=-1)
        if x.ndim == 3:
            result: Tensor = self.perceptron(value, time, condition.inputs)
            return result
        states = value.expand(self.n_members, *value.shape)
        mean: Tensor = self.perceptron(states, time[None], condition.inputs).mean(0)
        return mean


def window_denoiser(network: nn.Module) -> NetworkDenoiser:
    """Return a `WindowNetwork` as the denoiser of standardised residuals."""
    return NetworkDenoiser(network, PATH, "x0", EDMPreconditioning(1.0))
