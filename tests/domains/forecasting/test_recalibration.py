"""Recalibration of draws: the map, its fit, and what a forecaster makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm, spearmanr
from scipy.stats import t as student

from sciffusion.domains.forecasting import DiffusionForecaster
from sciffusion.domains.forecasting.base_forecast import Series
from sciffusion.domains.forecasting.history import Windows
from sciffusion.domains.forecasting.recalibration import LEVELS, Recalibration
from sciffusion.domains.forecasting.recalibration_windows import _places
from sciffusion.domains.forecasting.residual_training import _split, kept_back
from sciffusion.domains.forecasting.tokens import WindowTokens

Pair = tuple[DiffusionForecaster, DiffusionForecaster]
MAP = Recalibration(scale=0.7, power=1.3, tail=1.6)


def test_the_map_is_increasing_odd_and_undone_by_its_inverse() -> None:
    z = np.linspace(-6.0, 6.0, 1201)
    mapped = MAP(z)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(mapped, -mapped[::-1], atol=1e-12)
    np.testing.assert_allclose(MAP.inverse(mapped), z, atol=1e-12)


def test_the_map_is_that_of_the_equation_on_both_sides_of_the_knot() -> None:
    np.testing.assert_allclose(
        MAP(np.array([-1.0, 0.5, 2.0])), [-0.7, 0.7 * 0.5**1.3, 0.7 * 1.3**1.3 + 1.6 * 0.7]
    )


def test_tensors_are_mapped_as_arrays_are_and_carry_gradients() -> None:
    z = torch.tensor([-2.0, -0.4, 0.9, 3.0], dtype=torch.float64, requires_grad=True)
    mapped = MAP(z)
    np.testing.assert_allclose(mapped.detach().numpy(), MAP(z.detach().numpy()))
    (slope,) = torch.autograd.grad(mapped.sum(), z)
    wanted = [1.6, 0.7 * 1.3 * 0.4**0.3, 0.7 * 1.3 * 0.9**0.3, 1.6]
    np.testing.assert_allclose(slope.numpy(), wanted)


def test_gradients_at_nought_are_finite() -> None:
    z = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(MAP(z).sum(), z)
    assert torch.isfinite(slope).all()


def _fit(residuals: np.ndarray, share: float = 1.0) -> Recalibration:
    return Recalibration.fit(norm.ppf(LEVELS)[:, None, None], residuals, share)


def test_calibrated_residuals_leave_the_draws_as_they_are() -> None:
    fitted = _fit(np.random.default_rng(0).standard_normal((6000, 1)))
    z = np.linspace(-2.5, 2.5, 101)
    assert np.abs(fitted(z) - z).max() < 0.12  # a few standard errors of a tail slope from 6000 values


@pytest.mark.parametrize("scale", [0.6, 1.4])
def test_a_wrong_scale_is_found(scale: float) -> None:
    fitted = _fit(scale * np.random.default_rng(1).standard_normal((6000, 1)))
    z = np.array([0.5, 1.0, 1.3])
    np.testing.assert_allclose(fitted(z), scale * z, rtol=0.06)


def test_heavy_tails_are_covered_at_both_levels() -> None:
    generator = np.random.default_rng(2)
    degrees = 3.0
    unit = np.sqrt((degrees - 2.0) / degrees)  # so that both laws have the same variance
    fitted = _fit(unit * generator.standard_t(degrees, (8000, 1)))

    def covered(bound: float) -> float:
        return float(2.0 * student.cdf(bound / unit, degrees) - 1.0)

    inner, outer = fitted(norm.ppf(np.array([0.9, 0.975])))
    # The middle is a compromise of all levels; plainly the interval would cover 89 %.
    assert abs(covered(inner) - 0.8) < 0.4 * abs(covered(norm.ppf(0.9)) - 0.8)
    assert covered(outer) == pytest.approx(0.95, abs=0.01)


def test_a_share_of_the_map_is_kept_and_the_tails_make_up_for_it() -> None:
    residuals = 0.5 * np.random.default_rng(3).standard_normal((200, 4))
    fits = [_fit(residuals, share) for share in (0.0, 0.5, 1.0)]
    assert fits[0].scale == fits[0].power == 1.0
    assert fits[1].scale == pytest.approx(np.sqrt(fits[2].scale))
    for one in fits[1:]:
        bound = one(norm.ppf(np.array([0.975])))
        assert (np.abs(residuals) <= bound).mean() >= 0.95


def test_too_few_values_leave_the_identity() -> None:
    assert _fit(np.full((19, 1), 5.0)).is_identity
    assert _fit(np.full((50, 3), np.nan)).is_identity


# ------------------------------------------------------------------ in the forecaster


def _panel(length: int = 240) -> np.ndarray:
    generator = np.random.default_rng(5)
    season = np.sin(2.0 * np.pi * np.arange(length) / 12.0)
    return season + 0.3 * generator.standard_t(3, (6, length))


SMALL = {"horizon": 6, "season_length": 12, "max_steps": 20, "n_members": 2, "width": 32, "batch_size": 32}


@pytest.fixture(scope="module", params=[True, False], ids=["network off", "network on"])
def pair(request: pytest.FixtureRequest) -> Pair:
    X = _panel()
    settings = SMALL | {"network_off": request.param, "random_state": 0}
    return tuple(DiffusionForecaster(**settings, calibrate=one).fit(X) for one in (True, False))


def test_the_map_changes_nothing_else_of_the_fit(pair: Pair) -> None:
    calibrated, plain = pair
    assert plain.model_.recalibration.is_identity
    assert not calibrated.model_.recalibration.is_identity
    np.testing.assert_array_equal(
        calibrated.model_.base.forecast(*_last(calibrated)).location,
        plain.model_.base.forecast(*_last(plain)).location,
    )


def _last(model: DiffusionForecaster) -> tuple[Series, Windows]:
    series = model.model_.base.series(model.panel_)
    return series, series.last_windows()


def test_draws_are_the_mapped_ones_and_keep_their_ranks(pair: Pair) -> None:
    calibrated, plain = pair
    mapped, raw = calibrated.sample(6, n_samples=40), plain.sample(6, n_samples=40)
    base = plain.model_.base.forecast(*_last(plain))
    scale = (base.scale * plain.model_.law.std)[:, None]
    wanted = base.location[:, None] + scale * calibrated.model_.recalibration(
        (raw - base.location[:, None]) / scale
    )
    np.testing.assert_allclose(mapped, wanted, rtol=1e-8, atol=1e-8)
    assert spearmanr(mapped[0, :, 0], raw[0, :, 0]).statistic == pytest.approx(1.0)


def test_quantiles_and_medians_are_those_of_the_draws(pair: Pair) -> None:
    model = pair[0]
    draws = model.sample(6, n_samples=100)
    np.testing.assert_allclose(model.predict(6), np.median(draws, axis=1))
    found = model.predict_quantiles(6, quantiles=[0.1, 0.9])
    wanted = np.quantile(draws, [0.1, 0.9], axis=1, method="weibull")
    np.testing.assert_allclose(found, np.moveaxis(wanted, 0, -1))


def test_it_survives_saving(pair: Pair, tmp_path: Path) -> None:
    model = pair[0]
    model.save(tmp_path / "model.safetensors")
    again = DiffusionForecaster.load(tmp_path / "model.safetensors")
    assert again.model_.recalibration == model.model_.recalibration
    np.testing.assert_array_equal(again.sample(6, n_samples=5), model.sample(6, n_samples=5))


def test_a_wrong_parameter_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="calibrate"):
        DiffusionForecaster(**SMALL, calibrate="yes").fit(_panel())


def test_a_panel_too_short_to_hold_anything_out_still_fits() -> None:
    model = DiffusionForecaster(**SMALL | {"horizon": 2, "season_length": 1}, random_state=0)
    assert np.isfinite(model.fit(_panel(12)[:1]).predict(2)).all()


def test_every_member_is_asked_about_windows_that_it_kept_back() -> None:
    generator = np.random.default_rng(0)
    count, nothing = 300, np.zeros((300, 1))
    tokens = WindowTokens(
        nothing, nothing, nothing > 0, generator.random(count) < 0.3, generator.integers(0, 90, count)
    )
    for n_members in (2, 8):
        places = _places(tokens, n_members, torch.Generator().manual_seed(0))
        held = kept_back(tokens, n_members)
        assert places is not None
        assert held is not None
        assert len(places) == n_members
        for chosen, own in zip(places, held, strict=True):
            assert set(chosen) <= set(own)
            assert not tokens.gaps[chosen].any()
        weights, _ = _split(tokens, n_members, torch.Generator())
        assert (weights.numpy()[places, np.arange(n_members)[:, None]] == 0.0).all()
