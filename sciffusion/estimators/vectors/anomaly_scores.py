r"""What an anomaly detector measures: four scores of a standardised row, higher for stranger rows.

**denoising**  A fitted denoiser takes noise of the levels :math:`\sigma_l` off the row. The error

.. math:: e_l(x) = \frac1K \sum_k \bigl\|D(\cos\theta_l\, x + \sin\theta_l\, \varepsilon_k, t_l) - x\bigr\|^2

is small where the training rows taught the network what is usual. Its logarithm is compared with that of the
training rows at the same level, and the standardised values are averaged over the levels,

.. math:: s(x) = \frac1L \sum_l \frac{\log e_l(x) - m_l}{d_l} ,

so that no level dominates. The noise is one antithetic panel, shared by all rows. At a single level this is
the denoising-score norm with fresh noise (*Kurtosis-Guided Denoising Score Matching for Tabular Anomaly
Detection*, arXiv 2605.06955, chooses one level); the average over levels is a construction of this library.

**time**  A classifier tells from a row :math:`x + \sigma\varepsilon` which of seven intervals of the noise
level was used; a row that looks noisy without added noise is strange. The score is the expected interval
(DTE-C; Livernoche, Jain, Hezaveh, Ravanbakhsh, *On Diffusion Modeling for Anomaly Detection*, arXiv
2305.18593).

**neighbours**  Without learning: given the squared distances to the K nearest training rows, the posterior of
the noise level is inverse gamma, and its mode is

.. math:: \hat\sigma^2 = \frac{1}{d\,K} \sum_k \|x - x_{(k)}\|^2 ,

which ranks rows as the mean squared distance to the neighbours does (DTE-NP of the same paper).

**density**  Minus the log density by the probability flow (`sciffusion.estimators.vectors.flow`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...continuous import NetworkDenoiser
from ...networks import ConditionalMLP
from .network import PATH, VectorNetwork, vector_denoiser

__all__ = [
    "LEVELS",
    "N_INTERVALS",
    "NoiseLevelNetwork",
    "denoising_errors",
    "denoising_panel",
    "expected_interval",
    "noise_level_objective",
    "posterior_noise_level",
]

Floats = NDArray[np.float64]

#: Noise levels sigma / alpha at which rows are denoised, in standard deviations of a column.
LEVELS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)

#: Intervals of the noise level between which the classifier of the time score decides.
N_INTERVALS = 7
_NOISE_RANGE = (0.02, 2.0)  # smallest and largest noise level of that classifier, equal intervals of its log

_FLOOR = (
    1e-12  # added to errors before the logarithm, which a duplicate of a memorised row could send to -inf
)


def denoising_panel(n_members: int, n_draws: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return noise of shape (members, draws, dim), every second draw the negative of the one before."""
    pairs = -(-n_draws // 2)
    half = torch.randn(n_members, pairs, 1, dim, generator=generator, dtype=torch.float64)
    return torch.cat([half, -half], dim=2).reshape(n_members, 2 * pairs, dim)[:, :n_draws]


@torch.no_grad()
def denoising_errors(network: VectorNetwork, rows: Tensor, panel: Tensor) -> Tensor:
    """Return the logarithm of the mean squared denoising error of rows at every level.

    Parameters
    ----------
    network : VectorNetwork
        On the device of the rows; every member denoises with noise of its own.
    rows : Tensor of shape (rows, dim)
        Standardised rows.
    panel : Tensor of shape (members, draws, dim)
        Standard normal noise, shared by all rows.

    Returns
    -------
    Tensor of shape (rows, levels)
        Averaged over members and draws.
    """
    denoiser = vector_denoiser(network)
    return torch.stack([torch.log(_FLOOR + _error(denoiser, rows, panel, level)) for level in LEVELS], 1)


def _error(denoiser: NetworkDenoiser, rows: Tensor, panel: Tensor, level: float) -> Tensor:
    time = PATH.time_of_log_snr(-math.log(level))
    members = panel.shape[0]
    clean = rows.expand(members, *rows.shape)
    total = torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
    for draw in panel.to(rows.device, rows.dtype).unbind(1):
        noisy = PATH.marginal(clean, time, draw[:, None].expand(clean.shape))
        total = total + (denoiser.predict(noisy, time).value - clean).square().sum(-1).mean(0)
    return total / panel.shape[1]


def posterior_noise_level(squared_distances: Floats, dim: int) -> Floats:
    """Return the most probable noise level given the squared distances to the nearest training rows.

    Parameters
    ----------
    squared_distances : ndarray of shape (rows, neighbours)
        Squared distances.
    dim : int
        Number of columns.
    """
    level: Floats = np.sqrt(squared_distances.mean(axis=1) / dim)
    return level


class NoiseLevelNetwork(nn.Module):
    """Ensemble of perceptrons that tell from a vector the interval of its noise level.

    Parameters
    ----------
    n_members, dim, width, depth : int
        As for `VectorNetwork`.
    generator : torch.Generator
        Draws the starting weights.
    """

    def __init__(
        self, n_members: int, dim: int, *, width: int, depth: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_members, self.dim = n_members, dim
        self.perceptron = ConditionalMLP(
            n_members, dim, 0, N_INTERVALS, width=width, depth=depth, n_frequencies=0, generator=generator
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (members, rows, intervals) for ``x`` of shape ``(members, rows, dim)``."""
        logits: Tensor = self.perceptron(x, None, x.new_zeros(1, 0))
        return logits


def noise_level_objective(
    network: nn.Module, x0: Tensor, weights: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the cross-entropy of each member at freshly drawn noise.

    Parameters
    ----------
    network : NoiseLevelNetwork
        The classifier.
    x0 : Tensor of shape (members, rows, dim)
        Standardised rows.
    weights : Tensor of shape (members, rows)
        Weights of the rows.
    generator : torch.Generator
        On the device of the rows.
    """
    place = torch.rand(x0.shape[:2], generator=generator, device=x0.device)
    low, high = (math.log(level) for level in _NOISE_RANGE)
    sigma = torch.exp(low + (high - low) * place)
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    logits = network(x0 + sigma[..., None] * noise)
    interval = (place * N_INTERVALS).long().clamp_max(N_INTERVALS - 1)
    losses = nn.functional.cross_entropy(logits.permute(0, 2, 1), interval, reduction="none")
    mean: Tensor = (losses * weights).sum(-1) / weights.sum(-1).clamp_min(1e-12)
    return mean


@torch.no_grad()
def expected_interval(network: NoiseLevelNetwork, rows: Tensor) -> Tensor:
    """Return the expected number of the interval of each row, in [0, intervals - 1], over all members."""
    logits = network(rows.expand(network.n_members, *rows.shape))
    numbers = torch.arange(N_INTERVALS, dtype=rows.dtype, device=rows.device)
    expected: Tensor = (logits.softmax(-1) * numbers).sum(-1).mean(0)
    return expected
