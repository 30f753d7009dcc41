"""Conversions between the kinds of prediction."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciffusion.continuous import (
    ContinuousPrediction,
    Cosine,
    Path,
    PathCoefficients,
    PredictionKind,
    RectifiedFlow,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
)

KINDS = get_args(PredictionKind)
# Paths on which every log signal-to-noise ratio in [-12, 12] occurs.
PATHS = [
    VariancePreserving(beta_min=0.1, beta_max=50.0),
    Cosine(alpha_min=0.0),
    RectifiedFlow(),
    Trigonometric(),
    VarianceExploding(1e-6, 1e6),
]


def _truth(kind: PredictionKind, c: PathCoefficients, x0: Tensor, eps: Tensor) -> Tensor:
    return {
        "x0": x0,
        "eps": eps,
        "v": c.alpha * eps - c.sigma * x0,
        "flow": c.d_alpha * x0 + c.d_sigma * eps,
        "score": -eps / c.sigma,
    }[kind]


def _draw(path: Path, log_snr: float, seed: int) -> tuple[PathCoefficients, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    c = path.coefficients(path.time_of_log_snr(log_snr))
    return c, x0, eps, c.alpha * x0 + c.sigma * eps


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    source=st.sampled_from(KINDS),
    target=st.sampled_from(KINDS),
    log_snr=st.floats(-12.0, 12.0),
    seed=st.integers(0, 1000),
)
def test_round_trip(
    path: Path, source: PredictionKind, target: PredictionKind, log_snr: float, seed: int
) -> None:
    c, x0, eps, x = _draw(path, log_snr, seed)
    value = _truth(source, c, x0, eps)
    back = ContinuousPrediction(value, source).to(target, c, x).to(source, c, x)
    assert back.kind == source
    # One division by the smaller of the two levels, exp(-12), costs five digits of sixteen, two cost ten.
    scale = float(value.abs().max() + x0.abs().max() + eps.abs().max())
    torch.testing.assert_close(back.value, value, rtol=1e-9, atol=1e-9 * scale)


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    source=st.sampled_from(KINDS),
    target=st.sampled_from(KINDS),
    log_snr=st.floats(-4.0, 4.0),
    seed=st.integers(0, 1000),
)
def test_conversion_gives_the_definition(
    path: Path, source: PredictionKind, target: PredictionKind, log_snr: float, seed: int
) -> None:
    c, x0, eps, x = _draw(path, log_snr, seed)
    converted = ContinuousPrediction(_truth(source, c, x0, eps), source).to(target, c, x)
    torch.testing.assert_close(converted.value, _truth(target, c, x0, eps), rtol=1e-9, atol=1e-10)


def test_same_kind_is_the_same_object_and_kinds_are_checked() -> None:
    c = RectifiedFlow().coefficients(0.5)
    prediction = ContinuousPrediction(torch.ones(2), "eps")
    assert prediction.to("eps", c, torch.ones(2)) is prediction
    with pytest.raises(ValueError, match="kind must be one of"):
        prediction.to("noise", c, torch.ones(2))  # type: ignore[arg-type]


def test_flow_is_the_velocity_of_the_state() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    path, t, step = Cosine(), 0.4, 1e-6
    c = path.coefficients(t)
    moved = path.marginal(x0, t + step, eps) - path.marginal(x0, t - step, eps)
    velocity = ContinuousPrediction(x0, "x0").to("flow", c, path.marginal(x0, t, eps))
    torch.testing.assert_close(velocity.value, moved / (2.0 * step), rtol=1e-7, atol=1e-8)
