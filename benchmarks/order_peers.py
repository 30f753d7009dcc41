"""The solvers of azula on the problems of `core_order.py`, where it is installed.

azula's samplers own their loop and take scalar times, so they are run as they are; calls of the denoiser are
counted. Its stochastic ones draw with `torch.randn_like`, which is replaced during a run by unit impulses, so
that the variance of what they sample is read off without sampling errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from sciffusion.exact import ExactDenoiser

__all__ = ["PEER_DETERMINISTIC", "PEER_STOCHASTIC", "Peer", "peer_is_there", "peer_run", "peer_variance"]


@dataclass(frozen=True)
class Peer:
    """A sampler of azula: the name of its class, the order that its documentation gives, its arguments."""

    sampler: str
    claimed: int
    arguments: tuple[tuple[str, Any], ...] = ()


PEER_DETERMINISTIC = {
    "azula DDIM": Peer("DDIMSampler", 1),
    "azula Euler": Peer("EulerSampler", 1),
    "azula Heun": Peer("HeunSampler", 2),
    "azula zAB 2": Peer("zABSampler", 2, (("order", 2),)),
    "azula vAB 2": Peer("vABSampler", 2, (("order", 2),)),
    "azula zEAB 2": Peer("zEABSampler", 2, (("order", 2),)),
    "azula xEAB 2": Peer("xEABSampler", 2, (("order", 2),)),
    "azula xEAB 3": Peer("xEABSampler", 3, (("order", 3),)),
    "azula REAB 2": Peer("REABSampler", 2, (("order", 2),)),
}
PEER_STOCHASTIC = {"azula DDPM": Peer("DDPMSampler", 1), "azula Ito": Peer("ItoSampler", 1)}


def peer_is_there() -> bool:
    """Say whether azula can be imported."""
    try:
        import azula.sample  # noqa: F401
    except ImportError:
        return False
    return True


def _sampler(peer: Peer, schedule: Any, exact: ExactDenoiser, steps: int) -> tuple[Any, list[int]]:
    """Give a sampler of azula around the exact denoiser, and a list that grows with every call of it."""
    from azula import denoise, sample

    calls: list[int] = []

    class Exact(denoise.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> object:
            calls.append(1)
            return denoise.DiracPosterior(mean=exact.predict(x_t, t).value)

    kind = getattr(sample, peer.sampler)
    return kind(Exact(), steps=steps, silent=True, dtype=torch.float64, **dict(peer.arguments)), calls


def _schedule(name: str, noise_end: float = 0.01) -> Any:
    from azula import noise

    if name == "ve":
        return noise.VESchedule(sigma_min=noise_end, sigma_max=20.0)
    kind = {"vp": noise.VPSchedule, "flow": noise.RectifiedSchedule}[name]
    return kind(alpha_min=0.01, sigma_min=0.01)


def peer_run(peer: Peer, path: str, exact: ExactDenoiser, start: Tensor, steps: int) -> tuple[Tensor, int]:
    """Give where a sampler takes the start, and how often it called the denoiser."""
    sampler, calls = _sampler(peer, _schedule(path), exact, steps)
    return sampler(start), len(calls)


@contextmanager
def _impulses() -> Iterator[None]:
    """Let the n-th call of `torch.randn_like` give a unit impulse in row n + 1 and 0 elsewhere."""
    drawn = 0

    def impulse(like: Tensor, **kwargs: object) -> Tensor:
        nonlocal drawn
        drawn += 1
        noise = torch.zeros_like(like)
        noise[drawn] = 1.0
        return noise

    with mock.patch("torch.randn_like", impulse):
        yield


def peer_variance(peer: Peer, exact: ExactDenoiser, variance: float, steps: int, noise_end: float) -> float:
    """Give the variance that a stochastic sampler reaches on centred Gaussian data in one dimension."""
    sampler, _ = _sampler(peer, _schedule("ve", noise_end), exact, steps)
    x = torch.zeros(steps + 1, 1, dtype=torch.float64)
    x[0] = 1.0
    with _impulses():
        response: Tensor = sampler(x)
    return float(variance * response[0] ** 2 + (response[1:] ** 2).sum())
