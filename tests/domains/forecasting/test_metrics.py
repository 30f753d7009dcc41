"""Scores against closed forms, brute force and what a proper score must prefer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sciffusion.domains.forecasting import metrics

LEVELS = np.array(metrics.DECILES)


def made_up(
    n: int = 4, samples: int = 7, event: tuple[int, ...] = (5,), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and draws without structure."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, *event)), generator.normal(size=(n, samples, *event))


def gaussian_crps(z: np.ndarray) -> np.ndarray:
    """CRPS of the standard normal law (Gneiting and Raftery 2007)."""
    return z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)


def brute_force_energy(y: np.ndarray, draws: np.ndarray, fair: bool) -> float:
    """Energy score of one forecast from its definition, draws (samples, d)."""
    count = len(draws)
    within = sum(np.linalg.norm(a - b) for a in draws for b in draws)
    pairs = count * (count - 1 if fair else count)
    return float(np.mean([np.linalg.norm(a - y) for a in draws]) - within / (2 * pairs))


def correlated(n: int, samples: int, correlation: float, generator: np.random.Generator) -> np.ndarray:
    """Draws of AR(1) paths of six steps with unit variance."""
    lag = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    return generator.normal(size=(n, samples, 6)) @ np.linalg.cholesky(correlation**lag).T


def test_crps_of_normal_draws_is_the_closed_form() -> None:
    draws = norm.ppf((np.arange(4000) + 0.5) / 4000)
    y = np.linspace(-3, 3, 13)[:, None]
    found = metrics.crps(y, np.broadcast_to(draws[None, :, None], (13, 4000, 1)))
    np.testing.assert_allclose(found, gaussian_crps(y), atol=3e-4)


@pytest.mark.parametrize("fair", [False, True])
def test_crps_is_the_double_sum(fair: bool) -> None:
    y, draws = made_up()
    count = draws.shape[1]
    within = np.abs(draws[:, :, None] - draws[:, None]).sum(axis=(1, 2))
    wanted = np.abs(draws - y[:, None]).mean(axis=1) - within / (2 * count * (count - fair))
    np.testing.assert_allclose(metrics.crps(y, draws, fair=fair), wanted, atol=1e-12)


def test_fair_crps_of_few_draws_is_unbiased_and_the_other_is_not() -> None:
    generator = np.random.default_rng(1)
    n = 20000
    y, draws = np.full((n, 1), 0.7), generator.normal(size=(n, 2, 1))
    fair, unfair = (metrics.crps(y, draws, fair=form).ravel() for form in (True, False))
    error = fair.std() / np.sqrt(n)
    truth = float(gaussian_crps(np.array(0.7)))
    assert abs(fair.mean() - truth) < 4 * error
    assert unfair.mean() - truth > 0.2  # by E|X - X'| / (2 S) = .28


@pytest.mark.parametrize("fair", [False, True])
def test_energy_score_in_one_dimension_is_the_crps(fair: bool) -> None:
    y, draws = made_up(n=6, samples=50, event=(1,))
    np.testing.assert_allclose(
        metrics.energy_score(y, draws, fair=fair), metrics.crps(y, draws, fair=fair)[:, 0], atol=1e-7
    )


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("event", [(5,), (3, 2)])
def test_energy_score_is_the_double_sum_at_any_level(fair: bool, event: tuple[int, ...]) -> None:
    y, draws = made_up(event=event)
    y, draws = y + 1e4, draws + 1e4
    found = metrics.energy_score(y, draws, fair=fair)
    wanted = [
        brute_force_energy(a.ravel(), b.reshape(len(b), -1), fair) for a, b in zip(y, draws, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_energy_score_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    y, draws = made_up(n=9)
    whole = metrics.energy_score(y, draws)
    monkeypatch.setattr(metrics, "_NUMBERS_AT_ONCE", 2 * draws.shape[1] ** 2)
    np.testing.assert_allclose(metrics.energy_score(y, draws), whole, rtol=1e-12)


def test_variogram_score_is_the_mean_over_pairs() -> None:
    y, draws = made_up(event=(3, 2))
    found = metrics.variogram_score(y, draws, p=0.7)
    first, second = np.triu_indices(6, k=1)
    wanted = []
    for path, paths in zip(y.reshape(4, 6), draws.reshape(4, 7, 6), strict=True):
        observed = np.abs(path[first] - path[second]) ** 0.7
        expected = np.mean(np.abs(paths[:, first] - paths[:, second]) ** 0.7, axis=0)
        wanted.append(np.mean((observed - expected) ** 2))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_scaled_crps_and_wql_by_hand() -> None:
    y = np.array([[2.0, 5.0], [1.0, np.nan]])
    quantiles = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 3.0)], axis=1)
    # Doubled pinball: level .2 at 1 -> .4, 1.6 | 0;  level .5 at 3 -> 1, 2 | 2.
    found = metrics.scaled_crps(y, quantiles, [2.0, 4.0], [0.2, 0.5])
    np.testing.assert_allclose(found, [(0.7 + 1.8) / 2 / 2.0, 1.0 / 4.0])
    assert metrics.weighted_quantile_loss(y, quantiles, [0.2, 0.5]) == pytest.approx((0.7 + 1.8 + 1.0) / 8)


def test_mean_doubled_pinball_loss_over_all_levels_is_the_crps() -> None:
    levels = (np.arange(2000) + 0.5) / 2000
    y = np.linspace(-2, 2, 9)[:, None]
    quantiles = np.broadcast_to(norm.ppf(levels)[None, :, None], (9, 2000, 1))
    found = metrics.scaled_crps(y, quantiles, np.full(9, 0.5), levels)
    np.testing.assert_allclose(found, gaussian_crps(y)[:, 0] / 0.5, atol=2e-3)


def test_mase_and_scale_by_hand() -> None:
    history = [1.0, 10.0, 3.0, 8.0, np.nan, 12.0]
    assert metrics.seasonal_naive_scale(history, 2) == pytest.approx((2 + 2 + 4) / 3)
    found = metrics.mase([[1.0, np.nan, 5.0]], [[2.0, 0.0, 8.0]], [4.0])
    np.testing.assert_allclose(found, [(1 + 3) / 2 / 4])


@pytest.mark.parametrize("history", [np.ones(9), np.arange(3.0), np.full(9, np.nan)])
def test_scale_is_nan_where_it_is_zero_or_nothing_can_be_compared(history: np.ndarray) -> None:
    assert np.isnan(metrics.seasonal_naive_scale(history, 4))


@pytest.mark.parametrize(
    "score",
    [
        lambda y, d: metrics.crps(y, d).mean(axis=1),
        lambda y, d: metrics.scaled_crps(y, metrics.draw_quantiles(d, LEVELS), np.ones(len(y))),
        metrics.energy_score,
    ],
    ids=["crps", "scaled crps", "energy"],
)
def test_the_true_law_scores_best_on_average(score: object) -> None:
    generator = np.random.default_rng(2)
    n, samples = 600, 100
    y = correlated(n, 1, 0.8, generator)[:, 0]
    draws = correlated(n, samples, 0.8, generator)
    true = score(y, draws)  # type: ignore[operator]
    for wrong in (draws + 0.5, 1.6 * draws, 0.5 * draws):
        gap = score(y, wrong) - true  # type: ignore[operator]
        assert gap.mean() > 4 * gap.std() / np.sqrt(n)


@pytest.mark.parametrize("score", [metrics.energy_score, metrics.variogram_score])
def test_path_scores_prefer_the_true_correlation(score: object) -> None:
    generator = np.random.default_rng(3)
    n = 1500
    y = correlated(n, 1, 0.8, generator)[:, 0]
    draws = correlated(n, 100, 0.8, generator)
    shuffled = generator.permuted(draws, axis=1)  # the same marginals, no paths
    gap = score(y, shuffled) - score(y, draws)  # type: ignore[operator]
    assert gap.mean() > 3 * gap.std() / np.sqrt(n)
    np.testing.assert_allclose(metrics.crps(y, shuffled), metrics.crps(y, draws), atol=1e-12)


def test_order_of_draws_and_forecasts_does_not_matter() -> None:
    y, draws = made_up(n=5, samples=30, event=(4, 2))
    generator = np.random.default_rng(4)
    order, forecasts = generator.permutation(30), generator.permutation(5)
    for score in (metrics.crps, metrics.energy_score, metrics.variogram_score):
        np.testing.assert_allclose(
            score(y[forecasts], draws[forecasts][:, order]), score(y, draws)[forecasts], atol=1e-12
        )


@pytest.mark.parametrize(
    "score",
    [
        metrics.energy_score,
        metrics.variogram_score,
        lambda y, d: metrics.scaled_energy_score(y, d, [1.0, 2.0]),
        lambda y, d: metrics.mean_over_event(metrics.crps(y, d)),
        lambda y, d: metrics.interval_coverage(y, d, 0.5),
        lambda y, d: metrics.interval_width(y, d, 0.5),
    ],
)
def test_a_missing_target_counts_as_one_less_step_whatever_its_draws_are(score: object) -> None:
    y, draws = made_up(n=2, samples=9)
    y[:, 2], draws[:, :, 2] = np.nan, np.nan
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(score(y, draws), score(y[:, kept], draws[:, :, kept]))  # type: ignore[operator]
    y[1] = np.nan
    assert np.isnan(score(y, draws)).tolist() == [False, True]  # type: ignore[operator]


def test_intervals_of_exchangeable_draws_cover_exactly_their_level() -> None:
    ranks = np.arange(200)
    y = (ranks + 0.5)[:, None]
    draws = np.broadcast_to(np.arange(1.0, 200.0)[None, :, None], (200, 199, 1))
    for level in (0.8, 0.95, 0.5):
        assert metrics.interval_coverage(y, draws, level).mean() == pytest.approx(level)
    np.testing.assert_allclose(metrics.interval_width(y, draws, 0.8), 160.0)


def test_pit_values_are_uniform_for_calibrated_draws_and_with_ties() -> None:
    generator = np.random.default_rng(5)
    y, draws = made_up(n=4000, samples=9, event=(1,))
    ties = metrics.pit_values(np.zeros((4000, 1)), np.zeros((4000, 9, 1)), generator)
    for found in (metrics.pit_values(y, draws, generator), ties):
        counts = np.histogram(found, bins=10, range=(0, 1))[0]
        assert counts.sum() == 4000
        assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square, nine degrees of freedom, p = .001
    narrow = metrics.pit_values(y, 0.3 * draws, generator)
    assert ((narrow < 0.1) | (narrow > 0.9)).mean() > 0.4
    assert np.isnan(metrics.pit_values([[np.nan]], [[[1.0], [2.0]]], generator)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.crps([1.0], [[1.0]]), "y must have shape"),
        (lambda: metrics.crps([[1.0]], [[[1.0, 2.0]]]), "does not fit y"),
        (lambda: metrics.crps([[1.0]], [[[np.nan], [1.0]]]), "draws must be finite"),
        (lambda: metrics.crps([[1.0]], [[[1.0]]], fair=True), "needs at least 2 draws"),
        (lambda: metrics.interval_coverage([[1.0]], [[[1.0]]], 80), "level must be in"),
        (lambda: metrics.variogram_score([[1.0]], [[[1.0]]], p=0), "p must be > 0"),
        (lambda: metrics.scaled_crps([[1.0]], [[[1.0]]], [1.0], [0.1, 0.5]), "1 levels on its second axis"),
        (lambda: metrics.scaled_crps([[1.0]], [[[1.0]]], [1.0, 2.0], [0.5]), "scale has shape"),
        (lambda: metrics.draw_quantiles([[[1.0]]], [1.5]), "levels must be"),
        (lambda: metrics.mase([[1.0]], [[1.0, 2.0]], [1.0]), "median has shape"),
        (lambda: metrics.seasonal_naive_scale([[1.0]], 1), "one dimension"),
        (lambda: metrics.seasonal_naive_scale([1.0], 0), "season_length must be >= 1"),
    ],
)
def test_unusable_input_is_refused_by_name(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
