r"""Denoisers: from a noisy state to what is believed about the clean data.

A denoiser knows its path and maps a state (``x`` and its times ``t``) to a typed prediction.  Exact targets
(`sciffusion.exact`), networks (`NetworkDenoiser`) and wrappers (guidance, calibration) all have this form,
and solvers know nothing else.

Preconditioning (Karras et al., *Elucidating the Design Space of Diffusion-Based Generative Models*,
arXiv 2206.00364) writes the clean estimate as

.. math::
   D(x, t) = c_\text{skip} \frac{x}{\alpha} + c_\text{out} F\left(c_\text{in} \frac{x}{\alpha},
   c_\text{noise}\right)

with, for :math:`\tilde\sigma = \sigma/\alpha` and data of standard deviation :math:`s_d`,

.. math::
   c_\text{skip} = \frac{s_d^2}{\tilde\sigma^2 + s_d^2}, \quad
   c_\text{out} = \frac{\tilde\sigma s_d}{\sqrt{\tilde\sigma^2 + s_d^2}}, \quad
   c_\text{in} = \frac1{\sqrt{\tilde\sigma^2 + s_d^2}}, \quad
   c_\text{noise} = \tfrac14 \log\tilde\sigma .

Multiplied out with :math:`1/\alpha` these stay finite where the signal level is 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sciffusion.continuous.path import Path, align, as_times
from sciffusion.continuous.prediction import ContinuousPrediction, PredictionKind, check_prediction_kind

__all__ = [
    "Denoiser",
    "EDMPreconditioning",
    "NetworkDenoiser",
    "NoisyState",
    "PointwiseDenoiser",
    "Posterior",
    "posterior",
]


class Posterior(NamedTuple):
    """What a denoiser believes about the clean data given a noisy state."""

    mean: Tensor
    covariance: Tensor | None = None


class NoisyState(Protocol):
    """The part of a sampling state that a denoiser reads."""

    @property
    def x(self) -> Tensor:
        """Noisy values."""
        ...

    @property
    def t(self) -> Tensor:
        """Times, of a shape that is a prefix of that of ``x``."""
        ...


class Denoiser(Protocol):
    """Anything that predicts the clean data of a noisy state along a known path."""

    @property
    def path(self) -> Path:
        """The path whose states it denoises."""
        ...

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        """Predict for ``state.x`` at times ``state.t``, given a condition of the denoiser's own form."""
        ...


class PointwiseDenoiser(ABC):
    """Base of denoisers that need nothing of the state but ``x`` and ``t``."""

    path: Path

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Predict for noisy values ``x`` at times ``t``, a prefix of the shape of ``x``."""

    def __call__(self, state: NoisyState, condition: Any = None, cache: Any = None) -> ContinuousPrediction:
        """Predict for a state; ``cache`` is not used."""
        return self.predict(state.x, state.t, condition)


def posterior(denoiser: Denoiser, state: NoisyState, condition: Any = None) -> Posterior:
    """Return a denoiser's mean of the clean data for a state, whatever form it predicts in.

    Parameters
    ----------
    denoiser : Denoiser
        Exact, learned or wrapped.
    state : NoisyState
        State with ``x`` and ``t``.
    condition : object, optional
        Passed to the denoiser.

    Returns
    -------
    Posterior
        With the covariance left out: a plain denoiser does not know it.
    """
    prediction = denoiser(state, condition)
    coefficients = denoiser.path.coefficients(state.t)
    return Posterior(prediction.to("x0", coefficients, state.x).value)


@dataclass(frozen=True)
class EDMPreconditioning:
    r"""Scaling of a network's input, output and skip connection for data of a known standard deviation.

    Parameters
    ----------
    data_std : float, default 1
        Standard deviation of the clean data, in the units of ``x0``.
    log_snr_bound : float, default 20
        The network's time input is ``-log_snr / 4`` with the log signal-to-noise ratio (of amplitudes)
        clipped to this magnitude, so that it is finite at both ends of every path.
    local_scale : float, default 0
        Smallest length on which the density of the clean data varies, in the units of ``x0``; positive for
        data that have a smooth density.  :math:`c_\text{out}` is then multiplied by :math:`\tilde\sigma /
        \sqrt{\tilde\sigma^2 + \ell^2}`: at noise far below this length the score is bounded and the clean
        estimate is :math:`x/\alpha + O(\tilde\sigma^2)`, so that the network says the score itself there
        (a construction of this library).
    """

    data_std: float = 1.0
    log_snr_bound: float = 20.0
    local_scale: float = 0.0

    def __post_init__(self) -> None:
        if not self.data_std > 0.0:
            raise ValueError(f"data_std must be positive, got {self.data_std}")
        if not self.local_scale >= 0.0:
            raise ValueError(f"local_scale must not be negative, got {self.local_scale}")

    def denoise(
        self, network: Callable[..., Tensor], path: Path, x: Tensor, t: Tensor, condition: Any
    ) -> Tensor:
        """Return the clean estimate ``D(x, t)`` of the module's equation."""
        c = path.coefficients(t)
        variance = c.sigma**2 + (c.alpha * self.data_std) ** 2
        scale = torch.sqrt(variance)
        skip = c.alpha * self.data_std**2 / variance
        noise_input = -0.25 * c.log_snr.clamp(-self.log_snr_bound, self.log_snr_bound)
        raw = network(align(1.0 / scale, x) * x, noise_input.to(x.dtype).to(x.device), condition)
        out = c.sigma * self.data_std / scale
        if self.local_scale > 0.0:
            out = out * c.sigma / torch.sqrt(c.sigma**2 + (c.alpha * self.local_scale) ** 2)
        return align(skip, x) * x + align(out, x) * raw


class NetworkDenoiser(PointwiseDenoiser):
    """A network on a path.

    Parameters
    ----------
    network : callable
        Called as ``network(x_in, time, condition)`` and returning a tensor of the shape of ``x``.  ``time``
        has the shape of the times given (a prefix of ``x.shape``) and the type of ``x``; it is ``t`` itself
        without preconditioning and ``log(sigma / alpha) / 4`` with `EDMPreconditioning`.  Every leading axis
        of ``x`` is a batch axis: ``(batch, dim)``, ``(members, batch, dim)`` and so on.
    path : Path
        The path on which it is trained and used.
    prediction : {"x0", "eps", "v", "flow", "score"}
        What the network's output means; with preconditioning it must be ``"x0"``.
    preconditioning : EDMPreconditioning, optional
        None calls the network on ``x`` as it is.

    Raises
    ------
    ValueError
        For an unknown kind of prediction, or another one than ``"x0"`` with preconditioning.
    """

    def __init__(
        self,
        network: nn.Module | Callable[..., Tensor],
        path: Path,
        prediction: PredictionKind = "x0",
        preconditioning: EDMPreconditioning | None = None,
    ) -> None:
        check_prediction_kind(prediction)
        if preconditioning is not None and prediction != "x0":
            raise ValueError(f"a preconditioned network predicts 'x0', got prediction={prediction!r}")
        self.network = network
        self.path = path
        self.prediction = prediction
        self.preconditioning = preconditioning

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        """Run the network once (see `PointwiseDenoiser.predict`)."""
        times = as_times(t)
        if self.preconditioning is not None:
            value = self.preconditioning.denoise(self.network, self.path, x, times, condition)
        else:
            value = self.network(x, times.to(x.dtype).to(x.device), condition)
        if value.shape != x.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for a state of shape {tuple(x.shape)}; "
                "expected equal shapes"
            )
        return ContinuousPrediction(value, self.prediction)
