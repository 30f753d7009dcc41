from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from sciffusion.training.time_samplers import (
    LogitNormal,
    LogNormalNoise,
    TimeSampler,
    UniformTimes,
    WeightedTimes,
    stratified_uniforms,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rectified_flow_time(log_snr: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(-log_snr)  # alpha = 1 - t, sigma = t


SAMPLERS = {
    "uniform": (lambda s: UniformTimes(stratified=s, low=0.1, high=0.9), stats.uniform(0.1, 0.8).cdf),
    "logit-normal": (
        lambda s: LogitNormal(stratified=s, location=0.3, scale=0.7),
        lambda t: stats.norm(0.3, 0.7).cdf(torch.logit(torch.as_tensor(t)).numpy()),
    ),
    "lognormal noise": (
        lambda s: LogNormalNoise(
            stratified=s, time_of_log_snr=_rectified_flow_time, location=-0.4, scale=1.0
        ),
        lambda t: stats.norm(-0.4, 1.0).cdf(torch.logit(torch.as_tensor(t)).numpy()),
    ),
    "weighted": (lambda s: WeightedTimes(stratified=s, weight=lambda t: 2 * t), lambda t: t**2),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("stratified", [False, True])
def test_times_follow_the_stated_distribution(name: str, stratified: bool) -> None:
    make, cdf = SAMPLERS[name]
    times = make(stratified).sample(4000, _generator()).times
    distance = stats.kstest(times.numpy(), cdf).statistic
    # The 99.9 % point of the Kolmogorov distribution; strata bring the distance down to about 1/B.
    assert distance < (1.5 / 4000 if stratified else 1.95 / math.sqrt(4000))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_generator_gives_the_same_times(name: str) -> None:
    sampler: TimeSampler = SAMPLERS[name][0](True)
    first, again = sampler.sample((2, 16), _generator(3)), sampler.sample((2, 16), _generator(3))
    assert torch.equal(first.times, again.times)
    assert not torch.equal(first.times, sampler.sample((2, 16), _generator(4)).times)


def test_each_stratum_holds_one_number_in_random_order() -> None:
    u = stratified_uniforms((5, 64), _generator())
    strata = (u * 64).floor().long()
    assert torch.equal(strata.sort(dim=-1).values, torch.arange(64).expand(5, 64))
    orders = {tuple(row.tolist()) for row in strata}
    assert len(orders) == 5
    assert tuple(range(64)) not in orders


def test_position_and_time_are_independent() -> None:
    # Without the permutation the first row of a batch would always train at the smallest time.
    first = torch.cat([stratified_uniforms((8,), _generator(s))[:1] for s in range(2000)])
    assert stats.kstest(first.numpy(), "uniform").pvalue > 1e-3


def test_strata_cut_the_variance_of_a_batch_mean() -> None:
    means = {
        stratified: torch.stack(
            [
                UniformTimes(stratified=stratified).sample(32, _generator(s)).times.square().mean()
                for s in range(400)
            ]
        )
        for stratified in (False, True)
    }
    # One point an interval: the variance falls as B^-3 rather than B^-1.
    assert means[True].var() < means[False].var() / 200


@pytest.mark.parametrize(
    "sampler",
    [
        UniformTimes(reweight=True),
        LogitNormal(reweight=True, scale=1.5),
        WeightedTimes(weight=lambda t: 0.2 + t, n_bins=7),
    ],
)
def test_importance_ratio_restores_the_uniform_integral(sampler: TimeSampler) -> None:
    times, ratio = sampler.sample(200_000, _generator())
    # The integrand vanishes at the ends, where the ratio of the logit-normal grows without bound.
    estimate = (ratio * times * (1 - times) * torch.cos(times)).mean()
    exact = 2 * math.sin(1) - math.cos(1) - 1  # integral of t (1 - t) cos t, by parts
    assert float(estimate) == pytest.approx(exact, rel=2e-3)


def test_weight_times_ratio_is_constant() -> None:
    times, ratio = WeightedTimes(weight=lambda t: 0.1 + t, n_bins=4000).sample(500, _generator())
    torch.testing.assert_close((0.1 + times) * ratio, torch.full_like(times, 0.6), rtol=3e-3, atol=0)


def test_lognormal_noise_gives_edm_noise_levels_on_a_variance_exploding_path() -> None:
    sampler = LogNormalNoise(time_of_log_snr=lambda log_snr: torch.exp(-log_snr) / 1e4)  # sigma = 1e4 t
    log_noise = torch.log(sampler.sample(10_000, _generator()).times * 1e4)
    assert float(log_noise.mean()) == pytest.approx(-1.2, abs=1e-2)
    assert float(log_noise.std()) == pytest.approx(1.2, rel=1e-2)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: UniformTimes(low=0.5, high=0.5), "low and high"),
        (lambda: LogitNormal(scale=0.0), "scale"),
        (lambda: WeightedTimes(weight=lambda t: t - 0.5), "weight"),
    ],
)
def test_impossible_settings_are_refused(make: object, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()  # type: ignore[operator]
