"""Calibration and epsilon scaling: exact identities on known denoisers."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    Calibrated,
    ContinuousPrediction,
    Cosine,
    DPMSolverMultistep,
    EpsScaled,
    PointwiseDenoiser,
    PredictionKind,
    RectifiedFlow,
    VariancePreserving,
    calibrate,
)
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid

PATH = VariancePreserving()
TARGET = GaussianTarget.autoregressive(3, 0.6)
BIAS = torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
TIMES = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)


class _Biased(PointwiseDenoiser):
    """The perfect denoiser with a constant added to its prediction of the noise, or of the data."""

    def __init__(self, shifted: PredictionKind, told: PredictionKind) -> None:
        self.path, self.shifted, self.told = PATH, shifted, told
        self._exact = ExactDenoiser(TARGET, PATH)

    def predict(self, x: Tensor, t: Tensor | float, condition: Any = None) -> ContinuousPrediction:
        c = PATH.coefficients(t)
        value = self._exact.predict(x, t).to(self.shifted, c, x).value + BIAS.to(x)
        return ContinuousPrediction(value, self.shifted).to(self.told, c, x)


def _data(count: int) -> Tensor:
    return TARGET.draw(count, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("told", get_args(PredictionKind))
def test_constant_bias_is_recovered_to_monte_carlo_error(told: PredictionKind) -> None:
    kind: PredictionKind = "eps" if told in ("eps", "score") else "x0"
    x0 = _data(4000)
    calibrated = calibrate(_Biased(kind, told), x0, torch.Generator().manual_seed(1), times=TIMES)
    assert calibrated.kind == kind
    # The error's own spread is below 1 in either kind.
    torch.testing.assert_close(calibrated.offsets, BIAS.expand(3, 3), rtol=0.0, atol=4.0 / 4000**0.5)


@pytest.mark.parametrize("kind", ["x0", "eps"])
def test_loss_on_the_calibrating_draws_drops_by_exactly_the_square_of_the_offset(
    kind: PredictionKind,
) -> None:
    x0, denoiser = _data(200), _Biased(kind, kind)
    calibrated = calibrate(denoiser, x0, torch.Generator().manual_seed(1), times=TIMES[:1])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=x0.dtype)
    x = PATH.marginal(x0, TIMES[0], noise)
    truth = noise if kind == "eps" else x0
    before, after = (
        (model.predict(x, TIMES[0]).value - truth).square().sum(1).mean() for model in (denoiser, calibrated)
    )
    torch.testing.assert_close(before - after, calibrated.offsets[0].square().sum(), rtol=1e-10, atol=0.0)


def test_offsets_are_interpolated_in_log_snr_and_held_beyond_the_ends() -> None:
    log_snr = torch.tensor([-2.0, 0.0, 4.0], dtype=torch.float64)
    offsets = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]], dtype=torch.float64)
    calibrated = Calibrated(ExactDenoiser(GaussianTarget.isotropic(2), PATH), log_snr, offsets)
    places = torch.tensor([-3.0, -1.0, 1.0, 3.0, 9.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 1.5, 3.0, 5.0, 6.0], dtype=torch.float64)[:, None] * torch.tensor(
        [1.0, 10.0]
    )
    x = torch.zeros(5, 2, dtype=torch.float64)
    times = PATH.time_of_log_snr(places)
    torch.testing.assert_close(calibrated.offset(x, times), expected)
    torch.testing.assert_close(calibrated.offset(x, times[:, None].expand(5, 2)), expected)
    torch.testing.assert_close(calibrated.offset(x, times[1]), expected[1].expand(5, 2))


def test_offsets_may_be_measured_in_pure_noise() -> None:
    # Time 1 has no finite log signal-to-noise ratio: its offset holds there, the next one up to it.
    path = RectifiedFlow()
    exact = ExactDenoiser(GaussianTarget.isotropic(2), path)
    x0 = exact.target.draw(50, torch.Generator().manual_seed(0))
    times = torch.tensor([1.0, 0.9, 0.5], dtype=torch.float64)
    calibrated = calibrate(exact, x0, torch.Generator().manual_seed(1), times=times)
    noisiest, next_one, last = calibrated.offsets
    x = torch.zeros(4, 2, dtype=torch.float64)
    found = calibrated.offset(x, torch.tensor([1.0, 0.99, 0.9, 0.1], dtype=torch.float64))
    torch.testing.assert_close(found, torch.stack([noisiest, next_one, next_one, last]))
    samples = sample(calibrated, DPMSolverMultistep(2), uniform_grid(6), state=State(x=x)).samples
    assert bool(samples.isfinite().all())


def test_known_elements_at_time_zero_are_sampled_around() -> None:
    calibrated = calibrate(_Biased("x0", "x0"), _data(500), torch.Generator().manual_seed(1), times=TIMES)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    known = torch.tensor([True, False, False]).expand(4, 3)
    for model in (calibrated, EpsScaled(_Biased("x0", "x0"), 1.01)):
        result = sample(model, DPMSolverMultistep(2), uniform_grid(8), state=State(x=x, known=known))
        assert bool(result.samples.isfinite().all())
        assert torch.equal(result.samples[:, 0], x[:, 0])


def test_scaling_divides_the_predicted_noise() -> None:
    exact = ExactDenoiser(TARGET, PATH)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (torch.tensor(0.3), torch.linspace(0.1, 0.9, 6)):
        c = PATH.coefficients(t)
        divisor = (1.02 + 0.1 * t).reshape(-1, 1)
        plain, scaled = (
            model.predict(x, t).to("eps", c, x).value for model in (exact, EpsScaled(exact, 1.02, 0.1))
        )
        torch.testing.assert_close(scaled, plain / divisor, rtol=1e-6, atol=1e-9)
    unchanged = EpsScaled(exact, 1.0).predict(x, 0.4).value
    assert torch.equal(unchanged, exact.predict(x, 0.4).value)
    pure = EpsScaled(ExactDenoiser(TARGET, Cosine(alpha_min=0.0)), 1.02).predict(x, 1.0).value
    assert bool(pure.isfinite().all())


def test_bad_settings_are_refused() -> None:
    exact = ExactDenoiser(TARGET, PATH)
    with pytest.raises(ValueError, match="positive"):
        EpsScaled(exact, 1.0, -1.0)
    with pytest.raises(ValueError, match="increase"):
        Calibrated(exact, torch.tensor([1.0, 0.0]), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="kind"):
        Calibrated(exact, torch.tensor([0.0]), torch.zeros(1, 3), "v")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times"):
        calibrate(exact, _data(3), torch.Generator(), times=torch.tensor([0.0, 0.5]))
