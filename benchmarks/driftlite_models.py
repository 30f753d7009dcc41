"""The mixtures of the DriftLite benchmark: five models in one batch, exact annealed laws, and distances.

Each model is a mixture of 8 isotropic normal laws in 30 dimensions: means N(0, I), variances
.3 exp(spread N(0, 1)), weights proportional to U(0, 1) + .3, all from the model's seed. Scores, divergences
and log densities are exact, so that what is measured is the sampler alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciffusion.continuous import Path, VarianceExploding, VariancePreserving
from sciffusion.diagnostics.distances import maximum_mean_discrepancy, sliced_wasserstein
from sciffusion.exact import GaussianMixtureTarget
from sciffusion.exact.reweighted import QuadraticTilt, ReweightedMixture, reweighted_mixture
from sciffusion.sampling.driftlite import AnalyticReward, ScoreValues

__all__ = ["DIM", "MixtureBatch", "Reference", "Setting", "measure_distances", "time_grid"]

DIM, COMPONENTS = 30, 8
#: Most samples that enter a distance; more are thinned by their weights.
MOST = 2000
#: The Ornstein-Uhlenbeck process of the published experiment, whose clock runs to 5.
CLOCK = 5.0


@dataclass(frozen=True)
class Setting:
    """A law aimed at: spread of the log variances, exponent, squared width of the tilt, and the path."""

    name: str
    spread: float = 0.1
    gamma: float = 2.0
    tilt: float | None = None
    exploding: bool = False

    @property
    def path(self) -> Path:
        """The path on which the score is known."""
        rate = 2.0 * CLOCK
        return VarianceExploding(0.01, 40.0) if self.exploding else VariancePreserving(rate, rate)


def time_grid(setting: Setting, n_steps: int) -> Tensor:
    """Give the times of the published experiment: log-spaced 5 to 1e-3, or sigma 40 to .01 with rho = 7."""
    if not setting.exploding:
        ends = (math.log(CLOCK), math.log(1e-3))
        return torch.exp(torch.linspace(*ends, n_steps + 1, dtype=torch.float64)) / CLOCK
    levels = torch.linspace(40.0 ** (1 / 7), 0.01 ** (1 / 7), n_steps + 1, dtype=torch.float64) ** 7
    times = setting.path.time_of_log_snr(-levels.log())
    times[0], times[-1] = 1.0, 0.0
    return times


class MixtureBatch:
    """Scores of several mixtures, one for each system of particles (a `ScoreField`)."""

    knows_log_density = True

    def __init__(self, setting: Setting, seeds: tuple[int, ...]) -> None:
        self.path = setting.path
        drawn = [_draw_model(seed, setting.spread) for seed in seeds]
        self.weights, self.means, self.variances = (torch.stack(parts) for parts in zip(*drawn, strict=True))

    def evaluate(
        self, x: Tensor, t: Tensor, *, with_divergence: bool, with_log_density: bool,
        generator: torch.Generator,
    ) -> ScoreValues:  # fmt: skip
        """Give score, divergence and log density; see `ScoreField.evaluate`."""
        c = self.path.coefficients(t)
        alpha, noise = float(c.alpha), float(c.sigma) ** 2
        grouped = x.reshape(len(self.means), -1, DIM)
        means, variances = alpha * self.means, (alpha**2 * self.variances + noise)[:, None]
        square = (grouped**2).sum(-1, keepdim=True) + (means**2).sum(-1)[:, None] - 2.0 * grouped @ means.mT
        joint = self.weights.log()[:, None] - 0.5 * (DIM * torch.log(2.0 * math.pi * variances))
        joint = joint - 0.5 * square / variances
        log_density = torch.logsumexp(joint, -1)
        share = torch.exp(joint - log_density[..., None]) / variances
        score = share @ means - share.sum(-1, keepdim=True) * grouped
        divergence = None
        if with_divergence:
            divergence = (share * (square / variances - DIM)).sum(-1) - (score**2).sum(-1)
            divergence = divergence.reshape(-1)
        return ScoreValues(score.reshape(x.shape), divergence, log_density.reshape(-1))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Give the score alone, as an outside model would."""
        values = self.evaluate(
            x, t, with_divergence=False, with_log_density=False, generator=torch.Generator()
        )
        return values.score

    def centres(self) -> Tensor:
        """Give the centres of the tilts: between the first two means, moved by .5."""
        return self.means[:, :2].mean(1) + 0.5

    def reward(self, setting: Setting) -> AnalyticReward | None:
        """Give the quadratic tilt with its derivatives, None where the setting has none."""
        if setting.tilt is None:
            return None
        width, centres = setting.tilt, self.centres()[:, None]

        def gap(x: Tensor) -> Tensor:
            return (x.reshape(len(centres), -1, DIM) - centres).reshape(x.shape)

        return AnalyticReward(
            lambda x: -0.5 * (gap(x) ** 2).sum(-1) / width,
            lambda x: -gap(x) / width,
            lambda x: torch.full_like(x[:, 0], -DIM / width),
        )


