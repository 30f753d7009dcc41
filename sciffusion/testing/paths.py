"""Laws that every Gaussian path obeys."""

from __future__ import annotations

import torch
from torch import Tensor

from sciffusion.continuous.path import Path

__all__ = ["assert_path_laws"]


def _assert_close(actual: Tensor, expected: Tensor, law: str, rtol: float, atol: float = 0.0) -> None:
    if not torch.allclose(actual, expected, rtol=rtol, atol=atol):
        gap = float((actual - expected).abs().max())
        raise AssertionError(f"{law}: largest difference {gap:.3g}")


def assert_path_laws(path: Path, points: int = 41) -> None:
    """Check that a path keeps its promises.

    The laws: coefficients are finite float64 of the shape of the times; data carry full signal at ``t=0``;
    levels change monotonically; the derivatives agree with finite differences; the log signal-to-noise ratio
    decreases and `Path.time_of_log_snr` inverts it; the diffusion is not negative and, with the drift,
    reproduces the growth of the variance; the marginal is ``alpha x0 + sigma noise`` for times of every
    shape.

    Parameters
    ----------
    path : Path
        The path to check.
    points : int, default 41
        Number of interior times.

    Raises
    ------
    AssertionError
        Naming the law that fails.
    """
    t = torch.linspace(0.01, 0.99, points, dtype=torch.float64)
    _check_levels(path, t)
    _check_derivatives(path, t)
    _check_log_snr(path, t)
    _check_marginal(path, t)


def _check_levels(path: Path, t: Tensor) -> None:
    c = path.coefficients(t)
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        value = getattr(c, name)
        if value.dtype != torch.float64 or value.shape != t.shape or not bool(value.isfinite().all()):
            raise AssertionError(f"{name} must be finite float64 of the shape of the times")
    start = path.coefficients(0.0)
    _assert_close(start.alpha, torch.ones_like(start.alpha), "alpha is 1 at t=0", 1e-12)
    if bool((c.alpha.diff() > 1e-15).any()) or bool((c.sigma.diff() <= 0.0).any()):
        raise AssertionError("alpha must not increase and sigma must increase with time")


def _check_derivatives(path: Path, t: Tensor) -> None:
    step = 1e-5
    c, after, before = path.coefficients(t), path.coefficients(t + step), path.coefficients(t - step)
    for name, slope in (("alpha", c.d_alpha), ("sigma", c.d_sigma)):
        measured = (getattr(after, name) - getattr(before, name)) / (2.0 * step)
        _assert_close(slope, measured, f"d_{name} is the derivative of {name}", 1e-4, 1e-7)
    growth = (after.sigma**2 - before.sigma**2) / (2.0 * step)
    law = "d(sigma^2)/dt = 2 f sigma^2 + g^2"
    _assert_close(2.0 * c.drift * c.sigma**2 + c.squared_diffusion, growth, law, 1e-4, 1e-7)
    if bool((c.squared_diffusion < -1e-12).any()):
        raise AssertionError("the squared diffusion must not be negative")


def _check_log_snr(path: Path, t: Tensor) -> None:
    log_snr = path.log_snr(t)
    c = path.coefficients(t)
    _assert_close(torch.exp(log_snr), c.alpha / c.sigma, "log_snr is log(alpha / sigma)", 1e-9)
    if bool((log_snr.diff() >= 0.0).any()):
        raise AssertionError("log_snr must decrease with time")
    _assert_close(path.time_of_log_snr(log_snr), t, "time_of_log_snr inverts log_snr", 1e-9)


def _check_marginal(path: Path, t: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 4, 3, 2, generator=generator, dtype=torch.float64)
    for times in (t[5], t[:4], t[:12].reshape(4, 3), t[:4, None]):
        c = path.coefficients(times)
        wide = times.reshape(times.shape + (1,) * (x0.ndim - times.ndim))
        expected = c.alpha.reshape(wide.shape) * x0 + c.sigma.reshape(wide.shape) * noise
        _assert_close(path.marginal(x0, times, noise), expected, "marginal is alpha x0 + sigma noise", 1e-12)