def _draw_model(seed: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(COMPONENTS, DIM, generator=generator, dtype=torch.float64)
    variances = 0.3 * torch.exp(spread * torch.randn(COMPONENTS, generator=generator, dtype=torch.float64))
    weights = torch.rand(COMPONENTS, generator=generator, dtype=torch.float64) + 0.3
    return weights / weights.sum(), means, variances


def _thinned(x: Tensor, weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if len(x) <= MOST:
        return x, weights
    kept = torch.multinomial(weights, MOST, replacement=True, generator=generator)
    return x[kept], torch.full((MOST,), 1.0 / MOST, dtype=torch.float64)


class Reference:
    """Exact draws and log normalisers of one model's annealed law, and the distances of other draws to it.

    The law is that of the state at the end of the grid, which still has a little noise: this is what the
    weights of the particles aim at.
    """

    def __init__(self, setting: Setting, batch: MixtureBatch, place: int, end: float, count: int) -> None:
        c = setting.path.coefficients(end)
        alpha, noise = float(c.alpha), float(c.sigma) ** 2
        self._laws = [
            _law(setting, batch, place, level, spread) for level, spread in ((alpha, noise), (1.0, 0.0))
        ]
        self._generator = torch.Generator().manual_seed(7919 + place)
        self.draws = self._laws[0].draw(count, self._generator)
        found = [law.log_normaliser(self._generator, 16_000).value for law in self._laws]
        self.log_normaliser, self.clean_log_normaliser = found
        self._means = alpha * batch.means[place]

    def exact(self, count: int) -> Tensor:
        """Give further exact draws, equally weighted."""
        return self._laws[0].draw(count, self._generator)

    def distances(self, x: Tensor, weights: Tensor) -> dict[str, float]:
        """Give MMD, sliced Wasserstein distance and total variation of the masses of the modes."""
        masses = (
            (self._nearest(x)[:, None] == torch.arange(COMPONENTS))
            .to(torch.float64)
            .mul(weights[:, None])
            .sum(0)
        )
        exact = torch.bincount(self._nearest(self.draws), minlength=COMPONENTS) / len(self.draws)
        x, weights = _thinned(x, weights, self._generator)
        pair = {"first": x, "second": self.draws, "first_weights": weights}
        return {
            "mmd": float(maximum_mean_discrepancy(**pair)),
            "swd": float(sliced_wasserstein(**pair)),
            "mode_tv": 0.5 * float((masses - exact).abs().sum()),
        }

    def _nearest(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self._means).argmin(-1)


def _law(setting: Setting, batch: MixtureBatch, place: int, alpha: float, noise: float) -> ReweightedMixture:
    stds = torch.sqrt(alpha**2 * batch.variances[place] + noise)[:, None].expand(COMPONENTS, DIM)
    target = GaussianMixtureTarget.from_stds(batch.weights[place].tolist(), alpha * batch.means[place], stds)
    tilt = None if setting.tilt is None else QuadraticTilt(batch.centres()[place], math.sqrt(setting.tilt))
    return reweighted_mixture(target, setting.gamma, tilt)


def measure_distances(
    references: list[Reference], samples: Tensor, log_weights: Tensor
) -> list[dict[str, float]]:
    """Give the distances of every system ``(systems, count, dim)`` to its reference."""
    weights = torch.exp(log_weights - torch.logsumexp(log_weights, -1, keepdim=True))
    systems = zip(references, samples, weights, strict=True)
    return [reference.distances(x, w) for reference, x, w in systems]
